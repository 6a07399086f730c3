"""
What may be replayed at all, and what is said of a queue with nothing to take.
"""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from rabbit_topology.broker.access import LockedError
from rabbit_topology.errors import TopologyError
from rabbit_topology.messages import replay as module
from rabbit_topology.messages.contents import Contents
from rabbit_topology.messages.delivery_limit import Taking
from rabbit_topology.messages.replay import replay
from rabbit_topology.messages.state import QueueState
from rabbit_topology.model import QueueType
from rabbit_topology.replays.destination import Destination, Target
from rabbit_topology.replays.ledger import Left, Mode
from rabbit_topology.replays.request import Request


class Runs:
    """The parts of a replay that ask the broker, and what was asked of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taking = Taking()
        self.obstacle: tuple[Left, str] | None = None
        self.began = 0
        self.leftover = False
        self.slept: list[float] = []
        self.asked: list[Destination] = []

        @contextmanager
        def lifted(*_: Any) -> Any:
            yield self.taking

        @contextmanager
        def targets(*_: Any) -> Any:
            yield SimpleNamespace(obstacle=self._obstacle, leftover=self.leftover)

        @contextmanager
        def opened(*_: Any) -> Any:
            yield None

        monkeypatch.setattr(module.delivery_limit, "lifted", lifted)
        monkeypatch.setattr(module, "targets", targets)
        monkeypatch.setattr(module.time, "sleep", self.slept.append)
        monkeypatch.setattr(module.transfer, "opened", opened)
        monkeypatch.setattr(module, "Run", lambda *_: SimpleNamespace(go=self._go))

    def _obstacle(self, there: Destination, _size: int) -> tuple[Left, str] | None:
        self.asked.append(there)
        return self.obstacle

    def _go(self) -> None:
        self.began += 1


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(monkeypatch)


def job(
    queue: str = "errors",
    request: Request | None = None,
    *,
    ready: int = 3,
    consumers: int = 0,
    held: Contents | None = None,
    lock: Any = lambda *_: None,
    **row: Any,
) -> Any:
    state = None if row.get("gone") else QueueState({"name": queue, "type": "quorum", **row})
    return SimpleNamespace(
        access=SimpleNamespace(lock=lock),
        vhost="v",
        queue=queue,
        request=request or Request(),
        of_queue=SimpleNamespace(
            state=lambda: state, declared=lambda: (ready, consumers), read=lambda: held
        ),
    )


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (job(gone=True), "has no queue errors"),
        (job(type="stream"), "is a stream"),
        (job(exclusive=True), "is exclusive"),
        (job(auto_delete=True), "messages would be lost"),
        (job("rabbit-topology.holding.x"), "pulumi up"),
        (job(request=Request(target=Target(queue="errors"))), "the queue itself"),
    ],
)
def test_what_is_refused_and_nothing_is_taken(runs, asked, said):
    with pytest.raises(TopologyError, match=said):
        replay(asked)
    assert runs.began == 0


def test_while_an_update_is_running_it_is_refused(runs):
    def lock(_vhost: str, patience: float) -> None:
        assert patience == 5  # a run that was killed is noticed by then
        raise LockedError("e", "another run")

    with pytest.raises(LockedError):
        replay(job(lock=lock))
    assert runs.began == 0


@pytest.mark.parametrize(
    ("obstacle", "begins"),
    [
        (None, True),
        ((Left.NO_ROOM, "it is full"), True),
        ((Left.RETURNED, "there is no queue work"), False),
        ((Left.REFUSED, "it is internal"), False),
    ],
)
def test_a_target_is_looked_at_before_anything_is_taken(runs, obstacle, begins):
    runs.obstacle = obstacle
    asked = job(request=Request(target=Target(queue="work")))
    if begins:
        replay(asked)
    else:
        with pytest.raises(TopologyError, match=rf"{obstacle[1]}.*nothing was taken"):
            replay(asked)
    assert runs.began == begins
    assert runs.asked == [Destination(queue="work")]


@pytest.mark.parametrize(
    ("mode", "kind", "notes"),
    [
        (Mode.REPLAY, "quorum", []),
        (Mode.PEEK, "classic", ["given back; consumers see them as redelivered"]),
        (Mode.DRY_RUN, "quorum", ["the broker counts that"]),
    ],
)
def test_what_looking_does_is_said(runs, mode, kind, notes):
    ledger = replay(job(request=Request(mode=mode), type=kind))
    assert len(ledger.notes) == len(notes)
    assert all(expected in note for expected, note in zip(notes, ledger.notes, strict=True))
    runs.taking.limit = 20
    lifted = replay(job(request=Request(mode=mode), type=kind)).notes
    assert len(lifted) == len(notes) + (mode is not Mode.REPLAY)


def test_others_that_consume_are_named(runs):
    assert "messages of it: 2" in replay(job(consumers=2)).notes[0]


def test_what_a_killed_run_had_taken_is_waited_for(runs):
    replay(job())
    assert runs.slept == []
    runs.leftover = True
    replay(job())
    runs.leftover, runs.taking.leftover = False, True
    replay(job())
    assert runs.slept == [1.0, 1.0]


@pytest.mark.parametrize(
    ("held", "empty"),
    [
        (None, True),
        (Contents(kind=QueueType.QUORUM, ready=0, unacknowledged=0, consumers=1), True),
        (Contents(kind=QueueType.QUORUM, ready=0, unacknowledged=4, consumers=0), False),
    ],
)
def test_with_nothing_ready_nothing_is_taken_and_what_else_is_there_is_said(runs, held, empty):
    ledger = replay(job(ready=0, held=held))
    assert runs.began == 0
    assert runs.taking.all_seen is empty
    assert (ledger.notes == []) is empty
    assert empty or "4 unacknowledged" in ledger.notes[0]
    assert ledger.is_complete
