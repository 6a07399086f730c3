"""
Advice about policies that are written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from rabbit_topology.compiler import policies, regexes
from rabbit_topology.compiler.context import Context
from rabbit_topology.compiler.effective import Applicable, Index, Target
from rabbit_topology.compiler.settings import Value, keys
from rabbit_topology.config.words import show
from rabbit_topology.errors import Problem, path
from rabbit_topology.findings import GradedProblem, Rule, Severity, advice
from rabbit_topology.model import Policy

_TELLING = frozenset((*keys(value=Value.NUMBER), *keys(value=Value.NAME)))
"""Keys whose values are numbers, however they are written; of the others digits are refused."""


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
        index = Index(written, context.like)
        applied: set[str] = set()
        behind: dict[str, tuple[str, str]] = {}
        for target in policies.objects(context.whole):
            first, *rest = index.matching(target) or [""]
            applied.add(first)
            for lower in rest:
                if written[lower].priority < written[first].priority:
                    behind.setdefault(lower, (first, path("topology", target.kind, target.name)))
                else:
                    applied.add(lower)  # a tie, which is a problem of its own
        for name, (first, example) in behind.items():
            if name not in applied:
                yield Problem(
                    path=path("topology", kind, name, "priority"),
                    value=show(written[name].priority),
                    rule=f"whatever it matches here, {path(kind, first)} matches with "
                    f"a higher priority, for example {example}",
                    fix="raise its priority, narrow the other's pattern, or merge the two",
                )


@advice(
    "policy-switched-off",
    Severity.WARNING,
    "Policies",
    "a policy with one key that a queue's type does not know does not apply to it at all, with "
    "none of its keys",
)
def policy_switched_off(context: Context) -> Iterator[GradedProblem]:
    """Yield keys of policies because of which queues that they match get nothing of them."""
    for kind in ("policies", "operator_policies"):
        index = Index(getattr(context.whole, kind), context.like)
        told: dict[tuple[str, str], list[tuple[Target, bool]]] = {}
        for target in policies.objects(context.whole) if index.policies else ():
            for name, keys_off, certain in index.switched_off(target):
                for key in keys_off:
                    told.setdefault((name, key), []).append((target, certain))
        for (name, key), targets in told.items():
            yield _switched_off(kind, name, key, index.policies[name], targets)


def _switched_off(
    kind: str, name: str, key: str, policy: Applicable, targets: Sequence[tuple[Target, bool]]
) -> GradedProblem:
    queues = [path("topology", target.kind, target.name) for target, _ in targets]
    others = f" and {len(queues) - 1:,} more" if len(queues) > 1 else ""
    lost = "dead-letter-exchange" in policy.definition
    first = targets[0][0]
    certain = any(one for _, one in targets)
    problem = Problem(
        path=path("topology", kind, name, "definition", key),
        value=show(policy.definition[key]),
        rule=f"a {first.type} queue does not know it"
        + ("" if certain else " on some versions of RabbitMQ")
        + f", so nothing of this policy applies to {queues[0]}{others}"
        + (", not even its dead-lettering" if lost else ""),
        fix="remove it, or write a policy of its own for it, with a pattern or `apply_to` that "
        "leaves these queues out",
    )
    severity = Severity.ERROR if lost else Severity.WARNING
    return GradedProblem(severity=severity if certain else Severity.NOTE, problem=problem)


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
                if key in _TELLING:
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
    policy_switched_off,
    digits_in_policy,
)
