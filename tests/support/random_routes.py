"""
Random topologies and messages: for tests against a second opinion, and against real brokers.

The same seed makes the same ones.
"""

from __future__ import annotations

from random import Random
from typing import Any

from rabbit_topology.model import Reason
from rabbit_topology.routing import lives
from rabbit_topology.routing.lives import End
from rabbit_topology.routing.message import Message
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.publication import publish

WORDS = ("a", "b", "c", "")
"""Words overlap, and some are empty."""
TYPES = ("direct", "fanout", "topic", "topic", "topic", "headers")
HEADERS = ("h", "i", "x-j")
BOUND_VALUES: tuple[Any, ...] = (1, "1", True, "a", 1.5)
SENT_VALUES: tuple[Any, ...] = (*BOUND_VALUES, 1.0, False, "true", 2)


def routing_key(random: Random) -> str:
    """Return a key of up to four words; the empty key has none."""
    words = (*WORDS[:3], *WORDS[:2], "d") if random.random() < 0.8 else WORDS
    return ".".join(random.choices(words, k=random.choice((0, 1, 1, 1, 2, 2, 3, 4))))


def binding_key(random: Random) -> str:
    """Return a pattern of up to four words, two `#` at most, as RabbitMQ 4.3.5 takes them."""
    tokens = [
        random.choice((*WORDS[:3], "*", "*", "#")) for _ in range(random.choice((0, 1, 2, 3, 4)))
    ]
    if random.random() < 0.1 and tokens:
        tokens[random.randrange(len(tokens))] = ""
    while tokens.count("#") > 2:
        tokens.remove("#")
    return ".".join(tokens)


def headers(random: Random, values: tuple[Any, ...]) -> dict[str, Any]:
    """Return up to three headers."""
    return {
        name: random.choice(values) for name in random.sample(HEADERS, random.choice((0, 1, 2, 3)))
    }


def topology(random: Random, *, deaths: bool = False) -> dict[str, Any]:
    """Return a config with exchanges bound to each other, alternates, headers and cycles.

    Args:
        random: Where chance comes from.
        deaths: With queues that expire messages at once, and dead-letter them.
    """
    exchanges = {
        f"e{number}": {"type": random.choice(TYPES)} for number in range(random.randint(1, 6))
    }
    for exchange in exchanges.values():
        if random.random() < 0.3:
            exchange["alternate"] = random.choice([*exchanges, "amq.fanout", "amq.topic"])
    queues: dict[str, Any] = {
        f"q{number}": {"type": "quorum" if deaths and random.random() < 0.2 else "classic"}
        for number in range(random.randint(1, 6))
    }
    for queue in queues.values() if deaths else ():
        if random.random() < 0.8:
            # Only an argument can name the default exchange.
            arguments = {"x-dead-letter-exchange": random.choice([*exchanges, *exchanges, ""])}
            if random.random() < 0.5:
                arguments["x-dead-letter-routing-key"] = random.choice(
                    [*queues, routing_key(random), "a"]
                )
            queue["arguments"] = arguments
            if random.random() < 0.4:
                queue["message_ttl"] = 0
    sources = [*exchanges, *random.sample(("amq.topic", "amq.fanout", "amq.headers"), 1)]
    bindings: list[dict[str, Any]] = []
    for _ in range(random.randint(4, 24)):
        source = random.choice(sources)
        to_exchange = random.random() < 0.35
        end = (
            {"exchange": random.choice([*exchanges])}
            if to_exchange
            else {"queue": random.choice([*queues])}
        )
        kind = exchanges.get(source, {"type": source.removeprefix("amq.")})["type"]
        binding: dict[str, Any] = {"source": source, **end}
        if kind == "headers":
            how = random.choice(("all", "any", "all-with-x", "any-with-x", None))
            asked = headers(random, BOUND_VALUES)
            binding["arguments"] = {**({"x-match": how} if how else {}), **asked}
        else:
            key = binding_key(random) if kind == "topic" else routing_key(random)
            binding["routing_key"] = key if key.strip(".") or not key else "a"  # `.` is refused
        if binding not in bindings:
            bindings.append(binding)
    return {"vhost": "v", "exchanges": exchanges, "queues": queues, "bindings": bindings}


def message(random: Random, topology: dict[str, Any]) -> dict[str, Any]:
    """Return what to publish: ``exchange``, ``routing_key`` and ``headers``, CC and BCC in them."""
    exchange = random.choice([*topology["exchanges"], "amq.topic", ""])
    given = headers(random, SENT_VALUES)
    for name in ("CC", "BCC"):
        if random.random() < 0.1:
            given[name] = [routing_key(random) for _ in range(random.randint(1, 2))]
    key = routing_key(random)
    if not exchange and random.random() < 0.7:
        key = random.choice([*topology["queues"]])
    return {"exchange": exchange, "routing_key": key, "headers": given}


ALL = 1_000_000
"""More queues than a message can get into: they are six, and it expires in each once."""

Held = tuple[str, Message]
"""A message in a queue, where it stays until somebody takes it."""


def published(network: Network, one: dict[str, Any]) -> list[Held]:
    """Return where a message is once all that expires by itself has expired."""
    publication = publish(network, **one)
    return [
        held
        for queue in sorted(publication.routed.may_reach)
        for held in arrived(network, queue, publication.message)
    ]


def arrived(network: Network, queue: str, message: Message) -> list[Held]:
    """Return where a message that gets into a queue is in the end, if nobody takes it."""
    if Reason.EXPIRED not in lives.reasons(network, queue, message):
        return [(queue, message)]
    life = lives.follow(network, queue, message, Reason.EXPIRED, most=ALL)
    return [(one.queue, one.message) for one in life.walk() if one.end is End.STAYS]


def rejected(network: Network, queue: str, message: Message) -> list[Held]:
    """Return where a message is in the end that is rejected once in a queue."""
    life = lives.follow(network, queue, message, Reason.REJECTED, most=1)  # the first step
    assert life.death is not None
    return [held for one in life.death.then for held in arrived(network, one.queue, one.message)]
