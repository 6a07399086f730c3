"""
Advice about policies that are written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from rabbit_topology import policies, regexes
from rabbit_topology.context import Context
from rabbit_topology.errors import Problem, path
from rabbit_topology.model import Policy
from rabbit_topology.rule import Rule, Severity, advice
from rabbit_topology.rules_settings import TEXTS
from rabbit_topology.words import show

_NUMBERS = {
    "max-length",
    "max-length-bytes",
    "message-ttl",
    "expires",
    "delivery-limit",
    "consumer-timeout",
    "delayed-retry-min",
    "delayed-retry-max",
    "queue-version",
    "stream-max-segment-size-bytes",
    "stream-filter-size-bytes",
    "initial-cluster-size",
    "target-group-size",
    "max-in-memory-length",
    "max-in-memory-bytes",
}
"""Keys whose values are numbers, however they are written."""


@advice(
    "unanchored-pattern",
    Severity.WARNING,
    "Parameters and Policies",
    "a pattern is found anywhere in a name: `orders` matches `old-orders` too",
)
def unanchored_pattern(context: Context) -> Iterator[Problem]:
    """Yield patterns that do not say where a name begins."""
    for where, policy in context.policies():
        if not regexes.is_anchored(policy.pattern):
            yield Problem(
                path=f"{where}.pattern",
                value=show(policy.pattern),
                rule="it matches in the middle of names too",
                fix="begin it, and each of its alternatives, with `^`, and end it with `$` if "
                'nothing may follow; ".*" for all',
            )


@advice(
    "unreadable-pattern",
    Severity.WARNING,
    "Parameters and Policies",
    "this program cannot tell what it applies to, and the broker may refuse it",
)
def unreadable_pattern(context: Context) -> Iterator[Problem]:
    """Yield patterns that are no regular expressions, at least none of Python's."""
    for where, policy in context.policies():
        if regexes.compiled(policy.pattern) is None:
            yield Problem(
                path=f"{where}.pattern",
                value=show(policy.pattern),
                rule="it is not a regular expression that is known here",
                fix="write a simpler one",
            )


@advice(
    "shadowed-policy",
    Severity.WARNING,
    "Parameters and Policies",
    "one policy applies to a queue or exchange, the one with the highest priority: the others are "
    "without effect",
)
def shadowed_policy(context: Context) -> Iterator[Problem]:
    """Yield policies that apply to nothing, since where they match others do with more right."""
    for kind in ("policies", "operator_policies"):
        written: Mapping[str, Policy] = getattr(context.whole, kind)
        if not written:
            continue
        index = policies.Index(written)
        applied: set[str] = set()
        behind: dict[str, tuple[str, str]] = {}
        for objects, name, type_ in policies.objects(context.whole):
            first, *rest = index.matching(objects, name, type_) or [""]
            applied.add(first)
            for it in rest:
                if written[it].priority < written[first].priority:
                    behind.setdefault(it, (first, path("topology", objects, name)))
                else:
                    applied.add(it)  # a tie, which is a problem of its own
        for name, (first, example) in behind.items():
            if name not in applied:
                yield Problem(
                    path=path("topology", kind, name, "priority"),
                    value=show(written[name].priority),
                    rule=f"whatever it matches here, {path('topology', kind, first)} matches with "
                    f"a higher priority, for example {example}",
                    fix="raise its priority, narrow the other's pattern, or merge the two",
                )


@advice(
    "digits-in-policy",
    Severity.WARNING,
    "Parameters and Policies",
    "the provider sends text that is all digits as a number",
)
def digits_in_policy(context: Context) -> Iterator[Problem]:
    """Yield text of digits that may be meant as text."""
    for where, policy in context.policies():
        for key, value in policy.definition.items():
            if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]+", value):
                if key in _NUMBERS or key in TEXTS:  # the latter are refused
                    continue
                yield Problem(
                    path=f"{where}.{path('definition', key)}",
                    value=show(value),
                    rule="the broker gets it as a number",
                    fix="leave the quotes out if it is one; text of digits cannot be sent",
                )


RULES: tuple[Rule[Context], ...] = (
    unanchored_pattern,
    unreadable_pattern,
    shadowed_policy,
    digits_in_policy,
)
