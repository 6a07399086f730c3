"""
Rules about settings: which queue type knows which, patterns, and policies.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from rabbit_topology.compiler import patterns, policies
from rabbit_topology.compiler.effective import Index
from rabbit_topology.compiler.settings import Value, keys
from rabbit_topology.config.words import NameIndex, show, suggest
from rabbit_topology.errors import Problem, path
from rabbit_topology.findings import Rule, rule
from rabbit_topology.model import (
    BUILT_IN_EXCHANGE_TYPES,
    MAX_NAME_BYTES,
    PREDECLARED_EXCHANGES,
    DeadLetterStrategy,
    Exchange,
    Overflow,
    Policy,
    Queue,
    QueueType,
    Topology,
)
from rabbit_topology.model.units import duration_text

_CLASSIC, _QUORUM, _STREAM = QueueType.CLASSIC, QueueType.QUORUM, QueueType.STREAM

_KNOWN_BY: Mapping[str, tuple[QueueType, ...]] = {
    "max_length": (_CLASSIC, _QUORUM),
    "overflow": (_CLASSIC, _QUORUM),
    "message_ttl": (_CLASSIC, _QUORUM),
    "expires": (_CLASSIC, _QUORUM),
    "delivery_limit": (_QUORUM,),
    "dead_letter": (_CLASSIC, _QUORUM),
    "retry": (_CLASSIC, _QUORUM),
    "consumer_timeout": (_CLASSIC, _QUORUM),
    "renamed_from": (_CLASSIC, _QUORUM),
    "max_age": (_STREAM,),
    "max_priority": (_CLASSIC,),
    "single_active_consumer": (_CLASSIC, _QUORUM),
    "initial_cluster_size": (_QUORUM, _STREAM),
    "segment_size": (_STREAM,),
    "filter_size": (_STREAM,),
}

APPLY_TO = ("all", "exchanges", "queues", "classic_queues", "quorum_queues", "streams")


@rule("setting-of-type", "Queues", "the broker refuses it, or ignores it")
def known_by_type(topology: Topology) -> Iterator[Problem]:
    """Yield the settings that a queue's type does not know."""
    for name, queue in topology.queues.items():
        for setting, types in _KNOWN_BY.items():
            value = getattr(queue, setting)
            if value in (None, False) or queue.type in types:
                continue
            yield Problem(
                path=path("topology", "queues", name, setting),
                value=show(_plain(value)),
                rule=f"a {queue.type} queue does not know it",
                fix=f"remove it, or write `type: {' or '.join(types)}`",
            )
        if queue.overflow is Overflow.REJECT_PUBLISH_DLX and queue.type is _QUORUM:
            yield Problem(
                path=path("topology", "queues", name, "overflow"),
                value=show(queue.overflow),
                rule="only classic queues know it",
                fix="write `overflow: reject-publish`",
            )


@rule(
    "argument-twice",
    "Optional Arguments",
    "which of an argument and a policy counts differs by setting and queue type",
)
def arguments(topology: Topology) -> Iterator[Problem]:
    """Yield the arguments that say again, or against it, what a setting says."""
    for name, queue in topology.queues.items():
        named = {f"x-{key}" for key in queue.settings()} | queue.own_arguments().keys()
        for key in sorted(named & queue.arguments.keys()):
            yield Problem(
                path=path("topology", "queues", name, "arguments", key),
                value=show(queue.arguments[key]),
                rule="a setting of this queue says the same thing",
                fix="keep the setting, remove the argument",
            )


@rule("dead-letter-twice", "Dead Letter Exchanges", "a queue has one dead-letter exchange")
def dead_letters(topology: Topology) -> Iterator[Problem]:
    """Yield dead-lettering that is said twice."""
    for name, queue in topology.queues.items():
        target = queue.dead_letter
        if target is None:
            continue
        here = path("topology", "queues", name, "dead_letter")
        if queue.retry:
            yield Problem(
                path=here,
                value=show(_plain(target)),
                rule="`retry` dead-letters already, and parks what has failed to the end",
                fix="remove one of the two",
            )
        if target.exchange is None and target.routing_key is not None:
            yield Problem(
                path=f"{here}.routing_key",
                value=show(target.routing_key),
                rule="a dead-letter exchange of its own takes every key",
                fix="remove it, or name an `exchange`",
            )


@rule("expires-zero", "Time-To-Live and Expiration", "the broker refuses it")
def expires_zero(topology: Topology) -> Iterator[Problem]:
    """Yield queues that would go at once."""
    for name, queue in topology.queues.items():
        if queue.expires == 0:
            yield Problem(
                path=path("topology", "queues", name, "expires"),
                value="0",
                rule="a queue lasts some time, 1ms or more",
                fix="remove it, or write for example `expires: 1h`",
            )


@rule("whole-seconds", "Streams", "the broker counts the age of a stream in whole seconds")
def whole_seconds(topology: Topology) -> Iterator[Problem]:
    """Yield ages that are not whole seconds."""
    for name, queue in topology.queues.items():
        if queue.max_age is not None and (queue.max_age < 1000 or queue.max_age % 1000):
            yield Problem(
                path=path("topology", "queues", name, "max_age"),
                value=show(queue.max_age),
                rule="it is whole seconds, from 1 on",
                fix="round it",
            )


@rule("made-too-long", "AMQP 0-9-1 Complete Reference Guide", "the broker refuses longer names")
def made_too_long(topology: Topology) -> Iterator[Problem]:
    """Yield what would have to be made with a name that is too long; patterns not expanded."""
    made = patterns.additions(topology)
    for name in sorted({*made.exchanges, *made.queues}):
        if len(name.encode()) > MAX_NAME_BYTES:
            yield Problem(
                path=path("topology"),
                value=show(name),
                rule=f"a pattern makes it, and a name has at most {MAX_NAME_BYTES} bytes in UTF-8",
                fix="shorten the name that it begins with",
            )


@rule("delay-twice", "Time-To-Live and Expiration", "both would have the same name")
def delays_once(topology: Topology) -> Iterator[Problem]:
    """Yield delays of an exchange that are written twice, perhaps in other units."""
    for name, exchange in topology.exchanges.items():
        for index, delay in enumerate(exchange.delays):
            if delay in exchange.delays[:index]:
                yield Problem(
                    path=path("topology", "exchanges", name, "delays", index),
                    value=show(duration_text(delay)),
                    rule="the same delay stands there already",
                    fix="remove one of the two",
                )


@rule(
    "at-least-once",
    "Quorum Queues",
    "the broker falls back to at-most-once without a word, and messages can be lost",
)
def at_least_once(topology: Topology) -> Iterator[Problem]:
    """Yield dead-lettering that is not as safe as it says."""
    for name, queue in topology.queues.items():
        target = queue.dead_letter
        if (
            target
            and target.strategy is DeadLetterStrategy.AT_LEAST_ONCE
            and (queue.type is not _QUORUM or not _refuses(queue))
        ):
            yield Problem(
                path=path("topology", "queues", name, "dead_letter", "strategy"),
                value=show(target.strategy),
                rule="at-least-once needs a quorum queue with `overflow: reject-publish`",
                fix="set both, or remove the strategy",
            )


@rule(
    "dangling-exchange",
    "Dead Letter Exchanges",
    "what is sent to an exchange that does not exist is lost without a word",
)
def exchanges_named(topology: Topology) -> Iterator[Problem]:
    """Yield dead-letter and alternate exchanges that nobody declares; expects patterns expanded."""
    known = NameIndex({*topology.exchanges, *PREDECLARED_EXCHANGES})
    named: list[tuple[tuple[str, ...], str | None]] = [
        (("queues", name, "dead_letter", "exchange"), queue.dead_letter.exchange)
        for name, queue in topology.queues.items()
        if queue.dead_letter
    ]
    named += [
        (("exchanges", name, "alternate"), exchange.alternate)
        for name, exchange in topology.exchanges.items()
    ]
    for where, exchange in named:
        if exchange is not None and exchange not in known:
            yield Problem(
                path=path("topology", *where),
                value=show(exchange),
                rule="it is not a declared exchange: what is sent there is lost",
                fix=suggest(exchange, known),
            )


@rule(
    "retry-drops",
    "Dead Letter Exchanges",
    "the broker drops a message that it finds going round without having been rejected",
)
def retries(topology: Topology) -> Iterator[Problem]:
    """Yield what would make the broker drop messages that go round a retry ladder."""
    for name, queue in topology.queues.items():
        if not queue.retry:
            continue
        limited = queue.max_length is not None or queue.max_length_bytes is not None
        value: object
        if queue.message_ttl is not None:
            setting, value = "message_ttl", queue.message_ttl
        elif limited and not _refuses(queue):
            setting, value = "overflow", queue.overflow or Overflow.DROP_HEAD
        else:
            continue
        yield Problem(
            path=path("topology", "queues", name, setting),
            value=show(value),
            rule="with `retry`, what leaves the queue unrejected would go round and round, and the "
            "broker drops a message that it finds in such a cycle",
            fix="remove it" if setting == "message_ttl" else "write `overflow: reject-publish`",
        )


@rule("alternate-twice", "Alternate Exchanges", "an exchange has one alternate exchange")
def alternates(topology: Topology) -> Iterator[Problem]:
    """Yield exchanges with two alternate exchanges."""
    for name, exchange in topology.exchanges.items():
        if exchange.unroutable and exchange.alternate is not None:
            yield Problem(
                path=path("topology", "exchanges", name, "alternate"),
                value=show(exchange.alternate),
                rule="`unroutable` makes an alternate exchange, and there can be one",
                fix="remove one of the two",
            )
        if "alternate-exchange" in exchange.arguments and exchange.settings():
            yield Problem(
                path=path("topology", "exchanges", name, "arguments", "alternate-exchange"),
                value=show(exchange.arguments["alternate-exchange"]),
                rule="a setting of this exchange says the same thing",
                fix="keep the setting, remove the argument",
            )


@rule("made-twice", "the README, Config reference", "a name stands for one thing")
def made_twice(topology: Topology) -> Iterator[Problem]:
    """Yield what a pattern makes and the config declares as well; expects patterns not expanded."""
    made = patterns.own_parts(topology)
    for kind, names in (("exchanges", made.exchanges), ("queues", made.queues)):
        for name in sorted(names.keys() & getattr(topology, kind).keys()):
            yield Problem(
                path=path("topology", kind, name),
                value=show(name),
                rule="a pattern (dead_letter, retry, unroutable, delays, super_streams) makes it",
                fix="remove it here, or choose another name",
            )


@rule("renamed", "docs/how-to/rename.md", "a former name stands for one thing that is gone")
def renamed(topology: Topology) -> Iterator[Problem]:
    """Yield former names that are still in use, or that two have; expects patterns not expanded."""
    made = patterns.own_parts(topology)
    for kind in ("exchanges", "queues"):
        declared: Mapping[str, Exchange | Queue] = getattr(topology, kind)
        every = declared.keys() | getattr(made, kind).keys()
        earlier: set[str] = set()
        for name, one in declared.items():
            if one.renamed_from is None:
                continue
            for broken, fix in _against(one, every, earlier):
                yield Problem(
                    path=path("topology", kind, name, "renamed_from"),
                    value=show(one.renamed_from),
                    rule=broken,
                    fix=fix,
                )
            earlier.add(one.renamed_from)


def _against(
    one: Exchange | Queue, every: Collection[str], earlier: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Yield which rules a former name breaks, each with what mends it.

    Args:
        one: What has it.
        every: All names that there are of its kind.
        earlier: The former names of those before it.
    """
    if one.renamed_from in every:
        fix = "remove that one, or `renamed_from`"
        yield "there is one of the former name in the config", fix
    if one.renamed_from in earlier:
        yield "another one was called so", "keep one of them"
    if isinstance(one, Exchange) and one.type not in BUILT_IN_EXCHANGE_TYPES:
        yield (
            f"nothing can be led through an exchange of type {one.type}",
            "declare both, move bindings and publishers, then remove the old one",
        )


@rule(
    "policy-shape",
    "Parameters and Policies",
    "the broker refuses it, or the provider cannot send it, half-way through an update",
)
def policy_shapes(topology: Topology) -> Iterator[Problem]:
    """Yield policies that the broker or the provider cannot take."""
    for kind in ("policies", "operator_policies"):
        written: Mapping[str, Policy] = getattr(topology, kind)
        for name, policy in written.items():
            if policy.apply_to not in APPLY_TO:
                yield Problem(
                    path=path("topology", kind, name, "apply_to"),
                    value=show(policy.apply_to),
                    rule=f"one of {', '.join(APPLY_TO)}",
                    fix=suggest(policy.apply_to, APPLY_TO),
                )
            for key, value in policy.definition.items():
                if isinstance(value, bool | float | list | dict) or value is None:
                    yield Problem(
                        path=path("topology", kind, name, "definition", key),
                        value=show(value),
                        rule="the provider sends whole numbers and text only",
                        fix="set it with another tool, and leave the policy out here",
                    )


@rule(
    "policy-tie",
    "Parameters and Policies",
    "of policies with the same priority the broker takes any one, and not always the same",
)
def policy_ties(topology: Topology) -> Iterator[Problem]:
    """Yield policies of the same priority that match the same; expects patterns expanded."""
    told: set[tuple[str, ...]] = set()
    for kind in ("policies", "operator_policies"):
        written: Mapping[str, Policy] = getattr(topology, kind)
        index = Index(written)
        for target in policies.objects(topology):
            first, second, *_ = [*index.matching(target), None, None]
            if first is None or second is None or (kind, first, second) in told:
                continue
            if written[first].priority == written[second].priority:
                told.add((kind, first, second))
                yield Problem(
                    path=path("topology", kind, second, "priority"),
                    value=show(written[second].priority),
                    rule=f"{path(kind, first)} has the same, and both match "
                    f"{path(target.kind, target.name)}: which applies is left to "
                    "chance",
                    fix="give one a higher priority, or narrow a pattern",
                )


@rule(
    "policy-contradiction",
    "Parameters and Policies",
    "one policy applies to a queue: what stands in two places must be the same",
)
def policy_contradictions(topology: Topology) -> Iterator[Problem]:
    """Yield policies that contradict a setting; expects patterns expanded."""
    index = Index(topology.policies)
    for target in policies.objects(topology):
        first = next(iter(index.matching(target)), None)
        definition = index.definition(first)
        for key, value in getattr(topology, target.kind)[target.name].settings().items():
            if first is not None and key in definition and definition[key] != value:
                yield Problem(
                    path=path("topology", "policies", first, "definition", key),
                    value=show(definition[key]),
                    rule=f"{path(target.kind, target.name)} says {show(value)}",
                    fix="say it in one place, or leave this one out of the policy's pattern",
                )


_NAMES = frozenset(keys(value=Value.NAME))
"""What the broker takes as text only."""


@rule(
    "policy-digits",
    "Parameters and Policies",
    "the provider sends text of digits as a number, which the broker refuses there",
)
def policy_digits(topology: Topology) -> Iterator[Problem]:
    """Yield names that are numbers where a policy holds them; expects patterns expanded."""
    targets: list[tuple[str, object]] = []
    for name, queue in topology.queues.items():
        if target := queue.dead_letter:
            here = path("topology", "queues", name, "dead_letter")
            targets += [(f"{here}.exchange", target.exchange)]
            targets += [(f"{here}.routing_key", target.routing_key)]
    for name, exchange in topology.exchanges.items():
        targets.append((path("topology", "exchanges", name, "alternate"), exchange.alternate))
    for kind in ("policies", "operator_policies"):
        for name, policy in getattr(topology, kind).items():
            for key in sorted(_NAMES & policy.definition.keys()):
                where = path("topology", kind, name, "definition", key)
                targets.append((where, policy.definition[key]))
    for where, value in targets:
        if value is not None and re.fullmatch(r"[+-]?[0-9]+", str(value)):
            yield Problem(
                path=where,
                value=show(value),
                rule="the provider would send it as a number, and the broker takes text here",
                fix="choose a name that has a letter in it",
            )


def _refuses(queue: Queue) -> bool:
    return queue.overflow is Overflow.REJECT_PUBLISH


def _plain(value: object) -> object:
    return value.model_dump(exclude_none=True) if hasattr(value, "model_dump") else value


BEFORE_EXPANSION: tuple[Rule[Topology], ...] = (
    known_by_type,
    arguments,
    dead_letters,
    at_least_once,
    expires_zero,
    whole_seconds,
    retries,
    alternates,
    made_twice,
    renamed,
    made_too_long,
    delays_once,
)
AFTER_EXPANSION: tuple[Rule[Topology], ...] = (
    exchanges_named,
    policy_shapes,
    policy_ties,
    policy_contradictions,
    policy_digits,
)
