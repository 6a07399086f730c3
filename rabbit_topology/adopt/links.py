"""
The shovels and federation upstreams of a broker, in the words of a config: for those who only read.

A config that is adopted leaves them alone, since the provider would write its defaults into them.
Source: "Dynamic Shovels", "Federation Reference", RabbitMQ documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rabbit_topology.adopt import definitions
from rabbit_topology.adopt.definitions import Definitions, Listed

_SHOVEL = {
    "src-uri": "source_uri",
    "src-queue": "source_queue",
    "src-exchange": "source_exchange",
    "src-exchange-key": "source_exchange_key",
    "src-address": "source_address",
    "src-protocol": "source_protocol",
    "src-delete-after": "source_delete_after",
    "delete-after": "source_delete_after",
    "dest-uri": "destination_uri",
    "dest-queue": "destination_queue",
    "dest-exchange": "destination_exchange",
    "dest-exchange-key": "destination_exchange_key",
    "dest-address": "destination_address",
    "dest-protocol": "destination_protocol",
    "dest-add-forward-headers": "destination_add_forward_headers",
    "add-forward-headers": "destination_add_forward_headers",
    "dest-add-timestamp-header": "destination_add_timestamp_header",
    "add-timestamp-header": "destination_add_timestamp_header",
}
"""What a config calls that of a shovel on which the ways of messages depend."""
_UPSTREAM = {"uri": "uri", "exchange": "exchange", "queue": "queue", "max-hops": "max_hops"}
_KINDS = {
    "shovel": ("shovels", _SHOVEL),
    "federation-upstream": ("federation_upstreams", _UPSTREAM),
}


def with_links(topologies: Mapping[str, Mapping[str, Any]], had: Definitions) -> dict[str, Any]:
    """Return topologies by vhost with the shovels and upstreams that each has."""
    return {
        vhost: {**topology, **_links(had.within.get(vhost, {}).get("parameters", ()))}
        for vhost, topology in topologies.items()
    }


def with_their_queues(had: Definitions) -> Definitions:
    """Return definitions in which queues that shovels read are like others: without shovels."""
    within: dict[str, dict[str, list[Listed]]] = {}
    for vhost, lists in had.within.items():
        queues: list[Listed] = [
            {**one, definitions.READ_BY_PLUGIN: False} for one in lists["queues"]
        ]
        within[vhost] = {**lists, "queues": queues, "parameters": []}
    return replace(had, within=within)


def _links(parameters: Any) -> dict[str, dict[str, Any]]:
    links: dict[str, dict[str, Any]] = {}
    for one in parameters:
        value = one.get("value")
        kind, words = _KINDS.get(str(one.get("component")), ("", {}))
        if not kind or not isinstance(value, dict):
            continue
        said = {words[key]: _plain(key, given) for key, given in value.items() if key in words}
        if kind == "federation_upstreams" or {"source_uri", "destination_uri"} <= said.keys():
            links.setdefault(kind, {})[str(one.get("name"))] = said
    return links


def _plain(key: str, given: Any) -> Any:
    """Return a value as a config has it: of several URIs of one cluster the first."""
    if isinstance(given, list) and given:
        return given[0]
    return str(given) if key.endswith("delete-after") else given
