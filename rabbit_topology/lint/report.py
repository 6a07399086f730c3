"""
Findings as text, as JSON, as annotations, and as SARIF for code hosts and editors.

Source: "Static Analysis Results Interchange Format (SARIF) Version 2.1.0", OASIS standard;
"Workflow commands for GitHub Actions", GitHub documentation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from rabbit_topology.findings import RuleInfo, Severity
from rabbit_topology.lint.files import Located

_Json = dict[str, Any]

_ANNOTATIONS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def lines(located: Sequence[Located]) -> list[tuple[Severity, str]]:
    """Return one line for each finding that is not silenced, as compilers write them."""
    return [(one.finding.severity, _line(one)) for one in located if one.finding.silenced is None]


def as_annotations(located: Sequence[Located]) -> list[str]:
    """Return one line for each finding that is not silenced, as GitHub's runner reads it."""
    return [_annotation(one) for one in located if one.finding.silenced is None]


def summary(located: Sequence[Located]) -> str:
    """Return how many there are of each severity, in words."""
    counts = count(located)
    said = [
        f"{number:,} {name}" if number == 1 or name == "silenced" else f"{number:,} {name}s"
        for name, number in counts.items()
        if number
    ]
    return ", ".join(said) or "nothing found"


def count(located: Sequence[Located]) -> dict[str, int]:
    """Return how many there are of each severity, and how many are silenced."""
    counted = Counter(
        str(one.finding.severity) if one.finding.silenced is None else "silenced" for one in located
    )
    return {name: counted[name] for name in (*Severity, "silenced")}


def as_json(located: Sequence[Located]) -> _Json:
    """Return ``{findings: [{rule, severity, path, …}], counts: {error, warning, …}}``."""
    return {
        "findings": [
            {
                "rule": one.finding.rule.name,
                "severity": one.finding.severity,
                "path": one.finding.problem.path,
                "value": one.finding.problem.value,
                "message": one.finding.problem.rule,
                "fix": one.finding.problem.fix,
                "reason": one.finding.rule.reason,
                "page": one.finding.rule.page,
                "file": one.file,
                "line": one.place.line,
                "column": one.place.column,
                "silenced": one.finding.silenced,
            }
            for one in located
        ],
        "counts": count(located),
    }


def as_sarif(located: Sequence[Located], catalogue: Sequence[RuleInfo]) -> _Json:
    """Return a SARIF log with one run, all rules, and all findings."""
    index = {rule.name: number for number, rule in enumerate(catalogue)}
    driver = {"name": "rabbit-topology", "rules": [_rule(named) for named in catalogue]}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "columnKind": "unicodeCodePoints",
                "results": [_result(one, index) for one in located],
            }
        ],
    }


def _line(located: Located) -> str:
    finding = located.finding
    where = f"{located.file}:{located.place.line}:{located.place.column}"
    return f"{where}: {finding.severity}: {finding.problem} [{finding.rule.name}]"


def workflow_command(located: Located, title: str, message: str) -> str:
    """Return the line by which GitHub's runner shows a message beside the line of a file."""
    place = located.place
    properties = {
        "file": located.file,
        "line": str(place.line),
        "col": str(place.column),
        "title": title,
    }
    stated = ",".join(f"{key}={_escaped(value, ':,')}" for key, value in properties.items())
    return f"::{_ANNOTATIONS[located.finding.severity]} {stated}::{_escaped(message)}"


def _annotation(located: Located) -> str:
    finding = located.finding
    title = f"{finding.rule.name}: {finding.problem.path}"
    return workflow_command(located, title, str(finding.problem))


def _escaped(text: str, more: str = "") -> str:
    for character in f"%\r\n{more}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def _rule(rule: RuleInfo) -> _Json:
    return {
        "id": rule.name,
        "shortDescription": {"text": rule.reason},
        "help": {"text": f"{rule.reason}. Read: {rule.page}"},
        "defaultConfiguration": {"level": rule.severity},
    }


def _result(located: Located, index: dict[str, int]) -> _Json:
    place = {
        "physicalLocation": {
            "artifactLocation": {"uri": quote(located.file)},
            "region": {
                "startLine": located.place.line,
                "startColumn": located.place.column,
            },
        },
        "logicalLocations": [{"fullyQualifiedName": located.finding.problem.path}],
    }
    result: _Json = {
        "ruleId": located.finding.rule.name,
        "ruleIndex": index[located.finding.rule.name],
        "level": located.finding.severity,
        "message": {"text": str(located.finding.problem)},
        "locations": [place],
    }
    if located.finding.silenced is not None:
        reason = located.finding.silenced
        result["suppressions"] = [{"kind": "external", "justification": reason}]
    return result
