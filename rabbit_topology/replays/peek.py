"""
One message as `--peek` shows it: all but its body, which may hold what nobody should see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rabbit_topology.replays.destination import Destination
from rabbit_topology.replays.message import REPLAYS, Message
from rabbit_topology.replays.selection import as_text

_TOLD_ELSEWHERE = ("x-death", REPLAYS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Peeked:
    """A message that was looked at."""

    number: int
    message: Message
    reason: str | None
    """Why it died."""
    destination: Destination | str
    """Where it would go, or why it would stay."""

    def lines(self) -> Iterator[str]:
        """Yield it as one line, and one for each header."""
        message = self.message
        goes = (
            f"to {self.destination}"
            if isinstance(self.destination, Destination)
            else f"stays: {self.destination}"
        )
        told = [
            f"{self.number}. {message.size:,} bytes",
            f"id {message.message_id}" if message.message_id else "",
            f"{self.reason} {_time(message.since) or ''}".rstrip() if self.reason else "",
            f"routing key {message.routing_key!r}",
            f"replayed {message.replays} times" if message.replays else "",
            f"expires after {message.expiration} ms" if message.expiration else "",
            goes,
        ]
        yield ", ".join(one for one in told if one)
        for name, value in message.headers.items():
            if name not in _TOLD_ELSEWHERE:
                yield f"      {as_text(name)}: {as_text(value)}"

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        message, goes = self.message, self.destination
        there = isinstance(goes, Destination)
        return {
            "number": self.number,
            "size": message.size,
            "message_id": message.message_id,
            "exchange": message.exchange,
            "routing_key": message.routing_key,
            "reason": self.reason,
            "since": _time(message.since),
            "replays": message.replays,
            "expiration": message.expiration,
            "user_id": message.user_id,
            "headers": _plain(message.headers),
            "destination": str(goes) if there else None,
            "stays": None if there else goes,
        }


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None


def _plain(value: object) -> Any:
    """Return a header's value with what JSON has."""
    if isinstance(value, Mapping):
        return {as_text(name): _plain(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return value.isoformat() if isinstance(value, datetime) else as_text(value)
