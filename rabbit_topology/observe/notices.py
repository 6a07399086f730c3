"""
What of a broker's state somebody should look at. Pure.

Source: "Dead Letter Exchanges", "Quorum Queues", "Alarms", RabbitMQ documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from rabbit_topology.compiler.retained import DeadLetters
from rabbit_topology.findings import Severity
from rabbit_topology.model import Topology
from rabbit_topology.observe.status import Notice, QueueStatus, Seen
from rabbit_topology.routing import purposes

Key = tuple[str, str]
"""A vhost, and the name of something in it."""

_PARKING_LOT = ".parking-lot"
_DEAD = "dead-letter-exchange"

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a config says of a broker's use; nothing, where there is no config."""

    queues: frozenset[Key] = frozenset()
    """The queues that are to be there."""
    consumers: Mapping[Key, list[str]] = field(default_factory=dict)
    """By queue: the services that consume it."""
    services: bool = False
    """The rows of services are those of a config: each is expected to be connected."""


def expected(topologies: Iterable[Topology]) -> Expected:
    """Return what topologies, with their patterns spelled out, say of their use."""
    queues = set[Key]()
    consumers: dict[Key, list[str]] = {}
    for topology in topologies:
        vhost = topology.vhost
        queues |= {(vhost, name) for name in topology.queues}
        for name, service in topology.services.items():
            for queue in service.consumes:
                consumers.setdefault((vhost, queue), []).append(name)
    return Expected(queues=frozenset(queues), consumers=consumers, services=True)


def notices(seen: Seen, use: Expected) -> list[Notice]:
    """Return what somebody should look at, the most severe first."""
    order = list(Severity)
    every = [*_nodes(seen), *_missing(seen, use), *_vhosts(seen), *_services(seen, use)]
    dead, unroutable = _dead_and_unroutable(seen, use)
    for queue in seen.queues:
        key = queue.vhost, queue.name
        every += _queue(queue)
        if key in unroutable and not queue.consumers:
            every += _holds(queue, "message that no binding took", "messages that no binding took")
        elif key in dead and not queue.consumers and _DEAD not in queue.settings:
            every += _holds(queue, "dead letter", "dead letters")
        if services := use.consumers.get(key):
            every += _without_consumer(queue, services, seen.time)
    return sorted(every, key=lambda one: order.index(one.severity))


def _notice(severity: Severity, queue: QueueStatus, message: str) -> Notice:
    noun = "stream" if queue.type == "stream" else "queue"
    return Notice(
        severity=severity, vhost=queue.vhost, object=f"{noun} {queue.name}", message=message
    )


def _nodes(seen: Seen) -> Iterator[Notice]:
    for node in seen.nodes:
        what = f"node {node.name}"
        if not node.running:
            yield Notice(severity=Severity.ERROR, vhost="", object=what, message="it does not run")
        for alarm in node.alarms:
            yield Notice(
                severity=Severity.ERROR,
                vhost="",
                object=what,
                message=f"{alarm} is short: all publishers of the broker are blocked",
            )
        if node.partitions:
            yield Notice(
                severity=Severity.ERROR,
                vhost="",
                object=what,
                message=f"it does not see {', '.join(node.partitions)}",
            )


def _missing(seen: Seen, use: Expected) -> Iterator[Notice]:
    gone = {vhost.name for vhost in seen.vhosts if not vhost.there}
    for vhost in sorted(gone):
        yield Notice(
            severity=Severity.ERROR,
            vhost="",
            object=f"vhost {vhost}",
            message="it is not there",
        )
    has = {(queue.vhost, queue.name) for queue in seen.queues}
    for vhost, name in sorted(use.queues - has):
        if vhost not in gone:
            yield Notice(
                severity=Severity.ERROR,
                vhost=vhost,
                object=f"queue {name}",
                message="it is declared, and not there",
            )


def _vhosts(seen: Seen) -> Iterator[Notice]:
    for vhost in seen.vhosts:
        if vhost.dropped:
            now = f", {vhost.dropping:,.1f} each second now" if vhost.dropping else ""
            yield Notice(
                severity=Severity.WARNING if vhost.dropping else Severity.NOTE,
                vhost="",
                object=f"vhost {vhost.name}",
                message=f"lost, since no binding took them: {vhost.dropped:,}{now}",
            )


def _services(seen: Seen, use: Expected) -> Iterator[Notice]:
    for service in seen.services:
        what = f"service {service.name}" if use.services else f"user {service.user}"
        if use.services and not service.connections:
            yield Notice(
                severity=Severity.WARNING,
                vhost=service.vhost,
                object=what,
                message=f"it is not connected, as user {service.user}",
            )
        if service.former:
            those = "connection uses" if service.former == 1 else "connections use"
            yield Notice(
                severity=Severity.NOTE,
                vhost=service.vhost,
                object=what,
                message=f"{service.former:,} {those} a user of before its rotation",
            )
        if service.blocked:
            connections = _count(service.blocked, "connection")
            yield Notice(
                severity=Severity.WARNING,
                vhost=service.vhost,
                object=what,
                message=f"{connections} may not publish now",
            )


def _queue(queue: QueueStatus) -> Iterator[Notice]:
    if queue.state in ("down", "minority", "crashed", "stopped", "terminated"):
        yield _notice(Severity.ERROR, queue, f"it is {queue.state}")
    elif queue.members and len(queue.online) < len(queue.members):
        off = sorted({*queue.members} - {*queue.online})
        without = len(queue.online) * 2 <= len(queue.members)
        yield _notice(
            Severity.ERROR if without else Severity.WARNING,
            queue,
            f"{len(queue.online)} of {len(queue.members)} replicas run, not on {', '.join(off)}",
        )
    limit = queue.settings.get("max-length")
    held = (queue.ready or 0) + queue.delayed
    if isinstance(limit, int) and limit > 0 and held >= limit * purposes.NEARLY_FULL:
        beyond = queue.settings.get("overflow", "drop-head")
        yield _notice(
            Severity.WARNING, queue, f"{held:,} of {limit:,} that it may hold; beyond: {beyond}"
        )


def _holds(queue: QueueStatus, one: str, several: str) -> Iterator[Notice]:
    waiting = (queue.ready or 0) + (queue.held or 0) + queue.delayed
    if not waiting:
        return
    if queue.name.endswith(_PARKING_LOT):
        parked = queue.name.removesuffix(_PARKING_LOT)
        message = f"parking lot of {parked} holds {waiting:,}"
    else:
        message = f"holds {waiting:,} {one if waiting == 1 else several}"
    yield _notice(Severity.WARNING, queue, message)


def _without_consumer(queue: QueueStatus, services: list[str], now: datetime) -> Iterator[Notice]:
    if queue.consumers != 0:  # None: it was not counted yet
        return
    unused = ""
    if queue.idle_since is not None:
        unused = f", unused for {elapsed((now - queue.idle_since).total_seconds())}"
    waiting = f"; {queue.ready:,} ready" if queue.ready else ""
    consuming = "consumes" if len(services) == 1 else "consume"
    message = f"no consumer{unused}, and {' and '.join(services)} {consuming} it{waiting}"
    yield _notice(Severity.WARNING, queue, message)


def _dead_and_unroutable(seen: Seen, use: Expected) -> tuple[set[Key], set[Key]]:
    """Return the queues of dead letters, and those of what no binding took."""
    letters = {
        (queue.vhost, queue.name): one
        for queue in seen.queues
        if (one := DeadLetters.of(queue.settings)) is not None
    }
    named = {
        (vhost, name): (vhost, one.queue)
        for (vhost, name), one in letters.items()
        if one.queue is not None
    }
    consumed = {(queue.vhost, queue.name) for queue in seen.queues if queue.consumers}
    consumed |= use.consumers.keys()
    expiring = {
        (queue.vhost, queue.name) for queue in seen.queues if "message-ttl" in queue.settings
    }
    by_name = purposes.by_name(named, expiring - consumed, consumed)
    dead, unroutable = purposes.sources(
        ((vhost, one.exchange) for (vhost, _), one in letters.items() if one.exchange),
        (
            ((one.vhost, one.name), (one.vhost, one.alternate))
            for one in seen.exchanges
            if one.alternate
        ),
        _bindings(seen, "exchange"),
    )
    bindings = list(_bindings(seen, "queue"))
    return purposes.only_from(dead, bindings, by_name), purposes.only_from(unroutable, bindings)


def _bindings(seen: Seen, kind: str) -> Iterator[tuple[Key, Key]]:
    for one in seen.bindings:
        if one.kind == kind and one.source:  # every queue is bound to the default exchange
            yield (one.vhost, one.source), (one.vhost, one.destination)


def elapsed(seconds: float) -> str:
    """Return a time as a person says it: ``3 h``."""
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit:
            return f"{int(seconds // unit)} {name}"
    return f"{max(0, int(seconds))} s"


def _count(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{count:,} {noun}s"
