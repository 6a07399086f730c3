"""
One vhost, or what one of its services does, as an AsyncAPI 3.0 document.

The config says nothing about what is in messages, so the documents have channels and operations but
no messages: teams add these. What AsyncAPI has no words for stands under `x-rabbit-topology`.
Nothing secret is in them. Source: "AsyncAPI 3.0.0".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from rabbit_topology.compiler import urls
from rabbit_topology.config.words import show, suggest
from rabbit_topology.describe import channels, services
from rabbit_topology.describe.channels import BINDING_VERSION, EXTENSION
from rabbit_topology.describe.graph import Key
from rabbit_topology.errors import TopologyError
from rabbit_topology.model import Broker, Service
from rabbit_topology.routing.network import Network
from rabbit_topology.services import permissions

VERSION = "3.0.0"


def document(
    network: Network, broker: Broker, service: str | None = None, *, version: str = "1.0.0"
) -> dict[str, Any]:
    """Return the AsyncAPI document of a vhost, or of one service in it.

    Args:
        network: The vhost.
        broker: Where it is reached; without hosts the document names no server.
        service: Only what it publishes and consumes.
        version: The document's own.

    Raises:
        TopologyError: There is no such service.
    """
    known = network.context.written.services
    if service is not None and service not in known:
        raise TopologyError(
            f"{show(service)} is not a service of vhost {network.vhost}; {suggest(service, known)}"
        )
    uses = [use for name, one in known.items() for use in _uses(name, one)]
    whole = network.context.whole
    declared = [
        *(Key(kind="exchange", name=name) for name in whole.exchanges),
        *(Key(kind="queue", name=name) for name in whole.queues),
    ]
    # A channel and an operation have the same name in all documents of a vhost.
    named = channels.names(dict.fromkeys([*declared, *(use.channel for use in uses)]))
    operations = _operations(uses, named)
    keys = list(named)
    if service is not None:
        keys = list(dict.fromkeys(use.channel for use in uses if use.service == service))
        operations = {
            name: operation
            for name, operation in operations.items()
            if operation[EXTENSION]["service"] == service
        }
    servers = dict(_servers(network.vhost, broker))
    return {
        "asyncapi": VERSION,
        "info": _info(network, service, version),
        **({"servers": servers} if servers else {}),
        "channels": {named[key]: channels.channel(network, key) for key in keys},
        "operations": operations,
    }


@dataclass(frozen=True, kw_only=True)
class _Use:
    """One thing that a service does with an exchange or queue."""

    service: str
    action: str
    channel: Key
    reply: bool = False
    extension: Mapping[str, Any] = field(default_factory=dict)


def _uses(name: str, service: Service) -> Iterator[_Use]:
    for exchange, keys in services.publishes(service).items():
        yield _Use(
            service=name,
            action="send",
            channel=Key(kind="exchange", name=exchange),
            extension={"routingKeys": list(keys)} if keys else {},
        )
    for queue in dict.fromkeys(service.consumes):
        yield _Use(
            service=name,
            action="receive",
            channel=Key(kind="queue", name=queue),
            reply=service.replies,
        )
    for exchange in dict.fromkeys(service.binds):
        yield _Use(
            service=name,
            action="receive",
            channel=Key(kind="exchange", name=exchange),
            extension={"byQueuesOfItsOwn": True},
        )


def _operations(uses: list[_Use], named: Mapping[Key, str]) -> dict[str, Any]:
    operations: dict[str, Any] = {}
    for use in uses:
        channel = named[use.channel]
        name = channels.unused(f"{channels.plain(use.service)}.{use.action}.{channel}", operations)
        operations[name] = {
            "action": use.action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "tags": [{"name": use.service}],
            "bindings": {"amqp": {"bindingVersion": BINDING_VERSION}},
            **({"reply": _reply()} if use.reply else {}),
            EXTENSION: {"service": use.service, **use.extension},
        }
    return operations


def _reply() -> dict[str, Any]:
    description = "The queue that the property `reply_to` names, through the default exchange."
    return {"address": {"location": "$message.header#/replyTo", "description": description}}


def _info(network: Network, service: str | None, version: str) -> dict[str, Any]:
    topology = network.context.written
    if service is None:
        settings = topology.vhost_settings
        return {
            "title": f"RabbitMQ vhost {topology.vhost}",
            "version": version,
            **({"description": settings.description} if settings.description else {}),
            EXTENSION: {"vhost": topology.vhost},
        }
    declared = topology.services[service]
    allowed = permissions.permissions(topology, declared)
    return {
        "title": service,
        "version": version,
        "description": f"What {service} does in RabbitMQ's vhost {topology.vhost}.",
        EXTENSION: {
            "vhost": topology.vhost,
            "user": permissions.user_name(topology, service),
            "permissions": allowed.model_dump(),
            **({"declares": list(declared.declares)} if declared.declares else {}),
        },
    }


def _servers(vhost: str, broker: Broker) -> Iterator[tuple[str, dict[str, Any]]]:
    tls = bool(broker.tls)
    for number, host in enumerate(broker.hosts, start=1):
        yield (
            f"rabbitmq{number}",
            {
                "host": str(urls.parse_host(host, tls=tls)),
                "pathname": f"/{quote(vhost, safe='')}",
                "protocol": "amqps" if tls else "amqp",
                "protocolVersion": "0.9.1",
            },
        )
