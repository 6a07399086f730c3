"""
What gets where in a vhost: into each queue, from each service, and out of queues as dead letters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rabbit_topology.describe.page import leaving, view, words
from rabbit_topology.describe.page.leaving import Leaving
from rabbit_topology.describe.page.places import Places
from rabbit_topology.describe.page.view import Link
from rabbit_topology.routing import reports
from rabbit_topology.routing.dead_letters import DeadLetters
from rabbit_topology.routing.messages import Messages
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.pattern import TooComplexError
from rabbit_topology.routing.publishers import publishers
from rabbit_topology.routing.reach import Reach

_Answer = TypeVar("_Answer")

_CLASSES = 12
"""So many classes of messages are listed that get from one exchange into a queue."""


class Flows:
    """The ways of messages in one vhost, all at once; the bounds of the analysis hold."""

    def __init__(self, network: Network, places: Places) -> None:
        """Prepare to tell them."""
        self._network = network
        self._places = places
        self._reach = Reach(network)
        self._may_publish = publishers(network)
        self._dead_letters = DeadLetters(self._reach)
        self._undecided: dict[str, None] = {}

    @property
    def undecided(self) -> tuple[str, ...]:
        """What was asked and could not be told."""
        return tuple(self._undecided)

    def coming(self, queue: str) -> list[view.Coming]:
        """Return what gets into a queue from each exchange."""
        return self._decided(f"queue {queue}", lambda: list(self._coming(queue))) or []

    def publishers(self, queue: str) -> list[view.Example]:
        """Return who can get messages into a queue."""
        return self._decided(f"queue {queue}", lambda: list(self._publishers(queue))) or []

    def dead_from(self, queue: str) -> list[Link]:
        """Return the queues whose dead letters may get into a queue."""
        sources = self._decided(
            f"queue {queue}", lambda: [name for name, *_ in self._dead_letters.sources(queue)]
        )
        return [self._places.link("queue", name) for name in sources or ()]

    def leaving(self, queue: str) -> Leaving | None:
        """Return what becomes of a message in a queue; None if that cannot be told."""
        return self._decided(f"queue {queue}", lambda: leaving.of_queue(self._reach, queue))

    def reaches(self, service: str) -> list[view.Example]:
        """Return the queues that a service can get messages into."""
        return self._decided(f"service {service}", lambda: list(self._reaches(service))) or []

    def later(self, service: str, queues: Iterable[str]) -> list[Link]:
        """Return the queues that a service may get messages into later, as dead letters."""
        onward = self._decided(
            f"service {service}", lambda: sorted(self._dead_letters.onward(queues))
        )
        return [self._places.link("queue", name) for name in onward or ()]

    def _decided(self, what: str, ask: Callable[[], _Answer]) -> _Answer | None:
        """Return an answer; None where there is none within the bounds of the analysis."""
        try:
            return ask()
        except TooComplexError as error:
            self._undecided[f"{what}: {error}"] = None
            return None

    def _coming(self, queue: str) -> Iterator[view.Coming]:
        certain = self._reach.to(queue, certain=True)
        for exchange, leading in self._reach.to(queue).items():
            messages = leading.simplified()
            if not messages:
                continue
            listed = [str(case) for case in messages.cases[:_CLASSES]]
            if len(messages.cases) > _CLASSES:
                listed.append(f"and {len(messages.cases) - _CLASSES:,} more")
            yield view.Coming(
                exchange=self._places.link("exchange", exchange),
                messages=[words.plain(one) for one in listed],
                certain=messages <= certain.get(exchange, Messages()),
            )

    def _publishers(self, queue: str) -> Iterator[view.Example]:
        for publisher in self._may_publish:
            if keys := reports.examples(self._reach, publisher, queue):
                link = self._places.link(publisher.kind, publisher.name)
                yield view.Example(link=link, keys=keys)

    def _reaches(self, service: str) -> Iterator[view.Example]:
        for publisher in self._may_publish:
            if (publisher.kind, publisher.name) != ("service", service):
                continue
            for queue in self._network.queues:
                if keys := reports.examples(self._reach, publisher, queue):
                    yield view.Example(link=self._places.link("queue", queue), keys=keys)
