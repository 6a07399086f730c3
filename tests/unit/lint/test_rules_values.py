"""
What would reach the broker changed, or not at all, is refused by path, rule and fix.
"""

from __future__ import annotations

import json

import pytest

from rabbit_topology import parse
from tests.unit.lint.test_parse import only

APART = "e\u0301"
"""An e and its accent."""


def queue(**arguments):
    return {"vhost": "v", "queues": {"q": {"arguments": arguments}}}


def binding(key="", **arguments):
    return {
        "vhost": "v",
        "queues": {"q": {}},
        "bindings": [
            {"source": "amq.headers", "queue": "q", "routing_key": key, "arguments": arguments}
        ],
    }


def policy(kind="policies", pattern="^x", **definition):
    keys = {key.replace("_", "-"): value for key, value in definition.items()}
    return {"vhost": "v", kind: {"p": {"pattern": pattern, "definition": keys}}}


def user(**settings):
    return {"vhost": "v", "users": {"u": settings}}


ARGUMENTS = "topology.queues.q.arguments"
DEFINITION = "topology.policies.p.definition"

BAD = {
    "a quorum queue without a type": (
        {"vhost": "v", "queues": {"q": {"typed": False}}},
        "topology.queues.q.typed",
        "declared with its type",
    ),
    "settings of a vhost of others": (
        {"vhost": "v", "vhost_settings": {"exists": True, "description": "x"}},
        "topology.vhost_settings",
        "without effect",
    ),
    "null in a queue": (
        queue(**{"x-a": None}),
        f"{ARGUMENTS}.x-a",
        "null is not a value of an argument",
    ),
    "null in a list": (
        queue(**{"x-a": [None]}),
        f"{ARGUMENTS}.x-a[0]",
        "null is not a value of an argument",
    ),
    "null in a binding": (
        binding(k=None),
        "topology.bindings[0].arguments.k",
        "null is not a value of an argument",
    ),
    "null in a table": (
        binding(k={"a": None}),
        "topology.bindings[0].arguments.k.a",
        "null is not a value of an argument",
    ),
    "a dot": ({"vhost": "v", "exchanges": {".": {}}}, 'topology.exchanges["."]', "another name"),
    "two dots": ({"vhost": "v", "queues": {"..": {}}}, 'topology.queues[".."]', "another name"),
    "a user of dots": ({"vhost": "v", "users": {"..": {}}}, 'topology.users[".."]', "another name"),
    "a vhost of dots": ({"vhost": "."}, "topology.vhost", "another name"),
    "a key of dots": (binding(".."), "topology.bindings[0].routing_key", "another name"),
    "a name": (
        {"vhost": "v", "queues": {APART: {}}},
        f'topology.queues["{APART}"]',
        "each letter as one character",
    ),
    "a routing key": (
        binding(APART),
        "topology.bindings[0].routing_key",
        "each letter as one character",
    ),
    "a header": (
        binding(k=[APART]),
        "topology.bindings[0].arguments.k[0]",
        "each letter as one character",
    ),
    "a password": (
        user(password=APART),
        "topology.users.u.password: [not shown]",
        "each letter as one character",
    ),
    "a large number in a queue": (
        queue(**{"x-max-length": 2**53 + 1}),
        f"{ARGUMENTS}.x-max-length",
        "at most 2^53",
    ),
    "a large number in a binding": (
        binding(k={"a": [-(2**53) - 1]}),
        "topology.bindings[0].arguments.k.a[0]",
        "at most 2^53",
    ),
    "a misspelt key": (
        policy(max_lenght=5),
        f"{DEFINITION}.max-lenght",
        "did you mean `max-length`?",
    ),
    "an argument's name": (
        policy(**{"x-message-ttl": 5}),
        f"{DEFINITION}.x-message-ttl",
        "did you mean `message-ttl`?",
    ),
    "no key of policies": (
        policy(max_priority=5),
        f"{DEFINITION}.max-priority",
        "in a queue's `arguments`",
    ),
    **{
        f"an argument's value, {key} {value!r}": (
            {"vhost": "v", "queues": {"q": {"type": "classic", "arguments": {key: value}}}},
            f"topology.queues.q.arguments.{key}",
            f"{json.dumps(value)}: {words}; write such a value",
        )
        for key, value, words in (
            ("x-max-length", -1, "it is a whole number from 0 on"),
            ("x-max-length", "5", "it is a whole number from 0 on"),
            ("x-max-priority", 256, "it is a whole number from 0 to 255"),
            ("x-single-active-consumer", 1, "it is true or false"),
            ("x-dead-letter-exchange", 5, "it is text"),
        )
    },
    **{
        f"a policy's value, {key} {value!r}": (
            policy(kind, **{key: value}),
            f"topology.{kind}.p.definition.{key}",
            f"{json.dumps(value)}: {words}; write such a value",
        )
        for kind, key, value, words in (
            ("policies", "expires", 0, "it is a whole number from 1 on"),
            ("policies", "max-length", "many", "it is a whole number from 0 on"),
            ("policies", "max-length", "-1", "it is a whole number from 0 on"),
            ("policies", "queue-mode", "lasy", "it is one of default, lazy"),
            ("policies", "max-age", "7", "it is a number and a unit, one of Y, M, D, h, m, s"),
            ("operator_policies", "expires", "0", "it is a whole number from 1 on"),
        )
    },
    "digits for a name in a policy": (
        policy(**{"dead-letter-exchange": "5"}),
        f"{DEFINITION}.dead-letter-exchange",
        "choose a name that has a letter in it",
    ),
    "a broken pattern": (policy(pattern="(("), "topology.policies.p.pattern", "missing )"),
    "a broken pattern beside what Python does not know": (
        policy(pattern="^[[:alpha:]]+("),
        "topology.policies.p.pattern",
        "missing )",
    ),
    "a broken operator policy": (
        policy("operator_policies", pattern="*a", expires=5),
        "topology.operator_policies.p.pattern",
        "nothing to repeat",
    ),
    "broken permissions": (
        user(permissions={"read": "[a"}),
        "topology.users.u.permissions.read",
        "unterminated character set",
    ),
    "broken topic permissions": (
        user(topic_permissions={"amq.topic": {"write": "a)"}}),
        'topology.users.u.topic_permissions["amq.topic"].write',
        "unbalanced parenthesis",
    ),
    "settings of the default vhost": (
        {"vhost": "/", "vhost_settings": {"description": "d"}},
        "topology.vhost_settings",
        "a vhost of its own",
    ),
    "a misspelt word of a shovel": (
        {
            "vhost": "v",
            "shovels": {"s": {"source_uri": "a", "destination_uri": "b", "ack_mode": "on-cofirm"}},
        },
        "topology.shovels.s.ack_mode",
        'did you mean "on-confirm"?',
    ),
}


@pytest.mark.parametrize(("topology", "where", "words"), BAD.values(), ids=BAD)
def test_one_problem_is_named_by_path_rule_and_fix(topology, where, words):
    text = str(only(topology))
    assert text.startswith(where)
    assert words in text


GOOD = {
    "arguments that nobody knows": {
        "vhost": "v",
        "queues": {"q": {"type": "classic", "arguments": {"x-more": "any", "max-length": "any"}}},
    },
    "digits for a number in a policy": policy(**{"max-length": "5"}),
    "dots in a name": {"vhost": "v", "queues": {"...": {}, ".a": {}, "a..b": {}}},
    "letters of all kinds": {"vhost": "v", "queues": {"\u00e9\u00df\u4e2d\U0001f600": {}}},
    "the largest number": binding(k=2**53, minus=-(2**53)),
    "arguments of others": queue(**{"x-my-own": True, "note": "text"}),
    "keys of plugins": policy(shards_per_node=2, routing_key="1234"),
    "numbers as text": policy(max_length="5", delivery_limit="-1"),
    "patterns of Perl": policy(pattern=r"^(?|a)\Q(\E"),
    "a vhost's settings": {"vhost": "v", "vhost_settings": {"description": "d"}},
}


@pytest.mark.parametrize("topology", GOOD.values(), ids=GOOD)
def test_what_arrives_as_it_is_has_no_problem(topology):
    parse(topology)
