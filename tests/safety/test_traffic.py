"""The harness itself: that it is fast enough, and that it sees each defect that it reports."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pika
import pytest

from tests.safety.messages import Messages, differences, without_added
from tests.safety.scenarios import Scale
from tests.safety.traffic import Consumption, Publication, Traffic, amqp_urls
from tests.support.stacks import connect
from toolchain.broker import Broker

_numbers = count(1)
real_broker = pytest.mark.integration


@pytest.fixture
def channel(broker_4_0: Broker) -> Iterator[Any]:
    with connect(broker_4_0, "/") as connection:
        yield connection.channel()


@pytest.fixture
def queue(broker_4_0: Broker) -> str:
    """A durable queue, bound to the direct exchange of its own name by its own name."""
    name = f"traffic-{next(_numbers)}"
    with connect(broker_4_0, "/") as connection:
        _declare(connection.channel(), name)
    return name


def _declare(channel: Any, name: str) -> None:
    channel.exchange_declare(name, durable=True)
    channel.queue_declare(name, durable=True)
    channel.queue_bind(name, name, name)


def _traffic(folder: Path, broker: Broker, queue: str, **settings: Any) -> Traffic:
    exchange, consumed = settings.pop("exchange", queue), settings.pop("consumed", {})
    return Traffic(
        folder,
        amqp_urls(broker.hosts, "/"),
        [Publication(exchange=exchange, routing_key=exchange, queues=[queue])],
        [Consumption(queue=queue, **consumed)],
        **{"rate": 500, **settings},
    )


@contextmanager
def _relay(broker: Broker, source: str, target: str, passing: Any) -> Iterator[None]:
    """Move messages as ``passing`` says: it gets batches of two and yields what to publish."""
    ended = Event()

    def run() -> None:
        with connect(broker, "/") as connection:
            channel = connection.channel()
            batch = []
            for method, properties, body in channel.consume(source, inactivity_timeout=0.1):
                if method is None:
                    if ended.is_set():
                        break
                    continue
                batch.append((method, properties, body))
                if len(batch) == 2:
                    for relayed, content in passing(*(one[1:] for one in batch)):
                        channel.basic_publish(target, target, content, relayed)
                    channel.basic_ack(batch[-1][0].delivery_tag, multiple=True)
                    batch.clear()

    thread = Thread(target=run)
    thread.start()
    yield
    ended.set()
    thread.join()


@real_broker
def test_an_undisturbed_queue_loses_nothing_at_the_rate_of_the_figures(
    tmp_path: Path, broker_4_0: Broker, queue: str, scale: Scale
) -> None:
    with _traffic(tmp_path, broker_4_0, queue, rate=scale.top_rate) as traffic:
        traffic.flow(10_000)
        report = traffic.finish()
    print(report.table())
    assert report.rate >= scale.minimum_rate
    assert report.delivered == report.confirmed >= 10_000
    assert (report.lost, report.twice, report.out_of_order, report.returned) == (0, 0, 0, 0)
    assert not report.altered
    assert report.sound


@real_broker
def test_messages_that_are_purged_are_lost(
    tmp_path: Path, broker_4_0: Broker, queue: str, channel: Any
) -> None:
    with _traffic(tmp_path, broker_4_0, queue, consumed={"consumers": 0}, count=300) as traffic:
        traffic.publish_all()
        purged = channel.queue_purge(queue).method.message_count
        report = traffic.finish(patience=1)
    assert (report.confirmed, report.lost, report.delivered) == (300, purged, 300 - purged)
    assert purged == 300
    assert not report.sound
    assert f"{queue}" in report.table(), "some of the lost are named"


@real_broker
def test_messages_of_a_deleted_queue_are_lost_and_publishers_and_consumers_come_back(
    tmp_path: Path, broker_4_0: Broker, queue: str, channel: Any
) -> None:
    consumed = {"work_seconds": 0.005, "prefetch": 10}
    with _traffic(tmp_path, broker_4_0, queue, consumed=consumed) as traffic:
        traffic.flow(100)
        lost = channel.queue_delete(queue).method.message_count
        time.sleep(0.3)
        channel.exchange_delete(queue)
        time.sleep(0.3)
        _declare(channel, queue)
        traffic.flow(100)
        report = traffic.finish(patience=1.5)
    # Of the ten that the consumer held none is lost: it works them off.
    assert 0 < lost <= report.lost <= lost + 10
    assert report.returned, "mandatory: no queue was bound"
    assert report.unconfirmed, "the channel closed: no exchange was there"
    assert report.longest_gap > 0.3


@real_broker
def test_a_repeat_without_a_reason_is_twice(
    tmp_path: Path, broker_4_0: Broker, queue: str, channel: Any
) -> None:
    holding = f"{queue}-holding"
    _declare(channel, holding)
    channel.queue_bind(holding, queue, queue)
    with _traffic(tmp_path, broker_4_0, queue, count=200) as traffic:
        with _relay(broker_4_0, holding, queue + "-back", lambda *both: both):
            channel.exchange_declare(f"{queue}-back", "fanout")
            channel.queue_bind(queue, f"{queue}-back")
            traffic.publish_all()
        report = traffic.finish()
    assert (report.confirmed, report.delivered, report.lost) == (200, 200, 0)
    assert report.twice == 200
    assert report.redelivered == report.republished == 0
    assert report.rerouted == 200


@real_broker
def test_what_a_relay_changes_is_named(
    tmp_path: Path, broker_4_0: Broker, queue: str, channel: Any
) -> None:
    def change(first: Any, second: Any) -> Iterator[Any]:
        first[0].headers["text"] = "changed"
        second[0].delivery_mode = 1
        return iter([first, (second[0], second[1] + b"!")])

    front = f"{queue}-front"
    _declare(channel, front)
    settings = {"exchange": front, "count": 200}
    with (
        _relay(broker_4_0, front, queue, change),
        _traffic(tmp_path, broker_4_0, queue, **settings) as traffic,
    ):
        traffic.publish_all()
        report = traffic.finish()
    assert (report.lost, report.delivered) == (0, 200)
    assert report.altered["header text"] == 100
    assert report.altered["delivery_mode"] == report.altered["body"] == 100
    assert not report.sound


@real_broker
def test_a_relay_that_swaps_is_out_of_order(
    tmp_path: Path, broker_4_0: Broker, queue: str, channel: Any
) -> None:
    front = f"{queue}-front"
    _declare(channel, front)
    channel.queue_purge(front)
    held: list[Any] = []

    def swap(*both: Any) -> Iterator[Any]:
        # Ten at a time, in reverse: five and more apart, so that priorities are the same.
        held.extend(both)
        if len(held) == 10:
            yield from reversed(held)
            held.clear()

    settings = {"exchange": front, "count": 200}
    with (
        _relay(broker_4_0, front, queue, swap),
        _traffic(tmp_path, broker_4_0, queue, **settings) as traffic,
    ):
        traffic.publish_all()
        report = traffic.finish()
    assert (report.lost, report.twice) == (0, 0)
    assert report.out_of_order == 100


@real_broker
def test_a_pause_is_the_longest_gap(tmp_path: Path, broker_4_0: Broker, queue: str) -> None:
    with _traffic(tmp_path, broker_4_0, queue) as traffic:
        traffic.flow(100)
        traffic.pause()
        time.sleep(1)
        traffic.resume()
        traffic.flow(100)
        report = traffic.finish()
    assert report.lost == 0
    assert report.longest_gap > 0.9
    assert report.longest_stall < report.longest_gap


@real_broker
def test_redelivered_and_sent_again_are_told_apart_from_twice(
    tmp_path: Path, broker_4_0: Broker, queue: str
) -> None:
    with _traffic(tmp_path, broker_4_0, queue, consumed={"work_seconds": 0.002}) as traffic:
        for _ in range(3):
            traffic.flow(100)
            broker_4_0.ctl("close_all_connections", "a test closes them")
        traffic.flow(100)
        report = traffic.finish()
    assert report.lost == report.twice == 0
    assert not report.altered


@real_broker
def test_each_queue_of_a_publication_counts(
    tmp_path: Path, broker_4_0: Broker, queue: str, channel: Any
) -> None:
    other = f"{queue}-other"
    channel.queue_declare(other, durable=True)
    traffic = Traffic(
        tmp_path,
        amqp_urls(broker_4_0.hosts, "/"),
        [Publication(exchange=queue, routing_key=queue, queues=[queue, other])],
        [Consumption(queue=queue), Consumption(queue=other)],
        count=100,
    )
    with traffic:
        traffic.publish_all()
        report = traffic.finish(patience=1)
    assert (report.confirmed, report.delivered, report.lost, report.returned) == (100, 100, 100, 0)


def test_a_message_is_known_from_its_number() -> None:
    publications = [Publication(exchange="e", queues=["q"], headers={"kind": "order"})]
    one, two = (
        Messages(3, publications, body_bytes=100, expiration=5000).content(7) for _ in range(2)
    )
    assert one == two
    properties, body = one
    assert len(body) == 100
    assert without_added(properties) == (properties, [])
    decoded = pika.BasicProperties()
    decoded.decode(properties)
    assert decoded.message_id == "3-7"
    assert decoded.expiration == "5000"
    assert decoded.headers["kind"] == "order"
    assert decoded.headers["nested"] == {"deep": {"deeper": -(2**40)}}


def test_headers_that_brokers_add_are_not_changes() -> None:
    properties, body = Messages(1, [Publication(exchange="e", queues=[])], body_bytes=50).content(1)
    decoded = pika.BasicProperties()
    decoded.decode(properties)
    added = b"\x10x-delivery-countl" + bytes(7) + b"\x02"
    start = 2 + 1 + properties[2]
    size = int.from_bytes(properties[start : start + 4])
    longer = properties[:start] + (size + len(added)).to_bytes(4) + added + properties[start + 4 :]
    assert without_added(longer) == (properties, ["x-delivery-count"])
    assert set(differences((properties, body), (longer, body))) == {"header x-delivery-count"}
