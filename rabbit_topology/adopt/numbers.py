"""
Bindings whose arguments have numbers in them, which the provider may write as others.

The broker tells apart bindings whose numbers have different AMQP types. The management API names no
types, and makes long ones of all; a client mostly makes them as short as they can be. But the API
lists each binding with a hash of its arguments, types included: so one is made by way of it, from
an exchange to itself, and their hashes are compared. The exchange is there for that moment only.
Source: "HTTP API Reference", RabbitMQ documentation.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from rabbit_topology.adopt.definitions import Listed
from rabbit_topology.broker.management import Management
from rabbit_topology.broker.values import has_number
from rabbit_topology.compiler.names import PREFIX
from rabbit_topology.errors import BrokerError

OTHERS = "rabbit_topology:numbers"
"""A key of a listed binding: its numbers are others than the provider would write."""

_PROBE = f"{PREFIX}numbers"


_EXPONENT = 1e21
"""From here on the provider writes a number with an exponent, which keeps it a fraction."""


def becomes_whole(value: object) -> bool:
    """Return whether the provider writes 1.0 as 1, here or anywhere in a value.

    Source: "Marshal", documentation of Go's package encoding/json.
    """
    match value:
        case Mapping():
            return any(map(becomes_whole, value.values()))
        case list():
            return any(map(becomes_whole, value))
        case float():
            return value.is_integer() and abs(value) < _EXPONENT
    return False


def mark(management: Management, vhost: str, bindings: Iterable[Listed]) -> list[Listed]:
    """Return bindings of one vhost, with `OTHERS` where the provider would make another one."""
    listed = list(bindings)
    by_arguments = {
        _text(one["arguments"]): one["arguments"] for one in listed if has_number(one["arguments"])
    }
    if not by_arguments:
        return listed
    hashes: dict[str, str] = {}
    with suppress(BrokerError):  # then nobody can tell: none counts as the provider's
        hashes = _probe(management, vhost, by_arguments.values())
    return [
        {**one, OTHERS: hashes.get(_text(one["arguments"])) != _hash(one)}
        if has_number(one["arguments"])
        else one
        for one in listed
    ]


def _probe(
    management: Management, vhost: str, arguments: Iterable[Mapping[str, Any]]
) -> dict[str, str]:
    where = f"/exchanges/{quote(vhost, safe='')}/{_PROBE}"
    binding = f"/bindings/{quote(vhost, safe='')}/e/{_PROBE}/e/{_PROBE}"
    management.request("PUT", where, {"type": "headers", "durable": True, "auto_delete": False})
    try:
        for one in arguments:
            management.request("POST", binding, {"routing_key": "", "arguments": one})
        return {_text(one["arguments"]): _hash(one) for one in management.get(binding)}
    finally:
        management.request("DELETE", where)


def _hash(binding: Listed) -> str:
    return str(binding.get("properties_key", "")).rpartition("~")[2]


def _text(arguments: Mapping[str, Any]) -> str:
    return json.dumps(arguments, sort_keys=True)
