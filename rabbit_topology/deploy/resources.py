"""
The one place that creates resources: plain loops over the model of one vhost.

Source: "Resources", Pulumi documentation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, TypeVar

import pulumi
import pulumi_rabbitmq as rabbitmq
from pydantic import JsonValue

from rabbit_topology import model
from rabbit_topology.compiler import policies, regexes
from rabbit_topology.compiler.names import route_key
from rabbit_topology.deploy.carried import Carried
from rabbit_topology.deploy.children import Children

_Resource = TypeVar("_Resource", bound=pulumi.CustomResource)


class Vhost:
    """One vhost with all that is in it but users.

    ``name`` is the vhost's name, known once it exists; ``exchanges`` has the resources by name,
    and ``made`` is all of them but shovels and upstreams, which `link` creates.
    """

    name: pulumi.Input[str]
    exchanges: dict[str, rabbitmq.Exchange]

    def __init__(
        self, children: Children, prefix: str, topology: model.Topology, carried: Carried
    ) -> None:
        """Create the resources; ``prefix`` begins their logical names."""
        self._children = children
        self._prefix = prefix
        self.topology = topology
        self.carried = carried
        self.name = self._declare()
        self.exchanges = {
            key: self._exchange(key, exchange) for key, exchange in topology.exchanges.items()
        }
        self.queues = {key: self._queue(key, queue) for key, queue in topology.queues.items()}
        bindings: dict[str, list[pulumi.Resource]] = {}
        for route in topology.routes():
            bindings.setdefault(route.source, []).append(self._binding(route))
        self.made: list[pulumi.Resource] = [
            *self.exchanges.values(),
            *self.queues.values(),
            *(binding for some in bindings.values() for binding in some),
            *self._policies(bindings),
        ]

    def _declare(self) -> pulumi.Input[str]:
        name, limits = self.topology.vhost, self.topology.vhost_settings.limits
        settings = self.topology.vhost_settings
        if not self.topology.makes_vhost:
            return name
        return self._children.make(
            rabbitmq.VHost,
            self._prefix,
            vhost="",
            key=name,
            hooks=self.carried.vhost,
            retain=self.carried.retains_vhost,
            inputs={
                "name": name,
                "description": settings.description,
                "default_queue_type": settings.default_queue_type,
                "tracing": settings.tracing,
                "max_connections": _text(limits.max_connections),
                "max_queues": _text(limits.max_queues),
            },
        ).name

    def _exchange(self, name: str, exchange: model.Exchange) -> rabbitmq.Exchange:
        settings = rabbitmq.ExchangeSettingsArgs(
            type=exchange.type,
            durable=exchange.durable,
            auto_delete=exchange.auto_delete,
            arguments=dict(exchange.arguments) or None,
        )
        return self._make(
            rabbitmq.Exchange,
            name,
            {"settings": settings},
            hooks=self.carried.exchange(name),
            retain=name in self.carried.kept.exchanges,
        )

    def _queue(self, name: str, queue: model.Queue) -> rabbitmq.Queue:
        settings = rabbitmq.QueueSettingsArgs(
            durable=queue.durable,
            auto_delete=queue.auto_delete,
            **_arguments(queue.declared_arguments()),
        )
        return self._make(
            rabbitmq.Queue,
            name,
            {"settings": settings},
            hooks=self.carried.queue(name),
            retain=name in self.carried.kept.queues,
        )

    def _binding(self, route: model.Route) -> rabbitmq.Binding:
        source = self.exchanges.get(route.source)
        destinations = self.queues if route.kind == "queue" else self.exchanges
        destination = destinations.get(route.destination)
        return self._children.make(
            rabbitmq.Binding,
            f"{self._prefix}/{route_name(route)}",
            vhost=self.topology.vhost,
            key=route_key(route),
            hooks=self.carried.binding(route),
            retain=route_key(route) in self.carried.kept.routes,
            inputs={
                # Names as outputs, so that a binding is replaced together with its ends; one that
                # names them in plain text would vanish with them and stay away.
                "source": source.name if source else route.source,
                "destination": destination.name if destination else route.destination,
                "destination_type": route.kind,
                "vhost": self.name,
                "routing_key": route.routing_key,
                **_arguments(route.arguments),
            },
        )

    def _policies(self, bindings: Mapping[str, list[pulumi.Resource]]) -> list[pulumi.Resource]:
        topology = self.topology
        made: list[pulumi.Resource] = []
        for name, compiled in policies.compile_all(topology).items():
            named = ("dead-letter-exchange", "alternate-exchange")
            targets = [str(compiled.policy.definition.get(key)) for key in named]
            members = self.queues if compiled.policy.apply_to == "queues" else self.exchanges
            made.append(
                self._make(
                    rabbitmq.Policy,
                    name,
                    {"policy": rabbitmq.PolicyPolicyArgs(**_policy(compiled.policy))},
                    depends_on=[
                        # A broker that gets a policy while it declares what that is for may not
                        # apply it: issue 4931 of rabbitmq-server.
                        *(members[member] for member in sorted(compiled.members)),
                        # Where messages are sent to, they must be able to arrive.
                        *(one for target in targets for one in bindings.get(target, ())),
                    ],
                    hooks=self.carried.policy(compiled.on_delete),
                    retain=compiled.on_delete is model.OnDelete.RETAIN,
                )
            )
        for name, policy in topology.policies.items():
            arguments = rabbitmq.PolicyPolicyArgs(**_policy(policy))
            made.append(
                self._make(
                    rabbitmq.Policy,
                    name,
                    {"policy": arguments},
                    depends_on=self._touched(policy),
                    hooks=self.carried.policy(model.OnDelete.REFUSE),
                )
            )
        for name, policy in topology.operator_policies.items():
            limits = rabbitmq.OperatorPolicyPolicyArgs(**_policy(policy))
            made.append(
                self._make(
                    rabbitmq.OperatorPolicy,
                    name,
                    {"policy": limits},
                    depends_on=self._touched(policy),
                    hooks=self.carried.policy(None),
                )
            )
        return made

    def _touched(self, policy: model.Policy) -> list[pulumi.Resource]:
        """Return the queues and exchanges that a policy of the user's may match."""
        made: dict[str, Mapping[str, pulumi.Resource]] = {
            "queues": self.queues,
            "exchanges": self.exchanges,
        }
        return [
            made[target.kind][target.name]
            for target in policies.objects(self.topology)
            if target.takes(policy.apply_to)
            and regexes.matches(policy.pattern, target.name) is not False
        ]

    def link(self, all_else: list[pulumi.Resource]) -> None:
        """Create shovels and federation upstreams, after ``all_else``.

        A shovel comes last and goes first: it consumes a queue that could not be deleted else, and
        it connects as a user who may do so until it is gone.
        """
        for name, shovel in self.topology.shovels.items():
            given = shovel.model_dump(exclude_none=True)
            uris = {key: pulumi.Output.secret(given[key]) for key in given if key.endswith("_uri")}
            info = rabbitmq.ShovelInfoArgs(**{**given, **uris})
            self._make(
                rabbitmq.Shovel,
                name,
                {"info": info},
                depends_on=all_else,
                hooks=self.carried.shovel,
                # The hook deletes it: the provider fails where it has ended by itself.
                retain=True,
            )
        for name, upstream in self.topology.federation_upstreams.items():
            given = upstream.model_dump(exclude_none=True)
            given["uri"] = pulumi.Output.secret(upstream.uri)
            self._make(
                rabbitmq.FederationUpstream,
                name,
                {"definition": rabbitmq.FederationUpstreamDefinitionArgs(**given)},
                depends_on=all_else,
                hooks=self.carried.upstream,
            )

    def _make(
        self, type_: Callable[..., _Resource], name: str, inputs: Mapping[str, Any], **options: Any
    ) -> _Resource:
        """Create what has a name of its own in the vhost."""
        return self._children.make(
            type_,
            f"{self._prefix}/{name}",
            vhost=self.topology.vhost,
            key=name,
            inputs={"name": name, "vhost": self.name, **inputs},
            **options,
        )


def route_name(route: model.Route) -> str:
    """Return what sets one binding of a vhost apart, for its logical name.

    Readable where it can be; arguments, which a name cannot hold, by a hash.
    """
    name = f"{route.source}/{route.kind}/{route.destination}/{route.routing_key}"
    if route.arguments:
        name += f"/{sha256(_canonical(route.arguments).encode()).hexdigest()[:12]}"
    return name


def _canonical(arguments: Mapping[str, JsonValue]) -> str:
    return json.dumps(arguments, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _arguments(arguments: Mapping[str, JsonValue]) -> dict[str, Any]:
    """Return arguments as inputs, in the form in which the provider reads those of others back.

    In another form an imported queue or binding would be replaced. Only text can be sent as it is:
    the provider would turn numbers into text, and loses keys that it has a use of its own for.
    """
    if not arguments:
        return {}
    for key, value in arguments.items():
        if not isinstance(value, str) or key in ("%", "#") or key.startswith("__"):
            return {"arguments_json": _canonical(arguments)}
    return {"arguments": dict(arguments)}


def _policy(policy: model.Policy) -> dict[str, Any]:
    # As text: the provider turns digits into numbers again, and large numbers stay whole.
    definition = {key: str(value) for key, value in policy.definition.items()}
    return {**policy.model_dump(exclude={"definition"}), "definition": definition}


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)
