"""
Replacements that nothing in the config asks for: forced by a flag, or by a mark in the state.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from rabbit_topology.deploy import inputs
from tests.integration.test_everything import everything
from tests.support.stacks import Stack, connect, drain, fill, management, untouched

SEED = "a seed of the tests"
MESSAGES = 5


def urns(stack: Stack, kind: str) -> list[str]:
    """Return the URNs of a kind's resources, shortest first: what patterns make is last."""
    state = json.loads(stack.pulumi("stack", "export", "--stack", stack.name).output)
    all_of_them = [
        resource for resource in state["deployment"]["resources"] if "rabbitmq:" in resource["type"]
    ]
    marked = [
        one["urn"] for one in all_of_them if one.get("delete") or one.get("pendingReplacement")
    ]
    assert not marked, f"the state is left half-way: {marked}"
    own = [one["urn"] for one in all_of_them if "rabbitmq:index" in one["urn"].split("::")[2]]
    return sorted(
        (one for one in own if inputs.kind(one.split("::")[2].split("$")[-1]) == kind), key=len
    )


def the_urn(stack: Stack, kind: str, name: str) -> str:
    (only,) = (urn for urn in urns(stack, kind) if urn.endswith(name))
    return only


def small(vhost: str, kind: str = "quorum") -> dict[str, Any]:
    return {
        "vhost": vhost,
        "exchanges": {"e": {}},
        "queues": {"q": {"type": kind}, "other": {"type": "classic"}},
        "bindings": [
            {"source": "e", "queue": "q", "routing_key": "q"},
            {"source": "e", "queue": "other", "routing_key": "other"},
        ],
    }


def state_of(stack: Stack, vhost: str) -> dict[str, list[str]]:
    """Return all that the broker has of a vhost and its users, in one order.

    But for password hashes, which are salted anew each time.
    """
    api = management(stack.broker)
    result = {
        kind: entries
        for kind, entries in api.get(f"/definitions/{vhost}").items()
        if isinstance(entries, list)
    }
    result |= {
        kind: api.get(f"/vhosts/{vhost}/{kind}") for kind in ("permissions", "topic-permissions")
    }
    result["users"] = [
        {key: user[key] for key in ("name", "tags")}
        for user in api.get("/users")
        if user["name"].startswith(vhost)
    ]
    assert result["queues"]
    return {
        kind: sorted(json.dumps(entry, sort_keys=True) for entry in entries)
        for kind, entries in result.items()
    }


CHOSEN = [
    ("exchange", "/rpc", "/clicks"),
    ("queue", "/plain", "/orders"),
    ("binding", "rpc/queue/sorted/p", "fan/queue/log/"),
    ("policy", "foreign", "/rabbit-topology-queues.plain"),
    ("operatorPolicy", "cap", "cap"),
    ("user", "service/worker", "-ops"),
    ("permissions", "service/worker", "-ops"),
    ("topicPermissions", "service/gateway", "-ops"),
    ("shovel", "mover", "mover"),
    ("federationUpstream", "far", "far"),
]
"""Of each kind one to replace with a flag, and one to taint. Exchanges that queues in use
dead-letter to are none of them: they are not replaced."""


def test_whatever_is_forced_to_be_replaced_is_there_afterwards(one_stack: Stack, vhost: str):
    stack = one_stack
    topology = everything(vhost, stack.broker.hosts[0])
    stack.configure(topology, seed=SEED)
    stack.up()
    with connect(stack.broker, vhost) as connection:
        fill(connection.channel(), "plain", MESSAGES)
        fill(connection.channel(), "orders", MESSAGES)
    before = state_of(stack, vhost)
    for kind, name, _ in CHOSEN:
        urn = the_urn(stack, kind, name)
        replaced = stack.up("--replace", urn)
        assert replaced.changes["replaced"] >= 1, replaced.text
        assert state_of(stack, vhost) == before, urn
        assert set(stack.up().changes) == {"unchanged"}, urn
    for kind, _, name in CHOSEN:
        stack.pulumi("state", "taint", the_urn(stack, kind, name), "--yes", "--stack", stack.name)
    tainted = stack.up()
    assert tainted.changes["replaced"] >= len(CHOSEN), tainted.text
    assert state_of(stack, vhost) == before
    assert set(stack.up("--refresh").changes) == {"unchanged"}
    with connect(stack.broker, vhost) as connection:
        for queue in ("plain", "orders"):
            assert [one[0] for one in drain(connection.channel(), queue)] == list(range(MESSAGES))


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_queue_that_is_forced_to_be_replaced_is_handed_over(stack: Stack, vhost: str, kind: str):
    stack.configure(small(vhost, kind))
    stack.up()
    with connect(stack.broker, vhost) as connection:
        fill(connection.channel(), "q", MESSAGES)
    urn = the_urn(stack, "queue", "/q")
    before = state_of(stack, vhost)
    seen = stack.preview("--replace", urn)
    assert "queue q is replaced (declared as before, since that is asked for)" in seen.text
    assert f"kept through it: {MESSAGES} ready" in seen.text
    for flags in (["--replace", urn], ["--target-replace", urn, "--target-dependents"]):
        replaced = stack.up(*flags)
        assert "destroyed" not in replaced.text
        assert "earlier run" not in replaced.text
        assert state_of(stack, vhost) == before
        assert set(stack.up().changes) == {"unchanged"}
    with connect(stack.broker, vhost) as connection:
        assert [one[0] for one in drain(connection.channel(), "q")] == list(range(MESSAGES))


def test_a_target_that_is_replaced_alone_keeps_its_bindings(one_stack: Stack, vhost: str):
    one_stack.configure(small(vhost))
    one_stack.up()
    before = state_of(one_stack, vhost)
    for kind in ("queue", "exchange"):
        one_stack.up("--target-replace", urns(one_stack, kind)[0], check=False)
        one_stack.up()
        assert state_of(one_stack, vhost) == before
        assert set(one_stack.up().changes) == {"unchanged"}


def test_a_vhost_in_use_is_not_replaced_and_nothing_in_it_is_touched(stack: Stack, vhost: str):
    topology = everything(vhost, stack.broker.hosts[0])
    stack.configure(topology, seed=SEED)
    stack.up()
    with connect(stack.broker, vhost) as connection:
        connection.channel().queue_declare("theirs", durable=True)
        fill(connection.channel(), "theirs", MESSAGES)
        (urn,) = urns(stack, "vHost")
        before = state_of(stack, vhost)
        said = f"vhost {vhost} is replaced, which deletes everything in it first"
        seen = stack.preview("--replace", urn)
        assert said in seen.text
        assert f"queue theirs holds {MESSAGES} ready" in seen.text
        assert seen.text.count(said) == 2  # as it happens, and among the diagnostics at the end
        stack.configure(topology, seed=SEED, safety={"preview": "error"})
        assert stack.preview("--replace", urn, check=False).status != 0
        stack.configure(topology, seed=SEED)
        refused = stack.up("--replace", urn, check=False)
        assert refused.status != 0
        assert said in refused.text
        assert "without `--replace`" in refused.text
        assert "destroyed" not in refused.text
        assert state_of(stack, vhost) == before
        assert set(stack.up().changes) == {"unchanged"}
        assert drain(connection.channel(), "theirs") == untouched(MESSAGES)


def test_a_vhost_with_nothing_in_use_is_replaced(stack: Stack, vhost: str):
    topology = everything(vhost, stack.broker.hosts[0])
    del topology["shovels"]  # which consumes a queue
    stack.configure(topology, seed=SEED)
    stack.up()
    (urn,) = urns(stack, "vHost")
    before = state_of(stack, vhost)
    assert "refuse" not in stack.preview("--replace", urn).text
    replaced = stack.up("--replace", urn)
    assert replaced.changes["replaced"] > len(topology["queues"]), replaced.text
    assert "stand-in" not in replaced.text
    assert state_of(stack, vhost) == before
    assert set(stack.up("--refresh").changes) == {"unchanged"}


@pytest.mark.parametrize("forced", [False, True])
def test_a_refusal_leaves_the_state_as_it_was(stack: Stack, vhost: str, forced: bool):
    old, new = small(vhost, "stream"), small(vhost, "quorum")
    stack.configure(old)
    stack.up()
    with connect(stack.broker, vhost) as connection:
        fill(connection.channel(), "q", MESSAGES)
    flags = []
    if forced:
        urn = the_urn(stack, "queue", "/q")
        flags = ["--replace", urn]
    before = state_of(stack, vhost)
    stack.configure(old if forced else new)
    assert "stream q holds messages" in stack.preview(*flags).text
    for _ in range(2):
        refused = stack.up(*flags, check=False)
        assert refused.status != 0
        assert "stream q holds messages" in refused.text
        assert state_of(stack, vhost) == before
    stack.configure(old)
    assert set(stack.up().changes) == {"unchanged"}
    assert state_of(stack, vhost) == before


def test_what_was_refused_is_done_once_it_can_be(one_stack: Stack, vhost: str):
    stack, topology = one_stack, small(vhost)
    stack.configure(topology)
    stack.up()
    (urn,) = urns(stack, "vHost")
    with connect(stack.broker, vhost) as connection:
        fill(connection.channel(), "q", MESSAGES)
        before = state_of(stack, vhost)
        stack.pulumi("state", "taint", urn, "--yes", "--stack", stack.name)
        assert stack.up(check=False).status != 0
        assert state_of(stack, vhost) == before
        connection.channel().queue_purge("q")
    assert stack.up().changes["replaced"] > 1
    assert state_of(stack, vhost) == before
    assert set(stack.up().changes) == {"unchanged"}


def test_what_stays_in_the_config_under_another_resource_is_not_deleted(
    one_stack: Stack, vhost: str
):
    stack = one_stack
    topology = {**small(vhost), "services": {"old": {"consumes": ["q"], "username": f"{vhost}-u"}}}
    stack.configure(topology, seed=SEED)
    stack.up()
    before = state_of(stack, vhost)
    # Another logical name for the same user and permissions.
    topology["services"] = {"new": topology["services"]["old"]}
    stack.configure(topology, seed=SEED)
    assert "is in the config as another resource" in stack.preview().text
    refused = stack.up(check=False)
    assert refused.status != 0
    assert "is in the config as another resource" in refused.text
    assert "destroyed" not in refused.text
    assert state_of(stack, vhost) == before
    old = the_urn(stack, "user", "service/old")
    stack.pulumi("state", "delete", "--target-dependents", old, "--yes", "--stack", stack.name)
    stack.up()
    stack.up()
    assert set(stack.up("--refresh").changes) == {"unchanged"}
    assert state_of(stack, vhost) == before
