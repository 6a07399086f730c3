"""
One vhost as a graph: what is declared, what it leads to, and the services at the rim.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rabbit_topology.config.words import show, without_secrets
from rabbit_topology.describe import groups, notes, services
from rabbit_topology.describe.graph import Edge, EdgeKind, Graph, Key, Node, NodeKind, merged
from rabbit_topology.model import QueueType, Service
from rabbit_topology.model.units import duration_text
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.steps import DEFAULT_EXCHANGE, Kind, Step

_HASH = "x-consistent-hash"


def graph(network: Network) -> Graph:
    """Return one vhost as a graph: declared objects first, each in the order of the config."""
    return _Builder(network).graph()


class _Builder:
    def __init__(self, network: Network) -> None:
        self._network = network
        self._written = network.context.written
        self._whole = network.context.whole
        self._groups = groups.of(self._written)

    def graph(self) -> Graph:
        edges = merged([*self._bindings(), *self._alternates(), *self._dead(), *self._services()])
        ends = [end for edge in edges for end in (edge.source, edge.target)]
        declared = [
            *(Key(kind="exchange", name=name) for name in self._whole.exchanges),
            *(Key(kind="queue", name=name) for name in self._whole.queues),
            *(Key(kind="service", name=name) for name in self._written.services),
        ]
        return Graph(
            vhost=self._network.vhost,
            nodes={key: self._node(key) for key in dict.fromkeys((*declared, *ends))},
            edges=edges,
            groups=self._groups.names,
        )

    def _node(self, key: Key) -> Node:
        kind, type_, words = self._described(key)
        owner = self._groups.owners.get(key)
        return Node(
            key=key,
            kind=kind,
            type=type_,
            notes=words,
            group=owner or (key if key in self._groups.names else None),
            made=owner is not None,
        )

    def _described(self, key: Key) -> tuple[NodeKind, str, tuple[str, ...]]:
        network, name = self._network, key.name
        match key.kind:
            case "exchange":
                exchange, shape = self._whole.exchanges.get(name), network.shapes.get(name)
                known = network.known(name)
                type_ = f"{network.type(name)} exchange" if known else "exchange of others"
                return NodeKind.EXCHANGE, type_, notes.of_exchange(exchange, shape)
            case "service":
                return NodeKind.SERVICE, "service", tuple(_does(self._written.services[name]))
            case _:
                queue = self._whole.queues.get(name)
                if queue is None:
                    return NodeKind.QUEUE, "queue of others", ()
                words = notes.of_queue(queue, network.context.settings[name])
                if queue.type is QueueType.STREAM:
                    return NodeKind.STREAM, "stream", words
                return NodeKind.QUEUE, f"{queue.type} queue", words

    def _bindings(self) -> Iterator[Edge]:
        for steps in self._network.steps.values():
            for step in steps:
                source = Key(kind="exchange", name=step.source)
                target = Key(kind=step.kind, name=step.destination)
                back = self._groups.owners.get(source) == target
                yield Edge(
                    source=source,
                    target=target,
                    kind=EdgeKind.RETRY if back and target.kind == "queue" else EdgeKind.BINDING,
                    labels=self._labels(step),
                )

    def _labels(self, step: Step) -> tuple[str, ...]:
        match self._network.kind(step.source):
            case Kind.FANOUT:
                return ()
            case Kind.HEADERS:
                return (_headers(step.arguments),)
            case Kind.ONE_OF:
                hashed = self._network.type(step.source) == _HASH
                return (f"weight {step.routing_key}",) if hashed else ()
            case _:
                return (_key(step.routing_key),)

    def _alternates(self) -> Iterator[Edge]:
        for name in self._network.shapes:
            step = self._network.alternate(name)
            if step is not None:
                yield Edge(
                    source=Key(kind="exchange", name=name),
                    target=Key(kind="exchange", name=step.destination),
                    kind=EdgeKind.ALTERNATE,
                    labels=("unroutable",),
                )

    def _dead(self) -> Iterator[Edge]:
        """Yield where queues send what is rejected, has expired or is too much."""
        for name, settings in self._network.context.settings.items():
            exchange = settings.get("dead-letter-exchange")
            if not isinstance(exchange, str):
                continue
            source = Key(kind="queue", name=name)
            routing_key = settings.get("dead-letter-routing-key")
            target, labels = Key(kind="exchange", name=exchange), ["dead letters"]
            ttl = settings.get("message-ttl")
            kind = EdgeKind.DEAD_LETTER
            if source in self._groups.owners and isinstance(ttl, int):
                kind, labels = EdgeKind.RETRY, [f"after {duration_text(ttl)}"]
            if exchange == DEFAULT_EXCHANGE and routing_key in self._whole.queues:
                target = Key(kind="queue", name=str(routing_key))
            elif isinstance(routing_key, str):
                labels = [f"{labels[0]} as {_key(routing_key)}"]
            yield Edge(
                source=source,
                target=target,
                kind=kind,
                labels=tuple(labels),
            )

    def _services(self) -> Iterator[Edge]:
        for name, service in self._written.services.items():
            key = Key(kind="service", name=name)
            for exchange, keys in services.publishes(service).items():
                yield Edge(
                    source=key,
                    target=Key(kind="exchange", name=exchange),
                    kind=EdgeKind.PUBLISHES,
                    labels=tuple(map(_key, keys)),
                )
            for queue in service.consumes:
                consumed = Key(kind="queue", name=queue)
                yield Edge(source=consumed, target=key, kind=EdgeKind.CONSUMES)
            for exchange in service.binds:
                bound = Key(kind="exchange", name=exchange)
                labels = ("by queues of its own",)
                yield Edge(source=bound, target=key, kind=EdgeKind.CONSUMES, labels=labels)


def _does(service: Service) -> Iterator[str]:
    if service.replies:
        yield "replies to requests"
    if service.declares:
        yield f"declares {', '.join(service.declares)}"


def _key(routing_key: str) -> str:
    return routing_key or '""'


def _headers(arguments: Mapping[str, object]) -> str:
    """Return what a binding of a headers exchange takes; all of several unless it says any."""
    listed = [f"{key}={_text(one)}" for key, one in arguments.items() if key != "x-match"]
    some = len(listed) > 1 and str(arguments.get("x-match", "")).startswith("any")
    return f"{'any of ' if some else ''}{', '.join(listed) or 'no headers'}"


def _text(value: object) -> str:
    known = without_secrets(value)
    return known if isinstance(known, str) else show(known)
