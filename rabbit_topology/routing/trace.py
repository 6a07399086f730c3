"""
Where one message goes from an exchange: every hop with what took it there, and the queues.

Each exchange is visited once, and a queue gets a message once, however many ways lead there; each
exchange along the way looks at all routing keys of the message.
Source: "Exchange to Exchange Bindings", "Alternate Exchanges", RabbitMQ documentation;
`rabbit_exchange:route`, read in 3.10.8, 4.0.5 and 4.3.6.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rabbit_topology.routing import headers
from rabbit_topology.routing.message import DELAY, Message
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.steps import DEFAULT_EXCHANGE, Kind, Step


@dataclass(frozen=True, kw_only=True)
class Hop:
    """An exchange or a queue that a message comes to."""

    kind: str
    """`queue`, `exchange` or `link`."""
    name: str
    """Of a link its title."""
    type: str
    """Of the exchange or queue; `not declared here` if others declare it, or nobody."""
    step: Step | None = None
    """What led there; None: it was published, or dead-lettered, to it."""
    certain: bool = True
    """False: it comes there or not, by a hash, at random, or by rules that are not known here."""
    seen: bool = False
    """It was there before on another way: nothing more happens."""
    after: int = 0
    """Milliseconds that it is kept there first, by its header `x-delay`."""
    notes: tuple[str, ...] = ()
    stopped: str = ""
    """Why a link does not take it."""
    hops: tuple[Hop, ...] = ()
    """Where it goes on to; none from an exchange: it is dropped there."""

    def walk(self) -> Iterator[Hop]:
        """Yield this hop and all behind it."""
        yield self
        for hop in self.hops:
            yield from hop.walk()


@dataclass(frozen=True, kw_only=True)
class Routed:
    """What became of a message at an exchange."""

    root: Hop
    reaches: frozenset[str]
    """The queues that it certainly gets into."""
    may_reach: frozenset[str]
    """Those as well that it may get into, or not."""
    certainly_routed: bool
    """It gets into some queue, whichever."""
    delays: dict[str, int]
    """By queue: the milliseconds until it is there."""
    links: dict[str, tuple[int, bool]]
    """By key of each link that takes it from an exchange: when, and whether it certainly does."""

    @property
    def dropped(self) -> bool:
        """Whether it certainly gets into no queue: it is dropped, or returned if mandatory."""
        return not self.may_reach and not self.unknown and not self.links

    @property
    def unknown(self) -> bool:
        """Whether a part of its way is not known from here."""
        return any(hop.notes for hop in self.root.walk())


def route(network: Network, exchange: str, message: Message) -> Routed:
    """Follow a message from an exchange."""
    walk = _Walk(network, message)
    root = walk.exchange(exchange, None, certain=True, after=0)
    certain, sure = _certain(network, exchange, walk)
    return Routed(
        root=root,
        reaches=frozenset(certain),
        may_reach=frozenset(walk.delays),
        certainly_routed=bool(certain) or walk.routed_anyway(exchange),
        delays=walk.delays,
        links={key: (after, key in sure) for key, after in walk.links.items()},
    )


_REPLY_TO = "amq.rabbitmq.reply-to"
"""How routing keys begin that lead to a requester. Source: "Direct Reply-to"."""


class _Walk:
    """Breadth does not matter: an exchange decides by the message, not by how it came there."""

    def __init__(self, network: Network, message: Message) -> None:
        self._network = network
        self._message = message
        self._given = {
            name: headers.value(value, numbers_alike=network.numbers_alike)
            for name, value in message.headers.items()
        }
        self.chosen: dict[str, list[tuple[Step, bool]]] = {}
        """By exchange that was visited: the ways on, each with whether it is certain."""
        self.delays: dict[str, int] = {}
        self.links: dict[str, int] = {}

    def exchange(self, name: str, step: Step | None, *, certain: bool, after: int) -> Hop:
        network = self._network
        if name in self.chosen:
            return self._hop("exchange", name, network.type(name), step, certain=certain, seen=True)
        ways = self.chosen[name] = self._ways(name)
        wait = self._wait(name)
        hops = tuple(
            self.exchange(way.destination, way, certain=certain and sure, after=after + wait)
            if way.kind == "exchange"
            else self._end(way, certain=certain and sure, after=after + wait)
            for way, sure in ways
        )
        return Hop(
            kind="exchange",
            name=name,
            type=network.type(name),
            step=step,
            certain=certain,
            after=wait,
            notes=tuple(self._notes(name)),
            hops=hops,
        )

    def routed_anyway(self, name: str, above: frozenset[str] = frozenset()) -> bool:
        """Return whether each choice that an exchange has leads into some queue."""
        ways = self.chosen.get(name, [])
        if name in above or not ways or self._network.kind(name) is Kind.UNKNOWN:
            return False
        onward = (
            self.routed_anyway(way.destination, above | {name})
            if way.kind == "exchange"
            else way.destination in (self._network.queues if way.kind == "queue" else self.links)
            for way, _ in ways
        )
        return all(onward) if self._network.kind(name) is Kind.ONE_OF else any(onward)

    def _end(self, way: Step, *, certain: bool, after: int) -> Hop:
        if way.kind == "link":
            return self._link(way, certain=certain, after=after)
        return self._queue(way, certain=certain, after=after)

    def _link(self, way: Step, *, certain: bool, after: int) -> Hop:
        link = self._network.links.by_key[way.destination]
        stopped = link.stops(self._message)
        seen = link.key in self.links
        if not stopped:
            self.links[link.key] = min(after, self.links.get(link.key, after))
        return Hop(
            kind="link",
            name=link.title,
            type=link.carrier.value,
            step=way,
            certain=certain,
            seen=seen,
            stopped=stopped,
        )

    def _queue(self, way: Step, *, certain: bool, after: int) -> Hop:
        name = way.destination
        queue = self._network.queues.get(name)
        seen = name in self.delays
        if queue is not None:
            self.delays[name] = min(after, self.delays.get(name, after))
        return self._hop(
            "queue",
            name,
            queue.type.value if queue else "not declared here",
            way,
            certain=certain,
            seen=seen,
        )

    def _hop(
        self, kind: str, name: str, type_: str, step: Step | None, *, certain: bool, seen: bool
    ) -> Hop:
        return Hop(kind=kind, name=name, type=type_, step=step, certain=certain, seen=seen)

    def _ways(self, name: str) -> list[tuple[Step, bool]]:
        network = self._network
        kind = network.kind(name)
        ways = network.chosen(name, self._message.routing_keys, self._given)
        sure = kind not in (Kind.ONE_OF, Kind.UNKNOWN) or (
            kind is Kind.ONE_OF and len({(way.kind, way.destination) for way in ways}) == 1
        )
        chosen = [(way, sure) for way in ways]
        alternate = network.alternate(name)
        if alternate and (not ways or kind is Kind.UNKNOWN):
            chosen.append((alternate, kind is not Kind.UNKNOWN))
        return chosen

    def _wait(self, name: str) -> int:
        shape = self._network.shapes.get(name)
        delay = self._message.headers.get(DELAY)
        if shape is None or not shape.delayed or isinstance(delay, bool):
            return 0
        return max(int(delay), 0) if isinstance(delay, int | float) else 0

    def _notes(self, name: str) -> Iterator[str]:
        network = self._network
        if name == DEFAULT_EXCHANGE:
            others = [key for key in self._message.routing_keys if key not in network.queues]
            declarers = {service for key in others for service in network.declarers(key)}
            if any(key.startswith(_REPLY_TO) for key in others):
                yield "whoever waits for a reply by direct reply-to gets it"
            if declarers:
                yield f"{_names(declarers)} may have a queue of this name"
            return
        if not network.known(name):
            yield "who declares it, and what is bound to it, is not known from here"
            return
        if network.kind(name) is Kind.UNKNOWN:
            yield f"how a {network.type(name)} exchange chooses is not known here"
        if binders := network.binders(name):
            yield f"{_names(binders)} may bind queues to it that are not declared here"


def _certain(network: Network, start: str, walk: _Walk) -> tuple[set[str], set[str]]:
    """Return the queues, and the links, that certain ways alone lead to."""
    left, seen = [start], {start}
    queues: set[str] = set()
    links: set[str] = set()
    while left:
        for way, sure in walk.chosen.get(left.pop(), ()):
            if not sure:
                continue
            if way.kind == "queue":
                queues.add(way.destination)
            elif way.kind == "link":
                links.add(way.destination)
            elif way.destination not in seen:
                seen.add(way.destination)
                left.append(way.destination)
    return queues & network.queues.keys(), links


def _names(services: Iterable[str]) -> str:
    return f"service {', '.join(sorted(services))}"
