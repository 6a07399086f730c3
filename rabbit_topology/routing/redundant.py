"""
Bindings that add nothing: whatever they take, others take to the same place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rabbit_topology.routing.messages import Messages
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.pattern import Pattern
from rabbit_topology.routing.reach import Reach
from rabbit_topology.routing.steps import Kind, Step
from rabbit_topology.routing.tree import Patterns
from rabbit_topology.routing.tree import redundant as tree_redundant


def redundant(reach: Reach) -> Iterator[Step]:
    """Yield the bindings without which every message goes where it goes with them.

    Of two that take the same, the later one. Not those of exchanges that choose one of several.

    Raises:
        TooComplexError: They cannot be told within the bounds of the analysis.
    """
    for steps in _groups(reach.network):
        if steps[0].condition is None:
            yield from _by_key(steps)
        else:
            yield from _by_headers(reach, steps)


def _groups(network: Network) -> Iterator[list[Step]]:
    """Yield bindings between the same two, where there are several."""
    for source, all_steps in network.steps.items():
        if network.kind(source) in (Kind.ONE_OF, Kind.UNKNOWN):
            continue
        by_end: dict[tuple[str, str], list[Step]] = {}
        for step in all_steps:
            by_end.setdefault((step.kind, step.destination), []).append(step)
        yield from (steps for steps in by_end.values() if len(steps) > 1)


def _by_key(steps: Sequence[Step]) -> Iterator[Step]:
    by_pattern: dict[Pattern, list[Step]] = {}
    for step in steps:
        by_pattern.setdefault(step.pattern, []).append(step)
    tree = Patterns(by_pattern)
    needless = set(tree_redundant(tree))
    for number, pattern in enumerate(tree.all):
        same = by_pattern[pattern]
        yield from same if number in needless else same[1:]


def _by_headers(reach: Reach, steps: Sequence[Step]) -> Iterator[Step]:
    left = list(steps)
    for step in reversed(steps):
        others = [other for other in left if other is not step]
        taken = [case for other in others for case in reach.taken(other).cases]
        if reach.taken(step) <= Messages(tuple(taken)):
            left = others
            yield step
