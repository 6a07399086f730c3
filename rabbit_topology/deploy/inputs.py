"""
What the inputs of a resource say, as hooks get them.

They are in the form in which the program sent them, or, where a resource was imported or
refreshed, in that in which the provider reads it back: arguments as `arguments` where all are text,
else as `argumentsJson`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import JsonValue

from rabbit_topology.compiler.names import route_key
from rabbit_topology.model import Route

_OWN = "__"
"""What keys begin with that the engine adds to inputs."""


def kind(type_: str) -> str:
    """Return ``queue`` for ``rabbitmq:index/queue:Queue``."""
    return type_.split(":")[1].removeprefix("index/")


def identity(kind_: str, inputs: Mapping[str, Any]) -> tuple[str, str]:
    """Return what sets an object of a kind apart on the broker: its vhost, if any, and a key."""
    match kind_:
        case "vHost" | "user":
            return "", inputs["name"]
        case "binding":
            return inputs["vhost"], route_key(route(inputs))
        case "permissions" | "topicPermissions":
            return inputs["vhost"], inputs["user"]
        case _:
            return inputs["vhost"], inputs["name"]


def route(inputs: Mapping[str, Any]) -> Route:
    """Return the route that a binding's inputs stand for."""
    return Route(
        source=inputs["source"],
        kind=inputs["destinationType"],
        destination=inputs["destination"],
        routing_key=inputs.get("routingKey") or "",
        arguments=arguments(inputs),
    )


def arguments(inputs: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Return the arguments in a binding's inputs, or in the settings of a queue or exchange."""
    given: dict[str, JsonValue] = json.loads(inputs.get("argumentsJson") or "{}")
    plain = inputs.get("arguments") or {}
    return given | {key: value for key, value in plain.items() if not key.startswith(_OWN)}


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return what differs, as ``x-queue-type: classic -> quorum``.

    Args:
        old: The settings in the inputs of a queue or exchange.
        new: What the management API would declare it with.
    """
    return ", ".join(_differences(old, new)) or "declared as before, since that is asked for"


def differs(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return whether `changes` has anything to name."""
    return any(_differences(old, new))


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    before = {
        "durable": old.get("durable", False),
        "auto_delete": old.get("autoDelete", False),
        **({"type": old["type"]} if "type" in old else {}),
        **arguments(old),
    }
    after = {key: value for key, value in new.items() if key != "arguments"}
    after |= new.get("arguments", {})
    for key in {**before, **after}:
        if before.get(key) != after.get(key):
            yield f"{key}: {before.get(key, 'none')} -> {after.get(key, 'none')}"
