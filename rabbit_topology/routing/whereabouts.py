"""
Where the URI of a shovel or an upstream leads: to a vhost of this broker, or away.

Source: "URI Specification", "URI Query Parameters", RabbitMQ documentation; `amqp_uri`.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from rabbit_topology.compiler.urls import AMQP_PORT, AMQPS_PORT, parse_host
from rabbit_topology.model import Broker

_PORTS = {"amqp": AMQP_PORT, "amqps": AMQPS_PORT}
_LOOPBACK = {"127.0.0.1": "localhost", "::1": "localhost"}


@dataclass(frozen=True, kw_only=True)
class Whereabouts:
    """A vhost of this broker, or why it is none."""

    vhost: str | None = None
    unknown: str = ""


AWAY = (
    "its URI leads to another broker, or to this one by a name that rabbit-topology:broker.hosts "
    "does not have"
)


def of(uri: str, broker: Broker, default: str, *, local: bool = False) -> Whereabouts:
    """Return where a URI leads.

    Args:
        uri: Perhaps without a host, which is this broker; perhaps encrypted.
        broker: How the broker is reached.
        default: The vhost that a URI without a path means.
        local: It is read by a shovel that opens no connection, whatever the host.
    """
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return Whereabouts(unknown="its URI is none that can be read")
    if parts.scheme not in _PORTS:
        return Whereabouts(unknown="its URI is encrypted, or none of AMQP")
    if host and not local and (_named(host), port) not in _own(broker):
        return Whereabouts(unknown=AWAY)
    return Whereabouts(vhost=unquote(parts.path[1:]) if parts.path else default)


def _own(broker: Broker) -> set[tuple[str, int]]:
    """Return the addresses of the broker: without hosts, what a URI on its own machine names."""
    tls = bool(broker.tls)
    addresses = set()
    for host in broker.hosts or ("localhost",):
        try:
            address = parse_host(host, tls=tls)
        except ValueError:  # a rule says so
            continue
        addresses.add((_named(address.host), address.port))
    return addresses


def _named(host: str) -> str:
    return _LOOPBACK.get(host, host.lower())
