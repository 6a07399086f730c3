"""
What two configs do differently with messages: classes of them, each with an example.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rabbit_topology.config.stack import Stack
from rabbit_topology.errors import TopologyError
from rabbit_topology.routing.across import Across
from rabbit_topology.routing.dead_letters import by_name
from rabbit_topology.routing.keys import Keys
from rabbit_topology.routing.links import Place
from rabbit_topology.routing.messages import Messages
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.pattern import TooComplexError
from rabbit_topology.routing.publication import publish
from rabbit_topology.routing.publishers import Publisher, publishers
from rabbit_topology.routing.reach import Reach
from rabbit_topology.routing.redundant import redundant
from rabbit_topology.routing.steps import DEFAULT_EXCHANGE, Step, located, place

_LIVES = (
    "message-ttl",
    "delivery-limit",
    "max-length",
    "max-length-bytes",
    "overflow",
    "dead-letter-exchange",
    "dead-letter-routing-key",
    "dead-letter-strategy",
)
"""Settings of a queue that decide what becomes of messages in it."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """Messages that get into a queue now and did not before, or the other way round."""

    exchange: str
    queue: str
    gained: bool
    messages: Messages
    routing_key: str
    """Of an example."""
    headers: Mapping[str, Any]
    """Of the example."""
    elsewhere: tuple[str, ...]
    """The queues that the example gets into on the other side: now if it was lost, else before."""
    through: tuple[str, ...] = ()
    """Exchanges from which it is the same, since they lead there."""


@dataclass(frozen=True, kw_only=True)
class Further:
    """A queue that a service or user could not publish to like this before."""

    publisher: Publisher
    queue: str
    new: bool
    """It could not reach the queue at all."""
    exchange: str
    routing_key: str
    headers: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting of a queue that decides what becomes of messages in it, and is another one now."""

    queue: str
    key: str
    before: object
    now: object


@dataclass(frozen=True, kw_only=True)
class LinkChange:
    """A shovel or a federation link that came, went, or does something else now."""

    link: str
    before: str | None
    """What it does; None: it is not there."""
    now: str | None


@dataclass(kw_only=True)
class Changes:
    """All that two configs of a vhost do differently."""

    changes: list[Change] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)
    """Queues that an exchange led to, and none does any more."""
    redundant: list[Step] = field(default_factory=list)
    """Bindings that add nothing, and were not there before or added something."""
    further: list[Further] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)
    links: list[LinkChange] = field(default_factory=list)
    """Shovels and federation links of this vhost, which take from it or bring something."""
    gone: list[str] = field(default_factory=list)
    """Exchanges that are no longer there: what is published to them is refused."""
    undecided: list[str] = field(default_factory=list)
    """What could not be told within the bounds of the analysis."""

    def __bool__(self) -> bool:
        return any(bool(getattr(self, name)) for name in self.__dataclass_fields__)


def compare(before: Network, now: Network) -> Changes:
    """Return what is different now."""
    return _Comparison(before, now).changes()


def stacks(before: Stack, now: Stack) -> dict[str, Changes]:
    """Return by vhost what is different now.

    A stack's only vhost is compared with the other's only one, whatever their names.

    Raises:
        TopologyError: A vhost is in one of them only.
    """
    old, new = Network.every(before), Network.every(now)
    if len(old) == len(new) == 1:
        return {name: compare(next(iter(old.values())), network) for name, network in new.items()}
    if alone := sorted(old.keys() ^ new.keys()):
        raise TopologyError(f"vhost {alone[0]} is in one of the two only")
    return {name: compare(old[name], network) for name, network in new.items()}


class _Comparison:
    def __init__(self, before: Network, now: Network) -> None:
        self._before, self._now = Reach(before), Reach(now)
        self._across = Across(self._before), Across(self._now)
        self._result = Changes()
        self._spots: dict[str, tuple[str | None, str]] = {}
        """By name of an exchange that links bring messages of: its vhost, None for this one."""
        self._publishers = {
            (publisher.kind, publisher.name): publisher for publisher in _everyone(before)
        }

    def changes(self) -> Changes:
        before, now, result = self._before.network, self._now.network, self._result
        result.gone += [name for name in before.shapes if name not in now.shapes]
        may_publish = _everyone(now)
        for queue in dict.fromkeys((*before.queues, *now.queues)):
            try:
                self._queue(queue, may_publish)
            except TooComplexError as error:
                result.undecided.append(f"queue {queue}: {error}")
        result.settings += self._settings()
        result.links += self._links()
        try:
            known = {_identity(step) for step in redundant(self._before)}
            result.redundant += [
                step for step in redundant(self._now) if _identity(step) not in known
            ]
        except TooComplexError as error:
            result.undecided.append(f"bindings that add nothing: {error}")
        return result

    def _queue(self, queue: str, may_publish: list[Publisher]) -> None:
        old = self._leading(queue, self._before, self._across[0])
        new = self._leading(queue, self._now, self._across[1])
        if old and not new and queue in self._now.network.queues:
            self._result.unreachable.append(queue)
        if old != new:
            exchanges = [
                name
                for name in dict.fromkeys((*old, *new))
                if self._network(name, before=False)[0] is not None
                and old.get(name, Messages()) != new.get(name, Messages())
            ]
            for gained in (False, True):
                self._side(queue, exchanges, old, new, gained=gained)
        self._further(queue, old, new, may_publish)

    def _leading(self, queue: str, reach: Reach, across: Across) -> dict[str, Messages]:
        """Return by exchange, with its vhost where that is another, what gets into a queue.

        By its name only over links: that the default exchange leads to it is no news.
        """
        if queue not in reach.network.queues:
            return {}
        here = reach.network.vhost
        leading = dict(reach.to(queue))
        for brought in across.brought(queue).values():
            for (vhost, exchange), messages in brought.items():
                name = located(exchange, vhost, here)
                self._spots[name] = None if vhost == here else vhost, exchange
                leading[name] = leading.get(name, Messages()) | messages
        return leading

    def _network(self, name: str, *, before: bool) -> tuple[Network | None, str]:
        """Return the vhost of an exchange, None if it is not there, and its name in it."""
        vhost, exchange = self._spots.get(name, (None, name))
        network = (self._before if before else self._now).network
        other = network if vhost is None else network.links.networks.get(vhost)
        return other if other is not None and other.known(exchange) else None, exchange

    def _side(
        self,
        queue: str,
        exchanges: list[str],
        old: Mapping[str, Messages],
        new: Mapping[str, Messages],
        *,
        gained: bool,
    ) -> None:
        """Note what came or went; from exchanges that are as before only by name."""
        one, other = (new, old) if gained else (old, new)
        own: list[Change] = []
        through: list[Change] = []
        for exchange in exchanges:
            difference = one.get(exchange, Messages()) - other.get(exchange, Messages())
            example = difference.example()
            if example is None:
                continue
            changed = Change(
                exchange=exchange,
                queue=queue,
                gained=gained,
                messages=difference.simplified(),
                routing_key=example[0],
                headers=example[1],
                elsewhere=self._elsewhere(exchange, *example, before=gained),
            )
            (through if self._as_before(exchange) else own).append(changed)
        if own and through:
            names = tuple(change.exchange for change in through)
            own[0] = replace(own[0], through=names)
            through = []
        self._result.changes += own + through

    def _elsewhere(
        self, exchange: str, routing_key: str, headers: Mapping[str, Any], *, before: bool
    ) -> tuple[str, ...]:
        network, name = self._network(exchange, before=before)
        if network is None:
            return ()
        published = publish(network, name, routing_key, headers)
        here = self._now.network.vhost
        if network.links.networks and (published.beyond or network.vhost != here):
            queues = {*map(published.located, published.routed.may_reach), *published.beyond}
            places = (place(queue, network.vhost, network.links.networks) for queue in queues)
            return tuple(sorted(located(queue, vhost, here) for vhost, queue in places))
        return tuple(sorted(published.routed.may_reach))

    def _as_before(self, name: str) -> bool:
        before, exchange = self._network(name, before=True)
        now, _ = self._network(name, before=False)
        if before is None or now is None:
            return False
        if before.shapes.get(exchange) != now.shapes.get(exchange):
            return False
        return _ways(before, exchange) == _ways(now, exchange)

    def _further(
        self,
        queue: str,
        old: Mapping[str, Messages],
        new: Mapping[str, Messages],
        may_publish: list[Publisher],
    ) -> None:
        old, new = (_with_name(one, queue) for one in (old, new))
        if queue not in self._before.network.queues:
            old = {}
        for publisher in may_publish:
            formerly = self._publishers.get((publisher.kind, publisher.name))
            common = [name for name in publisher.exchanges if name in new]
            if formerly is not None and all(
                old.get(name) == new[name]
                and formerly.exchanges.get(name) == publisher.exchanges[name]
                for name in common
            ):
                continue
            could = formerly is not None and any(
                _published(formerly.exchanges[name], old[name])
                for name in formerly.exchanges
                if name in old
            )
            for name in common:
                was = Messages()
                if formerly is not None and name in formerly.exchanges and name in old:
                    was = _published(formerly.exchanges[name], old[name])
                example = (_published(publisher.exchanges[name], new[name]) - was).example()
                if example is not None:
                    self._result.further.append(
                        Further(
                            publisher=publisher,
                            queue=queue,
                            new=not could,
                            exchange=name,
                            routing_key=example[0],
                            headers=example[1],
                        )
                    )
                    break

    def _links(self) -> Iterator[LinkChange]:
        before, now = _links(self._before.network), _links(self._now.network)
        for title in dict.fromkeys((*before, *now)):
            if before.get(title) != now.get(title):
                yield LinkChange(link=title, before=before.get(title), now=now.get(title))

    def _settings(self) -> Iterator[Setting]:
        before, now = self._before.network, self._now.network
        for queue in before.queues:
            if queue not in now.queues:
                continue
            old, new = before.context.settings[queue], now.context.settings[queue]
            for key in _LIVES:
                if old.get(key) != new.get(key):
                    yield Setting(queue=queue, key=key, before=old.get(key), now=new.get(key))


def _everyone(network: Network) -> list[Publisher]:
    """Return who may publish what, in this vhost and in others, whose names have them then."""
    here = network.vhost
    others = [other for name, other in network.links.networks.items() if name != here]
    return publishers(network) + [
        replace(
            publisher,
            name=located(publisher.name, other.vhost, here),
            exchanges={
                located(name, other.vhost, here): allowed
                for name, allowed in publisher.exchanges.items()
            },
        )
        for other in others
        for publisher in publishers(other)
    ]


def _links(network: Network) -> dict[str, str]:
    """Return what each link of a vhost does, by its title."""
    here, links = network.vhost, network.links.all
    near = [
        link
        for link in links
        if here in {place.vhost for place in (link.source, link.target) if place is not None}
    ]
    does: dict[str, str] = {}
    for link in near:
        ends = [_end(place, here) for place in (link.source, link.target)]
        key = "" if link.routing_key is None else f" with {json.dumps(link.routing_key)}"
        asked = f" by {json.dumps(link.source_key)}" if link.source_key else ""
        told = f"takes from {ends[0]}{asked} to {ends[1]}{key}"
        told += f", perhaps: {link.doubt}" if link.doubt else ""
        told += f"; not known from here: {link.unknown}" if link.unknown else ""
        does[link.title] = f"{does[link.title]}; {told}" if link.title in does else told
    return does


def _end(one: Place | None, here: str) -> str:
    return "where is not known" if one is None else one.text(here)


def _with_name(leading: Mapping[str, Messages], queue: str) -> dict[str, Messages]:
    """Return what leads to a queue, the default exchange included."""
    by_links = leading.get(DEFAULT_EXCHANGE, Messages())
    return {**leading, DEFAULT_EXCHANGE: by_name(queue) | by_links}


def _published(may: Keys, leading: Messages) -> Messages:
    return Messages.of(may) & leading


def _ways(network: Network, exchange: str) -> set[tuple[object, ...]]:
    alternate = network.alternate(exchange)
    steps = [*network.ways(exchange), *([alternate] if alternate else [])]
    return {_identity(step) for step in steps}


def _identity(step: Step) -> tuple[object, ...]:
    """Return what a binding is to the broker."""
    end = "" if step.kind == "link" else step.destination
    return step.source, step.kind, end, step.pattern, step.condition
