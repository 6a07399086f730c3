"""
The one place that creates resources: plain loops over the model.

Source: "Component resources", Pulumi documentation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import pulumi
import pulumi_rabbitmq as rabbitmq
from pydantic import JsonValue

from rabbit_topology import model, policies, urls
from rabbit_topology.access import Access
from rabbit_topology.safety import Safety
from rabbit_topology.users import Users


@dataclass(frozen=True, kw_only=True)
class TopologyArgs:
    """What a `Topology` is made of."""

    topology: model.Topology
    """What to declare; checked with `rabbit_topology.parse`."""
    access: Access
    """How to reach the broker, from here and for services."""
    safety: model.SafetySettings = field(default_factory=model.SafetySettings)
    """How careful to be."""
    username: pulumi.Input[str]
    """The user of `Topology.connection_url`."""
    password: pulumi.Input[str]
    """Its password; the URL becomes a secret, whether this is one or not."""
    seed: pulumi.Input[str] | None = None
    """What the passwords of services are derived from; needed if one has none of its own."""


class Topology(pulumi.ComponentResource):
    """One vhost with its exchanges, queues and bindings, and the URLs to connect with."""

    vhost: pulumi.Output[str]
    """The vhost's name, known once the vhost exists."""
    exchange_urls: dict[str, str | list[str]]
    """By exchange: a URL to open, or a list of one per host; without credentials."""
    queue_urls: dict[str, str | list[str]]
    """By queue: a URL to open, or a list of one per host; without credentials."""
    connection_url: pulumi.Output[Any]
    """Secret: a URL with credentials, or a list of one per host."""
    service_urls: dict[str, pulumi.Output[Any]]
    """By service, secret: a URL with credentials, or a list of one per host."""
    addresses: dict[str, dict[str, Any]]
    """`exchanges` and `queues` by name: AMQP 1.0 address, and an exchange's routing keys."""

    def __init__(
        self, name: str, args: TopologyArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("rabbit_topology:index:Topology", name, None, opts)
        topology = args.topology
        self._prefix = f"{name}/{topology.vhost}"
        self._safety = Safety(
            name=name, access=args.access, topology=topology, settings=args.safety
        )
        self._vhost = self._declare_vhost(topology.vhost, topology.vhost_settings)
        exchanges = {key: self._exchange(key, it) for key, it in topology.exchanges.items()}
        queues = {key: self._queue(key, it) for key, it in topology.queues.items()}
        bindings: dict[str, list[pulumi.Resource]] = {}
        for route in topology.routes():
            binding = self._binding(route, exchanges, queues)
            bindings.setdefault(route.source, []).append(binding)
        made = self._policies(topology, bindings)
        self._links(topology, [*exchanges.values(), *queues.values(), *made])
        self.vhost = pulumi.Output.from_input(self._vhost)
        access = args.access
        plain_urls = _urls(access, topology.vhost)
        self.exchange_urls = dict.fromkeys(topology.exchanges, plain_urls)
        self.queue_urls = dict.fromkeys(topology.queues, plain_urls)
        self.connection_url = self._secret_urls(access, args.username, args.password)
        users = Users(
            parent=self,
            prefix=self._prefix,
            vhost=self._vhost,
            exchanges=exchanges,
            stack=pulumi.get_stack(),
            seed=args.seed,
        )
        self.service_urls = {
            key: self._secret_urls(access, *users.service(topology, key))
            for key in topology.services
        }
        for key, user in topology.users.items():
            users.user(key, user)
        self.addresses = _addresses(topology)
        self.register_outputs(self.outputs)

    @property
    def outputs(self) -> dict[str, Any]:
        """The stack's outputs by name."""
        return {
            "vhost": self.vhost,
            "exchange_urls": self.exchange_urls,
            "queue_urls": self.queue_urls,
            "connection_url": self.connection_url,
            "service_urls": self.service_urls,
            "addresses": self.addresses,
        }

    def _secret_urls(
        self, access: Access, username: pulumi.Input[str], password: pulumi.Input[str]
    ) -> pulumi.Output[Any]:
        return pulumi.Output.secret(
            pulumi.Output.all(self.vhost, username, password).apply(
                lambda it: _urls(access, it[0], username=it[1], password=it[2])
            )
        )

    def _declare_vhost(self, name: str, settings: model.VhostSettings) -> pulumi.Input[str]:
        if name == model.DEFAULT_VHOST:
            return name
        options = pulumi.ResourceOptions(
            parent=self,
            hooks=self._safety.vhost,
            retain_on_delete=self._safety.retains_vhost or None,
        )
        limits = settings.limits
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
            vhost=self._vhost,
            settings=rabbitmq.ExchangeSettingsArgs(
                type=exchange.type,
                durable=exchange.durable,
                auto_delete=exchange.auto_delete,
                arguments=dict(exchange.arguments) or None,
            ),
            opts=pulumi.ResourceOptions(parent=self, hooks=self._safety.exchange),
        )
        self._safety.watch("exchange", name, resource)
        return resource

    def _queue(self, name: str, queue: model.Queue) -> rabbitmq.Queue:
        resource = rabbitmq.Queue(
            f"{self._prefix}/{name}",
            name=name,
            vhost=self._vhost,
            settings=rabbitmq.QueueSettingsArgs(
                durable=queue.durable,
                auto_delete=queue.auto_delete,
                # As JSON, since the provider's plain arguments turn numbers into strings.
                arguments_json=_canonical(queue.declared_arguments()),
            ),
            opts=pulumi.ResourceOptions(
                parent=self,
                hooks=self._safety.queue(name),
                retain_on_delete=queue.on_delete is model.OnDelete.RETAIN or None,
            ),
        )
        self._safety.watch("queue", name, resource)
        return resource

    def _binding(
        self,
        route: model.Route,
        exchanges: Mapping[str, rabbitmq.Exchange],
        queues: Mapping[str, rabbitmq.Queue],
    ) -> rabbitmq.Binding:
        source = exchanges.get(route.source)
        destinations = queues if route.kind == "queue" else exchanges
        destination = destinations.get(route.destination)
        resource = rabbitmq.Binding(
            f"{self._prefix}/{route_name(route)}",
            # Names as outputs, so that a binding is replaced together with its ends; one that
            # names them in plain text would vanish with them and stay away.
            source=source.name if source else route.source,
            destination=destination.name if destination else route.destination,
            destination_type=route.kind,
            vhost=self._vhost,
            routing_key=route.routing_key,
            arguments_json=_canonical(route.arguments) if route.arguments else None,
            # A new binding that equals the old is the old one: created first, it would then be
            # deleted with it.
            opts=pulumi.ResourceOptions(
                parent=self, delete_before_replace=True, hooks=self._safety.binding(route)
            ),
        )
        self._safety.watch_binding(route, resource)
        return resource

    def _policies(
        self, topology: model.Topology, bindings: Mapping[str, list[pulumi.Resource]]
    ) -> list[pulumi.Resource]:
        made: list[pulumi.Resource] = []
        for name, it in policies.compile_all(topology).items():
            named = ("dead-letter-exchange", "alternate-exchange")
            targets = [str(it.policy.definition.get(key)) for key in named]
            resource = rabbitmq.Policy(
                f"{self._prefix}/{name}",
                name=name,
                vhost=self._vhost,
                policy=rabbitmq.PolicyPolicyArgs(**_policy(it.policy)),
                opts=pulumi.ResourceOptions(
                    parent=self,
                    # Where messages are sent to, they must be able to arrive.
                    depends_on=[one for target in targets for one in bindings.get(target, ())],
                    hooks=None if it.on_delete is model.OnDelete.DISCARD else self._safety.policy,
                    retain_on_delete=it.on_delete is model.OnDelete.RETAIN or None,
                ),
            )
            self._safety.watch("policy", name, resource)
            made.append(resource)
        for name, policy in topology.policies.items():
            resource = rabbitmq.Policy(
                f"{self._prefix}/{name}",
                name=name,
                vhost=self._vhost,
                policy=rabbitmq.PolicyPolicyArgs(**_policy(policy)),
                opts=pulumi.ResourceOptions(parent=self, hooks=self._safety.policy),
            )
            self._safety.watch("policy", name, resource)
            made.append(resource)
        for name, policy in topology.operator_policies.items():
            operator_policy = rabbitmq.OperatorPolicy(
                f"{self._prefix}/{name}",
                name=name,
                vhost=self._vhost,
                policy=rabbitmq.OperatorPolicyPolicyArgs(**_policy(policy)),
                opts=pulumi.ResourceOptions(parent=self, hooks=self._safety.operator_policy),
            )
            self._safety.watch("policy", name, operator_policy)
            made.append(operator_policy)
        return made

    def _links(self, topology: model.Topology, all_else: list[pulumi.Resource]) -> None:
        """Create shovels and federation upstreams.

        A shovel comes last and goes first: it consumes a queue that could not be deleted else.
        """
        options = pulumi.ResourceOptions(parent=self, depends_on=all_else)
        for name, shovel in topology.shovels.items():
            given = shovel.model_dump(exclude_none=True)
            uris = {key: pulumi.Output.secret(given[key]) for key in given if key.endswith("_uri")}
            rabbitmq.Shovel(
                f"{self._prefix}/{name}",
                name=name,
                vhost=self._vhost,
                info=rabbitmq.ShovelInfoArgs(**{**given, **uris}),
                opts=options,
            )
        for name, upstream in topology.federation_upstreams.items():
            given = upstream.model_dump(exclude_none=True)
            given["uri"] = pulumi.Output.secret(upstream.uri)
            rabbitmq.FederationUpstream(
                f"{self._prefix}/{name}",
                name=name,
                vhost=self._vhost,
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


def _urls(
    access: Access, vhost: str, *, username: str | None = None, password: str = ""
) -> str | list[str]:
    all_urls = [
        urls.amqp_url(address, vhost, tls=access.tls, username=username, password=password)
        for address in access.addresses
    ]
    return all_urls[0] if len(all_urls) == 1 else all_urls


def _addresses(topology: model.Topology) -> dict[str, dict[str, Any]]:
    keys: dict[str, set[str]] = {name: set() for name in topology.exchanges}
    for route in topology.routes():
        if route.source in keys:
            keys[route.source].add(route.routing_key)
    return {
        "exchanges": {
            name: {"address": urls.exchange_address(name), "routing_keys": sorted(found)}
            for name, found in keys.items()
        },
        "queues": {name: {"address": urls.queue_address(name)} for name in topology.queues},
    }
