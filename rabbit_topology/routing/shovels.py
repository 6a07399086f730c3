"""
Shovels as links: where each takes messages, and where it puts them.

Source: as in `links`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote

from rabbit_topology.compiler import whereabouts
from rabbit_topology.errors import path
from rabbit_topology.model import DEFAULT_VHOST, Broker, Protocol, QueueType, Shovel
from rabbit_topology.routing.links import Carrier, Link, Place

if TYPE_CHECKING:
    from rabbit_topology.routing.network import Network

_QUEUES = ("/queues/", "/queue/", "/amq/queue/")
"""What AMQP 1.0 addresses of queues begin with."""


def links(networks: Mapping[str, Network], broker: Broker) -> Iterator[Link]:
    """Yield every shovel that has one end in these vhosts, or may have."""
    for network in networks.values():
        for name, shovel in network.context.written.shovels.items():
            where = network.origins.at(path("topology", "shovels", name))
            one = _Shovel(networks, broker, shovel).link(name, where)
            if one.source is not None or one.target is not None:
                yield one


def taps(networks: Mapping[str, Network], links: Iterable[Link]) -> None:
    """Bind the queues that shovels have of their own to the exchanges that they take from."""
    for link in links:
        if link.carrier is not Carrier.SHOVEL or not link.has_own_queue or link.source is None:
            continue
        network = networks[link.source.vhost]
        if link.source.name in network.shapes:
            network.tap([link.tap(network, link.source_key, {}, link.path)])


_QUEUE_NAME = "amq.gen-…"
"""What the broker calls a shovel's own queue is not known beforehand."""


class _Shovel:
    def __init__(self, networks: Mapping[str, Network], broker: Broker, shovel: Shovel) -> None:
        self._networks = networks
        self._addresses = whereabouts.addresses(broker)
        self._shovel = shovel
        self._unknown: list[str] = []

    def link(self, name: str, where: str) -> Link:
        shovel = self._shovel
        source, target = self._source(), self._target()
        local = shovel.destination_protocol is Protocol.LOCAL
        to_queue = target is not None and target.kind == "queue"
        key = shovel.destination_queue if to_queue else shovel.destination_exchange_key
        return Link(
            carrier=Carrier.SHOVEL,
            name=name,
            path=where,
            source=source,
            target=target,
            unknown="; ".join(dict.fromkeys(self._unknown)),
            routing_key=key,
            source_key=self._source_key(),
            expiration=self._expiration(),
            adds=tuple(self._adds(local=local)),
            doubt=""
            if shovel.source_delete_after in (None, "never")
            else "it ends by itself, with source_delete_after",
            copies=self._reads_a_stream(source),
            copies_count=not local,
            as_it_is=local and shovel.source_protocol is Protocol.LOCAL,
        )

    def _source(self) -> Place | None:
        shovel = self._shovel
        vhost = self._vhost(shovel.source_uri, shovel.source_protocol)
        if shovel.source_protocol is Protocol.AMQP10:
            self._unknown.append("it takes messages by AMQP 1.0, which changes them")
            queue = _queue_of(shovel.source_address)
            return Place(vhost=vhost, kind="queue", name=queue) if vhost and queue else None
        name = shovel.source_queue or shovel.source_exchange
        if vhost is None or name is None:
            return None
        kind = "queue" if shovel.source_queue else "exchange"
        network = self._networks[vhost]
        if not (name in network.queues if kind == "queue" else network.known(name)):
            self._unknown.append(f"{kind} {name} is not declared in vhost {vhost}")
        return Place(vhost=vhost, kind=kind, name=name)

    def _target(self) -> Place | None:
        shovel = self._shovel
        vhost = self._vhost(shovel.destination_uri, shovel.destination_protocol)
        queue, exchange = shovel.destination_queue, shovel.destination_exchange
        if shovel.destination_protocol is Protocol.AMQP10:
            self._unknown.append("it puts messages by AMQP 1.0, which changes them")
            queue = _queue_of(shovel.destination_address)
            return Place(vhost=vhost, kind="queue", name=queue) if vhost and queue else None
        if vhost is None:
            return None
        network = self._networks[vhost]
        if queue and queue not in network.queues:
            self._unknown.append(f"queue {queue} is not declared in vhost {vhost}")
        if exchange and not network.known(exchange):
            self._unknown.append(f"exchange {exchange} is not declared in vhost {vhost}")
        if queue:
            return Place(vhost=vhost, kind="queue", name=queue)
        return Place(vhost=vhost, kind="exchange", name=exchange)

    def _vhost(self, uri: str, protocol: Protocol | None) -> str | None:
        local = protocol is Protocol.LOCAL
        there = whereabouts.of(uri, self._addresses, DEFAULT_VHOST, local=local)
        if there.vhost is None:
            self._unknown.append(there.unknown)
        elif there.vhost not in self._networks:
            self._unknown.append(f"vhost {there.vhost} is not in the config")
            return None
        return there.vhost

    def _source_key(self) -> str:
        """Return the key by which its own queue is bound.

        Without one, AMQP takes the name of the queue that was just declared.
        """
        key = self._shovel.source_exchange_key or ""
        return key if key or self._shovel.source_protocol is Protocol.LOCAL else _QUEUE_NAME

    def _adds(self, *, local: bool) -> Iterator[str]:
        if self._shovel.destination_add_forward_headers:
            marks = ("x-opt-shovelled-by", "x-opt-shovel-type", "x-opt-shovel-name")
            yield from marks if local else ("x-shovelled",)
        if self._shovel.destination_add_timestamp_header:
            yield "x-opt-shovelled-timestamp" if local else "x-shovelled-timestamp"

    def _expiration(self) -> int | None:
        given = (self._shovel.destination_publish_properties or {}).get("expiration", "")
        return int(given) if given.isdecimal() else None

    def _reads_a_stream(self, source: Place | None) -> bool:
        if source is None or source.kind != "queue" or source.name is None:
            return False
        queue = self._networks[source.vhost].queues.get(source.name)
        return queue is not None and queue.type is QueueType.STREAM


def _queue_of(address: str | None) -> str | None:
    """Return the queue that an AMQP 1.0 address names, None if it names none."""
    for begin in _QUEUES:
        if address and address.startswith(begin):
            return unquote(address.removeprefix(begin))
    return address if address and not address.startswith("/") else None
