"""
The custom resources of RabbitMQ's Messaging Topology Operator, as definitions.

Source: "Using Messaging Topology Operator", RabbitMQ documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rabbit_topology.model import DEFAULT_VHOST

_GROUP = "rabbitmq.com/"

_CLUSTER = "RabbitmqCluster"
"""Of the other operator: the broker itself."""

_COMPONENTS = {"Shovel": "shovel", "Federation": "federation-upstream"}


def resources(documents: Iterable[object]) -> list[Mapping[str, Any]]:
    """Return the operator's resources among YAML documents, each alone or in a `List`."""
    listed: list[Mapping[str, Any]] = []
    for document in documents:
        if not isinstance(document, dict):
            continue
        if isinstance(document.get("items"), list):
            listed += resources(document["items"])
        elif (
            str(document.get("apiVersion", "")).startswith(_GROUP)
            and document.get("kind") != _CLUSTER
            and isinstance(document.get("spec"), dict)
        ):
            listed.append(document)
    return listed


def as_definitions(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the resources are, as a definitions file has it."""
    lists: dict[str, list[dict[str, Any]]] = {"vhosts": []}
    for document in documents:
        for key, one in _objects(str(document.get("kind")), document):
            lists.setdefault(key, []).append(one)
    return dict(lists)


def _objects(kind: str, document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    spec: Mapping[str, Any] = document["spec"]
    vhost = spec.get("vhost") or DEFAULT_VHOST
    named = {"name": spec.get("name"), "vhost": vhost}
    flags = {
        "durable": spec.get("durable", False),
        "auto_delete": spec.get("autoDelete", False),
        "arguments": spec.get("arguments") or {},
    }
    match kind:
        case "Vhost":
            yield "vhosts", {"name": spec.get("name"), "tags": spec.get("tags") or []}
        case "User":
            # The operator makes up a name where no secret gives one.
            yield "users", {"name": (document.get("metadata") or {}).get("name")}
        case "Exchange":
            yield "exchanges", {**named, **flags, "type": spec.get("type", "direct")}
        case "Queue":
            typed = {"x-queue-type": spec["type"]} if spec.get("type") else {}
            yield "queues", {**named, **flags, "arguments": {**typed, **flags["arguments"]}}
        case "Binding":
            yield (
                "bindings",
                {
                    "vhost": vhost,
                    "source": spec.get("source"),
                    "destination": spec.get("destination"),
                    "destination_type": spec.get("destinationType", "queue"),
                    "routing_key": spec.get("routingKey", ""),
                    "arguments": flags["arguments"],
                },
            )
        case "Policy" | "OperatorPolicy":
            policy = {
                "pattern": spec.get("pattern"),
                "apply-to": spec.get("applyTo", "all"),
                "priority": spec.get("priority", 0),
                "definition": spec.get("definition") or {},
            }
            if kind == "Policy":
                yield "policies", {**named, **policy}
            else:
                yield "parameters", {**named, "component": "operator_policy", "value": policy}
        case "Permission" | "TopicPermission":
            user = spec.get("user") or (spec.get("userReference") or {}).get("name")
            key = "permissions" if kind == "Permission" else "topic_permissions"
            yield key, {"user": user, "vhost": vhost, **(spec.get("permissions") or {})}
        case _:
            component = _COMPONENTS.get(kind, kind)
            yield "parameters", {**named, "component": component, "value": {}}
