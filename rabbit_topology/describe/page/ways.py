"""
What the page's own script needs to follow a message by its routing key: bindings as data.

The script decides by the same rules as `routing.trace`, but for headers, which nobody types into a
page: what a headers exchange leads to is possible there, not certain. A test compares the two.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from rabbit_topology.describe.page import words
from rabbit_topology.model import PREDECLARED_EXCHANGES
from rabbit_topology.routing import trace
from rabbit_topology.routing.message import Message
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.pattern import Pattern
from rabbit_topology.routing.steps import DEFAULT_EXCHANGE, Kind, Step, Way

Json: TypeAlias = dict[str, Any]

Anchor: TypeAlias = Callable[[str, str], str | None]
"""From a kind, `exchange` or `queue`, and a name: where on the page it stands; None: nowhere."""


def document(
    network: Network,
    anchor: Anchor,
    *,
    start: Iterable[str] | None = None,
    live: bool = False,
) -> Json:
    """Return the ways of a vhost as JSON has them.

    Args:
        network: The vhost.
        anchor: Where things stand on the page.
        start: The exchanges that are published to; only what they lead to is in the document. None:
            all exchanges.
        live: It was read from a broker, and stands in no config.
    """
    chosen = None if start is None else list(start)
    names = _all(network) if chosen is None else _behind(network, chosen)
    by_name = DEFAULT_EXCHANGE in names
    shown = [
        _exchange(network, name, anchor, live=live) for name in names if name != DEFAULT_EXCHANGE
    ]
    queues = dict.fromkeys(network.queues if by_name else ())
    for way in (way for exchange in shown for way in exchange["ways"]):
        if way["kind"] == "queue":
            queues.setdefault(way["name"])
    return {
        "start": names if chosen is None else chosen,
        "exchanges": shown,
        "queues": [_queue(network, name, anchor, live=live) for name in queues],
        "declares": [
            {"service": name, "names": list(service.declares)}
            for name, service in network.context.written.services.items()
            if service.declares
        ],
        "mixesEmptyKeys": network.mixes_empty_keys,
    }


def _all(network: Network) -> list[str]:
    ends = [
        name
        for source, steps in network.steps.items()
        for name in (source, *(step.destination for step in steps if step.kind == "exchange"))
    ]
    alternates = [step.destination for step in _alternates(network, network.shapes)]
    written = network.context.written.exchanges  # first, since people publish to these
    own = [name for name in network.shapes if name not in PREDECLARED_EXCHANGES]
    return list(
        dict.fromkeys([*written, *own, *ends, *alternates, *network.shapes, DEFAULT_EXCHANGE])
    )


def _behind(network: Network, names: list[str]) -> list[str]:
    """Return some exchanges and all that they lead to."""
    seen = dict.fromkeys(names)
    left = list(seen)
    if network.mixes_empty_keys:  # then each topic exchange may lead where the others do
        left += [name for name in network.shapes if network.kind(name) is Kind.TOPIC]
    while left:
        name = left.pop()
        seen.setdefault(name)
        onward = [*network.steps.get(name, ()), *_alternates(network, [name])]
        for step in onward:
            if step.kind == "exchange" and step.destination not in seen:
                left.append(step.destination)
    return list(seen)


def _alternates(network: Network, names: Iterable[str]) -> Iterator[Step]:
    for name in names:
        step = network.alternate(name)
        if step is not None:
            yield step


def _exchange(network: Network, name: str, anchor: Anchor, *, live: bool) -> Json:
    alternate = network.alternate(name)
    kind = network.kind(name)
    nothing = Message(exchange=name, routing_keys=("",))
    return {
        "name": name,
        "type": network.type(name),
        "kind": kind.value,
        "anchor": anchor("exchange", name),
        "ways": [_way(step, kind, live=live) for step in _in_order(network, name)],
        "alternate": alternate and _way(alternate, Kind.FANOUT, live=live),
        "notes": list(trace.route(network, name, nothing).root.notes),
    }


def _in_order(network: Network, name: str) -> list[Step]:
    """Return bindings in the order in which a message takes them: those of one pattern together."""
    steps = network.steps.get(name, [])
    if network.kind(name) is not Kind.TOPIC:
        return steps
    together: dict[Pattern, list[Step]] = {}
    for step in steps:
        together.setdefault(step.pattern, []).append(step)
    return [step for one in together.values() for step in one]


def _way(step: Step, kind: Kind, *, live: bool) -> Json:
    way: Json = {"kind": step.kind, "name": step.destination, "by": by(step)}
    if not live:
        way["path"] = step.path
    match kind:
        case Kind.DIRECT:
            way["key"] = step.routing_key
        case Kind.TOPIC:
            way["pattern"] = list(step.pattern)
    return way


def by(step: Step) -> str:
    """Return what a way on takes, in words."""
    if step.way is Way.ALTERNATE:
        return "what no binding takes: alternate exchange"
    if step.condition is not None:
        return f"headers {words.plain(step.arguments)}"
    return f"routing key {json.dumps(step.routing_key, ensure_ascii=False)}"


def _queue(network: Network, name: str, anchor: Anchor, *, live: bool) -> Json:
    queue = network.queues.get(name)
    if queue is None:
        return {"name": name, "type": "not declared here"}
    settings = network.context.settings[name]
    exchange = settings.get("dead-letter-exchange")
    routing_key = settings.get("dead-letter-routing-key")
    return {
        "name": name,
        "type": queue.type.value,
        "declared": True,
        "anchor": anchor("queue", name),
        **({} if live else {"path": network.origins.of_queue(name)}),
        **(
            {"deadLetters": {"exchange": exchange, "key": routing_key}}
            if isinstance(exchange, str)
            else {}
        ),
    }
