"""
What is wrong with an expectation itself, before it is asked whether it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from rabbit_topology.config.words import show, suggest
from rabbit_topology.errors import Problem, path
from rabbit_topology.model import Expectation, ExpectedMessage
from rabbit_topology.routing.message import COPIES
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.router import is_pattern
from rabbit_topology.routing.steps import located

_OF_MESSAGE = ("reaches", "reaches_only", "misses", "dropped", "ends_in")
_OF_QUEUE = ("only_from", "only_services")


def misshapen(
    networks: Mapping[str, object], expectation: Expectation, here: str
) -> Iterator[Problem]:
    """Yield why an expectation says nothing, or contradicts itself."""
    given = expectation.model_fields_set
    about, other = ("publish", "queue") if expectation.publish else ("queue", "publish")
    own, others = (_OF_MESSAGE, _OF_QUEUE) if expectation.publish else (_OF_QUEUE, _OF_MESSAGE)
    if (expectation.publish is None) == (expectation.queue is None):
        yield Problem(
            path=here,
            value="both given" if expectation.publish else "neither given",
            rule="it is about a message, `publish:`, or about a queue, `queue:`",
            fix="write {publish: {exchange: orders, routing_key: order.new}, reaches: [billing]}",
        )
        return
    for name in others:
        if name in given:
            yield Problem(
                path=f"{here}.{name}",
                value=show(getattr(expectation, name)),
                rule=f"it goes with `{other}:`",
                fix=f"with `{about}:` there are {', '.join(own)}",
            )
    if not any(name in given for name in own):
        yield Problem(
            path=here,
            value=about,
            rule="it expects nothing",
            fix=f"write one of {', '.join(own)}",
        )
    for name in ("when", "within"):
        if name in given and "ends_in" not in given:
            yield Problem(
                path=f"{here}.{name}",
                value=show(getattr(expectation, name)),
                rule="it is about where a message ends",
                fix="write `ends_in:` with it",
            )
    if expectation.vhost is None and len(networks) > 1:
        yield Problem(
            path=f"{here}.vhost",
            value="missing",
            rule="the stack has several vhosts",
            fix=f"write one of {', '.join(networks)}",
        )
    elif expectation.vhost is not None and expectation.vhost not in networks:
        yield _unknown_name(f"{here}.vhost", expectation.vhost, "vhost", networks)


def unknown(network: Network, expectation: Expectation, here: str) -> Iterator[Problem]:
    """Yield names that nothing has."""
    vhosts = {network.vhost: network, **network.links.networks}
    services = _names(network, {name: _publishers(one) for name, one in vhosts.items()})
    exchanges = _names(network, {name: one.shapes for name, one in vhosts.items()})
    queues = _names(network, {name: one.queues for name, one in vhosts.items()})
    message = expectation.publish
    if message is not None:
        where = f"{here}.publish"
        if not network.known(message.exchange) and not network.declarers(message.exchange):
            known_here = [*network.shapes]
            yield _unknown_name(f"{where}.exchange", message.exchange, "exchange", known_here)
        yield from _wrong_message(expectation, message, here)
    for name in ("reaches", "reaches_only", "misses", "ends_in"):
        for number, queue in enumerate(getattr(expectation, name) or ()):
            if queue not in queues:
                where = f"{here}.{path(name, number)}"
                yield _unknown_name(where, queue, "queue", queues)
    if expectation.queue is not None and expectation.queue not in network.queues:
        yield _unknown_name(f"{here}.queue", expectation.queue, "queue", network.queues)
    for name, known in (("only_from", exchanges), ("only_services", services)):
        for number, one in enumerate(getattr(expectation, name) or ()):
            if one not in known:
                what = "exchange" if name == "only_from" else "service"
                yield _unknown_name(f"{here}.{path(name, number)}", one, what, known)


def _publishers(network: Network) -> list[str]:
    written = network.context.written
    return [*written.services, *written.users]


def _names(network: Network, by_vhost: Mapping[str, Iterable[str]]) -> list[str]:
    """Return names, those of other vhosts with them."""
    return [
        located(name, vhost, network.vhost) for vhost, names in by_vhost.items() for name in names
    ]


def _wrong_message(
    expectation: Expectation, message: ExpectedMessage, here: str
) -> Iterator[Problem]:
    pattern = is_pattern(message.routing_key)
    if pattern and expectation.ends_in:
        yield Problem(
            path=f"{here}.publish.routing_key",
            value=show(message.routing_key),
            rule="where a message ends is told of one routing key",
            fix="write a key without `*` and `#`",
        )
    for name in COPIES:
        copies = message.headers.get(name, [])
        if not isinstance(copies, list) or not all(isinstance(copy, str) for copy in copies):
            yield Problem(
                path=f"{here}.publish.headers.{name}",
                value=show(copies),
                rule="it is a list of routing keys: the broker refuses others",
                fix=f"write {name}: [order.copy]",
            )
        elif copies and pattern:
            yield Problem(
                path=f"{here}.publish.headers.{name}",
                value=show(copies),
                rule="copies are told of one routing key",
                fix="write a routing key without `*` and `#`",
            )


def _unknown_name(where: str, name: str, what: str, known: Iterable[str]) -> Problem:
    return Problem(
        path=where, value=show(name), rule=f"it is not a declared {what}", fix=suggest(name, known)
    )
