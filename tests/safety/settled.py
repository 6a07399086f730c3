"""What a broker must look like once a run has ended, whatever happened to the run before it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from rabbit_topology.broker.management import Management, NotFoundError
from rabbit_topology.lint.reading import parse
from rabbit_topology.model import Topology
from tests.support.stacks import Stack, management
from toolchain.broker import Broker

PREFIX = "rabbit-topology."
"""What the names of everything begin with that a run puts on the broker for itself."""

_KINDS = ("exchanges", "queues", "policies", "operator-policies", "parameters/shovel", "bindings")


def leftovers(broker: Broker, vhost: str) -> list[str]:
    """Return the names of all objects of a vhost that a run should have removed."""
    result = []
    for kind in _KINDS:
        for one in _listed(management(broker), kind, vhost):
            names = [one.get("name", ""), one.get("source", ""), one.get("destination", "")]
            result += [f"{kind} {name}" for name in names if name.startswith(PREFIX)]
    return sorted(set(result))


def bindings(broker: Broker, vhost: str) -> set[tuple[str, str, str, str, str]]:
    """Return all bindings of a vhost but those of the default exchange.

    As source, kind of destination, destination, routing key, arguments.
    """
    return {
        (
            *(one["source"], one["destination_type"], one["destination"], one["routing_key"]),
            _arguments(one["arguments"]),
        )
        for one in _listed(management(broker), "bindings", vhost)
        if one["source"]
    }


def configured_bindings(topology: Topology) -> set[tuple[str, str, str, str, str]]:
    """Return what `bindings` returns for a topology as it is configured."""
    return {
        (
            route.source,
            route.kind,
            route.destination,
            route.routing_key,
            _arguments(route.arguments),
        )
        for route in topology.routes()
    }


def queues(broker: Broker, vhost: str) -> dict[str, dict[str, Any]]:
    """Return all queues of a vhost by name; none if there is no such vhost."""
    return {one["name"]: one for one in _listed(management(broker), "queues", vhost)}


def exchanges(broker: Broker, vhost: str) -> dict[str, dict[str, Any]]:
    """Return all exchanges of a vhost by name but the broker's own."""
    listed = _listed(management(broker), "exchanges", vhost)
    return {
        one["name"]: one for one in listed if one["name"] and not one["name"].startswith("amq.")
    }


def check(stack: Stack, config: Mapping[str, Any]) -> None:
    """Check that the stack has nothing left to do and the broker holds what the config says."""
    again = stack.up("--expect-no-changes")
    assert set(again.changes) == {"unchanged"}, again.text
    check_broker(stack.broker, config)


def check_broker(broker: Broker, config: Mapping[str, Any]) -> None:
    """Check that the broker holds what the config says and nothing of a run's own."""
    topology = parse(config)[0]
    assert leftovers(broker, topology.vhost) == []
    assert bindings(broker, topology.vhost) == configured_bindings(topology)
    result = queues(broker, topology.vhost)
    assert set(result) == set(topology.queues)
    for name, queue in topology.queues.items():
        assert result[name]["durable"] is queue.durable, name
        assert result[name]["arguments"] == queue.declared_arguments(), name
    declared = exchanges(broker, topology.vhost)
    assert set(declared) == set(topology.exchanges)
    for name, exchange in topology.exchanges.items():
        one = declared[name]
        assert (one["type"], one["durable"]) == (exchange.type, exchange.durable), name


def check_kept(broker: Broker, config: Mapping[str, Any], queue: str) -> None:
    """Check that a queue is there as the config says, with its bindings, and no helper is."""
    topology = parse(config)[0]
    assert leftovers(broker, topology.vhost) == []
    result = queues(broker, topology.vhost)[queue]
    assert result["arguments"] == topology.queues[queue].declared_arguments()
    wanted = {
        configured_binding
        for configured_binding in configured_bindings(topology)
        if queue in configured_binding
    }
    assert wanted
    assert wanted <= set(bindings(broker, topology.vhost))


def _listed(api: Management, kind: str, vhost: str) -> list[dict[str, Any]]:
    # Statistics are left out: they lag, and list what is gone for some seconds.
    query = "?disable_stats=true" if kind in ("queues", "exchanges") else ""
    with suppress(NotFoundError):
        result: list[dict[str, Any]] = api.get(f"/{kind}/{quote(vhost, safe='')}{query}")
        return result
    return []


def _arguments(arguments: Mapping[str, Any]) -> str:
    return repr(sorted(arguments.items()))
