"""
What links a stack has between its vhosts, and within them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rabbit_topology.model import Broker
from rabbit_topology.routing import federation, shovels
from rabbit_topology.routing.links import Link, Links

if TYPE_CHECKING:
    from rabbit_topology.routing.network import Network


def connect(broker: Broker, networks: Mapping[str, Network]) -> None:
    """Tell each vhost which links take messages from it, and which bring some."""
    known = [*shovels.links(networks, broker), *federation.links(networks, broker)]
    links = tuple(_doubted(networks, known, link) for link in known)
    every = Links(networks=networks, all=links)
    for network in networks.values():
        network.links = every
    shovels.taps(networks, links)
    federation.taps(networks, links)


def _doubted(networks: Mapping[str, Network], known: Sequence[Link], link: Link) -> Link:
    """Return a link with who else takes messages from its queue."""
    place = link.source
    if place is None or place.kind != "queue" or place.name is None or link.copies or link.doubt:
        return link
    services = networks[place.vhost].context.written.services
    consumers = [name for name, service in services.items() if place.name in service.consumes]
    others = [
        f"service {', '.join(consumers)}" if consumers else "",
        *(other.title for other in known if other.source == place and other.key != link.key),
    ]
    named = ", ".join(filter(None, others))
    return replace(link, doubt=f"{named} takes messages from there too") if named else link
