"""
One message from its publisher to wherever it may end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rabbit_topology.model import Reason
from rabbit_topology.routing import lives, message
from rabbit_topology.routing.lives import End, Life
from rabbit_topology.routing.message import Message
from rabbit_topology.routing.network import DEFAULT_EXCHANGE, Network
from rabbit_topology.routing.trace import Hop, Routed, route


@dataclass(frozen=True)
class Publication:
    """A message that was published, and all that may become of it."""

    network: Network
    message: Message

    @cached_property
    def routed(self) -> Routed:
        """Where it goes at once."""
        return route(self.network, self.message.exchange, self.message)

    @property
    def root(self) -> Hop:
        """The tree of its hops."""
        return self.routed.root

    @property
    def dropped(self) -> bool:
        """Whether it gets into no queue: it is dropped, or returned to who asked for that."""
        return self.routed.dropped

    @cached_property
    def later(self) -> Mapping[str, Mapping[Reason, Life]]:
        """By queue that it may get into, and by reason that it may leave it for: what follows."""
        return {
            queue: {reason: self.follow(queue, reason) for reason in self.reasons(queue)}
            for queue in sorted(self.routed.may_reach)
        }

    def reasons(self, queue: str) -> list[Reason]:
        """Return why it may leave a queue other than to a consumer that acknowledges it."""
        return lives.reasons(self.network, queue, self.message)

    def ends(self, queue: str, reason: Reason) -> Iterator[tuple[End, str, int]]:
        """Yield where it ends if it leaves a queue for a reason; in the queue, if it cannot.

        Yields:
            How it ends, the last queue, and when, in milliseconds.
        """
        if reason in self.reasons(queue):
            yield from self.follow(queue, reason).ends()
        else:
            yield End.STAYS, queue, self.routed.delays[queue]

    def follow(self, queue: str, reason: Reason) -> Life:
        """Return what follows when it leaves a queue for a reason."""
        at = self.routed.delays[queue]
        return lives.follow(self.network, queue, self.message, reason, at)


def publish(
    network: Network,
    exchange: str,
    routing_key: str = "",
    headers: Mapping[str, Any] | None = None,
    expiration: int | None = None,
) -> Publication:
    """Return what becomes of a message; nothing is sent anywhere.

    Args:
        network: The vhost.
        exchange: Where to; the empty name is the default exchange.
        routing_key: With which key.
        headers: As JSON has them; CC and BCC are lists of further routing keys.
        expiration: Milliseconds until it expires.

    Raises:
        TopologyError: There is no such exchange, or the broker would refuse the message.
    """
    if exchange != DEFAULT_EXCHANGE:
        network.check(exchange)
    return Publication(network, message.message(exchange, routing_key, headers, expiration))
