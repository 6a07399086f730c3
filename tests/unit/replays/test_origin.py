"""
Where a message came from, by its deaths: what the patterns make, and what others make by hand.
"""

from __future__ import annotations

from typing import Any

import pytest

from rabbit_topology.replays.destination import Destination
from rabbit_topology.replays.message import Message
from rabbit_topology.replays.origin import Source, death_of, origin, own_key, reason_of


def died(queue: str, reason: str, *keys: str, exchange: str = "orders") -> dict[str, Any]:
    """Return an entry of ``x-death``."""
    return {"queue": queue, "reason": reason, "routing-keys": list(keys), "exchange": exchange}


def message(*deaths: dict[str, Any], key: str = "k", exchange: str = "", **headers: Any) -> Message:
    """Return a message with its deaths, the last one first."""
    told = {"x-death": list(deaths), **headers} if deaths else headers
    return Message(routing_key=key, exchange=exchange, headers=told)


def to(queue: str, key: str) -> Destination:
    return Destination(queue=queue, routing_key=key)


def test_a_dead_letter_goes_back_to_the_queue_that_it_died_in_with_its_own_key():
    dead = message(died("work", "rejected", "order.new"), key="order.new", exchange="x")
    assert origin(Source(name="work.dead-letter"), dead) == to("work", "order.new")


def test_a_parked_message_goes_back_to_the_queue_before_the_ladder():
    # As the broker has it after two rounds: what is counted again moves to the front.
    parked = message(
        died("tried", "rejected", "order.new"),
        died("tried.retry.2", "expired", "tried.retry.2", exchange="tried.retry"),
        died("tried.retry.1", "expired", "order.new", exchange="tried.retry.1"),
        key="tried.retry.3",
        **{"x-first-death-queue": "tried"},
    )
    assert origin(Source(name="tried.parking-lot"), parked) == to("tried", "order.new")


def test_a_key_of_the_ladder_is_not_the_key_that_a_message_was_published_with():
    parked = message(
        died("tried", "delivery_limit", "tried.retry.2"),
        died("tried.retry.1", "expired", "order.new"),
        died("tried", "rejected", "order.new"),
        key="tried.retry.2",
    )
    source = Source(name="tried.parking-lot")
    assert own_key(source, parked) == "order.new"
    assert reason_of(source, parked) == "delivery_limit"


def test_nor_is_it_where_the_entry_with_it_is_the_older_one():
    parked = message(
        died("tried", "rejected", "order.new"), died("tried", "delivery_limit", "tried.retry.2")
    )
    assert own_key(Source(name="tried.parking-lot"), parked) == "order.new"


def test_without_any_other_the_key_of_the_ladder_has_to_do():
    parked = message(died("tried", "rejected", "tried.retry.2"), key="tried.retry.3")
    assert own_key(Source(name="tried.parking-lot"), parked) == "tried.retry.2"


def test_a_message_that_no_binding_took_goes_back_to_its_exchange():
    lost = message(exchange="orders", key="order.nw")
    expected = Destination(exchange="orders", routing_key="order.nw")
    assert (
        origin(Source(name="orders.unroutable", exchanges=["orders.unroutable"]), lost) == expected
    )


def test_what_was_delayed_and_then_found_no_binding_goes_back_to_the_exchange_not_to_the_delay():
    late = message(died("e.delay.1m", "expired", "a.b"), exchange="e", key="a.b")
    expected = Destination(exchange="e", routing_key="a.b")
    assert origin(Source(name="e.unroutable"), late) == expected


def test_what_was_delayed_and_then_rejected_goes_back_to_who_rejected_it():
    late = message(died("jobs", "rejected", "a"), died("e.delay.1m", "expired", "a"))
    late_first = message(
        died("jobs", "rejected", "a"),
        died("e.delay.1m", "expired", "a"),
        **{"x-first-death-queue": "e.delay.1m"},
    )
    for source in (Source(name="jobs.dead-letter"), Source(name="errors")):
        assert origin(source, late) == to("jobs", "a")
        assert origin(source, late_first) == to("jobs", "a")


def test_what_only_expired_goes_back_to_where_it_did_so_first():
    expired = message(died("second", "expired", "b"), died("first", "expired", "a"))
    assert origin(Source(name="errors"), expired) == to("first", "a")
    # A queue that is named after where it leads says it better.
    assert origin(Source(name="second.dead-letter"), expired) == to("second", "b")


def test_of_several_queues_that_rejected_it_the_first_one_counts():
    twice = [died("second", "rejected", "b"), died("first", "rejected", "a")]
    assert origin(Source(name="errors"), message(*twice)) == to("first", "a")
    told = message(*reversed(twice), **{"x-first-death-queue": "first"})
    assert origin(Source(name="errors"), told) == to("first", "a")


@pytest.mark.parametrize(
    ("stays", "why"),
    [
        (message(), "straight to this queue"),
        (message(exchange="errors.in"), "come straight back"),
        (message(died("errors", "expired", "a")), "this very queue"),
    ],
)
def test_where_nothing_says_where_it_came_from_it_stays(stays, why):
    answer = origin(Source(name="errors", exchanges=["", "errors.in"]), stays)
    assert isinstance(answer, str)
    assert why in answer


def test_an_exchange_that_does_not_lead_here_is_where_it_came_from():
    lost = message(exchange="orders", key="a")
    assert origin(Source(name="errors"), lost) == Destination(exchange="orders", routing_key="a")


def test_the_reason_is_that_of_the_death_that_led_here():
    source = Source(name="errors")
    dead = message(died("wait", "expired", "a"), died("work", "rejected", "a"))
    assert reason_of(source, dead) == "rejected"
    assert reason_of(source, message(**{"x-first-death-reason": "maxlen"})) == "maxlen"
    assert reason_of(source, message()) is None
    assert death_of(source, message()) is None


def test_deaths_that_others_have_written_do_not_break_anything():
    odd = Message(headers={"x-death": [1, {"queue": "work"}]}, routing_key="k")
    assert origin(Source(name="errors"), odd) == to("work", "k")
    assert Message(headers={"x-death": "none"}).deaths == ()
