"""
Several vhosts in one stack, and the way from one to several.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.integration.stacks import Stack, connect, fill, held, management
from tests.safety import settled
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
    assert {it["vhost"]: it["read"] for it in permissions} == {vhost: ".*", second: "^$"}
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
    assert second not in {it["name"] for it in management(stack.broker).get("/vhosts")}


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
