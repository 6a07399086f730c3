"""
Patterns in a tree, as the broker has them: which of them take a key, and what they leave over.

Whether others take all keys of a pattern needs no automaton over an alphabet: there are always
more words than a config has, so where the pattern has `*` or `#` a word that stands nowhere else
is taken by whoever takes them all. So only such keys are tried, and 1,000 patterns that overlap
make 1,000 branches of a tree and not 2 ** 1,000 states.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from typing import TypeAlias

from rabbit_topology.routing.pattern import (
    EVERY_KEY,
    WORD,
    WORDS,
    Pattern,
    Token,
    TooComplexError,
    as_binding_key,
)

MAX_STEPS = 100_000
"""How long one question about one pattern is pursued. No config that was seen comes near."""


class _Node:
    """A place in the tree of patterns: what may follow."""

    __slots__ = ("ends", "literals", "loops", "word", "words")

    def __init__(self, *, loops: bool = False) -> None:
        self.literals: dict[Token, _Node] = {}
        self.word: _Node | None = None
        self.words: _Node | None = None
        self.loops = loops
        """It is behind a `#`: any word leads to it again."""
        self.ends: list[int] = []
        """Which patterns end here."""


_States: TypeAlias = frozenset[_Node]


class Patterns:
    """Patterns to be asked together, in a tree as the broker has one."""

    def __init__(self, patterns: Iterable[Pattern] = ()) -> None:
        self.all = tuple(dict.fromkeys(patterns))
        self.set = frozenset(self.all)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Patterns) and (self is other or self.set == other.set)

    def __hash__(self) -> int:
        return hash(self.set)

    def __or__(self, other: Patterns) -> Patterns:
        if not self.all or not other.all:
            return self if self.all else other
        if other.set <= self.set or self.set <= other.set:
            return self if other.set <= self.set else other
        return Patterns((*self.all, *other.all))

    @cached_property
    def _root(self) -> _Node:
        root = _Node()
        for number, pattern in enumerate(self.all):
            node = root
            for token in pattern:
                node = _child(node, token)
            node.ends.append(number)
        return root

    @cached_property
    def words(self) -> frozenset[str]:
        """Every word that stands in a pattern."""
        return frozenset(
            token for pattern in self.all for token in pattern if isinstance(token, str)
        )

    @property
    def start(self) -> _States:
        """Where a key begins."""
        return frozenset(_closed([self._root]))

    def take(self, key: Pattern) -> bool:
        """Return whether one of the patterns takes a key; `WORD` in it is a word of no pattern."""
        states = self.start
        for word in key:
            states = step(states, word)
        return ends(states)

    def taking(self, key: Pattern) -> list[int]:
        """Return the numbers of the patterns that take a key, in the order of `all`."""
        states = self.start
        for word in key:
            states = step(states, word)
        return sorted({number for node in states for number in node.ends})

    def uncovered(self, pattern: Pattern, ignored: Collection[int] = ()) -> Pattern | None:
        """Return a shortest key of ``pattern`` that none of these take, None if they take all.

        Args:
            pattern: What to look for.
            ignored: Numbers of patterns that do not count, in the order of `all`.

        Raises:
            TooComplexError: After `MAX_STEPS`.
        """
        return _search(pattern, self.start, ignored)[0]

    def steps(self, pattern: Pattern) -> int:
        """Return how many states `uncovered` looks at."""
        return _search(pattern, self.start, ())[1]


def _child(node: _Node, token: Token) -> _Node:
    if token == WORD:
        node.word = node.word or _Node()
        return node.word
    if token == WORDS:
        node.words = node.words or _Node(loops=True)
        return node.words
    return node.literals.setdefault(token, _Node())


def _closed(nodes: Iterable[_Node]) -> Iterator[_Node]:
    """Yield nodes and where `#` leads to from them with no word at all."""
    for node in nodes:
        yield node
        behind = node.words
        while behind is not None:
            yield behind
            behind = behind.words


def step(states: _States, word: Token) -> _States:
    """Return where a word leads to."""
    following: list[_Node] = []
    for node in states:
        if node.loops:
            following.append(node)
        if node.word is not None:
            following.append(node.word)
        literal = node.literals.get(word)
        if literal is not None:
            following.append(literal)
    return frozenset(_closed(following))


def ends(states: _States, ignored: Collection[int] = ()) -> bool:
    """Return whether a pattern ends here."""
    return any(_counts(node, ignored) for node in states)


def _counts(node: _Node, ignored: Collection[int]) -> bool:
    return bool(node.ends) and (not ignored or any(number not in ignored for number in node.ends))


def _search(
    pattern: Pattern, start: _States, ignored: Collection[int]
) -> tuple[Pattern | None, int]:
    """Return the shortest key of a pattern that leads nowhere, and how many states were seen."""
    # A state: how much of the pattern is used, where the key leads to, and whether it is one empty
    # word so far, which no key is.
    seen: set[tuple[int, _States, bool]] = set()
    left: deque[tuple[tuple[int, _States, bool], Pattern]] = deque([((0, start, False), ())])
    while left:
        state, key = left.popleft()
        if state in seen:
            continue
        seen.add(state)
        position, states, only_empty = state
        if len(seen) > MAX_STEPS:
            raise TooComplexError(
                f"{as_binding_key(pattern)}: more than {MAX_STEPS:,} steps to tell which of its "
                "keys others take"
            )
        if any(node.loops and _counts(node, ignored) for node in states):
            continue  # a `#` at an end takes whatever comes
        if position == len(pattern):
            if not only_empty and not ends(states, ignored):
                return key, len(seen)
            continue
        token = pattern[position]
        if token == WORDS:
            left.appendleft(((position + 1, states, only_empty), key))  # no longer by this
            after = position
        else:
            after = position + 1
        word = token if isinstance(token, str) else WORD
        left.append(((after, step(states, word), not key and word == ""), (*key, word)))
    return None, len(seen)


def includes(wider: Pattern, pattern: Pattern) -> bool:
    """Return whether each key that ``pattern`` takes is one that ``wider`` takes."""
    return wider in (EVERY_KEY, pattern) or single(wider).uncovered(pattern) is None


@lru_cache(maxsize=4096)
def single(pattern: Pattern) -> Patterns:
    """Return one pattern as a tree."""
    return Patterns([pattern])


def irredundant(patterns: Sequence[Pattern]) -> list[Pattern]:
    """Return the patterns that are needed to take what all of them take, in their order."""
    tree = Patterns(patterns)
    needless = set(redundant(tree))
    return [
        pattern
        for number, pattern in enumerate(tree.all)
        if number not in needless and pattern != ("",)
    ]


def redundant(tree: Patterns) -> Iterator[int]:
    """Yield the numbers of patterns without which the others still take the same keys.

    The narrower go first: of two patterns one of which includes the other, the wider stays.
    """
    gone: set[int] = set()
    for number in sorted(range(len(tree.all)), key=lambda one: _narrowness(tree.all[one])):
        if tree.uncovered(tree.all[number], gone | {number}) is None:
            gone.add(number)
            yield number


def _narrowness(pattern: Pattern) -> tuple[int, int, int]:
    return pattern.count(WORDS), pattern.count(WORD), -len(pattern)
