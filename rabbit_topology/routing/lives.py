"""
What follows once a message is in a queue: when it leaves it other than to a consumer that
acknowledges it, where its dead letters go, and where it ends.

Source: "Dead Letter Exchanges", "Time-To-Live and Expiration", "Quorum Queues", "Queue Length
Limit", RabbitMQ documentation; `rabbit_dead_letter`, `rabbit_fifo_dlx_worker`, read in 3.10.8,
4.0.5 and 4.3.6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from pydantic import JsonValue

from rabbit_topology.model import (
    NO_DELIVERY_LIMIT,
    DeadLetterStrategy,
    Overflow,
    QueueType,
    Reason,
)
from rabbit_topology.model.versions import Version
from rabbit_topology.routing.message import Message
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.trace import Hop, route

MAX_DEATHS = 100
"""How often one message is followed from queue to queue."""
MAX_QUEUES = 1_000
"""How many queues all that becomes of one message is followed into."""

_CONTAINERS: Version = (3, 13)
"""The first version with message containers, which know deaths in another way.

Source: https://github.com/rabbitmq/rabbitmq-server/pull/11174, and the code of the tested versions.
The first releases of 3.13 look for cycles in the order of the queues' names: not followed here.
"""
_LIMIT_BY_DEFAULT: Version = (4, 0)
_DEFAULT_LIMIT = 20
"""Deliveries of a quorum queue that came to nothing, from RabbitMQ 4.0 on."""


class End(StrEnum):
    """How the way of a message ends."""

    STAYS = "stays"
    """It waits in a queue for a consumer."""
    DISCARDED = "discarded"
    """The queue has no dead-letter exchange: it is gone."""
    UNROUTED = "unrouted"
    """Its dead-letter exchange leads into no queue: it is gone."""
    CYCLE = "cycle"
    """It would come into a queue again without having been rejected: the broker drops it."""
    KEPT = "kept"
    """It waits in the queue that it died in, until its dead letters can go somewhere."""
    REFUSED = "refused"
    """The queue is full and takes no more: the publisher gets a negative confirm."""
    ENDLESS = "endless"
    """It goes on like this for ever."""
    UNKNOWN = "unknown"
    """It goes where nothing is known from here."""
    TAKEN = "taken"
    """A shovel takes it out of the queue."""
    CUT = "not followed further"
    """Its way is longer than `MAX_DEATHS`, or what becomes of it more than `MAX_QUEUES`."""


@dataclass(frozen=True, kw_only=True)
class Death:
    """A message leaves a queue, and what becomes of it."""

    reason: Reason
    at: int
    """Milliseconds since it was published, at least."""
    count: int
    """How often it died of this reason in this queue, this time included."""
    exchange: str | None
    """The dead-letter exchange; None: the queue has none."""
    routing_keys: tuple[str, ...]
    """Those that it goes on with."""
    path: str
    """Where the config says so."""
    root: Hop | None = None
    """Its way from the dead-letter exchange."""
    cycles: tuple[str, ...] = ()
    """Queues on this way that it is not put into again."""
    end: End | None = None
    """How its way ends; None: it goes on in `then`."""
    then: tuple[Life, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Life:
    """A message in a queue."""

    queue: str
    message: Message
    """As it got there."""
    at: int
    """Milliseconds since it was published, at least."""
    death: Death | None = None
    """How it leaves the queue; None: it does not."""
    end: End | None = None

    def walk(self) -> Iterator[Life]:
        """Yield this and all that follows."""
        yield self
        for life in self.death.then if self.death else ():
            yield from life.walk()

    def ends(self) -> Iterator[tuple[End, str, int]]:
        """Yield how it ends, with the queue that it was last in, and when."""
        for life in self.walk():
            yield from ((end, life.queue, at) for end, at in life.own_ends())

    def own_ends(self) -> Iterator[tuple[End, int]]:
        """Yield how it ends in this very queue, and when."""
        if self.end is not None:
            yield self.end, self.at
        if self.death is not None and self.death.end is not None:
            yield self.death.end, self.death.at


def reasons(network: Network, queue: str, message: Message) -> list[Reason]:
    """Return why a message may leave a queue other than to a consumer that acknowledges it."""
    settings = network.context.settings[queue]
    kind = network.queues[queue].type
    if kind is QueueType.STREAM:
        return []
    possible = [Reason.REJECTED]
    if time_to_live(network, queue, message) is not None:
        possible.insert(0, Reason.EXPIRED)
    if delivery_limit(network, queue) is not None:
        possible.append(Reason.DELIVERY_LIMIT)
    if {"max-length", "max-length-bytes"} & settings.keys():
        possible.append(Reason.MAXLEN)
    return possible


def time_to_live(network: Network, queue: str, message: Message) -> int | None:
    """Return after how many milliseconds a message expires in a queue, None if it does not."""
    if network.queues[queue].type is QueueType.STREAM:
        return None
    ttl = network.context.settings[queue].get("message-ttl")
    limits = [limit for limit in (ttl, message.expiration) if isinstance(limit, int)]
    return min(limits) if limits else None


def delivery_limit(network: Network, queue: str) -> int | None:
    """Return how often a message may come back to a queue, None if that is not limited."""
    if network.queues[queue].type is not QueueType.QUORUM:
        return None
    limit = network.context.settings[queue].get("delivery-limit")
    if not isinstance(limit, int):
        return _DEFAULT_LIMIT if network.context.like[-1] >= _LIMIT_BY_DEFAULT else None
    return limit if 0 <= limit < NO_DELIVERY_LIMIT else None


def follow(
    network: Network,
    queue: str,
    message: Message,
    reason: Reason,
    at: int = 0,
    *,
    most: int | None = None,
    first: bool = True,
) -> Life:
    """Follow a message that leaves a queue for a reason, until its way ends.

    In the queues that it comes to a shovel takes it, or it expires where messages expire. Otherwise
    it is rejected again if that was the reason, wherever there is a dead-letter exchange; if it
    comes back to the first queue it leaves it for the same reason; else it stays.

    Args:
        network: The vhost.
        queue: The queue that it is in.
        message: As it got there.
        reason: Why it leaves the queue.
        at: When it got there, in milliseconds.
        most: Into how many queues it is followed; None: into `MAX_QUEUES`.
        first: The queue is the one that it leaves for the reason, not one that it comes to later.
    """
    bound = MAX_QUEUES if most is None else most
    return _Follow(network, queue if first else None, reason, bound).life(
        queue, message, at, (), frozenset(), first=first
    )


_State: TypeAlias = tuple[str, tuple[str, ...], str, tuple[tuple[str, Reason], ...]]
"""A message in a queue: all that decides where it goes from there."""


class _Follow:
    def __init__(self, network: Network, queue: str | None, reason: Reason, most: int) -> None:
        self._network = network
        self._queue = queue
        self._reason = reason
        self._left = most

    def life(
        self,
        queue: str,
        message: Message,
        at: int,
        trail: tuple[str, ...],
        states: frozenset[_State],
        *,
        first: bool = False,
    ) -> Life:
        self._left -= 1
        if len(trail) > MAX_DEATHS or self._left < 0:
            return Life(queue=queue, message=message, at=at, end=End.CUT)
        if not first and self._network.surely_taken(queue):
            return Life(queue=queue, message=message, at=at, end=End.TAKEN)
        reason = self._reason if first else self._next(queue, message)
        if reason is None:
            return Life(queue=queue, message=message, at=at, end=End.STAYS)
        state = (queue, message.routing_keys, _told(message.headers), message.deaths)
        if state in states:
            return Life(queue=queue, message=message, at=at, end=End.ENDLESS)
        death = self._death(queue, message, reason, at, trail, states | {state})
        return Life(queue=queue, message=message, at=at, death=death)

    def _next(self, queue: str, message: Message) -> Reason | None:
        settings = self._network.context.settings[queue]
        if self._network.queues[queue].type is QueueType.STREAM:
            return None
        again = queue == self._queue and self._reason in (Reason.REJECTED, Reason.DELIVERY_LIMIT)
        if again:
            return self._reason
        if time_to_live(self._network, queue, message) is not None:
            return Reason.EXPIRED
        rejected = self._reason is Reason.REJECTED and "dead-letter-exchange" in settings
        return Reason.REJECTED if rejected else None

    def _death(
        self,
        queue: str,
        message: Message,
        reason: Reason,
        at: int,
        trail: tuple[str, ...],
        states: frozenset[_State],
    ) -> Death:
        network = self._network
        settings = network.context.settings[queue]
        exchange = settings.get("dead-letter-exchange")
        left = time_to_live(network, queue, message) if reason is Reason.EXPIRED else 0
        death = Death(
            reason=reason,
            at=at + (left or 0),
            count=1 + trail.count(queue),
            exchange=exchange if isinstance(exchange, str) else None,
            routing_keys=message.routing_keys,
            path=network.origins.of_setting("queues", queue, "dead-letter-exchange"),
        )
        refused = reason is Reason.MAXLEN and settings.get("overflow") == Overflow.REJECT_PUBLISH
        if refused:
            return replace(death, end=End.REFUSED)
        if not isinstance(exchange, str):
            return replace(death, end=End.DISCARDED)
        routing_key = settings.get("dead-letter-routing-key")
        version = network.context.version
        dead = message.dead(
            queue,
            reason,
            exchange,
            routing_key if isinstance(routing_key, str) else None,
            containers=version is None or version >= _CONTAINERS,
        )
        death = replace(death, routing_keys=dead.routing_keys)
        kept = at_least_once(network, queue)
        if not network.known(exchange):
            declared = bool(network.declarers(exchange))
            end = End.UNKNOWN if declared else End.KEPT if kept else End.UNROUTED
            return replace(death, end=end)
        routed = route(network, exchange, dead)
        rejected = reason is Reason.REJECTED
        cycles = () if rejected else tuple(filter(dead.goes_round, sorted(routed.may_reach)))
        onward = [name for name in sorted(routed.may_reach) if name not in cycles]
        death = replace(death, root=routed.root, cycles=cycles)
        if not onward:
            end = End.KEPT if kept else End.CYCLE if cycles else End.UNROUTED
            return replace(death, end=End.UNKNOWN if routed.unknown and not cycles else end)
        then = tuple(
            self.life(name, dead, death.at + routed.delays[name], (*trail, queue), states)
            for name in onward
        )
        return replace(death, then=then)


def at_least_once(network: Network, queue: str) -> bool:
    """Return whether a queue keeps its dead letters until a target has confirmed them."""
    settings = network.context.settings[queue]
    return (
        network.queues[queue].type is QueueType.QUORUM
        and settings.get("dead-letter-strategy") == DeadLetterStrategy.AT_LEAST_ONCE
        and settings.get("overflow") == Overflow.REJECT_PUBLISH
    )


def _told(headers: Mapping[str, JsonValue]) -> str:
    return repr(sorted(headers.items()))
