"""
A drift in words: for a terminal, for programs, for code hosts and for pull requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rabbit_topology.config.words import printable
from rabbit_topology.errors import Problem
from rabbit_topology.findings import Finding, RuleInfo, Severity
from rabbit_topology.lint.files import Located
from rabbit_topology.lint.report import workflow_command
from rabbit_topology.observe.drift import Drift, Report, State
from rabbit_topology.observe.markdown import COMMENT, cell

_PAGE = "docs/how-to/see-and-compare.md"

RULES: Mapping[State, RuleInfo] = {
    State.CHANGED: RuleInfo(
        name="drift-changed",
        severity=Severity.WARNING,
        reason="what is deployed is not what the config says, and the next run may undo it",
        page=_PAGE,
        silenceable=True,
    ),
    State.OVERRULED: RuleInfo(
        name="drift-overruled",
        severity=Severity.WARNING,
        reason="a policy of others has other settings apply than those that are declared",
        page=_PAGE,
        silenceable=True,
    ),
    State.MISSING: RuleInfo(
        name="drift-missing",
        severity=Severity.ERROR,
        reason="who relies on what the config says does not get it",
        page=_PAGE,
        silenceable=True,
    ),
    State.UNMANAGED: RuleInfo(
        name="drift-unmanaged",
        severity=Severity.NOTE,
        reason="nobody reviews it, and no run keeps it as it is",
        page=_PAGE,
        silenceable=True,
    ),
}

_SAID = {
    State.CHANGED: "it is not as it is declared",
    State.OVERRULED: "something else applies to it than is declared",
    State.MISSING: "it is declared, and not there",
    State.UNMANAGED: "it is there, and not declared",
}

_HEADS = {
    State.CHANGED: "not as declared",
    State.OVERRULED: "something else applies than is declared",
    State.MISSING: "declared, and not there",
    State.UNMANAGED: "there, and not declared",
}

SHOWN = 50
"""Objects of each state that a person is shown; programs get all."""

_ANNOTATIONS = 10
"""So many of a kind does GitHub show for one step."""

_COMMENT = COMMENT - 5_536
"""Characters of the table: the rest is for what else there is."""


def text(report: Report) -> Iterator[tuple[State | None, str]]:
    """Yield lines for a person, each with the state that it is of."""
    for state in State:
        those = [one for one in report.open if one.state is state]
        if not those:
            continue
        yield state, f"{state}: {len(those):,}, {_HEADS[state]}"
        for one in those[:SHOWN]:
            yield None, printable(f"  {one.place}")
            yield from ((None, printable(f"      {each}")) for each in one.differences)
            yield from ((None, printable(f"      {mend.action}: {mend.do}")) for mend in one.mends)
        if len(those) > SHOWN:
            yield None, f"  and {len(those) - SHOWN:,} more, all of them in --format json"
        yield None, ""
    for line in _besides(report):
        yield None, printable(line)
    if report.open:
        yield None, "meant to be so? --ignore FILE takes objects out, each with a reason"
    yield None, report.summary()


def as_json(report: Report) -> dict[str, Any]:
    """Return ``{endpoint, version, equal, counts, drifts: [{state, title, …}], …}``."""
    return {
        "endpoint": report.endpoint,
        "version": report.version,
        "drifted": bool(report.open),
        "equal": report.equal,
        "counts": report.counts(),
        "drifts": [
            {
                "state": one.state,
                "object": one.title,
                "vhost": one.vhost,
                "path": one.path,
                "differences": [
                    {"field": each.field, "change": each.change} for each in one.differences
                ],
                "mends": [{"action": mend.action, "do": mend.do} for mend in one.mends],
                "ignore": _ignore(one),
                "ignored": one.ignored,
            }
            for one in report.drifts
        ],
        "unchecked": [*report.unchecked],
        "others": dict(report.others),
        "unused_ignores": [*report.unused],
    }


def findings(report: Report) -> list[Finding]:
    """Return each drift as a finding of the config; what is ignored says so."""
    return [
        Finding(
            rule=RULES[one.state],
            severity=RULES[one.state].severity,
            problem=Problem(path=one.path, value=one.place, rule=_what(one), fix=_fix(one)),
            silenced=one.ignored,
        )
        for one in report.drifts
    ]


def workflow_commands(located: Sequence[Located]) -> Iterator[str]:
    """Yield workflow commands, with which GitHub shows findings beside the lines of a file."""
    left = dict.fromkeys(Severity, _ANNOTATIONS)
    for one in located:
        if one.finding.silenced is not None:
            continue
        severity = one.finding.severity
        if left[severity] == 0:
            continue
        left[severity] -= 1
        problem = one.finding.problem
        yield workflow_command(one, problem.value, f"{problem.rule}; {problem.fix}")


def markdown(report: Report, name: str) -> str:
    """Return a job summary or comment: what is drifted in a table, all else folded."""
    verdict = report.summary().partition("; ")[2] or "none"
    lines = [f"### Drift of {cell(name)}: {verdict}", ""]
    if report.open:
        lines += ["| | object | difference | what mends it |", "| --- | --- | --- | --- |"]
    size = sum(map(len, lines))
    for number, one in enumerate(report.open):
        row = f"| {one.state} | {cell(one.place)} | {_differences(one)} | {_mends(one)} |"
        size += len(row) + 1
        if size > _COMMENT:
            lines.append(f"\nand {len(report.open) - number:,} more")
            break
        lines.append(row)
    besides = [f"- {cell(line)}" for line in _besides(report)][:SHOWN]
    besides.append(f"- {report.equal:,} objects are as they are declared")
    title = "<details><summary>What else</summary>"
    return "\n".join([*lines, "", title, "", *besides, "", "</details>"]) + "\n"


def _besides(report: Report) -> Iterator[str]:
    for one in report.drifts:
        if one.ignored is not None:
            yield f"ignored: {one.place} is {one.state}: {one.ignored}"
    for line in report.unused:
        yield f"ignores nothing: {line}"
    for vhost, count in report.others.items():
        objects = "1 object" if count == 1 else f"{count:,} objects"
        yield f"not counted: {objects} of others in vhost {vhost}, which the stack does not make"
    for line in report.unchecked:
        yield f"not compared: {line}"


def _what(one: Drift) -> str:
    listed = ", ".join(map(str, one.differences))
    return f"{_SAID[one.state]}: {listed}" if listed else _SAID[one.state]


def _fix(one: Drift) -> str:
    return "; or ".join(f"{mend.action}: {mend.do}" for mend in one.mends)


def _ignore(one: Drift) -> dict[str, str]:
    """Return the entry that would leave it out, once it has a reason."""
    within = {"vhost": one.vhost} if one.vhost else {}
    return {"object": one.title, **within, "reason": ""}


def _differences(one: Drift) -> str:
    return "<br>".join(cell(str(each)) for each in one.differences)


def _mends(one: Drift) -> str:
    return "<br>".join(f"{mend.action}: <code>{cell(mend.do)}</code>" for mend in one.mends)
