"""
Where the URI of a shovel or an upstream leads: to a vhost of this broker, or away.

Source: "URI Specification", "URI Query Parameters", RabbitMQ documentation; `amqp_uri`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from rabbit_topology.compiler.urls import AMQP_PORT, AMQPS_PORT, Address, parse_host
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


def of(uri: str, own: Iterable[Address], default: str, *, local: bool = False) -> Whereabouts:
    """Return where a URI leads.

    Args:
        uri: Perhaps without a host, which is this broker; perhaps encrypted.
        own: This broker's addresses.
        default: The vhost that a URI without a path means: `/` to a shovel, the vhost of the
            federated exchange or queue to a link.
        local: It is read by a shovel that opens no connection, whatever the host.
    """
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return Whereabouts(unknown="its URI is none that can be read")
    if parts.scheme not in _PORTS:
        return Whereabouts(unknown="its URI is encrypted, or none of AMQP")
    if host and not local and (_named(host), port) not in {(_named(a.host), a.port) for a in own}:
        return Whereabouts(unknown=AWAY)
    return Whereabouts(vhost=vhost_named(uri, default))


def vhost_named(uri: str, default: str) -> str:
    """Return the vhost that a URI names, on whatever broker, and ``default`` if it names none."""
    path = urlsplit(uri).path
    return unquote(path[1:]) if path else default


def addresses(broker: Broker) -> list[Address]:
    """Return the addresses of the broker: without hosts, what a URI on its own machine names."""
    tls = bool(broker.tls)
    known = []
    for host in broker.hosts or ("localhost",):
        try:
            known.append(parse_host(host, tls=tls))
        except ValueError:  # a rule says so
            continue
    return known


def _named(host: str) -> str:
    return _LOOPBACK.get(host, host.lower())
