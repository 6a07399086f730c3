"""
AMQP URLs and addresses, each part percent-encoded.

Source: "RabbitMQ URI Specification" and "AMQP 1.0" (address format v2), RabbitMQ documentation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

AMQP_PORT = 5672
AMQPS_PORT = 5671

_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<name>[\w.-]+))(?::(?P<port>\d+))?")


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port; ``host`` has no brackets, also when it is an IPv6 address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_host(text: str, *, tls: bool) -> Address:
    """Read ``host``, ``host:port``, ``[v6]`` or ``[v6]:port``; the port defaults by TLS.

    Raises:
        ValueError: It is none of these; the message says what is wrong with it.
    """
    if text.count(":") > 1 and not text.startswith("["):
        raise ValueError("an IPv6 address needs brackets")
    match = _HOST.fullmatch(text)
    if not match:
        raise ValueError("it is not a host or host:port")
    host, port = match["v6"] or match["name"], match["port"]
    if port and not 0 < int(port) < 65536:
        raise ValueError("a port is a number from 1 to 65535")
    return Address(host, int(port) if port else (AMQPS_PORT if tls else AMQP_PORT))


def amqp_url(
    address: Address,
    vhost: str,
    *,
    tls: bool,
    username: str | None = None,
    password: str | None = "",
) -> str:
    """Return the URL that an AMQP 0-9-1 client opens ``vhost`` with.

    The port always stands there, so that no client's default matters. With a ``username`` the
    URL carries the credentials and is a secret. Without a ``password``, None, it names the user
    alone.
    """
    url = f"{'amqps' if tls else 'amqp'}://{address}/{_encode(vhost)}"
    return url if username is None else with_credentials(url, username, password)


def without_credentials(url: str) -> str:
    """Return a URL without the user and password that it may have."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def with_credentials(url: str, username: str, password: str | None) -> str:
    """Return a URL with another user and password; without a ``password``, None, with the user."""
    secret = "" if password is None else f":{_encode(password)}"
    parts = urlsplit(url)
    address = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{_encode(username)}{secret}@{address}").geturl()


def is_https(url: str) -> bool:
    """Return whether a URL's scheme is https."""
    return urlsplit(url).scheme == "https"


def exchange_address(name: str) -> str:
    """Return the AMQP 1.0 target of an exchange; append ``/`` and a routing key to set one."""
    return f"/exchanges/{_encode(name)}"


def queue_address(name: str) -> str:
    """Return the AMQP 1.0 source or target of a queue."""
    return f"/queues/{_encode(name)}"


def _encode(part: str) -> str:
    return quote(part, safe="")
