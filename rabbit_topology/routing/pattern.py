"""
A binding's key as a pattern over words.

The empty key has no words, not one that is empty; `a..b` has an empty word in the middle.
Source: "Topic Exchange", "Tutorial Five", RabbitMQ documentation; `rabbit_exchange_type_topic`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from rabbit_topology.errors import TopologyError

WORD = 1
"""Stands in a pattern for one word, whichever: `*`."""
WORDS = 2
"""Stands in a pattern for any number of words, none included: `#`."""

Token: TypeAlias = str | int
"""A word as text, `WORD` or `WORDS`."""
Pattern: TypeAlias = tuple[Token, ...]

EVERY_KEY: Pattern = (WORDS,)


class TooComplexError(TopologyError):
    """A question is beyond the bounds of the analysis; says which."""


def of_topic(binding_key: str) -> Pattern:
    """Return what a topic exchange makes of a binding's key."""
    if not binding_key:
        return ()
    wildcards = {"*": WORD, "#": WORDS}
    return canonical(wildcards.get(word, word) for word in binding_key.split("."))


def of_key(routing_key: str) -> Pattern:
    """Return the pattern that takes this very key: what a direct exchange makes of it."""
    return tuple(routing_key.split(".")) if routing_key else ()


def canonical(tokens: Iterable[Token]) -> Pattern:
    """Return a pattern for the same keys in which each run of wildcards is `*` first, then one `#`.

    So two patterns for the same keys are equal.
    """
    kept: list[Token] = []
    many = False
    for token in tokens:
        if token == WORDS:
            many = True
        elif token == WORD:
            kept.append(token)
        else:
            if many:
                kept.append(WORDS)
                many = False
            kept.append(token)
    return (*kept, WORDS) if many else tuple(kept)


def as_binding_key(pattern: Pattern) -> str:
    """Return a pattern as it is written in a binding."""
    shown = {WORD: "*", WORDS: "#"}
    return ".".join(token if isinstance(token, str) else shown[token] for token in pattern)
