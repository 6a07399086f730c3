"""
What a replay did, message by message counted: what was taken is replayed or left, and no third.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from rabbit_topology.replays.destination import Destination


class Mode(StrEnum):
    """What is done with messages."""

    REPLAY = "replay"
    DRY_RUN = "dry run"
    PEEK = "peek"

    @property
    def changes(self) -> bool:
        """Return whether messages go anywhere."""
        return self is Mode.REPLAY


class Left(StrEnum):
    """Why a message stays in its queue."""

    NOT_SELECTED = "not selected"
    NO_ORIGIN = "no origin"
    RETURNED = "returned as unroutable"
    REFUSED = "refused by the target"
    NO_ROOM = "no room in the target"
    USER = "user_id of another user"
    UNREADABLE = "properties cannot be read"
    CAME_BACK = "replayed, and back again"
    UNCERTAIN = "outcome not known"
    NOT_REACHED = "taken, and not looked at"

    @property
    def is_failure(self) -> bool:
        """Return whether somebody who asked for it should know that it stays."""
        return self not in (Left.NOT_SELECTED, Left.NOT_REACHED)


@dataclass(kw_only=True)
class Ledger:
    """The counts of one run."""

    queue: str
    mode: Mode = Mode.REPLAY
    ready: int = 0
    """Messages that were ready when the run began."""
    taken: int = 0
    replayed: Counter[Destination] = field(default_factory=Counter)
    """In a dry run: what would be."""
    left: Counter[Left] = field(default_factory=Counter)
    reasons: dict[Left, Counter[str]] = field(default_factory=dict)
    """Why exactly, in words."""
    expiring: int = 0
    """Of the replayed: those with an expiration of their own, which begins anew."""
    again: int = 0
    """Of the replayed: those that had been replayed before."""
    came_back: int = 0
    """Replayed messages that were seen in the queue again."""
    stopped: str | None = None
    """Why the run ended before all were looked at."""
    failed: str | None = None
    """What broke the run off."""
    notes: list[str] = field(default_factory=list)

    def replay(self, destination: Destination, *, replays: int, expires: bool) -> None:
        """Note a message that was confirmed by its destination."""
        self.replayed[destination.place] += 1
        self.again += replays > 0
        self.expiring += expires

    def leave(self, why: Left, reason: str = "", count: int = 1) -> None:
        """Note messages that stay."""
        if count:
            self.left[why] += count
        if reason and count:
            self.reasons.setdefault(why, Counter())[reason] += count

    @property
    def is_complete(self) -> bool:
        """Return whether all that were asked for were replayed, and nothing came in the way."""
        failures = any(why.is_failure for why in self.left)
        return not (failures or self.stopped or self.failed or self.came_back)

    @property
    def adds_up(self) -> bool:
        """Return whether each message that was taken is accounted for once."""
        return self.taken == self.replayed.total() + self.left.total()


_SHOWN, _PLACES = 5, 20
"""So many reasons of each kind, and so many places, are shown as text."""


def text(ledger: Ledger) -> Iterator[str]:
    """Yield a ledger's lines."""
    would = "" if ledger.mode.changes else "would be "
    yield f"queue {ledger.queue}: {ledger.ready:,} ready at the start, {ledger.taken:,} taken"
    places = ledger.replayed.most_common()
    for destination, count in places[:_PLACES]:
        yield f"  {would}replayed to {destination}: {count:,}"
    if rest := places[_PLACES:]:
        others = sum(count for _, count in rest)
        yield f"  {would}replayed to {len(rest):,} other places: {others:,}"
    if not ledger.replayed:
        yield f"  {would}replayed: 0"
    for why, count in ledger.left.most_common():
        yield f"  left, {why}: {count:,}"
        for reason, times in ledger.reasons.get(why, Counter[str]()).most_common(_SHOWN):
            yield f"      {times:,}: {reason}"
    if ledger.again:
        yield f"  {ledger.again:,} of the replayed had been replayed before"
    if ledger.expiring:
        yield f"  {ledger.expiring:,} of the replayed expire by themselves: their time begins anew"
    if ledger.came_back:
        yield f"  {ledger.came_back:,} of the replayed came back to the queue already"
    yield from ledger.notes
    if ledger.stopped:
        yield f"stopped: {ledger.stopped}"
    if ledger.failed:
        yield f"broken off: {ledger.failed}"


def as_json(ledger: Ledger) -> dict[str, Any]:
    """Return a ledger for programs."""
    return {
        "queue": ledger.queue,
        "mode": ledger.mode.value,
        "ready": ledger.ready,
        "taken": ledger.taken,
        "replayed": [
            {
                "queue": destination.queue,
                "exchange": destination.exchange,
                "routing_key": destination.routing_key,
                "count": count,
            }
            for destination, count in ledger.replayed.most_common()
        ],
        "left": [
            {
                "why": why.value,
                "count": count,
                "reasons": dict(ledger.reasons.get(why, Counter[str]())),
            }
            for why, count in ledger.left.most_common()
        ],
        "replayed_before": ledger.again,
        "with_expiration": ledger.expiring,
        "came_back": ledger.came_back,
        "stopped": ledger.stopped,
        "failed": ledger.failed,
        "notes": ledger.notes,
        "complete": ledger.is_complete,
    }
