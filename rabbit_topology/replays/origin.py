"""
Where a message came from, by its deaths and by the names that patterns give to queues.

A dead letter goes back to the queue that it died in, not to the exchange before: other queues of
that exchange have had it. A message that no binding took goes back to its exchange.
Source: `compiler.patterns`; "Dead Letter Exchanges", "Alternate Exchanges", RabbitMQ documentation.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from rabbit_topology.replays.destination import Destination
from rabbit_topology.replays.message import Death, Message

_OF_A_QUEUE = (".dead-letter", ".parking-lot")
_OF_AN_EXCHANGE = ".unroutable"
_EXPIRED = "expired"


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The queue that is replayed."""

    name: str
    exchanges: Collection[str] = ()
    """Those with a binding that leads into it."""


def origin(source: Source, message: Message) -> Destination | str:
    """Return where a message came from, or why nothing says it."""
    unroutable = source.name.removesuffix(_OF_AN_EXCHANGE)
    if unroutable != source.name and message.exchange == unroutable:
        return Destination(exchange=unroutable, routing_key=message.routing_key)
    death = death_of(source, message)
    if death:
        if death.queue == source.name:
            return "it died in this very queue"
        return Destination(queue=death.queue, routing_key=own_key(source, message))
    if not message.exchange:
        return "it was published straight to this queue"
    if message.exchange in source.exchanges:
        return f"exchange {message.exchange} leads here: it would come straight back"
    return Destination(exchange=message.exchange, routing_key=message.routing_key)


def death_of(source: Source, message: Message) -> Death | None:
    """Return the death that led a message here, None if it has not died.

    A queue in which messages wait to be delivered later lets each of them expire: that is no death
    to go back to, as long as there is another one.
    """
    for suffix in _OF_A_QUEUE:
        named = source.name.removesuffix(suffix)
        if named != source.name:
            here = [death for death in message.deaths if death.queue == named]
            if here:
                return here[0]
    real = [death for death in message.deaths if death.reason != _EXPIRED]
    first = message.headers.get("x-first-death-queue")
    # With several entries the order tells nothing certain: one that is counted again moves up.
    return next(
        (death for death in real if death.queue == first),
        real[-1] if real else message.deaths[-1] if message.deaths else None,
    )


def reason_of(source: Source, message: Message) -> str | None:
    """Return why a message died, None if it has not."""
    death = death_of(source, message)
    if death:
        return death.reason
    first = message.headers.get("x-first-death-reason")
    return first if isinstance(first, str) else None


def own_key(source: Source, message: Message) -> str:
    """Return the routing key that a message was first published with, as far as it is known.

    A retry ladder gives messages keys of its own, with which they would skip the ladder.
    """
    death = death_of(source, message)
    if death is None:
        return message.routing_key
    step = re.compile(rf"{re.escape(death.queue)}\.retry\.\d+")
    here = (one for one in message.deaths if one.queue == death.queue)
    keys = [key for one in here for key in one.routing_keys[:1]]
    plain = [key for key in keys if not step.fullmatch(key)]
    return (plain or keys or [message.routing_key])[-1]
