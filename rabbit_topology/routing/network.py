"""
One vhost as messages see it: exchanges, what is bound to them, and where in the config that stands.

It is made from a `Context`, which says what applies in the end; nothing is worked out twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from pydantic import JsonValue

from rabbit_topology.compiler import effective
from rabbit_topology.compiler.context import Context
from rabbit_topology.compiler.effective import Target
from rabbit_topology.config.stack import Stack
from rabbit_topology.config.words import show, suggest
from rabbit_topology.errors import TopologyError
from rabbit_topology.model import PREDECLARED_EXCHANGES, Queue, Route, Topology, versions
from rabbit_topology.model.versions import Version
from rabbit_topology.routing import headers, linking
from rabbit_topology.routing.links import Link, Links
from rabbit_topology.routing.origins import Origins
from rabbit_topology.routing.pattern import EVERY_KEY, Pattern, of_key, of_topic
from rabbit_topology.routing.steps import DEFAULT_EXCHANGE, KINDS, Kind, Shape, Step, Way, shape
from rabbit_topology.routing.tree import Patterns
from rabbit_topology.services import permissions

_NUMBERS_TOLD_APART: Version = (4, 0)
"""The first of the tested versions where a header of 1 is not one of 1.0."""


class Network:
    """The exchanges, bindings and queues of one vhost."""

    def __init__(self, context: Context, root: str = "topology", patch: str | None = None) -> None:
        """Prepare to follow messages.

        Args:
            context: The vhost.
            root: The config path that it stands at.
            patch: The broker's version in full, `4.3.0`, where the config says it.
        """
        self.context = context
        self.origins = Origins(context, root)
        self.vhost = context.written.vhost
        self.numbers_alike = context.like[-1] < _NUMBERS_TOLD_APART
        self.mixes_empty_keys = patch is not None and patch.startswith("4.3.0")
        self.queues: Mapping[str, Queue] = context.whole.queues
        self.shapes: dict[str, Shape] = {
            **{
                name: Shape(type=type_, kind=KINDS[type_])
                for name, type_ in PREDECLARED_EXCHANGES.items()
            },
            **{name: shape(exchange) for name, exchange in context.whole.exchanges.items()},
        }
        self.steps: dict[str, list[Step]] = {}
        self.incoming: dict[tuple[str, str], list[Step]] = {}
        self.taps: dict[str, list[Step]] = {}
        """By exchange: the ways to the queues that links have of their own."""
        self.links = Links()
        for route, where in zip(_routes(context.whole), self.origins.of_routes(), strict=True):
            step = self.step(route, where)
            self.steps.setdefault(route.source, []).append(step)
            self.incoming.setdefault((step.kind, step.destination), []).append(step)
        self._by_key: dict[str, dict[str, list[Step]]] = {}
        self._trees: dict[str, tuple[Patterns, dict[Pattern, list[Step]]]] = {}
        self._others: dict[str, list[Step]] = {}
        for source, steps in self.steps.items():
            self._sort(source, steps)

    @classmethod
    def every(cls, stack: Stack) -> dict[str, Network]:
        """Return the vhosts of a stack, by name.

        Raises:
            ConfigError: The config is not a topology.
        """
        stack.check()
        version = stated_version(stack)
        networks = {
            written.vhost: cls(
                Context(written=written, whole=stack.whole[root], version=version),
                root,
                stack.broker.version,
            )
            for root, written in stack.written.items()
        }
        linking.connect(stack.broker, networks)
        return networks

    def tap(self, steps: Iterable[Step]) -> None:
        """Add the ways to queues that links have of their own."""
        added: dict[str, list[Step]] = {}
        for step in steps:
            added.setdefault(step.source, []).append(step)
            self.incoming.setdefault((step.kind, step.destination), []).append(step)
        for source, taps in added.items():
            self.taps.setdefault(source, []).extend(taps)
            self._sort(source, self.ways(source))

    def ways(self, exchange: str) -> list[Step]:
        """Return the ways on from an exchange: its bindings, and those of links."""
        return [*self.steps.get(exchange, ()), *self.taps.get(exchange, ())]

    def taking(self, queue: str) -> list[Link]:
        """Return the links that take messages out of a queue, or may."""
        return self.links.taking(self.vhost, queue)

    def surely_taken(self, queue: str) -> bool:
        """Return whether a link certainly takes what is in a queue, so that it does not stay."""
        return any(not link.doubt and not link.copies for link in self.taking(queue))

    def known(self, exchange: str) -> bool:
        """Return whether an exchange is declared here, or one that every vhost has."""
        return exchange in self.shapes or exchange == DEFAULT_EXCHANGE

    def check(self, exchange: str) -> None:
        """Accept an exchange that there is, or that a service may declare.

        Raises:
            TopologyError: There is no such exchange.
        """
        if not self.known(exchange) and not self.declarers(exchange):
            raise TopologyError(
                f"{show(exchange)} is not an exchange of vhost {self.vhost}; "
                f"{suggest(exchange, self.shapes)}"
            )

    def check_queue(self, queue: str) -> None:
        """Accept a queue that there is.

        Raises:
            TopologyError: There is no such queue.
        """
        if queue not in self.queues:
            raise TopologyError(
                f"{show(queue)} is not a queue of vhost {self.vhost}; {suggest(queue, self.queues)}"
            )

    def kind(self, exchange: str) -> Kind:
        """Return how an exchange chooses; of one that is not known here, `UNKNOWN`."""
        if exchange == DEFAULT_EXCHANGE:
            return Kind.DIRECT
        return self.shapes[exchange].kind if exchange in self.shapes else Kind.UNKNOWN

    def type(self, exchange: str) -> str:
        """Return an exchange's type as users write it."""
        if exchange == DEFAULT_EXCHANGE:
            return "default"
        return self.shapes[exchange].type if exchange in self.shapes else "not declared here"

    def chosen(
        self, exchange: str, routing_keys: Iterable[str], given: Mapping[str, headers.Value | None]
    ) -> list[Step]:
        """Return the bindings that take a message, or may; not the alternate exchange."""
        routing_keys = tuple(dict.fromkeys(routing_keys))
        if exchange == DEFAULT_EXCHANGE:
            return [self._by_name(key) for key in routing_keys if key in self.queues]
        steps = [
            step for key in routing_keys for step in self._by_key.get(exchange, {}).get(key, ())
        ]
        if exchange in self._trees:
            tree, by_pattern = self._trees[exchange]
            numbers = {number for key in routing_keys for number in tree.taking(of_key(key))}
            steps += (step for number in sorted(numbers) for step in by_pattern[tree.all[number]])
        steps += (step for step in self._others.get(exchange, ()) if step.takes(given))
        if self.mixes_empty_keys and self.kind(exchange) is Kind.TOPIC and "" in routing_keys:
            steps += self._mixed_up(exchange)
        return steps

    def alternate(self, exchange: str) -> Step | None:
        """Return the way to an exchange's alternate exchange, None if it has none."""
        name = self._alternates.get(exchange)
        if name is None:
            return None
        return Step(
            source=exchange,
            way=Way.ALTERNATE,
            kind="exchange",
            destination=name,
            path=self.origins.of_setting("exchanges", exchange, "alternate-exchange"),
        )

    def declarers(self, exchange: str) -> list[str]:
        """Return the services that may declare a queue or an exchange of this name themselves."""
        services = self.context.written.services
        return [
            name for name, service in services.items() if permissions.declares(service, exchange)
        ]

    def binders(self, exchange: str) -> list[str]:
        """Return the services that may bind queues of their own to an exchange."""
        services = self.context.written.services
        return [
            name
            for name, service in services.items()
            if exchange in service.binds or permissions.declares(service, exchange)
        ]

    @cached_property
    def _alternates(self) -> Mapping[str, str]:
        """Those of exchanges declared here, and those that policies give to the broker's own."""
        own = dict(self.context.alternates)
        rules = effective.rules(
            self.context.whole.policies,
            self.context.whole.operator_policies,
            self.context.like[-1:],
        )
        for name in PREDECLARED_EXCHANGES:
            for rule in rules:
                (possible, *_) = rule.possible(Target(kind="exchanges", name=name), {})
                if isinstance(alternate := possible.get("alternate-exchange"), str):
                    own.setdefault(name, alternate)
        return own

    def step(self, route: Route, where: str) -> Step:
        """Return a binding as a way on from its source."""
        kind = self.kind(route.source)
        pattern, condition = EVERY_KEY, None
        match kind:
            case Kind.DIRECT:
                pattern = of_key(route.routing_key)
            case Kind.TOPIC:
                pattern = of_topic(route.routing_key)
            case Kind.HEADERS:
                condition = headers.condition(
                    _whole_numbers(route.arguments), numbers_alike=self.numbers_alike
                )
        return Step(
            source=route.source,
            way=Way.BINDING,
            kind=route.kind,
            destination=route.destination,
            path=where,
            routing_key=route.routing_key,
            arguments=route.arguments,
            pattern=pattern,
            condition=condition,
        )

    def _sort(self, source: str, steps: list[Step]) -> None:
        """Arrange an exchange's bindings so that they need not be tried one by one."""
        match self.kind(source):
            case Kind.DIRECT:
                by_key = self._by_key[source] = {}
                for step in steps:
                    by_key.setdefault(step.routing_key, []).append(step)
            case Kind.TOPIC:
                by_pattern: dict[Pattern, list[Step]] = {}
                for step in steps:
                    by_pattern.setdefault(step.pattern, []).append(step)
                self._trees[source] = Patterns(by_pattern), by_pattern
            case _:
                self._others[source] = steps

    def _by_name(self, queue: str) -> Step:
        return Step(
            source=DEFAULT_EXCHANGE,
            way=Way.NAME,
            kind="queue",
            destination=queue,
            path=self.origins.of_queue(queue),
            routing_key=queue,
            pattern=of_key(queue),
        )

    def _mixed_up(self, exchange: str) -> Iterator[Step]:
        for source, (_, by_pattern) in self._trees.items():
            for step in by_pattern.get((), ()) if source != exchange else ():
                yield Step(
                    source=exchange,
                    way=Way.BUG,
                    kind=step.kind,
                    destination=step.destination,
                    path=step.path,
                    pattern=(),
                )


def stated_version(stack: Stack) -> Version | None:
    """Return the broker's version as the config says it, None if it does not, or is no version."""
    try:
        return versions.parse(stack.broker.version) if stack.broker.version else None
    except ValueError:  # a rule says so
        return None


def _whole_numbers(arguments: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return arguments as they reach the broker: Go, the provider's language, sends 1.0 as 1."""
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in arguments.items()
    }


def _routes(whole: Topology) -> list[Route]:
    return list(whole.routes())
