"""
Whether what a config expects of its routes holds: `rabbit-topology:expect`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rabbit_topology.config.stack import Stack
from rabbit_topology.config.words import show
from rabbit_topology.errors import Problem, path
from rabbit_topology.model import DroppedWhen, Expectation, ExpectedMessage
from rabbit_topology.model.units import duration_text
from rabbit_topology.routing import headers
from rabbit_topology.routing.across import Across
from rabbit_topology.routing.expectation_rules import misshapen, unknown
from rabbit_topology.routing.keys import Keys
from rabbit_topology.routing.lives import End
from rabbit_topology.routing.messages import Messages
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.pattern import TooComplexError, of_key, of_topic
from rabbit_topology.routing.publication import Publication, publish
from rabbit_topology.routing.reach import Reach
from rabbit_topology.routing.reports import publishing
from rabbit_topology.routing.router import is_pattern
from rabbit_topology.routing.steps import DEFAULT_EXCHANGE, exchange_text, located, place


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An expectation that does not hold, or is none."""

    problem: Problem
    publication: Publication | None = None
    """A message with which it does not hold."""


def check(stack: Stack) -> list[Failure]:
    """Return what does not hold of all that a stack's config expects.

    Raises:
        ConfigError: The config is not a topology.
    """
    if not stack.expect:
        return []
    networks = {vhost: Reach(network) for vhost, network in Network.every(stack).items()}
    return [
        failure
        for index, expectation in enumerate(stack.expect)
        for failure in _check(networks, expectation, path("expect", index))
    ]


def _check(networks: Mapping[str, Reach], expectation: Expectation, here: str) -> Iterator[Failure]:
    problems = [*misshapen(networks, expectation, here)]
    if problems:
        yield from (Failure(problem=problem) for problem in problems)
        return
    reach = networks[expectation.vhost or next(iter(networks))]
    problems = [*unknown(reach.network, expectation, here)]
    if problems:
        yield from (Failure(problem=problem) for problem in problems)
        return
    try:
        if expectation.publish is not None:
            yield from _Message(reach, expectation, expectation.publish, here).failures()
        else:
            yield from _queue(reach, expectation, here)
    except TooComplexError as error:
        yield Failure(
            problem=Problem(
                path=here,
                value="not decided",
                rule=str(error),
                fix="expect it of single routing keys instead",
            )
        )


class _Message:
    """What is expected of one message, or of all with a pattern's keys."""

    def __init__(
        self, reach: Reach, expectation: Expectation, message: ExpectedMessage, here: str
    ) -> None:
        self._reach = reach
        self._across = Across(reach)
        self._expectation = expectation
        self._message = message
        self._here = here
        self._given = {
            name: headers.value(value, numbers_alike=reach.network.numbers_alike)
            for name, value in message.headers.items()
        }

    def failures(self) -> Iterator[Failure]:
        expectation = self._expectation
        exactly = expectation.reaches_only
        for name, queues in (("reaches", expectation.reaches), ("reaches_only", exactly or ())):
            for queue in queues:
                yield from self._failure(name, self._kept_from(queue), f"does not get into {queue}")
        for queue in expectation.misses:
            yield from self._failure("misses", self._led_to(queue), f"gets into {queue}")
        for queue in self._everywhere() if exactly is not None else ():
            if queue not in (exactly or ()):
                yield from self._failure("reaches_only", self._led_to(queue), f"gets into {queue}")
        if expectation.dropped is DroppedWhen.NEVER:
            yield from self._failure("dropped", self._lost(), "gets into no queue, or may not")
        elif expectation.dropped is DroppedWhen.ALWAYS:
            for queue in self._everywhere():
                yield from self._failure("dropped", self._led_to(queue), f"gets into {queue}")
        if expectation.ends_in:
            yield from self._ends()

    def _everywhere(self) -> Iterator[str]:
        """Yield all queues that the message could get into, those of other vhosts with these."""
        network = self._reach.network
        yield from network.queues
        for vhost, other in network.links.networks.items():
            if vhost != network.vhost and network.links.into(vhost):
                yield from (located(queue, vhost, network.vhost) for queue in other.queues)

    def _failure(self, name: str, routing_key: str | None, what: str) -> Iterator[Failure]:
        """Yield a failure, if there is a routing key with which there is one."""
        if routing_key is None:
            return
        message = self._message
        every = f", as one of {show(message.routing_key)}" if self._is_pattern else ""
        to = exchange_text(message.exchange)
        yield Failure(
            problem=Problem(
                path=f"{self._here}.{name}",
                value=show(getattr(self._expectation, name)),
                rule=f"a message to {to} with {show(routing_key)}{every} {what}",
                fix="correct the bindings, or what is expected; `trace` shows its way",
            ),
            publication=self._published(routing_key),
        )

    @property
    def _is_pattern(self) -> bool:
        return is_pattern(self._message.routing_key)

    def _published(self, routing_key: str) -> Publication:
        message = self._message
        return publish(
            self._reach.network, message.exchange, routing_key, message.headers, message.expiration
        )

    def _kept_from(self, queue: str) -> str | None:
        """Return a routing key with which the message may not get into a queue, None if it does."""
        if not self._is_pattern:
            key = self._message.routing_key
            published = self._published(key)
            reached = queue in published.routed.reaches or published.beyond.get(queue, False)
            return None if reached else key
        return (self._keys - self._leading(queue, certain=True)).example()

    def _led_to(self, queue: str) -> str | None:
        """Return a routing key with which the message may get into a queue, None if it cannot."""
        if not self._is_pattern:
            key = self._message.routing_key
            published = self._published(key)
            reached = queue in published.routed.may_reach or queue in published.beyond
            return key if reached else None
        return (self._keys & self._leading(queue, certain=False)).example()

    def _lost(self) -> str | None:
        """Return a routing key with which the message may get into no queue, None if it does."""
        if not self._is_pattern:
            key = self._message.routing_key
            return None if self._published(key).kept else key
        if self._message.exchange == DEFAULT_EXCHANGE:
            names = Keys.taken(map(of_key, self._reach.network.queues))
            return (self._keys - names).example()
        arrives = self._across.kept(self._message.exchange).with_headers(self._given)
        return (self._keys - arrives).example()

    @property
    def _keys(self) -> Keys:
        return Keys.taken([of_topic(self._message.routing_key)])

    def _leading(self, queue: str, *, certain: bool) -> Keys:
        network = self._reach.network
        vhost, name = place(queue, network.vhost, network.links.networks)
        leading = self._across.to(name, vhost=vhost, certain=certain)
        here = leading.get((network.vhost, self._message.exchange), Messages())
        return here.with_headers(self._given)

    def _ends(self) -> Iterator[Failure]:
        expectation = self._expectation
        publication = self._published(self._message.routing_key)
        reason = expectation.when
        if not publication.routed.may_reach:
            yield from self._failure("ends_in", self._message.routing_key, "gets into no queue")
        for queue in sorted(publication.routed.may_reach):
            for end, last, at in publication.ends(queue, reason):
                wrong = None
                if end is not End.STAYS:
                    wrong = f"does not end in a queue: {end.value}, last in {last}"
                elif last not in expectation.ends_in:
                    wrong = f"ends in {last}"
                elif expectation.within is not None and at > expectation.within:
                    wrong = f"ends in {last} after {duration_text(at)} only"
                if wrong:
                    yield from self._failure("ends_in", self._message.routing_key, wrong)


def _queue(reach: Reach, expectation: Expectation, here: str) -> Iterator[Failure]:
    """Yield what else leads to a queue, and who else."""
    queue = expectation.queue or ""
    if expectation.only_from is not None:
        yield from _other_ways(reach, queue, expectation.only_from, here)
    if expectation.only_services is not None:
        yield from _others(reach, queue, expectation.only_services, here)


def _other_ways(reach: Reach, queue: str, allowed: Sequence[str], here: str) -> Iterator[Failure]:
    vhost, across = reach.network.vhost, Across(reach)
    ways = {(vhost, exchange): messages for exchange, messages in reach.to(queue).items()}
    for link, brought in across.brought(queue).items():
        ways |= {spot: ways.get(spot, Messages()) | more for spot, more in brought.items()}
        if not link.is_followed:
            yield Failure(
                problem=Problem(
                    path=f"{here}.only_from",
                    value=show(allowed),
                    rule=f"{link.title} may bring messages to {queue}, from where is not known: "
                    f"{link.unknown}",
                    fix="correct the link, or what is expected",
                )
            )
    for (there, exchange), messages in ways.items():
        name = located(exchange, there, vhost)
        by_name = exchange == DEFAULT_EXCHANGE  # which leads to every queue, here and there
        example = None if by_name or name in allowed else messages.example()
        if example is not None:
            yield Failure(
                problem=Problem(
                    path=f"{here}.only_from",
                    value=show(allowed),
                    rule=f"{exchange_text(name)} leads to {queue} too, for example with "
                    f"{show(example[0])}",
                    fix="correct the bindings, or what is expected",
                ),
                publication=publish(across.networks[there], exchange, *example),
            )


def _others(reach: Reach, queue: str, allowed: Sequence[str], here: str) -> Iterator[Failure]:
    for publisher, shown in publishing(reach, queue):
        name = located(publisher.name, publisher.vhost, reach.network.vhost)
        if name in allowed:
            continue
        for exchange, routing_key in list(shown.items())[:1]:
            to = exchange_text(exchange)
            yield Failure(
                problem=Problem(
                    path=f"{here}.only_services",
                    value=show(allowed),
                    rule=f"{publisher.kind} {name} can publish to {queue} too, by {to}, "
                    f"for example with {show(routing_key)}",
                    fix=f"take the permission away at {publisher.path}, or expect it",
                )
            )
