"""
All that leads to one queue, and all that one service or user can cause, each in one answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rabbit_topology.config.words import show, suggest
from rabbit_topology.errors import TopologyError
from rabbit_topology.routing.across import Across, Spots
from rabbit_topology.routing.dead_letters import DeadLetters, by_name
from rabbit_topology.routing.links import Link
from rabbit_topology.routing.messages import Messages
from rabbit_topology.routing.publishers import Publisher, publishers
from rabbit_topology.routing.reach import Reach
from rabbit_topology.routing.steps import DEFAULT_EXCHANGE, Step, located


@dataclass(frozen=True, kw_only=True)
class Leading:
    """What leads to the queue from one exchange."""

    messages: Messages
    certain: bool
    """All of them get there; else some may not, by a hash, at random or by unknown rules."""
    steps: tuple[Step, ...]
    """The bindings to the queue itself, if there are any from this exchange."""


@dataclass(frozen=True, kw_only=True)
class Brought:
    """What a link brings to the queue."""

    link: Link
    exchanges: Mapping[str, Leading]
    """By exchange, with its vhost where that is another one: what is published there."""
    dead_letters: Sequence[str]
    """Queues whose dead letters the link brings as well, each with its vhost likewise."""


@dataclass(frozen=True, kw_only=True)
class QueueReport:
    """What leads to a queue."""

    queue: str
    vhost: str
    exchanges: Mapping[str, Leading]
    dead_letters: Sequence[tuple[str, str, str | None]]
    """Queues whose dead letters come here: each with the exchange, and the routing key; None: each
    keeps its own."""
    publishers: Sequence[tuple[Publisher, Mapping[str, str]]]
    """Services and users that can get messages here, each with an example by exchange.

    Those of other vhosts, which links bring messages of, have their vhost in their name."""
    links: Sequence[Brought] = ()
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
    beyond: Mapping[str, Mapping[str, str]]
    """Queues that links bring its messages to, likewise; those of other vhosts with it."""


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
    across = Across(reach)
    return QueueReport(
        queue=queue,
        vhost=network.vhost,
        exchanges={name: one for name, one in leading.items() if one.messages},
        dead_letters=list(DeadLetters(reach).sources(queue)),
        publishers=publishing(reach, queue),
        any_publisher=any(publishers(other) for other in across.networks.values()),
        links=list(_brought(across, reach, queue)),
    )


def publishing(reach: Reach, queue: str) -> list[tuple[Publisher, dict[str, str]]]:
    """Return who can get messages to a queue, over links too, each with an example by exchange.

    Raises:
        TooComplexError: It cannot be told within the bounds of the analysis.
    """
    across, here = Across(reach), reach.network.vhost
    leading = across.to(queue)
    everyone = [who for other in across.networks.values() for who in publishers(other)]
    can = [(who, _examples(who, leading, here)) for who in everyone]
    return [(publisher, example) for publisher, example in can if example]


def _brought(across: Across, reach: Reach, queue: str) -> Iterator[Brought]:
    here = reach.network.vhost
    certain = across.brought(queue, certain=True)
    for link, leading in across.brought(queue).items():
        sure = certain.get(link, {})
        yield Brought(
            link=link,
            exchanges={
                located(exchange, vhost, here): Leading(
                    messages=messages.simplified(),
                    certain=messages <= sure.get((vhost, exchange), Messages()),
                    steps=(),
                )
                for (vhost, exchange), messages in leading.items()
            },
            dead_letters=[
                located(name, link.source.vhost, here)
                for name, _, _ in (
                    DeadLetters(across.reach(link.source.vhost)).sources(link.source.name or "")
                )
            ]
            if link.source is not None and link.source.kind == "queue"
            else [],
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
    across, here = Across(reach), reach.network.vhost
    beyond = _beyond(across, publisher)
    onward = across.onward([*((here, queue) for queue in queues), *beyond])
    names = {place: located(place[1], place[0], here) for place in {*beyond, *onward}}
    return PublisherReport(
        publisher=publisher,
        queues=queues,
        later=sorted(names[place] for place in onward),
        beyond={names[place]: shown for place, shown in beyond.items()},
    )


def _beyond(across: Across, publisher: Publisher) -> dict[tuple[str, str], dict[str, str]]:
    """Return by vhost and name the queues that links bring what is published to, with examples."""
    here = publisher.vhost
    beyond: dict[tuple[str, str], dict[str, str]] = {}
    for vhost, network in across.networks.items():
        if not network.links.into(vhost):
            continue
        for queue in network.queues:
            for leading in across.brought(queue, vhost=vhost).values():
                if shown := _examples(publisher, leading, here):
                    beyond.setdefault((vhost, queue), {}).update(shown)
    return beyond


def _examples(publisher: Publisher, leading: Spots, here: str) -> dict[str, str]:
    """Return by exchange a routing key with which somebody publishes what leads somewhere."""
    shown: dict[str, str] = {}
    for (vhost, exchange), messages in leading.items():
        if vhost == publisher.vhost and exchange in publisher.exchanges:
            example = (Messages.of(publisher.exchanges[exchange]) & messages).example()
            if example is not None:
                shown[located(exchange, vhost, here)] = example[0]
    return shown


def examples(reach: Reach, publisher: Publisher, queue: str) -> dict[str, str]:
    """Return by exchange a routing key with which a service or user gets messages to a queue.

    Those of the queue's own vhost, and not over links.
    """
    here = reach.network.vhost
    leading = {**reach.to(queue), DEFAULT_EXCHANGE: by_name(queue)}
    return _examples(publisher, {(here, name): one for name, one in leading.items()}, here)
