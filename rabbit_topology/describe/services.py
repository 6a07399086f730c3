"""
What a service publishes.
"""

from __future__ import annotations

from collections.abc import Mapping

from rabbit_topology.model import Service


def publishes(service: Service) -> Mapping[str, tuple[str, ...]]:
    """Return the routing keys with which a service publishes, by exchange; none: any key."""
    keys: dict[str, dict[str, None] | None] = {}
    for publish in service.publishes:
        known, more = keys.get(publish.exchange, {}), publish.keys()
        # Where one entry names no keys, all are meant.
        both = None if known is None or not more else {**known, **dict.fromkeys(more)}
        keys[publish.exchange] = both
    return {exchange: tuple(listed or ()) for exchange, listed in keys.items()}
