"""
Several vhosts in one stack, and the way from one to several.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.safety import settled
from tests.support.stacks import Stack, connect, fill, held, management
from toolchain.broker import Broker

SEED = "a seed of the tests"


def test_one_vhost_becomes_two_and_one_again(one_stack: Stack, vhost: str):
    stack, second = one_stack, f"{vhost}-second"
    inside = {
        "exchanges": {"e": {}},
        "queues": {"q": {}},
        "bindings": [{"source": "e", "queue": "q", "routing_key": "k"}],
        "services": {"worker": {"consumes": ["q"]}},
    }
    stack.configure({"vhost": vhost, **inside}, seed=SEED)
    stack.up()

    user = f"{vhost}-ops"
    both = {
        "vhosts": {
            vhost: {**inside, "users": {user: {"permissions": {"read": ".*"}}}},
            second: {**inside, "users": {user: {"exists": True, "permissions": {}}}},
        }
    }
    stack.configure(both, seed=SEED)
    changed = stack.up()
    assert "deleted" not in changed.changes, changed.text
    assert "replaced" not in changed.changes, changed.text
    assert set(stack.up("--expect-no-changes", "--refresh").changes) == {"unchanged"}
    for name in (vhost, second):
        settled.check_broker(stack.broker, {"vhost": name, **inside})
    permissions = management(stack.broker).get(f"/users/{user}/permissions")
    assert {permission["vhost"]: permission["read"] for permission in permissions} == {
        vhost: ".*",
        second: "^$",
    }
    proven = subprocess.run(
        [sys.executable, "-m", "rabbit_topology", "prove", "--stack", stack.name],
        cwd=stack.folder,
        env=stack.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 of 2 bindings deliver" in proven.stdout, proven.stderr
    assert f"delivered  vhost {second}: e -[k]-> queue q" in proven.stdout

    with connect(stack.broker, second) as connection:
        fill(connection.channel(), "q", 3)
    stack.configure({"vhost": vhost, **inside}, seed=SEED)
    refused = stack.up(check=False)
    assert refused.status != 0
    assert "queue q holds 3 ready" in refused.text
    settled.check_broker(stack.broker, {"vhost": second, **inside})
    with connect(stack.broker, second) as connection:
        connection.channel().queue_purge("q")
    stack.up()
    assert second not in {one["name"] for one in management(stack.broker).get("/vhosts")}


@pytest.mark.parametrize("way", ["destroyed", "removed"])
def test_a_vhost_that_is_protected_from_deletion_keeps_all_that_is_in_it(
    tmp_path: Path,
    engine_env: dict[str, str],
    start_broker: Callable[[str], Broker],
    vhost: str,
    way: str,
) -> None:
    stack, second = Stack(tmp_path, engine_env, start_broker("newest")), f"{vhost}-second"
    inside = {"queues": {"q": {}}, "services": {"worker": {"consumes": ["q"]}}}
    one = {"queues": {"q": {}}}
    both = {"vhosts": {vhost: one, second: inside}}
    stack.configure(both, seed=SEED)
    stack.up()
    api, before = management(stack.broker), held(stack.broker, second)
    api.request("POST", f"/vhosts/{second}/deletion/protection", {})
    stack.configure(
        both if way == "destroyed" else {"vhost": vhost, "queues": {"q": {}}}, seed=SEED
    )
    go = partial(stack.destroy if way == "destroyed" else stack.up, check=False)
    refused = go()
    assert refused.status
    assert f"rabbitmqctl disable_vhost_deletion_protection {second}" in refused.text
    assert "deleted" not in refused.changes, refused.text
    assert held(stack.broker, second) == before

    api.request("DELETE", f"/vhosts/{second}/deletion/protection")
    ended = go()
    assert not ended.status, ended.text
    assert second not in {one["name"] for one in api.get("/vhosts")}


# What others have in a vhost.


def others_make(stack: Stack, vhost: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return by its title one object of every kind, and how it is made."""
    user = f"{vhost}-guest"
    management(stack.broker).request("PUT", f"/users/{user}", {"password": "x", "tags": ""})
    nowhere = "amqp://127.0.0.1:1"  # a shovel that connects would declare its queues
    uri = {"src-uri": nowhere, "dest-uri": nowhere, "src-queue": "a", "dest-queue": "b"}
    nothing = {"configure": "", "write": "", "read": ""}
    rule = {"pattern": "^theirs", "definition": {"max-length": 3}}
    return {
        "queue theirs": (f"/queues/{vhost}/theirs", {"durable": True}),
        "exchange theirs": (f"/exchanges/{vhost}/theirs", {"type": "topic", "durable": True}),
        "policy theirs": (f"/policies/{vhost}/theirs", rule),
        "operator policy theirs": (f"/operator-policies/{vhost}/theirs", rule),
        "shovel theirs": (f"/parameters/shovel/{vhost}/theirs", {"value": uri}),
        "federation upstream theirs": (
            f"/parameters/federation-upstream/{vhost}/theirs",
            {"value": {"uri": "amqp://"}},
        ),
        "federation-upstream-set theirs": (
            f"/parameters/federation-upstream-set/{vhost}/theirs",
            {"value": [{"upstream": "mine"}]},
        ),
        f"permissions {user}": (f"/permissions/{vhost}/{user}", nothing),
        f"topic permissions {user}": (
            f"/topic-permissions/{vhost}/{user}",
            {"exchange": "e", "write": "", "read": ""},
        ),
    }


@pytest.mark.parametrize("way", ["destroyed", "removed"])
def test_a_vhost_does_not_go_with_anything_that_others_have_in_it(
    stack: Stack, vhost: str, way: str
) -> None:
    second = f"{vhost}-second"
    inside = {
        "exchanges": {"e": {}},
        "queues": {"q": {"max_length": 5}},
        "bindings": [{"source": "e", "queue": "q"}],
        "policies": {"mine": {"pattern": "^x", "definition": {"max-length": 3}}},
        "services": {"worker": {"consumes": ["q"]}},
        "federation_upstreams": {"mine": {"uri": "amqp://"}},
    }
    both = {"vhosts": {vhost: {"queues": {"q": {}}}, second: inside}}
    stack.configure(both, seed=SEED)
    stack.up()
    api, theirs = management(stack.broker), others_make(stack, second)
    for path, body in theirs.values():
        api.request("PUT", path, body)
    before = held(stack.broker, second)
    alone = {"vhosts": {vhost: {"queues": {"q": {}}}}}
    stack.configure(both if way == "destroyed" else alone, seed=SEED)
    go = partial(stack.destroy if way == "destroyed" else stack.up, check=False)
    refused = go()
    assert refused.status
    named = refused.text.rpartition("does not manage:")[2].partition("Either delete")[0]
    assert {*re.findall(r"^ +- (.+)$", named, re.MULTILINE)} == {*theirs}
    assert "deleted" not in refused.changes, refused.text
    assert held(stack.broker, second) == before
    for path, _ in theirs.values():
        api.request("DELETE", path)
    ended = go()
    assert not ended.status, ended.text
    assert second not in {one["name"] for one in api.get("/vhosts")}


@pytest.mark.parametrize("way", ["destroyed", "removed"])
def test_a_vhost_that_two_stacks_share_stays_where_one_says_so(
    tmp_path: Path, engine_env: dict[str, str], one_stack: Stack, vhost: str, way: str
) -> None:
    first = one_stack
    theirs = {"vhost": vhost, "exchanges": {"orders": {}}, "queues": {"orders": {}}}
    first.configure(theirs)
    first.up()
    second = Stack(tmp_path / "second", engine_env, first.broker)
    mine = {"exchanges": {"audit": {}}, "queues": {"audit": {}}}
    elsewhere = {f"{vhost}-b": {"queues": {"q": {}}}}
    second.configure({"vhosts": {vhost: mine, **elsewhere}})
    second.up()
    refused = second.destroy(check=False)
    assert refused.status
    assert "exchange orders" in refused.text
    assert "queue orders" in refused.text
    assert "`on_delete: retain`" in refused.text
    assert "deleted" not in refused.changes
    retained = {**mine, "vhost_settings": {"on_delete": "retain"}}
    second.configure({"vhosts": {vhost: retained, **elsewhere}})
    second.up()
    if way == "destroyed":
        second.destroy()
    else:
        second.configure({"vhosts": elsewhere})
        second.preview("--diff")
        second.up()
    settled.check_broker(first.broker, theirs)
    first.up("--expect-no-changes", "--refresh")
    first.destroy()
    assert vhost not in {one["name"] for one in management(first.broker).get("/vhosts")}
