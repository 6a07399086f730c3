"""
The one place that creates resources: plain loops over the model of one vhost.

Source: "Resources", Pulumi documentation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import pulumi
import pulumi_rabbitmq as rabbitmq
from pydantic import JsonValue

from rabbit_topology import model, policies
from rabbit_topology.safety import Safety


class Vhost:
    """One vhost with all that is in it but users, as children of ``parent``.

    ``name`` is the vhost's name, known once it exists; ``exchanges`` has the resources by name.
    """

    name: pulumi.Input[str]
    exchanges: dict[str, rabbitmq.Exchange]

    def __init__(
        self, parent: pulumi.Resource, prefix: str, topology: model.Topology, safety: Safety
    ) -> None:
        """Create the resources; ``prefix`` begins their logical names."""
        self._parent = parent
        self._prefix = prefix
        self.topology = topology
        self.safety = safety
        self.name = self._declare()
        self.exchanges = {key: self._exchange(key, it) for key, it in topology.exchanges.items()}
        self.queues = {key: self._queue(key, it) for key, it in topology.queues.items()}
        bindings: dict[str, list[pulumi.Resource]] = {}
        for route in topology.routes():
            bindings.setdefault(route.source, []).append(self._binding(route))
        made = self._policies(bindings)
        self._links([*self.exchanges.values(), *self.queues.values(), *made])

    def _declare(self) -> pulumi.Input[str]:
        name, limits = self.topology.vhost, self.topology.vhost_settings.limits
        settings = self.topology.vhost_settings
        if name == model.DEFAULT_VHOST:
            return name
        options = pulumi.ResourceOptions(
            parent=self._parent,
            hooks=self.safety.vhost,
            retain_on_delete=self.safety.retains_vhost or None,
        )
        return rabbitmq.VHost(
            self._prefix,
            name=name,
            description=settings.description,
            default_queue_type=settings.default_queue_type,
            tracing=settings.tracing,
            max_connections=_text(limits.max_connections),
            max_queues=_text(limits.max_queues),
            opts=options,
        ).name

    def _exchange(self, name: str, exchange: model.Exchange) -> rabbitmq.Exchange:
        resource = rabbitmq.Exchange(
            f"{self._prefix}/{name}",
            name=name,
            vhost=self.name,
            settings=rabbitmq.ExchangeSettingsArgs(
                type=exchange.type,
                durable=exchange.durable,
                auto_delete=exchange.auto_delete,
                arguments=dict(exchange.arguments) or None,
            ),
            opts=pulumi.ResourceOptions(parent=self._parent, hooks=self.safety.exchange),
        )
        self.safety.watch("exchange", name, resource)
        return resource

    def _queue(self, name: str, queue: model.Queue) -> rabbitmq.Queue:
        resource = rabbitmq.Queue(
            f"{self._prefix}/{name}",
            name=name,
            vhost=self.name,
            settings=rabbitmq.QueueSettingsArgs(
                durable=queue.durable,
                auto_delete=queue.auto_delete,
                # As JSON, since the provider's plain arguments turn numbers into strings.
                arguments_json=_canonical(queue.declared_arguments()),
            ),
            opts=pulumi.ResourceOptions(
                parent=self._parent,
                hooks=self.safety.queue(name),
                retain_on_delete=queue.on_delete is model.OnDelete.RETAIN or None,
            ),
        )
        self.safety.watch("queue", name, resource)
        return resource

    def _binding(self, route: model.Route) -> rabbitmq.Binding:
        source = self.exchanges.get(route.source)
        destinations = self.queues if route.kind == "queue" else self.exchanges
        destination = destinations.get(route.destination)
        resource = rabbitmq.Binding(
            f"{self._prefix}/{route_name(route)}",
            # Names as outputs, so that a binding is replaced together with its ends; one that
            # names them in plain text would vanish with them and stay away.
            source=source.name if source else route.source,
            destination=destination.name if destination else route.destination,
            destination_type=route.kind,
            vhost=self.name,
            routing_key=route.routing_key,
            arguments_json=_canonical(route.arguments) if route.arguments else None,
            # A new binding that equals the old is the old one: created first, it would then be
            # deleted with it.
            opts=pulumi.ResourceOptions(
                parent=self._parent, delete_before_replace=True, hooks=self.safety.binding(route)
            ),
        )
        self.safety.watch_binding(route, resource)
        return resource

    def _policies(self, bindings: Mapping[str, list[pulumi.Resource]]) -> list[pulumi.Resource]:
        topology = self.topology
        made: list[pulumi.Resource] = []
        for name, it in policies.compile_all(topology).items():
            named = ("dead-letter-exchange", "alternate-exchange")
            targets = [str(it.policy.definition.get(key)) for key in named]
            resource = rabbitmq.Policy(
                f"{self._prefix}/{name}",
                name=name,
                vhost=self.name,
                policy=rabbitmq.PolicyPolicyArgs(**_policy(it.policy)),
                opts=pulumi.ResourceOptions(
                    parent=self._parent,
                    # Where messages are sent to, they must be able to arrive.
                    depends_on=[one for target in targets for one in bindings.get(target, ())],
                    hooks=self.safety.policy(it.on_delete),
                    retain_on_delete=it.on_delete is model.OnDelete.RETAIN or None,
                ),
            )
            self.safety.watch("policy", name, resource)
            made.append(resource)
        for name, policy in topology.policies.items():
            resource = rabbitmq.Policy(
                f"{self._prefix}/{name}",
                name=name,
                vhost=self.name,
                policy=rabbitmq.PolicyPolicyArgs(**_policy(policy)),
                opts=pulumi.ResourceOptions(
                    parent=self._parent, hooks=self.safety.policy(model.OnDelete.REFUSE)
                ),
            )
            self.safety.watch("policy", name, resource)
            made.append(resource)
        for name, policy in topology.operator_policies.items():
            operator_policy = rabbitmq.OperatorPolicy(
                f"{self._prefix}/{name}",
                name=name,
                vhost=self.name,
                policy=rabbitmq.OperatorPolicyPolicyArgs(**_policy(policy)),
                opts=pulumi.ResourceOptions(parent=self._parent, hooks=self.safety.policy(None)),
            )
            self.safety.watch("policy", name, operator_policy)
            made.append(operator_policy)
        return made

    def _links(self, all_else: list[pulumi.Resource]) -> None:
        """Create shovels and federation upstreams.

        A shovel comes last and goes first: it consumes a queue that could not be deleted else.
        """
        options = pulumi.ResourceOptions(parent=self._parent, depends_on=all_else)
        for name, shovel in self.topology.shovels.items():
            given = shovel.model_dump(exclude_none=True)
            uris = {key: pulumi.Output.secret(given[key]) for key in given if key.endswith("_uri")}
            rabbitmq.Shovel(
                f"{self._prefix}/{name}",
                name=name,
                vhost=self.name,
                info=rabbitmq.ShovelInfoArgs(**{**given, **uris}),
                opts=options,
            )
        for name, upstream in self.topology.federation_upstreams.items():
            given = upstream.model_dump(exclude_none=True)
            given["uri"] = pulumi.Output.secret(upstream.uri)
            rabbitmq.FederationUpstream(
                f"{self._prefix}/{name}",
                name=name,
                vhost=self.name,
                definition=rabbitmq.FederationUpstreamDefinitionArgs(**given),
                opts=options,
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


def _policy(policy: model.Policy) -> dict[str, Any]:
    # As text: the provider turns digits into numbers again, and large numbers stay whole.
    definition = {key: str(value) for key, value in policy.definition.items()}
    return {**policy.model_dump(exclude={"definition"}), "definition": definition}


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)
