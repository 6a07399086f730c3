"""
Advice about ways that messages take, or do not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from urllib.parse import urlsplit

from rabbit_topology.compiler import regexes
from rabbit_topology.compiler.context import Context, of_exchange, of_queue
from rabbit_topology.config.words import NOT_SHOWN, show
from rabbit_topology.errors import Problem, path
from rabbit_topology.findings import GradedProblem, Rule, Severity, advice
from rabbit_topology.model import PREDECLARED_EXCHANGES, Permissions
from rabbit_topology.routing.router import Router, is_pattern

_ANY_NAME = "a name of nothing in particular"
_EXPRESSION = re.compile(r"[|\\]|\(.*\)|\[.*\]")
"""What looks like a regular expression."""


@advice(
    "topic-key",
    Severity.WARNING,
    "Exchanges",
    "in a topic key `*` and `#` stand for whole words, and nothing else means anything",
)
def topic_key(context: Context) -> Iterator[Problem]:
    """Yield routing keys of topic bindings that are meant as more than they are."""
    for where, key in topic_keys(context):
        parts = [word for word in key.split(".") if len(word) > 1]
        if _EXPRESSION.search(key) or any("*" in word or "#" in word for word in parts):
            yield Problem(
                path=where,
                value=show(key),
                rule="it takes this very text only, but for `*` and `#` that stand alone "
                "between dots",
                fix="bind each of the keys that it is for, or use a word of its own",
            )


def topic_keys(context: Context) -> Iterator[tuple[str, str]]:
    """Yield the routing keys of bindings from topic exchanges, each with its config path."""
    topics = {
        name for name, exchange in context.whole.exchanges.items() if exchange.type == "topic"
    }
    topics |= {name for name, type_ in PREDECLARED_EXCHANGES.items() if type_ == "topic"}
    for index, binding in enumerate(context.written.bindings):
        for key in {route.routing_key for route in binding.routes() if route.source in topics}:
            yield path("topology", "bindings", index, "routing_key"), key


@advice(
    "unbound-exchange",
    Severity.WARNING,
    "AMQP 0-9-1 Model Explained",
    "what is published to it is dropped, or returned to publishers that ask for it",
)
def unbound_exchange(context: Context) -> Iterator[Problem | GradedProblem]:
    """Yield exchanges without bindings, except those to which services bind their own queues.

    A user who may bind to every exchange may bind to this one: then it is less, unless dead letters
    or what is unroutable goes there.
    """
    relied = context.dead_letter_targets | set(context.alternates.values())
    anyone = _anyone(context, lambda permissions: permissions.read)
    bound = {route.source for route in context.whole.routes()} | context.alternates.keys()
    bind = _able(
        ({*service.binds, *service.declares} for service in context.written.services.values()),
        _allowed(context, lambda permissions: permissions.read),
    )
    for name, _ in context.exchanges():
        if name not in bound and not bind(name):
            problem = Problem(
                path=of_exchange(name),
                value="no binding",
                rule="nothing that is published to it arrives anywhere",
                fix="bind a queue, set `alternate` or `unroutable`, or name it in a service's "
                "`binds`",
            )
            lesser = anyone and name not in relied
            yield GradedProblem(severity=Severity.NOTE, problem=problem) if lesser else problem


@advice(
    "unfed-queue",
    Severity.NOTE,
    "AMQP 0-9-1 Model Explained",
    "messages get into a queue by bindings, or by its name through the default exchange",
)
def unfed_queue(context: Context) -> Iterator[Problem | GradedProblem]:
    """Yield queues that no binding feeds; worse where no service can publish to them by name."""
    fed = {route.destination for route in context.whole.routes() if route.kind == "queue"}
    fed |= {shovel.destination_queue or "" for shovel in context.written.shovels.values()}
    services = context.written.services.values()
    declare = _able((set(service.declares) for service in services), [])
    by_name = not services or any(service.replies for service in services) or context.written.users
    for name, _ in context.queues():
        if name in fed or declare(name) or context.written.federation_upstreams:
            continue
        problem = Problem(
            path=of_queue(name),
            value="no binding",
            rule="no exchange leads to it"
            + ("" if by_name else ", and no service may publish to it by its name"),
            fix="bind it, or remove it",
        )
        yield problem if by_name else GradedProblem(severity=Severity.WARNING, problem=problem)


@advice(
    "unconsumed-queue",
    Severity.WARNING,
    "Consumers",
    "messages pile up in it without end",
)
def unconsumed_queue(context: Context) -> Iterator[Problem | GradedProblem]:
    """Yield queues that no service, user or shovel consumes, where there are services at all.

    Not those that messages wait in until they expire, nor those that dead letters rest in. A user
    who may consume every queue may consume this one: then it is less.
    """
    services = context.written.services.values()
    if not services:
        return
    targets = context.dead_letter_targets | set(context.alternates.values())
    resting = {route.destination for route in context.whole.routes() if route.source in targets}
    consume = _able(
        ({*permissions.consumes, *permissions.declares} for permissions in services),
        _allowed(context, lambda permissions: permissions.read),
    )
    taken = {shovel.source_queue for shovel in context.written.shovels.values()}
    anyone = _anyone(context, lambda permissions: permissions.read)
    for name, queue in context.queues():
        settings = context.settings[name]
        waiting = {"message-ttl", "dead-letter-exchange"} <= settings.keys()
        if waiting or name in resting or name in taken or consume(name):
            continue
        problem = Problem(
            path=of_queue(name),
            value=f"a {queue.type} queue",
            rule="no service consumes it",
            fix="name it in a service's `consumes`, or remove it",
        )
        yield GradedProblem(severity=Severity.NOTE, problem=problem) if anyone else problem


@advice(
    "unpublished-exchange",
    Severity.NOTE,
    "Publishers",
    "an exchange that nobody publishes to leads nothing anywhere",
)
def unpublished_exchange(context: Context) -> Iterator[Problem]:
    """Yield exchanges that no service, user, shovel, queue or other exchange sends to, where there
    are services at all.
    """
    services = context.written.services.values()
    if not services or context.written.federation_upstreams:
        return
    fed = {route.destination for route in context.whole.routes() if route.kind == "exchange"}
    fed |= context.dead_letter_targets | set(context.alternates.values())
    fed |= {shovel.destination_exchange or "" for shovel in context.written.shovels.values()}
    publish = _able(
        ({*(one.exchange for one in service.publishes), *service.declares} for service in services),
        _allowed(context, lambda permissions: permissions.write),
    )
    for name, exchange in context.exchanges():
        if name not in fed and not publish(name) and not exchange.delays:
            yield Problem(
                path=of_exchange(name),
                value=f"a {exchange.type} exchange",
                rule="no service publishes to it",
                fix="name it in a service's `publishes`, or remove it",
            )


@advice(
    "unrouted-publish",
    Severity.WARNING,
    "Publishers",
    "what no binding takes is dropped, or returned to publishers that ask for it",
)
def unrouted_publish(context: Context) -> Iterator[Problem]:
    """Yield routing keys that a service publishes with and no binding takes."""
    services = context.written.services
    if not services:
        return
    router = Router(context)
    bind = _able(
        ({*one.binds, *one.declares} for one in services.values()),
        _allowed(context, lambda permissions: permissions.read),
    )
    for name, service in services.items():
        for index, publish in enumerate(service.publishes):
            if (
                not router.by_key(publish.exchange)
                or bind(publish.exchange)
                or not router.bound(publish.exchange)
            ):
                continue
            for key in publish.keys():  # noqa: SIM118 - a method of its own, it is no mapping
                if not is_pattern(key) and not router.targets(publish.exchange, key):
                    yield Problem(
                        path=path("topology", "services", name, "publishes", index),
                        value=show(key),
                        rule=f"no binding of exchange {publish.exchange} takes this routing key",
                        fix="bind a queue with it, or set `unroutable: true` on the exchange",
                    )


@advice(
    "consumed-while-waiting",
    Severity.WARNING,
    "Dead Letter Exchanges",
    "messages wait there until they expire: one that is consumed does not come back",
)
def consumed_while_waiting(context: Context) -> Iterator[Problem]:
    """Yield services that consume a queue which `retry` or `delays` keep messages in."""
    for name, service in context.written.services.items():
        for index, queue in enumerate(service.consumes):
            made = queue not in context.written.queues
            if made and "message-ttl" in context.settings.get(queue, {}):
                yield Problem(
                    path=path("topology", "services", name, "consumes", index),
                    value=show(queue),
                    rule="it is where messages wait for their next try or their time",
                    fix="consume the queue that they come back to",
                )


@advice(
    "shovel-within-broker",
    Severity.WARNING,
    "Dynamic Shovels",
    "the provider cannot read a queue back that is consumed from inside the broker: `pulumi up "
    "--refresh` fails, decoding peer_port",
)
def shovel_within_broker(context: Context) -> Iterator[Problem]:
    """Yield shovels that consume a queue of the stack without a network connection."""
    for name, shovel in context.written.shovels.items():
        queue = shovel.source_queue
        local = shovel.source_uri.startswith(("amqp:", "amqps:")) and not _host(shovel.source_uri)
        if local and queue in context.written.queues:
            yield Problem(
                path=path("topology", "shovels", name, "source_uri"),
                value=NOT_SHOWN,
                rule="without a host it connects inside the broker, to consume "
                f"{of_queue(queue or '')}",
                fix="write a host, amqp://user:password@host/vhost, as a Pulumi secret",
            )


def _host(uri: str) -> str | None:
    try:
        return urlsplit(uri).hostname
    except ValueError:  # brackets that are not closed: the broker says so
        return uri


def _allowed(context: Context, which: Callable[[Permissions], str]) -> list[re.Pattern[str]]:
    """Return the patterns of what users may do, written by hand; not those for everything.

    Most users of most brokers may do everything, which says nothing about what they do.
    """
    return [pattern for pattern in _patterns(context, which) if not pattern.search(_ANY_NAME)]


def _anyone(context: Context, which: Callable[[Permissions], str]) -> bool:
    """Return whether a user may do something with every exchange or queue."""
    return any(pattern.search(_ANY_NAME) for pattern in _patterns(context, which))


def _patterns(context: Context, which: Callable[[Permissions], str]) -> list[re.Pattern[str]]:
    written = [user.permissions for user in context.written.users.values() if user.permissions]
    patterns = [regexes.compiled(which(permissions)) for permissions in written]
    return [pattern for pattern in patterns if pattern is not None]


def _able(names: Iterable[set[str]], allowed: Iterable[re.Pattern[str]]) -> Callable[[str], bool]:
    """Return a function that tells whether a name is one of these, or may be used by a user.

    ``*`` at the end of a name is any rest.
    """
    exact: set[str] = set().union(*names)
    beginnings = tuple(name[:-1] for name in exact if name.endswith("*"))
    return partial(_is_able, exact, beginnings, tuple(allowed))


def _is_able(
    exact: set[str], beginnings: tuple[str, ...], allowed: tuple[re.Pattern[str], ...], name: str
) -> bool:
    return (
        name in exact
        or name.startswith(beginnings)
        or any(pattern.search(name) for pattern in allowed)
    )


RULES: tuple[Rule[Context], ...] = (
    topic_key,
    unbound_exchange,
    unfed_queue,
    unconsumed_queue,
    unpublished_exchange,
    unrouted_publish,
    consumed_while_waiting,
    shovel_within_broker,
)
