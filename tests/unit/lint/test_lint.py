from __future__ import annotations

import gc
import json
import time

import pulumi
import pytest
import yaml
from typer.testing import CliRunner

import rabbit_topology
from rabbit_topology import parse_stack
from rabbit_topology.commands import sources
from rabbit_topology.commands.app import app
from rabbit_topology.compiler.context import Context
from rabbit_topology.config import words
from rabbit_topology.config.yaml_files import Place
from rabbit_topology.deploy import preflight
from rabbit_topology.errors import parts, path
from rabbit_topology.findings import Severity
from rabbit_topology.lint import check as lint
from rabbit_topology.lint import files as lint_files
from rabbit_topology.lint import report
from rabbit_topology.lint.reading import read
from tests.support.problems import says_all
from tests.support.repository import ROOT

ERROR, WARNING, NOTE = Severity

# A topology about which there is nothing to say, so that each test sees only what it adds.
QUIET = {
    "vhost": "v",
    "exchanges": {"e": {}, "r": {"type": "fanout"}},
    "queues": {"q": {"dead_letter": True}},
    "bindings": [
        {"source": "e", "queue": "q", "routing_key": "k"},
        {"source": "r", "queue": "q"},
    ],
}
CLASSIC = {"type": "classic"}


def topology(**changes):
    whole = {key: (dict(one) if isinstance(one, dict) else one) for key, one in QUIET.items()}
    for key, item in changes.items():
        whole[key] = {**whole.get(key, {}), **item} if isinstance(item, dict) else item
    return whole


def linted(version=None, ignore=(), **changes):
    """Return what lint says, as {rule: {path: severity}}."""
    broker = {"version": version} if version else None
    stack = read(topology(**changes), broker, None, {"ignore": list(ignore)} if ignore else None)
    said: dict[str, dict[str, Severity]] = {}
    for one in lint.check(stack):
        assert says_all(one.problem).value != "null"
        if one.silenced is None:
            said.setdefault(one.rule.name, {})[one.problem.path] = one.severity
    return said


def bound(queue, exchange="e", key=None):
    return {"source": exchange, "queue": queue, "routing_key": key or queue}


def queues(*more, **settings):
    """Return changes that declare queue x, bound, and others."""
    return {
        "queues": {"x": {**settings}, **{name: {} for name in more}},
        "bindings": [*QUIET["bindings"], bound("x"), *(bound(name) for name in more)],
    }


def policy(**settings):
    return {"policies": {"p": {"pattern": "^other", "definition": {}, **settings}}}


def test_nothing_is_said_about_what_is_right():
    assert linted() == {}
    assert linted(version="4.3") == {}


X = "topology.queues.x"
P = "topology.policies.p"


def shovel(**settings):
    """Return changes with a shovel from queue x."""
    ends = {"source_uri": "amqp://", "destination_uri": "amqp://", "destination_queue": "there"}
    return queues() | {"shovels": {"s": {**ends, **settings}}}


S = "topology.shovels.s"

CASES = [
    ("link-acknowledges-early", None, shovel(source_queue="x"), {}),
    ("link-acknowledges-early", None, shovel(source_queue="x", ack_mode="on-confirm"), {}),
    (
        "link-acknowledges-early",
        None,
        shovel(source_queue="x", ack_mode="no-ack"),
        {f"{S}.ack_mode": WARNING},
    ),
    (
        "link-acknowledges-early",
        None,
        {"federation_upstreams": {"u": {"uri": "amqp://", "ack_mode": "on-publish"}}},
        {"topology.federation_upstreams.u.ack_mode": WARNING},
    ),
    ("shovel-own-queue", None, shovel(source_queue="x"), {}),
    ("shovel-own-queue", None, shovel(source_exchange="e"), {f"{S}.source_exchange": WARNING}),
    (
        "shovel-without-key",
        None,
        shovel(source_uri="amqp:///v", source_exchange="amq.topic"),
        {f"{S}.source_exchange": WARNING},
    ),
    (
        "shovel-without-key",
        None,
        shovel(source_uri="amqp:///v", source_exchange="amq.topic", source_exchange_key="#"),
        {},
    ),
    ("shovel-without-key", None, shovel(source_uri="amqp:///v", source_exchange="amq.fanout"), {}),
    ("shovel-without-key", None, shovel(source_uri="amqp:///w", source_exchange="amq.topic"), {}),
    # rule, version, changes, {path: severity}
    ("no-dead-letter", None, queues(), {X: NOTE}),
    ("no-dead-letter", None, queues(delivery_limit=-1), {}),
    ("no-dead-letter", None, queues(type="classic"), {}),
    ("no-dead-letter", None, queues(retry={"delays": ["1s"]}), {}),
    ("no-dead-letter", None, queues(arguments={"x-dead-letter-exchange": "r"}), {}),
    (
        "no-dead-letter",  # it is where dead letters rest
        None,
        {
            "exchanges": {"dlx": {"type": "fanout"}},
            "queues": {"q": {"dead_letter": {"exchange": "dlx"}}, "x": {}},
            "bindings": [*QUIET["bindings"], bound("x", "dlx")],
        },
        {},
    ),
    ("drops-oldest", None, queues(**CLASSIC, max_length=5), {f"{X}.max_length": WARNING}),
    ("drops-oldest", None, queues(max_length_bytes="1MB"), {f"{X}.max_length_bytes": WARNING}),
    ("drops-oldest", None, queues(max_length=5, overflow="drop-head"), {}),
    ("drops-oldest", None, queues(max_length=5, dead_letter=True), {}),
    ("drops-oldest", None, queues(type="stream", max_length_bytes="1GB"), {}),
    (
        "drops-oldest",
        None,
        queues(arguments={"x-max-length": 5}),
        {f"{X}.arguments.x-max-length": WARNING},
    ),
    (
        "drops-oldest",
        None,
        policy(definition={"max-length": 5}),
        {f"{P}.definition.max-length": WARNING},
    ),
    ("drops-oldest", None, policy(definition={"max-length": 5, "overflow": "drop-head"}), {}),
    (
        "drops-oldest",  # a policy that matches says the rest
        None,
        {**queues(max_length=5), **policy(pattern="^x$", definition={"overflow": "drop-head"})},
        {},
    ),
    ("transient-queue", None, queues(**CLASSIC, durable=False), {f"{X}.durable": WARNING}),
    ("transient-queue", "4.3.6", queues(**CLASSIC, durable=False), {f"{X}.durable": WARNING}),
    (
        "transient-exchange",
        None,
        {"exchanges": {"e": {"durable": False}}},
        {"topology.exchanges.e.durable": NOTE},
    ),
    *(
        (
            "argument-of-type",
            version,
            queues(arguments={"x-max-priority": 5}),
            {f"{X}.arguments.x-max-priority": severity},
        )
        for version, severity in ((None, ERROR), ("3.10", ERROR), ("4.3", ERROR))
    ),
    *(
        (
            "argument-of-type",
            version,
            queues(**CLASSIC, arguments={"x-consumer-timeout": 100000}),
            {f"{X}.arguments.x-consumer-timeout": severity},
        )
        for version, severity in ((None, WARNING), ("4.0", NOTE), ("4.3", ERROR))
    ),
    ("argument-of-type", None, queues(**CLASSIC, arguments={"x-max-priority": 5}), {}),
    (
        "argument-of-type",
        None,
        queues(type="stream", arguments={"x-message-ttl": 5}),
        {f"{X}.arguments.x-message-ttl": ERROR},
    ),
    (
        "consumer-timeout-classic",
        None,
        queues(**CLASSIC, consumer_timeout="1h"),
        {f"{X}.consumer_timeout": NOTE},
    ),
    (
        "consumer-timeout-classic",
        "4.3",
        queues(**CLASSIC, consumer_timeout="1h"),
        {f"{X}.consumer_timeout": WARNING},
    ),
    ("consumer-timeout-classic", "4.2", queues(**CLASSIC, consumer_timeout="1h"), {}),
    (
        "retry-beyond-timeout",
        None,
        queues(retry={"delays": ["30m", "31m"]}),
        {f"{X}.retry.delays[1]": NOTE},
    ),
    (
        "retry-beyond-timeout",
        None,
        queues(retry={"delays": ["1m", "5m"]}, consumer_timeout="2m"),
        {f"{X}.retry.delays[1]": NOTE},
    ),
    ("endless-stream", None, queues(type="stream"), {X: NOTE}),
    ("endless-stream", None, queues(type="stream", max_age="7d"), {}),
    (
        "endless-stream",
        None,
        {"super_streams": {"s": {"partitions": 2}, "t": {"partitions": 1, "max_age": "1d"}}},
        {"topology.super_streams.s": NOTE},
    ),
    ("even-replicas", None, queues(initial_cluster_size=4), {f"{X}.initial_cluster_size": NOTE}),
    ("even-replicas", None, queues(initial_cluster_size=3), {}),
    (
        "vhost-limit-zero",
        None,
        {"vhost_settings": {"limits": {"max_connections": 0, "max_queues": -1}}},
        {"topology.vhost_settings.limits.max_connections": WARNING},
    ),
    ("unbound-exchange", None, {"exchanges": {"x": {}}}, {"topology.exchanges.x": WARNING}),
    ("unbound-exchange", None, {"exchanges": {"x": {"unroutable": True}}}, {}),
    ("unbound-exchange", None, {"exchanges": {"x": {"alternate": "e"}}}, {}),
    ("unbound-exchange", None, {"exchanges": {"x": {}}, "services": {"s": {"binds": ["x"]}}}, {}),
    (
        "unbound-exchange",
        None,
        {"exchanges": {"x": {}}, "users": {"u": {"permissions": {"read": "^x$"}}}},
        {},
    ),
    ("unfed-queue", None, {"queues": {"x": {}}}, {X: NOTE}),
    (
        "unfed-queue",
        None,
        {"queues": {"x": {}}, "services": {"s": {"consumes": ["x", "q"], "publishes": ["e", "r"]}}},
        {X: WARNING},
    ),
    ("unfed-queue", None, {"queues": {"x": {}}, "services": {"s": {"replies": True}}}, {X: NOTE}),
    ("unfed-queue", None, {"queues": {"x.1": {}}, "services": {"s": {"declares": ["x.*"]}}}, {}),
    (
        "unfed-queue",
        None,
        {
            "queues": {"x": {}},
            "shovels": {"s": {"source_uri": "a", "destination_uri": "b", "destination_queue": "x"}},
        },
        {},
    ),
    (
        "unconsumed-queue",
        None,
        {"services": {"s": {"publishes": ["e", "r"]}}},
        {"topology.queues.q": WARNING},
    ),
    ("unconsumed-queue", None, {"services": {"s": {"consumes": ["q"]}}}, {}),
    ("unconsumed-queue", None, {"services": {"s": {"declares": ["q*"]}}}, {}),
    (
        "unconsumed-queue",
        None,
        {"services": {"s": {}}, "users": {"u": {"permissions": {"read": "q"}}}},
        {},
    ),
    (
        "unconsumed-queue",  # nobody should: messages wait in x and rest in y
        None,
        {
            "exchanges": {"dlx": {"type": "fanout"}},
            "queues": {
                "x": {"message_ttl": "1m", "dead_letter": {"exchange": "dlx"}},
                "y": {},
            },
            "bindings": [*QUIET["bindings"], bound("x"), bound("y", "dlx")],
            "services": {"s": {"consumes": ["q"]}},
        },
        {},
    ),
    (
        "unpublished-exchange",
        None,
        {"services": {"s": {"consumes": ["q"], "publishes": ["r"]}}},
        {"topology.exchanges.e": NOTE},
    ),
    ("unpublished-exchange", None, {"services": {"s": {"publishes": ["e", "r"]}}}, {}),
    (
        "unpublished-exchange",  # another exchange, and a queue, send to them
        None,
        {
            "exchanges": {"r": {"type": "fanout", "alternate": "e"}},
            "services": {"s": {"publishes": ["r"]}},
        },
        {},
    ),
    (
        "unrouted-publish",
        None,
        {"services": {"s": {"publishes": [{"exchange": "e", "routing_keys": ["k", "other"]}]}}},
        {"topology.services.s.publishes[0]": WARNING},
    ),
    (
        "unrouted-publish",
        None,
        {
            "exchanges": {"t": {"type": "topic"}},
            "bindings": [
                *QUIET["bindings"],
                bound("q", "t", "order.*.new"),
                bound("q", "t", "a.#"),
            ],
            "services": {
                "s": {
                    "publishes": [
                        {"exchange": "t", "routing_keys": ["order.1.new", "a", "a.b.c", "order.#"]},
                        {"exchange": "t", "routing_key": "order.new"},
                        {"exchange": "r", "routing_key": "anything"},
                    ]
                }
            },
        },
        {"topology.services.s.publishes[1]": WARNING},
    ),
    (
        "unrouted-publish",
        None,
        {
            "exchanges": {"e": {"unroutable": True}},
            "services": {"s": {"publishes": [{"exchange": "e", "routing_key": "other"}]}},
        },
        {},
    ),
    (
        "consumed-while-waiting",
        None,
        {
            **queues(retry={"delays": ["1s"]}),
            "services": {"s": {"consumes": ["x.retry.1", "x.parking-lot", "x"]}},
        },
        {"topology.services.s.consumes[0]": WARNING},
    ),
    *(
        (
            "shovel-within-broker",
            None,
            {"shovels": {"s": {"source_uri": uri, "destination_uri": "amqp://", **source}}},
            {"topology.shovels.s.source_uri": WARNING} if reported else {},
        )
        for uri, source, reported in (
            ("amqp:///v", {"source_queue": "q"}, True),
            ("amqp://user@/v", {"source_queue": "q"}, True),
            ("amqp://host/v", {"source_queue": "q"}, False),
            ("amqp:///v", {"source_exchange": "e"}, False),
            ("amqp:///v", {"source_queue": "of another stack"}, False),
            ("[secret]", {"source_queue": "q"}, False),
            ("amqp://[::1", {"source_queue": "q"}, False),
        )
    ),
    *(
        (
            "topic-key",
            None,
            {"bindings": [*QUIET["bindings"], bound("q", "amq.topic", key)]},
            {"topology.bindings[2].routing_key": WARNING} if wrong else {},
        )
        for key, wrong in (
            ("alert.(created|escalated)", True),
            ("a|b", True),
            ("a.[bc].d", True),
            ("threat.indicator_*", True),
            ("a.b#", True),
            ("a.*.#", False),
            ("a-b_c/d+e.*", False),
            ("", False),
        )
    ),
    ("topic-key", None, {"bindings": [*QUIET["bindings"], bound("q", "e", "a|b")]}, {}),
    *(
        (
            "delivery-limit-drops",
            version,
            {
                "queues": {
                    **QUIET["queues"],
                    "r": {"retry": {"delays": ["1s"]}, "delivery_limit": limit},
                },
                "bindings": [*QUIET["bindings"], bound("r", "e", "r")],
            },
            {"topology.queues.r.delivery_limit": severity} if severity else {},
        )
        for version, limit, severity in (
            (None, 3, NOTE),
            ("3.12", 3, WARNING),
            ("3.13", 3, None),
            ("4.0", -1, None),
        )
    ),
    *(
        (
            "many-wildcards",
            version,
            {"bindings": [*QUIET["bindings"], bound("q", "amq.topic", key)]},
            {"topology.bindings[2].routing_key": severity} if severity else {},
        )
        for version, key, severity in (
            (None, "#.a.#.b.#", WARNING),
            ("4.0", "#.#.#", NOTE),
            ("4.3.6", "#.#.#", ERROR),
            ("4.3.6", "#.#", None),
        )
    ),
    *(
        (
            "needs-newer-broker",
            version,
            changes,
            {where: severity} if severity else {},
        )
        for version, severity in ((None, NOTE), ("3.10", ERROR), ("4.0", None))
        for changes, where in (
            (
                queues(arguments={"x-delivery-limit": -1}),
                f"{X}.arguments.x-delivery-limit",
            ),
            (
                policy(pattern="^x", definition={"delivery-limit": "-1"}),
                f"{P}.definition.delivery-limit",
            ),
        )
    ),
    *(
        (
            "misspelt-argument",
            None,
            queues(arguments={key: 5}),
            {f"{X}.arguments.{key}": WARNING} if wrong else {},
        )
        for key, wrong in (
            ("x-mesage-ttl", True),
            ("message-ttl", True),
            ("x-message-tll", True),
            ("x-max-length", False),
            ("x-ttl-of-mine", False),
        )
    ),
    *(
        (
            "argument-of-consumers",
            None,
            queues(arguments={key: 5}),
            {f"{X}.arguments.{key}": WARNING} if wrong else {},
        )
        for key, wrong in (("x-priority", True), ("x-stream-offset", True), ("x-mine", False))
    ),
    *(
        (
            "dangling-argument",
            None,
            queues(arguments={"x-dead-letter-exchange": exchange}),
            {f"{X}.arguments.x-dead-letter-exchange": WARNING} if wrong else {},
        )
        for exchange, wrong in (("nowhere", True), ("r", False), ("", False), ("amq.fanout", False))
    ),
    (
        "dangling-argument",
        None,
        {"exchanges": {"e": {"arguments": {"alternate-exchange": "nowhere"}}}},
        {"topology.exchanges.e.arguments.alternate-exchange": WARNING},
    ),
    (
        "drops-oldest",  # what is sent to no exchange is not kept
        None,
        queues(arguments={"x-max-length": 5, "x-dead-letter-exchange": "nowhere"}),
        {f"{X}.arguments.x-max-length": WARNING},
    ),
    (
        "unbound-exchange",  # a user who may do everything says nothing about it
        None,
        {"exchanges": {"x": {}}, "users": {"u": {"permissions": {"read": ".*"}}}},
        {"topology.exchanges.x": NOTE},
    ),
    (
        "unbound-exchange",  # and dead letters depend on it
        None,
        {
            "exchanges": {"x": {}},
            "queues": {"q": {"dead_letter": {"exchange": "x"}}},
            "users": {"u": {"permissions": {"read": ".*"}}},
        },
        {"topology.exchanges.x": WARNING},
    ),
    (
        "unconsumed-queue",
        None,
        {
            **queues(),
            "services": {"s": {"consumes": ["q"], "publishes": ["e", "r"]}},
            "users": {"u": {"permissions": {"read": "^.*$"}}},
        },
        {X: NOTE},
    ),
    ("unanchored-pattern", None, policy(pattern="orders"), {f"{P}.pattern": WARNING}),
    ("unanchored-pattern", None, policy(pattern="^a|b"), {f"{P}.pattern": WARNING}),
    ("unanchored-pattern", None, policy(pattern=".*"), {}),
    (
        "unanchored-pattern",
        None,
        {"operator_policies": {"o": {"pattern": "x", "definition": {"expires": 1}}}},
        {"topology.operator_policies.o.pattern": WARNING},
    ),
    ("unreadable-pattern", None, policy(pattern="^(?|a)"), {f"{P}.pattern": WARNING}),
    (
        "shadowed-policy",
        None,
        {
            "policies": {
                "p": {"pattern": "^q$", "priority": 1, "definition": {"a": 1}},
                "wide": {"pattern": "^q", "priority": 2, "definition": {"b": 1}},
                "elsewhere": {"pattern": "^other", "definition": {"c": 1}},
            }
        },
        {f"{P}.priority": WARNING},
    ),
    (
        "shadowed-policy",  # it applies to one of the two
        None,
        {
            "policies": {
                "p": {"pattern": "^[qe]$", "priority": 1, "definition": {"a": 1}},
                "high": {"pattern": "^q", "priority": 2, "definition": {"b": 1}},
            }
        },
        {},
    ),
    *(
        (
            "policy-switched-off",
            version,
            {
                "queues": {"x": {"type": type_}},
                kind: {"p": {"pattern": "^x$", "definition": definition, **more}},
            },
            {f"topology.{kind}.p.definition.{key}": one for key, one in expected.items()},
        )
        for version in (None, "3.10", "4.0", "4.1", "4.3.6", "5.0")
        for kind, type_, definition, more, expected in (
            ("policies", "quorum", {"queue-mode": "lazy"}, {}, {"queue-mode": WARNING}),
            ("policies", "classic", {"queue-mode": "lazy", "dead-letter-exchange": "r"}, {}, {}),
            (
                "policies",
                "quorum",
                {"queue-mode": "lazy", "dead-letter-exchange": "r"},
                {},
                {"queue-mode": ERROR},
            ),
            (
                "policies",
                "quorum",
                {"queue-mode": "lazy", "dead-letter-exchange": "r"},
                {"apply_to": "classic_queues"},
                {},
            ),
            ("policies", "quorum", {"queue-mode": "lazy"}, {"apply_to": "exchanges"}, {}),
            (
                "policies",
                "classic",
                {"delivery-limit": 5, "dead-letter-strategy": "at-least-once"},
                {},
                {"delivery-limit": WARNING, "dead-letter-strategy": WARNING},
            ),
            (
                "policies",
                "stream",
                {"max-length-bytes": 1000, "message-ttl": 5},
                {},
                {"message-ttl": WARNING},
            ),
            ("operator_policies", "stream", {"expires": 5}, {}, {"expires": WARNING}),
            (
                "operator_policies",
                "classic",
                {"delivery-limit": 5},
                {},
                {"delivery-limit": WARNING},
            ),
        )
    ),
    *(
        (
            "policy-switched-off",  # the versions differ
            version,
            {
                "queues": {"x": CLASSIC},
                "policies": {
                    "p": {"pattern": "^x$", "definition": {"queue-leader-locator": "balanced"}}
                },
            },
            {f"{P}.definition.queue-leader-locator": severity} if severity else {},
        )
        for version, severity in (
            (None, NOTE),
            ("3.10", WARNING),
            ("3.12", NOTE),
            ("4.0", None),
            ("4.3", None),
        )
    ),
    (
        "digits-in-policy",
        None,
        policy(definition={"some-text": "12", "max-length": "5", "overflow": "drop-head"}),
        {f"{P}.definition.some-text": WARNING},
    ),
    *(
        ("type-added", version, queues(**CLASSIC, typed=False), where)
        for version, where in (
            (None, {}),
            ("3.13", {}),
            ("4.0", {f"{X}.typed": WARNING}),
        )
    ),
    *(
        (
            "mirrored-queue",
            version,
            policy(definition={"ha-mode": "all"}),
            {f"{P}.definition.ha-mode": one},
        )
        for version, one in ((None, WARNING), ("3.13", NOTE), ("4.0.5", ERROR))
    ),
    *(
        (
            "deprecated-setting",
            version,
            policy(definition={"queue-master-locator": "random"}),
            {f"{P}.definition.queue-master-locator": severity},
        )
        for version, severity in ((None, WARNING), ("4.0", NOTE), ("4.3", ERROR))
    ),
    (
        "deprecated-setting",
        "4.3",
        queues(**CLASSIC, arguments={"x-queue-master-locator": "random"}),
        {f"{X}.arguments.x-queue-master-locator": ERROR},
    ),
    ("deprecated-setting", "4.3", policy(definition={"queue-version": 1}), {}),
    *(
        ("ignored-setting", version, changes, {where: NOTE} if version != "3.11" else {})
        for changes, where in (
            (queues(**CLASSIC, arguments={"x-queue-mode": "lazy"}), f"{X}.arguments.x-queue-mode"),
            (policy(definition={"queue-mode": "lazy"}), f"{P}.definition.queue-mode"),
        )
        for version in (None, "3.11", "3.12", "4.3")
    ),
    (
        "deprecated-setting",
        "4.3",
        queues(**CLASSIC, arguments={"x-queue-version": 1}),
        {f"{X}.arguments.x-queue-version": ERROR},
    ),
    ("deprecated-setting", "4.3", queues(**CLASSIC, arguments={"x-queue-version": 2}), {}),
    *(
        (
            "delayed-message-plugin",
            version,
            {
                "exchanges": {
                    "e": {"type": "x-delayed-message", "arguments": {"x-delayed-type": "direct"}}
                }
            },
            {"topology.exchanges.e.type": severity},
        )
        for version, severity in ((None, WARNING), ("4.2", NOTE), ("4.3", ERROR))
    ),
    *(
        ("needs-newer-broker", version, changes, {where: severity} if severity else {})
        for changes, where, least in (
            (queues(consumer_timeout="1h"), f"{X}.consumer_timeout", (3, 12)),
            (queues(delivery_limit=-1), f"{X}.delivery_limit", (4, 0)),
            (policy(apply_to="streams"), f"{P}.apply_to", (3, 12)),
            (
                policy(definition={"delayed-retry-type": "all"}),
                f"{P}.definition.delayed-retry-type",
                (4, 3),
            ),
        )
        for version, severity in (
            (None, NOTE),
            (f"{least[0]}.{least[1]}", None),
            ("3.11", ERROR),
        )
    ),
    *(
        ("needs-newer-broker", version, changes, {X + where: ERROR} if version == "3.9" else {})
        for changes, where in (
            (queues(message_ttl="1m", dead_letter={"exchange": "r"}), ".message_ttl"),
            (queues(retry={"delays": ["1m"]}), ".retry"),
        )
        for version in (None, "3.9", "3.10")
    ),
    *(
        (
            "ignored-by-older-broker",
            version,
            {
                **queues(type="stream", max_age="1d", filter_size=20),
                "vhost_settings": {"default_queue_type": "quorum"},
            },
            expected,
        )
        for version, expected in (
            (None, {f"{X}.filter_size": NOTE, "topology.vhost_settings.default_queue_type": NOTE}),
            ("3.12", {f"{X}.filter_size": WARNING}),
            ("3.13", {}),
        )
    ),
]


@pytest.mark.parametrize(
    ("rule", "version", "changes", "expected"),
    CASES,
    ids=[f"{rule}-{number}" for number, (rule, *_) in enumerate(CASES)],
)
def test_advice(rule, version, changes, expected):
    said = linted(version, **changes).get(rule, {})
    if rule == "needs-newer-broker":  # one rule for many settings: only this one is looked at
        said = {where: one for where, one in said.items() if where in expected or not expected}
    assert said == expected


def test_a_policy_that_is_switched_off_names_the_queues_and_what_is_lost():
    stack = read(
        topology(
            queues={"x": {}, "y": {}, "c": CLASSIC},
            policies={
                "p": {
                    "pattern": "^[xyc]$",
                    "definition": {"queue-mode": "lazy", "dead-letter-exchange": "r"},
                }
            },
        )
    )
    (said,) = (one.problem for one in lint.check(stack) if one.rule.name == "policy-switched-off")
    assert "topology.queues.x and 1 more" in said.rule
    assert "nothing of this policy applies" in said.rule
    assert "not even its dead-lettering" in said.rule
    (note,) = (one.problem for one in lint.check(stack) if one.rule.name == "ignored-setting")
    assert "nothing of its policy" in note.rule


def test_lint_works_out_what_the_broker_does():
    """Each was told wrongly: `drops-oldest` and others go by it."""
    written = {
        "overflow": (CLASSIC, {"x-overflow": "reject-publish"}, {}, {"overflow": "drop-head"}),
        "max-length": (CLASSIC, {"x-max-length": 100}, {"max-length": 5}, {}),
        "message-ttl": (CLASSIC, {"x-message-ttl": 5000}, {"message-ttl": 1000}, {}),
        "of-quorum": ({}, {"x-overflow": "drop-head"}, {"overflow": "reject-publish"}, {}),
    }
    changes: dict[str, dict[str, object]] = {
        "queues": {},
        "policies": {},
        "operator_policies": {},
    }
    for name, (queue, arguments, policy_, operator) in written.items():
        changes["queues"][name] = {**queue, "arguments": arguments}
        for kind, definition in (("policies", policy_), ("operator_policies", operator)):
            if definition:
                changes[kind][name] = {"pattern": f"^{name}$", "definition": definition}
    stack = read({"vhost": "v", **changes})
    assert stack.errors == []
    ((_, whole),) = stack.whole.items()
    settings = Context(written=whole, whole=whole, version=None).settings
    assert settings == {
        "overflow": {"overflow": "reject-publish"},
        "max-length": {"max-length": 5},
        "message-ttl": {"message-ttl": 1000},
        "of-quorum": {"overflow": "reject-publish"},
    }


def test_every_advice_has_a_case_that_finds_something_and_one_rule_has_one_name():
    names = [one.name for one in lint.CATALOGUE]
    assert len(set(names)) == len(names)
    covered = {rule for rule, _, _, expected in CASES if expected} | {"dead-letter-cycle"}
    assert {one.name for one in lint.ADVICE} == covered
    assert all(one.reason and one.page for one in lint.CATALOGUE)


def wired(*ways, **settings):
    """Return changes with queues a, b, …; a way is (queue, its dead-letter exchange, that one's
    queue), with a routing key at the end if the dead letter gets another.
    """
    changes: dict = {"exchanges": {}, "queues": {}, "bindings": list(QUIET["bindings"])}
    for queue, exchange, target, *key in ways:
        changes["exchanges"].setdefault(exchange, {"type": "direct" if key else "fanout"})
        dead_letter = {"exchange": exchange, **({"routing_key": key[0]} if key else {})}
        changes["queues"][queue] = {**settings, "dead_letter": dead_letter}
        changes["queues"].setdefault(target, {})
        binding = {"source": exchange, "queue": target, "routing_key": key[1] if key else ""}
        if binding not in changes["bindings"]:
            changes["bindings"].append(binding)
    return changes


TO_ITSELF = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q"}


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        (wired(("a", "x", "a")), "topology.queues.a.dead_letter"),
        (wired(("a", "x", "b"), ("b", "y", "a")), "topology.queues.a.dead_letter"),
        (wired(("a", "x", "b", "k", "k"), ("b", "y", "a")), "topology.queues.a.dead_letter"),
        (wired(("a", "x", "b"), ("b", "y", "c"), ("c", "z", "b")), "topology.queues.b.dead_letter"),
        (wired(("a", "x", "b"), ("b", "y", "c")), None),
        (wired(("a", "x", "a", "k", "other")), None),  # what it is sent with, nothing takes
        (
            {"queues": {"q": {"arguments": {**TO_ITSELF}}}},
            "topology.queues.q",
        ),
    ],
)
def test_dead_letters_that_go_round_are_found(changes, where):
    assert list(linted(**changes).get("dead-letter-cycle", {})) == ([where] if where else [])


def test_a_key_that_a_message_keeps_is_followed_and_one_that_changes_ends_it():
    # The common ladder by hand: rejected with its own key, it waits, and comes back with it.
    ladder = {
        "exchanges": {"orders": {}, "wait": {}},
        "queues": {
            "orders": {"dead_letter": {"exchange": "wait"}},
            "wait": {"message_ttl": "1m", "dead_letter": {"exchange": "orders"}},
        },
        "bindings": [
            *QUIET["bindings"],
            bound("orders", "orders", "order.new"),
            bound("wait", "wait", "order.new"),
        ],
    }
    assert "dead-letter-cycle" in linted(**ladder)
    ladder["queues"]["wait"]["dead_letter"]["routing_key"] = "order.again"
    assert "dead-letter-cycle" not in linted(**ladder)
    assert "dead-letter-cycle" not in linted(**queues(retry={"delays": ["1s", "1m", "1h"]}))


def test_a_cycle_through_policies_other_exchanges_and_alternates_is_found():
    changes = {
        "exchanges": {
            "one": {"type": "topic", "alternate": "two"},
            "two": {},
            "three": {"type": "headers"},
        },
        "queues": {"x": {}},
        "bindings": [
            *QUIET["bindings"],
            bound("x"),
            {"source": "two", "exchange": "three", "routing_key": "gone"},
            {"source": "three", "queue": "x"},
        ],
        "policies": {
            "p": {
                "pattern": "^x$",
                "definition": {"dead-letter-exchange": "one", "dead-letter-routing-key": "gone"},
            }
        },
    }
    assert list(linted(**changes)["dead-letter-cycle"]) == [X]


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ("abcdef", "a -> b -> c -> d -> e -> f -> a"),
        ("gfedcba", "a -> g -> f -> e -> d -> c -> … -> a"),
    ],
)
def test_a_cycle_is_told_once_from_its_first_name_on(names, shown):
    following = dict(zip(names, names[1:] + names[0], strict=True))
    stack = read(
        {
            "vhost": "v",
            "exchanges": {f"to-{name}": {"type": "topic"} for name in names},
            "queues": {
                name: {"dead_letter": {"exchange": f"to-{after}"}}
                for name, after in following.items()
            },
            "bindings": [
                {"source": f"to-{name}", "queue": name, "routing_keys": ["#", "k", "*.x"]}
                for name in names
            ],
        }
    )
    (told,) = (one.problem for one in lint.check(stack) if one.rule.name == "dead-letter-cycle")
    assert (told.path, told.value) == ("topology.queues.a.dead_letter", shown)


def test_several_vhosts_are_each_looked_at_and_named():
    stack = read({"vhosts": {"a": {"exchanges": {"x": {}}}, "b.c": {"exchanges": {"x": {}}}}})
    assert [one.problem.path for one in lint.check(stack)] == [
        "topology.vhosts.a.exchanges.x",
        'topology.vhosts["b.c"].exchanges.x',
    ]


def ignored(rule, where, reason="known"):
    return {"rule": rule, "path": where, "reason": reason}


def test_a_finding_is_silenced_by_name_at_a_path_or_below_it():
    changes = {"exchanges": {"x": {}, "xy": {}}}
    one = linted(ignore=[ignored("unbound-exchange", "topology.exchanges.x")], **changes)
    assert one == {"unbound-exchange": {"topology.exchanges.xy": WARNING}}
    assert linted(ignore=[ignored("unbound-exchange", "topology.exchanges")], **changes) == {}
    stack = read(
        topology(**changes), None, None, {"ignore": [ignored("unbound-exchange", "topology")]}
    )
    assert {item.silenced for item in lint.check(stack)} == {"known"}


def test_what_cannot_be_silenced_and_what_silences_nothing_is_said():
    said = linted(
        ignore=[
            ignored("unbound-exchang", "topology"),
            ignored("dangling-exchange", "topology"),
            ignored("unbound-exchange", "topology.exchanges.zzz"),
        ],
        exchanges={"e": {"alternate": "nowhere"}},
    )
    assert said == {
        "dangling-exchange": {"topology.exchanges.e.alternate": ERROR},
        "wrong-ignore": {"lint.ignore[0].rule": ERROR, "lint.ignore[1].rule": ERROR},
        "unused-ignore": {"lint.ignore[2]": NOTE},
    }


def test_there_is_no_advice_about_what_is_not_understood():
    assert linted(queues={"x": {"typ": "quorum"}}) == {"shape": {"topology.queues.x.typ": ERROR}}
    assert linted(version="new") == {"broker-version": {"broker.version": ERROR}}


@pytest.mark.parametrize(
    "where", [("a",), ("a", "b.c", 3, "d"), ("a", 'x"y', "[", "\\"), ("ä", "b c")]
)
def test_a_path_is_read_as_it_is_written(where):
    assert parts(path(*where)) == list(where)


# Files


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "Pulumi.yaml").write_text("name: rabbit-topology\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lint_command(*arguments):
    try:
        result = CliRunner().invoke(app, ["lint", *arguments])
    finally:
        gc.enable()  # the command turns it off, since its process ends with it
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.exit_code, result.stdout


STACK = """\
encryptionsalt: v1:x
config:
  rabbit-topology:base: shared.yaml
  rabbit-topology:topolgy: {}
  rabbit-topology:topology:
    vhost: v
    users:
      ops: {password: {secure: v1:abcdef}}
      old: {password: hunter2}
    shovels:
      s:
        source_uri: {secure: v1:ghi}
        destination_uri: amqp://u:hunter2@host
"""
SHARED = """\
exchanges:
  e: {}
  lonely: {}
queues:
  q: {dead_letter: true}
bindings:
  - {source: e, queue: q}
"""


def test_files_are_read_as_they_lie_there_with_lines_and_no_secret_is_shown(project):
    (project / "Pulumi.dev.yaml").write_text(STACK)
    (project / "shared.yaml").write_text(SHARED)
    status, text = lint_command()
    lines = {line.partition(" ")[0]: line for line in text.splitlines()}
    # The key that is misspelt.
    assert 'did you mean "rabbit-topology:topology"?' in lines["Pulumi.dev.yaml:4:3:"]
    assert "Pulumi.dev.yaml:9:13:" in lines  # a password in plain text
    assert "plain-secret" in lines["Pulumi.dev.yaml:13:9:"]
    assert "unbound-exchange" in lines["shared.yaml:3:3:"]
    assert "hunter2" not in text
    assert "v1:" not in text
    assert (status, lines["4"]) == (0, "4 warnings in Pulumi.dev.yaml")


@pytest.mark.parametrize(
    ("fail_on", "status"), [("error", 0), ("warning", 1), ("note", 1), ("never", 0)]
)
def test_what_fails_is_for_the_user_to_say(project, fail_on, status):
    (project / "Pulumi.dev.yaml").write_text(STACK)
    (project / "shared.yaml").write_text(SHARED)
    assert lint_command("--fail-on", fail_on)[0] == status


def test_annotations_are_what_a_runner_of_github_reads(project):
    (project / "Pulumi.a,b.yaml").write_text(
        'config:\n  rabbit-topology:topology:\n    vhost: v\n    queues: {"q%,": {typ: x}}\n'
    )
    status, text = lint_command("--format", "github")
    (line,) = text.splitlines()
    properties, _, message = line.removeprefix("::error ").partition("::")
    assert status == 1
    assert dict(part.split("=") for part in properties.split(",")) == {
        "file": "Pulumi.a%2Cb.yaml",
        "line": "4",
        "col": "22",
        "title": 'shape%3A topology.queues["q%25%2C"].typ',
    }
    assert message.startswith('topology.queues["q%25,"].typ: ')


def test_the_version_is_the_packages():
    answer = CliRunner().invoke(app, ["--version"])
    assert answer.output == f"rabbit-topology {rabbit_topology.__version__}\n"


def test_errors_exit_1_and_each_format_has_them(project):
    (project / "Pulumi.dev.yaml").write_text(
        "config:\n  rabbit-topology:topology:\n    vhost: v\n    queues: {q: {typ: x}}\n"
    )
    (project / "Pulumi.prod.yaml").write_text("config: {rabbit-topology:topology: {vhost: v}}\n")
    assert lint_command()[0] == 1
    assert lint_command("--stack", "prod") == (0, "nothing found in Pulumi.prod.yaml\n")
    assert lint_command("Pulumi.prod.yaml")[0] == 0
    status, text = lint_command("--stack", "dev", "--format", "json")
    answer = json.loads(text)
    assert (status, answer["counts"]["error"]) == (1, 1)
    (one,) = answer["findings"]
    assert (one["file"], one["line"], one["path"]) == (
        "Pulumi.dev.yaml",
        4,
        "topology.queues.q.typ",
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("config: [", ["shape", "line 2"]),
        ("- a", ["shape", "config"]),
        ("config: {rabbit-topology:base: gone.yaml}", ["base: ", "there is no such file"]),
        ("config: {}", ["a stack needs a topology"]),
        ("config: {rabbit-topology:topology: {vhost: v, users: {u: }}}", ["seed: missing"]),
        (
            "config: {rabbit-topology:seed: x, rabbit-topology:topology: {vhost: v, users: {u: }}}",
            ["seed: [not shown]", "plain-secret"],
        ),
    ],
)
def test_what_is_no_stack_is_an_error(project, text, words):
    (project / "Pulumi.dev.yaml").write_text(text + "\n")
    status, output = lint_command()
    assert status == 1
    assert all(word in output for word in words), output


def test_what_is_encrypted_as_a_whole_is_a_note(project):
    (project / "Pulumi.dev.yaml").write_text("config: {rabbit-topology:topology: {secure: v1:x}}")
    status, output = lint_command()
    assert status == 0
    assert "[encrypted]" in output


def test_a_project_without_stacks_and_a_stack_that_is_not_there_are_errors(project, monkeypatch):
    monkeypatch.setattr("gc.disable", lambda: None)
    result = CliRunner().invoke(app, ["lint"])
    assert "there is no Pulumi.<stack>.yaml" in str(result.exception)
    (project / "Pulumi.dev.yaml").write_text("config: {}\n")
    result = CliRunner().invoke(app, ["lint", "--stack", "dv"])
    assert 'did you mean "dev"?' in str(result.exception)


def test_the_committed_stacks_have_no_errors_and_no_warnings():
    for file in ROOT.glob("Pulumi.*.yaml"):
        counts = report.count(lint_files.check(file, file.name))
        assert counts["error"] == counts["warning"] == 0


@pytest.mark.parametrize(
    "file", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda one: one.stem
)
def test_there_is_nothing_to_warn_of_in_the_examples(file):
    stack = sources.load(file)
    assert lint.unsilenced(lint.check(stack), ERROR, WARNING) == []


def test_sarif_is_what_its_standard_asks_for():
    stack = read(
        topology(exchanges={"x y": {}, "z": {}}),
        None,
        None,
        {"ignore": [ignored("unbound-exchange", "topology.exchanges.z", "later")]},
    )
    located = [
        lint_files.Located(finding=one, file="a folder/Pulumi.dev.yaml", place=Place(7, 3))
        for one in lint.check(stack)
    ]
    log = report.as_sarif(located, lint.CATALOGUE)
    json.dumps(log)
    assert log["version"] == "2.1.0"
    assert log["$schema"] == "https://json.schemastore.org/sarif-2.1.0.json"
    (run,) = log["runs"]
    assert run["columnKind"] == "unicodeCodePoints"
    assert run["tool"]["driver"]["name"] == "rabbit-topology"
    rules = run["tool"]["driver"]["rules"]
    for rule, named in zip(rules, lint.CATALOGUE, strict=True):
        assert rule == {
            "id": named.name,
            "shortDescription": {"text": named.reason},
            "help": {"text": f"{named.reason}. Read: {named.page}"},
            "defaultConfiguration": {"level": named.severity},
        }
    levels = {"none", "note", "warning", "error"}
    assert {rule["defaultConfiguration"]["level"] for rule in rules} <= levels
    first, second = run["results"]
    assert rules[first["ruleIndex"]]["id"] == first["ruleId"] == "unbound-exchange"
    assert first["level"] in levels
    assert first["message"] == {"text": str(located[0].finding.problem)}
    (place,) = first["locations"]
    assert place["physicalLocation"] == {
        "artifactLocation": {"uri": "a%20folder/Pulumi.dev.yaml"},
        "region": {"startLine": 7, "startColumn": 3},
    }
    assert place["logicalLocations"] == [{"fullyQualifiedName": 'topology.exchanges["x y"]'}]
    assert "suppressions" not in first
    assert second["suppressions"] == [{"kind": "external", "justification": "later"}]


def test_json_has_all_of_a_finding():
    silent = {"ignore": [ignored("unbound-exchange", "topology.exchanges.z", "later")]}
    stack = read(topology(exchanges={"x": {}, "z": {}}), None, None, silent)
    located = [
        lint_files.Located(finding=one, file="f", place=Place(7, 3)) for one in lint.check(stack)
    ]
    shown = report.as_json(located)
    assert shown["counts"] == {"error": 0, "warning": 1, "note": 0, "silenced": 1}
    assert shown["findings"][0] == {
        "rule": "unbound-exchange",
        "severity": "warning",
        "path": "topology.exchanges.x",
        "value": "no binding",
        "message": "nothing that is published to it arrives anywhere",
        "fix": "bind a queue, set `alternate` or `unroutable`, or name it in a service's `binds`",
        "reason": located[0].finding.rule.reason,
        "page": located[0].finding.rule.page,
        "file": "f",
        "line": 7,
        "column": 3,
        "silenced": None,
    }
    assert shown["findings"][1]["silenced"] == "later"


def test_all_rules_are_listed():
    status, text = lint_command("--rules")
    assert status == 0
    assert "at-least-once" in text
    _, text = lint_command("--rules", "--format", "json")
    assert [load["name"] for load in json.loads(text)] == [one.name for one in lint.CATALOGUE]


# Deployments


@pytest.fixture
def warned(mocker):
    said: list[str] = []
    mocker.patch("pulumi.warn", side_effect=said.append)
    return said


def test_a_deployment_warns_once_for_each_rule_and_names_places(warned):
    exchanges = {f"x{number}": {} for number in range(5)}
    preflight.advise(read(topology(exchanges=exchanges)), "4.0.5", secret=False)
    (text,) = warned
    assert "topology.exchanges.x0: " in text
    assert "(also topology.exchanges.x1, topology.exchanges.x2 and 2 more)" in text
    assert "unbound-exchange" in text


def test_a_deployment_refuses_what_the_brokers_version_denies(warned):
    changes = policy(definition={"ha-mode": "all"})
    stack = read(topology(**changes), {"version": "3.12"})
    preflight.advise(stack, "3.12.1", secret=False)
    assert warned == []
    with pytest.raises(pulumi.RunError, match=r"definition\.ha-mode.*from 4\.0 on"):
        preflight.advise(stack, "4.0.5", secret=False)
    assert "broker.version says 3.12, the broker says 4.0.5" in warned[0]


def test_a_deployment_refuses_what_the_broker_itself_denies_unless_it_is_silenced(warned):
    denied = frozenset({"transient_nonexcl_queues"})
    changes = queues(**CLASSIC, durable=False)
    with pytest.raises(pulumi.RunError, match=r"topology\.queues\.x\.durable.*this broker refuses"):
        preflight.advise(read(topology(**changes)), "4.3.0", denied, secret=False)
    accepted = {"ignore": [ignored("transient-queue", "topology", "we know")]}
    stack = read(topology(**changes), None, None, accepted)
    preflight.advise(stack, "4.3.0", denied, secret=False)
    assert warned == []


def test_a_deployment_shows_no_value_of_a_config_with_secrets(warned):
    changes = policy(definition={"some-text": "4711"})
    preflight.advise(read(topology(**changes)), None, secret=True)
    assert "digits-in-policy" in warned[0]
    assert "4711" not in warned[0]


# Work


def large(number):
    """Return a topology of so many objects of each kind, with something to say about each."""
    names = [f"team-{one}.orders" for one in range(number)]
    return {
        "vhost": "v",
        "exchanges": {name: {"type": "topic", "durable": False} for name in names},
        "queues": {
            name: {"max_length": 5, "dead_letter": {"exchange": other}}
            for name, other in zip(names, [*names[1:], names[0]], strict=True)
        },
        "bindings": [{"source": name, "queue": name, "routing_key": "#"} for name in names],
        "policies": {
            name: {"pattern": f"^team-{one}[.]", "definition": {"expires": one + 1}}
            for one, name in enumerate(names)
        },
        "services": {name: {"publishes": [name], "consumes": [name]} for name in names},
    }


def seconds(number, **changes):
    stack = {**large(number), **changes}
    begin = time.process_time()
    findings = lint.check(read(stack))
    return time.process_time() - begin, len(findings)


def test_the_time_grows_with_the_config_and_not_with_its_square():
    seconds(10)  # what is made once
    small, few = min(seconds(60) for _ in range(3))
    big, many = seconds(600)
    assert many > 9 * few
    assert big < 40 * small, f"{small:.3f} s for {few} findings, {big:.3f} s for {many}"


def test_the_time_grows_with_the_number_of_mistakes_and_not_with_its_square():
    def wrong(number):
        bindings = [
            {"source": f"team-{one}.order", "queue": f"taem-{one}.orders"} for one in range(number)
        ]
        return seconds(number, bindings=bindings)

    wrong(10)
    small, few = min(wrong(60) for _ in range(3))
    big, many = wrong(600)
    assert many > 9 * few
    assert big < 40 * small, f"{small:.3f} s for {few} findings, {big:.3f} s for {many}"


def test_the_closest_name_is_found_among_many():
    names = words.NameIndex(f"team-{one}.orders" for one in range(5000))
    assert names.close_to("team-1234.order") == "team-1234.orders"
    assert names.close_to("taem-1234.orders") == "team-1234.orders"
    assert names.close_to("nothing like it") is None


def test_a_queue_cannot_expire_at_once():
    assert linted(queues={"q": {"expires": "0s"}, "x": {"message_ttl": 0, "dead_letter": True}})[
        "expires-zero"
    ] == {"topology.queues.q.expires": ERROR}


def test_parse_refuses_as_before():
    with pytest.raises(Exception, match="did you mean"):
        parse_stack(topology(queues={"x": {"typ": 1}}))


def test_yaml_of_the_readme_is_a_stack_without_errors(tmp_path):
    documents = [
        text.partition("```")[0] for text in (ROOT / "README.md").read_text().split("```yaml\n")[1:]
    ]
    stacks = [document for document in documents if document.startswith("config:")]
    assert stacks
    for document in stacks:
        file = tmp_path / "Pulumi.readme.yaml"
        file.write_text(document)
        assert yaml.safe_load(document)
        assert not [one for one in lint_files.check(file, "x") if one.finding.severity is ERROR]
