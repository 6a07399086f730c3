"""
Sets of messages: by their routing key and their headers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rabbit_topology.routing import headers
from rabbit_topology.routing.headers import ANY_HEADERS, Box
from rabbit_topology.routing.keys import EVERYTHING, Keys, Part
from rabbit_topology.routing.pattern import EVERY_KEY, of_key


@dataclass(frozen=True)
class Case:
    """Messages with routing keys of a part and headers of a box."""

    part: Part
    box: Box = ANY_HEADERS

    def example(self) -> tuple[str, dict[str, Any]] | None:
        """Return the routing key and the headers of such a message, None if there is none."""
        routing_key = Keys((self.part,)).example()
        return None if routing_key is None else (routing_key, self.box.example())

    def __str__(self) -> str:
        every = self.part == Part(EVERY_KEY)
        shown = "every key" if every else str(self.part) or '""'
        return f"{shown} with {self.box}" if self.box != ANY_HEADERS else shown


@dataclass(frozen=True)
class Messages:
    """A set of messages with one routing key each. ``|``, ``&`` and ``-`` are exact."""

    cases: tuple[Case, ...] = ()

    @classmethod
    def of(cls, taken: Keys, boxes: Iterable[Box] = (ANY_HEADERS,)) -> Messages:
        """Return the messages with some keys and some headers."""
        boxes = tuple(boxes)
        return cls(tuple(Case(part, box) for part in taken.parts for box in boxes))

    def __or__(self, other: Messages) -> Messages:
        return Messages(tuple(dict.fromkeys((*self.cases, *other.cases))))

    def __and__(self, other: Messages) -> Messages:
        cases: dict[Case, None] = {}
        for box, mine in self._by_box().items():
            for other_box, others in other._by_box().items():
                both = box.both(other_box)
                if both is not None:
                    parts = (Keys(tuple(mine)) & Keys(tuple(others))).parts
                    cases.update(dict.fromkeys(Case(part, both) for part in parts))
        return Messages(tuple(cases))

    def __sub__(self, other: Messages) -> Messages:
        left = self
        for box, parts in other._by_box().items():
            left = left._without(box, Keys(tuple(parts)))
        return left

    def __bool__(self) -> bool:
        return any(case.part.shortest() is not None for case in self.cases)

    def __le__(self, other: Messages) -> bool:
        return not self - other

    def with_headers(self, given: Mapping[str, headers.Value | None]) -> Keys:
        """Return the keys of those with exactly such headers."""
        return Keys(tuple(case.part for case in self.cases if case.box.has(given)))

    def example(self) -> tuple[str, dict[str, Any]] | None:
        """Return the routing key and headers of a message with a shortest key, None without one."""
        examples = [example for case in self.cases if (example := case.example()) is not None]
        return min(
            examples, key=lambda one: (len(one[1]), len(of_key(one[0])), one[0]), default=None
        )

    def simplified(self) -> Messages:
        """Return the same messages with no case that is empty or in another one."""
        kept = Messages()
        for box, parts in self._by_box().items():
            kept |= Messages.of(Keys(tuple(parts)).simplified(), (box,))
        if len({case.box for case in kept.cases}) == 1:
            return kept
        cases = list(kept.cases)
        for case in kept.cases:
            others = Messages(tuple(other for other in cases if other != case))
            if Messages((case,)) <= others:
                cases.remove(case)
        return Messages(tuple(cases))

    def _by_box(self) -> dict[Box, list[Part]]:
        parts: dict[Box, list[Part]] = {}
        for case in self.cases:
            parts.setdefault(case.box, []).append(case.part)
        return parts

    def _without(self, box: Box, taken: Keys) -> Messages:
        left: dict[Case, None] = {}
        for mine, parts in self._by_box().items():
            both = mine.both(box)
            if both is None:
                left.update(dict.fromkeys(Case(part, mine) for part in parts))
                continue
            for outside in mine.without(box):
                left.update(dict.fromkeys(Case(part, outside) for part in parts))
            rest = Keys(tuple(parts)) - taken
            left.update(dict.fromkeys(Case(part, both) for part in rest.parts))
        return Messages(tuple(left))


EVERY_MESSAGE = Messages.of(EVERYTHING)
