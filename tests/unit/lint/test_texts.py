"""
All that lint says, in full: `texts.txt` has it in one place, to be read and not only compared.

After a change that is meant: ``python -m tests.unit.lint.test_texts``.
"""

from __future__ import annotations

from pathlib import Path

from rabbit_topology.lint import check as lint
from rabbit_topology.lint.reading import read
from tests.support.problems import says_all
from tests.unit.lint import (
    test_lint,
    test_parse,
    test_rules_services,
    test_rules_settings,
    test_rules_values,
)

TEXTS = Path(__file__).with_name("texts.txt")


def stacks():
    """Yield each config that the tests of this folder have something found in."""
    for _, version, changes, expected in test_lint.CASES:
        if expected:
            yield read(test_lint.topology(**changes), {"version": version} if version else None)
    for cases in (test_parse.BAD, test_rules_settings.BAD, test_rules_values.BAD):
        for topology, *_ in cases.values():
            yield read(topology)
    for said, *_ in test_rules_services.BAD:
        yield read({**test_rules_services.TOPOLOGY, "services": {"s": said}})


def texts():
    lines = {
        f"{finding.severity} {finding.rule.name}: {says_all(finding.problem)}"
        for stack in stacks()
        for finding in lint.check(stack)
    }
    return "".join(f"{line}\n" for line in sorted(lines))


def test_everything_is_said_as_it_was():
    assert texts() == TEXTS.read_text(encoding="utf-8")


if __name__ == "__main__":
    TEXTS.write_text(texts(), encoding="utf-8")
