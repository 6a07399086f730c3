"""
What a topology needs of the provider's plugin that not every one can do.

Source: the schema of the RabbitMQ provider.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rabbit_topology.errors import path
from rabbit_topology.model import Topology

_OF_VHOSTS = ("description", "default_queue_type", "tracing")
_OF_SHOVELS = (
    "destination_application_properties",
    "destination_properties",
    "destination_publish_properties",
)


def official_only(topologies: Mapping[str, Topology]) -> Iterator[str]:
    """Yield the config paths that only the official plugin, 3.5 or newer, knows.

    Args:
        topologies: By config path.
    """
    for root, topology in topologies.items():
        settings = topology.vhost_settings
        for key in _OF_VHOSTS:
            if getattr(settings, key) is not None:
                yield f"{root}.{path('vhost_settings', key)}"
        for key, limit in settings.limits:
            if limit is not None:
                yield f"{root}.{path('vhost_settings', 'limits', key)}"
        for name, shovel in topology.shovels.items():
            for key in _OF_SHOVELS:
                if getattr(shovel, key) is not None:
                    yield f"{root}.{path('shovels', name, key)}"
