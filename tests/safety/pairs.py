"""
Fewer cases than every product of some factors, with every pair of their values in at least one.

A fault that only one value shows, or two of them together, is met as surely as in the whole
product: that is what is known as pairwise, or all-pairs, testing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from itertools import combinations, product
from typing import TypeVar

Case = tuple[Hashable, ...]
"""One value of each factor, in the order of the factors."""

Pair = tuple[tuple[int, Hashable], tuple[int, Hashable]]
"""Two values of a case, each with the number of its factor."""

Value = TypeVar("Value")


def pairs(case: Case) -> frozenset[Pair]:
    """Return every pair of a case's values."""
    return frozenset(combinations(enumerate(case), 2))


def covering(
    *factors: Sequence[Hashable],
    allowed: Callable[[Case], bool] = lambda _case: True,
    given: Collection[Case] = (),
) -> list[Case]:
    """Return cases that hold every pair of values which an allowed case holds.

    ``given`` are cases that are run in any way; they come first. The same factors always give the
    same cases: each time the one that adds most, and among equals the one whose pairs have been
    chosen least often, then the first of the product.
    """
    cases = [case for case in product(*factors) if allowed(case)]
    wanted = {pair for case in cases for pair in pairs(case)}
    chosen: list[Case] = list(given)
    held = Counter(pair for case in chosen for pair in pairs(case))

    def worth(case: Case) -> tuple[int, int]:
        return sum(not held[pair] for pair in pairs(case)), -sum(held[pair] for pair in pairs(case))

    while wanted - held.keys():
        chosen.append(max(cases, key=worth))
        held.update(pairs(chosen[-1]))
    return chosen


def in_turn(values: Iterable[Value], side: Callable[[Value], Hashable]) -> list[Value]:
    """Return the values so ordered that their sides change as often as they can.

    Within a side the order stays. The side with most values is first.
    """
    waiting: dict[Hashable, list[Value]] = {}
    for value in values:
        waiting.setdefault(side(value), []).append(value)
    ordered: list[Value] = []
    last: Hashable = object()
    while any(waiting.values()):
        # Of the sides that are not the last one, if there is any, the one with most left.
        last = max(
            (one for one, left in waiting.items() if left),
            key=lambda one: (one != last, len(waiting[one])),
        )
        ordered.append(waiting[last].pop(0))
    return ordered
