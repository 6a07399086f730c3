"""
Empty is something that is known: messages in states that are neither ready nor held count too.

Quorum queues of RabbitMQ 4.3 and newer delay what consumers give back, when they are told to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pika.adapters.blocking_connection import BlockingChannel

from rabbit_topology.errors import BrokerError
from rabbit_topology.messages import deletion, survey
from rabbit_topology.messages.queue import BrokerQueue
from rabbit_topology.model import Queue, QueueType
from rabbit_topology.safety import limits, stand_ins
from rabbit_topology.safety.queue_replacement import QueueReplacement
from tests.support.amqp10 import give_back_until
from tests.support.stacks import (
    Stack,
    access_to,
    connect,
    drain,
    fill,
    management,
    start_once,
    wait_for,
)
from toolchain.broker import Broker

DELAYS = {"x-delayed-retry-type": "all", "x-delayed-retry-min": 120_000}
"""Queue arguments: what is given back is delayed by two minutes."""


@pytest.fixture(scope="module")
def start_as_it_comes() -> Iterator[Callable[[str], Broker]]:
    """Start a broker whose statistics take 5 s to be published and 5 s to be collected."""
    with start_once() as start:
        yield start


@pytest.fixture
def delaying(start_broker: Callable[[str], Broker]) -> Broker:
    return start_broker("newest")


@pytest.fixture
def stack(tmp_path: Path, engine_env: dict[str, str], delaying: Broker) -> Stack:
    return Stack(tmp_path, engine_env, delaying)


def delay(channel: BlockingChannel, queue: str, count: int) -> None:
    """Put messages into a queue and give all of them back."""
    fill(channel, queue, count)
    taken = [channel.basic_get(queue)[0] for _ in range(count)]
    for method in taken:
        assert method
        channel.basic_nack(method.delivery_tag, requeue=True)
    wait_for(lambda: channel.basic_get(queue)[0] is None, "none is ready")


def config(vhost: str, **arguments: Any) -> dict[str, Any]:
    queue = {"arguments": {**DELAYS, **arguments}}
    return {"vhost": vhost, "exchanges": {"e": {}}, "queues": {"q": queue, "other": {}}}


def without(topology: dict[str, Any], name: str) -> dict[str, Any]:
    queues = {key: one for key, one in topology["queues"].items() if key != name}
    return {**topology, "queues": queues}


@pytest.mark.parametrize("statistics", ["every second", "as they come"])
def test_delayed_messages_are_not_deleted_with_their_queue(
    tmp_path: Path,
    engine_env: dict[str, str],
    start_broker: Callable[[str], Broker],
    start_as_it_comes: Callable[[str], Broker],
    vhost: str,
    statistics: str,
) -> None:
    start = start_broker if statistics == "every second" else start_as_it_comes
    broker = start("newest")
    stack, admin = Stack(tmp_path, engine_env, broker), management(broker)
    whole = config(vhost)
    stack.configure(whole)
    stack.up()
    with connect(broker, vhost) as connection:
        delay(connection.channel(), "q", 5)

    stack.configure(without(whole, "q"))
    warned = stack.preview()
    refused = stack.up(check=False)
    stack.configure(without(whole, "q"), safety={"preview": "error"})
    stopped = stack.preview(check=False)
    held = "0 ready, 0 unacknowledged, 5 delayed, 0 consumers"
    assert f"would lose 5 messages in queue q ({held})" in warned.text
    assert refused.status
    assert f"queue q holds {held}" in refused.text
    assert stopped.status
    assert held in stopped.text

    stack.configure(whole)
    destroyed = stack.destroy(check=False)
    assert destroyed.status
    assert f"queue q holds {held}" in destroyed.text
    assert set(survey.names(access_to(broker), vhost)) == {"q", "other"}

    admin.request("DELETE", f"/queues/{vhost}/q/contents")
    stack.configure(without(whole, "q"))
    stack.up()
    assert survey.names(access_to(broker), vhost) == ["other"]


def test_delayed_messages_of_others_keep_the_vhost(
    stack: Stack, delaying: Broker, vhost: str
) -> None:
    stack.configure({"vhost": vhost, "exchanges": {}, "queues": {}})
    stack.up()
    with connect(delaying, vhost) as connection:
        channel = connection.channel()
        theirs = {"x-queue-type": "quorum", **DELAYS}
        channel.queue_declare("theirs", durable=True, arguments=theirs)
        delay(channel, "theirs", 4)
    refused = stack.destroy(check=False)
    assert refused.status
    assert "queue theirs holds 0 ready, 0 unacknowledged, 4 delayed" in refused.text
    management(delaying).request("DELETE", f"/queues/{vhost}/theirs")
    stack.destroy()


@pytest.fixture
def queue(delaying: Broker, vhost: str) -> Iterator[BlockingChannel]:
    """A vhost with a queue `q` that delays, and a channel to it."""
    management(delaying).request("PUT", f"/vhosts/{vhost}")
    with connect(delaying, vhost) as connection:
        channel = connection.channel()
        channel.queue_declare("q", durable=True, arguments={"x-queue-type": "quorum", **DELAYS})
        yield channel


def test_a_message_that_came_and_was_delayed_since_the_survey_is_seen(
    queue: BlockingChannel, delaying: Broker, vhost: str
) -> None:
    access = access_to(delaying)
    surveyed = survey.survey(access, vhost)
    assert surveyed["q"].empty
    delay(queue, "q", 1)
    assert not deletion.delete_empty(BrokerQueue(access, vhost, "q"), QueueType.QUORUM)
    result = BrokerQueue(access, vhost, "q").read()
    assert result
    assert (result.messages, result.delayed) == (1, 1)


def test_once_surveyed_an_idle_queue_is_deleted_without_another_wait(
    queue: BlockingChannel, delaying: Broker, vhost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = access_to(delaying)
    assert survey.survey(access, vhost)["q"].empty
    listed: list[str] = []
    get = type(access.management).get
    monkeypatch.setattr(
        type(access.management), "get", lambda self, path: listed.append(path) or get(self, path)
    )
    assert deletion.delete_empty(BrokerQueue(access, vhost, "q"), QueueType.QUORUM)
    assert not any("columns=" in path for path in listed)
    assert survey.names(access, vhost) == []


def test_who_took_a_message_with_get_counts_as_holding_it(broker: Broker, vhost: str) -> None:
    management(broker).request("PUT", f"/vhosts/{vhost}")
    access = access_to(broker)
    with connect(broker, vhost) as connection:
        channel = connection.channel()
        channel.queue_declare("q", durable=True, arguments={"x-queue-type": "quorum"})
        fill(channel, "q", 1)
        channel.basic_get("q")
        result = BrokerQueue(access, vhost, "q").read()
        assert result
        assert (result.messages, result.unacknowledged) == (1, 1)
        assert not deletion.delete_if_empty(BrokerQueue(access, vhost, "q"))


def test_a_limit_counts_delayed_messages(
    queue: BlockingChannel, delaying: Broker, vhost: str
) -> None:
    delay(queue, "q", 5)
    new = {
        "name": "p",
        "pattern": "^q$",
        "apply-to": "queues",
        "priority": 1,
        "definition": {"max-length": 2},
    }
    access = access_to(delaying)
    reasons = dict(limits.dropped(access, vhost, "p", new, operator=False))
    assert reasons == {"q": "max-length: none -> 2: it holds 5 messages, the oldest 3 would go"}
    wait_for(
        lambda: dict(limits.dropped(access, vhost, "p", new, operator=False, patience=0.0)),
        "a preview says so as well",
    )


def test_a_queue_is_replaced_when_its_delayed_messages_are_due(
    stack: Stack, delaying: Broker, vhost: str
) -> None:
    short = {"x-delayed-retry-min": 8_000}
    stack.configure(config(vhost, **short))
    stack.up()
    with connect(delaying, vhost) as connection:
        delay(connection.channel(), "q", 3)
    stack.configure(config(vhost, **{"x-delayed-retry-min": 9_000}))
    updated = stack.up()
    assert "delays 3 messages, which are waited for: up to" in updated.text
    with connect(delaying, vhost) as connection:
        assert [number for number, _ in drain(connection.channel(), "q")] == [0, 1, 2]


def test_what_a_consumer_delays_is_refused_whatever_the_settings(
    stack: Stack, delaying: Broker, vhost: str
) -> None:
    plain = {"vhost": vhost, "exchanges": {}, "queues": {"q": {}, "other": {}}}
    stack.configure(plain)
    stack.up()
    with connect(delaying, vhost) as connection:
        fill(connection.channel(), "q", 3)
    in_ten_minutes = int((time.time() + 600) * 1000)
    give_back_until(delaying.hosts[0], vhost, "q", 3, in_ten_minutes)

    stack.configure(without(plain, "q"))
    for text in (stack.preview().text, stack.up(check=False).text):
        assert "0 ready, 0 unacknowledged, 3 delayed, 0 consumers" in text
    stack.configure({**plain, "queues": {"q": {"type": "classic"}, "other": {}}})
    for text in (stack.preview().text, stack.up(check=False).text):
        assert "queue q cannot be replaced now: it delays 3 messages, the last of them is" in text
        assert "consumers say so (x-opt-delivery-time)" in text
    access = access_to(delaying)
    assert stand_ins.leftovers(access, vhost) == []
    result = BrokerQueue(access, vhost, "q").read()
    assert result
    assert result.delayed == 3


@pytest.mark.parametrize("safety", [None, {"preview": "error"}])
def test_a_queue_that_delays_for_long_is_not_touched(
    stack: Stack, delaying: Broker, vhost: str, safety: dict[str, str] | None
) -> None:
    an_hour = {"x-delayed-retry-min": 3_600_000}
    stack.configure(config(vhost, **an_hour))
    stack.up()
    with connect(delaying, vhost) as connection:
        delay(connection.channel(), "q", 3)
    stack.configure(config(vhost, **an_hour, **{"x-single-active-consumer": True}), safety=safety)
    warned = stack.preview(check=False)
    assert bool(warned.status) == bool(safety)
    began = time.monotonic()
    refused = stack.up(check=False)
    assert time.monotonic() - began < 120
    assert refused.status
    for text in (warned.text, refused.text):
        assert "queue q cannot be replaced now: it delays 3 messages" in text
        assert "up to 3,600 s, as its settings say" in text
    assert stand_ins.leftovers(access_to(delaying), vhost) == []
    assert "putting everything back" not in refused.text


def test_traffic_is_not_held_for_messages_that_are_delayed_for_long(
    delaying: Broker, vhost: str
) -> None:
    management(delaying).request("PUT", f"/vhosts/{vhost}")
    access = access_to(delaying)
    with connect(delaying, vhost) as connection:
        channel = connection.channel()
        an_hour = {"x-queue-type": "quorum", **DELAYS, "x-delayed-retry-min": 3_600_000}
        channel.queue_declare("q", durable=True, arguments=an_hour)
        delay(channel, "q", 2)
        state = BrokerQueue(access, vhost, "q").state()
        assert state
        began = time.monotonic()
        taken = QueueReplacement(access=access, vhost=vhost, name="q", new=Queue(), report=print)
        with pytest.raises(BrokerError, match="cannot be replaced now: it delays 2 messages"):
            taken._drain(state)
        assert time.monotonic() - began < 100
        assert survey.names(access, vhost) == ["q"]


def test_forty_empty_queues_leave_in_one_go(
    tmp_path: Path,
    engine_env: dict[str, str],
    start_as_it_comes: Callable[[str], Broker],
    vhost: str,
) -> None:
    broker = start_as_it_comes("newest")
    stack = Stack(tmp_path, engine_env, broker)
    queues = {f"q{number}": {} for number in range(40)}
    stack.configure({"vhost": vhost, "exchanges": {}, "queues": {**queues, "stays": {}}})
    stack.up()
    stack.configure({"vhost": vhost, "exchanges": {}, "queues": {"stays": {}}})
    began = time.monotonic()
    assert stack.up().changes["deleted"] == 40
    # One after the other, each would wait for 6 to 10 s; `bench/` says what it really takes.
    assert time.monotonic() - began < 150
    assert survey.names(access_to(broker), vhost) == ["stays"]
