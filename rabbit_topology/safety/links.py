"""
Shovels: what they take from, and what the broker keeps for them.

A shovel whose source is an exchange has a queue that the broker declares for it, and deletes with
it. Source: "Dynamic Shovels", RabbitMQ documentation.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from rabbit_topology.broker.access import Access
from rabbit_topology.broker.management import NotFoundError
from rabbit_topology.compiler import whereabouts
from rabbit_topology.errors import BrokerError
from rabbit_topology.messages.queue import TOTALS
from rabbit_topology.model import DEFAULT_VHOST

_OWN_QUEUE = ("/exchange/", "/topic/")
"""What AMQP 1.0 addresses begin with that a broker answers with a queue of the reader's own."""

SETTLING_SECONDS = 3.0
"""How long a link may take to start, and a shovel to forward the last of what it has taken."""

ACCEPT = "rabbit-topology:safety.link_queues: accept"


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a shovel takes from, as it is configured."""

    shovel: str
    vhost: str
    """The vhost that the shovel is in."""
    uri: str
    queue: str | None = None
    exchange: str | None = None
    routing_key: str = ""
    address: str | None = None

    @classmethod
    def of(cls, shovel: str, vhost: str, info: Mapping[str, Any]) -> Source:
        """Return the source that the provider's inputs of a shovel describe."""
        return cls(
            shovel=shovel,
            vhost=vhost,
            uri=info["sourceUri"],
            queue=info.get("sourceQueue"),
            exchange=info.get("sourceExchange"),
            routing_key=info.get("sourceExchangeKey") or "",
            address=info.get("sourceAddress"),
        )

    @property
    def has_own_queue(self) -> bool:
        """Return whether the broker declares a queue for it, which goes with the shovel."""
        return bool(self.exchange) or (self.address or "").startswith(_OWN_QUEUE)

    def queue_name(self) -> str | None:
        """Return the name of the queue that it takes from, None if it has one of its own."""
        if self.address and not self.has_own_queue:
            return unquote(self.address.rpartition("/")[2])
        return self.queue


def vhost_here(access: Access, uri: str, default: str = DEFAULT_VHOST) -> str | None:
    """Return the vhost of this broker that a URI leads to, None if it may be another broker's.

    Without a path it is ``default``: for a shovel `/`, for a link the vhost that it is in.
    """
    return whereabouts.of(uri, access.addresses, default).vhost


def readers(access: Access, sources: Sequence[Source], vhost: str, queue: str) -> int:
    """Return how many of the shovels are consumers of a queue of this broker at the moment.

    A shovel says itself whether it runs. One whose URI names the broker in another way counts
    when the broker's statistics, some seconds old, have a consumer on a connection of its name.
    """
    count = 0
    for source in sources:
        if source.queue_name() != queue or not is_running(access, source):
            continue
        here = vhost_here(access, source.uri)
        if here == vhost or (here is None and _is_consumer(access, source, vhost, queue)):
            count += 1
    return count


def is_running(access: Access, source: Source) -> bool:
    """Return whether a shovel has its connections open."""
    return any(
        one["name"] == source.shovel and one.get("state") == "running"
        for one in listed(access, "shovels", source.vhost)
    )


def _is_consumer(access: Access, source: Source, vhost: str, queue: str) -> bool:
    try:
        described = access.management.get(access.path("queues", vhost, queue))
    except NotFoundError:
        return False
    known = _connections(access)
    return any(
        known.get(one.get("channel_details", {}).get("connection_name")) == _named(source)
        for one in described.get("consumer_details", ())
    )


def _connections(access: Access) -> dict[str | None, str | None]:
    """Return the names that clients gave their connections, by the broker's own names.

    By the statistics: a connection may not be among them yet.
    """
    return {
        one["name"]: one.get("client_properties", {}).get("connection_name")
        for one in access.management.get("/connections")
    }


def _named(source: Source) -> str:
    """Return how a shovel names its connections."""
    return f"Shovel {source.shovel}"


def check_shovel(access: Access, source: Source, *, stays: bool) -> None:
    """Check that a shovel's own queue can go: at once if it ``stays``, changed, or for good.

    Raises:
        BrokerError: It would go with messages, or with those that are published until the shovel
            has its next one.
    """
    if not source.has_own_queue or not is_running(access, source):
        return  # without its connection there is no such queue
    what = f"shovel {source.shovel} takes from {_from(source)} by way of a queue of its own"
    if stays:
        held = told(_own_queue(access, source))
        raise BrokerError(
            access.management.endpoint,
            f"{what}, which goes when the shovel is changed, with what it holds ({held}); what is "
            f"published until it has its next one is lost as well. {_SHOVEL_WAYS_ON}",
        )
    deadline = time.monotonic() + SETTLING_SECONDS
    while (count := _own_queue(access, source)) != 0:
        if count is None or time.monotonic() > deadline:
            raise BrokerError(
                access.management.endpoint,
                f"{what}, which goes with the shovel and holds {told(count)}. Let the shovel "
                f"forward them first, or accept the loss: {ACCEPT}",
            )
        time.sleep(0.02)


_SHOVEL_WAYS_ON = (
    "Give it a queue that stays: declare one, bind it to the exchange, and add a second shovel "
    "with it as `source_queue`; run `pulumi up`, then remove this one. Until then messages arrive "
    f"twice. Or accept the loss: {ACCEPT}"
)


def _from(source: Source) -> str:
    return f"exchange {source.exchange}" if source.exchange else str(source.address)


def told(count: int | None) -> str:
    """Return a number of messages in words."""
    if count is None:
        return "a number that only the source's broker knows"
    return f"{count:,} message{'' if count == 1 else 's'}"


def _own_queue(access: Access, source: Source) -> int | None:
    """Return how many messages a shovel's own queue holds, None if it is not on this broker.

    Nothing says for certain whose an exclusive queue is: all count that are bound so and that
    another connection is not known to own.
    """
    vhost = vhost_here(access, source.uri)
    if vhost is None or not source.exchange:
        return None
    bound = {
        one["destination"]
        for one in access.bindings("exchanges", vhost, source.exchange, "source")
        if one["destination_type"] == "queue"
        and one["routing_key"] in _keys(source.routing_key, one["destination"])
    }
    known = _connections(access)
    count = 0
    for one in listed(access, "queues", vhost, TOTALS):
        if not one.get("exclusive") or one["name"] not in bound:
            continue
        owner = _owner(access, vhost, one["name"])
        if known.get(owner, _named(source)) == _named(source):
            count += one.get("messages", 0)
    return count


def _keys(stated: str, queue: str) -> tuple[str, ...]:
    """Return the keys by which a shovel's own queue may be bound.

    Without a stated one, AMQP takes the name of the queue that was just declared.
    """
    return (stated,) if stated else ("", queue)


def _owner(access: Access, vhost: str, queue: str) -> str | None:
    try:
        described = access.management.get(access.path("queues", vhost, queue))
    except NotFoundError:
        return None
    name: str | None = (described.get("owner_pid_details") or {}).get("name")
    return name


def listed(access: Access, kind: str, vhost: str, query: str = "") -> list[dict[str, Any]]:
    """Return what the management API lists of a vhost, nothing where the plugin is missing."""
    try:
        answer: list[dict[str, Any]] = access.management.get(
            f"{access.path(kind, vhost)}{query and '?'}{query}"
        )
    except NotFoundError:
        return []  # no such vhost, or the plugin is not enabled
    return answer
