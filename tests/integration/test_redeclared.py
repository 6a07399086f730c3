"""
Clients that declare again what is replaced, in the moment in which it is away.

Many client libraries declare what they consume whenever they subscribe.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import Consumer, Publisher
from tests.support.stacks import Stack, held, wait_for, wanted
from tests.support.versions import VERSIONS
from toolchain.broker import Broker

CLASSIC, QUORUM = {"x-queue-type": "classic"}, {"x-queue-type": "quorum"}


def config(vhost: str, queue: dict[str, Any], exchange: str = "direct") -> dict[str, Any]:
    return {
        "vhost": vhost,
        "exchanges": {"e": {"type": exchange}},
        "queues": {"q": queue},
        "bindings": [{"source": "e", "queue": "q", "routing_key": "k"}],
    }


def arrived(consumer: Consumer, publisher: Publisher) -> bool:
    return set(publisher.confirmed) <= set(consumer.taken)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"type": "classic"}, {"type": "quorum"}),
        ({"type": "quorum"}, {"type": "classic"}),
        ({"type": "quorum"}, {"type": "quorum", "arguments": {"x-max-in-memory-length": 7}}),
    ],
    ids=["classic to quorum", "quorum to classic", "quorum to quorum"],
)
def test_a_queue_that_its_consumer_declares_again_is_replaced_all_the_same(
    tmp_path: Path,
    engine_env: dict[str, str],
    broker: Broker,
    vhost: str,
    before: dict[str, Any],
    after: dict[str, Any],
) -> None:
    stack = Stack(tmp_path, engine_env, broker)
    stack.configure(config(vhost, before))
    stack.up()
    declares = {"x-queue-type": before["type"]}
    with (
        Consumer(broker=broker, vhost=vhost, declares=declares, name="their app") as consumer,
        Publisher(broker=broker, vhost=vhost) as publisher,
    ):
        wait_for(lambda: len(consumer.taken) > 200, "traffic")
        stack.configure(config(vhost, after))
        replaced = stack.up()
        wait_for(lambda: arrived(consumer, publisher), "all messages consumed")
        time.sleep(1)
    assert set(publisher.confirmed) <= set(consumer.taken)
    assert held(broker, vhost) == wanted(config(vhost, after)), replaced.text
    assert set(stack.up().changes) == {"unchanged"}


@pytest.mark.parametrize("version", VERSIONS)
def test_an_exchange_that_its_publishers_declare_again_is_replaced_all_the_same(
    tmp_path: Path,
    engine_env: dict[str, str],
    start_broker: Any,
    vhost: str,
    version: str,
) -> None:
    broker = start_broker(version)
    stack = Stack(tmp_path, engine_env, broker)
    stack.configure(config(vhost, {}))
    stack.up()
    with ExitStack() as clients:
        consumer = clients.enter_context(Consumer(broker=broker, vhost=vhost))
        publishers = [
            clients.enter_context(
                Publisher(broker=broker, vhost=vhost, declares="direct", first=number * 1_000_000)
            )
            for number in range(4)
        ]
        wait_for(lambda: len(consumer.taken) > 200, "traffic")
        stack.configure(config(vhost, {}, "topic"))
        replaced = stack.up()
        wait_for(
            lambda: all(arrived(consumer, publisher) for publisher in publishers),
            "all messages consumed",
        )
    assert held(broker, vhost) == wanted(config(vhost, {}, "topic")), replaced.text
    assert set(stack.up().changes) == {"unchanged"}
