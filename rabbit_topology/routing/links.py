"""
What takes messages from one place to another: shovels and federation links.

Source: "Shovel Plugin", "Dynamic Shovels", "Federation Reference", RabbitMQ documentation;
`rabbit_shovel_parameters`, `rabbit_local_shovel`, `rabbit_federation_exchange_link`,
`rabbit_federation_queue_link`, read in 3.10.8, 4.0.5 and 4.3.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

from pydantic import JsonValue

from rabbit_topology.model import Route
from rabbit_topology.model.versions import Version
from rabbit_topology.routing.message import Message
from rabbit_topology.routing.steps import DEFAULT_EXCHANGE, Step, Way, exchange_text, located

if TYPE_CHECKING:
    from rabbit_topology.routing.network import Network

_DEATHS_OF_CLIENTS_IGNORED: Version = (4, 0)
"""The first version that does not believe what a client says of earlier deaths.

Source: the release notes of 4.0, "AMQP 0.9.1 x-death header".
"""


class Carrier(StrEnum):
    """What a link is."""

    SHOVEL = "shovel"
    FEDERATION = "federation upstream"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A queue or an exchange of a vhost."""

    vhost: str
    kind: str
    """`queue` or `exchange`."""
    name: str | None
    """None: the exchange that each message was published to."""

    def text(self, here: str) -> str:
        """Return how it is called where ``here`` is spoken of."""
        if self.name is None:
            return located("the exchange of its name", self.vhost, here)
        name = located(self.name, self.vhost, here)
        return f"queue {name}" if self.kind == "queue" else exchange_text(name)


@dataclass(frozen=True, kw_only=True)
class Link:
    """A shovel, or one link of a federated exchange or queue."""

    carrier: Carrier
    name: str
    path: str
    """Where the config declares it."""
    source: Place | None = None
    """None: it is not known from here."""
    target: Place | None = None
    """None: it is not known from here."""
    unknown: str = ""
    """Why it cannot be followed; empty: it can."""
    routing_key: str | None = None
    """The key that messages go on with; None: each keeps its own."""
    expiration: int | None = None
    """Milliseconds after which what it publishes expires; None: as it did before."""
    adds: tuple[str, ...] = ()
    """Headers that it adds."""
    doubt: str = ""
    """Why it may leave a message that it could take; empty: it takes them all."""
    copies: bool = False
    """What it takes stays there as well: it reads a stream."""
    copies_count: bool = True
    """It publishes anew, so that the keys in the header CC count again."""
    as_it_is: bool = False
    """A message goes on with all its keys and its earlier deaths."""
    max_hops: int | None = None
    """Links that a message may have come over before and with this; None: any number."""
    source_key: str = ""
    """The key with which a shovel binds its own queue."""

    @property
    def key(self) -> str:
        """What no other link has."""
        return f"{self.title} {self.path} {self.source} {self.target}"

    @property
    def title(self) -> str:
        """What it is, and its name."""
        return f"{self.carrier} {self.name}"

    @property
    def has_own_queue(self) -> bool:
        """Whether it takes from an exchange, by a queue of its own."""
        return self.source is not None and self.source.kind == "exchange"

    @property
    def exchange(self) -> str | None:
        """The exchange that it publishes to; None: the one that each message was published to."""
        if self.target is None:
            return None
        return DEFAULT_EXCHANGE if self.target.kind == "queue" else self.target.name

    @property
    def is_followed(self) -> bool:
        """Whether both its ends are known from here, and what it does between them."""
        return self.source is not None and self.target is not None and not self.unknown

    def stops(self, message: Message) -> str:
        """Return why a message that has come over other links is not taken; empty if it is."""
        if self.max_hops is None or self.target is None:
            return ""
        if len(message.received_from) >= self.max_hops:
            return f"it has come over {len(message.received_from)}, and max_hops is {self.max_hops}"
        if self.target.vhost in message.received_from:
            return f"it was in vhost {self.target.vhost} before"
        return ""

    def tap(self, network: Network, key: str, arguments: Mapping[str, JsonValue], at: str) -> Step:
        """Return the way from its source to the queue that it has of its own there.

        Args:
            network: The vhost of its source.
            key: The routing key that it asks for.
            arguments: The headers that it asks for.
            at: Where the config says so.
        """
        source = self.source.name if self.source is not None else None
        route = Route(
            source=source or DEFAULT_EXCHANGE,
            kind="link",
            destination=self.key,
            routing_key=key,
            arguments=dict(arguments),
        )
        return replace(network.step(route, at), way=Way.LINK)

    def carried(self, message: Message, version: Version | None) -> Message:
        """Return a message as the link publishes it."""
        own = message.routing_keys[0] if message.routing_keys else ""
        routing_key = own if self.routing_key is None else self.routing_key
        headers = dict(message.headers) | {name: [{}] for name in self.adds}
        copies = headers.get("CC", []) if self.copies_count else []
        if self.as_it_is and self.routing_key is None:
            routing_keys = message.routing_keys
        else:
            # Dead letters that were given a key have lost those in CC.
            routing_keys = (routing_key, *(key for key in copies if key in message.routing_keys))
        if self.carrier is Carrier.FEDERATION and not self.copies_count and "CC" in headers:
            headers["x-original-cc"] = headers.pop("CC")
        believed = version is not None and version < _DEATHS_OF_CLIENTS_IGNORED
        received = message.received_from
        if self.carrier is Carrier.FEDERATION:
            from_exchange = self.has_own_queue and self.source is not None
            received = (self.source.vhost if from_exchange and self.source else "", *received)
        return replace(
            message,
            exchange=message.exchange if self.exchange is None else self.exchange,
            routing_keys=tuple(dict.fromkeys(routing_keys)),
            headers=headers,
            expiration=message.expiration if self.expiration is None else self.expiration,
            deaths=message.deaths if believed or self.as_it_is else (),
            received_from=received,
        )


@dataclass(frozen=True, kw_only=True)
class Links:
    """The links of a stack."""

    networks: Mapping[str, Network] = field(default_factory=dict)
    """All its vhosts, by name."""
    all: tuple[Link, ...] = ()

    @cached_property
    def by_key(self) -> Mapping[str, Link]:
        """Those with a queue of their own, and all others."""
        return {link.key: link for link in self.all}

    def taking(self, vhost: str, queue: str) -> list[Link]:
        """Return those that take from a queue."""
        return self._taking.get((vhost, queue), [])

    def into(self, vhost: str) -> list[Link]:
        """Return those that publish in a vhost."""
        return self._into.get(vhost, [])

    def hops(self, message: Message) -> tuple[int, frozenset[str]]:
        """Return what of the links that a message has come over decides whether others take it."""
        return min(len(message.received_from), self._most_hops), frozenset(message.received_from)

    @cached_property
    def _most_hops(self) -> int:
        return max((link.max_hops or 0 for link in self.all), default=0)

    @cached_property
    def _taking(self) -> Mapping[tuple[str, str | None], list[Link]]:
        taking: dict[tuple[str, str | None], list[Link]] = {}
        for link in self.all:
            if link.source is not None and link.source.kind == "queue":
                taking.setdefault((link.source.vhost, link.source.name), []).append(link)
        return taking

    @cached_property
    def _into(self) -> Mapping[str, list[Link]]:
        into: dict[str, list[Link]] = {}
        for link in self.all:
            if link.target is not None:
                into.setdefault(link.target.vhost, []).append(link)
        return into
