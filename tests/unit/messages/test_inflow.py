"""
How many messages go into a queue at once: its limits take none of them while somebody consumes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from rabbit_topology.messages import inflow
from rabbit_topology.messages.inflow import Inflow

BATCH_SECONDS = 0.2
"""What a shovel needs for a batch, however small."""

STEP_SECONDS = 0.05


class Queue:
    """A queue whose consumers take ``speed`` messages/s, in time that passes in steps."""

    def __init__(self, speed: float) -> None:
        self.now = 1000.0
        self.speed = speed
        self.waiting: list[float] = []
        self.longest, self.oldest = 0, 0.0

    def monotonic(self) -> float:
        return self.now

    def ready(self) -> int:
        return len(self.waiting)

    def take(self, count: int) -> None:
        """Get messages, one after the other while a shovel moves them."""
        begun = self.now
        for number in range(count):
            self.go_on(begun + BATCH_SECONDS * (number + 1) / count)
            self.waiting.append(self.now)
            self.longest = max(self.longest, len(self.waiting))

    def go_on(self, until: float) -> None:
        taken = int(until * self.speed) - int(self.now * self.speed)
        for since in self.waiting[:taken]:
            self.oldest = max(self.oldest, self.now - since)
        self.waiting, self.now = self.waiting[taken:], until


def moved(
    monkeypatch: pytest.MonkeyPatch,
    limits: Mapping[str, Any],
    speed: float,
    size: float = 100.0,
    *,
    consumed: bool = True,
) -> tuple[Queue, float]:
    """Return what 5,000 messages have done to a queue, and how many seconds it took."""
    queue, left = Queue(speed), 5000
    monkeypatch.setattr(inflow, "time", queue)
    into = Inflow(
        limits=limits,
        ready=queue.ready,
        consumers=lambda: int(consumed and speed > 0),
        mean_bytes=lambda: size,
    )
    begun = queue.now
    while left:
        allowed = into.allowed(left)
        assert 0 <= allowed <= left
        if allowed:
            queue.take(allowed)
            left -= allowed
        else:
            queue.go_on(queue.now + STEP_SECONDS)
    return queue, queue.now - begun


@pytest.mark.parametrize("speed", [200, 3500])
@pytest.mark.parametrize("limit", [20, 1000])
def test_no_more_goes_in_than_the_length_allows(monkeypatch, limit, speed):
    queue, _ = moved(monkeypatch, {"max-length": limit}, speed)
    assert queue.longest <= limit
    queue, _ = moved(monkeypatch, {"max-length-bytes": limit * 100}, speed)
    assert queue.longest <= limit


@pytest.mark.parametrize("speed", [200, 3500])
def test_what_goes_in_is_taken_before_it_expires(monkeypatch, speed):
    queue, seconds = moved(monkeypatch, {"message-ttl": 1000}, speed)
    assert queue.oldest < 1
    assert seconds < 3 * 5000 / speed + 5


def test_as_long_as_their_size_is_not_known_messages_go_in_one_by_one(monkeypatch):
    queue = Queue(1000)
    monkeypatch.setattr(inflow, "time", queue)
    sizes = iter([0.0, 10.0])
    limits = {"max-length-bytes": 1000}
    into = Inflow(
        limits=limits,
        ready=queue.ready,
        consumers=lambda: 1,
        mean_bytes=lambda: next(sizes),
    )
    assert [into.allowed(5000), into.allowed(5000)] == [1, 50]


def test_all_goes_in_at_once_where_nobody_takes_anything(monkeypatch):
    queue, seconds = moved(monkeypatch, {"max-length": 100}, speed=0)
    assert len(queue.waiting) == 5000
    assert inflow.AWAY_SECONDS < seconds < inflow.AWAY_SECONDS + 2


@pytest.mark.parametrize(
    ("limits", "bounded"),
    [
        ({}, False),
        ({"expires": 1000}, False),
        ({"max-length": 1}, True),
        ({"max-length": 1, "overflow": "reject-publish"}, False),
        ({"max-length": 1, "overflow": "reject-publish", "message-ttl": 1}, True),
        ({"max-length-bytes": 1, "overflow": "drop-head"}, True),
    ],
)
def test_what_bounds_it(limits, bounded):
    into = Inflow(limits=limits, ready=lambda: 0, consumers=lambda: 0, mean_bytes=lambda: 0.0)
    assert into.bounded is bounded


def test_what_expires_is_not_taken_for_consumed(monkeypatch: pytest.MonkeyPatch) -> None:
    _, seconds = moved(monkeypatch, {"message-ttl": 2000}, speed=40, consumed=False)
    assert inflow.AWAY_SECONDS < seconds < inflow.AWAY_SECONDS + 5
