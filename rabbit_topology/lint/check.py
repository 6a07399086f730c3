"""
All that can be said about a stack's config without a broker: what is wrong, and what is risky.

Pure: from what `reading.read` returns to findings, sorted as they were found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from rabbit_topology.compiler.context import Context
from rabbit_topology.config import words
from rabbit_topology.config.stack import SHAPE, Stack, moved
from rabbit_topology.errors import Problem, path
from rabbit_topology.findings import Finding, Rule, RuleInfo, Severity
from rabbit_topology.lint import (
    advice_cycles,
    advice_links,
    advice_policies,
    advice_queues,
    advice_routing,
    advice_versions,
    rules,
    rules_services,
)
from rabbit_topology.model import Ignore, versions
from rabbit_topology.model.versions import Version

ADVICE: tuple[Rule[Context], ...] = (
    *advice_queues.RULES,
    *advice_cycles.RULES,
    *advice_routing.RULES,
    *advice_policies.RULES,
    *advice_links.RULES,
    *advice_versions.RULES,
)

BASE = RuleInfo(
    name="base",
    reason="without its base a stack is only a part of what it should be",
    page="the README, Shared topologies",
)
ENCRYPTED = RuleInfo(
    name="encrypted",
    severity=Severity.NOTE,
    reason="what is encrypted as a whole can only be checked by a deployment",
    page="the README, Lint",
)
UNKNOWN_KEY = RuleInfo(
    name="unknown-key",
    severity=Severity.WARNING,
    reason="nothing reads it, and Pulumi says nothing about it",
    page="the README, Config reference",
)
PLAIN_SECRET = RuleInfo(
    name="plain-secret",
    severity=Severity.WARNING,
    reason="who can read the file can read it, and so can who reads its history",
    page="Secrets",
    silenceable=True,
)
EXPECTED = RuleInfo(
    name="expectation",
    reason="what a stack expects of its routes is what they are for",
    page="the README, Where messages go",
)
IGNORED = RuleInfo(
    name="wrong-ignore",
    reason="it silences nothing",
    page="the README, Lint",
)
UNUSED = RuleInfo(
    name="unused-ignore",
    severity=Severity.NOTE,
    reason="it would silence what comes there later, unread",
    page="the README, Lint",
)

CATALOGUE: tuple[RuleInfo, ...] = (
    SHAPE,
    BASE,
    ENCRYPTED,
    UNKNOWN_KEY,
    PLAIN_SECRET,
    *rules.AS_WRITTEN,
    *rules.SPELLED_OUT,
    rules_services.across_vhosts,
    rules_services.SEED,
    rules_services.OWN_USER,
    *rules.OF_BROKER,
    *ADVICE,
    EXPECTED,
    IGNORED,
    UNUSED,
)
"""Every rule that there is."""


def check(
    stack: Stack,
    version: Version | None = None,
    denied: frozenset[str] = frozenset(),
    besides: Iterable[Finding] = (),
) -> list[Finding]:
    """Return everything that is against a rule; what is silenced says so.

    Args:
        stack: The config. If there is something in it that is not understood, no advice is given:
            what was left out may be what it is about.
        version: The broker's, where it is known; default: what the config says.
        denied: The deprecated features that the broker denies, where it was asked.
        besides: What was found elsewhere, and can be silenced as well.
    """
    findings = [*besides, *stack.errors]
    if not any(finding.rule is SHAPE for finding in findings):
        known = version or _version(stack)
        for root, written in stack.written.items():
            context = Context(
                written=written, whole=stack.whole[root], version=known, denied=denied
            )
            findings += (moved(finding, root) for rule in ADVICE for finding in rule.find(context))
    return list(_silenced(findings, stack.lint.ignore))


def unsilenced(findings: Iterable[Finding], *severities: Severity) -> list[Finding]:
    """Return those of some severities that nobody has silenced."""
    return [
        finding
        for finding in findings
        if finding.severity in severities and finding.silenced is None
    ]


def _version(stack: Stack) -> Version | None:
    try:
        return versions.parse(stack.broker.version) if stack.broker.version else None
    except ValueError:  # a rule says so
        return None


def _silenced(findings: Sequence[Finding], ignored: Sequence[Ignore]) -> Iterator[Finding]:
    rules_by_name = {named.name: named for named in CATALOGUE}
    used: set[int] = set()
    by_rule: dict[str, list[tuple[int, Ignore]]] = {}
    for index, ignore in enumerate(ignored):
        by_rule.setdefault(ignore.rule, []).append((index, ignore))
    for finding in findings:
        reasons = []
        for index, ignore in by_rule.get(finding.rule.name, ()):
            if finding.rule.silenceable and _is_below(finding.problem.path, ignore.path):
                used.add(index)
                reasons.append(ignore.reason)
        yield replace(finding, silenced=reasons[0]) if reasons else finding
    for index, ignore in enumerate(ignored):
        here = path("lint", "ignore", index)
        known = rules_by_name.get(ignore.rule)
        if known is None:
            problem = Problem(
                path=f"{here}.rule",
                value=words.show(ignore.rule),
                rule="there is no such rule",
                fix=words.suggest(ignore.rule, rules_by_name),
            )
            yield Finding(rule=IGNORED, severity=IGNORED.severity, problem=problem)
        elif not known.silenceable:
            problem = Problem(
                path=f"{here}.rule",
                value=words.show(ignore.rule),
                rule="what it finds fails a deployment, whoever ignores it",
                fix="correct what it finds, and remove this",
            )
            yield Finding(rule=IGNORED, severity=IGNORED.severity, problem=problem)
        elif index not in used:
            problem = Problem(
                path=here,
                value=words.show(ignore.path),
                rule=f"{ignore.rule} finds nothing there",
                fix="remove it, or correct its path",
            )
            yield Finding(rule=UNUSED, severity=UNUSED.severity, problem=problem)


def _is_below(where: str, beginning: str) -> bool:
    return where.startswith(beginning) and where[len(beginning) :][:1] in ("", ".", "[")
