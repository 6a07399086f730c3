"""
Where in the config stands what makes a thing: the path that every answer names.
"""

from __future__ import annotations

import pytest

from rabbit_topology.lint.reading import read
from rabbit_topology.routing.network import Network

VHOST = {
    "exchanges": {
        "e": {"unroutable": True, "delays": ["5s"]},
        "alt": {"alternate": "e"},
        "args": {"arguments": {"alternate-exchange": "e"}},
        "plain": {},
    },
    "queues": {
        "tried": {"type": "classic", "retry": {"delays": ["1s"]}},
        "dead": {"type": "classic", "dead_letter": True},
        "set": {"type": "classic", "message_ttl": "1s", "dead_letter": {"exchange": "e"}},
        "args": {"type": "classic", "arguments": {"x-message-ttl": 5}},
        "plain": {"type": "classic"},
        "a.b": {"type": "classic"},
    },
    "bindings": [
        {"source": "e", "queue": "plain", "routing_keys": ["x", "y"]},
        {"source": "e", "queue": "args", "routing_key": "z"},
    ],
    "super_streams": {"s": {"partitions": 2}},
    "policies": {
        "p": {"pattern": "^plain$", "apply_to": "queues", "definition": {"message-ttl": 7}},
        "x": {"pattern": "^plain$", "apply_to": "exchanges", "definition": {"x": 1}, "priority": 1},
    },
    "operator_policies": {
        "o": {"pattern": "^a", "apply_to": "queues", "definition": {"max-length": 7}}
    },
}


def origins(topology, vhost):
    stack = read(topology, {"version": "4.0"})
    return Network.every(stack)[vhost].origins


@pytest.fixture(params=["topology", "topology.vhosts.v"])
def root(request):
    return request.param


@pytest.fixture
def places(root):
    alone = root == "topology"
    return origins({"vhost": "v", **VHOST} if alone else {"vhosts": {"v": VHOST, "w": {}}}, "v")


@pytest.mark.parametrize(
    ("queue", "where"),
    [
        ("plain", "queues.plain"),
        ("a.b", 'queues["a.b"]'),
        ("tried.retry.1", "queues.tried.retry"),
        ("tried.parking-lot", "queues.tried.retry"),
        ("dead.dead-letter", "queues.dead.dead_letter"),
        ("e.unroutable", "exchanges.e.unroutable"),
        ("e.delay.5s", "exchanges.e.delays"),
        ("s-0", "super_streams.s"),
    ],
)
def test_of_a_queue(places, root, queue, where):
    assert places.of_queue(queue) == f"{root}.{where}"


@pytest.mark.parametrize(
    ("exchange", "where"),
    [
        ("plain", "exchanges.plain"),
        ("tried.retry", "queues.tried.retry"),
        ("tried.retry.back", "queues.tried.retry"),
        ("dead.dead-letter", "queues.dead.dead_letter"),
        ("e.unroutable", "exchanges.e.unroutable"),
        ("e.delay.5s", "exchanges.e.delays"),
        ("s", "super_streams.s"),
    ],
)
def test_of_an_exchange(places, root, exchange, where):
    assert places.of_exchange(exchange) == f"{root}.{where}"


@pytest.mark.parametrize(
    ("kind", "name", "key", "where"),
    [
        ("queues", "set", "message-ttl", "queues.set.message_ttl"),
        ("queues", "set", "dead-letter-exchange", "queues.set.dead_letter"),
        ("queues", "dead", "dead-letter-exchange", "queues.dead.dead_letter"),
        ("queues", "tried", "dead-letter-routing-key", "queues.tried.retry"),
        ("queues", "tried.retry.1", "message-ttl", "queues.tried.retry"),
        ("queues", "args", "message-ttl", "queues.args.arguments.x-message-ttl"),
        ("queues", "plain", "message-ttl", "policies.p.definition.message-ttl"),
        ("queues", "a.b", "max-length", "operator_policies.o.definition.max-length"),
        ("queues", "plain", "expires", "queues.plain"),
        ("exchanges", "e", "alternate-exchange", "exchanges.e.unroutable"),
        ("exchanges", "alt", "alternate-exchange", "exchanges.alt.alternate"),
        ("exchanges", "args", "alternate-exchange", "exchanges.args.arguments.alternate-exchange"),
        ("exchanges", "plain", "x", "policies.x.definition.x"),
        ("exchanges", "plain", "alternate-exchange", "exchanges.plain"),
        ("exchanges", "amq.topic", "alternate-exchange", 'exchanges["amq.topic"]'),
    ],
)
def test_of_a_setting(places, root, kind, name, key, where):
    assert places.of_setting(kind, name, key) == f"{root}.{where}"


def test_of_each_route_in_their_order(places, root):
    assert [where.removeprefix(f"{root}.") for where in places.of_routes()] == [
        "bindings[0].routing_keys[0]",
        "bindings[0].routing_keys[1]",
        "bindings[1]",
        *["queues.tried.retry"] * 6,
        "queues.dead.dead_letter",
        "exchanges.e.unroutable",
        "exchanges.e.delays",
        "super_streams.s",
        "super_streams.s",
    ]
