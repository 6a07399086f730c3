"""
What two configs do differently with messages: classes of them, each with an example.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rabbit_topology.config.stack import Stack
from rabbit_topology.errors import TopologyError
from rabbit_topology.routing.dead_letters import by_name
from rabbit_topology.routing.keys import Keys
from rabbit_topology.routing.messages import Messages
from rabbit_topology.routing.network import DEFAULT_EXCHANGE, Network, Step
from rabbit_topology.routing.pattern import TooComplexError
from rabbit_topology.routing.publication import publish
from rabbit_topology.routing.publishers import Publisher, publishers
from rabbit_topology.routing.reach import Reach
from rabbit_topology.routing.redundant import redundant

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
        self._result = Changes()
        self._publishers = {
            (publisher.kind, publisher.name): publisher for publisher in publishers(before)
        }

    def changes(self) -> Changes:
        before, now, result = self._before.network, self._now.network, self._result
        result.gone += [name for name in before.shapes if name not in now.shapes]
        may_publish = publishers(now)
        for queue in dict.fromkeys((*before.queues, *now.queues)):
            try:
                self._queue(queue, may_publish)
            except TooComplexError as error:
                result.undecided.append(f"queue {queue}: {error}")
        result.settings += self._settings()
        try:
            known = {_identity(step) for step in redundant(self._before)}
            result.redundant += [
                step for step in redundant(self._now) if _identity(step) not in known
            ]
        except TooComplexError as error:
            result.undecided.append(f"bindings that add nothing: {error}")
        return result

    def _queue(self, queue: str, may_publish: list[Publisher]) -> None:
        old = self._before.to(queue) if queue in self._before.network.queues else {}
        new = self._now.to(queue) if queue in self._now.network.queues else {}
        if old and not new and queue in self._now.network.queues:
            self._result.unreachable.append(queue)
        if old != new:
            exchanges = [
                name
                for name in dict.fromkeys((*old, *new))
                if name in self._now.network.shapes
                and old.get(name, Messages()) != new.get(name, Messages())
            ]
            for gained in (False, True):
                self._side(queue, exchanges, old, new, gained=gained)
        self._further(queue, old, new, may_publish)

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
        network = (self._before if before else self._now).network
        if exchange not in network.shapes:
            return ()
        routed = publish(network, exchange, routing_key, headers).routed
        return tuple(sorted(routed.may_reach))

    def _as_before(self, exchange: str) -> bool:
        before, now = self._before.network, self._now.network
        if before.shapes.get(exchange) != now.shapes.get(exchange):
            return False
        ways = [_ways(network, exchange) for network in (before, now)]
        return ways[0] == ways[1]

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

    def _settings(self) -> Iterator[Setting]:
        before, now = self._before.network, self._now.network
        for queue in before.queues:
            if queue not in now.queues:
                continue
            old, new = before.context.settings[queue], now.context.settings[queue]
            for key in _LIVES:
                if old.get(key) != new.get(key):
                    yield Setting(queue=queue, key=key, before=old.get(key), now=new.get(key))


def _with_name(leading: Mapping[str, Messages], queue: str) -> dict[str, Messages]:
    """Return what leads to a queue, the default exchange included."""
    return {**leading, DEFAULT_EXCHANGE: by_name(queue)}


def _published(may: Keys, leading: Messages) -> Messages:
    return Messages.of(may) & leading


def _ways(network: Network, exchange: str) -> set[tuple[object, ...]]:
    alternate = network.alternate(exchange)
    steps = [*network.steps.get(exchange, ()), *([alternate] if alternate else [])]
    return {_identity(step) for step in steps}


def _identity(step: Step) -> tuple[object, ...]:
    """Return what a binding is to the broker."""
    return step.source, step.kind, step.destination, step.pattern, step.condition
