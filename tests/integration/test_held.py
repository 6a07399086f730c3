"""
What waits while its queue is away: it neither expires nor is dropped, and nothing in it changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pika
import pytest

from rabbit_topology.broker.access import LOCK_QUEUE, Access
from rabbit_topology.compiler.names import own_name
from rabbit_topology.errors import BrokerError
from rabbit_topology.messages import shovel
from rabbit_topology.messages.queue import BrokerQueue
from rabbit_topology.model import Queue, QueueType, Topology
from rabbit_topology.safety import recovery
from rabbit_topology.safety.queue_replacement import QueueReplacement
from tests.support.clients import Consumer, Publisher
from tests.support.stacks import access_to, connect, drain, fill, held, management, wait_for
from tests.support.versions import VERSIONS
from toolchain.broker import Broker

TYPES = (QueueType.CLASSIC, QueueType.QUORUM)


def declare(broker: Broker, vhost: str, arguments: dict[str, Any]) -> None:
    management(broker).request("PUT", f"/vhosts/{vhost}")
    with connect(broker, vhost) as connection:
        channel = connection.channel()
        channel.exchange_declare("e", durable=True)
        channel.queue_declare("q", durable=True, arguments=arguments)
        channel.queue_bind("q", "e", "k")


def replaced(access: Access, vhost: str, new: Queue, away: float = 0.0) -> list[str]:
    """Replace the queue as the hooks do, and have it away for some seconds more."""
    reports: list[str] = []
    replacement = QueueReplacement(
        access=access, vhost=vhost, name="q", new=new, report=reports.append
    )
    replacement.take_over()
    time.sleep(away)
    replacement.renew()
    return reports


def other(type_: QueueType) -> QueueType:
    return next(one for one in TYPES if one is not type_)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize(
    "limits", [{"x-max-length": 200}, {"x-max-length-bytes": 40_000}, {"x-message-ttl": 2000}]
)
def test_limits_take_nothing_from_a_live_queue_that_is_replaced(
    start_broker: Callable[[str], Broker],
    vhost: str,
    version: str,
    type_: QueueType,
    limits: dict[str, Any],
) -> None:
    broker = start_broker(version)
    declare(broker, vhost, {"x-queue-type": type_.value, **limits})
    with (
        Consumer(broker=broker, vhost=vhost, prefetch=50) as consumer,
        # What a busy machine stops for a second, and then publishes at once, has to fit.
        Publisher(broker=broker, vhost=vhost, padding=b"x" * 100, rate=150) as publisher,
    ):
        wait_for(lambda: len(consumer.taken) > 200, "traffic")
        replaced(access_to(broker), vhost, Queue(type=other(type_), arguments=limits), away=3)
        time.sleep(1)
        publisher._left.set()
        wait_for(lambda: set(publisher.confirmed) <= set(consumer.taken), "all consumed")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("type_", TYPES)
def test_a_message_that_would_expire_while_its_queue_is_away_comes_back(
    start_broker: Callable[[str], Broker], vhost: str, version: str, type_: QueueType
) -> None:
    broker = start_broker(version)
    declare(broker, vhost, {"x-queue-type": type_.value})
    # Less than it is away, and more than a busy machine keeps a consumer from its work.
    properties = pika.BasicProperties(delivery_mode=2, expiration="4000")
    with (
        Consumer(broker=broker, vhost=vhost) as consumer,
        Publisher(broker=broker, vhost=vhost, properties=properties) as publisher,
    ):
        wait_for(lambda: len(consumer.taken) > 200, "traffic")
        replaced(access_to(broker), vhost, Queue(type=other(type_)), away=6)
        publisher._left.set()
        wait_for(lambda: set(publisher.confirmed) <= set(consumer.taken), "all consumed")


def test_without_a_consumer_limits_do_what_they_would_have_done(
    start_broker: Callable[[str], Broker], vhost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rabbit_topology.messages.inflow.AWAY_SECONDS", 2.0)
    broker = start_broker("4.0")
    declare(broker, vhost, {"x-queue-type": "classic"})
    with connect(broker, vhost) as connection:
        fill(connection.channel(), "q", 50)
    replaced(access_to(broker), vhost, Queue(arguments={"x-max-length": 20}))
    assert BrokerQueue(access_to(broker), vhost, "q").ready() == 20


# What a publisher may set


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("type_", TYPES)
def test_whatever_a_publisher_may_set_comes_through_once(
    start_broker: Callable[[str], Broker], vhost: str, version: str, type_: QueueType
) -> None:
    broker, user = start_broker(version), "someone"
    limit = {"x-delivery-limit": 3} if type_ is QueueType.QUORUM else {}
    declare(broker, vhost, {"x-queue-type": type_.value, **limit})
    api = management(broker)
    api.request("PUT", f"/users/{user}", {"password": "p", "tags": ""})
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    api.request("PUT", f"/permissions/{vhost}/{user}", everything)
    given = pika.BasicProperties(
        content_type="text/plain",
        content_encoding="utf-8",
        headers={"a": 1, "b": [1, "x"], "c": {"d": True}, "CC": ["other"], "big": 2**60},
        delivery_mode=2,
        priority=3,
        correlation_id="c",
        reply_to="r",
        expiration="600000",
        message_id="m",
        timestamp=1,
        type="t",
        user_id=user,
        app_id="app",
        cluster_id="cluster",
    )
    url = f"amqp://{user}:p@{broker.hosts[0]}/{vhost}"
    with pika.BlockingConnection(pika.URLParameters(url)) as theirs:
        channel = theirs.channel()
        channel.confirm_delivery()
        for number in range(300):
            channel.basic_publish("e", "k", str(number).encode(), given, mandatory=True)
    replaced(access_to(broker), vhost, Queue(type=other(type_)))
    with connect(broker, vhost) as connection:
        channel = connection.channel()
        for number in range(300):
            method, properties, body = channel.basic_get("q", auto_ack=True)
            assert method is not None
            assert (int(body), method.routing_key) == (number, "k")
            headers = dict(properties.headers)
            if version == "3.10":  # which counts what passes through a quorum queue
                headers.pop("x-delivery-count", None)
            assert headers == given.headers
            properties.headers = given.headers
            assert properties == given
        assert channel.basic_get("q")[0] is None
    api.request("DELETE", f"/users/{user}")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_delivery_limit_drops_nothing_that_was_on_its_way_when_the_broker_was_killed(
    vhost: str, version: str
) -> None:
    topology = Topology(vhost=vhost, queues={"q": Queue(type=QueueType.CLASSIC)})
    drained, held_now = own_name("drained", "q"), range(20_000)
    with Broker.start(version=version, report=print) as broker:
        declare(broker, vhost, {"x-queue-type": "quorum", "x-delivery-limit": 0})
        with connect(broker, vhost) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            lasting = pika.BasicProperties(delivery_mode=2)
            for number in held_now:
                channel.basic_publish("e", "k", str(number).encode(), lasting, mandatory=True)
        access = access_to(broker)
        with ThreadPoolExecutor() as threads:
            run = threads.submit(replaced, access_to(broker), vhost, topology.queues["q"])
            there = partial(access.exists, "queues", vhost, drained)
            wait_for(lambda: run.done() or there(), "the drained queue", seconds=60)
            moved = BrokerQueue(access, vhost, drained).ready
            wait_for(lambda: run.done() or moved() > 1000, "some moved")
            assert not run.done(), run.exception()
            broker.kill(0)
            assert run.exception()
        broker.restart(0)
        recovery.complete(access_to(broker), topology, print)
        with connect(broker, vhost) as connection:
            assert {number for number, _ in drain(connection.channel(), "q")} == set(held_now)
        assert not management(broker).get(f"/policies/{vhost}")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("type_", TYPES)
def test_a_policy_of_others_that_comes_meanwhile_takes_nothing_from_what_waits(
    start_broker: Callable[[str], Broker], vhost: str, version: str, type_: QueueType
) -> None:
    broker = start_broker(version)
    declare(broker, vhost, {"x-queue-type": type_.value})
    access, new = access_to(broker), Queue(type=other(type_))
    replacement = QueueReplacement(access=access, vhost=vhost, name="q", new=new, report=print)
    theirs = {"pattern": "", "definition": {"max-length": 1}, "priority": 1000}
    with connect(broker, vhost) as connection:
        channel = connection.channel()
        channel.confirm_delivery()

        def publish() -> None:
            for _ in range(10):
                channel.basic_publish("e", "k", b"", mandatory=True)

        publish()
        replacement.take_over()
        management(broker).request("PUT", f"/policies/{vhost}/theirs", theirs)
        publish()
        management(broker).request("DELETE", f"/policies/{vhost}/theirs")
    replacement.renew()
    assert BrokerQueue(access, vhost, "q").ready() == 20
    assert not access.policies(vhost)


# What the broker bears


@pytest.mark.parametrize("type_", TYPES)
def test_large_messages_are_moved_some_at_a_time(
    start_broker: Callable[[str], Broker],
    vhost: str,
    type_: QueueType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = start_broker("newest")
    declare(broker, vhost, {"x-queue-type": type_.value})
    access = access_to(broker)
    with connect(broker, vhost) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for _ in range(24):
            channel.basic_publish("", "q", b"x" * (4 << 20), mandatory=True)
    wait_for(lambda: shovel.mean_bytes(access, vhost, "q") > 4_000_000, "statistics")
    prefetches: list[int] = []
    start = shovel.Move._start

    def noted(move: shovel.Move, until: str | int) -> None:
        prefetches.append(move._prefetch)
        start(move, until)

    monkeypatch.setattr(shovel.Move, "_start", noted)
    replaced(access_to(broker), vhost, Queue(type=other(type_)))
    assert BrokerQueue(access, vhost, "q").ready() == 24
    assert len(prefetches) > 1
    assert all(1 <= prefetch <= 8 for prefetch in prefetches), prefetches


def test_nothing_is_replaced_while_the_broker_has_an_alarm_or_no_room(vhost: str) -> None:
    with Broker.start(version="4.0", report=print) as broker:
        declare(broker, vhost, {"x-queue-type": "classic"})
        with connect(broker, vhost) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            for _ in range(10):
                channel.basic_publish("e", "k", b"x" * (4 << 20), mandatory=True)
        broker.ctl("set_vm_memory_high_watermark", "absolute", "1")
        api = management(broker)

        def node(key: str) -> Any:
            return api.get("/nodes")[0].get(key)

        def size() -> int:
            return int(api.get(f"/queues/{vhost}/q").get("message_bytes", 0))

        wait_for(lambda: node("mem_alarm"), "alarm")
        access = access_to(broker)
        with pytest.raises(BrokerError, match="has a memory alarm"):
            replaced(access, vhost, Queue())
        broker.ctl("set_vm_memory_high_watermark", "0.6")
        wait_for(lambda: not node("mem_alarm"), "no alarm")
        wait_for(lambda: size() > 40_000_000, "statistics")
        broker.ctl("set_disk_free_limit", str(node("disk_free") - 20_000_000))
        wait_for(lambda: node("disk_free_limit") > 1_000_000_000, "the limit")
        # Another program may have taken those few MB by now: then it is an alarm.
        with pytest.raises(BrokerError, match=r"MB of disk left|has a disk alarm"):
            replaced(access, vhost, Queue())
        broker.ctl("set_disk_free_limit", "50MB")
        wait_for(lambda: node("disk_free_limit") < 1_000_000_000, "the former limit")
        wait_for(lambda: not node("disk_free_alarm"), "no alarm")
        replaced(access, vhost, Queue())
        assert BrokerQueue(access, vhost, "q").ready() == 10


# Bindings of others


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "arguments",
    [
        {"x-match": "any", "l": [1, "a"], "tab": {"k": 1}},
        {"x-match": "any", "l": [1, [2, 2**40]], "n": 5},
    ],
)
def test_numbers_within_arguments_of_bindings_keep_their_types(
    start_broker: Callable[[str], Broker], vhost: str, version: str, arguments: dict[str, Any]
) -> None:
    broker = start_broker(version)
    declare(broker, vhost, {"x-queue-type": "classic"})
    with connect(broker, vhost) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.exchange_declare("h", "headers", durable=True)
        channel.queue_bind("q", "h", arguments=arguments)
        replaced(access_to(broker), vhost, Queue())
        for key in arguments.keys() - {"x-match"}:
            header = pika.BasicProperties(headers={key: arguments[key]})
            channel.basic_publish("h", "", b"", header, mandatory=True)
    assert len(access_to(broker).bindings("exchanges", vhost, "h", "source")) == 1


def test_numbers_of_a_type_that_cannot_be_written_are_refused(
    start_broker: Callable[[str], Broker], vhost: str
) -> None:
    broker = start_broker("4.0")
    declare(broker, vhost, {"x-queue-type": "classic"})
    with connect(broker, vhost) as connection:
        connection.channel().exchange_declare("h", "headers", durable=True)
    queue, exchange = (
        f'rabbit_misc:r(<<"{vhost}">>, {kind}, <<"{name}">>)'
        for kind, name in (("queue", "q"), ("exchange", "h"))
    )
    table = '[{<<"l">>, array, [{short, 7}]}]'
    binding = f"{{binding, {exchange}, <<>>, {queue}, {table}}}"
    broker.ctl("eval", f'rabbit_binding:add({binding}, <<"test">>).')
    api, before = management(broker), held(broker, vhost)
    assert len(api.get(f"/bindings/{vhost}/e/h/q/q")) == 1
    with pytest.raises(BrokerError, match="cannot be made again just as it is"):
        replaced(access_to(broker), vhost, Queue())
    after = held(broker, vhost)
    after["queues"].pop(LOCK_QUEUE, None)
    assert after == before
