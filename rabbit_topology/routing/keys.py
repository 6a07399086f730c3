"""
Sets of routing keys, exactly: what a topic pattern takes is a language over words.

A set is a union of parts, each a pattern without what other patterns take. Such sets are closed
under union, intersection and difference.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import chain, count

from rabbit_topology.routing.meet import MAX_PATTERNS, meet
from rabbit_topology.routing.pattern import (
    EVERY_KEY,
    WORD,
    Pattern,
    TooComplexError,
    as_binding_key,
    of_key,
)
from rabbit_topology.routing.tree import Patterns, irredundant, single

_NONE = Patterns()

_SHOWN = 4
"""Patterns that are named of those that a part is without."""


@dataclass(frozen=True)
class Part:
    """The keys that a pattern takes, without those that others take."""

    pattern: Pattern
    without: Patterns = _NONE

    def shortest(self) -> Pattern | None:
        """Return a key with the fewest words, `WORD` for any word; None if there is no key."""
        return self.without.uncovered(self.pattern)

    def has(self, key: Pattern) -> bool:
        """Return whether it takes a key."""
        return single(self.pattern).take(key) and not self.without.take(key)

    def __str__(self) -> str:
        shown = [
            as_binding_key(other)
            for other in self.without.all
            if any(Part(both).shortest() is not None for both in meet(self.pattern, other))
        ]
        if len(shown) > _SHOWN:
            shown[_SHOWN - 1 :] = [f"{len(shown) - _SHOWN + 1:,} more patterns"]
        return (
            f"{as_binding_key(self.pattern)} but not {', '.join(shown)}"
            if shown
            else as_binding_key(self.pattern)
        )


@dataclass(frozen=True)
class Keys:
    """A set of routing keys. ``|``, ``&`` and ``-`` are exact; it is true if it has a key."""

    parts: tuple[Part, ...] = ()

    @classmethod
    def taken(cls, patterns: Iterable[Pattern]) -> Keys:
        """Return the keys that patterns take."""
        return cls(tuple(Part(pattern) for pattern in dict.fromkeys(patterns)))

    def __or__(self, other: Keys) -> Keys:
        return Keys(tuple(dict.fromkeys((*self.parts, *other.parts))))

    def __and__(self, other: Keys) -> Keys:
        parts: dict[Part, None] = {}
        for one in self.parts:
            for two in other.parts:
                without = one.without | two.without
                for pattern in meet(one.pattern, two.pattern):
                    parts[Part(pattern, without)] = None
                if len(parts) > MAX_PATTERNS:
                    raise TooComplexError(f"an intersection of more than {MAX_PATTERNS:,} patterns")
        return Keys(tuple(parts))

    def __sub__(self, other: Keys) -> Keys:
        plain = Patterns(part.pattern for part in other.parts if not part.without.all)
        left = Keys(tuple(Part(part.pattern, part.without | plain) for part in self.parts))
        if any(part.without.all for part in other.parts):
            left = left._filled()  # most of it is gone in most cases, and what follows is slow
        for part in other.parts:
            if part.without.all:
                outside = Patterns([part.pattern])
                kept = Keys(tuple(Part(one.pattern, one.without | outside) for one in left.parts))
                inside = left & Keys.taken([part.pattern])
                left = (kept | inside._taken_by(part.without))._filled()
        return left

    def _taken_by(self, patterns: Patterns) -> Keys:
        """Return what patterns take of these keys; what a part is without anyway is left out."""
        left: dict[Part, None] = {}
        for part in self.parts:
            others = [pattern for pattern in patterns.all if pattern not in part.without.set]
            left.update(dict.fromkeys((Keys((part,)) & Keys.taken(others)).parts))
        return Keys(tuple(left))

    def _filled(self) -> Keys:
        return Keys(tuple(part for part in self.parts if part.shortest() is not None))

    def __bool__(self) -> bool:
        return any(part.shortest() is not None for part in self.parts)

    def __contains__(self, routing_key: str) -> bool:
        key = of_key(routing_key)
        return any(part.has(key) for part in self.parts)

    def __le__(self, other: Keys) -> bool:
        return not self - other

    def same(self, other: Keys) -> bool:
        """Return whether both have the same keys."""
        return self <= other <= self

    def example(self) -> str | None:
        """Return a shortest key as text, None if there is none."""
        shortest = [
            (len(key), written(key, part.without.words))
            for part in self.parts
            if (key := part.shortest()) is not None
        ]
        return min(shortest)[1] if shortest else None

    def simplified(self) -> Keys:
        """Return the same keys in fewer parts: none is empty, and none plainly in others.

        Of parts that are without nothing, each is needed.
        """
        by_without: dict[Patterns, list[Pattern]] = {}
        for part in self._filled().parts:
            by_without.setdefault(part.without, []).append(part.pattern)
        plain = Patterns(by_without.get(_NONE, ()))
        kept: list[Part] = []
        for without, patterns in by_without.items():
            if without.all and plain.all:
                patterns = [pattern for pattern in patterns if plain.uncovered(pattern) is not None]  # noqa: PLW2901
            kept += (Part(pattern, without) for pattern in irredundant(patterns))
        return Keys(tuple(kept))


EVERYTHING = Keys.taken([EVERY_KEY])


def written(key: Pattern, taken: Collection[str] = ()) -> str:
    """Return a key as text, with a word that is not among ``taken`` for each `WORD`."""
    return as_binding_key(tuple(fresh(taken) if token == WORD else token for token in key))


def fresh(taken: Collection[str]) -> str:
    """Return a short word that is not among ``taken``."""
    words = chain("xyz", (f"x{number}" for number in count(1)))
    return next(word for word in words if word not in taken)
