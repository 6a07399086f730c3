"""
What applies to a queue in the end: the table of settings, and what is made of it.

That the broker does the same is tested on real ones, in `integration/test_effective.py`.
"""

from __future__ import annotations

import pytest

from rabbit_topology.compiler import effective, settings
from rabbit_topology.compiler.effective import Index, Live, Target
from rabbit_topology.model import QueueType

CLASSIC, QUORUM, STREAM = QueueType
OLD, FOUR, NEW = settings.TESTED


def policy(pattern="^q$", priority=0, apply_to="all", **definition):
    return Live(
        pattern=pattern,
        apply_to=apply_to,
        priority=priority,
        definition={key.replace("_", "-"): value for key, value in definition.items()},
    )


def queue(type_=QUORUM, name="q"):
    return Target(kind="queues", name=name, type=type_)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ((3, 9), (OLD,)),
        ((3, 10), (OLD,)),
        ((3, 12), (OLD, FOUR)),
        ((4, 0), (FOUR,)),
        ((4, 2), (FOUR, NEW)),
        ((4, 3), (NEW,)),
        ((5, 0), (NEW,)),
        (None, (OLD, FOUR, NEW)),
    ],
)
def test_a_broker_behaves_like_the_versions_around_it(version, expected):
    assert settings.alike(version) == expected


@pytest.mark.parametrize("like", settings.TESTED)
@pytest.mark.parametrize(
    ("type_", "arguments", "of_policy", "operator", "expected"),
    [
        # The four cases that lint had wrong.
        (
            CLASSIC,
            {"x-overflow": "reject-publish"},
            {},
            {"overflow": "drop-head"},
            "reject-publish",
        ),
        (CLASSIC, {"x-max-length": 100}, {"max-length": 5}, {}, 5),
        (QUORUM, {"x-overflow": "drop-head"}, {"overflow": "reject-publish"}, {}, "reject-publish"),
        (CLASSIC, {"x-message-ttl": 5000}, {"message-ttl": 1000}, {}, 1000),
        # Of an operator policy the lower number counts, or its word.
        (QUORUM, {}, {"max-length": 5}, {"max-length": 9}, 5),
        (QUORUM, {"x-max-length": 7}, {"max-length": 5}, {"max-length": 3}, 3),
        (QUORUM, {}, {"overflow": "drop-head"}, {"overflow": "reject-publish"}, "reject-publish"),
        (CLASSIC, {}, {}, {"expires": 4}, 4),
        # Streams go by their policy, whatever it allows.
        (STREAM, {"x-max-age": "1h"}, {"max-age": "2h"}, {}, "2h"),
        (STREAM, {"x-max-length-bytes": 5}, {"max-length-bytes": 9}, {}, 9),
        (STREAM, {"x-max-length-bytes": 5}, {}, {"max-length-bytes": 9}, 9),
        (STREAM, {}, {"max-length-bytes": 9}, {"max-length-bytes": 7}, 7),
        # A negative number is no limit, and comes first.
        (QUORUM, {"x-delivery-limit": 5}, {"delivery-limit": -1}, {}, 5),
        (QUORUM, {"x-delivery-limit": -1}, {"delivery-limit": 5}, {}, 5),
        (QUORUM, {"x-delivery-limit": 7}, {"delivery-limit": 5}, {}, 5),
        # Dead letters go where the argument says.
        (QUORUM, {"x-dead-letter-exchange": "a"}, {"dead-letter-exchange": "b"}, {}, "a"),
        (CLASSIC, {"x-dead-letter-exchange": "a"}, {"dead-letter-exchange": "b"}, {}, "a"),
        # The broker makes of it what it can.
        (QUORUM, {}, {"overflow": "reject-publish-dlx"}, {}, "drop-head"),
        (CLASSIC, {}, {"overflow": "reject-publish-dlx"}, {}, "reject-publish-dlx"),
        # As the provider is given it.
        (QUORUM, {"x-max-length": 7}, {"max-length": "5"}, {}, 5),
        # What nobody knows here.
        (QUORUM, {"x-new": 1}, {"new": 2}, {"new": 3}, 1),
        (QUORUM, {}, {"new": 2}, {"new": 3}, 3),
        (None, {"alternate-exchange": "a"}, {"alternate-exchange": "b"}, {}, "a"),
        (None, {}, {"alternate-exchange": "b"}, {}, "b"),
    ],
)
def test_which_of_argument_policy_and_operator_policy_counts(
    type_, arguments, of_policy, operator, expected, like
):
    outcome = effective.settings(type_, arguments, of_policy, operator, like)
    assert list(outcome.values()) == [expected]


def test_what_differs_by_version():
    given = (QUORUM, {"x-expires": 5}, {"expires": 9}, {})
    assert effective.settings(*given, OLD) == {"expires": 9}
    assert effective.settings(*given, FOUR) == effective.settings(*given, NEW) == {"expires": 5}


def test_a_policy_with_one_key_that_a_type_does_not_know_does_not_apply():
    policies = {
        "high": policy(priority=10, queue_mode="lazy", message_ttl=1),
        "low": policy(message_ttl=200, overflow="reject-publish"),
    }
    for like in settings.TESTED:
        index = Index(policies, [like])
        assert index.applying(queue(QUORUM)) == ["low"]
        assert index.applying(queue(CLASSIC)) == ["high"]
        assert index.applying(queue(STREAM)) == [None]
        assert list(index.switched_off(queue(QUORUM))) == [("high", ["queue-mode"], True)]
        streams = {name: keys for name, keys, _ in index.switched_off(queue(STREAM))}
        assert streams == {
            "high": ["message-ttl", "queue-mode"],
            "low": ["message-ttl", "overflow"],
        }


def test_where_versions_differ_both_are_possible():
    policies = {
        "high": policy(priority=1, queue_leader_locator="balanced"),
        "low": policy(expires=5),
    }
    assert Index(policies, settings.TESTED).applying(queue(CLASSIC)) == ["high", "low"]
    assert Index(policies, [OLD]).applying(queue(CLASSIC)) == ["low"]
    assert Index(policies, [NEW]).applying(queue(CLASSIC)) == ["high"]
    ((name, keys, certain),) = Index(policies, settings.TESTED).switched_off(queue(CLASSIC))
    assert (name, keys, certain) == ("high", ["queue-leader-locator"], False)


def test_of_those_that_match_the_highest_applies_and_of_ties_any():
    policies = {
        "low": policy(max_length=1),
        "one": policy(priority=5, max_length=2),
        "other": policy(priority=5, max_length=3),
        "elsewhere": policy(pattern="^x$", priority=9, max_length=4),
        "exchanges": policy(priority=9, apply_to="exchanges", max_length=5),
        "classic": policy(priority=9, apply_to="classic_queues", max_length=6),
        "streams": policy(priority=9, apply_to="streams", max_length_bytes=7),
        "quorum": policy(priority=4, apply_to="quorum_queues", max_length=8),
    }
    index = Index(policies)
    assert index.applying(queue(QUORUM)) == ["one", "other"]
    assert index.applying(queue(CLASSIC)) == ["classic"]
    assert index.applying(queue(STREAM)) == ["streams"]
    assert index.applying(Target(kind="exchanges", name="q")) == ["exchanges"]
    assert index.applying(queue(name="none")) == [None]
    assert index.matching(queue(QUORUM)) == ["one", "other", "quorum", "low"]
    (rules,) = effective.rules(policies, {"limit": policy(max_length=2)}, [NEW])
    assert rules.possible(queue(QUORUM), {}) == [{"max-length": 2}]


@pytest.mark.parametrize("pattern", ["(?|q", "^[[:alpha:]]$", "^q{,1}$"])
def test_a_pattern_that_only_the_broker_can_read_may_match(pattern):
    policies = {"unread": policy(pattern=pattern, priority=1, max_length=1), "read": policy()}
    index = Index(policies)
    assert index.applying(queue()) == ["unread", "read"]
    assert index.matching(queue()) == ["read"]
    assert Index({"unread": policies["unread"]}).applying(queue()) == ["unread", None]


def test_the_broker_looks_at_bytes():
    assert Index({"p": policy(pattern="^.$")}).applying(queue(name="ö")) == ["p", None]
    assert Index({"p": policy(pattern="^ö")}).applying(queue(name="ö")) == ["p"]


def test_what_is_able_everywhere_is_kept():
    mixed = {"queue-leader-locator": "balanced", "delivery-limit": 5, "expires": 5, "new": 1}
    assert effective.able(mixed, CLASSIC) == {"expires": 5, "new": 1}
    assert effective.able(mixed, QUORUM) == mixed
    assert effective.able(mixed, None) == mixed


def test_every_row_says_what_can_be():
    keys = [setting.key for setting in settings.ALL]
    assert len(set(keys)) == len(keys)
    for setting in settings.ALL:
        assert all(set(versions) <= set(settings.TESTED) for versions in setting.off.values())
        for type_ in setting.arguments:
            assert not setting.off.get(type_), "what a type takes as an argument it knows"
        if setting.loss:
            assert setting.value in (settings.Value.NUMBER, settings.Value.AGE)
    assert settings.keys(loss=settings.Loss.LENGTH) == ("max-length", "max-length-bytes")
    assert settings.keys(loss=settings.Loss.TIME) == ("message-ttl", "expires", "max-age")
