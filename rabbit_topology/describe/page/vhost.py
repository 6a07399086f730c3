"""
All that the page shows of one vhost: settings, ways of messages, rights, the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rabbit_topology.config.stack import Stack
from rabbit_topology.describe import build as pictures
from rabbit_topology.describe import focus, fold, services
from rabbit_topology.describe.graph import Graph
from rabbit_topology.describe.page import rights, view, ways, words
from rabbit_topology.describe.page.flows import Flows
from rabbit_topology.describe.page.origins import Origins, Setting
from rabbit_topology.describe.page.places import Places
from rabbit_topology.describe.page.rights import Principal
from rabbit_topology.describe.page.view import Link
from rabbit_topology.model import SECRETS, Broker, Service, versions
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.steps import DEFAULT_EXCHANGE, Step
from rabbit_topology.services import permissions

_PROPERTIES = ("type", "durable", "auto_delete")
_PICTURE_STEPS = 2
"""How far around a service its own page draws."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """A config that the page is about."""

    name: str
    """The stack's, or the file's."""
    stack: Stack
    live: bool = False
    """It was read from a broker, and stands in no config."""
    missing: Sequence[view.Missing] = ()


def vhost(config: Config, network: Network, service: str | None, begin: str) -> view.Vhost:
    """Return one vhost of a config.

    Args:
        config: The config.
        network: The vhost.
        service: Only what this service has to do with it; None: all.
        begin: What all anchors begin with.
    """
    return _Builder(config, network, service, begin).vhost()


class _Builder:
    def __init__(self, config: Config, network: Network, service: str | None, begin: str) -> None:
        self._config = config
        self._live = config.live
        self._network = network
        self._written = network.context.written
        self._whole = network.context.whole
        self._service = service
        self._places = Places(network, service, begin)
        self._flows = Flows(network, self._places)
        self._origins = Origins(network, live=config.live)
        self._everyone = rights.principals(self._written)

    def vhost(self) -> view.Vhost:
        graph, folded = self._graph()
        mine = [name for name in self._written.services if self._service in (None, name)]
        start = None if self._service is None else self._published(self._service)
        whole = self._service is None
        return view.Vhost(
            anchor=self._places.whole,
            name=self._network.vhost,
            stack=self._config.name,
            about=dict(self._about(self._config.stack.broker)),
            graph=graph,
            folded=folded,
            exchanges=tuple(map(self._exchange, self._places.names("exchange"))),
            queues=tuple(map(self._queue, self._places.names("queue"))),
            services=tuple(map(self._of_service, mine)),
            users=tuple(self._users()) if whole else (),
            policies=tuple(self._policies()) if whole else (),
            connections=tuple(self._connections()) if whole else (),
            ways=ways.document(self._network, self._places.anchor, start=start, live=self._live),
            missing=[
                one
                for one in self._config.missing
                if whole and one.vhost in ("", self._network.vhost)
            ],
            undecided=self._flows.undecided,
            anchors=self._places.anchors,
        )

    def _about(self, broker: Broker) -> Iterator[tuple[str, str]]:
        yield "read from" if self._live else "stack", self._config.name
        like = versions.text(self._network.context.like[-1])
        stated = broker.version
        yield "RabbitMQ", stated or f"{like} is assumed: the config does not say a version"
        if broker.hosts:
            yield "hosts", ", ".join(map(words.plain, broker.hosts))
        settings = self._written.vhost_settings
        for field in type(settings).model_fields:
            value = getattr(settings, field)
            if field in settings.model_fields_set and field != "limits":
                yield field.replace("_", " "), words.plain(value)
        for name, limit in settings.limits.model_dump(exclude_none=True).items():
            yield name.replace("_", " "), words.plain(limit)

    def _graph(self) -> tuple[Graph, str]:
        whole = pictures.graph(self._network)
        if self._service is not None:
            return focus.focused(whole, self._service, _PICTURE_STEPS), ""
        if len(whole.nodes) <= fold.READABLE:
            return whole, ""
        folded = fold.folded(whole)
        return folded, (
            f"What patterns make is folded into what has them: {len(folded.nodes)} of "
            f"{len(whole.nodes)} objects are drawn."
        )

    def _exchange(self, name: str) -> view.Exchange:
        network = self._network
        declared = self._whole.exchanges.get(name)
        settings: list[Setting] = []
        if declared is not None:
            settings += (self._origins.property("exchanges", name, one) for one in _PROPERTIES)
        if name != DEFAULT_EXCHANGE:
            settings += self._origins.exchange(name)
        alternate = network.alternate(name)
        steps = [*network.steps.get(name, ()), *([alternate] if alternate else ())]
        known = declared is not None and not self._live
        return view.Exchange(
            link=self._places.link("exchange", name),
            type=network.type(name),
            origin=network.origins.of_exchange(name) if known else "",
            declared=declared is not None,
            settings=settings,
            ways_out=[self._way(step, step.kind, step.destination) for step in steps],
            ways_in=list(self._into("exchange", name)),
            rights=list(
                rights.on_exchange(
                    self._everyone, name, is_topic=permissions.is_topic(self._written, name)
                )
            ),
            doubts=list(self._origins.doubts("exchanges", name)) if name else [],
        )

    def _into(self, kind: str, name: str) -> Iterator[view.Way]:
        for step in self._network.incoming.get((kind, name), ()):
            yield self._way(step, "exchange", step.source)
        for source in self._places.alternate_of.get(name, ()) if kind == "exchange" else ():
            alternate = self._network.alternate(source)
            if alternate is not None:
                yield self._way(alternate, "exchange", source)

    def _way(self, step: Step, kind: str, name: str) -> view.Way:
        path = "" if self._live else step.path
        return view.Way(other=self._places.link(kind, name), by=ways.by(step), path=path)

    def _queue(self, name: str) -> view.Queue:
        queue = self._whole.queues[name]
        fields = [*_PROPERTIES, *(() if self._live else ("on_delete",))]
        settings = [self._origins.property("queues", name, one) for one in fields]
        settings += self._origins.queue(name)
        exchange = self._network.context.settings[name].get("dead-letter-exchange")
        return view.Queue(
            link=self._places.link("queue", name),
            type=queue.type.value,
            origin="" if self._live else self._network.origins.of_queue(name),
            settings=settings,
            coming=self._flows.coming(name),
            bindings=list(self._into("queue", name)),
            publishers=self._flows.publishers(name),
            dead_from=self._flows.dead_from(name),
            dead_to=self._places.link("exchange", exchange) if isinstance(exchange, str) else None,
            leaving=self._flows.leaving(name),
            rights=list(rights.on_queue(self._everyone, name)),
            doubts=list(self._origins.doubts("queues", name)),
        )

    def _of_service(self, name: str) -> view.Service:
        service = self._written.services[name]
        reaches = self._flows.reaches(name)
        queues = [one.link.name for one in reaches]
        return view.Service(
            link=self._places.link("service", name),
            principal=self._principal(name),
            exists=service.exists,
            replies=service.replies,
            publishes=[
                view.Publishing(exchange=self._places.link("exchange", exchange), keys=keys)
                for exchange, keys in services.publishes(service).items()
            ],
            consumes=[self._places.link("queue", queue) for queue in service.consumes],
            binds=[self._places.link("exchange", exchange) for exchange in service.binds],
            declares=service.declares,
            reaches=reaches,
            later=self._flows.later(name, queues),
        )

    def _principal(self, service: str) -> Principal:
        return next(one for one in self._everyone if (one.kind, one.name) == ("service", service))

    def _published(self, name: str) -> list[str]:
        """Return the exchanges that a service may publish to, as far as they are known."""
        service: Service = self._written.services[name]
        named = [*services.publishes(service), *([DEFAULT_EXCHANGE] if service.replies else ())]
        return list(dict.fromkeys(named))

    def _users(self) -> Iterator[view.User]:
        for one in self._everyone:
            if one.kind == "user":
                yield view.User(link=self._places.link("user", one.name), principal=one)

    def _policies(self) -> Iterator[view.Policy]:
        applied: dict[tuple[str, str], list[Link]] = {}
        for kind, names in (("queue", self._whole.queues), ("exchange", self._whole.exchanges)):
            for name in names:
                for key in self._origins.applying(f"{kind}s", name):
                    applied.setdefault(key, []).append(self._places.link(kind, name))
        for section, kind in (("policies", "policy"), ("operator_policies", "operator policy")):
            for name, policy in getattr(self._whole, section).items():
                yield view.Policy(
                    link=self._places.apart(kind, name),
                    kind=kind,
                    pattern=policy.pattern,
                    apply_to=policy.apply_to,
                    priority=policy.priority,
                    definition={
                        key: words.setting(key, value) for key, value in policy.definition.items()
                    },
                    applies=applied.get((section, name), []),
                )

    def _connections(self) -> Iterator[view.Connection]:
        listed: tuple[tuple[str, Mapping[str, Any]], ...] = (
            ("shovel", self._whole.shovels),
            ("federation upstream", self._whole.federation_upstreams),
        )
        for kind, named in listed:
            for name, one in named.items():
                stated = one.model_dump(mode="json", exclude_none=True, exclude=set(SECRETS))
                yield view.Connection(
                    link=self._places.apart(kind, name),
                    kind=kind,
                    details={key: words.plain(value) for key, value in stated.items()},
                )
