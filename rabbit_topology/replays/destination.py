"""
Where a message goes: a queue, or an exchange with a routing key.
"""

from __future__ import annotations

from dataclasses import dataclass

from rabbit_topology.errors import TopologyError

_QUEUE, _EXCHANGE = "queue:", "exchange:"


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """A queue, by a helper that keeps the routing key; or an exchange."""

    queue: str | None = None
    exchange: str | None = None
    routing_key: str = ""

    @property
    def place(self) -> Destination:
        """What messages are counted by: a queue with whatever routing keys, or an exchange."""
        return self if self.queue is None else Destination(queue=self.queue)

    def __str__(self) -> str:
        if self.queue is not None:
            return f"queue {self.queue}"
        return f"exchange {self.exchange} with routing key {self.routing_key!r}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where ``--to`` sends all messages."""

    queue: str | None = None
    exchange: str | None = None
    routing_key: str | None = None
    """None: each message its own, as it was first published with."""

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read ``QUEUE`` or ``EXCHANGE/ROUTING KEY``; ``EXCHANGE/`` is each message's own key.

        ``queue:`` or ``exchange:`` in front says which, where a name has a slash in it.

        Raises:
            TopologyError: There is no name in it.
        """
        if text.startswith(_QUEUE) or (not text.startswith(_EXCHANGE) and "/" not in text):
            queue = text.removeprefix(_QUEUE)
            if not queue:
                raise TopologyError(
                    f"--to {text!r}: name a queue, or an exchange and a routing key"
                )
            return cls(queue=queue)
        exchange, slash, key = text.removeprefix(_EXCHANGE).partition("/")
        if not exchange:
            raise TopologyError(
                f"--to {text!r}: name an exchange before the slash; a queue is named alone, the "
                "default exchange leads to queues"
            )
        return cls(exchange=exchange, routing_key=key if slash and key else None)

    def of(self, own_key: str) -> Destination:
        """Return where a message goes that was first published with a routing key."""
        if self.queue is not None:
            return Destination(queue=self.queue, routing_key=own_key)
        key = own_key if self.routing_key is None else self.routing_key
        return Destination(exchange=self.exchange, routing_key=key)
