from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabbit_topology import ConfigError, parse
from rabbit_topology.compiler import policies, regexes
from rabbit_topology.compiler.effective import Index, Target
from rabbit_topology.model import Policy, QueueType


@pytest.mark.parametrize(
    ("pattern", "anchored", "prefix"),
    [
        ("^orders", True, "orders"),
        (r"^orders\.", True, "orders."),
        ("^orders?", True, "order"),
        ("^orders+", True, "orders"),
        ("^orders{0,1}", True, "order"),
        ("^(orders|audit)$", True, ""),
        (r"^a\d", True, "a"),
        ("^a|^b", True, ""),
        ("^a|b", False, ""),
        (r"^a\|b", True, "a|b"),
        ("^[|(]b", True, ""),
        ("^[]|]b|c", False, ""),
        ("^$", True, ""),
        (".*", True, ""),
        ("", True, ""),
        ("orders$", False, ""),
        (r"\Aorders", True, ""),
    ],
)
def test_what_a_pattern_says_of_the_beginning_of_a_name(pattern, anchored, prefix):
    assert regexes.is_anchored(pattern) is anchored
    assert regexes.prefix(pattern) == prefix


_PIECES = ["a", "b", "ab", "^", "$", "|", ".", r"\.", "*", "?", "(", ")", "[ab]", "{0,1}", r"\w"]


@given(
    st.lists(st.lists(st.sampled_from(_PIECES), max_size=6).map("".join), max_size=5),
    st.text("ab.", min_size=1, max_size=4),
)
def test_the_index_finds_what_trying_all_finds(patterns, name):
    written = {
        f"p{number}": Policy(pattern=pattern, priority=-number, definition={})
        for number, pattern in enumerate(patterns)
    }
    expected = [
        key
        for key, one in written.items()
        if _compiles(one.pattern) and re.search(one.pattern, name)
    ]
    assert Index(written).matching(Target(kind="queues", name=name)) == expected


def _compiles(pattern):
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def test_the_index_tries_only_patterns_that_begin_as_the_name_does(monkeypatch):
    tried = []

    class Pattern:
        def __init__(self, pattern):
            self.pattern = pattern

        def search(self, name):
            tried.append(self.pattern)
            return True

    monkeypatch.setattr(regexes, "compiled", Pattern)
    written = {
        f"p{number}": Policy(pattern=f"^team-{number}[.]", definition={}) for number in range(500)
    }
    written["all"] = Policy(pattern="x", definition={})
    index = Index(written)
    target = Target(kind="queues", name="team-7.orders")
    assert sorted(index.matching(target)) == ["all", "p7"]
    assert tried == ["x", "^team-7[.]"]


def test_a_policy_for_one_type_is_not_merged_into_another():
    topology, *_ = parse(
        {
            "vhost": "v",
            "queues": {"a": {"max_length": 1}, "b": {"type": "classic", "max_length": 1}},
            "policies": {
                "p": {
                    "pattern": "^[ab]$",
                    "apply_to": "classic_queues",
                    "definition": {"expires": 5},
                }
            },
        }
    )
    index = Index(topology.policies)
    quorum, classic = (
        Target(kind="queues", name=name, type=type_)
        for name, type_ in (("a", QueueType.QUORUM), ("b", QueueType.CLASSIC))
    )
    assert index.matching(quorum) == []
    assert index.matching(classic) == ["p"]
    made = {
        tuple(one.members): one.policy.definition for one in policies.compile_all(topology).values()
    }
    assert made == {("a",): {"max-length": 1}, ("b",): {"max-length": 1, "expires": 5}}


def test_a_key_that_the_type_does_not_know_switches_off_no_settings():
    mixed = {"dead-letter-exchange": "e", "queue-mode": "lazy"}
    topology, *_ = parse(
        {
            "vhost": "v",
            "exchanges": {"e": {}},
            "queues": {
                "quorum": {"max_length": 1},
                "classic": {"type": "classic", "max_length": 1},
                "placed": {"type": "classic", "max_length": 2},
            },
            "policies": {
                "p": {"pattern": "^(quorum|classic)$", "priority": 1, "definition": mixed},
                "below": {"pattern": "^quorum$", "definition": {"expires": 5}},
                "placing": {
                    "pattern": "^placed$",
                    "definition": {"queue-leader-locator": "balanced", "expires": 6},
                },
            },
        }
    )
    made = {
        tuple(one.members): one.policy.definition for one in policies.compile_all(topology).values()
    }
    assert made == {
        ("quorum",): {"max-length": 1, "expires": 5},
        ("classic",): {"max-length": 1, **mixed},
        ("placed",): {"max-length": 2, "expires": 6},  # 3.10 would switch it off for the locator
    }


def problems(**changes):
    with pytest.raises(ConfigError) as caught:
        parse({"vhost": "v", "queues": {"q": {}}, "exchanges": {"e": {}}, **changes})
    return {problem.path: str(problem) for problem in caught.value.problems}


def test_ties_are_refused_for_operator_policies_too_and_told_once_for_each_pair():
    tie = {"pattern": "^q", "definition": {"max-length": 1}}
    result = problems(operator_policies={"a": tie, "b": tie}, queues={"q1": {}, "q2": {}})
    assert list(result) == ["topology.operator_policies.b.priority"]
    assert ": operator_policies.a has the same" in result.popitem()[1]


def test_names_of_digits_cannot_stand_in_policies():
    result = problems(
        exchanges={"5": {"type": "fanout"}, "e": {"alternate": "5"}},
        queues={"q": {"dead_letter": {"exchange": "e", "routing_key": "0815"}}},
        policies={
            "p": {"pattern": "^x", "definition": {"dead-letter-routing-key": 7, "max-length": "5"}}
        },
    )
    assert set(result) == {
        "topology.exchanges.e.alternate",
        "topology.queues.q.dead_letter.routing_key",
        "topology.policies.p.definition.dead-letter-routing-key",
    }


def test_fractions_cannot_stand_in_policies():
    result = problems(policies={"p": {"pattern": "^x", "definition": {"a": 1.5, "b": True}}})
    assert set(result) == {"topology.policies.p.definition.a", "topology.policies.p.definition.b"}


def test_ten_thousand_wrong_names_do_not_list_ten_thousand_right_ones():
    queues = {f"queue-number-{number}": {} for number in range(3000)}
    bindings = [{"source": "e", "queue": "zzz"}]
    (text,) = problems(queues=queues, bindings=bindings).values()
    assert "and 2,990 more" in text
    assert len(text) < 500
