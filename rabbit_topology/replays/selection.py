"""
Which messages are replayed: all that is asked for has to hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rabbit_topology.errors import TopologyError
from rabbit_topology.model.units import milliseconds
from rabbit_topology.replays.message import Message
from rabbit_topology.replays.origin import Source, own_key, reason_of
from rabbit_topology.routing.pattern import Pattern, of_key, of_topic
from rabbit_topology.routing.tree import single


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """A header that a message must have, with any value or a certain one."""

    name: str
    value: str | None = None

    @classmethod
    def parse(cls, text: str) -> Header:
        """Read ``NAME`` or ``NAME=VALUE``.

        Raises:
            TopologyError: There is no name.
        """
        name, equals, value = text.partition("=")
        if not name:
            raise TopologyError(f"--header {text!r}: NAME or NAME=VALUE")
        return cls(name=name, value=value if equals else None)

    def holds(self, headers: Mapping[str, Any]) -> bool:
        """Return whether headers have it."""
        if self.name not in headers:
            return False
        return self.value is None or as_text(headers[self.name]) == self.value


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """What is asked for; empty: all messages."""

    headers: tuple[Header, ...] = ()
    """All of them."""
    reasons: tuple[str, ...] = ()
    """One of them."""
    routing_keys: tuple[Pattern, ...] = ()
    """One of them takes the key that the message was first published with."""
    older_ms: int | None = None
    newer_ms: int | None = None

    @property
    def is_all(self) -> bool:
        """Return whether nothing is left out."""
        return self == Selection()

    def has(self, source: Source, message: Message, now: float) -> bool:
        """Return whether a message is asked for; ``now`` is in seconds since 1970."""
        return (
            all(header.holds(message.headers) for header in self.headers)
            and (not self.reasons or reason_of(source, message) in self.reasons)
            and self._takes_key(own_key(source, message))
            and self._is_of_age(message, now)
        )

    def _takes_key(self, key: str) -> bool:
        words = of_key(key)
        return not self.routing_keys or any(single(one).take(words) for one in self.routing_keys)

    def _is_of_age(self, message: Message, now: float) -> bool:
        if self.older_ms is None and self.newer_ms is None:
            return True
        if message.since is None:
            return False
        age = (now - message.since) * 1000
        return (self.older_ms is None or age >= self.older_ms) and (
            self.newer_ms is None or age <= self.newer_ms
        )


def selection(
    *,
    headers: list[str],
    reasons: list[str],
    routing_keys: list[str],
    older_than: str | None,
    newer_than: str | None,
) -> Selection:
    """Read what is asked for, as the command line has it.

    Raises:
        TopologyError: One of it cannot be read.
    """
    return Selection(
        headers=tuple(map(Header.parse, headers)),
        reasons=tuple(reasons),
        routing_keys=tuple(map(of_topic, routing_keys)),
        older_ms=_age("--older-than", older_than),
        newer_ms=_age("--newer-than", newer_than),
    )


def as_text(value: object) -> str:
    """Return a header's value as it is written on the command line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value)


def _age(option: str, written: str | None) -> int | None:
    if written is None:
        return None
    try:
        age = milliseconds(written)
    except ValueError as error:
        raise TopologyError(f"{option} {written}: {error}") from None
    assert isinstance(age, int)  # noqa: S101 - text becomes a number, or raises
    return age
