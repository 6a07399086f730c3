"""
Several vhosts in one stack, and the way from one to several.
"""

from __future__ import annotations

import subprocess
import sys

from tests.integration.stacks import Stack, connect, fill, management
from tests.safety import settled

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
