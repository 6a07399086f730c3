"""
That a config says what a broker has, object by object, before anything is written or deployed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rabbit_topology.adopt.definitions import Definitions, Listed
from rabbit_topology.broker import inventory
from rabbit_topology.compiler import policies
from rabbit_topology.inventory import adoption
from rabbit_topology.model import Topology

_KINDS = {
    "exchanges": "exchange",
    "queues": "queue",
    "policies": "policy",
    "operator_policies": "operatorPolicy",
}


@dataclass(frozen=True, kw_only=True)
class Proven:
    """How far a config says what is there."""

    equal: int
    """So many objects are as they are declared, bindings among them."""
    different: tuple[str, ...]
    """What would be made, or changed: one line each."""


def prove(
    topologies: Iterable[Topology],
    definitions: Definitions,
    there: adoption.Listed | None = None,
) -> Proven:
    """Compare what a config declares with what a broker has.

    Args:
        topologies: What is declared.
        definitions: What the broker has.
        there: The broker itself; default: what the definitions say.

    Raises:
        BrokerError: The broker cannot be asked.
    """
    there = there or _There(definitions)
    equal, different = 0, list[str]()
    for topology in topologies:
        wanted = list(adoption.wanted(topology, lambda _name, _user: None))
        seen = adoption.look(there, wanted)
        known = {*map(id, seen.equal), *(id(one) for one, _ in seen.different)}
        equal += len(seen.equal)
        different += (f"{one.title}: {', '.join(said)}" for one, said in seen.different)
        different += (f"{one.title}: not there" for one in wanted if id(one) not in known)
        different += (
            f"policy {name}: not there, and made of settings"
            for name in policies.compile_all(topology)
        )
        has = {_route(one) for one in definitions.within[topology.vhost]["bindings"]}
        for route in topology.routes():
            ends = (route.source, route.kind, route.destination)
            if (*ends, route.routing_key, _typed(route.arguments)) in has:
                equal += 1
            else:
                different.append(f"binding {route.source} -> {route.destination}: not there")
    return Proven(equal=equal, different=tuple(different))


def _typed(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """Return arguments as text that is equal where they are."""
    return tuple(
        sorted(f"{key}={type(value).__name__}={value!r}" for key, value in arguments.items())
    )


def _route(one: Listed) -> tuple[object, ...]:
    return (
        str(one.get("source", "")),
        "queue" if one.get("destination_type", "queue") == "queue" else "exchange",
        str(one.get("destination")),
        str(one.get("routing_key", "")),
        _typed(one["arguments"]),
    )


class _There:
    """Definitions, as `Inventory` shows what a broker has."""

    def __init__(self, definitions: Definitions) -> None:
        self._vhosts = definitions.vhosts
        self._objects = {
            (kind, vhost, name): settings
            for vhost, within in definitions.within.items()
            for kind, name, settings in _objects(within)
        }

    def settings(self, kind: str, vhost: str, name: str) -> Mapping[str, Any] | None:
        """Return what an object is, None if it is not there."""
        if kind == "vHost":
            return _BARE if name in self._vhosts else None  # with settings it is not wanted
        return self._objects.get((kind, vhost, name))


_BARE: Mapping[str, Any] = {
    "description": "",
    "tags": [],
    "default_queue_type": None,
    "tracing": False,
}


def _objects(within: Mapping[str, list[Listed]]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for key, kind in _KINDS.items():
        for one in within[key]:
            plain = {"durable": True, "auto_delete": False, "apply-to": "all", "priority": 0}
            whole = {**plain, **one}
            yield kind, str(one.get("name")), inventory.typed(whole) if kind == "queue" else whole
    for one in within["permissions"]:
        yield "permissions", str(one.get("user")), one
    topics: dict[str, dict[str, Any]] = {}
    for one in within["topic_permissions"]:
        allowed = {key: one.get(key) for key in ("write", "read")}
        topics.setdefault(str(one.get("user")), {})[str(one.get("exchange"))] = allowed
    for user, each in topics.items():
        yield "topicPermissions", user, each
