"""
How many messages a quorum queue holds in all, proven to be so at this moment.

Only its statistics count every message, whatever state it is in: delayed ones, and those that wait
for their dead-letter target, are neither ready nor with a consumer. They are some seconds old, so
two things are proven:

- *fresh*: the queue's process publishes its reductions, which grow, with its total; the management
  plugin collects both at an interval of its own. The second change seen was therefore published
  after the first was collected, hence after the call;
- *still so*: what a quorum queue holds changes by commands in its Raft log alone. If the log has
  not grown since before fresh statistics were published, they are exact. Asking adds nothing to
  the log. A majority of members in the leader's term proves that no other leader was elected.

The total and the counts of delayed and dead-lettered messages are collected apart from each other:
where they do not add up, what is left may only be an old count, and is looked at for longer.

So one wait, for all queues at once, is enough to know of each at its deletion that it is empty.
RabbitMQ 3.10 does not tell where a log ends: there each question waits for fresh statistics.

Source: "Quorum Queues", "HTTP API Reference", RabbitMQ documentation; `rabbit_fifo` of its source.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from rabbit_topology.broker.management import NotFoundError
from rabbit_topology.errors import BrokerError

if TYPE_CHECKING:
    from rabbit_topology.broker.access import Access

PATIENCE_SECONDS = 60.0
"""How long two rounds of statistics may take, 10 s by default, before asking is given up."""

_LEADER_SECONDS = 60.0
"""How long a queue may take to elect a leader."""

_LOOK_SECONDS = 0.25
"""From one listing to the next; at least twice the time that one takes."""

_BELIEVED_SECONDS = 300.0
"""How long a log that has not grown is the same one: somebody could have declared the queue anew,
and as many commands could have followed."""

_SIDE_BY_SIDE = 16
"""So many queues are asked at once where their logs end."""

_COLUMNS = (
    "name,reductions,messages,messages_ready,messages_unacknowledged,messages_delayed,"
    "messages_dlx,consumers,last_delayed_at,delayed_retry"
)

_FRESH_AFTER = 2
"""So many changes that were seen show that statistics are newer than the question."""

_UNKNOWN_AFTER = 4
"""So many show that counts that do not add up are not of two rounds: a state is not known here."""

_BAD_REQUEST = ": 400: "

_WITHOUT_VOTE = ("non_voter", "promotable")


class NoLeaderError(BrokerError):
    """A quorum queue has no leader, so nobody knows what it holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """What a queue's statistics say of its messages; ``messages`` is all of them."""

    messages: int
    ready: int
    unacknowledged: int
    consumers: int
    delayed: int = 0
    dead_letters: int = 0
    due: float | None = None
    """When the last delayed message is due, in seconds since 1970; None: not known."""
    longest_delay: float | None = None
    """How many seconds the queue's own settings delay a message at most; None: they do not."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Count | None:
        """Return what a queue's row in a listing says, None where it has no statistics yet."""
        if row.get("messages") is None:
            return None
        due, retry = row.get("last_delayed_at"), str(row.get("delayed_retry"))
        longest = re.search(r"max: (\d+)ms", retry)
        return cls(
            messages=row["messages"],
            ready=row.get("messages_ready") or 0,
            unacknowledged=row.get("messages_unacknowledged") or 0,
            consumers=row.get("consumers") or 0,
            delayed=row.get("messages_delayed") or 0,
            dead_letters=row.get("messages_dlx") or 0,
            due=due / 1000 if isinstance(due, int) else None,
            longest_delay=int(longest[1]) / 1000 if longest else None,
        )

    @property
    def unknown(self) -> int:
        """How many messages are in a state that has no name here."""
        return max(0, self.messages - self._named)

    @property
    def adds_up(self) -> bool:
        """Return whether the total is the sum of the states that have a name here."""
        return self.messages == self._named

    @property
    def _named(self) -> int:
        return self.ready + self.unacknowledged + self.delayed + self.dead_letters


@dataclass(frozen=True, slots=True)
class Position:
    """Where a quorum queue's log ends: as long as that stays, the queue holds what it held."""

    leader: str
    term: int
    index: int
    applied: int

    @property
    def settled(self) -> bool:
        """Everything in the log is applied: statistics published from now on know of it."""
        return self.index == self.applied


@dataclass(slots=True)
class _Mark:
    """Where a queue's log ends, since when at least, and what the queue then holds, if known."""

    position: Position
    since: float
    count: Count | None = None


@dataclass(slots=True)
class _Seen:
    """What was seen of one vhost's queues."""

    lock: Lock = field(default_factory=Lock)
    looks: list[float] = field(default_factory=list)
    """When each listing was asked for."""
    pause: float = _LOOK_SECONDS
    rows: dict[str, list[tuple[float, int, Count]]] = field(default_factory=dict)
    """By queue, whenever its reductions had changed: when, reductions, and counts as of the last
    look at these reductions."""
    marks: dict[str, _Mark] = field(default_factory=dict)
    planned: Callable[[str], bool] | None = None
    planning: Lock = field(default_factory=Lock)

    def look(self, access: Access, vhost: str) -> None:
        """List the queues' statistics, unless somebody just has."""
        with self.lock:
            asked = time.monotonic()
            if self.looks and asked < self.looks[-1] + self.pause:
                return
            path = f"{access.path('queues', vhost)}?columns={_COLUMNS}"
            try:
                listed = access.management.get(path)
            except NotFoundError:
                listed = []
            for row in listed:
                count, reductions = Count.of(row), row.get("reductions")
                rows = self.rows.setdefault(row["name"], [])
                if not (count and reductions):
                    continue
                if rows and rows[-1][1] == reductions:
                    rows[-1] = (rows[-1][0], reductions, count)
                else:
                    rows.append((asked, reductions, count))
            self.looks.append(asked)
            self.pause = max(_LOOK_SECONDS, 2 * (time.monotonic() - asked))

    def fresh(self, name: str, since: float) -> Count | None:
        """Return a queue's statistics if they were certainly published after ``since``."""
        with self.lock:
            first = bisect_left(self.looks, since)
            if first == len(self.looks):
                return None
            later = [row for row in self.rows.get(name, ()) if row[0] > self.looks[first]]
            if len(later) < _FRESH_AFTER:
                return None
            count = later[-1][2]
            return count if count.adds_up or len(later) >= _UNKNOWN_AFTER else None


class Totals:
    """What was learned of the quorum queues of one broker, shared by all who ask."""

    def __init__(self) -> None:
        self._vhosts: dict[str, _Seen] = {}
        self._guard = Lock()

    def plan(self, vhost: str, only: Callable[[str], bool]) -> None:
        """Say which queues will be asked for: the first that is, has all of them looked at.

        Noting at once where their logs end makes one wait do for all.
        """
        self._seen(vhost).planned = only

    def begin(self, access: Access, vhost: str, names: Callable[[], Iterable[str]]) -> None:
        """Look at those of ``names``, the vhost's quorum queues, that were planned for, once."""
        seen = self._seen(vhost)
        with seen.planning:  # all others wait for it
            only, seen.planned = seen.planned, None
            if only is None:
                return

            def note(name: str) -> None:
                with suppress(BrokerError):  # each speaks for itself when it is asked for
                    self.exact(access, vhost, name)

            with ThreadPoolExecutor(_SIDE_BY_SIDE) as threads:
                list(threads.map(note, filter(only, names())))

    def count(
        self, access: Access, vhost: str, name: str, enough: Callable[[Count], bool]
    ) -> Count | None:
        """Return what a queue holds, None if it is gone; waits for statistics if need be.

        Exact at this moment; or, if ``enough`` says yes to it, true at a moment after the call.

        Raises:
            NoLeaderError: The queue has no leader.
            BrokerError: No statistics are published, or the queue's log grows all the time.
        """
        seen, called = self._seen(vhost), time.monotonic()
        fresh = None
        while time.monotonic() < called + PATIENCE_SECONDS:
            try:
                exact, told = self.exact(access, vhost, name)
            except NotFoundError:
                return None
            fresh = seen.fresh(name, called)
            if exact or (fresh and (not told or enough(fresh))):
                return exact or fresh
            seen.look(access, vhost)
            time.sleep(seen.pause)
        raise _not_known(access, name, changing=fresh is not None)

    def exact(self, access: Access, vhost: str, name: str) -> tuple[Count | None, bool]:
        """Return what a queue holds at this moment, as far as that is proven without a wait.

        And whether the broker tells where its log ends, without which nothing is.

        Raises:
            NotFoundError: The queue is gone.
            NoLeaderError: It has no leader.
        """
        seen = self._seen(vhost)
        # In this order: the statistics, then whether the log has still not grown.
        mark = seen.marks.get(name)
        if mark and time.monotonic() > mark.since + _BELIEVED_SECONDS:
            mark = None
        known = (seen.fresh(name, mark.since) or mark.count) if mark else None
        asked = time.monotonic()
        here = position(access, vhost, name)
        if here and mark and mark.position == here:
            return known, True
        if here and here.settled:
            seen.marks[name] = _Mark(here, asked)
        return None, here is not None

    def believe(self, vhost: str, name: str, count: Count, since: float) -> None:
        """Take a count for exact that was published after ``since``, while the log stays."""
        mark = self._seen(vhost).marks.get(name)
        if mark and mark.since <= since:
            mark.count = count

    def forget(self, vhost: str, name: str) -> None:
        """Forget a queue that is being deleted: another of its name starts a log of its own."""
        self._seen(vhost).marks.pop(name, None)

    def _seen(self, vhost: str) -> _Seen:
        with self._guard:
            return self._vhosts.setdefault(vhost, _Seen())


def position(access: Access, vhost: str, name: str) -> Position | None:
    """Return where a quorum queue's log ends, None if the broker does not tell; adds nothing to it.

    Raises:
        NotFoundError: The queue is gone.
        NoLeaderError: It has no leader that a majority of its members knows.
    """
    deadline = time.monotonic() + _LEADER_SECONDS
    while True:
        try:
            members = access.management.get(f"{access.path('queues/quorum', vhost, name)}/status")
        except BrokerError as error:
            # RabbitMQ 3.10 has no such page: 404, or, in vhost "/", 400.
            absent = isinstance(error, NotFoundError) or _BAD_REQUEST in str(error)
            if absent and access.exists("queues", vhost, name):
                return None
            raise
        if led := led_by(members):
            return led
        if time.monotonic() > deadline:
            raise NoLeaderError(
                access.management.endpoint,
                f"queue {name!r} does not answer, so what it holds is not known: it has no leader "
                "that most of its members know, their nodes may be down; nothing is deleted",
            )
        time.sleep(0.1)


def led_by(members: Sequence[Mapping[str, Any]]) -> Position | None:
    """Return where the log of the leader ends that a majority of ``members`` is led by.

    A new leader needs the votes of a majority, and each voter takes over its term first: as long
    as a majority is in the term of this one, there is no other. None if there is no such leader.
    """
    voters = [member for member in members if member.get("Membership") not in _WITHOUT_VOTE]
    for member in voters:
        term, index, applied = (
            member.get(key) for key in ("Term", "Last Log Index", "Last Applied")
        )
        if member.get("Raft State") != "leader":
            continue
        if not (isinstance(term, int) and isinstance(index, int) and isinstance(applied, int)):
            continue  # a member that cannot be asked has text there
        led = sum(voter.get("Term") == term for voter in voters)
        if 2 * led > len(voters):
            return Position(str(member.get("Node Name")), term, index, applied)
    return None


def _not_known(access: Access, name: str, *, changing: bool) -> BrokerError:
    if changing:
        said = (
            f"queue {name!r} is in use: its log grows all the time, so that it holds nothing could "
            f"not be proven within {PATIENCE_SECONDS:.0f} s; stop its publishers and consumers, "
            "and run again"
        )
    else:
        said = (
            f"the broker publishes no statistics of queue {name!r}, so whether it is empty is not "
            "known: only they count all of its messages. They may be switched off "
            "(management.disable_stats, management_agent.disable_metrics_collector); switch them "
            "on, or have the queue deleted with all it holds: `on_delete: discard`"
        )
    return BrokerError(access.management.endpoint, said)
