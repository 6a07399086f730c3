"""
Each pattern by messages, on every version: what comes in, where it ends up, and when.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from rabbit_topology.broker.access import Access
from rabbit_topology.compiler.urls import parse_host
from rabbit_topology.messages.contents import Contents
from rabbit_topology.messages.queue import BrokerQueue
from rabbit_topology.model import QueueType
from tests.support.stacks import (
    PATIENCE_SECONDS,
    Stack,
    connect,
    management,
    read_stream,
    wait_for,
)
from tests.support.versions import VERSIONS

VHOST = "patterns"
TOPOLOGY: dict[str, Any] = {
    "vhost": VHOST,
    "exchanges": {
        "e": {"type": "topic", "unroutable": True, "delays": ["400ms"]},
        "news": {"type": "fanout"},
    },
    "queues": {
        "work": {"dead_letter": True, "delivery_limit": 2},
        "classic": {"type": "classic", "dead_letter": True, "max_length": 2},
        "brief": {"dead_letter": True, "message_ttl": "200ms"},
        "stuck": {"dead_letter": True},
        "tried": {"retry": {"delays": ["300ms", "600ms"]}},
        "poison": {"retry": {"delays": ["100ms"]}, "delivery_limit": 2},
        "late": {},
        "urgent": {"type": "classic", "max_priority": 5},
        "reader.one": {},
        "reader.two": {},
        "log": {"type": "stream"},
    },
    "bindings": [
        {"source": "e", "queue": "tried", "routing_key": "try.*"},
        {"source": "e", "queue": "late", "routing_key": "late.*"},
        {"source": "news", "queue": "reader.one"},
        {"source": "news", "queue": "reader.two"},
        {"source": "e", "queue": "log", "routing_key": "log"},
    ],
    "super_streams": {"clicks": {"partitions": 2}},
}
SLACK_SECONDS = 10.0
"""How much later than due a message may come on a busy machine."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One message, and when it came."""

    body: bytes
    key: str
    exchange: str
    headers: dict[str, Any]
    priority: int | None
    tag: int
    at: float


@dataclass(frozen=True, kw_only=True)
class Client:
    """One channel with publisher confirms."""

    channel: BlockingChannel

    def send(self, exchange: str, key: str, body: bytes = b"x", **properties: Any) -> None:
        result = pika.BasicProperties(delivery_mode=2, **properties)
        self.channel.basic_publish(exchange, key, body, result, mandatory=True)

    def get(self, queue: str, patience: float = PATIENCE_SECONDS) -> Delivery:
        """Take the next message of a queue as soon as it is there; it stays unacknowledged."""
        deadline = time.monotonic() + patience
        while True:
            method, properties, body = self.channel.basic_get(queue)
            if method is not None:
                return Delivery(
                    body=body,
                    key=method.routing_key,
                    exchange=method.exchange,
                    headers=properties.headers or {},
                    priority=properties.priority,
                    tag=method.delivery_tag,
                    at=time.monotonic(),
                )
            assert time.monotonic() < deadline, f"nothing comes into {queue}"
            time.sleep(0.01)

    def take(self, queue: str) -> Delivery:
        """Take the next message of a queue for good."""
        result = self.get(queue)
        self.channel.basic_ack(result.tag)
        return result

    def reject(self, delivery: Delivery) -> float:
        self.channel.basic_reject(delivery.tag, requeue=False)
        return time.monotonic()

    def is_empty(self, queue: str) -> bool:
        return bool(self.channel.queue_declare(queue, passive=True).method.message_count == 0)


@pytest.fixture(scope="module", params=VERSIONS)
def stack(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    engine_env: dict[str, str],
    start_broker: Callable[[str], Any],
) -> Stack:
    stack = Stack(tmp_path_factory.mktemp("stack"), engine_env, start_broker(request.param))
    stack.configure(TOPOLOGY)
    stack.up()
    return stack


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with connect(stack.broker, VHOST) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        yield Client(channel=channel)


def deaths(delivery: Delivery) -> dict[tuple[str, str], Any]:
    """Return the entries of ``x-death`` by queue and reason."""
    return {(one["queue"], one["reason"]): one for one in delivery.headers["x-death"]}


def test_dead_letter_takes_what_is_rejected(client: Client) -> None:
    client.send("", "work", b"bad", headers={"n": 1})
    client.reject(client.get("work"))
    dead = client.take("work.dead-letter")
    assert (dead.body, dead.key, dead.headers["n"]) == (b"bad", "work", 1)
    assert list(deaths(dead)) == [("work", "rejected")]


def test_dead_letter_takes_what_exceeds_the_delivery_limit(stack: Stack, client: Client) -> None:
    client.send("", "work", b"crashing")
    crash(stack, "work", times=3)
    dead = client.take("work.dead-letter")
    assert list(deaths(dead)) == [("work", "delivery_limit")]


def test_dead_letter_takes_what_expires(client: Client) -> None:
    sent = time.monotonic()
    client.send("", "brief")
    dead = client.take("brief.dead-letter")
    assert 0.2 <= dead.at - sent < 0.2 + SLACK_SECONDS
    assert list(deaths(dead)) == [("brief", "expired")]


def test_dead_letter_takes_the_oldest_of_too_many(client: Client) -> None:
    for number in range(3):
        client.send("", "classic", b"%d" % number)
    assert client.take("classic.dead-letter").body == b"0"
    assert [client.take("classic").body for _ in range(2)] == [b"1", b"2"]


def test_dead_letter_waits_until_the_target_can_take_it(stack: Stack, client: Client) -> None:
    client.channel.queue_unbind("stuck.dead-letter", "stuck.dead-letter", "")
    client.send("", "stuck")
    client.reject(client.get("stuck"))
    client.channel.close()
    access = Access(
        management=management(stack.broker),
        addresses=[parse_host(host, tls=False) for host in stack.broker.hosts],
    )
    result = BrokerQueue(access, VHOST, "stuck").read()
    assert result == Contents(
        kind=QueueType.QUORUM, ready=0, unacknowledged=0, consumers=0, dead_letters=1
    )
    assert result.in_use, "so the queue is not deleted with it"


def test_retry_comes_back_after_each_delay_in_order_and_ends_in_the_parking_lot(
    client: Client,
) -> None:
    body, headers = bytes(range(256)), {"n": 1, "text": "ü"}
    client.send("e", "try.me", body, headers=headers, message_id="m")
    keys, rejected = [], 0.0
    for delay in (None, 0.3, 0.6):
        tried = client.get("tried")
        keys.append(tried.key)
        assert tried.body == body
        if delay:
            assert delay <= tried.at - rejected < delay + SLACK_SECONDS
        rejected = client.reject(tried)
    assert keys == ["try.me", "tried.retry.2", "tried.retry.3"]
    parked = client.take("tried.parking-lot")
    assert parked.body == body
    assert parked.headers.items() >= headers.items()
    result = deaths(parked)
    assert result["tried", "rejected"]["routing-keys"] == ["try.me"]
    assert result["tried", "rejected"]["exchange"] == "e"
    assert result["tried", "rejected"]["count"] == 3
    assert {queue for queue, _ in result} == {"tried", "tried.retry.1", "tried.retry.2"}


def test_retry_of_what_is_taken_at_the_second_try_is_over(client: Client) -> None:
    client.send("e", "try.me", b"once")
    client.reject(client.get("tried"))
    again = client.take("tried")
    assert (again.body, again.key) == (b"once", "tried.retry.2")
    time.sleep(0.8)  # longer than the delay that would be next
    for queue in ("tried", "tried.retry.1", "tried.retry.2", "tried.parking-lot"):
        assert client.is_empty(queue), queue


def test_retry_parks_what_makes_its_consumers_crash(stack: Stack, client: Client) -> None:
    if _version(stack) < (3, 13):  # the broker does not say why, and drops it: lint says so
        client.send("", "poison", b"never rejected")
        crash(stack, "poison", times=3)
        time.sleep(1)
        for queue in ("poison", "poison.retry.1", "poison.parking-lot"):
            assert client.is_empty(queue), queue
        return
    client.send("", "poison", b"rejected first")
    client.reject(client.get("poison"))
    crash(stack, "poison", times=2 if _version(stack) >= (4, 3) else 3)  # from 4.3 on both count
    client.send("", "poison", b"never rejected")
    crash(stack, "poison", times=3)
    parked = {client.take("poison.parking-lot").body for _ in range(2)}
    assert parked == {b"rejected first", b"never rejected"}


def test_unroutable_keeps_what_no_binding_takes(client: Client) -> None:
    client.send("e", "nobody.wants", b"kept")
    kept = client.take("e.unroutable")
    assert (kept.body, kept.key, kept.exchange) == (b"kept", "nobody.wants", "e")


def test_delays_bring_a_message_later_with_its_own_key(client: Client) -> None:
    sent = time.monotonic()
    client.send("e.delay.400ms", "late.news", b"later", headers={"n": 1})
    late = client.take("late")
    assert 0.4 <= late.at - sent < 0.4 + SLACK_SECONDS
    assert (late.body, late.key, late.exchange) == (b"later", "late.news", "e")
    assert late.headers["n"] == 1


def test_priority_is_the_order(client: Client) -> None:
    sent = (1, 5, 3, 0, 5, 2)
    for priority in sent:
        client.send("", "urgent", priority=priority)
    assert [client.take("urgent").priority for _ in sent] == sorted(sent, reverse=True)


def test_publish_subscribe_reaches_every_reader(client: Client) -> None:
    client.send("news", "ignored", b"all")
    assert {client.take(f"reader.{one}").body for one in ("one", "two")} == {b"all"}


def test_competing_workers_share_a_queue(client: Client) -> None:
    for number in range(20):
        client.send("", "late", b"%d" % number)
    taken: dict[str, list[int]] = {"one": [], "two": []}
    client.channel.basic_qos(prefetch_count=1)

    def worker(name: str) -> Callable[..., None]:
        def work(channel: BlockingChannel, method: Any, _: Any, body: bytes) -> None:
            taken[name].append(int(body))
            channel.basic_ack(method.delivery_tag)

        return work

    for name in taken:
        client.channel.basic_consume("late", worker(name))
    wait_for(lambda: client.channel.connection.process_data_events(0.1) or _all(taken), "all")
    assert sorted(taken["one"] + taken["two"]) == list(range(20))
    assert all(taken.values())


def test_a_stream_is_read_again_from_its_first_message(client: Client) -> None:
    for number in range(5):
        client.send("e", "log", b"%d" % number)
    for _ in range(2):
        assert read_stream(client.channel, "log", 5) == list(range(5))


def test_a_super_stream_puts_each_key_into_its_partition(client: Client) -> None:
    for number in range(6):
        client.send("clicks", str(number % 2), b"%d" % number)
    assert read_stream(client.channel, "clicks-0", 3) == [0, 2, 4]
    assert read_stream(client.channel, "clicks-1", 3) == [1, 3, 5]


def crash(stack: Stack, queue: str, *, times: int) -> None:
    """Take the one message of a queue and go away without a word."""
    for _ in range(times):
        with connect(stack.broker, VHOST) as connection:
            Client(channel=connection.channel()).get(queue)


def _all(taken: dict[str, list[int]]) -> bool:
    return sum(map(len, taken.values())) == 20


def _version(stack: Stack) -> tuple[int, ...]:
    return tuple(map(int, stack.broker.version.split(".")[:2]))
