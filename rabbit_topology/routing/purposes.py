"""
What queues are for, as far as the ways to them tell: dead letters, and what no binding took.

Source: "Dead Letter Exchanges", "Alternate Exchanges", RabbitMQ documentation.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Mapping
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


def by_name(
    letting_go: Mapping[_Name, _Name], waiting: Container[_Name], consumed: Container[_Name]
) -> set[_Name]:
    """Return the queues that dead letters get to by name, through the default exchange.

    A queue that is consumed, and that gets only what has waited elsewhere, is for work: its
    messages are delayed, not dead.

    Args:
        letting_go: By queue, the queue that it dead-letters to.
        waiting: The queues whose messages expire, and that nobody consumes.
        consumed: The queues that somebody consumes.
    """
    return {
        target
        for queue, target in letting_go.items()
        if not (queue in waiting and target in consumed)
    }


def only_from(
    exchanges: set[_Name], bindings: Iterable[Way[_Name]], named: Iterable[_Name] = ()
) -> set[_Name]:
    """Return the queues that get messages from some of these exchanges or by name, and no others.

    Args:
        exchanges: The exchanges.
        bindings: From exchanges to queues.
        named: The queues that get such messages by name.
    """
    into: dict[_Name, set[_Name]] = {queue: set() for queue in named}
    for source, queue in bindings:
        into.setdefault(queue, set()).add(source)
    return {queue for queue, from_ in into.items() if from_ <= exchanges}
