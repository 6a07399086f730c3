"""
Messages, destinations, bounds, the ledger, and how they are written.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from rabbit_topology.errors import TopologyError
from rabbit_topology.replays.destination import Destination, Target
from rabbit_topology.replays.ledger import Ledger, Left, Mode, as_json, text
from rabbit_topology.replays.message import REPLAYS, Message, mark_of
from rabbit_topology.replays.peek import Peeked
from rabbit_topology.replays.request import HOLD, HOLD_BYTES, MOST_HELD, UNKNOWN_BYTES, Request
from rabbit_topology.replays.selection import Selection


@pytest.mark.parametrize(
    ("written", "destination"),
    [
        ("jobs", Destination(queue="jobs", routing_key="own")),
        ("orders/order.new", Destination(exchange="orders", routing_key="order.new")),
        ("orders/a/b", Destination(exchange="orders", routing_key="a/b")),
        ("orders/", Destination(exchange="orders", routing_key="own")),
        ("exchange:orders", Destination(exchange="orders", routing_key="own")),
        ("queue:a/b", Destination(queue="a/b", routing_key="own")),
        ("exchange:queue:x/k", Destination(exchange="queue:x", routing_key="k")),
    ],
)
def test_a_target_is_a_queue_or_an_exchange(written, destination):
    assert Target.parse(written).of("own") == destination


@pytest.mark.parametrize("written", ["", "queue:", "/key", "exchange:/key"])
def test_a_target_without_a_name_is_an_error(written):
    with pytest.raises(TopologyError, match="--to"):
        Target.parse(written)


@pytest.mark.parametrize(
    ("headers", "replays", "deliveries"),
    [
        ({}, 0, 0),
        ({REPLAYS: 3, "x-delivery-count": 7}, 3, 7),
        ({REPLAYS: "many", "x-delivery-count": None}, 0, 0),
        ({REPLAYS: -1, "x-delivery-count": -1}, 0, 0),
    ],
)
def test_counts_in_headers(headers, replays, deliveries):
    message = Message(headers=headers)
    assert (message.replays, message.deliveries) == (replays, deliveries)


def test_the_last_death_says_since_when():
    first, last = (datetime.fromtimestamp(at, UTC) for at in (100, 200))
    message = Message(headers={"x-death": [{"time": first}, {"time": last}, {}]}, timestamp=5)
    assert message.since == 200
    assert Message(timestamp=5).since == 5
    assert Message().since is None


def test_a_mark_tells_messages_apart_by_body_and_properties():
    marks = {
        mark_of(b"a"),
        mark_of(b"b"),
        mark_of(b"a", "id"),
        mark_of(b"a", None),
        mark_of(b"a", "id", None),
    }
    assert len(marks) == 5
    assert mark_of(b"a", "id") == mark_of(b"a", "id")


@pytest.mark.parametrize(
    ("request_", "ready", "mean", "prefetch"),
    [
        (Request(), 5, 1, 5),
        (Request(), 10**6, 1, HOLD),
        (Request(), 10**6, 1 << 20, HOLD_BYTES >> 20),
        (Request(), 10**6, 0, HOLD_BYTES // UNKNOWN_BYTES),
        (Request(), 10**6, 10**12, 1),
        (Request(hold=20_000), 10**6, 1 << 20, 20_000),
        (Request(hold=10**6), 10**6, 1, MOST_HELD),
        (Request(limit=3), 10**6, 1, 3),
        (Request(rate=0.001), 10**6, 1, 1),
        (Request(rate=2), 10**6, 1, 600),
        (Request(rate=2, mode=Mode.DRY_RUN), 10**6, 1, HOLD),
        # What is passed over is held as well.
        (Request(limit=3, selection=Selection(reasons=("rejected",))), 10**6, 1, HOLD),
        (Request(rate=2, selection=Selection(reasons=("rejected",))), 10**6, 1, HOLD),
    ],
)
def test_how_many_are_taken_at_once(request_, ready, mean, prefetch):
    assert request_.prefetch(ready, mean) == prefetch


def ledger() -> Ledger:
    """Return one with all that there is to tell."""
    told = Ledger(queue="dead", ready=9, taken=9)
    for key in ("a", "b"):
        told.replay(Destination(queue="work", routing_key=key), replays=1, expires=False)
    told.replay(Destination(exchange="x", routing_key="k"), replays=0, expires=True)
    told.leave(Left.NOT_SELECTED, count=4)
    told.leave(Left.RETURNED, "exchange x: NO_ROUTE")
    told.leave(Left.CAME_BACK)
    told.leave(Left.REFUSED, "never", count=0)
    told.came_back = 1
    told.notes.append("a note")
    told.stopped = "it came back"
    return told


def test_a_ledger_counts_each_message_once():
    told = ledger()
    assert told.adds_up
    told.leave(Left.NOT_REACHED)
    assert not told.adds_up


def test_a_ledger_as_text():
    assert list(text(ledger())) == [
        "queue dead: 9 ready at the start, 9 taken",
        "  replayed to queue work: 2",
        "  replayed to exchange x with routing key 'k': 1",
        "  left, not selected: 4",
        "  left, returned as unroutable: 1",
        "      1: exchange x: NO_ROUTE",
        "  left, replayed, and back again: 1",
        "  2 of the replayed had been replayed before",
        "  1 of the replayed expire by themselves: their time begins anew",
        "  1 of the replayed came back to the queue already",
        "a note",
        "stopped: it came back",
    ]


def test_many_places_are_summed_up():
    told = Ledger(queue="dead")
    for number in range(22):
        there = Destination(exchange="x", routing_key=str(number))
        told.replay(there, replays=0, expires=False)
    lines = list(text(told))
    assert len(lines) == 22
    assert lines[-1] == "  replayed to 2 other places: 2"


def test_a_ledger_as_json():
    answer = json.loads(json.dumps(as_json(ledger())))
    assert answer["replayed"][0] == {
        "queue": "work",
        "exchange": None,
        "routing_key": "",
        "count": 2,
    }
    assert answer["left"][1] == {
        "why": "returned as unroutable",
        "count": 1,
        "reasons": {"exchange x: NO_ROUTE": 1},
    }
    assert (answer["taken"], answer["stopped"], answer["complete"]) == (9, "it came back", False)


@pytest.mark.parametrize("why", Left)
def test_what_was_asked_for_and_stays_makes_a_run_incomplete(why):
    told = Ledger(queue="dead")
    assert told.is_complete
    told.leave(why)
    assert told.is_complete is (why in (Left.NOT_SELECTED, Left.NOT_REACHED))


def test_what_would_be_is_said_so():
    told = Ledger(queue="dead", mode=Mode.DRY_RUN)
    assert list(text(told))[1] == "  would be replayed: 0"


def test_a_message_is_shown_without_its_body_and_its_deaths():
    message = Message(
        routing_key="k",
        message_id="m-1",
        size=1200,
        timestamp=0,
        expiration="500",
        headers={"x-death": [], REPLAYS: 2, "tenant": "a", "raw": b"\xff"},
    )
    shown = Peeked(
        number=1, message=message, reason="rejected", destination=Destination(queue="work")
    )
    assert list(shown.lines()) == [
        (
            "1. 1,200 bytes, id m-1, rejected 1970-01-01T00:00:00+00:00, routing key 'k', "
            "replayed 2 times, expires after 500 ms, to queue work"
        ),
        "      tenant: a",
        "      raw: \ufffd",
    ]
    answer = json.loads(json.dumps(shown.as_json()))
    assert answer["destination"] == "queue work"
    assert answer["headers"] == {"x-death": [], REPLAYS: 2, "tenant": "a", "raw": "\ufffd"}


def test_a_message_that_stays_is_shown_with_the_reason():
    shown = Peeked(number=2, message=Message(), reason=None, destination="nobody knows")
    assert next(shown.lines()) == "2. 0 bytes, routing key '', stays: nobody knows"
    answer = shown.as_json()
    assert (answer["destination"], answer["stays"], answer["since"]) == (None, "nobody knows", None)


def test_times_that_no_calendar_has_are_left_out():
    shown = Peeked(number=1, message=Message(timestamp=2**62), reason="maxlen", destination="x")
    assert "maxlen," in next(shown.lines())
    at = datetime(2026, 1, 2, tzinfo=UTC)
    nested = Peeked(
        number=1, message=Message(headers={"a": {"at": at}}), reason=None, destination=""
    )
    assert nested.as_json()["headers"] == {"a": {"at": "2026-01-02T00:00:00+00:00"}}
