"""
All that is watched of a stack: its queues, and its services beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rabbit_topology.routing import reports
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.pattern import TooComplexError
from rabbit_topology.routing.reach import Reach
from rabbit_topology.watch import queues
from rabbit_topology.watch.dashboard import ServiceView
from rabbit_topology.watch.queues import Watched


def watched(chosen: Iterable[Network]) -> list[Watched]:
    """Return the queues of vhosts."""
    return [queue for network in chosen for queue in queues.every(network)]


def services(chosen: Iterable[Network]) -> Iterator[ServiceView]:
    """Yield the services of vhosts, with the queues that each has to do with."""
    for network in chosen:
        reach = Reach(network)
        for name, service in network.context.written.services.items():
            reaches = _reached(reach, name) if service.publishes else ()
            yield ServiceView(
                vhost=network.vhost, name=name, consumes=tuple(service.consumes), reaches=reaches
            )


def _reached(reach: Reach, service: str) -> tuple[str, ...]:
    """Return the queues that a service's messages get into; none where that cannot be told."""
    try:
        return tuple(reports.of_publisher(reach, service).queues)
    except TooComplexError:
        return ()
