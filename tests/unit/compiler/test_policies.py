"""
How settings become policies: as few as there are different settings, and never a tie.
"""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from rabbit_topology import parse
from rabbit_topology.compiler import policies
from rabbit_topology.model import Exchange, OnDelete, Queue, Topology


def compiled(**topology):
    return policies.compile_all(parse({"vhost": "v", **topology})[0])


def bodies(**topology):
    return {name: one.body() for name, one in compiled(**topology).items()}


def test_queues_with_the_same_settings_share_one_anchored_and_escaped_pattern():
    queues = {
        "a.b": {"max_length": 5, "overflow": "reject-publish"},
        "a+(c)": {"overflow": "reject-publish", "max_length": 5},
        "other": {"max_length": 6},
        "plain": {},
    }
    result = bodies(queues=queues)
    assert result == {
        "rabbit-topology-queues.a+(c)": {
            "pattern": r"^(a\+\(c\)|a\.b)$",
            "apply-to": "queues",
            "priority": 100,
            "definition": {"max-length": 5, "overflow": "reject-publish"},
        },
        "rabbit-topology-queues.other": {
            "pattern": "^(other)$",
            "apply-to": "queues",
            "priority": 100,
            "definition": {"max-length": 6},
        },
    }
    shared = result["rabbit-topology-queues.a+(c)"]["pattern"]
    assert [one for one in (*queues, "a.b2", "xa.b", "a-b") if re.search(shared, one)] == [
        "a.b",
        "a+(c)",
    ]


def test_exchanges_have_policies_of_their_own():
    exchanges = {"e": {"alternate": "amq.fanout"}, "f": {"alternate": "amq.fanout"}, "g": {}}
    assert bodies(exchanges=exchanges, queues={"e": {"max_length": 1}}).keys() == {
        "rabbit-topology-queues.e",
        "rabbit-topology-exchanges.e",
    }


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=9),
        st.builds(
            Queue, max_length=st.sampled_from([None, 1, 2]), message_ttl=st.sampled_from([None, 1])
        ),
    )
)
def test_each_queue_gets_exactly_its_settings_from_as_few_policies_as_there_are_settings(queues):
    result = policies.compile_all(Topology(vhost="v", queues=queues))
    distinct = {tuple(one.settings().items()) for one in queues.values() if one.settings()}
    assert len(result) == len(distinct)
    for name, queue in queues.items():
        of_it = [
            one for one in result.values() if re.fullmatch(one.policy.pattern, name, re.DOTALL)
        ]
        assert [dict(one.policy.definition) for one in of_it] == [queue.settings()][: len(of_it)]
        assert bool(of_it) == bool(queue.settings())


def test_queues_with_another_fate_are_in_other_policies_and_a_retained_one_is_alone():
    limit = {"max_length": 5}
    result = compiled(
        queues={
            "a": limit,
            "b": {**limit, "on_delete": "discard"},
            "c": {**limit, "on_delete": "discard"},
            "d": {**limit, "on_delete": "retain"},
            "e": {**limit, "on_delete": "retain"},
        }
    )
    assert [(sorted(one.members), one.on_delete) for one in result.values()] == [
        (["a"], OnDelete.REFUSE),
        (["b", "c"], OnDelete.DISCARD),
        (["d"], OnDelete.RETAIN),
        (["e"], OnDelete.RETAIN),
    ]


def test_a_policy_of_the_users_is_merged_where_it_would_be_hidden():
    users = {
        "low": {"pattern": "^q", "priority": 1, "definition": {"max-length": 1}},
        "high": {
            "pattern": "q$",
            "apply_to": "queues",
            "priority": 150,
            "definition": {"max-length-bytes": 7, "message-ttl": 9},
        },
        "exchanges": {
            "pattern": ".",
            "apply_to": "exchanges",
            "priority": 200,
            "definition": {"federation-upstream-set": "all"},
        },
    }
    (result,) = bodies(queues={"q": {"message_ttl": 9}, "plain": {}}, policies=users).values()
    assert result["definition"] == {"max-length-bytes": 7, "message-ttl": 9}
    assert result["priority"] == 201, "above all of the users', so that nothing ties"


def test_settings_in_another_order_are_the_same_settings():
    users = {"theirs": {"pattern": "^a$", "definition": {"message-ttl": 9}}}
    queues = {"a": {"max_length": 5}, "b": {"max_length": 5, "message_ttl": 9}}
    assert [sorted(one.members) for one in compiled(queues=queues, policies=users).values()] == [
        ["a", "b"]
    ]


def test_a_pattern_that_python_cannot_read_matches_nothing():
    users = {"theirs": {"pattern": "(?|q", "definition": {"max-length": 1}}}
    (result,) = bodies(queues={"q": {"message_ttl": 9}}, policies=users).values()
    assert result["definition"] == {"message-ttl": 9}


def test_a_pattern_never_grows_beyond_what_the_broker_can_compile():
    names = [f"{'ü' * 100}-{number:04}" for number in range(200)]
    exchanges = {name: Exchange(alternate="amq.fanout") for name in names}
    result = policies.compile_all(Topology(vhost="v", exchanges=exchanges))
    assert len(result) == 3
    assert max(len(one.policy.pattern.encode()) for one in result.values()) <= 20_004
    assert sorted(name for one in result.values() for name in one.members) == names
    assert result.keys() == {
        policies.own_name("exchanges", min(one.members), policies.SETTINGS_PREFIX)
        for one in result.values()
    }
