"""
What becomes of a message that leaves a queue otherwise than to a consumer that acknowledges it.

Worked out by `routing.lives` for one message that gets into the queue: the page says which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rabbit_topology.model import Reason
from rabbit_topology.model.units import elapsed_text
from rabbit_topology.routing import lives
from rabbit_topology.routing.lives import End
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.publication import Publication, publish
from rabbit_topology.routing.reach import Reach
from rabbit_topology.routing.steps import DEFAULT_EXCHANGE

_MOST = 50
"""Into so many queues it is followed."""

_REASONS = {
    Reason.EXPIRED: "if it expires",
    Reason.REJECTED: "if it is rejected",
    Reason.DELIVERY_LIMIT: "if it comes back too often",
    Reason.MAXLEN: "if the queue is too long",
}
_ENDS = {
    End.STAYS: "it stays in",
    End.DISCARDED: "it is gone: there is no dead-letter exchange at",
    End.UNROUTED: "it is gone: the dead-letter exchange leads into no queue from",
    End.CYCLE: "it is gone: it comes round without having been rejected, from",
    End.KEPT: "it is kept until its dead letters can go somewhere, in",
    End.REFUSED: "its publisher gets a negative confirm from",
    End.ENDLESS: "and so on without end, from",
    End.UNKNOWN: "it goes where nothing is known from here, from",
    End.CUT: "it is not followed further than",
}


@dataclass(frozen=True, kw_only=True)
class Ending:
    """One way to end."""

    words: str
    """They go before the queue's name."""
    queue: str
    after: str
    """How long after it was published, at least; empty: at once."""


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """What becomes of a message in a queue."""

    exchange: str
    """Where the message was published to that was followed."""
    routing_key: str
    endings: Mapping[str, Sequence[Ending]]
    """By why it leaves the queue, in words."""


def of_queue(reach: Reach, queue: str) -> Leaving:
    """Return what becomes of a message in a queue.

    Raises:
        TooComplexError: What leads there cannot be told within the bounds of the analysis.
    """
    publication = _published(reach, queue)
    message = publication.message
    at = publication.routed.delays[queue]
    return Leaving(
        exchange=message.exchange,
        routing_key=message.routing_keys[0],
        endings={
            _REASONS[reason]: _endings(reach.network, publication, queue, reason, at)
            for reason in publication.reasons(queue)
        },
    )


def _published(reach: Reach, queue: str) -> Publication:
    """Return a message that gets into a queue: by a binding if there is one, else by its name."""
    for exchange, leading in reach.to(queue, certain=True).items():
        example = leading.example()
        if example is not None:
            publication = publish(reach.network, exchange, *example)
            if queue in publication.routed.delays:
                return publication
    return publish(reach.network, DEFAULT_EXCHANGE, queue)


def _endings(
    network: Network, publication: Publication, queue: str, reason: Reason, at: int
) -> list[Ending]:
    life = lives.follow(network, queue, publication.message, reason, at, most=_MOST)
    return [
        Ending(words=_ENDS[end], queue=name, after=elapsed_text(when) if when else "")
        for end, name, when in dict.fromkeys(life.ends())
    ]
