"""
The keys that two patterns both take, as patterns again.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

from rabbit_topology.routing.pattern import (
    EVERY_KEY,
    WORD,
    WORDS,
    Pattern,
    Token,
    TooComplexError,
    as_binding_key,
    canonical,
)
from rabbit_topology.routing.tree import includes

MAX_PATTERNS = 10_000
"""Parts that an intersection may have."""


@lru_cache(maxsize=65536)
def meet(first: Pattern, second: Pattern) -> tuple[Pattern, ...]:
    """Return patterns for the keys that both take.

    Raises:
        TooComplexError: They are more than `MAX_PATTERNS`.
    """
    if first in (EVERY_KEY, second):
        return (second,)
    if second == EVERY_KEY:
        return (first,)
    if WORDS not in first and WORDS not in second:
        one = _meet_words(first, second)
        return () if one is None or one == ("",) else (one,)
    if _differ(first, second):
        return ()
    if includes(first, second):
        return (second,)
    if includes(second, first):
        return (first,)
    parts = {canonical(part) for part in _meet(first, second, {})} - {("",)}
    whole = sorted(parts, key=lambda part: (len(part), as_binding_key(part)))
    kept: list[Pattern] = []
    for part in sorted(whole, key=_generality):
        if not any(includes(one, part) for one in kept):
            kept.append(part)
    return tuple(kept)


def _generality(pattern: Pattern) -> tuple[int, int]:
    """Return what puts a pattern before those that it includes."""
    return len(pattern) - 2 * pattern.count(WORDS), -pattern.count(WORDS)


def _differ(first: Pattern, second: Pattern) -> bool:
    """Return whether the first or the last word tells already that no key is in both."""
    begins, finish = (first[:1], second[:1]), (first[-1:], second[-1:])
    return any(
        isinstance(token, str) and isinstance(other, str) and token != other
        for tokens, others in (begins, finish)
        for token, other in zip(tokens, others, strict=False)
    )


def _meet_words(first: Pattern, second: Pattern) -> Pattern | None:
    if len(first) != len(second):
        return None
    words: list[Token] = []
    for token, other in zip(first, second, strict=True):
        if token != other and WORD not in (token, other):
            return None
        words.append(other if token == WORD else token)
    return tuple(words)


_Known: TypeAlias = dict[tuple[Pattern, Pattern], frozenset[Pattern]]


def _meet(first: Pattern, second: Pattern, known: _Known) -> frozenset[Pattern]:
    if (first, second) in known:
        return known[first, second]
    parts: set[Pattern] = set()
    if not first or not second:
        if all(token == WORDS for token in (*first, *second)):
            parts.add(())
    elif first[0] == WORDS and second[0] == WORDS:
        # What the longer of both takes begins with what the shorter takes.
        for rest in _meet(first[1:], second, known) | _meet(first, second[1:], known):
            parts.add(canonical((WORDS, *rest)))
    elif first[0] == WORDS:
        parts |= _meet(first[1:], second, known)
        for rest in _meet(first, second[1:], known):
            parts.add(canonical((second[0], *rest)))
    elif second[0] == WORDS:
        parts |= _meet(second, first, known)
    else:
        one = _meet_words(first[:1], second[:1])
        if one is not None:
            for rest in _meet(first[1:], second[1:], known):
                parts.add(canonical((*one, *rest)))
    if len(parts) > MAX_PATTERNS:
        raise TooComplexError(
            f"{as_binding_key(first)} and {as_binding_key(second)}: what both take is more than "
            f"{MAX_PATTERNS:,} patterns"
        )
    known[first, second] = frozenset(parts)
    return known[first, second]
