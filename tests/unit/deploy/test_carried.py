"""
Which hooks each resource carries. Their names are in the state of every deployed stack: a stack
whose program no longer has a hook by that name cannot delete the resource.
"""

from __future__ import annotations

import pulumi
import pytest

from rabbit_topology import Topology
from rabbit_topology.compiler.names import own_name
from tests.unit.deploy.test_component import BINDING, EXCHANGE, QUEUE, VHOST, args

QUEUES = {
    "kept": {},
    "dropped": {"on_delete": "discard"},
    "left": {"on_delete": "retain"},
}
TOPOLOGY = {
    "vhost": "v",
    "exchanges": {"e": {}, "f": {}},
    "queues": QUEUES,
    "bindings": [
        *({"source": "e", "queue": name} for name in QUEUES),
        {"source": "e", "exchange": "f"},
    ],
}

POLICY = "rabbitmq:index/policy:Policy"
OPERATOR_POLICY = "rabbitmq:index/operatorPolicy:OperatorPolicy"
SETTINGS = "rabbit-topology-queues."


@pytest.fixture
def deployed(deploy):
    return deploy(lambda: Topology("it", args(TOPOLOGY)))


@pytest.mark.parametrize(
    ("type_", "name", "before_delete"),
    [
        (QUEUE, "it/v/kept", ["rabbit-topology:it:queue"]),
        (EXCHANGE, "it/v/f", ["rabbit-topology:it:exchange"]),
        (EXCHANGE, "it/v/e", ["rabbit-topology:it:retained-exchange"]),
        (QUEUE, "it/v/left", ["rabbit-topology:it:retained-queue"]),
        (QUEUE, "it/v/dropped", ["rabbit-topology:it:discarded-queue"]),
        (BINDING, "it/v/e/queue/kept/", ["rabbit-topology:it:binding"]),
        (BINDING, "it/v/e/queue/left/", ["rabbit-topology:it:retained-binding"]),
        (BINDING, "it/v/e/queue/dropped/", ["rabbit-topology:it:free-binding"]),
        (BINDING, "it/v/e/exchange/f/", ["rabbit-topology:it:free-binding"]),
    ],
)
def test_hooks_on_the_wire(deployed, type_, name, before_delete):
    hooks = deployed.one(type_, name).hooks
    assert hooks["before_delete"] == before_delete
    assert hooks["after_create"] == ["rabbit-topology:it:after"]


@pytest.mark.parametrize("name", ["kept", "dropped", "left"])
def test_a_queue_that_was_read_too_early_is_read_again(deployed, name):
    assert deployed.one(QUEUE, f"it/v/{name}").hooks["on_error"] == [
        "rabbit-topology:it:read-again"
    ]


def test_a_vhost_is_guarded_unless_it_stays_for_a_retained_queue(deployed, deploy):
    making = {"before_create": ["rabbit-topology:it:making"]}
    assert deployed.one(VHOST, "it/v").hooks == making
    without = {**TOPOLOGY, "queues": {"kept": {}}, "bindings": []}
    guarded = deploy(lambda: Topology("it", args(without))).one(VHOST, "it/v")
    assert guarded.hooks == making | {"before_delete": ["rabbit-topology:it:vhost"]}


def test_helpers_are_named_after_what_they_help():
    assert own_name("holding", "orders") == "rabbit-topology.holding.orders"


def test_a_long_name_is_cut_to_what_the_broker_takes_and_stays_unique():
    one, other = (own_name("holding", "ü" * 120 + end) for end in ("one", "two"))
    assert one != other
    assert max(len(one.encode()), len(other.encode())) <= 255


def staying(deploy, topology=TOPOLOGY):
    options = pulumi.ResourceOptions(retain_on_delete=True)
    return deploy(lambda: Topology("it", args(topology), options))


@pytest.mark.parametrize(
    ("type_", "name", "hook"),
    [
        *((QUEUE, f"it/v/{name}", "retained-queue") for name in QUEUES),
        *((EXCHANGE, f"it/v/{name}", "retained-exchange") for name in "ef"),
        *((BINDING, f"it/v/e/queue/{name}/", "retained-binding") for name in QUEUES),
    ],
)
def test_hooks_of_a_component_that_is_left_on_the_broker(deploy, type_, name, hook):
    hooks = staying(deploy).one(type_, name).hooks
    assert hooks["before_delete"] == [f"rabbit-topology:it:staying-{hook}"]


@pytest.mark.parametrize(
    "topology",
    [
        {**TOPOLOGY, "queues": {"kept": {}}, "bindings": []},
        {"vhost": "v", "vhost_settings": {"on_delete": "retain"}},
    ],
)
def test_nobody_is_asked_about_a_vhost_that_stays(deploy, topology):
    hooks = staying(deploy, topology).one(VHOST, "it/v").hooks
    assert hooks == {"before_create": ["rabbit-topology:it:staying-making"]}


def test_a_vhost_stays_where_the_config_says_so(deploy):
    said = {"vhost": "v", "vhost_settings": {"on_delete": "retain"}, "queues": {"q": {}}}
    made = deploy(lambda: Topology("it", args(said)))
    assert "before_delete" not in made.one(VHOST, "it/v").hooks


@pytest.mark.parametrize(
    ("source", "is_whole"),
    [
        ({"type": "topic"}, False),
        ({"type": "x-delayed-message", "arguments": {"x-delayed-type": "topic"}}, False),
        ({"type": "direct"}, True),
        ({"type": "fanout"}, True),
        ({"type": "headers"}, True),
        ("amq.topic", False),
        ("amq.headers", True),
    ],
)
@pytest.mark.parametrize("on_delete", ["refuse", "retain"])
def test_bindings_that_can_be_left_half_made_are_made_by_a_hook(
    deploy, source, is_whole, on_delete
):
    name = "e" if isinstance(source, dict) else source
    topology = {
        "vhost": "v",
        "exchanges": {"e": source} if name == "e" else {},
        "queues": {"q": {"on_delete": on_delete}},
        "bindings": [{"source": name, "queue": "q"}],
    }
    hooks = deploy(lambda: Topology("it", args(topology))).one(BINDING, f"it/v/{name}/queue/q/")
    made = hooks.hooks.get("before_create", [])
    removed = hooks.hooks["before_delete"][1:]
    assert made == ([] if is_whole else ["rabbit-topology:it:bind"])
    # What is retained, its own hook removes.
    asked = not is_whole and on_delete == "refuse"
    assert removed == (["rabbit-topology:it:unbind"] if asked else [])


def test_which_hooks_policies_carry(deploy):
    limit = {"max_length": 5}
    topology = {
        "vhost": "v",
        "exchanges": {"e": {"alternate": "amq.fanout"}},
        "queues": {
            "kept": limit,
            "left": {**limit, "on_delete": "retain"},
            "dropped": {**limit, "on_delete": "discard"},
        },
        "policies": {"p": {"pattern": "x", "definition": {"max-length": 1}}},
        "operator_policies": {"o": {"pattern": "x", "definition": {"max-length": 1}}},
    }
    made = deploy(lambda: Topology("it", args(topology)))
    hooks = {one.name.removeprefix("it/v/"): one.hooks for one in made.of(POLICY)}
    hooks["o"] = made.one(OPERATOR_POLICY, "it/v/o").hooks
    after = {tuple(result.pop("after_create")) for result in hooks.values()}
    assert after == {("rabbit-topology:it:after-policy",)}
    assert {name: set(map(tuple, result.values())) for name, result in hooks.items()} == {
        name: {(f"rabbit-topology:it:{hook}",)}
        for name, hook in {
            "rabbit-topology-exchanges.e": "policy",
            f"{SETTINGS}kept": "policy",
            f"{SETTINGS}left": "retained-policy",
            f"{SETTINGS}dropped": "discarded-policy",
            "p": "policy",
            "o": "operator-policy",
        }.items()
    }
    assert {tuple(result) for result in hooks.values()} == {
        ("before_create", "before_update", "before_delete")
    }
