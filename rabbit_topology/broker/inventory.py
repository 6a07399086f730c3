"""
What a broker has, by kind and name: each vhost and each user is looked at once.

Source: "HTTP API Reference", RabbitMQ documentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rabbit_topology.broker.management import NotFoundError
from rabbit_topology.model import TYPE_ARGUMENT, QueueType

if TYPE_CHECKING:  # what compares definitions needs no AMQP
    from rabbit_topology.broker.access import Access

_NOUNS = {
    "vHost": "vhost",
    "operatorPolicy": "operator policy",
    "permissions": "permissions",
    "topicPermissions": "topic permissions",
    "federationUpstream": "federation upstream",
}

_PARAMETERS = {"shovel": "shovel", "federation-upstream": "federationUpstream"}

_OTHERWISE = ("vhost-limits", "policy", "operator_policy")
"""Parameters that are a vhost's own, or listed as what they are."""

_PREDECLARED = "amq."
"""What the names of the broker's own exchanges begin with."""


def title(kind: str, name: str) -> str:
    """Return what an object is called: ``policy ttl``.

    Args:
        kind: As `inputs.kind` returns it, or the component of a parameter.
        name: Its name; that of the user, for permissions.
    """
    return f"{_NOUNS.get(kind, kind)} {name}"


def typed(declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return a queue's declaration with its type said, as the broker takes it where it is not."""
    arguments = {TYPE_ARGUMENT: QueueType.CLASSIC.value, **declared.get("arguments", {})}
    return {**declared, "arguments": arguments}


@dataclass
class Inventory:
    """What a broker has."""

    access: Access
    _vhosts: dict[str, Mapping[tuple[str, str], Mapping[str, Any]]] = field(default_factory=dict)

    def settings(self, kind: str, vhost: str, name: str) -> Mapping[str, Any] | None:
        """Return what an object is on the broker, None if it is not there.

        Args:
            kind: As `inputs.kind` returns it.
            vhost: Empty for what is in none.
            name: Its name; that of the user, for permissions.

        Raises:
            BrokerError: The broker cannot be asked.
        """
        match kind:
            case "vHost":
                return self._vhost(name)
            case "user":
                user: Mapping[str, Any] | None = self._get("users", name)
                return user
        return self.within(vhost).get((kind, name))

    def within(self, vhost: str) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        """Return all that is in a vhost but bindings, and what it is, by kind and name.

        Nothing, where there is no such vhost.

        Raises:
            BrokerError: The broker cannot be asked.
        """
        if vhost not in self._vhosts:
            self._vhosts[vhost] = dict(self._within(vhost))
        return self._vhosts[vhost]

    def _vhost(self, name: str) -> Mapping[str, Any] | None:
        described = self._get("vhosts", name)
        if described is None:
            return None
        limits: dict[str, Any] = {}
        for one in self._get("vhost-limits", name) or ():
            limits |= one["value"]
        type_ = described.get("default_queue_type")
        by_default = self.access.management.get("/overview").get("default_queue_type")
        return {
            "description": described.get("description", ""),
            "tags": described.get("tags", []),
            "default_queue_type": None if type_ in ("undefined", by_default, "classic") else type_,
            "tracing": described.get("tracing", False),
            "max-connections": limits.get("max-connections"),
            "max-queues": limits.get("max-queues"),
        }

    def _within(self, vhost: str) -> Iterator[tuple[tuple[str, str], Mapping[str, Any]]]:
        if not self.access.has_vhost(vhost):  # RabbitMQ 4.0 would answer 500
            return
        # Not its definitions: RabbitMQ 4.0 and newer write some that are no JSON.
        for kind, key in (
            ("exchange", "exchanges"),
            ("policy", "policies"),
            ("operatorPolicy", "operator-policies"),
        ):
            for one in self._get(key, vhost) or ():
                if one["name"] and not one["name"].startswith(_PREDECLARED):
                    whole = one if kind == "exchange" else self.access.without_draft(one)
                    yield (kind, one["name"]), whole
        for one in self.access.rows("queues", vhost):
            if not one.get("exclusive"):  # such a queue goes with its connection
                yield ("queue", one["name"]), typed(one)
        for one in self.access.management.get("/parameters"):
            component = one["component"]
            if one["vhost"] == vhost and component not in _OTHERWISE:
                yield (_PARAMETERS.get(component, component), one["name"]), one["value"]
        for one in self._get("vhosts", vhost, "permissions") or ():
            yield ("permissions", one["user"]), one
        topics: dict[str, dict[str, Any]] = {}
        for one in self._get("vhosts", vhost, "topic-permissions") or ():
            topics.setdefault(one["user"], {})[one["exchange"]] = {
                key: one[key] for key in ("write", "read")
            }
        for user, each in topics.items():
            yield ("topicPermissions", user), each

    def _get(self, kind: str, name: str, *more: str) -> Any:
        path = "".join([self.access.path(kind, name), *(f"/{part}" for part in more)])
        try:
            return self.access.management.get(path)
        except NotFoundError:
            return None
