"""
What settings and policies come to, in a few words that fit into a node.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rabbit_topology.config.words import show, without_secrets
from rabbit_topology.model import NO_DELIVERY_LIMIT, Exchange, Queue
from rabbit_topology.model.units import duration_text
from rabbit_topology.routing.steps import Shape

_EDGES = ("dead-letter-exchange", "dead-letter-routing-key", "alternate-exchange")
"""Settings that edges show."""


def of_queue(queue: Queue, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a queue's settings, arguments and policies come to.

    Args:
        queue: As it is declared.
        settings: What applies in the end, by the names that policies have for it.
    """
    return tuple(_of_queue(queue, settings))


def of_exchange(exchange: Exchange | None, shape: Shape | None) -> tuple[str, ...]:
    """Return what is not the rule about an exchange; None: it is not declared here."""
    notes = []
    if shape is not None and shape.delayed:
        notes.append(f"delays by header, then {shape.kind}")
    if exchange is not None:
        notes += ["not durable"] if not exchange.durable else []
        notes += ["auto-delete"] if exchange.auto_delete else []
    return tuple(notes)


def size_text(value: int) -> str:
    """Return bytes as people write them, in the largest unit that leaves no rest."""
    units = {"GiB": 2**30, "MiB": 2**20, "GB": 10**9, "MB": 10**6, "KiB": 2**10, "kB": 10**3}
    for unit, size in units.items():
        if value and value % size == 0:
            return f"{value // size} {unit}"
    return f"{value} B"


def _of_queue(queue: Queue, settings: Mapping[str, Any]) -> Iterator[str]:
    if not queue.durable:
        yield "not durable"
    if queue.auto_delete:
        yield "auto-delete"
    if queue.max_priority is not None:
        yield f"priorities 0 to {queue.max_priority}"
    if queue.single_active_consumer:
        yield "single active consumer"
    for key, value in settings.items():
        if key not in _EDGES and key != "queue-type" and value != NO_DELIVERY_LIMIT:
            yield _setting(key, value)


def _setting(key: str, value: Any) -> str:
    word = _WORDS.get(key)
    try:
        return word(value) if word else f"{key}: {_plain(value)}"
    except (TypeError, ValueError):  # not of the type that it should have
        return f"{key}: {_plain(value)}"


def _plain(value: Any) -> str:
    known = without_secrets(value)
    return known if isinstance(known, str) else show(known)


def _age(value: str) -> str:
    match = re.fullmatch(r"([0-9]+)s", value)
    return duration_text(int(match[1]) * 1000) if match else value


_WORDS: Mapping[str, Callable[[Any], str]] = {
    "max-length": lambda value: f"at most {value:,} messages",
    "max-length-bytes": lambda value: f"at most {size_text(value)}",
    "message-ttl": lambda value: f"TTL {duration_text(value) if value else 0}",
    "expires": lambda value: f"expires when unused for {duration_text(value)}",
    "delivery-limit": lambda value: (
        f"delivery limit {value:,}" if value >= 0 else "no delivery limit"
    ),
    "consumer-timeout": lambda value: f"consumer timeout {duration_text(value)}",
    "max-age": lambda value: f"kept for {_age(value)}",
    "max-priority": lambda value: f"priorities 0 to {value}",
    "dead-letter-strategy": lambda value: f"dead letters {value}",
}
