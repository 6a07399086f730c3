"""
What the broker makes of each setting: the rows as they were read in it and tried on it.

The integration tests try them on brokers. These notice a row that changes on a machine without one.
"""

from __future__ import annotations

import pytest

from rabbit_topology.compiler.settings import ALL, BY_KEY, TESTED, Loss, Value, alike, keys
from rabbit_topology.model import QueueType

CLASSIC, QUORUM, STREAM = QueueType.CLASSIC, QueueType.QUORUM, QueueType.STREAM
OLD, MIDDLE, NEW = TESTED

TAKEN = {
    "max-length": [0, 1, 10**9],
    "overflow": ["drop-head", "reject-publish", "reject-publish-dlx"],
    "expires": [1],
    "delivery-limit": [-1, 0, 20],
    "dead-letter-exchange": ["", "x"],
    "dead-letter-strategy": ["at-most-once", "at-least-once"],
    "queue-leader-locator": ["client-local", "balanced", "random", "least-leaders"],
    "queue-master-locator": ["client-local", "random", "min-masters"],
    "queue-mode": ["default", "lazy"],
    "queue-version": [1, 2],
    "delayed-retry-type": ["disabled", "all", "failed", "returned"],
    "target-group-size": [1],
    "max-age": ["7D", "1Y", "2M", "3h", "4m", "5s"],
    "stream-max-segment-size-bytes": [0],
    "stream-filter-size-bytes": [16, 255],
    "quorum-initial-group-size": [1],
    "max-priority": [0, 255],
    "single-active-consumer": [True, False],
    "ha-mode": ["all", "exactly", "nodes"],
    "ha-params": [2, ["a"]],
    "ha-sync-mode": ["manual", "automatic"],
    "ha-promote-on-shutdown": ["always", "when-synced"],
    "ha-promote-on-failure": ["always", "when-synced"],
    "alternate-exchange": ["x"],
}
REFUSED = {
    "max-length": (-1, "it is a whole number from 0 on"),
    "max-length-bytes": (True, "it is a whole number from 0 on"),
    "message-ttl": ("1", "it is a whole number from 0 on"),
    "overflow": ("drop", "it is one of drop-head, reject-publish, reject-publish-dlx"),
    "expires": (0, "it is a whole number from 1 on"),
    "delivery-limit": (-2, "it is a whole number from -1 on"),
    "dead-letter-exchange": (5, "it is text"),
    "dead-letter-routing-key": (None, "it is text"),
    "dead-letter-strategy": ("at-once", "it is one of at-most-once, at-least-once"),
    "queue-version": (3, "it is a whole number from 1 to 2"),
    "max-priority": (256, "it is a whole number from 0 to 255"),
    "stream-filter-size-bytes": (15, "it is a whole number from 16 to 255"),
    "target-group-size": (0, "it is a whole number from 1 on"),
    "quorum-initial-group-size": (0, "it is a whole number from 1 on"),
    "max-age": ("7 D", "it is a number and a unit, one of Y, M, D, h, m, s"),
    "single-active-consumer": ("true", "it is true or false"),
    "federation-upstream": (5, "it is text"),
    "federation-upstream-set": (5, "it is text"),
    "alternate-exchange": (5, "it is text"),
    "initial-cluster-size": (1.5, "it is a whole number from 0 on"),
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in TAKEN.items() for value in values]
)
def test_the_broker_takes_it(key, value):
    assert BY_KEY[key].refusal(value) is None


@pytest.mark.parametrize(("key", "value", "words"), [(key, *said) for key, said in REFUSED.items()])
def test_the_broker_refuses_it(key, value, words):
    assert BY_KEY[key].refusal(value) == words


def test_the_first_version_that_takes_a_setting_in_a_policy():
    later = {setting.key: setting.since for setting in ALL if setting.since != (3, 10)}
    assert later == {
        "consumer-timeout": (3, 12),
        "consumer-disconnected-timeout": (4, 3),
        "delayed-retry-type": (4, 3),
        "delayed-retry-min": (4, 3),
        "delayed-retry-max": (4, 3),
        "target-group-size": (3, 13),
        "stream-filter-size-bytes": (3, 13),
    }


def test_the_first_version_that_refuses_an_argument_that_older_ones_ignore():
    later = {setting.key: setting.arguments_since for setting in ALL if setting.arguments_since}
    assert later == dict.fromkeys(
        [
            "consumer-timeout",
            "consumer-disconnected-timeout",
            "delayed-retry-type",
            "delayed-retry-min",
            "delayed-retry-max",
            "stream-filter-size-bytes",
        ],
        (4, 3),
    )


def test_the_types_of_queues_that_take_an_argument():
    both, quorum, stream, classic = (CLASSIC, QUORUM), (QUORUM,), (STREAM,), (CLASSIC,)
    assert {setting.key: setting.arguments for setting in ALL if setting.arguments} == {
        **dict.fromkeys(["max-length", "overflow", "message-ttl", "expires"], both),
        **dict.fromkeys(["dead-letter-exchange", "dead-letter-routing-key"], both),
        "single-active-consumer": both,
        **dict.fromkeys(["delivery-limit", "dead-letter-strategy", "consumer-timeout"], quorum),
        **dict.fromkeys(["consumer-disconnected-timeout", "quorum-initial-group-size"], quorum),
        **dict.fromkeys([f"delayed-retry-{one}" for one in ("type", "min", "max")], quorum),
        **dict.fromkeys(["max-in-memory-length", "max-in-memory-bytes"], quorum),
        **dict.fromkeys(["max-age", "stream-max-segment-size-bytes"], stream),
        **dict.fromkeys(["stream-filter-size-bytes", "initial-cluster-size"], stream),
        **dict.fromkeys(["queue-master-locator", "queue-mode", "queue-version"], classic),
        "max-priority": classic,
    }


def test_the_types_of_queues_to_which_a_policy_with_it_does_not_apply():
    off = {setting.key: dict(setting.off) for setting in ALL if setting.off}
    no_stream, only_stream = {STREAM: TESTED}, {CLASSIC: TESTED, QUORUM: TESTED}
    only_quorum, only_classic = {CLASSIC: TESTED, STREAM: TESTED}, {QUORUM: TESTED, STREAM: TESTED}
    assert off == {
        **dict.fromkeys(["max-length", "overflow", "message-ttl", "expires"], no_stream),
        **dict.fromkeys(["dead-letter-exchange", "dead-letter-routing-key"], no_stream),
        **dict.fromkeys(["delivery-limit", "dead-letter-strategy"], only_quorum),
        **dict.fromkeys(["max-age", "stream-max-segment-size-bytes"], only_stream),
        "initial-cluster-size": only_stream,
        **dict.fromkeys(["queue-master-locator", "queue-mode", "max-priority"], only_classic),
        **{key: only_classic for key in BY_KEY if key.startswith("ha-")},
        "queue-leader-locator": {CLASSIC: (OLD,)},
        "max-in-memory-length": {CLASSIC: (MIDDLE, NEW), STREAM: TESTED},
        "max-in-memory-bytes": {CLASSIC: (MIDDLE, NEW), STREAM: TESTED},
        "target-group-size": {CLASSIC: (MIDDLE, NEW), STREAM: (MIDDLE, NEW)},
    }


def test_what_is_an_argument_only():
    assert {setting.key for setting in ALL if setting.in_policies is False} == {
        "max-priority",
        "single-active-consumer",
        "quorum-initial-group-size",
    }
    assert {setting.in_policies for setting in ALL} == {True, False}


@pytest.mark.parametrize(
    ("key", "type_", "like", "counts"),
    [
        # Of 2 in the policy and 1 in the arguments.
        ("max-length", QUORUM, NEW, 1),
        ("max-length-bytes", CLASSIC, NEW, 1),
        ("max-length-bytes", STREAM, NEW, 2),
        ("overflow", QUORUM, NEW, 2),
        ("overflow", CLASSIC, NEW, 1),
        ("expires", QUORUM, OLD, 2),
        ("expires", QUORUM, MIDDLE, 1),
        ("expires", CLASSIC, OLD, 1),
        ("delivery-limit", QUORUM, NEW, 1),
        ("dead-letter-exchange", CLASSIC, NEW, 1),
        ("consumer-timeout", QUORUM, NEW, 1),
        ("queue-leader-locator", QUORUM, NEW, 2),
        ("queue-master-locator", CLASSIC, OLD, 2),
        ("delayed-retry-type", QUORUM, NEW, 2),
        ("target-group-size", QUORUM, NEW, 2),
        ("max-age", STREAM, NEW, 2),
        ("stream-max-segment-size-bytes", STREAM, NEW, 2),
        ("stream-filter-size-bytes", STREAM, NEW, 2),
        ("alternate-exchange", None, NEW, 1),
    ],
)
def test_which_of_policy_and_argument_counts(key, type_, like, counts):
    assert BY_KEY[key].combine(type_, like)(2, 1) == counts


@pytest.mark.parametrize(
    ("key", "counts"),
    [
        # Of 2 in the policy and 1, or 3, in the operator policy.
        ("max-length", [1, 2]),
        ("expires", [1, 2]),
        ("delivery-limit", [1, 2]),
        ("delayed-retry-min", [2, 3]),
        ("delayed-retry-max", [1, 2]),
        ("target-group-size", [2, 3]),
        ("max-age", [1, 3]),
        ("overflow", [1, 3]),
    ],
)
def test_which_of_policy_and_operator_policy_counts(key, counts):
    assert [BY_KEY[key].with_operator(2, other) for other in (1, 3)] == counts


@pytest.mark.parametrize(
    ("one", "other", "counts"), [(-1, 5, 5), (5, -1, 5), (0, 5, 0), (5, 0, 0), (-1, -1, -1)]
)
def test_a_delivery_limit_below_0_is_none(one, other, counts):
    assert BY_KEY["delivery-limit"].with_argument(one, other) == counts


def test_what_is_lost_with_a_lower_value():
    assert keys(loss=Loss.LENGTH) == ("max-length", "max-length-bytes")
    assert keys(loss=Loss.TIME) == ("message-ttl", "expires", "max-age")
    assert keys(value=Value.AGE) == ("max-age",)
    assert keys(value=Value.NUMBER, loss=Loss.TIME) == ("message-ttl", "expires")
    assert keys() == tuple(BY_KEY)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (None, TESTED),
        ((3, 9), (OLD,)),
        ((3, 10), (OLD,)),
        ((3, 13), (OLD, MIDDLE)),
        ((4, 0), (MIDDLE,)),
        ((4, 1), (MIDDLE, NEW)),
        ((4, 3), (NEW,)),
        ((5, 0), (NEW,)),
    ],
)
def test_a_broker_between_two_that_were_tried_may_behave_like_either(version, expected):
    assert alike(version) == expected
