"""
What users may do that they could not do before.
"""

from __future__ import annotations

import pytest

from rabbit_topology import parse
from rabbit_topology.review.permissions import Widening, widened


def topology(**more):
    known = {"exchanges": {"t": {"type": "topic"}, "d": {}}, "queues": {"q": {}, "r": {}}}
    return parse({"vhost": "v", **known, **more})[0]


def service(**does):
    return topology(services={"s": does})


def user(**more):
    given = {name: more.pop(name) for name in ("tags", "topic_permissions") if name in more}
    return topology(users={"u": {"password": "hunter2", "permissions": more, **given}})


def test_what_is_as_it_was_or_less_is_none():
    both = service(consumes=["q", "r"], publishes=["d"])
    assert widened(both, both) == []
    assert widened(both, service(consumes=["r"])) == []
    assert widened(both, topology()) == []


def test_a_service_that_consumes_and_publishes_more():
    before, now = service(consumes=["q"]), service(consumes=["q", "r"], publishes=["d"])
    assert widened(before, now) == [
        Widening(user="v.s", right="write", before="^$", now="^(d)$", gains=("d",)),
        Widening(user="v.s", right="read", before="^(q)$", now="^(q|r)$", gains=("r",)),
    ]


def test_a_new_user_has_all_it_may_do():
    (one,) = widened(topology(), service(consumes=["q"]))
    assert (one.before, one.now, one.gains) == ("", "^(q)$", ("q",))
    (one,) = widened(None, service(consumes=["q"]))
    assert one.before == ""


def test_a_rotation_is_no_new_right():
    before = service(consumes=["q"], rotates="user")
    assert widened(before, service(consumes=["q"], rotates="user", rotation=2)) == []
    (one,) = widened(before, service(consumes=["q", "r"], rotates="user", rotation=2))
    assert (one.user, one.gains) == ("v.s.2", ("r",))


def test_more_keys_on_a_topic_exchange():
    before = service(publishes=[{"exchange": "t", "routing_key": "a.*"}])
    now = service(publishes=[{"exchange": "t", "routing_keys": ["a.*", "b"]}])
    (one,) = widened(before, now)
    assert one.right == "keys to write on t"
    assert not one.certain
    (every,) = widened(before, service(publishes=["t"]))
    assert (every.now, every.is_everything) == (".*", True)
    assert widened(now, before) == []


def test_a_topic_permission_that_goes_allows_all_keys():
    limits = {"t": {"write": "^a$", "read": "^$"}}
    before = user(write="^t$", topic_permissions=limits)
    (one,) = widened(before, user(write="^t$"))
    assert (one.right, one.before, one.now) == ("keys to write on t", "^a$", ".*")
    # Where nothing may be written, keys do not matter.
    assert widened(user(write="^d$", topic_permissions=limits), user(write="^d$")) == []


@pytest.mark.parametrize(
    ("was", "now", "gains", "certain"),
    [
        ("^q$", ".*", ("r",), True),
        ("^(q|x)$", "^(q|r)$", ("r",), True),
        ("^a", "^(a|b)", (), False),
    ],
)
def test_expressions_that_are_written_by_hand(was, now, gains, certain):
    (one,) = widened(user(read=was), user(read=now))
    assert (one.before, one.now, one.certain) == (was, now, certain)
    assert set(gains) <= set(one.gains)


@pytest.mark.parametrize(
    ("was", "now"),
    [(".*", "^q$"), ("", "^q$"), ("^(q|r|s)$", "^(s|q)$"), ("^(a(b|c)|d)$", "^(d)$"), ("^q", "^$")],
)
def test_what_is_certainly_no_more(was, now):
    assert widened(user(read=was), user(read=now)) == []


def test_an_alternative_within_brackets_is_none_of_its_own():
    (one,) = widened(user(read="^(a(r|q|c))$"), user(read="^(q)$"))
    assert one.gains == ("q",)


def test_tags():
    (one,) = widened(user(tags=["monitoring"]), user(tags=["administrator", "monitoring"]))
    assert (one.right, one.before, one.gains) == ("tags", "monitoring", ("administrator",))
    assert not one.is_everything
    assert widened(user(tags=["monitoring"]), user()) == []
