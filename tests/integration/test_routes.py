"""
What the analysis says of random messages in random topologies is what the brokers do with them.

`ROUTES_MESSAGES=20000 pytest -s tests/integration/test_routes.py` is the run on the full scale, so
many messages on each version; `ROUTES_SEED=5` begins with that seed.
"""

from __future__ import annotations

import os
import struct
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from random import Random
from typing import Any
from urllib.parse import quote

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import UnroutableError

from rabbit_topology.lint.reading import read
from rabbit_topology.model import Reason, Topology
from rabbit_topology.routing import text
from rabbit_topology.routing.lives import End
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.publication import publish
from tests.support import random_routes
from tests.support.random_routes import Held
from tests.support.stacks import connect, management
from toolchain.broker import Broker

MESSAGES = int(os.environ.get("ROUTES_MESSAGES", "300"))
"""On each version."""
FIRST_SEED = int(os.environ.get("ROUTES_SEED", "0"))

PER_TOPOLOGY = 25 if MESSAGES < 1000 else 250
STILL_SECONDS = 0.4
"""Nothing has moved for so long: what expires at once has got to where it stays."""
PATIENCE_SECONDS = 30
ROUND_MS = 100
"""After so long a message expires that goes round."""
ROUNDS = 2
"""How often all messages of a queue are rejected, so that dead letters come round."""


@pytest.fixture(autouse=True)
def numbers_with_fractions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have pika send headers that are such numbers, which it can only read."""
    encode = pika.data.encode_value

    def encode_value(pieces: list[bytes], value: Any) -> int:
        if isinstance(value, float):
            pieces.append(struct.pack(">cd", b"d", value))
            return 9
        return int(encode(pieces, value))

    monkeypatch.setattr(pika.data, "encode_value", encode_value)


def test_messages_go_where_the_analysis_says(broker: Broker) -> None:
    compared = rejected = 0
    seed = FIRST_SEED
    while compared < MESSAGES:
        print(f"RabbitMQ {broker.version}, seed {seed}")
        random = Random(seed)
        config = random_routes.topology(random, deaths=seed % 4 > 0)
        stack = read(config, {"version": broker.version})
        (network,) = Network.every(stack).values()
        with deployed(broker, f"routes-{seed}", network.context.whole) as channel:
            run = Run(seed, network, channel)
            for _ in range(PER_TOPOLOGY):
                run.publish(random_routes.message(random, config))
            run.compare()
            compared += PER_TOPOLOGY
            for _ in range(ROUNDS):
                rejected += run.reject(random)
        seed += 1
    print(f"RabbitMQ {broker.version}: {compared:,} messages, {rejected:,} rejected, 0 differences")
    assert rejected > compared / 30, "too few dead letters were tried"


def test_a_rejected_message_goes_round_for_ever_where_the_analysis_says_so(
    broker: Broker,
) -> None:
    # Random messages cannot show it: there the test waits until nothing moves.
    leads_to = {"start": "a", "a": "b", "b": "a"}
    config = {
        "vhost": "v",
        "exchanges": {"e": {}},
        "queues": {
            name: {
                "type": "classic",
                "dead_letter": {"exchange": "e", "routing_key": target},
                **({} if name == "start" else {"message_ttl": ROUND_MS}),
            }
            for name, target in leads_to.items()
        },
        "bindings": [{"source": "e", "queue": name, "routing_key": name} for name in leads_to],
    }
    (network,) = Network.every(read(config, {"version": broker.version})).values()
    publication = publish(network, "e", "start")
    ((end, _, _),) = publication.follow("start", Reason.REJECTED).ends()
    with deployed(broker, "routes-for-ever", network.context.whole) as channel:
        channel.basic_publish("e", "start", b"", mandatory=True)
        method, _, _ = channel.basic_get("start", auto_ack=False)
        channel.basic_nack(method.delivery_tag, requeue=False)
        time.sleep(20 * ROUND_MS / 1000)
        left = False
        for _ in range(10):  # it may have moved on while they were counted
            left |= any(
                channel.queue_declare(queue, passive=True).method.message_count
                for queue in leads_to
            )
            time.sleep(ROUND_MS / 3000)
    assert end is (End.ENDLESS if left else End.CYCLE)


@contextmanager
def deployed(broker: Broker, vhost: str, topology: Topology) -> Iterator[BlockingChannel]:
    """Declare a topology in a vhost of its own, without any program of ours; lend a channel."""
    api, here = management(broker), quote(vhost, safe="")
    api.request("PUT", f"/vhosts/{here}", {})
    try:
        api.request("POST", f"/definitions/{here}", definitions(topology))
        with connect(broker, vhost) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            yield channel
    finally:
        api.request("DELETE", f"/vhosts/{here}")


def definitions(topology: Topology) -> dict[str, Any]:
    """Return what the management API imports, with settings as arguments."""
    return {
        "exchanges": [
            {
                "name": name,
                "type": exchange.type,
                "durable": True,
                "auto_delete": False,
                "internal": False,
                "arguments": {**exchange.arguments, **exchange.settings()},
            }
            for name, exchange in topology.exchanges.items()
        ],
        "queues": [
            {
                "name": name,
                "durable": True,
                "auto_delete": False,
                "arguments": {
                    **queue.declared_arguments(),
                    **{f"x-{key}": value for key, value in queue.settings().items()},
                },
            }
            for name, queue in topology.queues.items()
        ],
        "bindings": [
            {
                "source": route.source,
                "destination": route.destination,
                "destination_type": route.kind,
                "routing_key": route.routing_key,
                "arguments": dict(route.arguments),
            }
            for route in topology.routes()
        ],
    }


class Run:
    """One topology, the messages that were published, and where they should be."""

    def __init__(self, seed: int, network: Network, channel: BlockingChannel) -> None:
        self._seed = seed
        self._network = network
        self._channel = channel
        self._sent: list[dict[str, Any]] = []
        self._held: list[list[Held]] = []

    def publish(self, one: Mapping[str, Any]) -> None:
        """Publish a message as mandatory: that it is returned, or not, is compared at once."""
        publication = publish(self._network, **one)
        number = len(self._sent)
        self._sent.append(dict(one))
        self._held.append(random_routes.published(self._network, dict(one)))
        returned = False
        try:
            self._channel.basic_publish(
                one["exchange"],
                one["routing_key"],
                str(number).encode(),
                pika.BasicProperties(headers=dict(one["headers"])),
                mandatory=True,
            )
        except UnroutableError:
            returned = True
        assert returned == publication.dropped, self._described(number, returned)

    def compare(self) -> None:
        """Compare where every message is, and leave all of them there."""
        self._settle()
        there: list[Counter[str]] = [Counter() for _ in self._sent]
        for queue in self._network.queues:
            last = None
            while True:
                method, _, body = self._channel.basic_get(queue, auto_ack=False)
                if method is None:
                    break
                there[int(body)][queue] += 1
                last = method.delivery_tag
            if last is not None:
                self._give_back(last)
        for number, queues in enumerate(there):
            expected = Counter(queue for queue, _ in self._held[number])
            assert queues == expected, self._described(number, dict(queues), dict(expected))

    def reject(self, random: Random) -> int:
        """Reject all messages of a queue that dead-letters, and compare where they went."""
        dying = [
            queue
            for queue, settings in self._network.context.settings.items()
            if "dead-letter-exchange" in settings
            and any(queue == held for one in self._held for held, _ in one)
        ]
        if not dying:
            return 0
        chosen = random.choice(dying)
        taken = 0
        last = None
        while True:
            method, _, _ = self._channel.basic_get(chosen, auto_ack=False)
            if method is None:
                break
            taken, last = taken + 1, method.delivery_tag
        if last is not None:
            self._channel.basic_nack(last, multiple=True, requeue=False)
        for number, held in enumerate(self._held):
            self._held[number] = [
                after
                for queue, message in held
                for after in (
                    random_routes.rejected(self._network, queue, message)
                    if queue == chosen
                    else [(queue, message)]
                )
            ]
        self.compare()
        return taken

    def _give_back(self, last: int) -> None:
        """Put messages back; a quorum queue would count it, and drop them after the 20th time."""
        self._channel.basic_nack(last, multiple=True, requeue=True)

    def _settle(self) -> None:
        """Wait until the number of messages in each queue stays as it is."""
        expected = Counter(queue for one in self._held for queue, _ in one)
        deadline = time.monotonic() + PATIENCE_SECONDS
        counts: dict[str, int] = {}
        since = time.monotonic()
        while time.monotonic() < deadline:
            now = {
                queue: self._channel.queue_declare(queue, passive=True).method.message_count
                for queue in self._network.queues
            }
            if now != counts:
                counts, since = now, time.monotonic()
            as_expected = +Counter(now) == expected
            # A surplus would take as long to come as what is expected did.
            if time.monotonic() - since > (STILL_SECONDS if as_expected else 5 * STILL_SECONDS):
                return
            time.sleep(0.05)

    def _described(self, number: int, observed: object, expected: object = None) -> str:
        one = self._sent[number]
        publication = publish(self._network, **one)
        return (
            f"seed {self._seed}, message {number}: {one}\nthe broker: {observed}\n"
            f"the analysis: {expected}\n{text.trace(publication, width=160)}"
        )
