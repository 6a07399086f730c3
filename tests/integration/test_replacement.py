"""
What a replacement could lose, one thing at a time, with the broker and without the engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Event, Thread
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from rabbit_topology import parse
from rabbit_topology.broker.access import LOCK_QUEUE, Access
from rabbit_topology.compiler.urls import Address
from rabbit_topology.errors import BrokerError
from rabbit_topology.messages import shovel
from rabbit_topology.messages.contents import Contents
from rabbit_topology.messages.queue import BrokerQueue
from rabbit_topology.model import Exchange, PublishedByName, Queue, QueueType, Route
from rabbit_topology.safety import recovery, stand_ins
from rabbit_topology.safety.exchange_replacement import ExchangeReplacement
from rabbit_topology.safety.queue_replacement import QueueReplacement
from rabbit_topology.safety.replacement import ROUTED_SECONDS
from tests.support.stacks import (
    Stack,
    access_to,
    connect,
    drain,
    fill,
    held,
    management,
    untouched,
    wait_for,
    wanted,
)
from tests.support.versions import VERSIONS
from toolchain.broker import Broker
from toolchain.ports import free_ports

CLASSIC, QUORUM = Queue(type=QueueType.CLASSIC), Queue()
TOPIC = Exchange(type="topic")
MESSAGES = 10
FULL = {"x-max-length": 5, "x-overflow": "reject-publish"}
AT_LEAST_ONCE = {
    "x-queue-type": "quorum",
    "x-dead-letter-exchange": "dlx",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
    "x-message-ttl": 1,
}


@dataclass(kw_only=True)
class Vhost:
    """A vhost with exchange `e`, bound to classic queue `q`."""

    broker: Broker
    name: str
    channel: BlockingChannel
    access: Access
    reports: list[str] = field(default_factory=list)

    def queue(self, name: str, arguments: dict[str, Any]) -> None:
        self.channel.queue_declare(name, durable=True, arguments=arguments)

    def queue_replacement(
        self, new: Queue = QUORUM, by_name: PublishedByName = PublishedByName.REFUSE
    ) -> QueueReplacement:
        return QueueReplacement(
            access=self.access,
            vhost=self.name,
            name="q",
            new=new,
            report=self.reports.append,
            by_name=by_name,
        )

    def exchange_replacement(
        self, new: Exchange, by_name: PublishedByName = PublishedByName.REFUSE
    ) -> ExchangeReplacement:
        return ExchangeReplacement(
            access=self.access,
            vhost=self.name,
            name="e",
            new=new,
            report=self.reports.append,
            by_name=by_name,
        )

    def state(self) -> dict[str, Any]:
        """What the broker lists, but for the lock, which this very process holds."""
        listed = held(self.broker, self.name)
        listed["queues"].pop(LOCK_QUEUE, None)
        return listed

    def hold(self) -> None:
        """Begin the replacement of `q` by a quorum queue, as far as a killed run may have come."""
        taken = self.queue_replacement()
        state = taken.queue.state()
        assert state
        taken._begin(state)
        taken._declare_helpers(state)
        taken._hold()

    def move(self, source: str, exchange: str) -> shovel.Move:
        return shovel.Move(
            access=self.access,
            vhost=self.name,
            source=source,
            exchange=exchange,
            what="",
            report=self.reports.append,
            patience=60.0,
        )

    def publish(self, numbers: range) -> None:
        for number in numbers:
            self.channel.basic_publish("e", "k", str(number).encode(), mandatory=True)


@pytest.fixture
def vhost_on(start_broker: Callable[[str], Broker], vhost: str) -> Iterator[Callable[..., Vhost]]:
    opened: list[Vhost] = []

    def make(version: str, **arguments: Any) -> Vhost:
        broker = start_broker(version)
        management(broker).request("PUT", f"/vhosts/{vhost}")
        channel = connect(broker, vhost).channel()
        channel.confirm_delivery()
        made = Vhost(broker=broker, name=vhost, channel=channel, access=access_to(broker))
        opened.append(made)
        channel.exchange_declare("e", durable=True)
        made.queue("q", {"x-queue-type": "classic", **arguments})
        channel.queue_bind("q", "e", "k")
        return made

    yield make
    for one in opened:
        one.channel.connection.close()
        management(one.broker).request("DELETE", f"/vhosts/{one.name}")


@pytest.fixture
def small(vhost_on: Callable[..., Vhost]) -> Vhost:
    """On one version, for what does not depend on the broker's."""
    return vhost_on("4.0")


# Messages that are neither ready nor with a consumer


def test_what_a_queue_still_has_to_dead_letter_is_in_it(vhost_on: Callable[..., Vhost]) -> None:
    def hidden(version: str) -> Contents | None:
        one = vhost_on(version)
        one.channel.exchange_declare("dlx", "fanout")  # leads nowhere: they wait
        one.queue("waiting", AT_LEAST_ONCE)
        fill(one.channel, "waiting", MESSAGES)
        return BrokerQueue(one.access, one.name, "waiting").read()

    expected = Contents(
        kind=QueueType.QUORUM, ready=0, unacknowledged=0, consumers=0, dead_letters=MESSAGES
    )
    with ThreadPoolExecutor() as threads:  # each waits for the broker's statistics
        assert list(threads.map(hidden, VERSIONS)) == [expected] * len(VERSIONS)
    assert str(expected) == "0 ready, 0 unacknowledged, 10 not dead-lettered yet, 0 consumers"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_holding_queue_is_as_safe_as_the_queue_itself_and_lets_nothing_expire(
    vhost_on: Callable[..., Vhost], version: str
) -> None:
    one = vhost_on(version)
    one.channel.queue_delete("q")
    one.queue("q", {**AT_LEAST_ONCE, "x-message-ttl": 60_000})
    management(one.broker).request(
        "PUT",
        f"/policies/{one.name}/all",
        {"pattern": "", "definition": {"message-ttl": 50_000}, "apply-to": "queues"},
    )
    one.hold()
    listed = management(one.broker).get(f"/queues/{one.name}/{one.queue_replacement().holding}")
    kept = {key: value for key, value in AT_LEAST_ONCE.items() if key != "x-message-ttl"}
    # From 4.0 on the broker drops what is returned 20 times, unless it is told not to.
    unlimited = {} if version == "3.10" else {"x-delivery-limit": -1}
    assert listed["arguments"] == {**kept, **unlimited}


# A queue that takes no more, and one that gives nothing away


def test_what_does_not_fit_into_a_full_queue_waits_until_there_is_room(
    vhost_on: Callable[..., Vhost],
) -> None:
    """On the version that would drop what a full queue has returned 20 times."""
    one = vhost_on("4.0", **{"x-queue-type": "quorum"}, **FULL)
    one.publish(range(5))
    one.queue_replacement(CLASSIC).take_over()
    one.publish(range(5, 30))
    one.queue("q", {"x-queue-type": "classic", **FULL})
    taken: set[int] = set()
    done = Event()

    def consume() -> None:
        # Slow at first, so that the broker refuses messages again and again.
        with connect(one.broker, one.name) as connection:
            channel = connection.channel()
            time.sleep(1)
            while not done.wait(0.05):
                taken.update(number for number, _ in drain(channel, "q"))

    consumer = Thread(target=consume)
    consumer.start()
    try:
        one.queue_replacement().restore()
        wait_for(lambda: len(taken) >= 30, "all messages consumed")
    finally:
        done.set()
        consumer.join()
    assert taken == set(range(30))


def test_a_consumer_that_has_the_queue_for_itself_is_not_waited_for_without_end(
    small: Vhost,
) -> None:
    fill(small.channel, "q", MESSAGES)
    before = small.state()
    with connect(small.broker, small.name) as connection:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=1)
        channel.basic_consume("q", lambda *_: None, exclusive=True)
        with pytest.raises(BrokerError, match="a consumer has the queue for itself"):
            replace(small.queue_replacement(), patience=3.0).take_over()
    assert small.state() == before
    wait_for(lambda: BrokerQueue(small.access, small.name, "q").ready() == MESSAGES, "given back")
    numbers = [number for number, _ in drain(small.channel, "q")]
    assert numbers == list(range(MESSAGES))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_shovel_that_never_consumes_is_started_again(
    vhost_on: Callable[..., Vhost], version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = vhost_on(version)
    fill(one.channel, "q", MESSAGES)
    start, starts = shovel.Move._start, 0

    def lost_at_first(move: shovel.Move, until: str | int) -> None:
        nonlocal starts
        starts += 1
        if starts > 1:
            start(move, until)
            return
        uri = "amqp://127.0.0.1:1"  # where nobody listens: the broker lists it, and it never runs
        nothing = {"src-uri": uri, "src-queue": "q", "dest-uri": uri, "dest-exchange": "target"}
        one.access.management.request("PUT", move._path, {"value": nothing})

    monkeypatch.setattr(shovel.Move, "_start", lost_at_first)
    one.channel.exchange_declare("target", "fanout")
    one.queue("target", {})
    one.channel.queue_bind("target", "target")
    one.move("q", "target").run()
    assert starts == 2
    assert [number for number, _ in drain(one.channel, "target")] == list(range(MESSAGES))


# What comes by name, with no publisher that would notice


@pytest.mark.parametrize("key", [{}, {"x-dead-letter-routing-key": "q"}])
def test_a_queue_that_is_dead_lettered_to_by_its_name_is_not_replaced(
    small: Vhost, key: dict[str, str]
) -> None:
    small.queue("retry", {"x-dead-letter-exchange": "", **key})
    small.queue("elsewhere", {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "other"})
    fill(small.channel, "retry", 1)
    fill(small.channel, "elsewhere", 1)
    before = small.state()
    with pytest.raises(BrokerError, match="queue retry, which is in use, dead-letters to it"):
        small.queue_replacement().take_over()
    assert small.state() == before

    small.queue_replacement(by_name=PublishedByName.ACCEPT).check()
    small.channel.queue_purge("retry")
    small.queue_replacement().check()


def test_an_exchange_that_is_dead_lettered_to_is_not_replaced(small: Vhost) -> None:
    small.queue("orders", {"x-dead-letter-exchange": "e"})
    small.channel.exchange_declare("front", arguments={"alternate-exchange": "e"})
    fill(small.channel, "orders", 1)
    before = small.state()
    with pytest.raises(BrokerError, match="queue orders, exchange front sends on to it"):
        small.exchange_replacement(TOPIC).take_over()
    assert small.state() == before

    small.exchange_replacement(TOPIC, PublishedByName.ACCEPT).check()
    small.channel.queue_purge("orders")
    small.channel.exchange_delete("front")
    small.exchange_replacement(TOPIC).check()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("type_", ["direct", "fanout", "topic", "headers"])
def test_an_exchange_that_is_about_to_be_deleted_has_one_way_for_each_message(
    start_broker: Callable[[str], Broker], vhost: str, version: str, type_: str
) -> None:
    broker = start_broker(version)
    management(broker).request("PUT", f"/vhosts/{vhost}")
    access, new = access_to(broker), Exchange(type="direct" if type_ == "topic" else "topic")
    replacement = ExchangeReplacement(access=access, vhost=vhost, name="e", new=new, report=print)
    arguments = {"x-match": "any", "h": "1"} if type_ == "headers" else {}
    with connect(broker, vhost) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.exchange_declare("e", type_, durable=True)
        for queue in ("a", "b"):
            channel.queue_declare(queue, durable=True)
            for key in ("k", "l"):
                channel.queue_bind(queue, "e", key, arguments)
        replacement.take_over()
        ways = access.bindings("exchanges", vhost, "e", "source")
        assert {way["destination"] for way in ways} == {replacement.stand_in}
        keys = {way["routing_key"] for way in ways}
        assert keys == {"direct": {"k", "l"}, "topic": {"#"}}.get(type_, {""})

        properties = pika.BasicProperties(headers={"h": "1"})
        channel.basic_publish("e", "k", b"before", properties, mandatory=True)
        channel.exchange_delete("e")
        replacement.declare()
        channel.basic_publish("e", "k", b"after", properties, mandatory=True)
        for queue in ("a", "b"):
            bodies = [channel.basic_get(queue, auto_ack=True)[2] for _ in range(3)]
            assert bodies == [b"before", b"after", None]
    ends = {
        (way["destination"], way["routing_key"])
        for way in access.bindings("exchanges", vhost, "e", "source")
    }
    assert ends == {(queue, key) for queue in ("a", "b") for key in ("k", "l")}


def test_a_stand_in_stays_until_what_was_on_its_way_has_passed(small: Vhost) -> None:
    """A slow broker routes a message by bindings that are gone when it comes to the last of them.

    One that saw the first of the new bindings, and not the stand-in any more, reached one of two.
    """

    def seconds(begun: Callable[[], object], ended: Callable[[], object]) -> float:
        wait_for(begun, "it has begun")
        at = time.monotonic()
        wait_for(ended, "it has ended")
        return time.monotonic() - at

    def ways(source: str) -> set[str]:
        listed = small.access.bindings("exchanges", small.name, source, "source")
        return {way["destination"] for way in listed}

    def is_gone(name: str) -> bool:
        return not small.access.exists("exchanges", small.name, name)

    exchange, queue = small.exchange_replacement(TOPIC), small.queue_replacement()
    with ThreadPoolExecutor() as threads:
        begun = time.monotonic()
        exchange.take_over()  # the engine is about to delete it
        assert time.monotonic() - begun > ROUTED_SECONDS
        small.channel.exchange_delete("e")
        restoring = threads.submit(exchange.declare)
        assert (
            seconds(lambda: "q" in ways("e"), lambda: is_gone(exchange.stand_in))
            > 0.8 * ROUTED_SECONDS
        )
        restoring.result()
        to_q = Route(source="e", kind="queue", destination="q", routing_key="k")
        queue.divert(to_q, replaced=False)  # the engine is about to unbind it
        small.channel.queue_unbind("q", "e", "k")
        restoring = threads.submit(queue.restore)
        assert (
            seconds(lambda: "q" in ways("e"), lambda: is_gone(queue.stand_in))
            > 0.8 * ROUTED_SECONDS
        )
        restoring.result()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("destination", ["d", "amq.fanout"])
def test_where_a_route_is_diverted_those_are_reached_that_others_have_bound(
    start_broker: Callable[[str], Broker], vhost: str, version: str, destination: str
) -> None:
    """The source of the route is replaced; where it leads stays, with the bindings of others."""
    broker = start_broker(version)
    management(broker).request("PUT", f"/vhosts/{vhost}")
    access = access_to(broker)
    own = Route(source=destination, kind="queue", destination="own", routing_key="k")
    to_it = Route(source="e", kind="exchange", destination=destination, routing_key="k")
    replacement = ExchangeReplacement(
        access=access,
        vhost=vhost,
        name=destination,
        new=Exchange(type="fanout"),
        outgoing=[own],
        report=print,
    )
    with connect(broker, vhost) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.exchange_declare("e", durable=True)
        if destination == "d":
            channel.exchange_declare("d", "fanout", durable=True)
        for queue in ("own", "theirs"):
            channel.queue_declare(queue, durable=True)
            channel.queue_bind(queue, destination, "k")
        channel.exchange_bind(destination, "e", "k")
        before = held(broker, vhost)
        replacement.divert(to_it, replaced=False)
        channel.exchange_unbind(destination, "e", "k")
        channel.basic_publish("e", "k", b"meanwhile", mandatory=True)
        channel.exchange_bind(destination, "e", "k")
        replacement.restore()
        channel.basic_publish("e", "k", b"after", mandatory=True)
        for queue in ("own", "theirs"):
            bodies = [channel.basic_get(queue, auto_ack=True)[2] for _ in range(3)]
            assert bodies == [b"meanwhile", b"after", None], queue
        listed = held(broker, vhost)
        listed["queues"].pop(LOCK_QUEUE, None)
        assert listed == before


def test_an_exchange_that_leads_to_one_of_the_brokers_own_is_replaced(
    one_stack: Stack, vhost: str
) -> None:
    topology: dict[str, Any] = {
        "vhost": vhost,
        "exchanges": {"e": {}},
        "queues": {"q": {}},
        "bindings": [
            {"source": "e", "exchange": "amq.fanout", "routing_key": "k"},
            {"source": "amq.fanout", "queue": "q"},
        ],
    }
    one_stack.configure(topology)
    one_stack.up()
    one_stack.configure({**topology, "exchanges": {"e": {"type": "topic"}}})
    one_stack.up()
    assert held(one_stack.broker, vhost) == wanted(
        {**topology, "exchanges": {"e": {"type": "topic"}}}
    )


def test_an_exchange_whose_own_alternate_would_take_its_messages_is_not_replaced(
    small: Vhost,
) -> None:
    new = Exchange(type="topic", arguments={"alternate-exchange": "unrouted"})
    before = small.state()
    with pytest.raises(BrokerError, match="its argument alternate-exchange would take"):
        small.exchange_replacement(new).take_over()
    assert small.state() == before


# What is refused before anything is touched


def test_no_exchange_is_replaced_without_amqp(small: Vhost) -> None:
    (port,) = free_ports(1)
    alone = Access(management=management(small.broker), addresses=[Address("127.0.0.1", port)])
    before = small.state()
    with pytest.raises(BrokerError, match="no AMQP address of the broker answers here"):
        replace(small.exchange_replacement(TOPIC), access=alone).take_over()
    assert small.state() == before


def test_an_operator_policy_may_not_expire_what_is_held(small: Vhost) -> None:
    management(small.broker).request(
        "PUT",
        f"/operator-policies/{small.name}/limits",
        {"pattern": "drained", "definition": {"expires": 3_600_000}, "apply-to": "queues"},
    )
    before = small.state()
    with pytest.raises(BrokerError, match=r"to the queue 'rabbit-topology\.drained\.q'.*expires"):
        small.queue_replacement().take_over()
    assert small.state() == before


# What a killed run has left


def test_a_queue_that_left_the_config_gets_back_what_a_killed_run_held(small: Vhost) -> None:
    before = small.state()
    small.hold()
    small.publish(range(MESSAGES))
    topology, *_ = parse({"vhost": small.name, "exchanges": {"e": {}}})
    assert recovery.complete(small.access, topology, small.reports.append) == []
    assert "queue q: completing what an earlier run began" in small.reports
    assert small.state() == before
    assert drain(small.channel, "q") == untouched(MESSAGES)


def test_a_vhost_does_not_go_with_what_a_killed_run_held(one_stack: Stack, vhost: str) -> None:
    """Its queue is gone from the broker and from the config: nobody can give it back."""
    one_stack.configure({"vhost": vhost, "exchanges": {"e": {}}})
    one_stack.up()
    with connect(one_stack.broker, vhost) as connection:
        channel = connection.channel()
        holding = "rabbit-topology.holding.q"
        channel.queue_declare(holding, durable=True)
        fill(channel, holding, MESSAGES)
        assert f"queue {holding} holds {MESSAGES} ready" in one_stack.destroy(check=False).text
        assert drain(channel, holding) == untouched(MESSAGES)


def test_more_leftovers_than_a_page_holds_are_all_found(small: Vhost) -> None:
    names = {f"rabbit-topology.stand-in.{number}" for number in range(501)}
    for name in names:
        small.channel.exchange_declare(name, "fanout", durable=True)
    assert set(stand_ins.leftovers(small.access, small.name)) == names


# The whole of it, with the engine


def test_messages_on_their_way_round_a_retry_loop_arrive_through_its_replacement(
    one_stack: Stack, vhost: str
) -> None:
    """What is rejected waits in `retry` and comes back: both queues are replaced meanwhile.

    That one of them is to be retained makes no difference.
    """

    def config(kind: str) -> dict[str, Any]:
        waiting = {"x-dead-letter-exchange": "e", "x-message-ttl": 2000}
        rejected = {"x-dead-letter-exchange": "rejected"}
        return {
            "vhost": vhost,
            "exchanges": {"e": {"type": "fanout"}, "rejected": {"type": "fanout"}},
            "queues": {
                "q": {"type": kind, "arguments": rejected, "on_delete": "retain"},
                "retry": {"type": kind, "arguments": waiting},
            },
            "bindings": [
                {"source": "e", "queue": "q"},
                {"source": "rejected", "queue": "retry"},
            ],
        }

    one_stack.configure(config("classic"))
    one_stack.up()
    with connect(one_stack.broker, vhost) as connection:
        channel = connection.channel()
        fill(channel, "q", MESSAGES)
        for _ in range(MESSAGES):
            channel.basic_reject(channel.basic_get("q")[0].delivery_tag, requeue=False)
        fill(channel, "q", MESSAGES)
        one_stack.configure(config("quorum"))
        assert one_stack.up().changes["replaced"] == 4
        taken: list[int] = []

        def all_there() -> bool:
            taken.extend(number for number, _ in drain(channel, "q"))
            return len(taken) >= 2 * MESSAGES

        wait_for(all_there, "all messages back in q")
    assert sorted(taken) == sorted([*range(MESSAGES), *range(MESSAGES)])
