"""
Where replayed messages are published: what stands in the way, and how they keep routing keys.

A queue is published to through a fanout exchange of our own, so that a consumer sees the routing
key that the message had at first, and what its CC header says goes nowhere else. One that a killed
run has left is removed by the next.
Source: "Exchanges" (auto-delete), "Sender-selected Distribution", "Queue Length Limit", RabbitMQ
documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import quote

from rabbit_topology.broker.access import Access
from rabbit_topology.broker.amqp import AMQPError
from rabbit_topology.broker.management import NotFoundError
from rabbit_topology.compiler.names import own_name
from rabbit_topology.errors import BrokerError
from rabbit_topology.messages.queue import BrokerQueue
from rabbit_topology.messages.state import QueueState
from rabbit_topology.model import Overflow
from rabbit_topology.replays.destination import Destination
from rabbit_topology.replays.ledger import Left

_ROLE = "replay"

Obstacle = tuple[Left, str]


@dataclass(kw_only=True)
class _Room:
    """How much a queue takes before it drops its oldest; None: any."""

    messages: int | None = None
    octets: int | None = None


class Targets:
    """The places that messages of one vhost are replayed to."""

    def __init__(self, access: Access, vhost: str, *, leftover: bool = False) -> None:
        self.leftover = leftover
        """A run that was killed had left some of its helpers."""
        self._access = access
        self._vhost = vhost
        self._rules = access.rules(vhost)
        self._obstacles: dict[Destination, Obstacle | None] = {}
        self._rooms: dict[str, _Room] = {}
        self._helpers: dict[str, str] = {}

    def obstacle(self, destination: Destination, size: int) -> Obstacle | None:
        """Return why a message of so many bytes cannot go there, None if it can.

        Raises:
            BrokerError: The broker cannot be asked.
        """
        place = (
            destination.place
            if destination.queue is not None
            else Destination(exchange=destination.exchange)
        )
        if place not in self._obstacles:
            self._obstacles[place] = (
                self._of_exchange(place.exchange or "")
                if place.queue is None
                else self._of_queue(place.queue)
            )
        return self._obstacles[place] or self._full(destination, size)

    def address(self, destination: Destination) -> tuple[str, str]:
        """Return the exchange and the routing key to publish with.

        Raises:
            BrokerError: The broker refuses the helper.
        """
        queue = destination.queue
        if queue is None:
            return destination.exchange or "", destination.routing_key
        if queue not in self._helpers:
            self._helpers[queue] = self._bound(queue)
        return self._helpers[queue], destination.routing_key

    def sent(self, destination: Destination, size: int) -> None:
        """Note a message that was confirmed."""
        room = self._rooms.get(destination.queue or "")
        if room and room.octets is not None:
            room.octets -= size

    def remove_helpers(self) -> None:
        """Remove what was made to publish through; what is left the next replay removes."""
        for name in self._helpers.values():
            with suppress(BrokerError):
                self._access.request_if_there("DELETE", "exchanges", self._vhost, name)
        self._helpers.clear()

    def _of_exchange(self, exchange: str) -> Obstacle | None:
        path = f"{self._access.path('exchanges', self._vhost, exchange)}?disable_stats=true"
        try:
            listed = self._access.management.get(path)
        except NotFoundError:
            return Left.RETURNED, f"there is no exchange {exchange}"
        if listed.get("internal"):
            return Left.REFUSED, f"exchange {exchange} is internal: clients cannot publish to it"
        return None

    def _of_queue(self, queue: str) -> Obstacle | None:
        state = BrokerQueue(self._access, self._vhost, queue).state()
        if state is None:
            return Left.RETURNED, f"there is no queue {queue}"
        self._rooms[queue] = self._room(state)
        return None

    def _room(self, state: QueueState) -> _Room:
        outcomes = [
            outcome
            for rules in self._rules
            for outcome in rules.possible(state.target, state.arguments)
            # A queue that rejects says so, and the message stays where it is.
            if outcome.get("overflow") != Overflow.REJECT_PUBLISH.value
        ]
        lengths = [int(one["max-length"]) for one in outcomes if "max-length" in one]
        sizes = [int(one["max-length-bytes"]) for one in outcomes if "max-length-bytes" in one]
        octets = min(sizes, default=None)
        if octets is not None:
            path = self._access.path("queues", self._vhost, state.name)
            octets -= int(self._access.management.get(path).get("message_bytes") or 0)
        return _Room(messages=min(lengths, default=None), octets=octets)

    def _full(self, destination: Destination, size: int) -> Obstacle | None:
        queue = destination.queue
        room = self._rooms.get(queue or "")
        if queue is None or room is None:
            return None
        if room.messages is not None:
            ready = BrokerQueue(self._access, self._vhost, queue).ready()
            if ready >= room.messages:
                return Left.NO_ROOM, f"queue {queue} holds {room.messages:,}, and drops its oldest"
        if room.octets is not None and size > room.octets:
            return Left.NO_ROOM, f"queue {queue} has no room for its bytes, and drops its oldest"
        return None

    def _bound(self, queue: str) -> str:
        name = own_name(_ROLE, queue)
        try:
            with self._access.channel(self._vhost) as channel:
                channel.exchange_declare(name, "fanout", auto_delete=True)
                channel.queue_bind(queue, name)
        except AMQPError as error:
            raise BrokerError(
                self._access.management.endpoint,
                f"queue {queue}: its helper exchange {name} cannot be made: {error}",
            ) from None
        return name


@contextmanager
def targets(access: Access, vhost: str) -> Iterator[Targets]:
    """Lend the places of a vhost; helpers are removed at the end, and those of killed runs now."""
    places = Targets(access, vhost, leftover=_sweep(access, vhost))
    try:
        yield places
    finally:
        places.remove_helpers()


def _sweep(access: Access, vhost: str) -> bool:
    """Remove the helpers of killed runs, return whether there were any.

    Whoever holds the vhost's lock is the only one at work.
    """
    pattern = quote(f"^{re.escape(own_name(_ROLE, ''))}", safe="")
    query = f"name={pattern}&use_regex=true&page=1&page_size=500&disable_stats=true"
    listed = access.management.get(f"{access.path('exchanges', vhost)}?{query}")
    for exchange in listed["items"]:
        access.request_if_there("DELETE", "exchanges", vhost, exchange["name"])
    return bool(listed["items"])
