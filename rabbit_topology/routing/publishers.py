"""
Who may publish what: services and users, by the permissions that they get.

Source: "Access Control", "Topic Authorisation", RabbitMQ documentation: the broker looks at routing
keys on topic exchanges only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rabbit_topology.compiler import regexes
from rabbit_topology.errors import path
from rabbit_topology.model import Service, User
from rabbit_topology.routing.keys import EVERYTHING, Keys
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.pattern import of_topic
from rabbit_topology.routing.steps import DEFAULT_EXCHANGE
from rabbit_topology.services import permissions

_DEFAULT_NAME = "amq.default"
"""What permissions call the default exchange."""


@dataclass(frozen=True, kw_only=True)
class Publisher:
    """A service or a user, and what it may publish."""

    name: str
    kind: str
    """`service` or `user`."""
    vhost: str
    path: str
    """Where it stands in the config."""
    exchanges: Mapping[str, Keys]
    """By exchange: with which routing keys. The default exchange has the empty name."""
    inexact: frozenset[str] = frozenset()
    """Topic exchanges on which a regular expression limits the keys further: all count here."""


def publishers(network: Network) -> list[Publisher]:
    """Return the services and users that may publish anything."""
    topology = network.context.written
    everyone = [
        *(_service(network, name, service) for name, service in topology.services.items()),
        *(_user(network, name, user) for name, user in topology.users.items()),
    ]
    return [publisher for publisher in everyone if publisher.exchanges]


def _service(network: Network, name: str, service: Service) -> Publisher:
    topology = network.context.written
    allowed = permissions.permissions(topology, service).write
    exchanges: dict[str, Keys] = {}
    for exchange in _writable(network, allowed):
        declared = permissions.declares(service, exchange)
        if declared or not permissions.is_topic(topology, exchange):
            exchanges[exchange] = EVERYTHING
            continue
        entries = [entry for entry in service.publishes if entry.exchange == exchange]
        patterns = [key for entry in entries for key in (entry.keys() or ("#",))]
        exchanges[exchange] = Keys.taken(map(of_topic, patterns))
    return Publisher(
        name=name,
        kind="service",
        vhost=network.vhost,
        path=network.origins.at(path("topology", "services", name)),
        exchanges=exchanges,
    )


def _user(network: Network, name: str, user: User) -> Publisher:
    allowed = user.permissions.write if user.permissions else permissions.NOTHING
    exchanges = dict.fromkeys(_writable(network, allowed), EVERYTHING)
    for exchange, limits in user.topic_permissions.items():
        if limits.write == permissions.NOTHING:
            exchanges.pop(exchange, None)
    return Publisher(
        name=name,
        kind="user",
        vhost=network.vhost,
        path=network.origins.at(path("topology", "users", name)),
        exchanges=exchanges,
        inexact=frozenset(exchanges.keys() & user.topic_permissions.keys()),
    )


def _writable(network: Network, allowed: str) -> Iterator[str]:
    """Yield the exchanges that a permission is for; not where only the broker can tell."""
    for exchange in network.shapes:
        if regexes.matches(allowed, exchange):
            yield exchange
    if regexes.matches(allowed, _DEFAULT_NAME):
        yield DEFAULT_EXCHANGE
