"""
What a rule is: a name, a reason, a page to read, and a function that finds what is against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from rabbit_topology.errors import Problem


class Severity(StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    """It fails, in a deployment or at the broker."""
    WARNING = "warning"
    """Messages can be lost, or something does not do what it seems to."""
    NOTE = "note"
    """It can be meant so."""


@dataclass(frozen=True, kw_only=True)
class RuleInfo:
    """What a finding says of the rule that it is against."""

    name: str
    severity: Severity = Severity.ERROR
    """Of its findings, where they do not depend on the broker's version."""
    reason: str
    """Why it is a rule."""
    page: str
    """The title of a page of the RabbitMQ or Pulumi documentation, or of the README's section."""
    silenceable: bool = False
    """`rabbit-topology:lint` can leave its findings out. What a deployment refuses cannot be."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is against a rule."""

    rule: RuleInfo
    severity: Severity
    problem: Problem
    silenced: str | None = None
    """Why it is left out, in the words of the one who did so."""


@dataclass(frozen=True, kw_only=True)
class GradedProblem:
    """A problem whose severity depends on more than the rule: on the broker's version."""

    severity: Severity
    problem: Problem


_Subject = TypeVar("_Subject")
_Check = Callable[[_Subject], Iterable[Problem | GradedProblem]]


@dataclass(frozen=True, kw_only=True)
class Rule(RuleInfo, Generic[_Subject]):
    """A rule, and how to find what is against it in what it is about."""

    check: _Check[_Subject]

    def find(self, subject: _Subject) -> Iterator[Finding]:
        """Yield what is against the rule."""
        for problem in self.check(subject):
            if isinstance(problem, GradedProblem):
                yield Finding(rule=self, severity=problem.severity, problem=problem.problem)
            else:
                yield Finding(rule=self, severity=self.severity, problem=problem)


def rule(name: str, page: str, reason: str) -> Callable[[_Check[_Subject]], Rule[_Subject]]:
    """Make a function a rule that no deployment may be against."""
    return lambda check: Rule(name=name, page=page, reason=reason, check=check)


def advice(
    name: str, severity: Severity, page: str, reason: str
) -> Callable[[_Check[_Subject]], Rule[_Subject]]:
    """Make a function a rule that may be broken with a reason."""
    return lambda check: Rule(
        name=name, severity=severity, page=page, reason=reason, check=check, silenceable=True
    )
