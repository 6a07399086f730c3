"""
The custom resources of RabbitMQ's Messaging Topology Operator, as definitions.

Source: "Using Messaging Topology Operator", RabbitMQ documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rabbit_topology.model import DEFAULT_VHOST

_GROUP = "rabbitmq.com/"


def looks_right(document: object) -> bool:
    """Return whether a YAML document is one of the operator's resources."""
    return (
        isinstance(document, dict)
        and str(document.get("apiVersion", "")).startswith(_GROUP)
        and isinstance(document.get("spec"), dict)
    )


def as_definitions(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the resources are, as a definitions file has it."""
    lists: dict[str, list[dict[str, Any]]] = {}
    for document in documents:
        for key, one in _objects(str(document.get("kind")), document):
            lists.setdefault(key, []).append(one)
    inside = {one["vhost"] for those in lists.values() for one in those if "vhost" in one}
    known = {one["name"] for one in lists.get("vhosts", ())}
    lists.setdefault("vhosts", []).extend({"name": name} for name in sorted(inside - known))
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
            yield "users", {"name": _name(document)}
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
        case "Permission":
            allowed = spec.get("permissions") or {}
            user = spec.get("user") or (spec.get("userReference") or {}).get("name")
            yield "permissions", {"user": user, "vhost": vhost, **allowed}
        case "TopicPermission":
            topics = spec.get("permissions") or {}
            user = spec.get("user") or (spec.get("userReference") or {}).get("name")
            yield "topic_permissions", {"user": user, "vhost": vhost, **topics}
        case "Shovel":
            yield "parameters", {**named, "component": "shovel", "value": {}}
        case "Federation":
            yield "parameters", {**named, "component": "federation-upstream", "value": {}}


def _name(document: Mapping[str, Any]) -> object:
    """Return a user's name, which the operator makes up where no secret gives one."""
    return (document.get("metadata") or {}).get("name")
