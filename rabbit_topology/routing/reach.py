"""
Which messages lead to a queue: for each exchange exactly the routing keys and headers that do.

Source: as in `trace`; this is the same, for all messages at once and against their direction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from rabbit_topology.routing import headers
from rabbit_topology.routing.headers import ANY_HEADERS
from rabbit_topology.routing.keys import EVERYTHING, Keys
from rabbit_topology.routing.meet import MAX_PATTERNS
from rabbit_topology.routing.messages import EVERY_MESSAGE, Case, Messages
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.pattern import TooComplexError
from rabbit_topology.routing.steps import Kind, Step


class Reach:
    """What leads where in a vhost; the answers are kept, since they are made of each other."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._taken: dict[str, Messages] = {}
        self._left: dict[tuple[str, bool], Messages] = {}
        self._to: dict[tuple[str, bool], Mapping[str, Messages]] = {}
        self._to_links: dict[tuple[str, bool], Mapping[str, Messages]] = {}

    def to(self, queue: str, *, certain: bool = False) -> Mapping[str, Messages]:
        """Return by exchange which messages that are published there get into a queue.

        Not through the default exchange, which leads there by the queue's name; nor from exchanges
        from which none does.

        Args:
            queue: The queue.
            certain: Without those that get there or not, by a hash, at random, or by rules that are
                not known here.

        Raises:
            TooComplexError: They cannot be told within the bounds of the analysis.
        """
        certain = certain and self._uncertain
        if (queue, certain) not in self._to:
            self._to[queue, certain] = self._leading([("queue", queue)], certain=certain)
        return self._to[queue, certain]

    def to_link(self, key: str, *, certain: bool = False) -> Mapping[str, Messages]:
        """Return by exchange which messages get into the queue that a link has of its own.

        Args:
            key: The link's.
            certain: As in `to`.

        Raises:
            TooComplexError: They cannot be told within the bounds of the analysis.
        """
        certain = certain and self._uncertain
        if (key, certain) not in self._to_links:
            self._to_links[key, certain] = self._leading([("link", key)], certain=certain)
        return self._to_links[key, certain]

    def anywhere(self, exchange: str) -> Messages:
        """Return the messages that certainly get into some queue from an exchange.

        Raises:
            TooComplexError: They cannot be told within the bounds of the analysis.
        """
        return self._anywhere.get(exchange, Messages())

    def lost(self, exchange: str) -> Messages:
        """Return the messages that may get into no queue from an exchange: they are dropped.

        Raises:
            TooComplexError: They cannot be told within the bounds of the analysis.
        """
        return EVERY_MESSAGE - self.anywhere(exchange)

    def taken(self, step: Step) -> Messages:
        """Return the messages that a binding takes."""
        boxes = [ANY_HEADERS] if step.condition is None else headers.boxes(step.condition)
        return Messages.of(Keys.taken([step.pattern]), boxes)

    def left_over(self, exchange: str) -> Messages:
        """Return the messages that no binding of an exchange takes.

        Raises:
            TooComplexError: They cannot be told within the bounds of the analysis.
        """
        if exchange not in self._taken:
            self._taken[exchange] = self._work_out_left_over(exchange)
        return self._taken[exchange]

    @cached_property
    def _uncertain(self) -> bool:
        """Whether there are exchanges that take a message or not."""
        sources = {*self.network.steps, *self.network.taps}
        kinds = {self.network.kind(exchange) for exchange in sources}
        return bool(kinds & {Kind.ONE_OF, Kind.UNKNOWN})

    @cached_property
    def _anywhere(self) -> Mapping[str, Messages]:
        queues = [("queue", name) for name in self.network.queues]
        return self._leading(queues, certain=True, any_will_do=True)

    def _work_out_left_over(self, exchange: str) -> Messages:
        steps = self.network.ways(exchange)
        match self.network.kind(exchange):
            case Kind.HEADERS:
                conditions = [step.condition for step in steps if step.condition is not None]
                return Messages.of(EVERYTHING, headers.left_over(conditions))
            case Kind.DIRECT | Kind.TOPIC:
                return Messages.of(EVERYTHING - Keys.taken(step.pattern for step in steps))
            case _:
                return Messages() if steps else EVERY_MESSAGE

    def _leading(
        self, targets: Iterable[tuple[str, str]], *, certain: bool, any_will_do: bool = False
    ) -> dict[str, Messages]:
        """Return by exchange the messages that get to one of some places.

        Worked out backwards: what gets somewhere from an exchange is what a way on takes and gets
        there from that way's end, until nothing comes in addition.
        """
        leading: dict[str, dict[Case, None]] = {}
        left: list[tuple[str, frozenset[str], Messages]] = []
        for source, taken in self._first(targets, certain=certain, any_will_do=any_will_do):
            leading[source] = dict.fromkeys(taken.cases)
            left.append((source, frozenset([source]), taken))
        while left:
            exchange, behind, further = left.pop()
            for source, taken in self._into(exchange, certain=certain, any_will_do=any_will_do):
                if source in behind:
                    continue  # a message that comes round gets no further than it did before
                known = leading.setdefault(source, {})
                more = in_addition(taken & further, known)
                if more.cases:
                    known.update(dict.fromkeys(more.cases))
                    left.append((source, behind | {source}, more))
                if len(known) > MAX_PATTERNS:
                    raise TooComplexError(
                        f"what leads there from exchange {source} is more than "
                        f"{MAX_PATTERNS:,} patterns"
                    )
        return {source: Messages(tuple(cases)) for source, cases in leading.items()}

    def _first(
        self, targets: Iterable[tuple[str, str]], *, certain: bool, any_will_do: bool
    ) -> Iterator[tuple[str, Messages]]:
        by_source: dict[str, list[Step]] = {}
        for target in targets:
            for step in self.network.incoming.get(target, ()):
                if self._counts(step, certain=certain, any_will_do=any_will_do):
                    by_source.setdefault(step.source, []).append(step)
        for source, steps in by_source.items():
            cases = dict.fromkeys(case for step in steps for case in self.taken(step).cases)
            yield source, Messages(tuple(cases))

    def _into(
        self, exchange: str, *, certain: bool, any_will_do: bool
    ) -> Iterator[tuple[str, Messages]]:
        for step in self.network.incoming.get(("exchange", exchange), ()):
            if self._counts(step, certain=certain, any_will_do=any_will_do):
                yield step.source, self.taken(step)
        for source in self._alternate_of.get(exchange, ()):
            kind = self.network.kind(source)
            if kind is not Kind.UNKNOWN:
                yield source, self.left_over(source)
            elif not certain or not self.network.ways(source):
                yield source, EVERY_MESSAGE

    @cached_property
    def _alternate_of(self) -> Mapping[str, list[str]]:
        sources: dict[str, list[str]] = {}
        for source in self.network.shapes:
            alternate = self.network.alternate(source)
            if alternate is not None:
                sources.setdefault(alternate.destination, []).append(source)
        return sources

    def _counts(self, step: Step, *, certain: bool, any_will_do: bool) -> bool:
        if not certain:
            return True
        kind = self.network.kind(step.source)
        if kind is Kind.ONE_OF:
            ways = self.network.ways(step.source)
            ends = {(way.kind, way.destination) for way in ways}
            return len(ends) == 1 or (any_will_do and all(kind == "queue" for kind, _ in ends))
        return kind is not Kind.UNKNOWN


_COMPARED = 50
"""So many cases are looked at more closely; of more, only those that are the same are left out."""


def in_addition(more: Messages, known: Mapping[Case, None]) -> Messages:
    """Return what is not known yet; some that is may be left in."""
    new = Messages(tuple(case for case in more.cases if case not in known))
    if 0 < len(known) <= _COMPARED and len(new.cases) <= _COMPARED:
        so_far = Messages(tuple(known))
        return Messages(tuple(case for case in new.cases if Messages((case,)) - so_far))
    return Messages(tuple(case for case in new.cases if case.part.shortest() is not None))
