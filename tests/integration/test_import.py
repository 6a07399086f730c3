"""
Taking over what is on a broker already with `pulumi import`, and what the provider reads back.

Source: "Importing resources", Pulumi documentation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest

from rabbit_topology.deploy import inputs
from tests.support.stacks import Stack, connect, fill, held, management

MESSAGES = 3


def resource_id(stack: Stack, kind: str, given: Mapping[str, Any]) -> str:
    """Return the id that the provider gives a resource with these inputs."""
    if kind in ("vHost", "user"):
        return given["name"]
    vhost = given["vhost"]
    if kind != "binding":
        return f"{given.get('name') or given['user']}@{vhost}"
    route = inputs.route(given)
    end = "q" if route.kind == "queue" else "e"
    parts = (vhost, "e", route.source, end, route.destination)
    path = "/".join(quote(part, safe="") for part in parts[:2] + parts[2:])
    (key,) = (
        one["properties_key"]
        for one in management(stack.broker).get(f"/bindings/{path}")
        if (one["routing_key"], one["arguments"]) == (route.routing_key, route.arguments)
    )
    return f"{vhost}/{route.source}/{route.destination}/{route.kind}/{key}"


def take_over(stack: Stack, *flags: str) -> str:
    """Import all that the config names and the broker has; return what was printed."""
    file = stack.folder / "import.json"
    stack.preview("--import-file", str(file))
    wanted = json.loads(file.read_text())
    steps = {
        step["urn"].rpartition("::")[2] + step["urn"].rpartition(":")[0].rpartition("::")[2]: step
        for step in stack.plan()["steps"]
    }
    by_name = {
        (step["newState"]["type"], step["urn"].rpartition("::")[2]): step["newState"].get(
            "inputs", {}
        )
        for step in steps.values()
    }
    for resource in wanted["resources"]:
        if resource.get("component"):
            continue
        kind = inputs.kind(resource["type"])
        given = by_name[resource["type"], resource.get("logicalName") or resource["name"]]
        resource["id"] = resource_id(stack, kind, given)
    file.write_text(json.dumps(wanted))
    return stack.pulumi(
        *("import", "--file", str(file), "--generate-code=false", "--yes", "--skip-preview"),
        *("--stack", stack.name, *flags),
    ).text


def topology(vhost: str) -> dict[str, Any]:
    return {
        "vhost": vhost,
        "exchanges": {"e": {}, "h": {"type": "headers"}, "t": {"type": "topic", "durable": False}},
        "queues": {
            "plain": {},
            "classic": {"type": "classic"},
            "sorted": {"type": "classic", "max_priority": 5},
            "log": {"type": "stream"},
            "texts": {"type": "classic", "arguments": {"x-single": "1", "x-some.thing": "true"}},
        },
        "bindings": [
            {"source": "e", "queue": "plain", "routing_keys": ["a.b", "a/b", ""]},
            {"source": "e", "queue": "classic", "routing_key": "c"},
            {"source": "h", "queue": "plain", "arguments": {"x-match": "all", "kind": "order"}},
            {"source": "e", "exchange": "t", "routing_key": "#"},
            {"source": "t", "queue": "log", "routing_key": "x.*"},
        ],
        "policies": {
            "mine": {
                "pattern": "^foreign",
                "apply_to": "queues",
                "definition": {"max-length": 10, "overflow": "reject-publish"},
            }
        },
        "operator_policies": {"cap": {"pattern": "^foreign", "definition": {"max-length": 10}}},
        "users": {
            "guest": {
                "exists": True,
                "permissions": {"configure": ".*", "write": ".*", "read": ".*"},
            }
        },
    }


def declare(stack: Stack, wanted: Mapping[str, Any]) -> None:
    """Make on the broker what a config says, without the program."""
    api, vhost = management(stack.broker), wanted["vhost"]
    api.request("PUT", f"/vhosts/{vhost}")
    for name, exchange in wanted["exchanges"].items():
        body = {"type": exchange.get("type", "direct"), "durable": exchange.get("durable", True)}
        api.request("PUT", f"/exchanges/{vhost}/{name}", body)
    for name, queue in wanted["queues"].items():
        arguments = {"x-queue-type": queue.get("type", "quorum"), **queue.get("arguments", {})}
        if "max_priority" in queue:
            arguments["x-max-priority"] = queue["max_priority"]
        body = {"durable": True, "arguments": arguments}
        api.request("PUT", f"/queues/{vhost}/{name}", body)
    for binding in wanted["bindings"]:
        end, name = ("q", binding["queue"]) if "queue" in binding else ("e", binding["exchange"])
        for key in binding.get("routing_keys", [binding.get("routing_key", "")]):
            body = {"routing_key": key, "arguments": binding.get("arguments", {})}
            api.request("POST", f"/bindings/{vhost}/e/{binding['source']}/{end}/{name}", body)
    for kind, path in (("policies", "policies"), ("operator_policies", "operator-policies")):
        for name, policy in wanted.get(kind, {}).items():
            body = {key.replace("_", "-"): one for key, one in policy.items()}
            api.request("PUT", f"/{path}/{vhost}/{name}", body)
    for name, user in wanted.get("users", {}).items():
        api.request("PUT", f"/permissions/{vhost}/{name}", user["permissions"])


def hooks_in_state(stack: Stack) -> dict[str, Any]:
    """Return the names of the resources that are guarded when they are deleted, by kind."""
    state = json.loads(stack.pulumi("stack", "export", "--stack", stack.name).output)
    return {
        resource["urn"]: resource.get("resourceHooks", {})
        for resource in state["deployment"]["resources"]
        if resource["type"].startswith("rabbitmq:index")
    }


@pytest.mark.parametrize("flags", [(), ("--protect=false",)])
def test_what_was_imported_is_left_as_it_is_and_guarded_after_one_update(
    stack: Stack, vhost: str, flags: tuple[str, ...]
):
    wanted = topology(vhost)
    declare(stack, wanted)
    with connect(stack.broker, vhost) as connection:
        for queue in ("plain", "sorted"):
            fill(connection.channel(), queue, MESSAGES)
    before = held(stack.broker, vhost)
    stack.configure(wanted)
    take_over(stack, *flags)
    assert set(stack.plan()["changeSummary"]) == {"same"}
    for more in ((), ("--refresh",), ()):
        assert set(stack.up(*more).changes) == {"unchanged"}
    assert held(stack.broker, vhost) == before
    unguarded = [urn for urn, hooks in hooks_in_state(stack).items() if not hooks]
    assert unguarded == []

    without = {**wanted, "queues": {**wanted["queues"]}}
    for queue in ("plain", "sorted"):
        del without["queues"][queue]
    without["bindings"] = [
        binding for binding in wanted["bindings"] if binding.get("queue") != "plain"
    ]
    stack.configure(without)
    refused = stack.up(check=False)
    assert refused.status != 0
    assert f"holds {MESSAGES} ready" in refused.text
    assert held(stack.broker, vhost)["queues"] == before["queues"]
    assert stack.destroy(check=False).status != 0
    assert held(stack.broker, vhost)["queues"] == before["queues"]


CLASSIC = {"type": "classic", "max_priority": 3}


def imported(stack: Stack, vhost: str) -> dict[str, Any]:
    """Import a queue with messages, its binding and its vhost; return its config."""
    wanted = {
        "vhost": vhost,
        "exchanges": {"e": {}},
        "queues": {"q": CLASSIC},
        "bindings": [{"source": "e", "queue": "q", "routing_key": "k"}],
    }
    declare(stack, wanted)
    with connect(stack.broker, vhost) as connection:
        fill(connection.channel(), "q", MESSAGES)
    stack.configure(wanted)
    take_over(stack, "--protect=false")
    return wanted


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"queues": {}, "bindings": []}, "would be deleted"),
        ({"queues": {"q": {}}}, "would be replaced (x-max-priority: 3 -> none"),
        ({"queues": {"q": {"type": "classic"}}}, "would be replaced (x-max-priority: 3 -> none"),
        ({"vhost": "elsewhere"}, "would be deleted"),
    ],
)
def test_what_was_imported_may_stay_as_it_is_and_nothing_else(
    one_stack: Stack, vhost: str, change: dict[str, Any], text: str
):
    wanted = imported(one_stack, vhost)
    before = held(one_stack.broker, vhost)
    one_stack.configure({**wanted, **change}, safety={"preview": "error"})
    for refused in (one_stack.preview(check=False), one_stack.up(check=False)):
        assert refused.status != 0, refused.text
        assert f"queue q of vhost {vhost} {text}" in refused.text
        assert "it was imported, or what made it has failed" in refused.text
        assert "Traceback" not in refused.text
    assert held(one_stack.broker, vhost) == before
    with connect(one_stack.broker, vhost) as connection:
        state = connection.channel().queue_declare("q", passive=True)
    assert state.method.message_count == MESSAGES


def test_the_ways_on_from_an_import_work(one_stack: Stack, vhost: str):
    wanted = imported(one_stack, vhost)
    one_stack.up()
    one_stack.configure({**wanted, "queues": {"q": {}}})
    one_stack.up()
    with connect(one_stack.broker, vhost) as connection:
        state = connection.channel().queue_declare("q", passive=True)
    assert state.method.message_count == MESSAGES
    one_stack.up("--expect-no-changes")


def test_an_imported_queue_may_go_once_it_is_deleted_by_hand(one_stack: Stack, vhost: str):
    wanted = imported(one_stack, vhost)
    one_stack.configure({**wanted, "queues": {}, "bindings": []})
    assert one_stack.up(check=False).status != 0
    management(one_stack.broker).request("DELETE", f"/queues/{vhost}/q")
    one_stack.pulumi("refresh", "--yes", "--skip-preview", "--stack", one_stack.name)
    one_stack.up()
    assert held(one_stack.broker, vhost)["queues"] == {}


ODD = ["", "%", "#", "a.b", "a b", "__x", "__defaults", "snake_case", "camelCase", "ü", '"', "0"]


def test_arguments_arrive_exactly_as_they_are_written(stack: Stack, vhost: str):
    values = ["", "5", "true", "null", "a,b", "é☃", '{"a": 1}', "9007199254740993"]
    texts = {f"{key}": "v" for key in ODD if key}
    wanted = {
        "vhost": vhost,
        "exchanges": {"h": {"type": "headers"}},
        "queues": {
            "q": {"type": "classic", "arguments": {f"x-{n}": one for n, one in enumerate(values)}},
            "k": {"type": "classic", "arguments": texts},
        },
        "bindings": [
            {"source": "h", "queue": "q", "arguments": {"x-match": "all", "key": value}}
            for value in values
        ]
        + [{"source": "h", "queue": "k", "arguments": {"x-match": "any", key: "v"}} for key in ODD],
    }
    stack.configure(wanted)
    stack.up()
    result = held(stack.broker, vhost)
    for name, queue in wanted["queues"].items():
        expected = {"x-queue-type": "classic", **queue["arguments"]}
        assert json.loads(result["queues"][name]["arguments"]) == expected
    assert sorted(binding["arguments"] for binding in result["bindings"]) == sorted(
        json.dumps(binding["arguments"], sort_keys=True) for binding in wanted["bindings"]
    )
    for flags in ((), ("--refresh",)):
        assert set(stack.up(*flags).changes) == {"unchanged"}
