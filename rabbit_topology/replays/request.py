"""
What a replay is asked to do, and the bounds that follow from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rabbit_topology.replays.destination import Target
from rabbit_topology.replays.ledger import Mode
from rabbit_topology.replays.selection import Selection

HOLD = 10_000
"""So many messages at most are taken and not acknowledged, where nothing else is asked for,"""

HOLD_BYTES = 128 << 20
"""and no more than this."""

UNKNOWN_BYTES = 64 << 10
"""How large a message is taken for as long as no statistics say it: most are smaller."""

MOST_HELD = 65_535
"""What AMQP has room for in a prefetch count."""

SLOW_SECONDS = 300.0
"""At a rate, no more is taken than goes out in this time: the broker takes back what a consumer
holds for long, after 30 minutes by default."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What is asked for."""

    mode: Mode = Mode.REPLAY
    selection: Selection = field(default_factory=Selection)
    target: Target | None = None
    """Where all go; None: each to where it came from."""
    limit: int | None = None
    """So many messages at most: replayed, or shown."""
    rate: float | None = None
    """Messages a second, at most."""
    hold: int | None = None
    """So many are held at most; None: `HOLD`, or `HOLD_BYTES` of them."""

    def prefetch(self, ready: int, mean_bytes: float) -> int:
        """Return how many messages may be taken that are not acknowledged.

        Args:
            ready: How many wait.
            mean_bytes: How large one is on average; 0: not known.
        """
        by_size = int(HOLD_BYTES / (mean_bytes or UNKNOWN_BYTES))
        most = min(HOLD, by_size) if self.hold is None else self.hold
        if self.selection.is_all:
            # Nothing is passed over: more than is wanted need not be taken.
            most = min(most, self.limit or most)
            if self.rate and self.mode.changes:
                most = min(most, int(self.rate * SLOW_SECONDS))
        return max(1, min(most, ready, MOST_HELD))
