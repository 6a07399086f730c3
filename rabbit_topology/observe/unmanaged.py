"""
What a vhost has that is not declared, and is not the broker's own either.

Source: "Definitions", RabbitMQ documentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rabbit_topology.adopt import express, proof
from rabbit_topology.adopt.definitions import Listed
from rabbit_topology.compiler import policies, regexes
from rabbit_topology.compiler.names import PREFIX
from rabbit_topology.observe.declared import Declared
from rabbit_topology.services import permissions

_PARAMETERS = {"federation-upstream": "federationUpstream"}


@dataclass(frozen=True, kw_only=True)
class Other:
    """One object that is not declared."""

    key: str
    """Of `definitions.LISTS`: what it is listed under."""
    kind: str
    """As `inputs.kind` returns it, the component of a parameter, or `binding`."""
    name: str
    listed: Listed
    touches: bool
    """It is a binding of something that is declared, or a policy that matches such: it changes what
    the stack does, whoever made it."""


def find(
    declared: Declared,
    within: Mapping[str, list[Listed]],
    known: frozenset[tuple[str, str]],
    own_user: str | None,
) -> Iterator[Other]:
    """Yield what is in a vhost and not declared.

    Args:
        declared: The vhost in the config.
        within: What the broker has in it.
        known: Kinds and names of all that is to be there but bindings.
        own_user: Who the stack connects as: the broker grants it all of a vhost that it makes.
    """
    for key, kind, name, one in _named(within):
        if (kind, name) in known or name.startswith(PREFIX):
            continue
        if kind in ("queue", "exchange") and _is_a_services(declared, name):
            continue
        if kind in ("permissions", "topicPermissions") and (
            name == own_user or permissions.has_former(declared.whole, name)
        ):
            continue
        touches = kind in ("policy", "operatorPolicy") and _reaches(declared, one)
        yield Other(key=key, kind=kind, name=name, listed=one, touches=touches)
    yield from _bindings(declared, within, known)


def _named(within: Mapping[str, list[Listed]]) -> Iterator[tuple[str, str, str, Listed]]:
    for one in within["exchanges"]:
        if not express.is_brokers_own_exchange(one):
            yield "exchanges", "exchange", str(one.get("name")), one
    for one in within["queues"]:
        if not express.brokers_own_queue(one):
            yield "queues", "queue", str(one.get("name")), one
    for key, kind in (("policies", "policy"), ("operator_policies", "operatorPolicy")):
        for one in within[key]:
            yield key, kind, str(one.get("name")), one
    for one in within["parameters"]:
        component = str(one.get("component"))
        kind = _PARAMETERS.get(component, component)
        yield "parameters", kind, str(one.get("name")), one
    for one in within["permissions"]:
        yield "permissions", "permissions", str(one.get("user")), one
    seen = set[str]()
    for one in within["topic_permissions"]:
        user = str(one.get("user"))
        if user not in seen:  # they are compared for all exchanges of a user together
            yield "topic_permissions", "topicPermissions", user, one
        seen.add(user)


def _bindings(
    declared: Declared, within: Mapping[str, list[Listed]], known: frozenset[tuple[str, str]]
) -> Iterator[Other]:
    routes = {proof.declared(route) for route in declared.whole.routes()}
    for one in within["bindings"]:
        if express.is_brokers_own_binding(one) or proof.bound(one) in routes:
            continue
        source, destination = str(one.get("source")), str(one.get("destination"))
        kind = "queue" if one.get("destination_type", "queue") == "queue" else "exchange"
        if PREFIX in (source[: len(PREFIX)], destination[: len(PREFIX)]):
            continue
        if _is_a_services(declared, destination) or _is_a_services(declared, source):
            continue
        touches = ("exchange", source) in known or (kind, destination) in known
        name = f"{source} -[{one.get('routing_key', '')}]-> {destination}"
        yield Other(key="bindings", kind="binding", name=name, listed=one, touches=touches)


def _reaches(declared: Declared, policy: Listed) -> bool:
    """Return whether a policy may match something that is declared."""
    apply_to, pattern = str(policy.get("apply-to", "all")), str(policy.get("pattern", ""))
    return any(
        target.takes(apply_to) and regexes.matches(pattern, target.name) is not False
        for target in policies.objects(declared.whole)
    )


def _is_a_services(declared: Declared, name: str) -> bool:
    """Return whether a service may make it for itself."""
    services = declared.whole.services.values()
    return any(permissions.declares(one, name) for one in services if one.declares)
