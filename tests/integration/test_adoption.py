"""
What a broker has already: adopted where it is as declared, refused where it differs.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_everything import SEED, everything
from tests.support.stacks import Stack, definitions, management
from toolchain.broker import Broker


@pytest.fixture
def others(stack: Stack, tmp_path: Path, vhost: str) -> tuple[Stack, Stack, dict[str, Any]]:
    """Another stack that has made everything, one that has made nothing yet, and their config."""
    first = Stack(tmp_path / "first", stack.env, stack.broker)
    topology = everything(vhost, stack.broker.hosts[0])
    for one in (first, stack):
        one.configure(topology, seed=SEED)
    first.up()
    return first, stack, topology


def without_salt(broker: Broker) -> dict[str, list[str]]:
    """Return all that a broker holds: the same password, written again, has another salt."""
    whole = definitions(broker)
    whole["users"] = [re.sub(r'"password_hash": "[^"]*"', "", user) for user in whole["users"]]
    return whole


def test_what_is_there_as_declared_is_adopted_and_left_as_it_is(
    others: tuple[Stack, Stack, dict[str, Any]], vhost: str
) -> None:
    first, stack, _ = others
    before = without_salt(stack.broker)
    assert "objects, which are there as they are declared" in stack.preview().text
    result = stack.up()
    assert "objects, which are there as they are declared" in result.text
    assert without_salt(stack.broker) == before
    again = stack.up("--expect-no-changes", "--refresh")
    assert "adopts" not in again.text
    # Both have it now: what one gives up, the other makes anew.
    stack.destroy()
    if stack.broker.version.startswith("4.0"):  # where the refresh fails, as the warning says
        management(stack.broker).request("PUT", f"/vhosts/{vhost}", {})
    first.up("--refresh")
    assert without_salt(stack.broker) == before
    first.destroy()


def change_by_hand(stack: Stack, vhost: str) -> dict[str, str]:
    """Change one object of every kind; return by its title what a refusal says of it."""
    api = management(stack.broker)

    def put(path: str, body: dict[str, Any]) -> None:
        api.request("PUT", path, body)

    put(f"/users/{vhost}-ops", {"password": "another", "tags": "management"})
    put(f"/permissions/{vhost}/{vhost}-ops", {"configure": "", "write": "", "read": "^a"})
    topics = {"exchange": "orders", "write": "", "read": "^b"}
    put(f"/topic-permissions/{vhost}/{vhost}-ops", topics)
    foreign = api.get(f"/policies/{vhost}/foreign")
    put(f"/policies/{vhost}/foreign", {**foreign, "definition": {"max-length": 8}})
    cap = api.get(f"/operator-policies/{vhost}/cap")
    put(f"/operator-policies/{vhost}/cap", {**cap, "definition": {"max-length": 800}})
    for component, name in (("shovel", "mover"), ("federation-upstream", "far")):
        value = api.get(f"/parameters/{component}/{vhost}/{name}")["value"]
        changed = {"value": {**value, "reconnect-delay": 77}}
        put(f"/parameters/{component}/{vhost}/{name}", changed)
    put(f"/vhosts/{vhost}", {"description": "of others"})
    put(f"/vhost-limits/{vhost}/max-connections", {"value": 500})
    api.request("DELETE", f"/exchanges/{vhost}/rpc")
    put(f"/exchanges/{vhost}/rpc", {"type": "topic", "durable": True})
    api.request("DELETE", f"/queues/{vhost}/sorted")
    arguments = {"x-queue-type": "classic", "x-max-priority": 3}
    put(f"/queues/{vhost}/sorted", {"durable": True, "arguments": arguments})
    return {
        f"user {vhost}-ops": 'tags: ["management"] -> ["monitoring"], password: another',
        f"permissions {vhost}-ops": 'read: "^a" -> ".*"',
        f"topic permissions {vhost}-ops": 'read: "^b" -> "^order"',
        "policy foreign": "max-length: 8 -> 7",
        "operator policy cap": "max-length: 800 -> 700",
        "shovel mover": "reconnect-delay: 77 -> ",
        "federation upstream far": "reconnect-delay: 77 -> 5",
        f"vhost {vhost}": 'description: "of others" -> none, max-connections: 500 -> none',
        "exchange rpc": 'type: "topic" -> "direct"',
        "queue sorted": "x-max-priority: 3 -> 5",
    }


def test_what_differs_is_refused_by_name_before_anything_is_written(
    others: tuple[Stack, Stack, dict[str, Any]], vhost: str
) -> None:
    _, stack, topology = others
    said = change_by_hand(stack, vhost)
    before = definitions(stack.broker)
    preview = stack.preview()
    refused = stack.up(check=False)
    assert refused.status
    for text in (preview.text, refused.text):
        lines = {line.strip() for line in text.splitlines() if line.strip().startswith("- ")}
        for title, difference in said.items():
            assert any(line.startswith(f"- {title}") and difference in line for line in lines), (
                title,
                text,
            )
        assert len(lines) == len(said), text
        assert "another" not in text.replace("password: another", "")
    assert "Traceback" not in refused.text
    assert definitions(stack.broker) == before

    stack.configure(topology, seed=SEED, safety={"preview": "error"})
    assert stack.preview(check=False).status


def test_what_is_said_to_be_taken_over_is_overwritten(
    others: tuple[Stack, Stack, dict[str, Any]], vhost: str
) -> None:
    first, stack, topology = others
    said = change_by_hand(stack, vhost)
    allowed = [{"object": title, "reason": "it was ours before"} for title in said]
    stack.configure(topology, seed=SEED, safety={"take_over": allowed})
    refused = stack.up(check=False)
    assert refused.status
    assert "queue sorted" in refused.text
    assert "takes over policy foreign" in refused.text
    api = management(stack.broker)
    assert api.get(f"/policies/{vhost}/foreign")["definition"] == {"max-length": 8}

    # As its text says: a queue or exchange is declared as it is.
    topology["exchanges"]["rpc"] = {"type": "topic"}
    topology["queues"]["sorted"] = {"type": "classic", "max_priority": 3}
    stack.configure(topology, seed=SEED, safety={"take_over": allowed})
    stack.up()
    assert api.get(f"/policies/{vhost}/foreign")["definition"]["max-length"] == 7
    assert api.get(f"/vhosts/{vhost}").get("description", "") == ""
    # What is the stack's own by now needs nobody's leave.
    stack.configure(topology, seed=SEED)
    stack.up("--expect-no-changes")
    stack.destroy()
    first.pulumi("stack", "rm", "--yes", "--force", "--stack", first.name)


def test_nothing_is_looked_at_where_all_is_the_stacks_own(stack: Stack, vhost: str) -> None:
    stack.configure({"vhost": vhost, "queues": {"q": {}}})
    stack.up()
    management(stack.broker).request("PUT", f"/vhosts/{vhost}", {"description": "by hand"})
    result = stack.up("--expect-no-changes")
    assert "refused" not in result.text


def test_a_vhost_of_the_stack_that_is_not_there_is_named(stack: Stack, vhost: str) -> None:
    stack.configure({"vhost": vhost, "queues": {"q": {}}})
    stack.up()
    management(stack.broker).request("DELETE", f"/vhosts/{vhost}")
    for text in (stack.preview().text, stack.up().text):
        assert f"has made the vhost {vhost}, and the broker does not have it" in text
    stack.up("--refresh")
    assert "does not have it" not in stack.up("--expect-no-changes").text
