"""
Advice about single queues and the vhost.
"""

from __future__ import annotations

from collections.abc import Iterator

from rabbit_topology.compiler.context import Context, of_exchange, of_queue
from rabbit_topology.compiler.settings import ALL
from rabbit_topology.config.words import NameIndex, misspelt, show, suggest
from rabbit_topology.errors import Problem, path
from rabbit_topology.findings import GradedProblem, Rule, Severity, advice
from rabbit_topology.lint.severities import denied
from rabbit_topology.model import PREDECLARED_EXCHANGES, Queue, QueueType
from rabbit_topology.model.units import duration_text
from rabbit_topology.model.versions import text

_CLASSIC, _QUORUM, _STREAM = QueueType.CLASSIC, QueueType.QUORUM, QueueType.STREAM

_CONSUMER_TIMEOUT = 30 * 60 * 1000
"""Milliseconds: what the broker gives a consumer unless told otherwise."""

_OF_TYPE = {f"x-{setting.key}": setting for setting in ALL if setting.arguments}
"""Arguments that queues of other types are refused with."""

_ARGUMENTS = NameIndex(f"x-{setting.key}" for setting in ALL)

_OF_CONSUMERS = frozenset(("x-priority", "x-stream-offset", "x-stream-filter", "x-credit"))


@advice(
    "no-dead-letter",
    Severity.NOTE,
    "Quorum Queues",
    "from RabbitMQ 4.0 on a quorum queue drops a message that was returned 20 times",
)
def no_dead_letter(context: Context) -> Iterator[Problem]:
    """Yield quorum queues without a dead-letter exchange, except dead-letter queues."""
    kept = {
        route.destination
        for route in context.whole.routes()
        if route.source in context.dead_letter_targets
    }
    for name, queue in context.queues():
        settings = context.settings[name]
        if (
            queue.type is _QUORUM
            and name not in kept
            and not {"dead-letter-exchange"} & settings.keys()
            and settings.get("delivery-limit") != -1
        ):
            yield Problem(
                path=of_queue(name),
                value="no dead_letter",
                rule="what its consumers return again and again is dropped in the end",
                fix="write `dead_letter: true` or `retry`, or `delivery_limit: -1` for no limit",
            )


@advice(
    "drops-oldest",
    Severity.WARNING,
    "Queue Length Limit",
    "beyond its limit a queue drops the oldest messages, and no publisher is told",
)
def drops_oldest(context: Context) -> Iterator[Problem]:
    """Yield limits without a word about what happens beyond them."""
    dangling = {where for where, _ in _dangling(context)}
    for name, queue in context.queues():
        settings = context.settings[name]
        lost = of_queue(name, "arguments", "x-dead-letter-exchange") in dangling
        kept = "dead-letter-exchange" in settings and not lost
        if queue.type is _STREAM or "overflow" in settings or kept:
            continue
        for key in ("max-length", "max-length-bytes"):
            own = _own(name, queue, key)
            if own:
                yield _drops(own, settings[key])
    for where, policy in context.policies():
        if (
            policy.apply_to in ("exchanges", "streams")
            or where.startswith("topology.operator_policies")  # what it limits says the rest
            or {"overflow", "dead-letter-exchange"} & policy.definition.keys()
        ):
            continue
        for key in sorted({"max-length", "max-length-bytes"} & policy.definition.keys()):
            yield _drops(f"{where}.{path('definition', key)}", policy.definition[key])


@advice(
    "dangling-argument",
    Severity.WARNING,
    "Dead Letter Exchanges",
    "what is sent to an exchange that does not exist is lost without a word",
)
def dangling_argument(context: Context) -> Iterator[Problem]:
    """Yield arguments that name dead-letter and alternate exchanges which the stack has not.

    In a setting that is refused; an argument may have come with a queue that is older.
    """
    known = NameIndex({*context.whole.exchanges, *PREDECLARED_EXCHANGES})
    for where, exchange in _dangling(context):
        yield Problem(
            path=where,
            value=show(exchange),
            rule="it is not an exchange of the stack: without it what is sent there is lost",
            fix=suggest(exchange, known),
        )


def _dangling(context: Context) -> Iterator[tuple[str, str]]:
    """Yield where an argument names an exchange that is not declared, and which."""
    known = {*context.whole.exchanges, *PREDECLARED_EXCHANGES, ""}  # empty is the default exchange
    named: list[tuple[str, object]] = []
    for name, queue in context.queues():
        key = "x-dead-letter-exchange"
        named.append((of_queue(name, "arguments", key), queue.arguments.get(key)))
    for name, exchange in context.exchanges():
        key = "alternate-exchange"
        named.append((of_exchange(name, "arguments", key), exchange.arguments.get(key)))
    for where, one in named:
        if isinstance(one, str) and one not in known:
            yield where, one


def _drops(where: str, value: object) -> Problem:
    return Problem(
        path=where,
        value=show(value),
        rule="beyond it the oldest messages are dropped",
        fix="write `overflow: reject-publish`, so that publishers are told, or `dead_letter`; "
        "`overflow: drop-head` if it is meant so",
    )


@advice(
    "transient-queue",
    Severity.WARNING,
    "List of Deprecated Features",
    "it is gone, with all it holds, when its node restarts; brokers deny it from RabbitMQ 4.3 on, "
    "or permit it in their configuration",
)
def transient_queue(context: Context) -> Iterator[GradedProblem]:
    """Yield queues that are neither durable nor exclusive: nothing here is exclusive.

    4.3.0 denies them unless told otherwise, 4.3.6 as Debian has it permits them: so only what the
    broker itself says is an error.
    """
    denied_here = "transient_nonexcl_queues" in context.denied
    severity = Severity.ERROR if denied_here else Severity.WARNING
    for name, queue in context.queues():
        if not queue.durable and queue.type is _CLASSIC:
            problem = Problem(
                path=of_queue(name, "durable"),
                value="false",
                rule="this broker refuses queues that are neither durable nor exclusive"
                if denied_here
                else "from 4.3 on brokers can refuse queues that are neither durable nor exclusive",
                fix="leave `durable` out; `expires` removes a queue that nobody uses",
            )
            yield GradedProblem(severity=severity, problem=problem)


@advice(
    "transient-exchange",
    Severity.NOTE,
    "Exchanges",
    "it is gone, with its bindings, when the broker restarts, until the next update",
)
def transient_exchange(context: Context) -> Iterator[Problem]:
    """Yield exchanges that do not survive a restart."""
    for name, exchange in context.exchanges():
        if not exchange.durable:
            yield Problem(
                path=of_exchange(name, "durable"),
                value="false",
                rule="publishing fails from a restart of the broker to the next `pulumi up`",
                fix="leave `durable` out",
            )


@advice(
    "argument-of-type",
    Severity.ERROR,
    "Queues",
    "the broker refuses a queue with an argument that is for other types only",
)
def argument_of_type(context: Context) -> Iterator[GradedProblem]:
    """Yield arguments, as they are sent, that a queue's type does not know."""
    for name, queue in context.queues():
        for key in sorted(queue.arguments.keys() & _OF_TYPE.keys()):
            types, since = _OF_TYPE[key].arguments, _OF_TYPE[key].arguments_since
            if queue.type in types:
                continue
            problem = Problem(
                path=of_queue(name, "arguments", key),
                value=show(queue.arguments[key]),
                rule=f"a {queue.type} queue is refused with it"
                + (f" from RabbitMQ {text(since)} on" if since else ""),
                fix=f"remove it, or write `type: {types[0]}`",
            )
            severity = denied(since, context.version) if since else Severity.ERROR
            yield GradedProblem(severity=severity, problem=problem)


@advice(
    "misspelt-argument",
    Severity.WARNING,
    "Optional Arguments",
    "the broker keeps an argument that it does not know, and does nothing",
)
def misspelt_argument(context: Context) -> Iterator[Problem]:
    """Yield arguments that seem to be meant for others."""
    for name, queue in context.queues():
        for key in queue.arguments:
            if meant := misspelt(key, _ARGUMENTS):
                yield Problem(
                    path=of_queue(name, "arguments", key),
                    value=show(queue.arguments[key]),
                    rule="the broker ignores it",
                    fix=f"did you mean `{meant}`? To change it is to replace the queue",
                )


@advice(
    "argument-of-consumers",
    Severity.WARNING,
    "Consumers",
    "the broker keeps it with the queue, and does nothing",
)
def argument_of_consumers(context: Context) -> Iterator[Problem]:
    """Yield arguments of queues that are arguments of consumers."""
    for name, queue in context.queues():
        for key in sorted(_OF_CONSUMERS & queue.arguments.keys()):
            yield Problem(
                path=of_queue(name, "arguments", key),
                value=show(queue.arguments[key]),
                rule="consumers give it when they subscribe; with a queue it is without effect",
                fix="remove it"
                + ("; `max_priority` is for priorities" if key == "x-priority" else ""),
            )


@advice(
    "consumer-timeout-classic",
    Severity.NOTE,
    "Consumers",
    "from RabbitMQ 4.3 on only quorum queues have a consumer timeout",
)
def consumer_timeout_classic(context: Context) -> Iterator[GradedProblem]:
    """Yield consumer timeouts of classic queues."""
    if context.version is not None and context.version < (4, 3):
        return
    for name, queue in context.queues():
        if queue.type is _CLASSIC and queue.consumer_timeout is not None:
            problem = Problem(
                path=of_queue(name, "consumer_timeout"),
                value=show(duration_text(queue.consumer_timeout)),
                rule="from 4.3 on a classic queue waits for its consumers without end",
                fix="remove it, or write `type: quorum`",
            )
            known = context.version is not None
            yield GradedProblem(
                severity=Severity.WARNING if known else Severity.NOTE, problem=problem
            )


@advice(
    "retry-beyond-timeout",
    Severity.NOTE,
    "Consumers",
    "a consumer that waits for a try itself, message in hand, is cut off before it comes",
)
def retry_beyond_timeout(context: Context) -> Iterator[Problem]:
    """Yield delays of `retry` that are longer than a consumer may hold a message."""
    for name, queue in context.queues():
        if not queue.retry:
            continue
        timeout = context.settings[name].get("consumer-timeout", _CONSUMER_TIMEOUT)
        for index, delay in enumerate(queue.retry.delays):
            if isinstance(timeout, int) and delay > timeout:
                yield Problem(
                    path=of_queue(name, "retry", "delays", index),
                    value=show(duration_text(delay)),
                    rule=f"it is longer than the consumer timeout, {duration_text(timeout)}: "
                    "consumers must reject a message to have it retried, not hold it",
                    fix="check the unit, or set `consumer_timeout` if they hold messages",
                )


@advice(
    "endless-stream",
    Severity.NOTE,
    "Streams",
    "a stream keeps everything until its disk is full, and then the broker takes no messages",
)
def endless_stream(context: Context) -> Iterator[Problem]:
    """Yield streams without retention."""
    limits = [
        of_queue(name)
        for name, queue in context.queues()
        if queue.type is _STREAM
        and not {"max-age", "max-length-bytes"} & context.settings[name].keys()
    ]
    limits += [
        path("topology", "super_streams", name)
        for name in context.written.super_streams
        if not {"max-age", "max-length-bytes"} & context.settings[f"{name}-0"].keys()
    ]
    for where in limits:
        yield Problem(
            path=where,
            value="no limit",
            rule="nothing is ever dropped from it",
            fix="write `max_age` or `max_length_bytes`",
        )


@advice(
    "even-replicas",
    Severity.NOTE,
    "Quorum Queues",
    "of two, four or six replicas as many may fail as of one, three or five",
)
def even_replicas(context: Context) -> Iterator[Problem]:
    """Yield queues with an even number of replicas."""
    for name, queue in context.queues():
        size = queue.initial_cluster_size
        if size is not None and size % 2 == 0:
            yield Problem(
                path=of_queue(name, "initial_cluster_size"),
                value=show(size),
                rule="an even number of replicas is no safer than one less",
                fix=f"write {size - 1} or {size + 1}",
            )


@advice(
    "vhost-limit-zero",
    Severity.WARNING,
    "Virtual Hosts",
    "a limit of 0 takes nothing at all; no limit is -1, or none written",
)
def vhost_limit_zero(context: Context) -> Iterator[Problem]:
    """Yield limits that block a vhost."""
    limits = context.written.vhost_settings.limits
    for key, what in (("max_connections", "connection"), ("max_queues", "queue")):
        if getattr(limits, key) == 0:
            yield Problem(
                path=path("topology", "vhost_settings", "limits", key),
                value="0",
                rule=f"the vhost takes no {what}",
                fix="remove it, or write -1 for no limit",
            )


def _own(name: str, queue: Queue, key: str) -> str | None:
    """Return where a queue itself says what a policy calls ``key``; None if it does not."""
    setting = key.replace("-", "_")
    if getattr(queue, setting) is not None:
        return of_queue(name, setting)
    return of_queue(name, "arguments", f"x-{key}") if f"x-{key}" in queue.arguments else None


RULES: tuple[Rule[Context], ...] = (
    no_dead_letter,
    drops_oldest,
    dangling_argument,
    transient_queue,
    transient_exchange,
    argument_of_type,
    misspelt_argument,
    argument_of_consumers,
    consumer_timeout_classic,
    retry_beyond_timeout,
    endless_stream,
    even_replicas,
    vhost_limit_zero,
)
