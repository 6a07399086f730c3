"""
All that leads to one queue, and all that one service or user can cause, each in one answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rabbit_topology.config.words import show, suggest
from rabbit_topology.errors import TopologyError
from rabbit_topology.routing.dead_letters import DeadLetters, by_name
from rabbit_topology.routing.messages import Messages
from rabbit_topology.routing.network import DEFAULT_EXCHANGE, Step
from rabbit_topology.routing.publishers import Publisher, publishers
from rabbit_topology.routing.reach import Reach


@dataclass(frozen=True, kw_only=True)
class Leading:
    """What leads to the queue from one exchange."""

    messages: Messages
    certain: bool
    """All of them get there; else some may not, by a hash, at random or by unknown rules."""
    steps: tuple[Step, ...]
    """The bindings to the queue itself, if there are any from this exchange."""


@dataclass(frozen=True, kw_only=True)
class QueueReport:
    """What leads to a queue."""

    queue: str
    exchanges: Mapping[str, Leading]
    dead_letters: Sequence[tuple[str, str, str | None]]
    """Queues whose dead letters come here: each with the exchange, and the routing key; None: each
    keeps its own."""
    publishers: Sequence[tuple[Publisher, Mapping[str, str]]]
    """Services and users that can get messages here, each with an example by exchange."""
    any_publisher: bool
    """The config has services or users at all."""


@dataclass(frozen=True, kw_only=True)
class PublisherReport:
    """What a service or user can cause."""

    publisher: Publisher
    queues: Mapping[str, Mapping[str, str]]
    """By queue that its messages can get into: an example of a routing key by exchange."""
    later: Sequence[str]
    """Further queues, that these can get into as dead letters."""


def of_queue(reach: Reach, queue: str) -> QueueReport:
    """Return what leads to a queue.

    Raises:
        TopologyError: There is no such queue.
        TooComplexError: It cannot be told within the bounds of the analysis.
    """
    network = reach.network
    network.check_queue(queue)
    certain = reach.to(queue, certain=True)
    leading = {
        exchange: Leading(
            messages=messages.simplified(),
            certain=messages <= certain.get(exchange, Messages()),
            steps=tuple(
                step
                for step in network.incoming.get(("queue", queue), ())
                if step.source == exchange
            ),
        )
        for exchange, messages in reach.to(queue).items()
    }
    everyone = publishers(network)
    can = [(publisher, examples(reach, publisher, queue)) for publisher in everyone]
    return QueueReport(
        queue=queue,
        exchanges={name: one for name, one in leading.items() if one.messages},
        dead_letters=list(DeadLetters(reach).sources(queue)),
        publishers=[(publisher, example) for publisher, example in can if example],
        any_publisher=bool(everyone),
    )


def of_publisher(reach: Reach, name: str) -> PublisherReport:
    """Return what a service, or else a user, can cause.

    Raises:
        TopologyError: There is none of this name.
        TooComplexError: It cannot be told within the bounds of the analysis.
    """
    topology = reach.network.context.written
    known = {**topology.users, **topology.services}
    if name not in known:
        raise TopologyError(
            f"{show(name)} is not a service or user of vhost {topology.vhost}; "
            f"{suggest(name, known)}"
        )
    everyone = {publisher.name: publisher for publisher in reversed(publishers(reach.network))}
    if name not in everyone:
        raise TopologyError(f"{name} may not publish anything")
    publisher = everyone[name]
    queues = {
        queue: shown
        for queue in reach.network.queues
        if (shown := examples(reach, publisher, queue))
    }
    later = sorted(DeadLetters(reach).onward(queues))
    return PublisherReport(publisher=publisher, queues=queues, later=later)


def examples(reach: Reach, publisher: Publisher, queue: str) -> dict[str, str]:
    """Return by exchange a routing key with which a service or user gets messages to a queue."""
    shown: dict[str, str] = {}
    for exchange, messages in {**reach.to(queue), DEFAULT_EXCHANGE: by_name(queue)}.items():
        if exchange in publisher.exchanges:
            example = (Messages.of(publisher.exchanges[exchange]) & messages).example()
            if example is not None:
                shown[exchange] = example[0]
    return shown
