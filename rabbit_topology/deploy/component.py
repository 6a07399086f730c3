"""
The component: what a program, or this project's own, creates to get a topology.

Source: "Component resources", Pulumi documentation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pulumi

from rabbit_topology import model
from rabbit_topology.broker.access import Access
from rabbit_topology.broker.management import UnreachableError
from rabbit_topology.deploy import admission, engine, formers, reach, unfinished
from rabbit_topology.deploy.children import Children
from rabbit_topology.deploy.formers import Former
from rabbit_topology.deploy.guard import VhostGuard
from rabbit_topology.deploy.hooks import Hooks
from rabbit_topology.deploy.outputs import Urls, VhostOutputs, addresses, amqp_urls
from rabbit_topology.deploy.provider import Provider
from rabbit_topology.deploy.record import LEAVING, RETAINED, Record
from rabbit_topology.deploy.resources import Vhost
from rabbit_topology.deploy.users import Users
from rabbit_topology.errors import BrokerError, TopologyError
from rabbit_topology.safety.run import Run


@dataclass(frozen=True, kw_only=True)
class TopologyArgs:
    """What a `Topology` is made of."""

    topology: model.Topology | Sequence[model.Topology]
    """What to declare, one vhost or several; checked with `rabbit_topology.parse`."""
    access: pulumi.Input[Access] | None = None
    """How to reach the broker, from here and for services, see `Access.connect`; default: as the
    component's provider does, or the stack's config."""
    broker: model.Broker = field(default_factory=model.Broker)
    """Where AMQP is, if not where the endpoint is: for when ``access`` is left out."""
    safety: model.SafetySettings = field(default_factory=model.SafetySettings)
    """How careful to be."""
    seed: pulumi.Input[str] | None = None
    """What the passwords of services are derived from; needed if one has none of its own."""

    @property
    def topologies(self) -> Sequence[model.Topology]:
        """All vhosts."""
        return [self.topology] if isinstance(self.topology, model.Topology) else self.topology


class Topology(pulumi.ComponentResource):
    """One vhost or several, with all that is in them, and the URLs to connect with."""

    vhosts: Mapping[str, VhostOutputs]
    """What to connect with, by vhost. Of a single one, all of it is here as well."""

    def __init__(
        self, name: str, args: TopologyArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        engine.check_version()
        super().__init__("rabbit_topology:index:Topology", name, None, opts)
        self._name, self._args = name, args
        reached = args.access
        if reached is None:
            reached = reach.access(self.get_provider("rabbitmq:index/vHost:VHost"), args.broker)
        self._access = pulumi.Output.from_input(reached)
        # Where it is an output of other resources, nobody can tell yet.
        known = reached.management.username if isinstance(reached, Access) else None
        self._own_user = known
        admission.check_own_user(args.topologies, known)
        self._record = Record()
        unfinished.check(self._record, name, args.topologies, args.safety)
        self._formers = self._staying(reached)
        self._run = Run(
            is_preview=pulumi.runtime.is_dry_run(),
            settings=args.safety,
            report=pulumi.info,
            warn=pulumi.warn,
        )
        self._guards: dict[str, VhostGuard] = {}
        provider = Provider(self)
        admitted = admission.check(
            self._record, provider, args, self._access, self._hooks_registered
        )
        self._children = Children(
            parent=self,
            endpoint=self._access.apply(lambda access: access.management.endpoint),
            admission=pulumi.Output.from_input(admitted),
        )
        # Both, since the state names those of the time before the option was set or taken away.
        going, staying = (
            Hooks(
                *(name, self._access, provider, self._children, self._run, self._guard),
                stays=stays,
            )
            for stays in (False, True)
        )
        self._all_hooks = (going, staying)
        self._hooks = staying if opts and opts.retain_on_delete else going
        self.vhosts = outputs = {}
        vhosts: list[Vhost] = []
        users: list[pulumi.Resource] = []
        granted: list[pulumi.Resource] = []
        for topology in args.topologies:
            guard = self._new_guard(self._yet_to_be_renamed(topology))
            vhosts.append(Vhost(self._children, self._prefix(topology), topology, guard.carried))
            outputs[topology.vhost] = self._users(vhosts[-1], users, granted)
        # Last, since they connect as any user to any vhost; and first to go.
        all_else = [*granted, *(resource for vhost in vhosts for resource in vhost.made)]
        for vhost in vhosts:
            vhost.link(all_else)
        if not self._childResources:
            self._begun: pulumi.Output[bool] = pulumi.Output.from_input(provider.begin())
        self.register_outputs({**self.outputs, **self._notes()})

    @property
    def outputs(self) -> dict[str, Any]:
        """All of `vhosts` by name, to be exported: of a single one, that alone."""
        if isinstance(self._args.topology, model.Topology):
            return self._only.exported()
        return {"vhosts": {vhost: one.exported() for vhost, one in self.vhosts.items()}}

    @property
    def vhost(self) -> pulumi.Output[str]:
        """The name of the only vhost, known once it exists."""
        return self._only.vhost

    @property
    def exchange_urls(self) -> Mapping[str, pulumi.Output[Urls]]:
        """As `VhostOutputs.exchange_urls`, of the only vhost."""
        return self._only.exchange_urls

    @property
    def queue_urls(self) -> Mapping[str, pulumi.Output[Urls]]:
        """As `VhostOutputs.queue_urls`, of the only vhost."""
        return self._only.queue_urls

    @property
    def connection_url(self) -> pulumi.Output[Urls]:
        """As `VhostOutputs.connection_url`, of the only vhost: a secret."""
        return self._only.connection_url

    @property
    def service_urls(self) -> Mapping[str, pulumi.Output[Urls]]:
        """As `VhostOutputs.service_urls`, of the only vhost: secrets."""
        return self._only.service_urls

    @property
    def addresses(self) -> Mapping[str, Mapping[str, Any]]:
        """As `VhostOutputs.addresses`, of the only vhost."""
        return self._only.addresses

    @property
    def _only(self) -> VhostOutputs:
        match [*self.vhosts.values()]:
            case [only]:
                return only
        raise TopologyError(
            f"{self._name} has several vhosts: take one of {', '.join(self.vhosts)} from `vhosts`"
        )

    def _staying(self, reached: pulumi.Input[Access]) -> list[Former]:
        """Return the users of other rotations that stay; say so of each.

        Raises:
            pulumi.RunError: The broker cannot be asked.
        """
        former = [*formers.find(self._record.users(), self._name, self._args.topologies)]
        if not former:
            return []
        dry = pulumi.runtime.is_dry_run()
        count = partial(formers.connections_of, reached) if isinstance(reached, Access) else None
        try:
            return formers.staying(former, count, is_preview=dry, report=pulumi.info)
        except UnreachableError as error:
            if not dry:
                raise pulumi.RunError(f"{error}; nothing was changed") from None
            return formers.staying(former, None, is_preview=dry, report=pulumi.info)
        except BrokerError as error:
            raise pulumi.RunError(f"{error}; nothing was changed") from None

    async def _hooks_registered(self) -> None:
        for hooks in self._all_hooks:
            await hooks.registered()

    def _notes(self) -> dict[str, Any]:
        """Return what the next run has to know of this one, beside its outputs."""
        declared = {topology.vhost: topology.queues for topology in self._args.topologies}
        left = self._record.leaving(self._name, declared)
        retained = {vhost for vhost in declared if self._guards[vhost].retains_vhost}
        retained |= self._record.retained(self._name) & left.keys()
        noted = {LEAVING: left, RETAINED: sorted(retained)}
        return {key: value for key, value in noted.items() if value}

    def _guard(self, vhost: str, access: Access) -> VhostGuard:
        """Return who decides for a vhost, one that is no longer in the config included."""
        if vhost not in self._guards:
            self._new_guard(model.Topology(vhost=vhost), has_left=True)
        self._guards[vhost].access = access
        return self._guards[vhost]

    def _new_guard(self, topology: model.Topology, *, has_left: bool = False) -> VhostGuard:
        guard = VhostGuard(
            hooks=self._hooks,
            children=self._children,
            topology=topology,
            run=self._run,
            everyone=self._guards.values,
            deployed=self._record.objects,
            has_left=has_left,
            was_retained=has_left and topology.vhost in self._record.retained(self._name),
        )
        self._guards[topology.vhost] = guard
        return guard

    def _yet_to_be_renamed(self, topology: model.Topology) -> model.Topology:
        """Return a topology in which only queues have a former name that the stack has not made."""
        if not topology.successors:
            return topology
        known = self._record.objects() or {}
        done = {
            name: topology.queues[name].model_copy(update={"renamed_from": None})
            for name in topology.successors.values()
            if ("queue", topology.vhost, name) in known
        }
        return topology.model_copy(update={"queues": {**topology.queues, **done}})

    def _prefix(self, topology: model.Topology) -> str:
        return f"{self._name}/{topology.vhost}"

    def _users(
        self, vhost: Vhost, made: list[pulumi.Resource], granted: list[pulumi.Resource]
    ) -> VhostOutputs:
        """Create the users of a vhost, after those ``made`` so far; return its outputs."""
        topology = vhost.topology
        users = Users(
            children=self._children,
            prefix=self._prefix(topology),
            carried=vhost.carried,
            vhost=vhost.name,
            exchanges=vhost.exchanges,
            stack=pulumi.get_stack(),
            seed=self._args.seed,
            made=made,
            granted=granted,
            own_user=self._own_user,
        )
        plain_urls: pulumi.Output[Urls] = self._access.apply(
            lambda access: amqp_urls(access, topology.vhost)
        )
        service_urls = {}
        for name in topology.services:
            service_urls[name] = self._secret_urls(vhost.name, *users.service(topology, name))
        for one in self._formers:
            if one.vhost == topology.vhost:
                users.former(topology, one)
        for name, user in topology.users.items():
            users.user(name, user)
        management = self._access.apply(lambda access: access.management)
        return VhostOutputs(
            vhost=pulumi.Output.from_input(vhost.name),
            exchange_urls=dict.fromkeys(topology.exchanges, plain_urls),
            queue_urls=dict.fromkeys(topology.queues, plain_urls),
            connection_url=self._secret_urls(
                vhost.name,
                management.apply(lambda api: api.username),
                management.apply(lambda api: api.password),
            ),
            service_urls=service_urls,
            addresses=addresses(topology),
        )

    def _secret_urls(
        self,
        vhost: pulumi.Input[str],
        username: pulumi.Input[str],
        password: pulumi.Input[str] | None,
    ) -> pulumi.Output[Any]:
        return pulumi.Output.secret(
            pulumi.Output.all(self._access, vhost, username, password).apply(
                lambda known: amqp_urls(known[0], known[1], username=known[2], password=known[3])
            )
        )
