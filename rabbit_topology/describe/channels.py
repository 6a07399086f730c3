"""
Exchanges and queues as the channels of AsyncAPI documents, with the bindings for AMQP 0-9-1.

Source: "AsyncAPI 3.0.0"; "AMQP bindings 0.3.0", which knows no arguments, no dead letters, no
alternate exchanges and no way from an exchange to a queue: these are in an extension.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from itertools import chain, count
from typing import Any

from rabbit_topology.config.words import without_secrets
from rabbit_topology.describe.graph import Key
from rabbit_topology.model import BUILT_IN_EXCHANGE_TYPES
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.steps import Step

EXTENSION = "x-rabbit-topology"
BINDING_VERSION = "0.3.0"

_PARAMETER = "routingKey"


def names(keys: Iterable[Key]) -> dict[Key, str]:
    """Return a name for each channel, of characters that every reader of references takes."""
    given: dict[str, Key] = {}
    for key in keys:
        given[unused(f"{key.kind}.{plain(key.name) or 'default'}", given)] = key
    return {key: name for name, key in given.items()}


def plain(name: str) -> str:
    """Return a name with an underscore for each character that is special somewhere."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)


def unused(name: str, used: Container[str]) -> str:
    """Return a name, or the first of ``name_2``, ``name_3`` … that is not in use."""
    others = (f"{name}_{number}" for number in count(2))
    return next(one for one in chain([name], others) if one not in used)


def channel(network: Network, key: Key) -> dict[str, Any]:
    """Return an exchange or queue as a channel."""
    return _exchange(network, key.name) if key.kind == "exchange" else _queue(network, key.name)


def _exchange(network: Network, name: str) -> dict[str, Any]:
    declared = network.context.whole.exchanges.get(name)
    type_ = network.type(name)
    known = type_ in (*BUILT_IN_EXCHANGE_TYPES, "default")
    about: dict[str, Any] = {"name": name, "vhost": network.vhost}
    if known:
        about["type"] = type_
    if declared is not None:
        about |= {"durable": declared.durable, "autoDelete": declared.auto_delete}
    elif network.known(name):
        about |= {"durable": True, "autoDelete": False}
    alternate = network.alternate(name)
    arguments = dict(declared.arguments) if declared is not None else {}
    return {
        "title": f"{type_} exchange {name}" if name else "the default exchange",
        "address": f"{{{_PARAMETER}}}",
        "parameters": {_PARAMETER: {"description": "The routing key of a message."}},
        "bindings": {
            "amqp": {"is": "routingKey", "exchange": about, "bindingVersion": BINDING_VERSION}
        },
        EXTENSION: _filled(
            {
                "config": network.origins.of_exchange(name) if declared is not None else None,
                "type": None if known else type_,
                "arguments": without_secrets(arguments),
                "alternateExchange": alternate.destination if alternate is not None else None,
                "leadsTo": [_binding(step) for step in network.steps.get(name, ())],
            }
        ),
    }


def _queue(network: Network, name: str) -> dict[str, Any]:
    declared = network.context.whole.queues.get(name)
    about: dict[str, Any] = {"name": name, "vhost": network.vhost}
    extension: dict[str, Any] = {}
    title = f"queue {name}"
    if declared is not None:
        about |= {
            "durable": declared.durable,
            "exclusive": False,
            "autoDelete": declared.auto_delete,
        }
        settings = network.context.settings[name]
        title = f"{declared.type} queue {name}" if declared.type != "stream" else f"stream {name}"
        extension = {
            "config": network.origins.of_queue(name),
            "type": declared.type.value,
            "arguments": without_secrets(declared.declared_arguments()),
            "settings": {
                key: str(value) if isinstance(value, str) else value
                for key, value in without_secrets(settings).items()
            },
            "boundTo": [
                {"exchange": step.source, **_taken(step)}
                for step in network.incoming.get(("queue", name), ())
            ],
        }
    return {
        "title": title,
        # Braces would make it a template.
        "address": None if {"{", "}"} & set(name) else name,
        "bindings": {
            "amqp": {"is": "queue", "queue": about, "bindingVersion": BINDING_VERSION},
        },
        EXTENSION: _filled(extension),
    }


def _binding(step: Step) -> dict[str, Any]:
    return {step.kind: step.destination, **_taken(step)}


def _taken(step: Step) -> dict[str, Any]:
    arguments = {"arguments": without_secrets(step.arguments)} if step.arguments else {}
    return {"routingKey": step.routing_key, **arguments}


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, {}, [])}
