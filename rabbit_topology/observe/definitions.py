"""
A broker's definitions in one request, and in none that is answered while they stay as they are.

Source: "Definitions", "HTTP API Reference", RabbitMQ documentation; RFC 9110, "Conditional
Requests".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from rabbit_topology.adopt import definitions
from rabbit_topology.adopt.definitions import Definitions
from rabbit_topology.broker.management import Management

_PATH = "/definitions"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a broker has, and what names this state of it."""

    definitions: Definitions
    etag: str | None
    """None: the broker gives none, RabbitMQ before 4.3.5."""


def read(
    management: Management, report: Callable[[str], None], etag: str | None = None
) -> Answer | None:
    """Read what a broker has; None if it is as it was when it gave ``etag``.

    Two requests, the second one for what vhosts have beside their definitions.

    Raises:
        BrokerError: It cannot be asked, or the user is no administrator.
    """
    asked = _Conditional.of(management).definitions(etag)
    if asked is None:
        return None
    held, given = asked
    if held is None:  # RabbitMQ 4.0 and newer write some that are no JSON
        return Answer(definitions=definitions.live(management, report), etag=None)
    whole = {**held, "vhosts": _with_tracing(management, held.get("vhosts") or [])}
    return Answer(definitions=definitions.parse(whole, management.endpoint), etag=given)


class _Conditional(Management):
    """A management API that is asked for definitions only if they have changed."""

    @classmethod
    def of(cls, management: Management) -> _Conditional:
        """Return the same one."""
        return cls(**{one.name: getattr(management, one.name) for one in fields(management)})

    def definitions(self, etag: str | None) -> tuple[Mapping[str, Any] | None, str | None] | None:
        """Return the definitions and their ETag, None if they are as they were.

        The definitions are None if they are no JSON.
        """
        if etag is not None:
            self._http.headers["If-None-Match"] = etag
        response = self._send("GET", f"/api{_PATH}", None)
        if response.status_code == 304:
            return None
        if response.status_code != 200:
            self.get(_PATH)  # says what is wrong
        try:
            held: Mapping[str, Any] = response.json()
        except ValueError:
            return None, None
        return held, response.headers.get("etag")


def _with_tracing(management: Management, listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the vhosts of definitions with what these leave out.

    A default queue type that is the broker's own is no setting of the vhost.
    """
    tracing = {
        one["name"]: one.get("tracing", False)
        for one in management.get("/vhosts?columns=name,tracing")
    }
    whole = [{**one, "tracing": tracing.get(str(one.get("name")), False)} for one in listed]
    if not any(_default_type(one) for one in whole):
        return whole
    by_default = management.get("/overview?disable_stats=true").get("default_queue_type")
    for one in whole:
        if _default_type(one) == by_default:
            one["metadata"] = {**(one.get("metadata") or {}), "default_queue_type": None}
            one["default_queue_type"] = None
    return whole


def _default_type(one: Mapping[str, Any]) -> str | None:
    stated = {**one, **(one.get("metadata") or {})}.get("default_queue_type")
    return None if stated in (None, "", "undefined", "classic") else str(stated)
