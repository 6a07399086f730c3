"""
Where the broker's policies come to something else than those that are declared.

What applies is worked out as the broker does, with its own policies and with the declared ones, for
the same queue or exchange. Source: "Policies", "Operator Policies", RabbitMQ documentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rabbit_topology.adopt.definitions import Listed
from rabbit_topology.compiler import effective, regexes
from rabbit_topology.compiler.effective import Applicable, Index, Rules, Target
from rabbit_topology.config.words import show
from rabbit_topology.model import TYPE_ARGUMENT, QueueType
from rabbit_topology.model.versions import Version
from rabbit_topology.observe.declared import Declared
from rabbit_topology.observe.drift import Difference

_OF_EXCHANGES = ("alternate-exchange", "federation-upstream", "federation-upstream-set")
"""Keys of policies that mean something for an exchange."""

Policies = Mapping[str, Applicable]


@dataclass(frozen=True, kw_only=True)
class Overruled:
    """A queue or exchange to which something else applies than is declared."""

    kind: str
    """`queue` or `exchange`."""
    name: str
    differences: tuple[Difference, ...]
    by: tuple[str, ...]
    """The policies that apply now and are not declared so, as titles: ``operator policy cap``."""


def find(
    declared: Declared, within: Mapping[str, list[Listed]], like: Version
) -> Iterator[Overruled]:
    """Yield the declared queues and exchanges to which something else applies.

    Args:
        declared: The vhost in the config.
        within: What the broker has in it.
        like: Which of the tested versions the broker behaves like.
    """
    has = tuple(_live(within[key]) for key in ("policies", "operator_policies"))
    wants: tuple[Policies, Policies] = (declared.policies, declared.whole.operator_policies)
    others = tuple(_unlike(*pair) for pair in zip(has, wants, strict=True))
    if not any(others):
        return
    now, then = _rules(has[0], has[1], like), _rules(wants[0], wants[1], like)
    for kind, target, arguments in _objects(declared, within):
        if not any(_reaches(policy, target) for those in others for policy in those.values()):
            continue
        after = then.possible(target, arguments)
        before = [one for one in now.possible(target, arguments) if one not in after]
        differences = tuple(_differences(kind, before[0], after[0])) if before else ()
        if differences:
            by = tuple(_applying(now, others, target))
            yield Overruled(kind=kind, name=target.name, differences=differences, by=by)


def _live(listed: list[Listed]) -> Policies:
    plain = {"apply-to": "all", "priority": 0}
    return effective.live({**plain, **one} for one in listed)


def _unlike(has: Policies, wants: Policies) -> Policies:
    """Return the broker's policies that are not declared so, by name.

    Those that are not there are no part of it: what they are for lacks them, and nothing else.
    """
    return {
        name: one
        for name, one in has.items()
        if name not in wants or _key(one) != _key(wants[name])
    }


def _key(one: Applicable) -> tuple[object, ...]:
    definition = {key: str(value) for key, value in one.definition.items()}
    return one.pattern, one.apply_to, one.priority, definition


def _rules(policies: Policies, operators: Policies, like: Version) -> Rules:
    return effective.rules(policies, operators, [like])[0]


def _objects(
    declared: Declared, within: Mapping[str, list[Listed]]
) -> Iterator[tuple[str, Target, Mapping[str, Any]]]:
    for one in within["queues"]:
        name = str(one.get("name"))
        if name in declared.whole.queues:
            stated = one["arguments"].get(TYPE_ARGUMENT, QueueType.CLASSIC)
            type_ = QueueType(stated) if stated in (*QueueType,) else QueueType.CLASSIC
            yield "queue", Target(kind="queues", name=name, type=type_), one["arguments"]
    for one in within["exchanges"]:
        name = str(one.get("name"))
        if name in declared.whole.exchanges:
            yield "exchange", Target(kind="exchanges", name=name), one["arguments"]


def _reaches(policy: Applicable, target: Target) -> bool:
    """Return whether a policy may match: of a pattern that cannot be read that is not known."""
    matched = regexes.matches(policy.pattern, target.name)
    return target.takes(policy.apply_to) and matched is not False


def _differences(
    kind: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[Difference]:
    for key in {**after, **before}:
        means_nothing = kind == "exchange" and key not in _OF_EXCHANGES
        if before.get(key) != after.get(key) and not means_nothing:
            change = f"{_shown(before.get(key))} -> {_shown(after.get(key))}"
            yield Difference(field=key, change=change)


def _shown(value: object) -> str:
    return "none" if value is None else show(value)


def _applying(now: Rules, others: tuple[Policies, ...], target: Target) -> Iterator[str]:
    pairs: tuple[tuple[str, Index], ...] = (
        ("policy", now.policies),
        ("operator policy", now.operators),
    )
    for (noun, index), those in zip(pairs, others, strict=True):
        yield from (f"{noun} {name}" for name in index.applying(target) if name in those)
