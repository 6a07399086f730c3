"""
What a quorum queue holds in all: how answers are read, and when they are believed.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import pytest

from rabbit_topology.broker import totals
from rabbit_topology.broker.access import Access
from rabbit_topology.broker.management import NotFoundError
from rabbit_topology.broker.totals import Count, NoLeaderError, Position
from rabbit_topology.errors import BrokerError
from rabbit_topology.messages import delays
from rabbit_topology.messages.contents import Contents
from rabbit_topology.messages.queue import delays_messages
from rabbit_topology.messages.state import QueueState
from rabbit_topology.model import QueueType

PLAIN = {"messages": 0, "messages_ready": 0, "messages_unacknowledged": 0, "consumers": 0}


def member(state="leader", *, node="n1", term=1, index=7, applied=None, membership="voter"):
    applied = index if applied is None else applied
    return {
        "Node Name": node,
        "Raft State": state,
        "Membership": membership,
        "Term": term,
        "Last Log Index": index,
        "Last Applied": applied,
    }


AWAY = member("nodedown", node="n3", term="", index="", membership="")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"messages": 7, "messages_delayed": 7}, "7 delayed"),
        ({"messages": 3, "messages_dlx": 3}, "3 not dead-lettered yet"),
        ({"messages": 4}, "4 in a state that this program does not know"),
        (
            {"messages": 9, "messages_delayed": 2, "messages_dlx": 3},
            "2 delayed, 3 not dead-lettered yet, 4 in a state that this program does not know",
        ),
    ],
)
def test_every_message_of_the_total_counts_whatever_state_it_is_in(row, said):
    count = Count.of({**PLAIN, **row})
    assert count
    result = Contents.counted(QueueType.QUORUM, count)
    assert str(result) == f"0 ready, 0 unacknowledged, {said}, 0 consumers"
    assert result.messages == row["messages"]
    assert result.in_use
    assert not result.empty


def test_a_total_below_its_parts_takes_nothing_from_them():
    count = Count.of({**PLAIN, "messages": 1, "messages_ready": 3})
    assert count
    assert count.unknown == 0
    assert Contents.counted(QueueType.QUORUM, count).messages == 3


def test_a_total_that_is_missing_is_not_a_0():
    assert Count.of({}) is None
    assert Count.of({"messages": None, "messages_ready": 0}) is None


def test_what_the_broker_says_of_delays():
    retry = {"delayed_retry": "all (min: 2000ms, max: 90000ms)", "last_delayed_at": 5000}
    count = Count.of({**PLAIN, **retry})
    assert count
    assert (count.longest_delay, count.due) == (90, 5)
    for text in ("disabled", None):
        other = Count.of({**PLAIN, "delayed_retry": text})
        assert other
        assert (other.longest_delay, other.due) == (None, None)


@pytest.mark.parametrize(
    ("members", "position"),
    [
        ([member()], Position("n1", 1, 7, 7)),
        ([member("follower")], None),
        ([member(), member("follower", node="n2"), AWAY], Position("n1", 1, 7, 7)),
        ([member(), AWAY, AWAY], None),
        # One that was voted out and has not heard of it.
        (
            [member(), member(node="n2", term=2), member("follower", node="n3", term=2)],
            Position("n2", 2, 7, 7),
        ),
        ([member(), member("candidate", term=2), member("follower", term=2)], None),
        (
            [member(), *[member("follower", membership="promotable", term=0)] * 2],
            Position("n1", 1, 7, 7),
        ),
        ([AWAY], None),
        ([], None),
    ],
)
def test_a_leader_is_believed_that_a_majority_is_led_by(members, position):
    assert totals.led_by(members) == position


class Management:
    """Answers with the next of the scripted answers, the last one again and again."""

    endpoint = "http://fake"
    newest_version = (4, 3, 6)

    def __init__(self, *, rows=(), members=()):
        self.rows, self.members = deque(rows), deque(members)

    def get(self, path: str) -> Any:
        if path.endswith("/status"):
            return self._next(self.members)
        if path.startswith("/queues/v?"):
            row = self._next(self.rows)
            return [{"name": "q", **row}] if row is not None else []
        return {}

    @staticmethod
    def _next(script):
        answer = script[0] if len(script) == 1 else script.popleft()
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def ask(monkeypatch):
    """Return what is counted by a script of rows and of logs; without any wait worth the name."""
    monkeypatch.setattr(totals, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(totals, "PATIENCE_SECONDS", 1.5)
    monkeypatch.setattr(totals, "_LEADER_SECONDS", 0.2)

    def run(rows, members, enough=lambda _count: False):
        access = Access(management=Management(rows=rows, members=members), addresses=[])
        return access.totals.count(access, "v", "q", enough)

    return run


def row(reductions, **counts):
    return {**PLAIN, "reductions": reductions, **counts}


STILL = [[member()]]


def test_statistics_are_believed_that_are_newer_than_the_question(ask):
    rows = [row(1), row(2), row(3, messages=5, messages_delayed=5)]
    result = ask(rows, STILL)
    assert result
    assert (result.messages, result.delayed) == (5, 5)


@pytest.mark.parametrize(
    "old", [{"messages": 5}, {"messages_delayed": 5}, {"messages": 5, "messages_dlx": 3}]
)
def test_states_that_are_of_an_older_round_than_the_total_are_waited_for(ask, old):
    now = {"messages": 4, "messages_dlx": 4}
    result = ask([row(1), row(2), row(3, **old), row(3, **now)], STILL)
    assert result
    assert (result.messages, result.dead_letters, result.delayed, result.unknown) == (4, 4, 0, 0)


def test_a_state_that_nobody_has_heard_of_counts_after_two_more_rounds(ask):
    rows = [row(one, messages=5) for one in range(5)]
    with pytest.raises(BrokerError, match="publishes no statistics"):
        ask(rows[:4], STILL)
    result = ask(rows, STILL)
    assert result
    assert result.unknown == 5


@pytest.mark.parametrize("rows", [[row(1)], [row(1), row(2)], [{}], [None]])
def test_statistics_that_do_not_go_round_are_no_answer(ask, rows):
    with pytest.raises(BrokerError, match="publishes no statistics of queue 'q'"):
        ask(rows, STILL)


def test_a_log_that_has_grown_meanwhile_asks_for_newer_ones(ask):
    grown = [[member(index=index)] for index in (7, 7, 7, 8)]
    rows = [*(row(one) for one in range(9)), row(9, messages=1)]
    result = ask(rows, grown)
    assert result
    assert result.messages in (0, 1)


def test_a_log_that_grows_all_the_time_is_never_empty(ask):
    grown = [[member(index=index)] for index in range(2000)]
    rows = [row(one) for one in range(2000)]
    with pytest.raises(BrokerError, match="queue 'q' is in use: its log grows all the time"):
        ask(rows, grown)
    held = [row(one, messages=4) for one in range(2000)]
    result = ask(
        held, [[member(index=index)] for index in range(2000)], lambda one: one.messages > 0
    )
    assert result, "but it does not have to stand still to hold something"
    assert result.messages == 4


def test_what_is_in_the_log_and_not_applied_yet_is_waited_for(ask):
    with pytest.raises(BrokerError, match="log grows"):
        ask([row(one) for one in range(2000)], [[member(applied=6)]])


def test_a_queue_that_is_gone_or_has_no_leader(ask, monkeypatch):
    monkeypatch.setattr(Access, "exists", lambda *_: False)
    assert ask([row(1)], [NotFoundError("", "")]) is None
    with pytest.raises(NoLeaderError, match="queue 'q' does not answer"):
        ask([row(1)], [[member(), AWAY, AWAY]])


@pytest.mark.parametrize(
    "answer",
    [NotFoundError("", "no /queues/quorum/v/q/status"), BrokerError("", "GET …/status: 400: Bad")],
    ids=["404", "400"],
)
def test_without_logs_to_look_at_fresh_statistics_are_all_there_is(ask, monkeypatch, answer):
    monkeypatch.setattr(Access, "exists", lambda *_: True)  # RabbitMQ 3.10
    result = ask([row(1), row(2), row(3)], [answer])
    assert result
    assert result.messages == 0


def _known(rows):
    """Return access to a queue of which it is known that it is empty."""
    access = Access(management=Management(rows=rows, members=STILL), addresses=[])
    assert access.totals.count(access, "v", "q", lambda _count: False)
    return access


def test_what_is_known_is_known_without_another_wait(ask):
    access = _known([row(1), row(2), row(3)])
    began = time.monotonic()
    count, told = access.totals.exact(access, "v", "q")
    assert count
    assert told
    assert time.monotonic() - began < 0.2


@pytest.mark.parametrize(
    "now", [member(index=8), member(term=2), member(node="n2"), member(index=8, applied=7)]
)
def test_and_forgotten_with_the_first_command_after_it(ask, now):
    access = _known([row(1), row(2), row(3)])
    access.management.members = deque([[now]])
    assert access.totals.exact(access, "v", "q") == (None, True)


def test_a_queue_that_is_declared_anew_is_another_one(ask):
    access = _known([row(1), row(2), row(3)])
    access.totals.forget("v", "q")
    assert access.totals.exact(access, "v", "q") == (None, True)


@pytest.mark.parametrize(
    ("version", "by_total"),
    [((3, 10, 8), False), ((4, 2, 9), False), ((4, 3, 0), True), ((5, 0), True), ((), True)],
)
def test_only_versions_known_to_be_older_are_asked_otherwise(version, by_total):
    management = Management()
    management.newest_version = version
    access = Access(management=management, addresses=[])
    assert delays_messages(access, QueueState({"name": "q", "type": "quorum"})) is by_total
    assert not delays_messages(access, QueueState({"name": "q", "type": "classic"}))


def delayed(longest=None, in_seconds=None):
    due = None if in_seconds is None else time.time() + in_seconds
    return Count(
        messages=3,
        ready=0,
        unacknowledged=0,
        consumers=0,
        delayed=3,
        due=due,
        longest_delay=longest,
    )


def test_delays_that_are_bounded_and_short_are_waited_for():
    assert delays.refusal("q", delayed(120, 60), 900) is None
    assert delays.refusal("q", delayed(120), 900) is None
    none = Count(messages=0, ready=0, unacknowledged=0, consumers=0)
    assert delays.refusal("q", none, 900) is None
    assert delays.longest_wait(delayed(120, 60)) == pytest.approx(60, abs=1)
    assert delays.longest_wait(delayed(120)) == 120


@pytest.mark.parametrize(
    ("count", "why"),
    [
        (delayed(), "none of its settings bounds for how long"),
        (delayed(None, 60), "the last of them is due in "),
        (delayed(1000), "for up to 1,000 s, as its settings say"),
        (delayed(120, 5000), "longer than its settings say"),
    ],
)
def test_others_are_refused_with_a_number_and_a_way_on(count, why):
    said = delays.refusal("q", count, 900)
    assert said
    assert "queue q cannot be replaced now: it delays 3 messages" in said
    assert why in said
    assert "under another name" in said


def test_what_is_delayed_again_and_again_is_not_waited_for_for_ever(monkeypatch):
    until = delays.Deadline()
    assert not until.passed(delayed(1))
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 60)
    assert until.passed(delayed(1))
    assert not delays.Deadline().passed(Count(messages=0, ready=0, unacknowledged=0, consumers=0))
