"""
A Terraform state of the `rabbitmq` provider, as definitions.

Of `terraform show -json`, or the state file itself. Source: "JSON Output Format", Terraform
documentation; the `rabbitmq` provider's documentation.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rabbit_topology.model import DEFAULT_VHOST

_PREFIX = "rabbitmq_"


def looks_right(held: object) -> bool:
    """Return whether a document is a Terraform state."""
    return isinstance(held, dict) and (
        "terraform_version" in held and ("values" in held or "resources" in held)
    )


def as_definitions(held: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the provider's resources in a state are, as a definitions file has it."""
    lists: dict[str, list[dict[str, Any]]] = {"vhosts": []}
    for one, values in _resources(held):
        if one.get("mode", "managed") == "managed" and one["type"].startswith(_PREFIX):
            for key, listed in _objects(one["type"].removeprefix(_PREFIX), values):
                lists.setdefault(key, []).append(listed)
    return dict(lists)


def _resources(held: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Yield every resource of a state, and its values."""
    for one in held.get("resources") or ():
        for instance in one.get("instances", ()):
            yield one, instance.get("attributes") or {}
    modules = [(held.get("values") or {}).get("root_module", {})]
    while modules:
        module = modules.pop()
        modules += module.get("child_modules", ())
        for one in module.get("resources", ()):
            yield one, one.get("values", {})


def _objects(type_: str, values: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the list that a resource's objects are in, and each of them."""
    named = {
        "name": values.get("name"),
        "vhost": values.get("vhost") or DEFAULT_VHOST,
    }
    settings = _first(values, "settings")
    match type_:
        case "vhost":
            yield "vhosts", {**values}
        case "user":
            yield "users", {"name": values.get("name")}
        case "exchange":
            stated = ("type", "durable", "auto_delete")
            own = {key: settings[key] for key in stated if settings.get(key) is not None}
            yield "exchanges", {**named, **own, "arguments": settings.get("arguments") or {}}
        case "queue":
            own = {key: settings.get(key, False) for key in ("durable", "auto_delete")}
            yield "queues", {**named, **own, "arguments": _arguments(settings)}
        case "binding":
            ends = ("source", "destination", "destination_type")
            own = {key: values.get(key) for key in ends}
            key = {"routing_key": values.get("routing_key") or ""}
            yield "bindings", {**named, **own, **key, "arguments": _arguments(values)}
        case "policy":
            yield "policies", {**named, **_policy(values)}
        case "operator_policy":
            component = {"component": "operator_policy", "value": _policy(values)}
            yield "parameters", {**named, **component}
        case "permissions":
            yield "permissions", {**_of_user(values), **_first(values, "permissions")}
        case "topic_permissions":
            for one in values.get("permissions") or ():
                yield "topic_permissions", {**_of_user(values), **one}
        case _:  # a shovel, an upstream, or what nothing here declares
            yield "parameters", {**named, "component": type_.replace("_", "-"), "value": {}}


def _first(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a block, which a state has as a list of one."""
    block = values.get(key)
    whole = block[0] if isinstance(block, list) and block else block
    return whole if isinstance(whole, dict) else {}


def _arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    text = values.get("arguments_json")
    arguments: dict[str, Any] = json.loads(text) if text else values.get("arguments") or {}
    return arguments


def _policy(values: Mapping[str, Any]) -> dict[str, Any]:
    block = _first(values, "policy")
    return {
        "pattern": block.get("pattern"),
        "priority": block.get("priority", 0),
        "apply-to": block.get("apply_to", "all"),
        "definition": dict(_definition(block.get("definition") or {})),
    }


def _definition(stated: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Yield settings as the provider sends them: digits become numbers."""
    for key, value in stated.items():
        is_number = isinstance(value, str) and value.removeprefix("-").isdecimal()
        yield key, int(value) if is_number else value


def _of_user(values: Mapping[str, Any]) -> dict[str, Any]:
    return {"user": values.get("user"), "vhost": values.get("vhost") or DEFAULT_VHOST}
