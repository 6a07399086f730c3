"""
What a broker has for queues that are in the config no longer, and were to be retained.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any

from rabbit_topology.broker.access import Access
from rabbit_topology.broker.management import NotFoundError
from rabbit_topology.compiler import retained
from rabbit_topology.compiler.effective import Target
from rabbit_topology.compiler.names import PREFIX
from rabbit_topology.messages.state import QueueState
from rabbit_topology.model import Route

_ALTERNATE = "alternate-exchange"


def kept(access: Access, vhost: str, known: Container[str]) -> retained.Kept:
    """Return what stays for the sake of a vhost's queues that are not ``known``.

    Which of them the stack once had is not in any state that a hook gets: rather than take away
    what leads to such a queue, it stays.
    """
    try:
        queues = _listed(access, "queues", vhost)
        exchanges = _listed(access, "exchanges", vhost)
        bindings = access.management.get(access.path("bindings", vhost))
    except NotFoundError:
        return retained.Kept()
    graph = retained.Graph(
        routes=[one for binding in bindings if (one := route(binding)).source],
        alternates={
            name: settings[_ALTERNATE]
            for name, settings in _settings(access, vhost, exchanges, "exchanges")
            if isinstance(settings.get(_ALTERNATE), str)
        },
        dead_letters={
            name: target
            for name, settings in _settings(access, vhost, queues, "queues")
            if (target := retained.DeadLetters.of(settings))
        },
    )
    return retained.kept(graph, [queue["name"] for queue in queues if queue["name"] not in known])


def unbind(access: Access, vhost: str, binding_of: Route) -> None:
    """Remove a binding, if it is there."""
    for binding in access.bindings("exchanges", vhost, binding_of.source, "source"):
        if route(binding) == binding_of:
            access.unbind(vhost, binding)


def _listed(access: Access, kind: str, vhost: str) -> list[dict[str, Any]]:
    listed = access.rows(kind, vhost)
    return [
        described
        for described in listed
        if described["name"]
        and not described["name"].startswith(PREFIX)
        and not described.get("exclusive")
    ]


def _settings(
    access: Access, vhost: str, listed: list[dict[str, Any]], kind: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield by name all that may apply to each object, by arguments and by policies."""
    rules = access.rules(vhost)
    for described in listed:
        type_ = QueueState(described).type if kind == "queues" else None
        target = Target(kind=kind, name=described["name"], type=type_)
        for one in rules:
            for settings in one.possible(target, described.get("arguments", {})):
                yield described["name"], settings


def route(binding: Mapping[str, Any]) -> Route:
    """Return the route that a binding is, as the management API lists it."""
    return Route(
        source=binding["source"],
        kind=binding["destination_type"],
        destination=binding["destination"],
        routing_key=binding["routing_key"],
        arguments=binding["arguments"],
    )
