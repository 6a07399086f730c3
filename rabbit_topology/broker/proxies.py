"""
Which HTTP proxy leads to an endpoint, by the rules of the provider, which are those of Go.

They differ from those of Python's clients: to this machine itself no proxy leads that only the
environment names, and addresses may be left out by network.
Source: "net/http", func ProxyFromEnvironment, and "golang.org/x/net/http/httpproxy", Go packages.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


def from_environment(endpoint: str, environ: Mapping[str, str]) -> str | None:
    """Return the URL of the proxy that ``environ`` names for an endpoint, None if there is none."""
    parts = urlsplit(endpoint)
    stated = _first(environ, f"{parts.scheme}_proxy") if parts.scheme in _PORTS else ""
    if not stated or (parts.scheme == "http" and environ.get("REQUEST_METHOD")):
        return None  # in a CGI program a client could set HTTP_PROXY by a header
    host = parts.hostname or ""
    if _is_local(host) or _is_left_out(
        host, parts.port or _PORTS[parts.scheme], _first(environ, "no_proxy")
    ):
        return None
    return stated if "://" in stated else f"http://{stated}"


def _first(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name.upper()) or environ.get(name) or ""


def _is_local(host: str) -> bool:
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def _is_left_out(host: str, port: int, left_out: str) -> bool:
    entries = (entry.strip().lower() for entry in left_out.split(","))
    return any(_matches(host, port, entry) for entry in entries if entry)


def _matches(host: str, port: int, entry: str) -> bool:
    if entry == "*":
        return True
    address = _address(host)
    if "/" in entry:
        try:
            return address is not None and address in ip_network(entry, strict=False)
        except ValueError:
            return False
    if _address(entry) is None:  # else it is an address without a port
        entry, _, stated = entry.rpartition(":") if _has_port(entry) else (entry, "", "")
        if stated and stated != str(port):
            return False
    bare = entry.removeprefix("[").removesuffix("]")
    if _address(bare) is not None:
        return address == _address(bare)
    domain = entry.removeprefix("*")
    if not domain:
        return False
    return host == domain or host.endswith(domain if domain[0] == "." else f".{domain}")


def _has_port(entry: str) -> bool:
    return entry.rpartition(":")[2].isdigit()


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
