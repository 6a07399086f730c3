"""
What each queue is for, whose it is, and how much it may hold.
"""

from __future__ import annotations

from rabbit_topology.model import Overflow
from rabbit_topology.watch import metrics
from rabbit_topology.watch.queues import Purpose
from tests.support.watched import ODD, watched


def by_name(topology=None):
    every = watched() if topology is None else watched({"vhost": "v", **topology})
    return {queue.name: queue for queue in every}


def test_what_patterns_make_is_known_for_what_it_is_and_whose():
    seen = {name: (queue.purpose, queue.services) for name, queue in by_name().items()}
    assert seen["new.parking-lot"] == (Purpose.PARKED, ("billing",))
    assert seen["new.retry.1"] == seen["new.retry.2"] == (Purpose.WAITING, ("billing",))
    assert seen["paid.dead-letter"] == (Purpose.DEAD, ("audit", "billing"))
    assert seen["orders.unroutable"] == (Purpose.UNROUTABLE, ("gateway",))
    assert seen["orders.delay.10m"] == (Purpose.WAITING, ("gateway",))


def test_what_is_written_by_hand_is_known_by_the_ways_to_it():
    seen = {name: (queue.purpose, queue.services) for name, queue in by_name().items()}
    assert seen["died"] == (Purpose.DEAD, ())
    assert seen["left"] == (Purpose.UNROUTABLE, ("odd {{service}}",))
    assert seen["log"] == (Purpose.STREAM, ("billing",))
    assert seen["new"] == (Purpose.WORK, ("billing",))
    assert seen[ODD] == (Purpose.WORK, ("odd {{service}}",))


def test_a_queue_that_gets_other_messages_as_well_is_for_work():
    seen = by_name(
        {
            "exchanges": {"e": {"alternate": "f"}, "f": {"type": "fanout"}},
            "queues": {"q": {"dead_letter": {"exchange": "f"}}, "both": {}, "rest": {}},
            "bindings": [
                {"source": "e", "queue": "both", "routing_key": "k"},
                {"source": "f", "queue": "both"},
                {"source": "f", "queue": "rest"},
            ],
        }
    )
    assert seen["both"].purpose is Purpose.WORK
    assert seen["rest"].purpose is Purpose.DEAD  # what no binding took gets there as well


def by_default(key):
    return {"arguments": {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": key}}


def test_dead_letters_get_to_a_queue_by_its_name_through_the_default_exchange():
    seen = by_name(
        {
            "exchanges": {"e": {}},
            "queues": {
                "jobs": by_default("jobs.dead"),
                "jobs.dead": {},
                "orders": by_default("both"),
                "both": {},
                "same": {
                    "arguments": {"x-dead-letter-exchange": ""}
                },  # with each message's own key
                "other": {},
            },
            "bindings": [{"source": "e", "queue": "both"}],
            "services": {"s": {"consumes": ["jobs"]}},
        }
    )
    assert (seen["jobs.dead"].purpose, seen["jobs.dead"].services) == (Purpose.DEAD, ("s",))
    assert not seen["jobs.dead"].needs_consumer
    work = {name for name, queue in seen.items() if queue.purpose is Purpose.WORK}
    assert work == {"jobs", "orders", "both", "same", "other"}


def test_what_is_delayed_by_name_is_not_dead():
    seen = by_name(
        {
            "queues": {
                "jobs.later": {"message_ttl": "90s", **by_default("jobs")},
                "jobs": {},
                "calls": {"message_ttl": "90s", **by_default("calls.dead")},
                "calls.dead": {},
                "sums": {"message_ttl": "90s", **by_default("sums.dead")},
                "sums.dead": {},
            },
            "services": {"s": {"consumes": ["jobs", "sums", "sums.dead"]}},
        }
    )
    assert seen["jobs.later"].purpose is Purpose.WAITING
    assert seen["jobs"].purpose is Purpose.WORK
    assert seen["calls.dead"].purpose is Purpose.DEAD  # nobody says that it is for work
    assert seen["sums.dead"].purpose is Purpose.DEAD  # they expired while somebody consumed


def test_a_ladder_by_hand_waits_unless_a_service_consumes_it():
    topology = {
        "exchanges": {"e": {}},
        "queues": {
            "later": {"message_ttl": "90s", "dead_letter": {"exchange": "e"}},
            "now": {"message_ttl": "90s", "dead_letter": {"exchange": "e"}},
            "forgotten": {"message_ttl": "90s"},
        },
        "bindings": [{"source": "e", "queue": "now"}],
        "services": {"s": {"consumes": ["now"]}},
    }
    seen = by_name(topology)
    assert (seen["later"].purpose, seen["later"].wait) == (Purpose.WAITING, 90_000)
    assert (seen["now"].purpose, seen["now"].wait) == (Purpose.WORK, 0)
    assert (seen["forgotten"].purpose, seen["forgotten"].wait) == (Purpose.WORK, 0)


def test_how_long_messages_wait_is_that_of_each_step():
    seen = by_name()
    waits = {name: queue.wait for name, queue in seen.items() if queue.wait}
    assert waits == {"new.retry.1": 5000, "new.retry.2": 60_000, "orders.delay.10m": 600_000}


def test_a_limit_is_what_applies_in_the_end_and_a_streams_is_none():
    seen = by_name(
        {
            "queues": {
                "plain": {"max_length": 100},
                "argued": {"type": "classic", "arguments": {"x-max-length": 7}},
                "capped": {"max_length": 100},
                "log": {"type": "stream", "max_length_bytes": "1GB"},
            },
            "operator_policies": {
                "cap": {
                    "pattern": "^capped$",
                    "apply_to": "queues",
                    "definition": {"max-length": 30},
                }
            },
        }
    )
    limits = {name: (queue.max_length, queue.max_bytes) for name, queue in seen.items()}
    assert limits == {"plain": (100, 0), "argued": (7, 0), "capped": (30, 0), "log": (0, 0)}


def test_messages_are_lost_beyond_a_limit_only_where_nothing_keeps_them():
    seen = by_name()
    assert seen["blobs"].loses
    assert not seen["jobs"].loses
    assert not seen["full"].loses
    assert seen["full"].overflow is Overflow.REJECT_PUBLISH


def test_the_large_family_is_asked_for_only_where_bytes_count_and_none_twice():
    every = watched()
    assert metrics.families(every) == ["queue_coarse_metrics", "queue_metrics"]
    small = [queue for queue in every if not queue.max_bytes]
    assert metrics.families(small) == ["queue_coarse_metrics", "queue_consumer_count"]
    used = (metrics.MESSAGES, metrics.READY, metrics.UNACKED, metrics.CONSUMERS)
    for metric in used:
        assert set(metrics.FAMILIES[metric]) & set(metrics.families(small)), metric
    for metric, families in metrics.FAMILIES.items():
        assert set(families) & set(metrics.families(every)), metric
