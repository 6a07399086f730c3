"""
How many messages may go into a queue at once, so that its own limits take none of them.

A queue with a length or a time to live drops what comes faster than consumers take it. So what was
held for it comes back as there is room, and as consumers take it. Where nobody takes anything for
a while, everything goes in at once: then the limits do what they would have done anyway.

Source: "Queue Length Limit", "Time-To-Live and Expiration", RabbitMQ documentation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

AWAY_SECONDS = 30.0
"""How long nobody may take anything: clients may wait for some seconds before they come back."""

_FIRST = 100
_LEAST = 20
"""So many messages at least go in together where a time to live bounds them."""


@dataclass(kw_only=True)
class Inflow:
    """What may go into one queue now.

    ``limits`` is what applies to it, by the keys of policies; ``ready`` tells how many messages
    wait in it, ``consumers`` how many there are, and ``mean_bytes`` how large one of those messages
    is that go in.
    """

    limits: Mapping[str, Any]
    ready: Callable[[], int]
    consumers: Callable[[], int]
    mean_bytes: Callable[[], float]
    _window: int = _FIRST
    _given: int = 0
    _given_at: float = 0.0
    _taken_at: float | None = None
    _least: int | None = None
    _open: bool = False
    _size: float = 0.0

    @property
    def bounded(self) -> bool:
        """Whether anything applies that takes messages from a queue which gets too many."""
        return self._by_length or "message-ttl" in self.limits

    @property
    def _by_length(self) -> bool:
        refuses = str(self.limits.get("overflow", "")).startswith("reject-publish")
        return not refuses and not self.limits.keys().isdisjoint({"max-length", "max-length-bytes"})

    def allowed(self, left: int) -> int:
        """Return how many of ``left`` messages may go in now; 0: ask again in a moment."""
        if self._open:
            return left
        now, ready = time.monotonic(), self.ready()
        if self._taken_at is None or (
            # What expires becomes fewer as well.
            (self._least is None or ready < self._least) and self.consumers()
        ):
            self._taken_at = now
        self._least = ready if self._least is None else min(self._least, ready)
        room = self._room(ready, now)
        if room > 0:
            self._given, self._given_at, self._least = min(room, left), now, None
            return self._given
        if now > self._taken_at + AWAY_SECONDS:
            self._open = True
            return left
        return 0

    def _room(self, ready: int, now: float) -> int:
        bounds = []
        if self._by_length and "max-length" in self.limits:
            # Half of it: publishers may be there as well by now.
            bounds.append(max(1, int(self.limits["max-length"]) // 2) - ready)
        if self._by_length and "max-length-bytes" in self.limits:
            self._size = self._size or self.mean_bytes()  # 0: not known yet, so one at a time
            limit = int(self.limits["max-length-bytes"])
            most = int(limit / 2 / self._size) if self._size else 1
            bounds.append(max(1, most) - ready)
        if "message-ttl" in self.limits:
            bounds.append(self._in_time(ready, now))
        return min(bounds)

    def _in_time(self, ready: int, now: float) -> int:
        """Return how many consumers have taken by half of the time to live, at the last speed."""
        if ready > self._window // 4:
            return 0
        if self._given and now > self._given_at:
            speed = (self._given - ready) / (now - self._given_at)
            self._window = max(_LEAST, int(speed * int(self.limits["message-ttl"]) / 2000))
        return self._window - ready
