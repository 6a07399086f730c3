"""
Which queues dead letters come to, from queue to queue.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

from rabbit_topology.routing.keys import Keys
from rabbit_topology.routing.messages import EVERY_MESSAGE, Messages
from rabbit_topology.routing.pattern import of_key
from rabbit_topology.routing.reach import Reach
from rabbit_topology.routing.steps import DEFAULT_EXCHANGE


class DeadLetters:
    """The ways of dead letters in a vhost."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._network = reach.network
        self._ends: dict[str, set[str]] = {}

    def sources(self, target: str) -> Iterator[tuple[str, str, str | None]]:
        """Yield the queues whose dead letters may get into ``target``.

        Each with its dead-letter exchange, and their routing key; None: each keeps its own.
        """
        for queue in self._network.queues:
            exchange = self._exchange(queue)
            if exchange is not None and self.between(queue, target):
                yield queue, exchange, self._routing_key(queue)

    def between(self, queue: str, target: str) -> Messages:
        """Return the messages that get from a queue into another one as its dead letters."""
        exchange = self._exchange(queue)
        if exchange is None or target not in self._targets(exchange):
            return Messages()
        if exchange == DEFAULT_EXCHANGE:
            leading = by_name(target)
        else:
            leading = self._reach.to(target).get(exchange, Messages())
        routing_key = self._routing_key(queue)
        if routing_key is not None:
            return leading & Messages.of(Keys.taken([of_key(routing_key)]))
        return leading & self._in(queue)

    def onward(self, queues: Iterable[str]) -> set[str]:
        """Return the queues that dead letters from some queues may get to, from one to the next."""
        start = set(queues)
        seen, left = set(start), list(start)
        while left:
            queue = left.pop()
            exchange = self._exchange(queue)
            for target in self._targets(exchange) - seen if exchange is not None else ():
                if self.between(queue, target):
                    seen.add(target)
                    left.append(target)
        return seen - start

    def _exchange(self, queue: str) -> str | None:
        exchange = self._network.context.settings[queue].get("dead-letter-exchange")
        return exchange if isinstance(exchange, str) else None

    def _routing_key(self, queue: str) -> str | None:
        routing_key = self._network.context.settings[queue].get("dead-letter-routing-key")
        return routing_key if isinstance(routing_key, str) else None

    def _in(self, queue: str) -> Messages:
        """Return the messages that may be in a queue.

        Where dead letters come to it these are all: with which keys they come is not pursued.
        """
        if queue in self._fed:
            return EVERY_MESSAGE
        cases = [case for taken in self._reach.to(queue).values() for case in taken.cases]
        return Messages(tuple(dict.fromkeys(cases))) | by_name(queue)

    @cached_property
    def _fed(self) -> frozenset[str]:
        """The queues that there is any way to from a dead-letter exchange."""
        exchanges = {self._exchange(queue) for queue in self._network.queues} - {None}
        return frozenset(
            end for exchange in exchanges if exchange is not None for end in self._targets(exchange)
        )

    def _targets(self, exchange: str) -> set[str]:
        """Return the queues that there is any way to from an exchange."""
        if exchange == DEFAULT_EXCHANGE:
            return set(self._network.queues)
        if exchange not in self._ends:
            self._ends[exchange] = self._work_out_targets(exchange)
        return self._ends[exchange]

    def _work_out_targets(self, exchange: str) -> set[str]:
        left, seen, queues = [exchange], {exchange}, set()
        while left:
            name = left.pop()
            alternate = self._network.alternate(name)
            for step in (*self._network.steps.get(name, ()), *([alternate] if alternate else ())):
                if step.kind == "queue":
                    queues.add(step.destination)
                elif step.destination not in seen:
                    seen.add(step.destination)
                    left.append(step.destination)
        return queues & self._network.queues.keys()


def by_name(queue: str) -> Messages:
    """Return the messages that get into a queue through the default exchange."""
    return Messages.of(Keys.taken([of_key(queue)]))
