"""
What is to be watched of each queue: what it is for, whose it is, and how much it may hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from rabbit_topology.compiler.context import Context
from rabbit_topology.compiler.retained import DeadLetters
from rabbit_topology.errors import parts
from rabbit_topology.model import Overflow, QueueType
from rabbit_topology.routing import purposes
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.origins import additions

_DEAD = "dead-letter-exchange"


class Purpose(StrEnum):
    """What a queue is for."""

    WORK = "work"
    """Consumers take what is in it."""
    PARKED = "parking lot"
    """Messages that were tried in vain, until somebody looks at them."""
    WAITING = "retry or delay"
    """Messages wait in it for a time, and go on by themselves."""
    DEAD = "dead letters"
    """What other queues dead-letter."""
    UNROUTABLE = "unroutable"
    """What no binding took."""
    STREAM = "stream"
    """A log: what is read stays."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """One queue, as far as it is watched."""

    vhost: str
    name: str
    purpose: Purpose
    services: tuple[str, ...] = ()
    """Those whose matter it is: who consume it, or the queue that its messages come from; of
    unroutable messages, who publish them."""
    consumers: tuple[str, ...] = ()
    """The services that consume it."""
    wait: int = 0
    """Milliseconds that a message waits in it at most; 0: there is no end."""
    max_length: int = 0
    """Ready messages at most; 0: no limit."""
    max_bytes: int = 0
    """Bytes of them at most; 0: no limit."""
    overflow: Overflow = Overflow.DROP_HEAD
    """What happens beyond."""
    dead_letters: bool = False
    """What it drops is dead-lettered."""

    @property
    def needs_consumer(self) -> bool:
        """Whether a service should consume it all the time.

        What else a service consumes, such as a parking lot, it looks into when there is something.
        """
        return self.purpose is Purpose.WORK and bool(self.consumers)

    @property
    def loses(self) -> bool:
        """Whether messages are lost beyond its limit."""
        return self.overflow is Overflow.DROP_HEAD and not self.dead_letters


def every(network: Network) -> list[Watched]:
    """Return all queues of a vhost, in their order."""
    context = network.context
    whose = _Services(context)
    owners = _owners(network, whose)
    patterns = dict(_of_patterns(context))
    return [
        _watched(context, name, patterns.get(name) or _purpose(context, name, owners, whose), whose)
        for name in network.queues
    ]


@dataclass(frozen=True, kw_only=True)
class _Role:
    """What a queue is for, and of which queues or exchanges."""

    purpose: Purpose
    queues: tuple[str, ...] = ()
    exchanges: tuple[str, ...] = ()


class _Services:
    """Who consumes and who publishes, in one vhost."""

    def __init__(self, context: Context) -> None:
        self.consuming: dict[str, list[str]] = {}
        self.publishing: dict[str, list[str]] = {}
        for name, service in context.written.services.items():
            for queue in service.consumes:
                self.consuming.setdefault(queue, []).append(name)
            for publish in service.publishes:
                self.publishing.setdefault(publish.exchange, []).append(name)

    def of(self, name: str, role: _Role) -> tuple[str, ...]:
        """Return those whose matter a queue is, in order."""
        consuming = {one for queue in (name, *role.queues) for one in self.consuming.get(queue, ())}
        publishing = {one for name in role.exchanges for one in self.publishing.get(name, ())}
        return tuple(sorted(consuming | publishing))


def _watched(context: Context, name: str, role: _Role, whose: _Services) -> Watched:
    settings = context.settings[name]

    def number(key: str) -> int:
        value = settings.get(key)
        return value if isinstance(value, int) else 0

    watched = Watched(
        vhost=context.written.vhost,
        name=name,
        purpose=role.purpose,
        services=whose.of(name, role),
        consumers=tuple(sorted(whose.consuming.get(name, ()))),
        dead_letters=_DEAD in settings,
    )
    if role.purpose is Purpose.STREAM:  # its limits are for how long it keeps what it has
        return watched
    overflow = settings.get("overflow")
    return replace(
        watched,
        wait=number("message-ttl") if role.purpose is Purpose.WAITING else 0,
        max_length=number("max-length"),
        max_bytes=number("max-length-bytes"),
        overflow=Overflow(overflow) if isinstance(overflow, str) else Overflow.DROP_HEAD,
    )


def _of_patterns(context: Context) -> Iterator[tuple[str, _Role]]:
    """Yield the queues that patterns make; super streams are streams like any others."""
    for where, made in additions(context.written):
        _, _, owner, *field = map(str, parts(where))
        for name, queue in made.queues.items():
            match field:
                case ["retry"] if queue.message_ttl is None:
                    yield name, _Role(purpose=Purpose.PARKED, queues=(owner,))
                case ["retry"]:
                    yield name, _Role(purpose=Purpose.WAITING, queues=(owner,))
                case ["dead_letter"]:
                    yield name, _Role(purpose=Purpose.DEAD, queues=(owner,))
                case ["unroutable"]:
                    yield name, _Role(purpose=Purpose.UNROUTABLE, exchanges=(owner,))
                case ["delays"]:
                    yield name, _Role(purpose=Purpose.WAITING, exchanges=(owner,))


@dataclass(frozen=True, kw_only=True)
class _Owners:
    """Queues that the ways to them make what they are, and where their messages come from."""

    dead: Mapping[str, tuple[str, ...]]
    """By queue: those that dead-letter into it."""
    unroutable: Mapping[str, tuple[str, ...]]
    """By queue: the exchanges whose alternate exchange leads to it."""


def _owners(network: Network, whose: _Services) -> _Owners:
    context = network.context
    routes = [step for steps in network.steps.values() for step in steps]
    into = {kind: [(r.source, r.destination) for r in routes if r.kind == kind] for kind in _KINDS}
    letters = {
        name: one
        for name, settings in context.settings.items()
        if (one := DeadLetters.of(settings)) is not None
    }
    exchanges = {name: one.exchange for name, one in letters.items() if one.exchange}
    named = {name: one.queue for name, one in letters.items() if one.queue is not None}
    alternates = context.alternates
    dead, unroutable = purposes.sources(exchanges.values(), alternates.items(), into["exchange"])
    bound: dict[str, set[str]] = {}
    for source, queue in into["queue"]:
        bound.setdefault(queue, set()).add(source)
    waiting = {name for name in letters if _waits(context, name, whose)}
    by_name = purposes.by_name(named, waiting, whose.consuming)
    return _Owners(
        dead={
            queue: tuple(
                name
                for name, one in letters.items()
                if one.exchange in bound.get(queue, ()) or named.get(name) == queue
            )
            for queue in purposes.only_from(dead, into["queue"], by_name)
        },
        unroutable={
            queue: tuple(name for name, to in alternates.items() if to in bound[queue])
            for queue in purposes.only_from(unroutable, into["queue"])
        },
    )


_KINDS = ("queue", "exchange")


def _purpose(context: Context, name: str, owners: _Owners, whose: _Services) -> _Role:
    """Return what a queue is for that no pattern makes."""
    settings = context.settings[name]
    if context.whole.queues[name].type is QueueType.STREAM:
        return _Role(purpose=Purpose.STREAM)
    if _DEAD in settings:
        purpose = Purpose.WAITING if _waits(context, name, whose) else Purpose.WORK
        return _Role(purpose=purpose, queues=owners.dead.get(name, ()))
    if name in owners.unroutable:
        return _Role(purpose=Purpose.UNROUTABLE, exchanges=owners.unroutable[name])
    if name in owners.dead:
        return _Role(purpose=Purpose.DEAD, queues=owners.dead[name])
    return _Role(purpose=Purpose.WORK)


def _waits(context: Context, name: str, whose: _Services) -> bool:
    """Return whether messages expire in a queue, and no service consumes it."""
    return "message-ttl" in context.settings[name] and name not in whose.consuming
