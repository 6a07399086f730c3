"""
What an exchange is to a message, and the ways on from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import JsonValue

from rabbit_topology.model import Exchange
from rabbit_topology.routing import headers
from rabbit_topology.routing.headers import Condition
from rabbit_topology.routing.pattern import EVERY_KEY, Pattern

DEFAULT_EXCHANGE = ""

_DELAYED = "x-delayed-message"
_DELAYED_TYPE = "x-delayed-type"


class Kind(StrEnum):
    """How an exchange chooses among its bindings."""

    DIRECT = "direct"
    FANOUT = "fanout"
    TOPIC = "topic"
    HEADERS = "headers"
    ONE_OF = "one of"
    """One of them, by a hash or at random."""
    UNKNOWN = "unknown"
    """By rules that are not known here."""


KINDS: Mapping[str, Kind] = {
    **{kind.value: kind for kind in (Kind.DIRECT, Kind.FANOUT, Kind.TOPIC, Kind.HEADERS)},
    "x-consistent-hash": Kind.ONE_OF,
    "x-modulus-hash": Kind.ONE_OF,
    "x-random": Kind.ONE_OF,
    "x-local-random": Kind.ONE_OF,
    "x-recent-history": Kind.FANOUT,
}


class Way(StrEnum):
    """Why a message goes on from an exchange."""

    BINDING = "binding"
    ALTERNATE = "alternate exchange"
    NAME = "name"
    """The routing key is the name of the queue, on the default exchange."""
    LINK = "link"
    """A shovel or a federation link has a queue of its own that is bound there."""
    BUG = "bug"
    """RabbitMQ 4.3.0 mixes up bindings with the empty key of all topic exchanges (#16271)."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One way on from an exchange."""

    source: str
    way: Way
    kind: str
    """`queue`, `exchange` or `link`: what it leads to."""
    destination: str
    """Its name; of a link its `key`."""
    path: str
    """Where the config says so."""
    routing_key: str = ""
    """The binding's."""
    arguments: Mapping[str, JsonValue] = field(default_factory=dict)
    pattern: Pattern = EVERY_KEY
    """The routing keys that it takes; every key, where the exchange does not look at them."""
    condition: Condition | None = None
    """The headers that it takes; None: any."""

    def takes(self, given: Mapping[str, headers.Value | None]) -> bool:
        """Return whether it takes a message with such headers, whatever its routing key."""
        return self.condition is None or self.condition.takes(given)

    def __hash__(self) -> int:
        return hash((self.source, self.kind, self.destination, self.routing_key, self.path))


@dataclass(frozen=True, kw_only=True)
class Shape:
    """An exchange, as far as routing depends on it."""

    type: str
    kind: Kind
    delayed: bool = False
    """It may keep messages for a while first, by their header `x-delay`."""


_OF_VHOST = " of vhost "


def located(name: str, vhost: str, here: str) -> str:
    """Return a name of some vhost, as it is written where another vhost is spoken of."""
    return name if vhost == here else f"{name}{_OF_VHOST}{vhost}"


def place(name: str, here: str, vhosts: Iterable[str]) -> tuple[str, str]:
    """Return the vhost and the name that `located` was given."""
    for vhost in vhosts:
        if name.endswith(f"{_OF_VHOST}{vhost}"):
            return vhost, name.removesuffix(f"{_OF_VHOST}{vhost}")
    return here, name


def exchange_text(name: str) -> str:
    """Return an exchange as users call it."""
    if name == DEFAULT_EXCHANGE or name.startswith(_OF_VHOST):
        return f"the default exchange{name}"
    return f"exchange {name}"


def shape(exchange: Exchange) -> Shape:
    """Return a declared exchange, as far as routing depends on it."""
    if exchange.type == _DELAYED:
        inner = exchange.arguments.get(_DELAYED_TYPE, "")
        return Shape(type=exchange.type, kind=KINDS.get(inner, Kind.UNKNOWN), delayed=True)
    return Shape(type=exchange.type, kind=KINDS.get(exchange.type, Kind.UNKNOWN))
