"""
What must hold for a topology as a whole: pure functions from the model to problems.

Every rule looks at everything and reports all that it finds. The provider's limits are rules
here too, since a name that it cannot handle would otherwise fail half-way through an update.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from rabbit_topology.compiler import urls
from rabbit_topology.compiler.names import PREFIX, SETTINGS_PREFIX
from rabbit_topology.config.words import NameIndex, show, suggest
from rabbit_topology.errors import Problem, path
from rabbit_topology.findings import Finding, Rule, rule
from rabbit_topology.lint import rules_services, rules_settings, rules_values
from rabbit_topology.model import (
    BUILT_IN_EXCHANGE_TYPES,
    MAX_NAME_BYTES,
    PREDECLARED_EXCHANGES,
    TYPE_ARGUMENT,
    Broker,
    QueueType,
    Topology,
    versions,
)
from rabbit_topology.services import permissions


def check(topology: Topology, whole: Topology) -> list[Finding]:
    """Return everything that is wrong with the topology of one vhost; empty when good.

    Args:
        topology: As it is written.
        whole: With its patterns spelled out.
    """
    return [
        *(finding for one_rule in AS_WRITTEN for finding in one_rule.find(topology)),
        *(finding for one_rule in SPELLED_OUT for finding in one_rule.find(whole)),
    ]


@rule("vhost-name", "Virtual Hosts", "a name must be one that broker and provider can keep")
def _vhost_name(topology: Topology) -> Iterator[Problem]:
    yield from _name("topology.vhost", topology.vhost, slash_breaks=False)


@rule("exchange-name", "Exchanges", "a name must be one that broker and provider can keep")
def _exchange_names(topology: Topology) -> Iterator[Problem]:
    for name in topology.exchanges:
        yield from _declared_name(path("topology", "exchanges", name), name)


@rule("queue-name", "Queues", "a name must be one that broker and provider can keep")
def _queue_names(topology: Topology) -> Iterator[Problem]:
    for name in topology.queues:
        yield from _declared_name(path("topology", "queues", name), name)


@rule(
    "object-name",
    "Parameters and Policies",
    "a name must be one that the provider can read back, and none that is made here",
)
def _other_names(topology: Topology) -> Iterator[Problem]:
    for kind in (
        *("super_streams", "policies", "operator_policies", "users", "shovels"),
        "federation_upstreams",
    ):
        for name in getattr(topology, kind):
            where = path("topology", kind, name)
            yield from _name(where, name, slash_breaks=kind == "super_streams")
            if name.startswith((PREFIX, SETTINGS_PREFIX)):
                yield Problem(
                    path=where,
                    value=show(name),
                    rule=f'"{SETTINGS_PREFIX}" and "{PREFIX}" begin names that this program makes',
                    fix="choose another name",
                )
    for name in topology.services:
        where = path("topology", "services", name)
        yield from _name(where, permissions.user_name(topology, name), slash_breaks=False)


def _declared_name(where: str, name: str) -> Iterator[Problem]:
    if name.startswith("amq."):
        yield Problem(
            path=where,
            value=show(name),
            rule='names that begin with "amq." are reserved for the broker',
            fix="choose another name; bindings may use the broker's own amq. exchanges",
        )
    if name.startswith(PREFIX):
        yield Problem(
            path=where,
            value=show(name),
            rule=f'names that begin with "{PREFIX}" are for what a run leaves while it works',
            fix="choose another name",
        )
    yield from _name(where, name, slash_breaks=True)


def _name(where: str, name: str, *, slash_breaks: bool) -> Iterator[Problem]:
    if not name:
        yield Problem(path=where, value='""', rule="a name is needed", fix="give it one")
    size = len(name.encode())
    if size > MAX_NAME_BYTES:
        yield Problem(
            path=where,
            value=show(name),
            rule=f"a name has at most {MAX_NAME_BYTES} bytes in UTF-8, this one has {size}",
            fix="shorten it",
        )
    if any(unicodedata.category(character) == "Cc" for character in name):
        yield Problem(
            path=where,
            value=show(name),
            rule="the broker takes line breaks out of names, so the provider cannot find it again",
            fix="leave control characters out",
        )
    for character in "@/" if slash_breaks else "@":
        if character in name:
            yield Problem(
                path=where,
                value=show(name),
                rule=f'"{character}" separates the parts of the provider\'s resource ids, '
                "so it cannot read back what has it in its name",
                fix='use another character, for example "." or "-"',
            )


@rule("exchange-type", "Exchanges", "the broker refuses a type that it does not have")
def _exchange_types(topology: Topology) -> Iterator[Problem]:
    for name, exchange in topology.exchanges.items():
        if exchange.type not in BUILT_IN_EXCHANGE_TYPES and not exchange.type.startswith("x-"):
            yield Problem(
                path=path("topology", "exchanges", name, "type"),
                value=show(exchange.type),
                rule="an exchange type is built in, or a plugin's and begins with x-",
                fix=suggest(exchange.type, BUILT_IN_EXCHANGE_TYPES),
            )


@rule(
    "queue-shape",
    "Queues",
    "the broker refuses a queue of a type that cannot be so, half-way through an update",
)
def _queue_settings(topology: Topology) -> Iterator[Problem]:
    for name, queue in topology.queues.items():
        if TYPE_ARGUMENT in queue.arguments:
            yield Problem(
                path=path("topology", "queues", name, "arguments", TYPE_ARGUMENT),
                value=show(queue.arguments[TYPE_ARGUMENT]),
                rule="the queue type has a key of its own",
                fix="write `type:` instead",
            )
        if queue.type is QueueType.CLASSIC:
            continue
        for setting, value, needed in (
            ("durable", queue.durable, True),
            ("auto_delete", queue.auto_delete, False),
        ):
            if value is not needed:
                yield Problem(
                    path=path("topology", "queues", name, setting),
                    value=show(value),
                    rule=f"a {queue.type} queue is always durable and never auto-deleted",
                    fix="remove the setting, or write `type: classic`",
                )


@rule(
    "binding-shape",
    "AMQP 0-9-1 Model Explained",
    "it must be clear what is bound to what, and with which key",
)
def _binding_shapes(topology: Topology) -> Iterator[Problem]:
    for index, binding in enumerate(topology.bindings):
        here = path("topology", "bindings", index)
        if (binding.queue is None) == (binding.exchange is None):
            given = "neither" if binding.queue is None else "both"
            yield Problem(
                path=here,
                value=f"{given} given",
                rule="a binding has one destination",
                fix="write either `queue:` or `exchange:`",
            )
        if binding.routing_key is not None and binding.routing_keys is not None:
            yield Problem(
                path=here,
                value="both given",
                rule="a binding has `routing_key:` or `routing_keys:`",
                fix="put all keys under `routing_keys:`",
            )
        if binding.routing_keys == ():
            yield Problem(
                path=f"{here}.routing_keys",
                value="[]",
                rule="an empty list binds nothing",
                fix="remove it for the empty routing key, or list the keys",
            )
        for key in {route.routing_key for route in binding.routes()}:
            if len(key.encode()) > MAX_NAME_BYTES:
                yield Problem(
                    path=f"{here}.routing_key",
                    value=show(key),
                    rule=f"a routing key has at most {MAX_NAME_BYTES} bytes in UTF-8",
                    fix="shorten it",
                )


@rule(
    "undeclared-in-binding",
    "AMQP 0-9-1 Model Explained",
    "a binding needs both its ends; the broker refuses others half-way through an update",
)
def _binding_ends(topology: Topology) -> Iterator[Problem]:
    exchanges = NameIndex({*topology.exchanges, *PREDECLARED_EXCHANGES})
    queues = NameIndex(topology.queues)
    for index, binding in enumerate(topology.bindings):
        for field, name, known, noun in (
            ("source", binding.source, exchanges, "exchange"),
            ("exchange", binding.exchange, exchanges, "exchange"),
            ("queue", binding.queue, queues, "queue"),
        ):
            if name is not None and name not in known:
                yield Problem(
                    path=path("topology", "bindings", index, field),
                    value=show(name),
                    rule=f"it is not a declared {noun}",
                    fix=suggest(name, known),
                )


@rule(
    "duplicate-binding",
    "AMQP 0-9-1 Model Explained",
    "the broker knows one binding where the stack would manage two",
)
def _duplicate_bindings(topology: Topology) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, binding in enumerate(topology.bindings):
        for route in binding.routes():
            identity = route.model_dump_json()
            if identity in first:
                yield Problem(
                    path=f"topology.bindings[{index}]",
                    value=f"{show(route.source)} to {show(route.destination)}, "
                    f"routing key {show(route.routing_key)}",
                    rule=f"the same binding stands in bindings[{first[identity]}]",
                    fix="remove one of the two",
                )
            first.setdefault(identity, index)


@rule("broker-address", "AMQP 0-9-1 URI Specification", "services could not connect")
def _broker_hosts(broker: Broker) -> Iterator[Problem]:
    for index, host in enumerate(broker.hosts):
        try:
            urls.parse_host(host, tls=bool(broker.tls))
        except ValueError as error:
            yield Problem(
                path=f"broker.hosts[{index}]",
                value=show(host),
                rule=str(error),
                fix='write "host", "host:5672" or "[::1]:5672"',
            )


@rule("broker-version", "Release Information", "rules that depend on it must be able to read it")
def _broker_version(broker: Broker) -> Iterator[Problem]:
    try:
        versions.parse(broker.version or "0.0")
    except ValueError as error:
        yield Problem(
            path="broker.version",
            value=show(broker.version),
            rule=str(error),
            fix="write what `rabbitmqctl version` says",
        )


def check_broker(broker: Broker) -> list[Finding]:
    """Return everything that is wrong with how to reach the broker."""
    return [finding for one_rule in OF_BROKER for finding in one_rule.find(broker)]


AS_WRITTEN: tuple[Rule[Topology], ...] = (
    _vhost_name,
    _exchange_names,
    _queue_names,
    _other_names,
    _exchange_types,
    _queue_settings,
    *rules_settings.BEFORE_EXPANSION,
    *rules_values.BEFORE_EXPANSION,
)
SPELLED_OUT: tuple[Rule[Topology], ...] = (
    _binding_shapes,
    _binding_ends,
    _duplicate_bindings,
    *rules_settings.AFTER_EXPANSION,
    *rules_services.RULES,
)
OF_BROKER: tuple[Rule[Broker], ...] = (_broker_hosts, _broker_version)
