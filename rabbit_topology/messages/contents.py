"""
What a queue holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from rabbit_topology.broker.totals import Count
from rabbit_topology.model import QueueType


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """The messages and consumers of one queue of type ``kind``."""

    kind: QueueType
    ready: int
    unacknowledged: int
    consumers: int
    dead_letters: int = 0
    """Messages that a quorum queue keeps until their dead-letter target has confirmed them."""
    delayed: int = 0
    """Messages that a quorum queue delivers later: of RabbitMQ 4.3 and newer."""
    unknown: int = 0
    """Messages that the queue counts in its total, and in nothing else that is known here."""

    @classmethod
    def counted(cls, kind: QueueType, count: Count, *, ready: int = 0) -> Contents:
        """Return what a queue's own counts say; ``ready`` are those that a newer answer says."""
        return cls(
            kind=kind,
            ready=max(ready, count.ready),
            unacknowledged=count.unacknowledged,
            consumers=count.consumers,
            dead_letters=count.dead_letters,
            delayed=count.delayed,
            unknown=count.unknown,
        )

    @classmethod
    def together(cls, parts: Sequence[Contents]) -> Contents:
        """Return what several queues hold; of the type of the first."""
        counts = [one.name for one in fields(cls) if one.name != "kind"]
        return cls(
            kind=parts[0].kind,
            **{count: sum(getattr(part, count) for part in parts) for count in counts},
        )

    @property
    def messages(self) -> int:
        """How many messages would be lost with it."""
        return self.undelivered + self.unacknowledged

    @property
    def undelivered(self) -> int:
        """How many messages no consumer holds: what limits on a queue's length count."""
        return self.ready + self.dead_letters + self.delayed + self.unknown

    @property
    def empty(self) -> bool:
        """No message is in it: neither waiting, nor with a consumer, nor on its way out."""
        return self.messages == 0

    @property
    def in_use(self) -> bool:
        """Deleting it would lose a message, or take a queue away from under a consumer."""
        return not self.empty or self.consumers > 0

    def __str__(self) -> str:
        others = {
            "delayed": self.delayed,
            "not dead-lettered yet": self.dead_letters,
            "in a state that this program does not know": self.unknown,
        }
        said = "".join(f"{many:,} {state}, " for state, many in others.items() if many)
        return (
            f"{self.ready:,} ready, {self.unacknowledged:,} unacknowledged, {said}"
            f"{self.consumers:,} consumer{'' if self.consumers == 1 else 's'}"
        )
