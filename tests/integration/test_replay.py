"""
Messages that are replayed: there and back again, chosen, in order, and with the process killed.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from rabbit_topology.broker import verbatim
from rabbit_topology.replays.message import OF_THE_QUEUE, REPLAYS
from tests.support.repository import ROOT
from tests.support.stacks import (
    PATIENCE_SECONDS,
    Stack,
    access_to,
    command,
    connect,
    drain,
    fill,
    management,
    wait_for,
)
from tests.unit.broker.test_verbatim import EVERY_TYPE, HEADERS, entry, table
from toolchain.broker import Broker

KILLS = 25
"""More than the delivery limit that quorum queues have by default."""


def replay(stack: Stack, queue: str, vhost: str, *options: str, status: int = 0) -> dict[str, Any]:
    """Replay, with this exit status; return the ledger."""
    where = ("--live", "--vhost", vhost, "--host", stack.broker.hosts[0])
    ended = command(stack, "replay", queue, *where, "--format", "json", *options)
    assert ended.returncode == status, ended.stdout + ended.stderr
    result: dict[str, Any] = json.loads(ended.stdout)
    assert result["taken"] == sum(one["count"] for one in result["replayed"] + result["left"])
    return result


def replayed(ledger: dict[str, Any]) -> dict[str, int]:
    return {one["queue"] or one["exchange"]: one["count"] for one in ledger["replayed"]}


def left(ledger: dict[str, Any]) -> dict[str, int]:
    return {one["why"]: one["count"] for one in ledger["left"]}


def refused(stack: Stack, vhost: str, *arguments: str) -> str:
    """Return why a replay was refused."""
    where = ("--live", "--vhost", vhost, "--host", stack.broker.hosts[0])
    ended = command(stack, "replay", *arguments, *where)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    return ended.stderr


def ready(channel: BlockingChannel, queue: str) -> int:
    return int(channel.queue_declare(queue, passive=True).method.message_count)


def waits(channel: BlockingChannel, queue: str, count: int) -> None:
    wait_for(lambda: ready(channel, queue) == count, f"{count} messages in {queue}")


def helpers(broker: Broker, vhost: str) -> list[str]:
    """Return what is there of a replay's own."""
    here, api = quote(vhost, safe=""), management(broker)
    listed = [*api.get(f"/exchanges/{here}"), *api.get(f"/policies/{here}")]
    return [one["name"] for one in listed if one["name"].startswith("rabbit-topology.")]


def take(channel: BlockingChannel, queue: str) -> tuple[Any, pika.BasicProperties, bytes]:
    """Take a message for good as soon as there is one."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        if method is not None:
            return method, properties, body
        assert time.monotonic() < deadline, f"nothing comes into {queue}"
        time.sleep(0.02)


def reject(channel: BlockingChannel, queue: str) -> None:
    """Have a queue dead-letter its next message."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        method, _, _ = channel.basic_get(queue)
        if method is not None:
            channel.basic_reject(method.delivery_tag, requeue=False)
            return
        assert time.monotonic() < deadline, f"nothing comes into {queue}"
        time.sleep(0.02)


def publish(channel: BlockingChannel, exchange: str, key: str, number: int, **given: Any) -> None:
    properties = pika.BasicProperties(delivery_mode=2, **given)
    channel.basic_publish(exchange, key, str(number).encode(), properties, mandatory=True)


@pytest.fixture
def patterns(stack: Stack, vhost: str) -> Iterator[BlockingChannel]:
    """A stack with a queue of each pattern, and a channel that publishes with confirms."""
    stack.configure(
        {
            "vhost": vhost,
            "exchanges": {"e": {"type": "topic", "unroutable": True}},
            "queues": {"work": {"dead_letter": True}, "tried": {"retry": {"delays": ["100ms"]}}},
            "bindings": [
                {"source": "e", "queue": "work", "routing_key": "work.#"},
                {"source": "e", "queue": "tried", "routing_key": "try.*"},
            ],
        }
    )
    stack.up()
    with connect(stack.broker, vhost) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel


@pytest.fixture
def plain(stack: Stack, vhost: str) -> Iterator[BlockingChannel]:
    """A vhost of its own without a stack, and a channel in it."""
    api, here = management(stack.broker), quote(vhost, safe="")
    api.request("PUT", f"/vhosts/{here}", {})
    api.request(
        "PUT", f"/permissions/{here}/guest", {"configure": ".*", "write": ".*", "read": ".*"}
    )
    with connect(stack.broker, vhost) as connection:
        yield connection.channel()
    api.request("DELETE", f"/vhosts/{here}")


def test_dead_letters_go_back_as_they_were(
    stack: Stack, vhost: str, patterns: BlockingChannel
) -> None:
    for number in range(20):
        publish(patterns, "e", "work.a", number, headers={"n": number}, message_id=str(number))
        reject(patterns, "work")
    waits(patterns, "work.dead-letter", 20)
    ledger = replay(stack, "work.dead-letter", vhost, "--limit", "15")
    assert replayed(ledger) == {"work": 15}
    assert replayed(replay(stack, "work.dead-letter", vhost)) == {"work": 5}
    for number in range(20):
        method, properties, body = take(patterns, "work")
        assert (int(body), properties.message_id, method.routing_key) == (
            number,
            str(number),
            "work.a",
        )
        headers = properties.headers
        assert (headers["n"], headers[REPLAYS]) == (number, 1)
        assert headers["x-death"][0]["queue"] == "work"
        # What stayed at first was counted there; this queue counts anew, RabbitMQ 3.10 from 0 on.
        assert not any(headers.get(name) for name in OF_THE_QUEUE)
    assert helpers(stack.broker, vhost) == []


def test_a_parked_message_gets_another_round_of_retries(
    stack: Stack, vhost: str, patterns: BlockingChannel
) -> None:
    publish(patterns, "e", "try.me", 7)
    for replays in (None, 1, 2):
        for key in ("try.me", "tried.retry.2"):
            wait_for(lambda: ready(patterns, "tried"), "it is tried")
            method, properties, _ = patterns.basic_get("tried")
            assert (method.routing_key, (properties.headers or {}).get(REPLAYS)) == (key, replays)
            patterns.basic_reject(method.delivery_tag, requeue=False)
        waits(patterns, "tried.parking-lot", 1)
        if replays != 2:
            assert replayed(replay(stack, "tried.parking-lot", vhost)) == {"tried": 1}


def test_what_no_binding_took_comes_back_until_one_does(
    stack: Stack, vhost: str, patterns: BlockingChannel
) -> None:
    for number in range(3):
        publish(patterns, "e", "nobody.wants", number)
    waits(patterns, "e.unroutable", 3)
    again = replay(stack, "e.unroutable", vhost, status=2)
    assert replayed(again) == {"e": 3}
    assert again["came_back"] == 3
    waits(patterns, "e.unroutable", 3)
    patterns.queue_bind("work", "e", "nobody.*")
    assert replayed(replay(stack, "e.unroutable", vhost)) == {"e": 3}
    for number in range(3):
        method, properties, body = take(patterns, "work")
        assert (int(body), method.exchange, method.routing_key) == (number, "e", "nobody.wants")
        assert properties.headers[REPLAYS] == 2


@pytest.mark.parametrize("kind", ["quorum", "classic"])
def test_what_is_not_chosen_comes_back_in_order_however_often_it_is_looked_at(
    stack: Stack, vhost: str, plain: BlockingChannel, kind: str
) -> None:
    for queue in ("errors", "work"):
        plain.queue_declare(queue, durable=True, arguments={"x-queue-type": kind})
    plain.confirm_delivery()
    for number in range(60):
        tenant = {"tenant": "abc"[number % 3]}
        publish(plain, "", "errors", number, headers=tenant)
    for _ in range(KILLS):
        dry = replay(stack, "errors", vhost, "--dry-run", "--to", "work", "--header", "tenant=b")
        assert replayed(dry) == {"work": 20}
        assert left(dry) == {"not selected": 40}
        waits(plain, "errors", 60)
    peeked = replay(stack, "errors", vhost, "--peek", "--limit", "4", "--to", "work")
    assert [one["headers"]["tenant"] for one in peeked["messages"]] == list("abca")
    assert ready(plain, "work") == 0
    waits(plain, "errors", 60)
    publish(plain, "", "errors", 60)
    replay(stack, "errors", vhost, "--to", "work", "--header", "tenant=b")
    waits(plain, "errors", 41)
    chosen, others = ([number for number, _ in drain(plain, queue)] for queue in ("work", "errors"))
    print(f"RabbitMQ {stack.broker.version}, {kind}: {chosen}, {others}")
    assert sorted(chosen) == [number for number in range(60) if number % 3 == 1]
    assert sorted(others) == [*(number for number in range(60) if number % 3 != 1), 60]
    if kind == "classic":
        assert (chosen, others) == (sorted(chosen), sorted(others))
    elif not stack.broker.version.startswith("3.10."):  # which mixes up what is given back
        # The four that were peeked at went behind all others that were given back before.
        assert chosen == [*sorted(set(chosen) - {1}), 1]
        assert others == [*sorted(set(others) - {0, 2, 3, 60}), 0, 2, 3, 60]
    assert replay(stack, "errors", vhost, "--to", "work")["taken"] == 0
    assert helpers(stack.broker, vhost) == []


def test_no_faster_than_the_rate(stack: Stack, vhost: str, plain: BlockingChannel) -> None:
    for queue in ("errors", "work"):
        plain.queue_declare(queue, durable=True)
    fill(plain, "errors", 20)
    began = time.monotonic()
    assert replayed(replay(stack, "errors", vhost, "--to", "work", "--rate", "5")) == {"work": 20}
    assert time.monotonic() - began > 19 / 5
    assert [number for number, _ in drain(plain, "work")] == list(range(20))


@pytest.mark.parametrize("kind", ["quorum", "classic"])
def test_killed_again_and_again_no_message_is_lost(
    stack: Stack, vhost: str, plain: BlockingChannel, kind: str
) -> None:
    for queue in ("errors", "work"):
        plain.queue_declare(queue, durable=True, arguments={"x-queue-type": kind})
    count, chance = 800, random.Random(1)
    fill(plain, "errors", count)
    for _ in range(KILLS):
        until = ready(plain, "work") + chance.randint(1, 20)
        process = _started(stack, vhost)
        try:
            wait_for(
                lambda until=until, process=process: (
                    ready(plain, "work") >= until or process.poll() is not None
                ),
                "some are replayed",
            )
            assert process.poll() is None, "it has to be killed at work"
        finally:
            process.kill()
            process.wait()
    assert ready(plain, "work") < count
    replay(stack, "errors", vhost, "--to", "work")
    waits(plain, "errors", 0)
    numbers = [number for number, _ in drain(plain, "work")]
    assert set(numbers) == set(range(count)), "messages are missing"
    # The broker may not have read the last acknowledgements of a process that is killed.
    assert len(numbers) <= count + 3 * KILLS, "few are there twice"
    assert helpers(stack.broker, vhost) == []


def _started(stack: Stack, vhost: str) -> subprocess.Popen[bytes]:
    broker = stack.broker
    reached = {
        "RABBITMQ_ENDPOINT": broker.endpoint,
        "RABBITMQ_USERNAME": broker.username,
        "RABBITMQ_PASSWORD": broker.password,
    }
    where = ("--live", "--vhost", vhost, "--host", broker.hosts[0])
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "rabbit_topology", "replay", "errors", "--to", "work"),
            *("--rate", "200", *where),
        ],
        cwd=stack.folder,
        env={**stack.env, **reached, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("kind", ["quorum", "classic"])
def test_properties_and_headers_come_through_as_the_broker_had_them(
    stack: Stack, vhost: str, plain: BlockingChannel, kind: str
) -> None:
    for queue in ("errors", "work", "other"):
        plain.queue_declare(queue, durable=True, arguments={"x-queue-type": kind})
    cc = b"S" + len(b"other").to_bytes(4, "big") + b"other"
    copied = entry(b"CC", b"A" + len(cc).to_bytes(4, "big") + cc)
    known = [header for name, header in zip(EVERY_TYPE, HEADERS, strict=True) if name != b"no time"]
    given = pika.BasicProperties(
        content_type="text/plain",
        content_encoding="none",
        headers={},
        delivery_mode=2,
        priority=3,
        correlation_id="corr",
        reply_to="reply",
        message_id="id",
        timestamp=1_700_000_000,
        type="kind",
        user_id="guest",
        app_id="app",
    )
    raw = b"".join(given.encode())
    before = 2 + 1 + len("text/plain") + 1 + len("none")
    assert raw[before : before + 4] == bytes(4)
    raw = raw[:before] + table(*known, copied) + raw[before + 4 :]
    plain.confirm_delivery()
    plain.basic_publish("", "errors", b"\x00\xff", verbatim.Verbatim(raw), mandatory=True)
    with verbatim.kept(plain):
        method, there, _ = plain.basic_get("errors")
        plain.basic_reject(method.delivery_tag, requeue=True)
        replay(stack, "errors", vhost, "--to", "work")
        _, here, body = take(plain, "work")
    assert ready(plain, "other") == 1, "what CC says went nowhere once more"
    assert body == b"\x00\xff"
    assert isinstance(there, verbatim.Verbatim)
    assert isinstance(here, verbatim.Verbatim)

    def plainly(properties: verbatim.Verbatim) -> bytes:
        own = OF_THE_QUEUE | {REPLAYS}
        return verbatim.with_headers(properties.raw, without=own, counts={})

    assert plainly(here) == plainly(there)
    assert here.headers[REPLAYS] == 1


def test_a_message_of_another_user_stays_until_it_may_go(
    stack: Stack, vhost: str, plain: BlockingChannel
) -> None:
    api, here = management(stack.broker), quote(vhost, safe="")
    for queue in ("errors", "work"):
        plain.queue_declare(queue, durable=True)
    api.request("PUT", f"/users/{vhost}", {"password": "secret", "tags": ""})
    rights = {"configure": ".*", "write": ".*", "read": ".*"}
    api.request("PUT", f"/permissions/{here}/{vhost}", rights)
    parameters = pika.URLParameters(f"amqp://{vhost}:secret@{stack.broker.hosts[0]}/{here}")
    with pika.BlockingConnection(parameters) as connection:
        theirs = connection.channel()
        theirs.confirm_delivery()
        publish(theirs, "", "errors", 1, user_id=vhost)
    fill(plain, "errors", 1)
    ledger = replay(stack, "errors", vhost, "--to", "work", status=2)
    assert (replayed(ledger), left(ledger)) == ({"work": 1}, {"user_id of another user": 1})
    user = api.get("/users/guest")
    tags = user["tags"] if isinstance(user["tags"], list) else user["tags"].split(",")
    api.request("PUT", "/users/guest", {**user, "tags": ",".join([*tags, "impersonator"])})
    try:
        assert replayed(replay(stack, "errors", vhost, "--to", "work")) == {"work": 1}
    finally:
        api.request("PUT", "/users/guest", {**user, "tags": ",".join(tags)})
        api.request("DELETE", f"/users/{vhost}")
    assert sorted(number for number, _ in drain(plain, "work")) == [0, 1]


def test_what_its_target_does_not_take_stays(
    stack: Stack, vhost: str, plain: BlockingChannel
) -> None:
    plain.queue_declare("errors", durable=True)
    full = {"x-max-length": 2, "x-overflow": "reject-publish"}
    plain.queue_declare("full", durable=True, arguments=full)
    plain.queue_declare("drops", durable=True, arguments={"x-max-length": 2})
    plain.exchange_declare("nowhere", "direct", durable=True)
    fill(plain, "errors", 9)
    into_full = replay(stack, "errors", vhost, "--to", "full", status=2)
    assert replayed(into_full)["full"] >= 2
    stays = 9 - replayed(into_full)["full"]
    assert left(into_full) == {"refused by the target": stays}
    into_drops = replay(stack, "errors", vhost, "--to", "drops", status=2)
    assert replayed(into_drops) == {"drops": 2}
    returned = replay(stack, "errors", vhost, "--to", "nowhere/key", status=2)
    assert left(returned) == {"returned as unroutable": stays - 2}
    everywhere = [
        number for queue in ("full", "drops", "errors") for number, _ in drain(plain, queue)
    ]
    assert sorted(everywhere) == list(range(9))


def test_what_could_lose_a_message_is_refused(
    stack: Stack, vhost: str, plain: BlockingChannel
) -> None:
    quorum = {"x-queue-type": "quorum"}
    plain.queue_declare("limited", durable=True, arguments={**quorum, "x-delivery-limit": 3})
    plain.queue_declare("log", durable=True, arguments={"x-queue-type": "stream"})
    plain.queue_declare("errors", durable=True, arguments=quorum)
    for queue in ("limited", "errors"):
        fill(plain, queue, 3)
    assert "messages could be lost" in refused(stack, vhost, "limited")
    assert "is a stream" in refused(stack, vhost, "log")
    assert "has no queue" in refused(stack, vhost, "nothing")
    assert "the queue itself" in refused(stack, vhost, "errors", "--to", "errors")
    assert "there is no queue" in refused(stack, vhost, "errors", "--to", "nothing")
    access = access_to(stack.broker)
    access.lock(vhost)
    assert "another run is changing this vhost" in refused(stack, vhost, "errors", "--dry-run")
    for queue in ("limited", "errors"):
        assert drain(plain, queue) == [(number, False) for number in range(3)]
