"""
The accounts of a deployed stack, from its outputs and its state.

The outputs have the URLs of services; the passwords of users stand in the state alone. Pure; all
of it is secret. Source: "pulumi stack output", "pulumi stack export", Pulumi documentation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from rabbit_topology.compiler.urls import Address, amqp_url
from rabbit_topology.handover.accounts import Account, Kind

_USER = "rabbitmq:index/user:User"
_PERMISSIONS = "rabbitmq:index/permissions:Permissions"
_NAMED_BY = {_USER: "name", _PERMISSIONS: "user"}
"""By type: which input is the user's name."""

_PLAIN_TEXT = "plaintext"
"""Where the state has a secret's value, as JSON, once it is decrypted."""


def by_vhost(outputs: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return a stack's outputs by vhost; without vhosts there are none."""
    several: dict[str, Mapping[str, Any]] | None = outputs.get("vhosts")
    if several:
        return several
    return {outputs["vhost"]: outputs} if "vhost" in outputs else {}


def services(outputs: Mapping[str, Any]) -> list[Account]:
    """Return the services of a stack, from its outputs."""
    return [
        Account(kind=Kind.SERVICE, vhost=vhost, name=name, urls=_listed(urls))
        for vhost, inside in by_vhost(outputs).items()
        for name, urls in (inside.get("service_urls") or {}).items()
    ]


def users(outputs: Mapping[str, Any], state: Mapping[str, Any]) -> list[Account]:
    """Return the users that are declared by hand, from a stack's outputs and its exported state.

    One that the stack has not made, `exists: true`, has no password here.
    """
    resources = [*_resources(state)]
    passwords = {
        inputs["name"]: _plain(inputs.get("password"))
        for type_, _, inputs in resources
        if type_ == _USER
    }
    vhosts = by_vhost(outputs)
    declared = {
        (vhost, str(name)): None
        for type_, logical, inputs in resources
        if type_ in _NAMED_BY
        and isinstance(name := inputs.get(_NAMED_BY[type_]), str)
        and "connection_url" in vhosts.get(vhost := _vhost(logical, name), ())
    }
    return [
        Account(
            kind=Kind.USER,
            vhost=vhost,
            name=name,
            urls=tuple(
                _with_credentials(url, name, passwords.get(name))
                for url in _listed(vhosts[vhost]["connection_url"])
            ),
        )
        for vhost, name in declared
    ]


def _resources(state: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield type, name within the component, and inputs of what the engine keeps."""
    for resource in (state.get("deployment") or {}).get("resources") or ():
        component = _name(resource.get("parent", ""))
        logical = _name(resource["urn"]).removeprefix(f"{component}/")
        if not resource.get("delete"):  # else it is going, and another one has its place
            yield resource["type"], logical, resource.get("inputs") or {}


def _name(urn: str) -> str:
    """Return the last part of a URN, which may hold anything: a name."""
    return urn.split("::", 3)[-1]


def _vhost(logical: str, user: str) -> str:
    """Return the vhost of a user that is declared by hand, ``<vhost>/user/<name>``, else ""."""
    vhost = logical.removesuffix(f"/user/{user}")
    return vhost if vhost != logical else ""


def _plain(password: Any) -> str | None:
    if isinstance(password, Mapping) and isinstance(password.get(_PLAIN_TEXT), str):
        password = json.loads(password[_PLAIN_TEXT])
    return password if isinstance(password, str) else None


def _with_credentials(url: str, username: str, password: str | None) -> str:
    """Return one of our URLs, which all have a port, with a user and a password."""
    parts = urlsplit(url)
    address = Address(str(parts.hostname), int(parts.port or 0))
    tls, vhost = parts.scheme == "amqps", unquote(parts.path[1:])
    return amqp_url(address, vhost, tls=tls, username=username, password=password)


def _listed(urls: str | list[str]) -> tuple[str, ...]:
    return (urls,) if isinstance(urls, str) else tuple(urls)
