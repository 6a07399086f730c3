"""
A message as far as its way depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rabbit_topology.errors import TopologyError
from rabbit_topology.model import MAX_NAME_BYTES, Reason

COPIES = ("CC", "BCC")
"""Headers with further routing keys. Source: "Sender-Selected Distribution"."""

DELAY = "x-delay"
"""Milliseconds that a delayed-message exchange keeps a message for."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """What is published, or dead-lettered."""

    exchange: str
    """The exchange that it was published to, or dead-lettered to."""
    routing_keys: tuple[str, ...]
    """The routing key, and those of CC and BCC: it goes where any of them leads."""
    headers: Mapping[str, Any] = field(default_factory=dict)
    """As JSON has them, without BCC, which the broker takes away."""
    expiration: int | None = None
    """Milliseconds until it expires, wherever it is; taken away when it is dead-lettered."""
    deaths: tuple[tuple[str, Reason], ...] = ()
    """By which queues it was dead-lettered and why, each pair once, as the broker lists them."""
    received_from: tuple[str, ...] = ()
    """The vhosts of the federation upstreams that it has come over; of a queue's the empty name."""

    def dead(
        self,
        queue: str,
        reason: Reason,
        exchange: str,
        routing_key: str | None,
        *,
        containers: bool = True,
    ) -> Message:
        """Return it as it is dead-lettered.

        Args:
            queue: The queue that it leaves.
            reason: Why.
            exchange: The dead-letter exchange.
            routing_key: Its next one; None: it keeps those it has.
            containers: The broker has message containers, as from 3.13 on. It says in headers why
                it was dead-lettered last, and lists deaths with the last one first. Before,
                `rabbit_dead_letter:group_by_queue_and_reason` collected the earlier ones by a fold,
                which turns them around with each further one.
        """
        earlier = self.deaths if containers else reversed(self.deaths)
        others = tuple(death for death in earlier if death != (queue, reason))
        death = {"reason": reason.value, "queue": queue, "exchange": self.exchange}
        headers = dict(self.headers)
        if not self.deaths:
            headers |= {f"x-first-death-{what}": value for what, value in death.items()}
        if containers:
            headers |= {f"x-last-death-{what}": value for what, value in death.items()}
        return replace(
            self,
            exchange=exchange,
            routing_keys=self.routing_keys if routing_key is None else (routing_key,),
            headers=headers,
            expiration=None,
            deaths=((queue, reason), *others),
        )

    def goes_round(self, queue: str) -> bool:
        """Return whether the broker drops it where it would come into a queue again.

        It does if no rejection comes before that queue, or is its own, in the list of deaths. Where
        the list has the last death first, that is: if it was never rejected since it was there.
        Source: "Dead Letter Exchanges", "Automatically Dropping Messages in Dead-letter Cycles".
        """
        for name, reason in self.deaths:
            if reason is Reason.REJECTED:
                return False
            if name == queue:
                return True
        return False


def message(
    exchange: str,
    routing_key: str,
    headers: Mapping[str, Any] | None = None,
    expiration: int | None = None,
) -> Message:
    """Return what a publisher sends.

    Args:
        exchange: Where to; the empty name is the default exchange.
        routing_key: With which key.
        headers: As JSON has them; CC and BCC are lists of further routing keys.
        expiration: Milliseconds until it expires.

    Raises:
        TopologyError: The broker would refuse it: a key that is too long, CC that is no list.
    """
    if len(routing_key.encode()) > MAX_NAME_BYTES:
        raise TopologyError(f"a routing key has at most {MAX_NAME_BYTES} bytes")
    given = dict(headers or {})
    routing_keys = [routing_key]
    for name in COPIES:
        copies = given.get(name, [])
        if not _is_texts(copies):
            raise TopologyError(
                f"the header {name} is a list of routing keys: the broker refuses others"
            )
        routing_keys += copies
    given.pop("BCC", None)
    return Message(
        exchange=exchange,
        routing_keys=tuple(dict.fromkeys(routing_keys)),
        headers=given,
        expiration=expiration,
    )


def _is_texts(value: object) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and all(isinstance(one, str) for one in value)
    )
