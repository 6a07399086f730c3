"""
Advice about what some versions of RabbitMQ do not know yet, and others know no more.

Source: the release notes of 3.10, 3.11, 3.12, 3.13, 4.0 and 4.3; "List of Deprecated Features".
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

_GONE: dict[str, tuple[Version, Version, str]] = {
    "queue-mode": ((3, 12), (4, 3), "classic queues keep messages on disk anyway"),
    "queue-master-locator": ((4, 0), (4, 3), "write `leader_locator`"),
}
"""Key of a policy, and with x- in front of an argument: from when on it is without effect or
deprecated, from when on refused, and what is instead."""


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
    "newer brokers ignore it, and then refuse it",
)
def deprecated_setting(context: Context) -> Iterator[Graded]:
    """Yield arguments and policy keys of classic queues' former storage and placement."""
    found = [
        (key, of_queue(name, "arguments", f"x-{key}"), queue.arguments[f"x-{key}"])
        for name, queue in context.queues()
        for key in _GONE
        if f"x-{key}" in queue.arguments and queue.type is QueueType.CLASSIC
    ]
    found += [
        (key, f"{where}.{path('definition', key)}", policy.definition[key])
        for where, policy in context.policies()
        for key in _GONE
        if key in policy.definition
    ]
    for key, where, value in found:
        since, until, instead = _GONE[key]
        problem = Problem(
            path=where,
            value=show(value),
            rule=f"RabbitMQ has no use for it from {text(since)} on, and refuses it as an "
            f"argument from {text(until)} on",
            fix=f"remove it: {instead}",
        )
        severity = denied(until, context.version)
        if severity is Severity.ERROR and ".definition" in where:
            severity = Severity.WARNING
        yield Graded(severity=severity, problem=problem)
    for name, queue in context.queues():
        if queue.arguments.get("x-queue-version") == 1 and queue.type is QueueType.CLASSIC:
            problem = Problem(
                path=of_queue(name, "arguments", "x-queue-version"),
                value="1",
                rule="RabbitMQ refuses it from 4.3 on",
                fix="remove it, or write 2",
            )
            yield Graded(severity=denied((4, 3), context.version), problem=problem)


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
    delayed_message_plugin,
)
