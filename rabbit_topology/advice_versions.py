"""
Advice about what some versions of RabbitMQ do not know yet, and others know no more.

Source: the release notes of 3.10 to 4.3, "List of Deprecated Features", and what 3.10.8, 4.0.5 and
4.3.6 answer.
"""

from __future__ import annotations

from collections.abc import Iterator

from rabbit_topology.context import Context, of_exchange, of_queue
from rabbit_topology.errors import Problem, path
from rabbit_topology.model import DeadLetterStrategy, QueueType
from rabbit_topology.rule import Graded, Rule, Severity, advice
from rabbit_topology.units import duration_text
from rabbit_topology.versions import Version, denied, needing, text
from rabbit_topology.words import show

_OLDEST: Version = (3, 10)
"""The oldest that this program is tested with: what it knows needs no word where the version is
not known."""

_POLICY_KEYS: dict[str, Version] = {
    "consumer-timeout": (3, 12),
    "dead-letter-strategy": (3, 10),
    "delayed-retry-type": (4, 3),
    "delayed-retry-min": (4, 3),
    "delayed-retry-max": (4, 3),
}

_IGNORED_SINCE: Version = (3, 12)
"""From when on classic queues keep their messages on disk, whatever `queue-mode` says."""


@advice(
    "needs-newer-broker",
    Severity.NOTE,
    "Release Information",
    "an older broker refuses it half-way through an update",
)
def needs_newer_broker(context: Context) -> Iterator[Graded]:
    """Yield settings that the broker is too old for, or may be."""
    for least, problem in _newer(context):
        severity = needing(least, context.version)
        if severity and not (context.version is None and least <= _OLDEST):
            yield Graded(severity=severity, problem=problem)


def _newer(context: Context) -> Iterator[tuple[Version, Problem]]:
    for name, queue in context.queues():
        quorum = queue.type is QueueType.QUORUM
        if queue.consumer_timeout is not None:
            value = duration_text(queue.consumer_timeout)
            yield _since((3, 12), of_queue(name, "consumer_timeout"), value)
        if queue.delivery_limit == -1:
            yield _since((4, 0), of_queue(name, "delivery_limit"), -1)
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
        for key in policy.definition.keys() & _POLICY_KEYS.keys():
            here = f"{where}.{path('definition', key)}"
            yield _since(_POLICY_KEYS[key], here, policy.definition[key])


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
def ignored_by_older_broker(context: Context) -> Iterator[Graded]:
    """Yield settings that an older broker ignores."""
    found: list[tuple[Version, str, object]] = [
        ((3, 13), of_queue(name, "filter_size"), queue.filter_size)
        for name, queue in context.queues()
        if queue.filter_size is not None
    ]
    default = context.written.vhost_settings.default_queue_type
    if default is not None:
        where = path("topology", "vhost_settings", "default_queue_type")
        found.append(((3, 11), where, default))
    for least, where, value in found:
        severity = needing(least, context.version)
        if severity:
            _, problem = _since(least, where, value)
            lesser = Severity.WARNING if severity is Severity.ERROR else severity
            yield Graded(severity=lesser, problem=problem)


@advice(
    "mirrored-queue",
    Severity.WARNING,
    "List of Deprecated Features",
    "RabbitMQ 4.0 has no mirrored queues any more, and refuses policies that ask for them",
)
def mirrored_queue(context: Context) -> Iterator[Graded]:
    """Yield policies for mirrored classic queues."""
    for where, policy in context.policies():
        for key in sorted(it for it in policy.definition if it.startswith("ha-")):
            problem = Problem(
                path=f"{where}.{path('definition', key)}",
                value=show(policy.definition[key]),
                rule="RabbitMQ refuses it from 4.0 on",
                fix="remove it: quorum queues and streams have replicas",
            )
            yield Graded(severity=denied((4, 0), context.version), problem=problem)


@advice(
    "deprecated-setting",
    Severity.WARNING,
    "List of Deprecated Features",
    "newer brokers refuse it, half-way through an update",
)
def deprecated_setting(context: Context) -> Iterator[Graded]:
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
        yield Graded(severity=denied((4, 3), context.version), problem=problem)


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
        yield Problem(
            path=where,
            value=show(value),
            rule=f"it has no effect from RabbitMQ {text(_IGNORED_SINCE)} on",
            fix="remove it: classic queues keep messages on disk anyway",
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
def delayed_message_plugin(context: Context) -> Iterator[Graded]:
    """Yield exchanges of the delayed message plugin."""
    for name, exchange in context.exchanges():
        if exchange.type == "x-delayed-message":
            problem = Problem(
                path=of_exchange(name, "type"),
                value=show(exchange.type),
                rule="its plugin does not run on RabbitMQ 4.3 and newer",
                fix="write `delays` on an ordinary exchange",
            )
            yield Graded(severity=denied((4, 3), context.version), problem=problem)


RULES: tuple[Rule[Context], ...] = (
    needs_newer_broker,
    ignored_by_older_broker,
    mirrored_queue,
    deprecated_setting,
    ignored_setting,
    delayed_message_plugin,
)
