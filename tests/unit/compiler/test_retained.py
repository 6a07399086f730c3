"""
What stays with a queue that is retained: its ways in, and its way for dead letters.
"""

from __future__ import annotations

import pytest

from rabbit_topology import Topology, parse_stack
from rabbit_topology.compiler import policies
from rabbit_topology.compiler.names import route_key
from tests.unit.deploy.test_component import BINDING, EXCHANGE, QUEUE, args

RETAIN = {"on_delete": "retain"}


def staying(topology):
    (parsed, *_) = parse_stack({"vhost": "v", **topology})
    kept = policies.kept(parsed)
    routes = {
        (route.source, route.destination)
        for route in parsed.routes()
        if route_key(route) in kept.routes
    }
    return set(kept.queues), set(kept.exchanges), routes


def test_nothing_stays_where_nothing_is_retained():
    topology = {
        "exchanges": {"e": {}},
        "queues": {"q": {"dead_letter": True}},
        "bindings": [{"source": "e", "queue": "q"}],
    }
    assert staying(topology) == (set(), set(), set())


def test_ways_in_stay_from_exchange_to_exchange_and_what_only_branches_off_goes():
    topology = {
        "exchanges": {"a": {}, "b": {}, "c": {}, "side": {}, "ring": {}},
        "queues": {"q": RETAIN, "other": {}},
        "bindings": [
            {"source": "a", "exchange": "b"},
            {"source": "b", "exchange": "c"},
            {"source": "c", "exchange": "ring"},
            {"source": "ring", "exchange": "c"},
            {"source": "c", "queue": "q"},
            {"source": "amq.topic", "queue": "q"},
            {"source": "c", "queue": "other"},
            {"source": "b", "exchange": "side"},
        ],
    }
    queues, exchanges, routes = staying(topology)
    assert queues == {"q"}
    assert exchanges == {"a", "b", "c", "ring", "amq.topic"}
    assert routes == {
        ("a", "b"),
        ("b", "c"),
        ("c", "ring"),
        ("ring", "c"),
        ("c", "q"),
        ("amq.topic", "q"),
    }


@pytest.mark.parametrize(
    "way",
    [
        {"queue": {"dead_letter": {"exchange": "dlx"}}},
        {"queue": {"arguments": {"x-dead-letter-exchange": "dlx"}}},
        {
            "queue": {},
            "policies": {
                "p": {
                    "pattern": "^q$",
                    "apply_to": "queues",
                    "definition": {"dead-letter-exchange": "dlx"},
                }
            },
        },
    ],
)
def test_the_way_for_dead_letters_stays_however_it_is_said(way):
    topology = {
        "exchanges": {"dlx": {"alternate": "rest"}, "rest": {}, "to": {}},
        "queues": {
            "q": {**RETAIN, "type": "classic", **way["queue"]},
            "dead": {"dead_letter": {"exchange": "rest"}},
            "late": {},
            "dropped": {"on_delete": "discard"},
        },
        "bindings": [
            {"source": "dlx", "queue": "dead"},
            {"source": "dlx", "queue": "dropped"},
            {"source": "rest", "queue": "late"},
            {"source": "to", "queue": "late"},
        ],
        "policies": way.get("policies", {}),
    }
    assert staying(topology) == (
        {"q", "dead", "late"},
        {"dlx", "rest"},
        {("dlx", "dead"), ("rest", "late")},
    )


BY_NAME = {"dead-letter-exchange": "", "dead-letter-routing-key": "dead"}


@pytest.mark.parametrize(
    "way",
    [
        {"arguments": {f"x-{key}": value for key, value in BY_NAME.items()}},
        {"policies": {"p": {"pattern": "^q$", "apply_to": "queues", "definition": BY_NAME}}},
    ],
)
def test_the_queue_that_dead_letters_go_to_by_its_name_stays(way):
    queues = {
        "q": {**RETAIN, "type": "classic", "arguments": way.get("arguments", {})},
        "dead": {"dead_letter": {"exchange": "dlx"}},
        "later": {},
        "other": {},
    }
    bindings = [{"source": "dlx", "queue": "later"}]
    topology = {
        "exchanges": {"dlx": {}},
        "queues": queues,
        "bindings": bindings,
        "policies": way.get("policies", {}),
    }
    assert staying(topology) == ({"q", "dead", "later"}, {"dlx"}, {("dlx", "later")})
    queues["dead"] = {"on_delete": "discard"}
    assert staying(topology) == ({"q"}, set(), set())


def test_an_alternate_exchange_is_a_way_in():
    topology = {
        "exchanges": {"e": {"alternate": "rest"}, "rest": {"type": "fanout"}},
        "queues": {"q": RETAIN},
        "bindings": [{"source": "rest", "queue": "q"}],
    }
    assert staying(topology)[1] == {"e", "rest"}


def test_a_retry_ladder_stays_as_a_whole(deploy):
    topology = {
        "vhost": "v",
        "exchanges": {"e": {}},
        "queues": {"q": {**RETAIN, "retry": {"delays": ["1s", "2s"]}}},
        "bindings": [{"source": "e", "queue": "q"}],
    }
    (parsed, *_) = parse_stack(topology)
    kept = policies.kept(parsed)
    assert kept.queues == set(parsed.queues)
    assert kept.exchanges == set(parsed.exchanges)
    assert kept.routes == {route_key(route) for route in parsed.routes()}
    assert {item.on_delete for item in policies.compile_all(parsed).values()} == {"retain"}

    one = deploy(lambda: Topology("it", args(topology)))
    guards = {
        hook.rpartition(":")[2]
        for type_ in (EXCHANGE, QUEUE, BINDING)
        for made in one.of(type_)
        for hook in made.hooks["before_delete"]
    }
    assert guards == {"retained-exchange", "retained-queue", "retained-binding"}
    assert all(made.retain for type_ in (EXCHANGE, QUEUE, BINDING) for made in one.of(type_))


def test_a_policy_of_the_users_own_is_not_all_that_a_retained_queue_has():
    topology = {
        "exchanges": {"dlx": {}},
        "queues": {"q": RETAIN, "other": {}},
        "policies": {
            "p": {"pattern": ".*", "definition": {"dead-letter-exchange": "dlx"}, "priority": 7}
        },
        "vhost": "v",
    }
    compiled = policies.compile_all(parse_stack(topology)[0])
    assert {(key, one.members, one.on_delete.value) for key, one in compiled.items()} == {
        ("rabbit-topology-queues.q", frozenset({"q"}), "retain"),
        ("rabbit-topology-exchanges.dlx", frozenset({"dlx"}), "retain"),
    }
    assert dict(compiled["rabbit-topology-queues.q"].policy.definition) == {
        "dead-letter-exchange": "dlx"
    }
