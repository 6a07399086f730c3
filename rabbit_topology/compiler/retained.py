"""
What has to stay on a broker with a queue that stays: its ways in, and its way for dead letters.

In are the bindings of the queue, the exchanges that they come from, and whatever leads to those:
bindings between exchanges and alternate exchanges. Out is the exchange that the queue dead-letters
to, with all that this leads to, or the queue that the default exchange leads to. Those queues stay
as well, and have a way for dead letters themselves.

Asked of a topology this tells what the engine must not delete; asked of what a broker has it tells
whether something that leaves the config may go.
Source: "Exchange to Exchange Bindings", "Alternate Exchanges", "Dead Letter Exchanges", RabbitMQ
documentation.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from rabbit_topology.compiler.names import route_key
from rabbit_topology.model import OnDelete, Route, Topology

_TARGET, _KEY = "dead-letter-exchange", "dead-letter-routing-key"


class DeadLetters(NamedTuple):
    """Where a queue's dead letters go."""

    exchange: str
    """Empty: the default exchange."""
    routing_key: str | None = None
    """None: that of each message."""

    @classmethod
    def of(cls, settings: Mapping[str, object]) -> Self | None:
        """Return what settings say, named as policies name them; None without a target."""
        exchange, key = settings.get(_TARGET), settings.get(_KEY)
        if not isinstance(exchange, str):
            return None
        return cls(exchange, key if isinstance(key, str) else None)

    @property
    def queue(self) -> str | None:
        """The queue that they reach by its name, None if they go to an exchange."""
        return None if self.exchange else self.routing_key


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Where messages go in one vhost."""

    routes: Iterable[Route]
    alternates: Mapping[str, str]
    """By exchange that has one, its alternate exchange."""
    dead_letters: Mapping[str, DeadLetters]
    """By queue that dead-letters."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What stays for the sake of queues that stay, those included."""

    queues: frozenset[str] = frozenset()
    exchanges: frozenset[str] = frozenset()
    routes: frozenset[str] = frozenset()
    """As `names.route_key` writes them."""


def on_delete(topology: Topology, kept_: Kept, queue: str) -> OnDelete:
    """Return what happens to a queue in the end: it may stay for the sake of another."""
    if queue in kept_.queues:
        return OnDelete.RETAIN
    declared = topology.queues.get(queue)
    return declared.on_delete if declared else OnDelete.REFUSE


def kept(graph: Graph, queues: Iterable[str], *, may_go: Container[str] = frozenset()) -> Kept:
    """Return what stays for ``queues``; ``may_go`` are queues that do not stay for others."""
    search = _Search(graph=graph, may_go=may_go)
    for queue in queues:
        search.stay(queue)
        search.climb("queue", queue)
    return Kept(
        queues=frozenset(search.queues),
        exchanges=frozenset(search.upward | search.downward),
        routes=frozenset(search.routes),
    )


@dataclass(kw_only=True)
class _Search:
    graph: Graph
    may_go: Container[str]
    queues: set[str] = field(default_factory=set)
    upward: set[str] = field(default_factory=set)
    downward: set[str] = field(default_factory=set)
    routes: set[str] = field(default_factory=set)
    _in: dict[tuple[str, str], list[Route]] = field(default_factory=dict)
    _out: dict[str, list[Route]] = field(default_factory=dict)
    _alternate_of: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for route in self.graph.routes:
            self._in.setdefault((route.kind, route.destination), []).append(route)
            self._out.setdefault(route.source, []).append(route)
        for exchange, alternate in self.graph.alternates.items():
            self._alternate_of.setdefault(alternate, []).append(exchange)

    def climb(self, kind: str, name: str) -> None:
        """Find all that leads to a queue or exchange."""
        waiting = [(kind, name)]
        while waiting:
            end = waiting.pop()
            leading = self._in.get(end, [])
            self.routes |= {route_key(route) for route in leading}
            sources = [route.source for route in leading]
            if end[0] == "exchange":
                sources += self._alternate_of.get(end[1], [])
            new = set(sources) - self.upward
            self.upward |= new
            waiting += [("exchange", source) for source in new]

    def stay(self, queue: str) -> None:
        """Find all that what a queue dead-letters goes to."""
        queues, exchanges = [queue], list[str]()
        while queues or exchanges:
            if queues:
                name = queues.pop()
                target = self.graph.dead_letters.get(name)
                if name not in self.queues and target is not None:
                    if target.exchange:
                        exchanges.append(target.exchange)
                    elif target.queue and target.queue not in self.may_go:
                        queues.append(target.queue)
                self.queues.add(name)
                continue
            exchange = exchanges.pop()
            if exchange in self.downward:
                continue
            self.downward.add(exchange)
            if exchange in self.graph.alternates:
                exchanges.append(self.graph.alternates[exchange])
            for route in self._out.get(exchange, []):
                if route.kind == "queue" and route.destination in self.may_go:
                    continue
                self.routes.add(route_key(route))
                (queues if route.kind == "queue" else exchanges).append(route.destination)
