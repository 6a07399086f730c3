"""
Which messages are asked for.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from rabbit_topology.errors import TopologyError
from rabbit_topology.replays.message import Message
from rabbit_topology.replays.origin import Source
from rabbit_topology.replays.selection import Selection, selection

NOW = 1_000_000.0
SOURCE = Source(name="work.dead-letter")


def asked(**options: Any) -> Selection:
    """Return what is asked for, as the command line has it."""
    none: dict[str, Any] = {"headers": [], "reasons": [], "routing_keys": []}
    return selection(**{**none, "older_than": None, "newer_than": None, **options})


def dead(
    reason: str = "rejected", key: str = "order.new", ago: float = 0, **headers: Any
) -> Message:
    """Return a message that died so many seconds ago."""
    death = {
        "queue": "work",
        "reason": reason,
        "routing-keys": [key],
        "time": datetime.fromtimestamp(NOW - ago, UTC),
    }
    return Message(headers={"x-death": [death], **headers}, routing_key="other", timestamp=1)


def test_nothing_asked_for_is_all():
    assert asked().is_all
    assert asked().has(SOURCE, Message(), NOW)
    assert not asked(reasons=["rejected"]).is_all


@pytest.mark.parametrize(
    ("wanted", "there", "holds"),
    [
        ("tenant", {"tenant": None}, True),
        ("tenant", {}, False),
        ("tenant=a", {"tenant": "a"}, True),
        ("tenant=a", {"tenant": "b"}, False),
        ("tenant=", {"tenant": ""}, True),
        ("tries=3", {"tries": 3}, True),
        ("late=true", {"late": True}, True),
        ("late=1", {"late": True}, False),
        ("score=0.5", {"score": 0.5}, True),
        ("raw=a=b", {"raw": b"a=b"}, True),
    ],
)
def test_headers(wanted, there, holds):
    assert asked(headers=[wanted]).has(SOURCE, dead(**there), NOW) is holds


def test_all_headers_have_to_hold_and_one_of_the_reasons_and_keys():
    both = asked(headers=["a=1", "b=2"])
    assert both.has(SOURCE, dead(a=1, b=2), NOW)
    assert not both.has(SOURCE, dead(a=1, b=3), NOW)
    either = asked(reasons=["expired", "rejected"], routing_keys=["x", "order.*"])
    assert either.has(SOURCE, dead(), NOW)
    assert not either.has(SOURCE, dead(reason="maxlen"), NOW)
    assert not either.has(SOURCE, dead(key="order.new.now"), NOW)


def test_routing_keys_are_patterns_of_the_key_that_it_was_published_with():
    assert asked(routing_keys=["order.#"]).has(SOURCE, dead(key="order"), NOW)
    assert not asked(routing_keys=["other"]).has(SOURCE, dead(), NOW)
    assert asked(routing_keys=["other"]).has(SOURCE, Message(routing_key="other"), NOW)


@pytest.mark.parametrize(
    ("options", "ago", "holds"),
    [
        ({"older_than": "1h"}, 3600, True),
        ({"older_than": "1h"}, 3599, False),
        ({"newer_than": "1h"}, 3600, True),
        ({"newer_than": "1h"}, 3601, False),
        ({"older_than": "1h", "newer_than": "2h"}, 5000, True),
        ({"older_than": "1h", "newer_than": "2h"}, 8000, False),
    ],
)
def test_ages(options, ago, holds):
    assert asked(**options).has(SOURCE, dead(ago=ago), NOW) is holds


def test_what_never_died_is_as_old_as_its_publisher_says():
    made = Message(timestamp=int(NOW) - 3600)
    assert asked(older_than="1h").has(SOURCE, made, NOW)
    assert not asked(newer_than="1m").has(SOURCE, made, NOW)


def test_where_nothing_says_how_old_it_is_it_is_not_asked_for():
    assert not asked(older_than="1s").has(SOURCE, Message(), NOW)
    assert not asked(newer_than="1d").has(SOURCE, Message(), NOW)


@pytest.mark.parametrize(
    "options", [{"older_than": "soon"}, {"newer_than": "5"}, {"headers": ["=x"]}]
)
def test_what_cannot_be_read_is_an_error_that_names_it(options):
    with pytest.raises(TopologyError, match=str(next(iter(options.values()))[-1][-1])):
        asked(**options)
