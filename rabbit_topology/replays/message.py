"""
A message as a replay sees it, and what its headers tell of its deaths.

RabbitMQ notes each death in the header ``x-death``: the last one first, one entry for each queue
and reason, however often. From 4.0 on it does not count on in what a client has published again.
Source: "Dead Letter Exchanges", RabbitMQ documentation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from hashlib import blake2b
from typing import Any

REPLAYS = "x-rabbit-topology-replays"
"""The header that says how often a message was replayed."""

OF_THE_QUEUE = frozenset({"x-delivery-count", "x-acquired-count"})
"""Headers that the broker adds to what a quorum queue delivers: they are the queue's, and a
consumer elsewhere would take them for those of its own queue."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Death:
    """One entry of ``x-death``."""

    queue: str
    reason: str
    exchange: str
    """Where the message had been published to."""
    routing_keys: tuple[str, ...]
    at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message that waits in a queue."""

    exchange: str = ""
    """The exchange that it came by."""
    routing_key: str = ""
    headers: Mapping[str, Any] = field(default_factory=dict)
    timestamp: int | None = None
    """When its publisher says that it was made, in seconds since 1970."""
    expiration: str | None = None
    user_id: str | None = None
    message_id: str | None = None
    size: int = 0
    """Bytes of its body."""
    mark: bytes = b""
    """The same for two deliveries of the same message, see `mark_of`."""

    @cached_property
    def deaths(self) -> tuple[Death, ...]:
        """Its deaths, the last one first."""
        entries = self.headers.get("x-death")
        listed = entries if isinstance(entries, list) else []
        return tuple(_death(entry) for entry in listed if isinstance(entry, Mapping))

    @property
    def replays(self) -> int:
        """How often it was replayed before."""
        count = self.headers.get(REPLAYS)
        return count if isinstance(count, int) and count > 0 else 0

    @property
    def deliveries(self) -> int:
        """How often a quorum queue says that it was given back, 0 where it says nothing.

        A message that was dead-lettered may still have the number of the queue before.
        """
        count = self.headers.get("x-delivery-count")
        return count if isinstance(count, int) and count > 0 else 0

    @property
    def since(self) -> float | None:
        """When it died last, else when it was made, in seconds since 1970; None: not known."""
        times = [death.at.timestamp() for death in self.deaths if death.at]
        return max(times) if times else self.timestamp


def mark_of(body: bytes, *properties: object) -> bytes:
    """Return a mark by which a message is known again, also when it has been round."""
    return blake2b(repr(properties).encode() + body, digest_size=12).digest()


def _death(entry: Mapping[str, Any]) -> Death:
    keys, at = entry.get("routing-keys"), entry.get("time")
    return Death(
        queue=str(entry.get("queue", "")),
        reason=str(entry.get("reason", "")),
        exchange=str(entry.get("exchange", "")),
        routing_keys=tuple(map(str, keys)) if isinstance(keys, Sequence) else (),
        at=at if isinstance(at, datetime) else None,
    )
