"""
What applies to a queue or exchange in the end, and where each value comes from.

What counts is worked out by `compiler.effective` alone: here it is only asked which of the values
that there are came out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, TypeAlias

from rabbit_topology.compiler import effective
from rabbit_topology.compiler.effective import Index, Target
from rabbit_topology.compiler.policies import compile_all
from rabbit_topology.describe.page import defaults
from rabbit_topology.errors import path
from rabbit_topology.model import Exchange, Queue
from rabbit_topology.routing.network import Network


class Origin(StrEnum):
    """Where a value comes from."""

    KEY = "key"
    """A key of the queue or exchange in the config."""
    ARGUMENT = "argument"
    """An argument that it is declared with."""
    POLICY = "policy"
    OPERATOR_POLICY = "operator policy"
    PATTERN = "pattern"
    """A pattern in the config makes the queue or exchange, or this setting of it."""
    DECLARED = "declared"
    """So the broker has it."""
    PROGRAM = "program"
    """What a config says that leaves it out."""
    BROKER = "broker"
    """What the broker does where nothing is set."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One place that says something about a setting."""

    origin: Origin
    value: Any
    name: str = ""
    """Of the key, argument or policy."""
    path: str = ""
    """Where in the config; empty where there is no config."""
    policy: str = ""
    """The policy that it gets into, where that is made of the keys of the config."""
    argument: str = ""
    """The argument by which the broker gets the value."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What applies, by the name that policies have for it."""

    key: str
    value: Any
    sources: tuple[Source, ...]
    """What says so."""
    overruled: tuple[Source, ...] = ()
    """What says otherwise, and does not count."""


Declared: TypeAlias = Queue | Exchange


class Origins:
    """The settings of one vhost, with where they come from."""

    def __init__(self, network: Network, *, live: bool = False) -> None:
        """Prepare to tell them; ``live``: it was read from a broker, and stands in no config."""
        context = network.context
        self._network = network
        self._live = live
        self._like = context.like[-1]
        kinds = context.whole.policies, context.whole.operator_policies
        self._policies, self._operators = (Index(one, [self._like]) for one in kinds)

    def queue(self, name: str) -> tuple[Setting, ...]:
        """Return what applies to a queue, defaults included."""
        queue = self._network.queues[name]
        settings = self._settings("queues", name, queue)
        known = {setting.key: setting.value for setting in settings}
        missing = defaults.of_queue(queue.type, known, self._like)
        return (*settings, *(_default(key, words) for key, words in missing))

    def exchange(self, name: str) -> tuple[Setting, ...]:
        """Return what applies to an exchange; to one of the broker's own, by policies."""
        declared = self._network.context.whole.exchanges.get(name, Exchange())
        return self._settings("exchanges", name, declared)

    def property(self, kind: str, name: str, field: str) -> Setting:
        """Return one of the properties that are no settings to the broker: `type`, `durable`."""
        whole = getattr(self._network.context.whole, kind)
        value = getattr(whole[name], field)
        return Setting(
            key=field, value=value, sources=(self._of_property(kind, name, field, value),)
        )

    def doubts(self, kind: str, name: str) -> Iterator[str]:
        """Yield what cannot be told of the policies of a queue or exchange, or surprises."""
        target = self._target(kind, name)
        words = ((self._policies, "policy"), (self._operators, "operator policy"))
        for index, word in words:
            possible = index.applying(target)
            if len(possible) > 1:
                names = ", ".join(one or "none" for one in possible)
                yield f"which {word} applies cannot be told from here, it may be: {names}"
            for policy, keys, _ in index.switched_off(target):
                unknown = ", ".join(keys)
                yield f"{word} {policy} matches and does not apply: {unknown} is not for this type"

    def applying(self, kind: str, name: str) -> Iterator[tuple[str, str]]:
        """Yield the policies that apply: `policies` or `operator_policies`, and the name."""
        target = self._target(kind, name)
        for section, index in (
            ("policies", self._policies),
            ("operator_policies", self._operators),
        ):
            yield from ((section, policy) for policy in index.matching(target)[:1])

    def _target(self, kind: str, name: str) -> Target:
        queue = self._network.queues.get(name) if kind == "queues" else None
        return Target(kind=kind, name=name, type=queue.type if queue else None)

    def _settings(self, kind: str, name: str, declared: Declared) -> tuple[Setting, ...]:
        target = self._target(kind, name)
        own = declared.settings()
        (policy, theirs), (operator, limits) = (
            _first(index, target) for index in (self._policies, self._operators)
        )
        made = ""
        if own:  # then both are in one policy, made from them
            theirs = effective.able(theirs, target.type)
            made = self._made.get((kind, name), "")
        arguments = _arguments(declared)
        counts = effective.settings(target.type, arguments, {**theirs, **own}, limits, self._like)
        sources = [
            *((key, self._own(kind, name, key, value, made)) for key, value in own.items()),
            *((key, self._by_policy("policies", policy, key, theirs, made)) for key in theirs),
            *((key, self._by_policy("operator_policies", operator, key, limits)) for key in limits),
            *(
                (argument.removeprefix("x-"), self._by_argument(kind, name, argument, value))
                for argument, value in arguments.items()
            ),
        ]
        return tuple(
            _setting(key, value, [source for named, source in sources if named == key], target)
            for key, value in counts.items()
            if key != "queue-type"
        )

    def _own(self, kind: str, name: str, key: str, value: Any, made: str) -> Source:
        origin, field, where = self._place(kind, name, key)
        return Source(origin=origin, value=value, name=field, path=where, policy=made)

    def _place(self, kind: str, name: str, key: str) -> tuple[Origin, str, str]:
        """Return what in the config makes a setting or property: its origin, key and path."""
        origins = self._network.origins
        written = getattr(self._network.context.written, kind).get(name)
        if written is None:
            made = origins.of_queue(name) if kind == "queues" else origins.of_exchange(name)
            return Origin.PATTERN, "", made
        field = _field(written, key)
        return Origin.KEY, field, self._at(kind, name, field)

    def _by_policy(
        self, section: str, policy: str, key: str, definition: Mapping[str, Any], made: str = ""
    ) -> Source:
        where = "" if self._live else self._at(section, policy, "definition", key)
        return Source(
            origin=Origin.POLICY if section == "policies" else Origin.OPERATOR_POLICY,
            value=definition[key],
            name=policy,
            path=where,
            policy=made,
        )

    def _by_argument(self, kind: str, name: str, argument: str, value: Any) -> Source:
        plain = Source(origin=Origin.ARGUMENT, value=value, name=argument, argument=argument)
        if self._live:
            return plain
        origin, _, where = self._place(kind, name, "arguments")
        written = getattr(self._network.context.written, kind).get(name)
        if origin is Origin.PATTERN:
            return replace(plain, path=where)
        if argument in written.arguments:
            return replace(plain, path=self._at(kind, name, "arguments", argument))
        field = _FIELDS[argument]
        return replace(plain, origin=Origin.KEY, name=field, path=self._at(kind, name, field))

    def _at(self, kind: str, name: str, *keys: str) -> str:
        return self._network.origins.at(path("topology", kind, name, *keys))

    def _of_property(self, kind: str, name: str, field: str, value: Any) -> Source:
        if self._live:
            return Source(origin=Origin.DECLARED, value=value)
        origin, _, where = self._place(kind, name, field)
        if origin is Origin.PATTERN:
            return Source(origin=origin, value=value, path=where)
        written = getattr(self._network.context.written, kind)[name]
        if field not in written.model_fields_set:
            return Source(origin=Origin.PROGRAM, value=value)
        return Source(origin=Origin.KEY, value=value, name=field, path=where)

    @cached_property
    def _made(self) -> Mapping[tuple[str, str], str]:
        """By kind and name: the policy that is made of the settings of a queue or exchange."""
        return {
            (compiled.policy.apply_to, member): name
            for name, compiled in compile_all(self._network.context.whole).items()
            for member in compiled.members
        }


def _setting(key: str, value: Any, sources: list[Source], target: Target) -> Setting:
    agreeing = [source for source in sources if _comes_to(key, source, target) == value]
    # What none of them says as it is, the broker makes of one of them.
    return Setting(
        key=key,
        value=value,
        sources=tuple(agreeing or sources),
        overruled=tuple(source for source in sources if agreeing and source not in agreeing),
    )


def _comes_to(key: str, source: Source, target: Target) -> Any:
    """Return what a source comes to if there is no other."""
    if source.argument:
        alone = effective.settings(target.type, {source.argument: source.value}, {}, {})
    else:
        alone = effective.settings(target.type, {}, {key: source.value}, {})
    return alone[key]


def _default(key: str, words: str) -> Setting:
    return Setting(key=key, value=words, sources=(Source(origin=Origin.BROKER, value=words),))


def _first(index: Index, target: Target) -> tuple[str, Mapping[str, Any]]:
    name = next(iter(index.matching(target)), None)
    return name or "", index.definition(name)


def _arguments(declared: Declared) -> dict[str, Any]:
    own = declared.own_arguments() if isinstance(declared, Queue) else {}
    return {**own, **declared.arguments}


_FIELDS = {
    "x-max-priority": "max_priority",
    "x-single-active-consumer": "single_active_consumer",
    "x-quorum-initial-group-size": "initial_cluster_size",
    "x-initial-cluster-size": "initial_cluster_size",
    "x-queue-leader-locator": "leader_locator",
    "x-stream-max-segment-size-bytes": "segment_size",
    "x-stream-filter-size-bytes": "filter_size",
}
"""By argument: the key of a queue that makes it."""


def _field(written: Declared, key: str) -> str:
    """Return the key in the config that makes a setting or property."""
    if isinstance(written, Exchange):
        if key == "alternate-exchange":
            return "unroutable" if written.unroutable else "alternate"
        return key
    by_pattern = key == "overflow" and written.overflow is None
    if key.startswith("dead-letter-") or by_pattern:
        return "retry" if written.retry else "dead_letter"
    return key.replace("-", "_")
