"""
Findings as text, as JSON, and as SARIF for code hosts and editors.

Source: "Static Analysis Results Interchange Format (SARIF) Version 2.1.0", OASIS standard.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from rabbit_topology.lint_files import Located
from rabbit_topology.rule import Named, Severity

_Json = dict[str, Any]


def lines(found: Sequence[Located]) -> list[tuple[Severity, str]]:
    """Return one line for each finding that is not silenced, as compilers write them."""
    return [(it.finding.severity, _line(it)) for it in found if it.finding.silenced is None]


def summary(found: Sequence[Located]) -> str:
    """Return how many there are of each severity, in words."""
    counts = count(found)
    said = [
        f"{number:,} {name}" if number == 1 or name == "silenced" else f"{number:,} {name}s"
        for name, number in counts.items()
        if number
    ]
    return ", ".join(said) or "nothing found"


def count(found: Sequence[Located]) -> dict[str, int]:
    """Return how many there are of each severity, and how many are silenced."""
    counted = Counter(
        str(it.finding.severity) if it.finding.silenced is None else "silenced" for it in found
    )
    return {name: counted[name] for name in (*Severity, "silenced")}


def as_json(found: Sequence[Located]) -> _Json:
    """Return ``{findings: [{rule, severity, path, …}], counts: {error, warning, …}}``."""
    return {
        "findings": [
            {
                "rule": it.finding.rule.name,
                "severity": it.finding.severity,
                "path": it.finding.problem.path,
                "value": it.finding.problem.value,
                "message": it.finding.problem.rule,
                "fix": it.finding.problem.fix,
                "reason": it.finding.rule.reason,
                "page": it.finding.rule.page,
                "file": it.file,
                "line": it.line,
                "silenced": it.finding.silenced,
            }
            for it in found
        ],
        "counts": count(found),
    }


def as_sarif(found: Sequence[Located], catalogue: Sequence[Named]) -> _Json:
    """Return a SARIF log with one run, all rules, and all findings."""
    index = {rule.name: number for number, rule in enumerate(catalogue)}
    driver = {"name": "rabbit-topology", "rules": [_rule(it) for it in catalogue]}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "columnKind": "unicodeCodePoints",
                "results": [_result(it, index) for it in found],
            }
        ],
    }


def _line(it: Located) -> str:
    finding = it.finding
    return f"{it.file}:{it.line}: {finding.severity}: {finding.problem} [{finding.rule.name}]"


def _rule(rule: Named) -> _Json:
    return {
        "id": rule.name,
        "shortDescription": {"text": rule.reason},
        "help": {"text": f"{rule.reason}. Read: {rule.page}"},
        "defaultConfiguration": {"level": rule.severity},
    }


def _result(it: Located, index: dict[str, int]) -> _Json:
    place = {
        "physicalLocation": {
            "artifactLocation": {"uri": quote(it.file)},
            "region": {"startLine": it.line},
        },
        "logicalLocations": [{"fullyQualifiedName": it.finding.problem.path}],
    }
    result: _Json = {
        "ruleId": it.finding.rule.name,
        "ruleIndex": index[it.finding.rule.name],
        "level": it.finding.severity,
        "message": {"text": str(it.finding.problem)},
        "locations": [place],
    }
    if it.finding.silenced is not None:
        reason = it.finding.silenced
        result["suppressions"] = [{"kind": "external", "justification": reason}]
    return result
