"""
Advice about dead letters that go round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from rabbit_topology.compiler.context import Context, of_queue
from rabbit_topology.errors import Problem
from rabbit_topology.findings import Rule, Severity, advice
from rabbit_topology.routing.router import OTHER, Router, is_pattern

_State: TypeAlias = tuple[str, str, str | None]
"""A message in a `queue` or `exchange`, its name, with a routing key."""

_Following: TypeAlias = Callable[[_State], Iterable[_State]]

_SHOWN = 6
"""Queues of a cycle that are named."""


@advice(
    "dead-letter-cycle",
    Severity.WARNING,
    "Dead Letter Exchanges",
    "a message that is rejected goes round for ever; one that only expires the broker drops when "
    "it comes round",
)
def dead_letter_cycle(context: Context) -> Iterator[Problem]:
    """Yield queues whose dead letters come back into them, with nothing that ends it.

    A routing key that changes on the way, as `retry` changes it, ends it: so a message is followed
    with its key, from the keys that the queue is bound with.
    """
    ways = _Ways(context)
    told: set[frozenset[str]] = set()
    for cycle in _cycles(ways.starts(), ways.following):
        queues = [name for kind, name, _ in cycle if kind == "queue"]
        if not queues or frozenset(queues) in told:
            continue
        told.add(frozenset(queues))
        written = [queue for queue in queues if queue in context.written.queues] or queues
        first = min(written)
        turned = queues[queues.index(first) :] + queues[: queues.index(first)]
        shown = [*turned[:_SHOWN], *(["…"] if len(turned) > _SHOWN else []), first]
        yield Problem(
            path=_where(context, first),
            value=" -> ".join(shown),
            rule="what is dead-lettered there comes back, without end",
            fix="use `retry`, which parks a message after the last delay, or lead one of them out",
        )


class _Ways:
    """Where dead letters go, one step after the other."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._settings = context.settings
        self._router = Router(context)
        reached = self._router.reachable(context.dead_letter_targets)
        # Only these keys make a difference on the way; all others are one to us.
        self._keys = {key for exchange in reached for key in self._router.keys(exchange)}

    def starts(self) -> Iterator[_State]:
        """Yield messages as they get into queues with a dead-letter exchange."""
        for name, settings in self._settings.items():
            if "dead-letter-exchange" in settings:
                yield "queue", name, OTHER
        for route in self._context.whole.routes():
            if route.kind == "queue" and "dead-letter-exchange" in self._settings.get(
                route.destination, ()
            ):
                yield "queue", route.destination, self._known(route.routing_key)

    def following(self, state: _State) -> list[_State]:
        kind, name, key = state
        if kind == "exchange":
            return [(*place, key) for place in self._router.targets(name, key)]
        settings = self._settings.get(name, {})
        exchange = settings.get("dead-letter-exchange")
        if not isinstance(exchange, str):
            return []
        changed = settings.get("dead-letter-routing-key", key)
        if not exchange:  # the default exchange: the key is the name of a queue
            return [("queue", changed, OTHER)] if isinstance(changed, str) else []
        return [("exchange", exchange, self._known(changed))]

    def _known(self, key: object) -> str | None:
        known = isinstance(key, str) and key in self._keys and not is_pattern(key)
        return key if known else OTHER  # type: ignore[return-value]  # known says that it is text


def _cycles(starts: Iterable[_State], following: _Following) -> Iterator[list[_State]]:
    """Yield a cycle of each part of the graph that has some.

    Depth first, with a stack of its own: what is done is not looked at again, so that the time
    grows with the number of ways.
    """
    done: set[_State] = set()
    told: set[_State] = set()
    for start in starts:
        if start in done:
            continue
        trail: list[_State] = [start]
        position = {start: 0}
        branches = [iter(following(start))]
        while branches:
            state = next(branches[-1], None)
            if state is None:
                branches.pop()
                ended = trail.pop()
                del position[ended]
                done.add(ended)
            elif state in position:
                if not {state, trail[-1]} & told:
                    cycle = trail[position[state] :]
                    told.update(cycle)
                    yield cycle
            elif state not in done:
                position[state] = len(trail)
                trail.append(state)
                branches.append(iter(following(state)))


def _where(context: Context, name: str) -> str:
    queue = context.written.queues.get(name)
    return of_queue(name, "dead_letter") if queue and queue.dead_letter else of_queue(name)


RULES: tuple[Rule[Context], ...] = (dead_letter_cycle,)
