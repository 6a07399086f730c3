"""
What each pattern stands for: exactly these exchanges, queues and bindings.
"""

from __future__ import annotations

import pytest

from rabbit_topology import parse
from rabbit_topology.model import Topology


def shape(topology: Topology) -> tuple[dict, dict, list]:
    """Return exchanges, queues and bindings as a user would write them, without defaults."""
    exchanges, queues = (
        {name: one.model_dump(mode="json", exclude_defaults=True) for name, one in those.items()}
        for those in (topology.exchanges, topology.queues)
    )
    bindings = [
        binding.model_dump(mode="json", exclude_defaults=True) for binding in topology.bindings
    ]
    return exchanges, queues, bindings


def expanded(**topology) -> tuple[dict, dict, list]:
    return shape(parse({"vhost": "v", **topology})[0])


SAFE = {"strategy": "at-least-once"}
REFUSING = {"overflow": "reject-publish"}
KEEPING = {"delivery_limit": 1_000_000_000}
"""However often a message is given back."""


def test_dead_letter_makes_an_exchange_and_a_queue_and_waits_for_confirms():
    assert expanded(queues={"q": {"dead_letter": True}}) == (
        {"q.dead-letter": {"type": "fanout"}},
        {
            "q": {"dead_letter": {"exchange": "q.dead-letter", **SAFE}, **REFUSING},
            "q.dead-letter": KEEPING,
        },
        [{"source": "q.dead-letter", "queue": "q.dead-letter"}],
    )


@pytest.mark.parametrize(
    "queue",
    [
        {"type": "classic"},
        {"max_length": 5},
        {"max_length_bytes": 5},
        {"overflow": "drop-head"},
        {"dead_letter": {"strategy": "at-most-once"}},
    ],
)
def test_dead_letter_is_at_most_once_where_the_broker_or_the_user_has_it_so(queue):
    queues = expanded(queues={"q": {"dead_letter": True, **queue}})[1]
    assert queues["q"]["dead_letter"].get("strategy") in (None, "at-most-once")
    assert queues["q"].get("overflow") == queue.get("overflow")


def test_dead_letter_with_a_length_and_reject_publish_is_at_least_once():
    queues = expanded(queues={"q": {"dead_letter": True, "max_length": 5, **REFUSING}})[1]
    assert queues["q"]["dead_letter"] == {"exchange": "q.dead-letter", **SAFE}


def test_dead_letter_to_an_exchange_of_the_users_makes_nothing():
    written = {"exchanges": {"e": {}}, "queues": {"q": {"dead_letter": {"exchange": "e"}}}}
    assert expanded(**written) == ({"e": {}}, written["queues"], [])


def test_dead_letter_false_is_none_of_it():
    assert expanded(queues={"q": {"dead_letter": False}}) == ({}, {"q": {}}, [])


def test_what_a_queue_makes_is_of_its_type_and_stays_with_it():
    queues = expanded(
        queues={
            "c": {"type": "classic", "dead_letter": True, "on_delete": "discard"},
            "r": {"dead_letter": True, "on_delete": "retain"},
        }
    )[1]
    assert queues["c.dead-letter"] == {"type": "classic"}
    assert queues["r.dead-letter"] == {"on_delete": "retain", **KEEPING}


def test_retry_is_a_ladder_that_ends_in_a_parking_lot():
    delays = {"delays": [5000, 60_000]}

    def parked(reason):
        matched = {"x-match": "all-with-x", "x-last-death-reason": reason}
        return {"source": "q.retry", "queue": "q.parking-lot", "arguments": matched}

    def waiting(delay, then):
        target = {"exchange": "q.retry.back", "routing_key": then, **SAFE}
        return {"message_ttl": delay, "dead_letter": target, **REFUSING}

    exchanges, queues, bindings = expanded(queues={"q": {"retry": {"delays": ["5s", "1m"]}}})
    assert exchanges == {
        "q.retry": {"type": "headers", "alternate": "q.retry.step"},
        "q.retry.step": {"alternate": "q.retry.1"},
        "q.retry.1": {"type": "fanout"},
        "q.retry.back": {"type": "fanout"},
    }
    assert queues == {
        "q": {"retry": delays, "dead_letter": {"exchange": "q.retry", **SAFE}, **REFUSING},
        "q.retry.1": waiting(5000, "q.retry.2"),
        "q.retry.2": waiting(60_000, "q.retry.3"),
        "q.parking-lot": KEEPING,
    }
    assert bindings == [
        *(parked(reason) for reason in ("delivery_limit", "expired", "maxlen")),
        {"source": "q.retry.back", "queue": "q"},
        {"source": "q.retry.1", "queue": "q.retry.1"},
        {"source": "q.retry.step", "queue": "q.retry.2", "routing_key": "q.retry.2"},
        {"source": "q.retry.step", "queue": "q.parking-lot", "routing_key": "q.retry.3"},
    ]


def test_unroutable_keeps_what_no_binding_takes():
    assert expanded(exchanges={"e": {"unroutable": True}}) == (
        {
            "e": {"unroutable": True, "alternate": "e.unroutable"},
            "e.unroutable": {"type": "fanout"},
        },
        {"e.unroutable": KEEPING},
        [{"source": "e.unroutable", "queue": "e.unroutable"}],
    )


def test_delays_lead_back_into_their_exchange_with_the_messages_own_key():
    exchanges, queues, bindings = expanded(exchanges={"e": {"delays": ["90s", 60_000]}})
    assert exchanges.keys() == {"e", "e.delay.90s", "e.delay.1m"}
    back = {"dead_letter": {"exchange": "e", **SAFE}, **REFUSING}
    assert queues == {
        "e.delay.90s": {"message_ttl": 90_000, **back},
        "e.delay.1m": {"message_ttl": 60_000, **back},
    }
    assert bindings == [{"source": one, "queue": one} for one in ("e.delay.90s", "e.delay.1m")]


def test_a_super_stream_is_an_exchange_and_a_stream_for_each_partition():
    settings = {"max_age": "1d", "segment_size": "1MB", "on_delete": "retain"}
    partition = {
        "type": "stream",
        "max_age": 86_400_000,
        "segment_size": 1_000_000,
        "on_delete": "retain",
    }
    assert expanded(super_streams={"s": {"partitions": 2, **settings}}) == (
        {"s": {}},
        {"s-0": partition, "s-1": partition},
        [
            {
                "source": "s",
                "queue": f"s-{number}",
                "routing_key": str(number),
                "arguments": {"x-stream-partition-order": number},
            }
            for number in (0, 1)
        ],
    )


def test_without_patterns_nothing_is_added():
    written = {
        "exchanges": {"e": {"type": "topic", "alternate": "amq.fanout"}},
        "queues": {"q": {"message_ttl": 5}},
        "bindings": [{"source": "e", "queue": "q", "routing_key": "#"}],
    }
    assert expanded(**written) == tuple(written.values())


def test_what_a_renamed_queue_makes_is_renamed_with_it():
    queues = expanded(
        queues={
            "new": {"renamed_from": "old", "retry": {"delays": ["5s", "1m"]}},
            "n": {"renamed_from": "o", "dead_letter": True},
        }
    )[1]
    assert {name: one.get("renamed_from") for name, one in queues.items()} == {
        "new": "old",
        "new.retry.1": "old.retry.1",
        "new.retry.2": "old.retry.2",
        "new.parking-lot": "old.parking-lot",
        "n": "o",
        "n.dead-letter": "o.dead-letter",
    }


def test_a_renamed_exchange_has_one_of_its_former_name_before_it():
    exchanges, queues, bindings = expanded(
        exchanges={"new": {"type": "topic", "renamed_from": "old", "unroutable": True}},
    )
    assert exchanges["old"] == {"type": "topic", "alternate": "new.unroutable"}
    assert exchanges["old.unroutable"] == {"type": "fanout"}
    assert queues == {"new.unroutable": {"renamed_from": "old.unroutable", **KEEPING}}
    assert {"source": "old", "exchange": "new", "routing_key": "#"} in bindings
    assert {"source": "old.unroutable", "exchange": "new.unroutable", "routing_key": ""} in bindings


@pytest.mark.parametrize(
    ("kind", "ways"),
    [
        ("fanout", [("", {})]),
        ("topic", [("#", {})]),
        ("headers", [("", {"x-match": "all"})]),
        ("direct", [("a", {}), ("b", {})]),
    ],
)
def test_a_former_exchange_takes_what_its_follower_does(kind, ways):
    bindings = expanded(
        exchanges={"new": {"type": kind, "renamed_from": "old"}},
        queues={"q": {}},
        bindings=[
            {"source": "new", "queue": "q", "routing_keys": ["b", "a"]},
            {"source": "new", "queue": "q", "routing_key": "a", "arguments": {"x": "y"}},
        ],
    )[2]
    led = [one for one in bindings if one["source"] == "old"]
    assert [(one["routing_key"], one.get("arguments", {})) for one in led] == ways
    assert {one["exchange"] for one in led} == {"new"}
