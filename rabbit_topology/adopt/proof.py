"""
That a config says what a broker has, object by object, before anything is written or deployed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rabbit_topology.adopt.definitions import Definitions, Listed
from rabbit_topology.adopt.express import Place
from rabbit_topology.broker import inventory
from rabbit_topology.compiler import policies
from rabbit_topology.inventory import adoption
from rabbit_topology.inventory.adoption import Wanted
from rabbit_topology.model import QueueType, Route, Topology

_KINDS = {
    "exchanges": "exchange",
    "queues": "queue",
    "policies": "policy",
    "operator_policies": "operatorPolicy",
}


_PARAMETERS = {"federation-upstream": "federationUpstream"}

_PLAIN: Mapping[str, Any] = {
    "durable": True,
    "auto_delete": False,
    "internal": False,
    "apply-to": "all",
    "priority": 0,
}
"""What is meant where a definitions file says nothing."""


@dataclass(frozen=True, kw_only=True)
class Proven:
    """How far a config says what is there."""

    equal: int
    """So many objects are as they are declared, bindings among them."""
    different: tuple[str, ...]
    """What would be made, or changed: one line each."""
    changed: Mapping[Place, str]
    """What of it is there, but would be changed, and how."""


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
    there = there or There(definitions)
    equal, different, changed = 0, list[str](), dict[Place, str]()
    for topology in topologies:
        wanted = list(adoption.wanted(topology, lambda _name, _user: None))
        seen = compare(wanted, topology.routes(), definitions.within[topology.vhost], there)
        equal += seen.equal
        for one, said in seen.different:
            how = ", ".join(said)
            different.append(f"{one.title}: {how}")
            changed[one.vhost, one.kind, one.name] = how
        different += (f"{one.title}: not there" for one in seen.missing)
        different += (
            f"policy {name}: not there, and made of settings"
            for name in policies.compile_all(topology)
        )
        different += (
            f"binding {route.source} -> {route.destination}: not there" for route in seen.unbound
        )
    return Proven(equal=equal, different=tuple(different), changed=changed)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What a vhost is to have, beside what it has."""

    equal: int
    """So many objects are as they are declared, bindings among them."""
    different: Sequence[tuple[Wanted, Sequence[str]]]
    """What is not, and what differs."""
    missing: Sequence[Wanted]
    unbound: Sequence[Route]
    """The bindings that are not there."""


def compare(
    wanted: Sequence[Wanted],
    routes: Iterable[Route],
    within: Mapping[str, Iterable[Listed]],
    there: adoption.Listed,
) -> Compared:
    """Compare what a vhost is to have with what it has.

    Args:
        wanted: All that is to be there but bindings.
        routes: The bindings.
        within: What is in the vhost, as `Definitions` has it.
        there: What the broker has.

    Raises:
        BrokerError: The broker cannot be asked.
    """
    seen = adoption.look(there, wanted)
    known = {*map(id, seen.equal), *(id(one) for one, _ in seen.different)}
    has = {bound(one) for one in within["bindings"]}
    every = list(routes)
    unbound = [one for one in every if declared(one) not in has]
    return Compared(
        equal=len(seen.equal) + len(every) - len(unbound),
        different=seen.different,
        missing=[one for one in wanted if id(one) not in known],
        unbound=unbound,
    )


def declared(route: Route) -> tuple[object, ...]:
    """Return what sets a binding apart, equal to what `bound` returns for the same one."""
    ends = (route.source, route.kind, route.destination)
    return (*ends, route.routing_key, _typed(route.arguments))


def _typed(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """Return arguments as text that is equal where they are."""
    return tuple(
        sorted(f"{key}={type(value).__name__}={value!r}" for key, value in arguments.items())
    )


def bound(one: Listed) -> tuple[object, ...]:
    """Return what sets a binding apart that the broker has."""
    return (
        str(one.get("source", "")),
        "queue" if one.get("destination_type", "queue") == "queue" else "exchange",
        str(one.get("destination")),
        str(one.get("routing_key", "")),
        _typed(one["arguments"]),
    )


class There:
    """Definitions, as `Inventory` shows what a broker has."""

    def __init__(self, definitions: Definitions) -> None:
        self._vhosts = definitions.vhosts
        self._users = definitions.users
        self._objects = {
            (kind, vhost, name): settings
            for vhost, within in definitions.within.items()
            for kind, name, settings in _objects(within)
        }

    def settings(self, kind: str, vhost: str, name: str) -> Mapping[str, Any] | None:
        """Return what an object is, None if it is not there."""
        match kind:
            case "vHost":
                return _vhost(self._vhosts[name]) if name in self._vhosts else None
            case "user":
                return self._users.get(name)
        return self._objects.get((kind, vhost, name))


def _vhost(described: Listed) -> Mapping[str, Any]:
    own = {**described, **(described.get("metadata") or {})}
    tags, limits = own.get("tags") or [], own.get("limits") or {}
    type_ = own.get("default_queue_type")
    return {
        "description": own.get("description") or "",
        "tags": tags.split(",") if isinstance(tags, str) else tags,
        "default_queue_type": None if type_ in ("", "undefined", QueueType.CLASSIC) else type_,
        "tracing": bool(own.get("tracing")),
        "max-connections": limits.get("max-connections"),
        "max-queues": limits.get("max-queues"),
    }


def _objects(within: Mapping[str, list[Listed]]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for key, kind in _KINDS.items():
        for one in within[key]:
            whole = {**_PLAIN, **one}
            yield kind, str(one.get("name")), inventory.typed(whole) if kind == "queue" else whole
    for one in within["parameters"]:
        component = str(one.get("component"))
        yield _PARAMETERS.get(component, component), str(one.get("name")), one.get("value") or {}
    for one in within["permissions"]:
        yield "permissions", str(one.get("user")), one
    topics: dict[str, dict[str, Any]] = {}
    for one in within["topic_permissions"]:
        allowed = {key: one.get(key) for key in ("write", "read")}
        topics.setdefault(str(one.get("user")), {})[str(one.get("exchange"))] = allowed
    for user, each in topics.items():
        yield "topicPermissions", user, each
