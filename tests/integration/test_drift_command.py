"""
`drift` on real brokers: a stack that is deployed has none, and what is changed by hand is named.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from rabbit_topology.broker.management import Management
from rabbit_topology.commands.app import app
from tests.integration.test_adopt import command
from tests.support.stacks import Stack, management

SEED = "a seed that is long enough"


def topology(vhost: str) -> dict[str, Any]:
    return {
        "vhost": vhost,
        "exchanges": {"orders": {"type": "topic", "unroutable": True}, "plain": {}},
        "queues": {
            "orders": {"retry": {"delays": ["5s"]}},
            "jobs": {"type": "classic", "max_priority": 4, "max_length": 100},
            "log": {"type": "stream", "max_age": "1d"},
            "untyped": {"type": "classic", "typed": False},
        },
        "bindings": [
            {"source": "orders", "queue": "orders", "routing_keys": ["order.*", ""]},
            {"source": "plain", "exchange": "orders", "routing_key": "x"},
        ],
        "policies": {"ttl": {"pattern": "^untyped$", "definition": {"message-ttl": 60000}}},
        "operator_policies": {"cap": {"pattern": "^j", "definition": {"max-length": 9000}}},
        "services": {
            "billing": {"consumes": ["orders"]},
            "web": {"publishes": [{"exchange": "orders", "routing_key": "order.*"}]},
        },
        "users": {
            f"{vhost}-watcher": {"tags": ["monitoring"], "permissions": {"read": ".*"}},
        },
    }


@pytest.fixture
def deployed(stack: Stack, vhost: str) -> Stack:
    stack.configure(topology(vhost), seed=SEED)
    stack.up()
    return stack


def drift(stack: Stack, *arguments: str, status: int) -> dict[str, Any]:
    """Return what `drift` says as JSON; it ends with this status."""
    ended = command(stack, "drift", "--format", "json", *arguments)
    assert ended.returncode == status, ended.stdout + ended.stderr
    said: dict[str, Any] = json.loads(ended.stdout)
    return said


def by_object(said: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{one['state']} {one['object']}": one for one in said["drifts"]}


def fields(one: dict[str, Any]) -> dict[str, str]:
    return {each["field"]: each["change"] for each in one["differences"]}


def do_by_hand(api: Management, vhost: str) -> None:
    """Change what somebody may change with the management UI."""

    def put(path: str, body: dict[str, Any]) -> None:
        api.request("PUT", path, body)

    put(f"/vhosts/{vhost}", {"description": "by hand", "tags": "prod"})
    put(f"/vhost-limits/{vhost}/max-queues", {"value": 90})
    put(f"/users/{vhost}-watcher", {"password": "guessed", "tags": "administrator"})
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    put(f"/permissions/{vhost}/{vhost}.billing", everything)
    api.request("DELETE", f"/queues/{vhost}/log")
    api.request("DELETE", f"/queues/{vhost}/jobs")
    put(f"/queues/{vhost}/jobs", {"durable": True, "arguments": {"x-queue-type": "quorum"}})
    put(f"/queues/{vhost}/tmp", {"durable": True, "arguments": {"x-queue-type": "classic"}})
    put(f"/exchanges/{vhost}/side", {"type": "fanout", "durable": True})
    api.request("POST", f"/bindings/{vhost}/e/orders/q/tmp", {"routing_key": "order.new"})
    put(
        f"/policies/{vhost}/by-hand",
        {
            "pattern": "^orders$",
            "apply-to": "queues",
            "priority": 900,
            "definition": {"max-length": 7},
        },
    )


def test_a_stack_that_is_deployed_has_no_drift(deployed):
    said = drift(deployed, status=0)
    assert said["drifts"] == []
    assert said["equal"] > 25
    assert said["unchecked"] == []  # the seed is in plain text
    assert said["version"] == management(deployed.broker).stated_version()


def test_what_is_changed_by_hand_is_named_and_what_is_said_to_mend_it_does(deployed, vhost):
    do_by_hand(management(deployed.broker), vhost)
    said = by_object(drift(deployed, status=2))
    assert set(said) == {
        f"changed vhost {vhost}",
        f"changed user {vhost}-watcher",
        f"changed permissions {vhost}.billing",
        "changed queue jobs",
        "overruled queue orders",
        "missing queue log",
        "unmanaged queue tmp",
        "unmanaged exchange side",
        "unmanaged policy by-hand",
        "unmanaged binding orders -[order.new]-> tmp",
    }
    assert fields(said[f"changed vhost {vhost}"]) == {
        "description": '"by hand" -> none',
        "tags": '["prod"] -> none',
        "max-queues": "90 -> none",
    }
    assert fields(said[f"changed user {vhost}-watcher"]).keys() == {"tags", "password"}
    assert fields(said["changed queue jobs"])["x-queue-type"] == '"quorum" -> "classic"'
    overruled = fields(said["overruled queue orders"])
    assert overruled["max-length"] == "7 -> none"
    assert overruled["by"] == "policy by-hand"

    api = management(deployed.broker)
    for path in ("queues/{}/tmp", "exchanges/{}/side", "policies/{}/by-hand"):
        api.request("DELETE", f"/{path.format(vhost)}")
    deployed.up("--refresh")
    rest = by_object(drift(deployed, status=2))
    assert f"changed vhost {vhost}" in rest
    for mend in rest[f"changed vhost {vhost}"]["mends"]:
        if mend["action"] == "remake":
            run(deployed, mend["do"])
    assert drift(deployed, status=0)["drifts"] == []


def run(stack: Stack, mend: str) -> None:
    """Run a command that is proposed, with the password that it asks for."""
    words = shlex.split(mend)
    assert words[:2] == ["curl", "-u"]
    credentials = f"{stack.broker.username}:{stack.broker.password}"
    subprocess.run(["curl", "-sS", "--fail", "-u", credentials, *words[3:]], check=True)


def test_what_is_ignored_with_a_reason_is_no_drift(deployed, vhost):
    api = management(deployed.broker)
    api.request("PUT", f"/queues/{vhost}/tmp", {"durable": True})
    assert set(by_object(drift(deployed, status=2))) == {"unmanaged queue tmp"}
    ignore = deployed.folder / "ignore.yaml"
    ignore.write_text("ignore: [{object: queue tmp*, reason: a trial}]")
    assert drift(deployed, "--ignore", "ignore.yaml", status=0)["counts"]["ignored"] == 1


def test_what_would_declare_it_is_adopted_without_a_change(deployed, vhost):
    api = management(deployed.broker)
    arguments = {"x-queue-type": "stream", "x-max-age": "1h"}
    api.request("PUT", f"/queues/{vhost}/tmp", {"durable": True, "arguments": arguments})
    (one,) = drift(deployed, status=2)["drifts"]
    (adopt,) = (mend["do"] for mend in one["mends"] if mend["action"] == "adopt")
    where, _, value = adopt.partition(": ")
    assert where == "topology.queues.tmp"
    whole = topology(vhost)
    whole["queues"]["tmp"] = yaml.safe_load(value)
    deployed.configure(whole, seed=SEED)
    assert drift(deployed, status=0)["drifts"] == []
    assert "refused" not in deployed.up().text


def test_an_export_says_the_same_as_the_broker(deployed, vhost):
    do_by_hand(management(deployed.broker), vhost)
    export = deployed.folder / "export.json"
    export.write_text(json.dumps(management(deployed.broker).get("/definitions")))
    live = drift(deployed, status=2)["drifts"]
    of_file = drift(deployed, "--definitions", str(export), status=2)["drifts"]
    without = [{key: one[key] for key in ("state", "object", "differences")} for one in live]
    assert without == [
        {key: one[key] for key in ("state", "object", "differences")} for one in of_file
    ]


def test_one_request_is_enough_where_nothing_has_changed(deployed, vhost, monkeypatch):
    monkeypatch.chdir(deployed.folder)
    asked: list[str] = []
    send = Management._send

    def sending(api: Management, method: str, path: str, body: object) -> Any:
        asked.append(path)
        return send(api, method, path, body)

    def run_here() -> tuple[int, int]:
        """Return the exit status, and how many requests it took."""
        asked.clear()
        with monkeypatch.context() as patched:
            patched.setattr(Management, "_send", sending)
            ended = CliRunner().invoke(app, ["drift", "--since", "last.json"])
        return ended.exit_code, len(asked)

    api = management(deployed.broker)
    newest = api.version >= (4, 3, 5)
    assert run_here() == (0, 2)
    assert (deployed.folder / "last.json").exists() == newest
    assert run_here() == (0, 1 if newest else 2)
    api.request("PUT", f"/queues/{vhost}/tmp", {"durable": True})
    assert run_here() == (2, 2)
    assert run_here() == (2, 1 if newest else 2)
