"""
Where an exchange sends a message with a routing key.

Source: "AMQP 0-9-1 Model Explained", "Exchanges", "Alternate Exchanges", RabbitMQ documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

from rabbit_topology.compiler.context import Context
from rabbit_topology.model import PREDECLARED_EXCHANGES, Route

Place: TypeAlias = tuple[str, str]
"""`queue` or `exchange`, and its name."""

OTHER = None
"""A routing key that stands in no binding as it is."""


@dataclass
class _Bound:
    """The bindings of one exchange, those that take one key by that key."""

    by_key: dict[str, list[Place]] = field(default_factory=dict)
    by_pattern: list[tuple[str, Place]] = field(default_factory=list)
    all: list[Place] = field(default_factory=list)


class Router:
    """The exchanges and bindings of one vhost."""

    def __init__(self, context: Context) -> None:
        self._types = {
            **PREDECLARED_EXCHANGES,
            **{name: exchange.type for name, exchange in context.whole.exchanges.items()},
        }
        self.alternates: Mapping[str, str] = context.alternates
        self._bound: dict[str, _Bound] = {}
        for route in context.whole.routes():
            self._add(route)

    def _add(self, route: Route) -> None:
        bound = self._bound.setdefault(route.source, _Bound())
        place = (route.kind, route.destination)
        bound.all.append(place)
        if is_pattern(route.routing_key) and self._types.get(route.source) == "topic":
            bound.by_pattern.append((route.routing_key, place))
        else:
            bound.by_key.setdefault(route.routing_key, []).append(place)

    def bound(self, exchange: str) -> list[Place]:
        """Return all that an exchange is bound to, whatever the key."""
        return self._bound[exchange].all if exchange in self._bound else []

    def keys(self, exchange: str) -> Iterable[str]:
        """Return the keys for which an exchange has bindings that take no other."""
        if exchange not in self._bound or not self.by_key(exchange):
            return ()
        return self._bound[exchange].by_key

    def by_key(self, exchange: str) -> bool:
        """Return whether an exchange looks at routing keys."""
        return self._types.get(exchange) in ("direct", "topic")

    def targets(self, exchange: str, key: str | None) -> list[Place]:
        """Return where a message goes next; of headers and plugins' exchanges, where it can go."""
        bound = self._bound.get(exchange, _Bound())
        if not self.by_key(exchange):
            places = bound.all
        else:
            places = [
                *(() if key is OTHER else bound.by_key.get(key, ())),
                *(
                    route
                    for pattern, route in bound.by_pattern
                    if key is OTHER or takes(pattern, key)
                ),
            ]
        if not places and exchange in self.alternates:
            return [("exchange", self.alternates[exchange])]
        return places

    def reachable(self, exchanges: Iterable[str]) -> Iterator[str]:
        """Yield all exchanges that messages in some of them can get to, these included."""
        left, seen = list(exchanges), set(exchanges)
        while left:
            exchange = left.pop()
            yield exchange
            following = [name for kind, name in self.bound(exchange) if kind == "exchange"]
            if exchange in self.alternates:
                following.append(self.alternates[exchange])
            left += {exchange for exchange in following if exchange not in seen}
            seen.update(following)


def is_pattern(key: str) -> bool:
    """Return whether a topic exchange takes a binding's key as a pattern."""
    return "*" in key or "#" in key


def takes(pattern: str, key: str) -> bool:
    """Return whether a topic exchange's pattern takes a key."""
    # The empty key has no words, not one that is empty.
    return _regex(pattern).fullmatch(f".{key}" if key else "") is not None


@lru_cache(maxsize=4096)
def _regex(pattern: str) -> re.Pattern[str]:
    # Each word with the dot before it, so that `#` can be no word at all.
    words = {"*": r"\.[^.]*", "#": r"(?:\.[^.]*)*"}
    whole = "".join(words.get(word, rf"\.{re.escape(word)}") for word in pattern.split("."))
    return re.compile(whole)
