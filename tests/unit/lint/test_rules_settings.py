"""
The rules about settings, patterns and policies: where each finds what, and the way out it names.
"""

from __future__ import annotations

import pytest

from rabbit_topology import parse
from tests.unit.lint.test_parse import only, problems


def queue(**settings):
    return {"vhost": "v", "exchanges": {"e": {}}, "queues": {"q": settings}}


def exchange(**settings):
    return {"vhost": "v", "exchanges": {"e": settings}}


def policy(kind="policies", **settings):
    written = {"pattern": "^x", "definition": {"max-length": 1}, **settings}
    return {"vhost": "v", "queues": {"q": {}}, kind: {"p": written}}


def matching(*policies, **settings):
    named = {f"p{n}": {"pattern": ".", **one} for n, one in enumerate(policies)}
    return {**queue(**settings), "policies": named}


OF_A_STREAM = {
    "max_length": 1,
    "overflow": "drop-head",
    "message_ttl": 1,
    "expires": 1,
    "dead_letter": True,
    "retry": {"delays": [1]},
    "consumer_timeout": 1,
    "single_active_consumer": True,
    "renamed_from": "former",
}


def renamed(kind, **names):
    """Return queues or exchanges by their names, each with the name that it had before."""
    return {"vhost": "v", kind: {name: {"renamed_from": old} for name, old in names.items()}}


BAD = {
    "renamed from a queue that is declared": (
        renamed("queues", new="old", old=None),
        "topology.queues.new.renamed_from",
        "remove that one, or `renamed_from`",
    ),
    "renamed from an exchange that is declared": (
        renamed("exchanges", new="old", old=None),
        "topology.exchanges.new.renamed_from",
        "remove that one, or `renamed_from`",
    ),
    "renamed from what a pattern makes": (
        {
            "vhost": "v",
            "queues": {"q": {"dead_letter": True}, "x": {"renamed_from": "q.dead-letter"}},
        },
        "topology.queues.x.renamed_from",
        "remove that one, or `renamed_from`",
    ),
    "renamed to two names": (
        renamed("queues", a="old", b="old"),
        "topology.queues.b.renamed_from",
        "keep one of them",
    ),
    "an exchange of another type that is renamed": (
        exchange(type="x-consistent-hash", renamed_from="old"),
        "topology.exchanges.e.renamed_from",
        "declare both, move bindings and publishers, then remove the old one",
    ),
    **{
        f"a stream's {key}": (
            queue(type="stream", **{key: value}),
            f"topology.queues.q.{key}",
            "write `type: classic or quorum`",
        )
        for key, value in OF_A_STREAM.items()
    },
    **{
        f"a quorum queue's {key}": (queue(**{key: value}), f"topology.queues.q.{key}", words)
        for key, value, words in (
            ("max_age", "1s", "write `type: stream`"),
            ("segment_size", "1MB", "write `type: stream`"),
            ("filter_size", 16, "write `type: stream`"),
            ("max_priority", 5, "write `type: classic`"),
            ("overflow", "reject-publish-dlx", "write `overflow: reject-publish`"),
        )
    },
    **{
        f"a classic queue's {key}": (
            queue(type="classic", **{key: 3}),
            f"topology.queues.q.{key}",
            words,
        )
        for key, words in (
            ("delivery_limit", "write `type: quorum`"),
            ("initial_cluster_size", "write `type: quorum or stream`"),
        )
    },
    "a setting and its argument": (
        queue(max_length=1, arguments={"x-max-length": 1}),
        "topology.queues.q.arguments.x-max-length",
        "keep the setting",
    ),
    "a setting that is an argument, and the argument": (
        queue(single_active_consumer=True, arguments={"x-single-active-consumer": True}),
        "topology.queues.q.arguments.x-single-active-consumer",
        "keep the setting",
    ),
    "half a second of a stream's age": (
        queue(type="stream", max_age="1500ms"),
        "topology.queues.q.max_age",
        "whole seconds",
    ),
    "no time at all for a queue": (queue(expires=0), "topology.queues.q.expires", "1ms or more"),
    "a routing key of digits": (
        queue(dead_letter={"exchange": "e", "routing_key": "42"}),
        "topology.queues.q.dead_letter.routing_key",
        '"42"',
    ),
    "retry and dead_letter": (
        queue(retry={"delays": ["1s"]}, dead_letter=True),
        "topology.queues.q.dead_letter",
        "remove one",
    ),
    "no delays": (queue(retry={"delays": []}), "topology.queues.q.retry.delays", "says nothing"),
    "a routing key for an exchange of its own": (
        queue(dead_letter={"routing_key": "k"}),
        "topology.queues.q.dead_letter.routing_key",
        "name an `exchange`",
    ),
    "at least once of a queue that drops": (
        queue(dead_letter={"exchange": "e", "strategy": "at-least-once"}),
        "topology.queues.q.dead_letter.strategy",
        "overflow: reject-publish",
    ),
    "at least once of a classic queue": (
        queue(
            type="classic",
            overflow="reject-publish",
            dead_letter={"exchange": "e", "strategy": "at-least-once"},
        ),
        "topology.queues.q.dead_letter.strategy",
        "needs a quorum queue",
    ),
    "retry of what expires": (
        queue(retry={"delays": ["1s"]}, message_ttl="1s"),
        "topology.queues.q.message_ttl",
        "remove it",
    ),
    "retry of what is dropped": (
        queue(retry={"delays": ["1s"]}, max_length=5),
        "topology.queues.q.overflow",
        "write `overflow: reject-publish`",
    ),
    "dead letters to nowhere": (
        queue(dead_letter={"exchange": "f"}),
        "topology.queues.q.dead_letter.exchange",
        "known are: amq.direct",
    ),
    "an alternate that is not there": (
        exchange(alternate="amq.fanot"),
        "topology.exchanges.e.alternate",
        'did you mean "amq.fanout"?',
    ),
    "two alternates": (
        exchange(alternate="amq.fanout", unroutable=True),
        "topology.exchanges.e.alternate",
        "remove one of the two",
    ),
    "an alternate as setting and argument": (
        exchange(alternate="amq.fanout", arguments={"alternate-exchange": "amq.fanout"}),
        "topology.exchanges.e.arguments.alternate-exchange",
        "remove the argument",
    ),
    "a delay in two units": (
        exchange(delays=["60s", "1m"]),
        "topology.exchanges.e.delays[1]",
        "remove one of the two",
    ),
    "what a pattern makes as well": (
        {"vhost": "v", "queues": {"q": {"dead_letter": True}, "q.dead-letter": {}}},
        'topology.queues["q.dead-letter"]',
        "a pattern (dead_letter",
    ),
    "a name that a pattern makes too long": (
        {"vhost": "v", "queues": {"x" * 250: {"dead_letter": True}}},
        "topology",
        "shorten the name that it begins with",
    ),
    "a policy for what there is not": (
        policy(apply_to="queue"),
        "topology.policies.p.apply_to",
        'did you mean "queues"?',
    ),
    "a truth in a policy": (
        policy("operator_policies", definition={"a": True}),
        "topology.operator_policies.p.definition.a",
        "numbers and text only",
    ),
    "a policy against a setting": (
        matching({"definition": {"max-length": 5}}, max_length=6),
        "topology.policies.p0.definition.max-length",
        ": queues.q says 6",
    ),
    "two policies of the same priority": (
        matching(*[{"apply_to": "queues", "definition": {"max-length": 5}}] * 2),
        "topology.policies.p1.priority",
        ": policies.p0 has the same",
    ),
}


@pytest.mark.parametrize(("topology", "where", "words"), BAD.values(), ids=BAD)
def test_one_problem_is_named_by_path_rule_and_fix(topology, where, words):
    problem = only(topology)
    assert problem.path == where
    assert words in str(problem)


def test_a_setting_that_a_pattern_makes_is_held_against_policies_too():
    users = {"p": {"pattern": "dead-letter-exchange|q", "definition": {"overflow": "drop-head"}}}
    result = problems({"vhost": "v", "queues": {"q": {"dead_letter": True}}, "policies": users})
    assert list(result) == ["topology.policies.p.definition.overflow"]


@pytest.mark.parametrize(
    "topology",
    [
        queue(retry={"delays": ["1s"]}, max_length=5, overflow="reject-publish"),
        queue(type="classic", overflow="reject-publish-dlx", max_length=5, max_priority=3),
        queue(type="stream", max_age="1s", segment_size="1MB", filter_size=16),
        queue(delivery_limit=-1, expires=1, consumer_timeout="1m", message_ttl=0),
        exchange(delays=["1s", "2s"], unroutable=True),
        # The same thing said twice is no contradiction, and other kinds do not meet.
        matching({"definition": {"max-length": 5}}, max_length=5),
        matching(
            {"apply_to": "queues", "definition": {"max-length": 5}},
            {"apply_to": "exchanges", "definition": {"alternate-exchange": "e"}},
        ),
        matching(
            {"definition": {"max-length": 5}}, {"priority": 1, "definition": {"max-length": 6}}
        ),
    ],
)
def test_what_is_good_has_no_problem(topology):
    parse(topology)
