"""
Which version a case runs on where not all of them do.
"""

from __future__ import annotations

from collections import Counter

from tests.support.versions import VERSIONS, one_version_each

EACH = [(case, version) for case in "abcdef" for version in VERSIONS]


def test_each_case_runs_once_and_each_version_as_often():
    chosen = [case for case, runs in zip(EACH, one_version_each([*EACH]), strict=True) if runs]
    assert [case for case, _ in chosen] == [*"abcdef"]
    assert Counter(version for _, version in chosen) == dict.fromkeys(VERSIONS, 2)


def test_what_has_no_version_or_one_always_runs():
    cases = [("a", None), ("a", None), ("b", "3.10"), ("c", "4.0"), ("c", "3.10")]
    assert one_version_each(cases) == [True, True, True, True, False]
