"""
Advice about what some versions of RabbitMQ do not know yet, and others know no more.

Source: the release notes of 3.10 to 4.3, "List of Deprecated Features", and what 3.10.8, 4.0.5 and
4.3.6 answer.
"""

from __future__ import annotations

from collections.abc import Iterator

from rabbit_topology.compiler.context import Context, of_exchange, of_queue
from rabbit_topology.compiler.settings import BY_KEY
from rabbit_topology.config.words import show
from rabbit_topology.errors import Problem, path
from rabbit_topology.findings import GradedProblem, Rule, Severity, advice
from rabbit_topology.lint.advice_routing import topic_keys
from rabbit_topology.lint.severities import denied, needing
from rabbit_topology.model import DeadLetterStrategy, QueueType
from rabbit_topology.model.units import duration_text
from rabbit_topology.model.versions import Version, text

_OLDEST: Version = (3, 10)
"""The oldest that this program is tested with: what it knows needs no word where the version is
not known."""

_IGNORED_SINCE: Version = (3, 12)
"""From when on classic queues keep their messages on disk, whatever `queue-mode` says."""

_TYPED_SINCE: Version = (4, 0)

_WILDCARDS = 2


@advice(
    "needs-newer-broker",
    Severity.NOTE,
    "Release Information",
    "an older broker refuses it half-way through an update",
)
def needs_newer_broker(context: Context) -> Iterator[GradedProblem]:
    """Yield settings that the broker is too old for, or may be."""
    for least, problem in _newer(context):
        severity = needing(least, context.version)
        if severity and not (context.version is None and least <= _OLDEST):
            yield GradedProblem(severity=severity, problem=problem)


def _newer(context: Context) -> Iterator[tuple[Version, Problem]]:
    for name, queue in context.queues():
        quorum = queue.type is QueueType.QUORUM
        if queue.consumer_timeout is not None:
            value = duration_text(queue.consumer_timeout)
            yield _since((3, 12), of_queue(name, "consumer_timeout"), value)
        if queue.delivery_limit == -1:
            yield _since((4, 0), of_queue(name, "delivery_limit"), -1)
        if queue.arguments.get("x-delivery-limit") == -1:
            # Taken without a word, and then a message is dropped at its first return.
            yield _since((4, 0), of_queue(name, "arguments", "x-delivery-limit"), -1)
        if quorum and queue.message_ttl is not None:
            value = duration_text(queue.message_ttl)
            yield _since((3, 10), of_queue(name, "message_ttl"), value)
        if quorum and queue.retry:
            yield _since((3, 10), of_queue(name, "retry"), "messages that expire")
        target = context.whole.queues[name].dead_letter
        if not queue.retry and target and target.strategy is DeadLetterStrategy.AT_LEAST_ONCE:
            yield _since((3, 10), of_queue(name, "dead_letter"), "at-least-once")
    for name, exchange in context.exchanges():
        if exchange.delays:
            yield _since((3, 10), of_exchange(name, "delays"), "messages that expire")
    for where, policy in context.policies():
        if policy.apply_to in ("classic_queues", "quorum_queues", "streams"):
            yield _since((3, 12), f"{where}.apply_to", policy.apply_to)
        if str(policy.definition.get("delivery-limit")) == "-1":
            yield _since((4, 0), f"{where}.{path('definition', 'delivery-limit')}", -1)
        for key in policy.definition.keys() & BY_KEY.keys():
            if BY_KEY[key].since > _OLDEST:
                here = f"{where}.{path('definition', key)}"
                yield _since(BY_KEY[key].since, here, policy.definition[key])


def _since(least: Version, where: str, value: object) -> tuple[Version, Problem]:
    return least, Problem(
        path=where,
        value=show(value),
        rule=f"RabbitMQ knows it from {text(least)} on",
        fix="upgrade the broker, or remove it; `broker.version` says which version there is",
    )


@advice(
    "ignored-by-older-broker",
    Severity.NOTE,
    "Release Information",
    "an older broker takes it without a word and does nothing",
)
def ignored_by_older_broker(context: Context) -> Iterator[GradedProblem]:
    """Yield settings that an older broker ignores."""
    ignored: list[tuple[Version, str, object]] = [
        ((3, 13), of_queue(name, "filter_size"), queue.filter_size)
        for name, queue in context.queues()
        if queue.filter_size is not None
    ]
    default = context.written.vhost_settings.default_queue_type
    if default is not None:
        where = path("topology", "vhost_settings", "default_queue_type")
        ignored.append(((3, 11), where, default))
    for least, where, value in ignored:
        severity = needing(least, context.version)
        if severity:
            _, problem = _since(least, where, value)
            lesser = Severity.WARNING if severity is Severity.ERROR else severity
            yield GradedProblem(severity=lesser, problem=problem)


@advice(
    "delivery-limit-drops",
    Severity.WARNING,
    "Dead Letter Exchanges",
    "before RabbitMQ 3.13 a message does not say why it was dead-lettered: one that was returned "
    "too often and never rejected goes round, and the broker drops it",
)
def delivery_limit_drops(context: Context) -> Iterator[GradedProblem]:
    """Yield delivery limits of queues with `retry`, on brokers that cannot park what exceeds one.

    Source: `docs/patterns.md`.
    """
    for name, queue in context.queues():
        severity = needing((3, 13), context.version)
        limit = queue.delivery_limit
        if severity and queue.retry and limit is not None and limit >= 0:
            problem = Problem(
                path=of_queue(name, "delivery_limit"),
                value=show(limit),
                rule="with `retry`, brokers older than 3.13 drop what was returned more often and "
                "never rejected",
                fix="leave it out, or upgrade the broker; `broker.version` says which there is",
            )
            lesser = Severity.WARNING if severity is Severity.ERROR else severity
            yield GradedProblem(severity=lesser, problem=problem)


@advice(
    "many-wildcards",
    Severity.WARNING,
    "Exchanges",
    "RabbitMQ 4.3.5 and newer refuse the binding, half-way through an update",
)
def many_wildcards(context: Context) -> Iterator[GradedProblem]:
    """Yield routing keys of topic bindings with more than two `#`."""
    for where, key in topic_keys(context):
        if key.split(".").count("#") > _WILDCARDS:
            problem = Problem(
                path=where,
                value=show(key),
                rule=f"it has more than {_WILDCARDS} `#`, which RabbitMQ refuses from 4.3.5 on",
                fix="bind several keys with fewer",
            )
            yield GradedProblem(severity=denied((4, 3), context.version), problem=problem)


@advice(
    "type-added",
    Severity.WARNING,
    "Queues",
    "what the broker adds, the provider takes for a change, and plans a replacement",
)
def type_added(context: Context) -> Iterator[Problem]:
    """Yield queues without a type, to which the broker adds one where it makes them."""
    if context.version is None or context.version < _TYPED_SINCE:
        return
    for name, queue in context.queues():
        if not queue.typed:
            yield Problem(
                path=of_queue(name, "typed"),
                value=show(queue.typed),
                rule=f"RabbitMQ {text(_TYPED_SINCE)} and newer add a type to a queue that is "
                "declared without one; only one that comes from an older broker has none",
                fix="remove it, unless the queue is there already and has no `x-queue-type`",
            )


@advice(
    "mirrored-queue",
    Severity.WARNING,
    "List of Deprecated Features",
    "RabbitMQ 4.0 has no mirrored queues any more, and refuses policies that ask for them",
)
def mirrored_queue(context: Context) -> Iterator[GradedProblem]:
    """Yield policies for mirrored classic queues."""
    for where, policy in context.policies():
        for key in sorted(name for name in policy.definition if name.startswith("ha-")):
            problem = Problem(
                path=f"{where}.{path('definition', key)}",
                value=show(policy.definition[key]),
                rule="RabbitMQ refuses it from 4.0 on",
                fix="remove it: quorum queues and streams have replicas",
            )
            yield GradedProblem(severity=denied((4, 0), context.version), problem=problem)


@advice(
    "deprecated-setting",
    Severity.WARNING,
    "List of Deprecated Features",
    "newer brokers refuse it, half-way through an update",
)
def deprecated_setting(context: Context) -> Iterator[GradedProblem]:
    """Yield arguments and policy keys for the former placement and storage of classic queues."""
    for key, where, value in _of_classic(context, "queue-master-locator", "queue-version"):
        # As a policy the former storage is ignored, as an argument refused.
        if key == "queue-version" and (value != 1 or "arguments" not in where):
            continue
        problem = Problem(
            path=where,
            value=show(value),
            rule="RabbitMQ refuses it from 4.3 on",
            fix="remove it" + ("" if key == "queue-version" else ", or write `leader_locator`"),
        )
        yield GradedProblem(severity=denied((4, 3), context.version), problem=problem)


@advice(
    "ignored-setting",
    Severity.NOTE,
    "Classic Queues",
    "newer brokers take it without a word and do nothing",
)
def ignored_setting(context: Context) -> Iterator[Problem]:
    """Yield lazy queues: all are, now."""
    if context.version is not None and context.version < _IGNORED_SINCE:
        return
    for _, where, value in _of_classic(context, "queue-mode"):
        in_policy = "arguments" not in where
        yield Problem(
            path=where,
            value=show(value),
            rule=f"classic queues ignore it from RabbitMQ {text(_IGNORED_SINCE)} on"
            + (", and quorum queues and streams get nothing of its policy" if in_policy else ""),
            fix="remove it: classic queues keep messages on disk anyway"
            + (
                "; then the rest of the policy applies to all queues that it matches"
                if in_policy
                else ""
            ),
        )


def _of_classic(context: Context, *keys: str) -> Iterator[tuple[str, str, object]]:
    """Yield which of ``keys`` stand where, with what, in arguments and in policies."""
    for name, queue in context.queues():
        for key in keys if queue.type is QueueType.CLASSIC else ():
            if f"x-{key}" in queue.arguments:
                argument = f"x-{key}"
                yield key, of_queue(name, "arguments", argument), queue.arguments[argument]
    for where, policy in context.policies():
        for key in keys:
            if key in policy.definition:
                yield key, f"{where}.{path('definition', key)}", policy.definition[key]


@advice(
    "delayed-message-plugin",
    Severity.WARNING,
    "Community Plugins",
    "the plugin keeps messages on one node, where they are lost with it; it is archived, and "
    "RabbitMQ 4.3 cannot run it",
)
def delayed_message_plugin(context: Context) -> Iterator[GradedProblem]:
    """Yield exchanges of the delayed message plugin."""
    for name, exchange in context.exchanges():
        if exchange.type == "x-delayed-message":
            problem = Problem(
                path=of_exchange(name, "type"),
                value=show(exchange.type),
                rule="its plugin does not run on RabbitMQ 4.3 and newer",
                fix="write `delays` on an ordinary exchange",
            )
            yield GradedProblem(severity=denied((4, 3), context.version), problem=problem)


RULES: tuple[Rule[Context], ...] = (
    needs_newer_broker,
    ignored_by_older_broker,
    delivery_limit_drops,
    many_wildcards,
    type_added,
    mirrored_queue,
    deprecated_setting,
    ignored_setting,
    delayed_message_plugin,
)
