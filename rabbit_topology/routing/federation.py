"""
Federation upstreams as links, and what federated exchanges ask their upstreams for.

A federated exchange has each of its bindings at the upstream exchange as well, where they lead to
the link's own queue; and there they count as that exchange's bindings, for its own upstreams.
Source: "Federated Exchanges", "Federated Queues", "Federation Reference", RabbitMQ documentation;
`rabbit_federation_upstream`, update_binding/2 of `rabbit_federation_exchange_link`.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydantic import JsonValue

from rabbit_topology.compiler import effective, regexes, whereabouts
from rabbit_topology.compiler.effective import Target
from rabbit_topology.errors import path
from rabbit_topology.model import Broker, QueueType
from rabbit_topology.routing.headers import X_MATCH
from rabbit_topology.routing.links import Carrier, Link, Place
from rabbit_topology.routing.steps import Kind, Step, Way

if TYPE_CHECKING:
    from rabbit_topology.routing.network import Network

_UPSTREAM = "federation-upstream"
_SET = "federation-upstream-set"
_PATTERN = "federation-upstream-pattern"
_HOPS = 1
"""Links that a message may come over, where the upstream does not say it."""
_MARK = "x-received-from"


def links(networks: Mapping[str, Network], broker: Broker) -> Iterator[Link]:
    """Yield every link of federated exchanges and queues."""
    for network in networks.values():
        yield from _Downstream(networks, network, broker).links()


class _Downstream:
    """A vhost with federated exchanges and queues."""

    def __init__(self, networks: Mapping[str, Network], network: Network, broker: Broker) -> None:
        self._networks = networks
        self._network = network
        self._addresses = whereabouts.addresses(broker)
        self._upstreams = network.context.written.federation_upstreams

    def links(self) -> Iterator[Link]:
        for kind, name, settings in self._federated():
            for upstream in self._named(settings):
                link = self._link(kind, name, upstream)
                if link.source != link.target:
                    yield link

    def _federated(self) -> Iterator[tuple[str, str, Mapping[str, JsonValue]]]:
        context = self._network.context
        whole = context.whole
        every = (*whole.policies.values(), *whole.operator_policies.values())
        if not any({_UPSTREAM, _SET, _PATTERN} & policy.definition.keys() for policy in every):
            return
        rules = effective.rules(whole.policies, whole.operator_policies, context.like[-1:])
        for name in self._network.shapes:
            for rule in rules:
                (possible, *_) = rule.possible(Target(kind="exchanges", name=name), {})
                yield "exchange", name, possible
        for name, settings in context.settings.items():
            if whole.queues[name].type is not QueueType.STREAM:
                yield "queue", name, settings

    def _named(self, settings: Mapping[str, JsonValue]) -> list[str]:
        """Return the upstreams that a federated exchange or queue has."""
        match settings:
            case {"federation-upstream": str(name)}:
                return [name]
            case {"federation-upstream-set": "all"}:  # those of the vhost
                return [*self._upstreams]
            case {"federation-upstream-set": str(name)}:
                return [f"set {name}"]
            case {"federation-upstream-pattern": str(pattern)}:
                return [name for name in self._upstreams if regexes.matches(pattern, name)]
        return []

    def _link(self, kind: str, name: str, upstream: str) -> Link:
        vhost = self._network.vhost
        target = Place(vhost=vhost, kind=kind, name=name)
        where = self._network.origins.at(path("topology", "federation_upstreams", upstream))
        link = Link(
            carrier=Carrier.FEDERATION,
            name=upstream,
            path=where,
            target=target,
            adds=(_MARK,),
        )
        described = self._upstreams.get(upstream)
        if described is None:
            return replace(link, unknown=f"no upstream {upstream} is declared")
        there = whereabouts.of(described.uri, self._addresses, vhost)
        if there.vhost is None:
            return replace(link, unknown=there.unknown)
        if there.vhost not in self._networks:
            return replace(link, unknown=f"vhost {there.vhost} is not in the config")
        own = described.exchange if kind == "exchange" else described.queue
        source = Place(vhost=there.vhost, kind=kind, name=own or name)
        if kind == "exchange":
            hops = _HOPS if described.max_hops is None else described.max_hops
            return replace(link, source=source, max_hops=hops)
        return replace(
            link,
            source=source,
            routing_key=name,
            copies_count=False,
            doubt=f"as long as consumers of {target.text(there.vhost)} take more than is there, "
            "and nobody else takes it",
        )


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A binding as it counts for the upstreams of its exchange."""

    routing_key: str
    arguments: Mapping[str, JsonValue]
    path: str
    hops: int | None = None
    """Links that it may be passed on over, by those that it came over; None: it is one's own."""
    seen: frozenset[str] = frozenset()
    """Vhosts of the federated exchanges that it came from."""

    @property
    def identity(self) -> tuple[object, object, object, object]:
        """What no other one at the same exchange has."""
        return self.routing_key, json.dumps(self.arguments, sort_keys=True), self.hops, self.seen


def taps(networks: Mapping[str, Network], links: Iterable[Link]) -> None:
    """Bind the queues of links of federated exchanges to their upstream exchanges."""
    federated = [link for link in links if link.is_followed and link.max_hops is not None]
    for link in federated:
        _declare(networks, link)
    seen: set[object] = set()
    ways: dict[str, dict[object, Step]] = {}
    left = deque((link, one) for link in federated for one in _own(networks, link))
    while left:
        link, one = left.popleft()
        passed = _passed_on(link, one)
        if passed is None or link.source is None or link.source.name is None:
            continue
        if (link.key, passed.identity) in seen:
            continue
        seen.add((link.key, passed.identity))
        network = networks[link.source.vhost]
        step = link.tap(network, passed.routing_key, passed.arguments, passed.path)
        if not (network.kind(link.source.name) is Kind.HEADERS and _never(passed.arguments)):
            ways.setdefault(network.vhost, {}).setdefault((link.key, *passed.identity[:2]), step)
        left += ((other, passed) for other in federated if other.target == link.source)
    for vhost, steps in ways.items():
        networks[vhost].tap(steps.values())


def _never(arguments: Mapping[str, JsonValue]) -> bool:
    """Return whether no message is taken, since a link adds `x-bound-from` to what is asked."""
    return arguments.get(X_MATCH) == "all-with-x"


def _own(networks: Mapping[str, Network], link: Link) -> Iterator[_Asked]:
    """Yield the bindings of a federated exchange, shovels' included."""
    if link.target is not None and link.target.name is not None:
        for step in networks[link.target.vhost].ways(link.target.name):
            if step.way is Way.BINDING or step.kind == "link":
                yield _Asked(routing_key=step.routing_key, arguments=step.arguments, path=step.path)


def _passed_on(link: Link, one: _Asked) -> _Asked | None:
    """Return a binding of a link's federated exchange at the upstream's; None: it stays away."""
    if link.source is None or link.target is None or link.max_hops is None:
        return None
    hops = link.max_hops if one.hops is None else min(one.hops - 1, link.max_hops)
    if hops < 1 or link.source.vhost in one.seen:
        return None
    return replace(one, hops=hops, seen=one.seen | {link.target.vhost})


def _declare(networks: Mapping[str, Network], link: Link) -> None:
    """Note an upstream exchange that nothing declares: the link declares it like its own."""
    if link.source is None or link.target is None or link.source.name is None:
        return
    there, here = networks[link.source.vhost], networks[link.target.vhost]
    if link.target.name in here.shapes:
        there.shapes.setdefault(link.source.name, here.shapes[link.target.name])
