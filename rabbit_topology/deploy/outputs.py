"""
What a component gives to those who connect: URLs and addresses, typed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import pulumi

from rabbit_topology import model
from rabbit_topology.broker.access import Access
from rabbit_topology.compiler import urls

Urls = str | list[str]
"""A URL to open, or one for each host of the broker."""


@dataclass(frozen=True, kw_only=True)
class VhostOutputs:
    """The outputs of one vhost."""

    vhost: pulumi.Output[str]
    """Its name, known once it exists."""
    exchange_urls: Mapping[str, pulumi.Output[Urls]]
    """By exchange, without credentials."""
    queue_urls: Mapping[str, pulumi.Output[Urls]]
    """By queue, without credentials."""
    connection_url: pulumi.Output[Urls]
    """Secret: with the credentials that the stack connects with."""
    service_urls: Mapping[str, pulumi.Output[Urls]]
    """Secret: by service, with its own credentials."""
    addresses: Mapping[str, Mapping[str, Any]]
    """AMQP 1.0: under `exchanges` and `queues`, by name, `address`, and an exchange's
    `routing_keys`."""

    def exported(self) -> dict[str, Any]:
        """Return all of them by name, to be exported."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def amqp_urls(
    access: Access, vhost: str, *, username: str | None = None, password: str | None = ""
) -> Urls:
    """Return the URL of a vhost, or one for each host; with a ``username`` it is a secret."""
    every = [
        urls.amqp_url(address, vhost, tls=access.tls, username=username, password=password)
        for address in access.addresses
    ]
    return every[0] if len(every) == 1 else every


def addresses(topology: model.Topology) -> dict[str, dict[str, Any]]:
    """Return the AMQP 1.0 addresses of a vhost's exchanges and queues."""
    keys: dict[str, set[str]] = {name: set() for name in topology.exchanges}
    for route in topology.routes():
        if route.source in keys:
            keys[route.source].add(route.routing_key)
    return {
        "exchanges": {
            name: {"address": urls.exchange_address(name), "routing_keys": sorted(bound)}
            for name, bound in keys.items()
        },
        "queues": {name: {"address": urls.queue_address(name)} for name in topology.queues},
    }
