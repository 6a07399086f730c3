"""
A mark that is made by one way to a broker and looked for by another: do both lead to one broker?

Addresses do not tell. `localhost` and `127.0.0.1` may be one broker, a tunnel leads elsewhere than
its name says, and two brokers on one machine have the same cluster name.

Over AMQP a mark is an exchange that goes with its last binding, bound to a queue that goes with
the connection: whoever is killed leaves nothing. One that the management API alone could make is
left then, and `sweep` removes it.
Source: "Queues" (exclusive), "Exchanges" (auto-delete), RabbitMQ documentation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from secrets import token_hex
from typing import TYPE_CHECKING

import pika
from pika.exceptions import AMQPError

from rabbit_topology.compiler.names import PREFIX
from rabbit_topology.errors import BrokerError

if TYPE_CHECKING:
    from rabbit_topology.broker.access import Access

_MARKER = f"{PREFIX}marker."

SEEN_SECONDS = 5.0
_LOOKS = 10
"""How long another node of a cluster may take to hear of what was just made."""


class TwoBrokersError(BrokerError):
    """Two ways that should lead to one broker lead to two. ``ways`` names both, no credentials."""

    def __init__(self, endpoint: str, ways: tuple[str, str], vhost: str, mend: str) -> None:
        self.ways = ways
        super().__init__(
            endpoint,
            f"{ways[0]} and {ways[1]} are two brokers: what was made just now in vhost {vhost!r} "
            "by the one way is not there by the other. What the one holds says nothing about the "
            f"other, so nothing is deleted, replaced or limited; {mend}",
        )


def is_marker(name: str) -> bool:
    """Return whether a queue or exchange of this name is a mark."""
    return name.startswith(_MARKER)


@contextmanager
def over_amqp(connection: pika.BlockingConnection) -> Iterator[str]:
    """Keep a queue and an exchange of the yielded name on the broker for a while.

    Raises:
        AMQPError: The broker refuses.
    """
    name = _new_name()
    channel = connection.channel()
    channel.queue_declare(name, exclusive=True)
    channel.exchange_declare(name, "fanout", auto_delete=True)
    channel.queue_bind(name, name)
    try:
        yield name
    finally:
        with suppress(AMQPError):
            channel.queue_delete(name)  # and the exchange with its only binding
            channel.close()


@contextmanager
def over_management(access: Access, vhost: str) -> Iterator[str]:
    """Keep an exchange of the yielded name on the broker for a while.

    Raises:
        BrokerError: The broker refuses.
    """
    name = _new_name()
    access.declare("exchanges", vhost, name, {"type": "fanout", "durable": False})
    try:
        yield name
    finally:
        access.request_if_there("DELETE", "exchanges", vhost, name)


def sweep(access: Access, vhost: str, names: Iterable[str]) -> None:
    """Remove the marks among ``names`` that no connection takes with it."""
    for name in filter(is_marker, names):
        if not access.bindings("exchanges", vhost, name, "source"):
            access.request_if_there("DELETE", "exchanges", vhost, name)


def is_seen(look: Callable[[], bool]) -> bool:
    """Return whether a mark is seen, at once or in the time that a cluster may take."""
    deadline = time.monotonic() + SEEN_SECONDS
    looks = 1
    while not look():
        # On a busy machine one look may take longer than all of the time.
        if time.monotonic() > deadline and looks >= _LOOKS:
            return False
        time.sleep(0.1)
        looks += 1
    return True


def _new_name() -> str:
    return f"{_MARKER}{token_hex(16)}"
