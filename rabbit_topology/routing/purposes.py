"""
What queues are for, as far as the ways to them tell: dead letters, and what no binding took.

Source: "Dead Letter Exchanges", "Alternate Exchanges", RabbitMQ documentation.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

NEARLY_FULL = 0.9
"""Of what a queue may hold: somebody should look at it from then on."""

_Name = TypeVar("_Name", bound=Hashable)
Way = tuple[_Name, _Name]
"""From the first to the second."""


def sources(
    dead_letter_targets: Iterable[_Name],
    alternates: Iterable[Way[_Name]],
    bindings: Iterable[Way[_Name]],
) -> tuple[set[_Name], set[_Name]]:
    """Return the exchanges that dead letters get to, and those that get what no binding took.

    What a dead-letter exchange leads to gets dead letters, also as its alternate exchange.

    Args:
        dead_letter_targets: The exchanges that queues dead-letter to.
        alternates: From exchanges to their alternate exchanges.
        bindings: From exchanges to exchanges.
    """
    onwards: dict[_Name, set[_Name]] = {}
    unroutable = set[_Name]()
    for exchange, alternate in alternates:
        onwards.setdefault(exchange, set()).add(alternate)
        unroutable.add(alternate)
    for source, destination in bindings:
        onwards.setdefault(source, set()).add(destination)
    dead, reached = set[_Name](), set(dead_letter_targets)
    while reached - dead:
        dead |= reached
        reached = {target for one in reached for target in onwards.get(one, ())}
    return dead, unroutable - dead


def only_from(exchanges: set[_Name], bindings: Iterable[Way[_Name]]) -> set[_Name]:
    """Return the queues that are bound to some of these exchanges, and to no others.

    Args:
        exchanges: The exchanges.
        bindings: From exchanges to queues.
    """
    into: dict[_Name, set[_Name]] = {}
    for source, queue in bindings:
        into.setdefault(queue, set()).add(source)
    return {queue for queue, from_ in into.items() if from_ <= exchanges}
