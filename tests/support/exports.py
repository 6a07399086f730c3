"""
What a broker exports of itself, made from a config: as if that had been deployed.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from rabbit_topology.config.stack import Stack
from rabbit_topology.observe.declared import Declared

SALT = b"salt"

_LISTS = {"exchange": "exchanges", "queue": "queues", "policy": "policies"}
_COMPONENTS = {
    "operatorPolicy": "operator_policy",
    "shovel": "shovel",
    "federationUpstream": "federation-upstream",
}


def hashed(password: str) -> str:
    """Return a password's hash as the broker keeps it."""
    digest = hashlib.sha256(SALT + password.encode()).digest()
    return base64.b64encode(SALT + digest).decode()


def export(
    stack: Stack, password_of: Callable[..., str | None], version: str = "4.3.6"
) -> dict[str, Any]:
    """Return the definitions of a broker on which a config is deployed."""
    keys = (
        *("vhosts", "users", "permissions", "topic_permissions", "parameters", "global_parameters"),
        *("policies", "queues", "exchanges", "bindings"),
    )
    whole: dict[str, Any] = {key: [] for key in keys}
    for root, topology in stack.whole.items():
        declared = Declared(root=root, written=stack.written[root], whole=topology)
        if not topology.makes_vhost:
            whole["vhosts"].append({"name": topology.vhost, "metadata": {}})
        for one in declared.objects(password_of):
            _add(whole, one.kind, one.vhost, one.name, one.settings)
        whole["bindings"] += (
            {
                "vhost": topology.vhost,
                "source": route.source,
                "destination": route.destination,
                "destination_type": route.kind,
                "routing_key": route.routing_key,
                "arguments": dict(route.arguments),
            }
            for route in topology.routes()
        )
    return {"rabbitmq_version": version, "rabbit_version": version, **whole}


def _add(
    whole: dict[str, Any], kind: str, vhost: str, name: str, settings: Mapping[str, Any]
) -> None:
    match kind:
        case "vHost":
            described = {
                key: settings[key]
                for key in ("description", "tags", "default_queue_type")
                if settings[key] is not None
            }
            whole["vhosts"].append({"name": name, "metadata": described})
            limits = {key: settings[key] for key in ("max-connections", "max-queues")}
            stated = {key: value for key, value in limits.items() if value is not None}
            if stated:
                parameter = {"component": "vhost-limits", "name": "limits", "value": stated}
                whole["parameters"].append({"vhost": name, **parameter})
        case "user":
            whole["users"].append(
                {
                    "name": name,
                    "password_hash": hashed(settings["password"] or "unknown"),
                    "hashing_algorithm": "rabbit_password_hashing_sha256",
                    "tags": settings["tags"],
                    "limits": {},
                }
            )
        case "permissions":
            whole["permissions"].append({"user": name, "vhost": vhost, **settings})
        case "topicPermissions":
            whole["topic_permissions"] += (
                {"user": name, "vhost": vhost, "exchange": exchange, **each}
                for exchange, each in settings.items()
            )
        case "operatorPolicy" | "shovel" | "federationUpstream":
            component = _COMPONENTS[kind]
            parameter = {"vhost": vhost, "component": component, "name": name}
            whole["parameters"].append({**parameter, "value": dict(settings)})
        case _:
            whole[_LISTS[kind]].append({"name": name, "vhost": vhost, **settings})
