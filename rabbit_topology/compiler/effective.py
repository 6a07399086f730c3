"""
What applies to a queue or exchange in the end: of its arguments and of all policies that match.

Of the policies that match, the one with the highest priority applies, and none of the others. One
with a key that the queue's type does not know does not apply at all, not even with its other keys.
Operator policies are chosen in the same way, and limit what comes out. Where that cannot be told,
all that is possible is returned and who asks decides: policies of the same priority, patterns that
only the broker can read, and versions between those that the rules were tried on.

No I/O. Source: "Policies", "Operator Policies", RabbitMQ documentation; `rabbit_policy:match_all`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rabbit_topology.compiler import regexes
from rabbit_topology.compiler.settings import BY_KEY, TESTED, Value
from rabbit_topology.model import Overflow, QueueType
from rabbit_topology.model.versions import Version


class Applicable(Protocol):
    """A policy, as far as this needs to know it: one of the model, or `Live`."""

    @property
    def pattern(self) -> str:
        """A regular expression over names."""

    @property
    def apply_to(self) -> str:
        """`all`, `exchanges`, `queues`, or queues of one type."""

    @property
    def priority(self) -> float:
        """The highest applies."""

    @property
    def definition(self) -> Mapping[str, Any]:
        """What it sets."""


@dataclass(frozen=True, kw_only=True)
class Live:
    """A policy as the broker has it."""

    pattern: str
    apply_to: str
    priority: float
    definition: Mapping[str, Any]


def live(listed: Iterable[Mapping[str, Any]]) -> dict[str, Live]:
    """Return policies by name, from what the management API lists."""
    return {
        policy["name"]: Live(
            pattern=policy["pattern"],
            apply_to=policy["apply-to"],
            priority=policy["priority"],
            definition=dict(policy["definition"]),
        )
        for policy in listed
    }


@dataclass(frozen=True, kw_only=True)
class Target:
    """What policies can apply to."""

    kind: str
    """`queues` or `exchanges`."""
    name: str
    type: QueueType | None = None
    """Of a queue."""

    def takes(self, apply_to: str) -> bool:
        """Return whether a policy that is for ``apply_to`` is for such an object."""
        able = {"all", self.kind}
        if self.type:
            able |= {f"{self.type}_queues", f"{self.type}s"}
        return apply_to in able


class Index:
    """Policies, or operator policies, of one vhost, to be asked which apply.

    Most patterns say what a name begins with: only those that begin as a name does are tried, so
    that many policies and many queues are not many times many. The others are tried on each name.
    """

    def __init__(
        self, policies: Mapping[str, Applicable], like: Sequence[Version] = TESTED
    ) -> None:
        """Sort the policies; ``like`` are the versions that the broker may behave like."""
        self.policies = policies
        self._like = like
        self._by_prefix: dict[str, list[tuple[str, Applicable]]] = {}
        for key, policy in policies.items():
            begin = regexes.prefix(policy.pattern) if regexes.compiled(policy.pattern) else ""
            self._by_prefix.setdefault(begin, []).append((key, policy))
        self._lengths = sorted({len(begin) for begin in self._by_prefix})

    def matching(self, target: Target) -> list[str]:
        """Return the names of the policies that match, the one that applies first.

        Not those with patterns that only the broker can read, nor those that are switched off.
        """
        return [key for key, matched, _ in self._ranked(target) if matched]

    def applying(self, target: Target) -> list[str | None]:
        """Return the name of the policy that applies; None where none does.

        Several if it may be any of them.
        """
        possible: list[str | None] = []
        priority: float | None = None
        for key, matched, able in self._ranked(target):
            if priority is not None and self.policies[key].priority < priority:
                return possible
            possible.append(key)
            if matched and able:
                priority = self.policies[key].priority
        return possible if priority is not None else [*possible, None]

    def switched_off(self, target: Target) -> Iterator[tuple[str, list[str], bool]]:
        """Yield the policies that match and do not apply, because of keys that the type lacks.

        Each with these keys, and whether that is so on all versions that the broker may be like.
        """
        for key, policy in self._candidates(target.name):
            reasons = [off_keys(policy.definition, target.type, one) for one in self._like]
            if any(reasons) and _matches(policy, target):
                yield key, sorted({name for names in reasons for name in names}), all(reasons)

    def definition(self, key: str | None) -> Mapping[str, Any]:
        """Return what a policy sets, nothing for None."""
        return {} if key is None else self.policies[key].definition

    def _ranked(self, target: Target) -> list[tuple[str, bool, bool]]:
        """Return what may apply, the highest priority first.

        Each with whether it certainly matches, and whether its keys are certainly all known.
        """
        ranked: list[tuple[str, bool, bool]] = []
        for key, policy in self._candidates(target.name):
            matched = _matches(policy, target)
            off = [bool(off_keys(policy.definition, target.type, one)) for one in self._like]
            if matched is not False and not all(off):
                ranked.append((key, bool(matched), not any(off)))
        return sorted(ranked, key=lambda one: -self.policies[one[0]].priority)

    def _candidates(self, name: str) -> Iterator[tuple[str, Applicable]]:
        for length in self._lengths:
            if length <= len(name):
                yield from self._by_prefix.get(name[:length], ())


def _matches(policy: Applicable, target: Target) -> bool | None:
    return target.takes(policy.apply_to) and regexes.matches(policy.pattern, target.name)


def off_keys(definition: Mapping[str, Any], type_: QueueType | None, like: Version) -> list[str]:
    """Return the keys because of which a policy does not apply to queues of a type at all.

    Args:
        definition: The policy's.
        type_: The queues'; None: exchanges, which take any policy.
        like: Which of the versions that were tested the broker behaves like.
    """
    return [
        key
        for key in definition
        if type_ and key in BY_KEY and like in BY_KEY[key].off.get(type_, ())
    ]


def able(definition: Mapping[str, Any], type_: QueueType | None) -> dict[str, Any]:
    """Return what of a definition no version of the broker holds against a queue type."""
    off = {key for like in TESTED for key in off_keys(definition, type_, like)}
    return {key: value for key, value in definition.items() if key not in off}


def settings(
    type_: QueueType | None,
    arguments: Mapping[str, Any],
    policy: Mapping[str, Any],
    operator: Mapping[str, Any],
    like: Version = TESTED[-1],
) -> dict[str, Any]:
    """Return what a queue's or exchange's arguments and policies come to, by the keys of policies.

    Args:
        type_: The queue's; None: it is an exchange.
        arguments: As it is declared with, ``x-message-ttl`` for example.
        policy: The definition of the policy that applies to it.
        operator: The definition of the operator policy that applies to it.
        like: Which of the versions that were tested the broker behaves like.
    """
    merged = {key: _plain(key, value) for key, value in policy.items()}
    for key, value in operator.items():
        merged[key] = _both(key, merged.get(key), _plain(key, value), operator=True)
    for name, value in arguments.items():
        key = name.removeprefix("x-")
        merged[key] = _both(key, merged.get(key), _plain(key, value), type_=type_, like=like)
    if type_ is QueueType.QUORUM and merged.get("overflow") == Overflow.REJECT_PUBLISH_DLX:
        merged["overflow"] = Overflow.DROP_HEAD.value  # which is what the broker makes of it
    return merged


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The policies of one vhost, on a broker that behaves like one of the tested versions."""

    policies: Index
    operators: Index
    like: Version

    def possible(self, target: Target, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return what applies to a queue or exchange, as `settings` does; all that it may be."""
        outcomes: list[dict[str, Any]] = []
        for policy in self.policies.applying(target):
            for operator in self.operators.applying(target):
                definitions = self.policies.definition(policy), self.operators.definition(operator)
                outcome = settings(target.type, arguments, *definitions, self.like)
                if outcome not in outcomes:
                    outcomes.append(outcome)
        return outcomes


def rules(
    policies: Mapping[str, Applicable],
    operators: Mapping[str, Applicable],
    versions: Iterable[Version],
) -> list[Rules]:
    """Return what decides in a vhost, for each of the versions that its broker may behave like."""
    return [
        Rules(policies=Index(policies, [like]), operators=Index(operators, [like]), like=like)
        for like in versions
    ]


def _both(
    key: str,
    first: Any,
    second: Any,
    *,
    type_: QueueType | None = None,
    like: Version = TESTED[-1],
    operator: bool = False,
) -> Any:
    if first is None:
        return second
    setting = BY_KEY.get(key)
    if setting is None:
        return second
    combine = setting.with_operator if operator else setting.combine(type_, like)
    try:
        return combine(first, second)
    except TypeError:  # no number where one should be: the broker would not have taken it
        return first


def _plain(key: str, value: Any) -> Any:
    """Return a number that is written as text, as the provider is given it, as a number."""
    setting = BY_KEY.get(key)
    if setting and setting.value is Value.NUMBER and isinstance(value, str):
        return int(value) if re.fullmatch(r"[+-]?[0-9]+", value) else value
    return value
