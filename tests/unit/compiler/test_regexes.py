"""
What is told of a regular expression that is not run.
"""

from __future__ import annotations

import re

import pytest

from rabbit_topology.compiler import regexes


@pytest.mark.parametrize(
    ("pattern", "anchored"),
    [
        ("^(a)|b", False),
        ("^(a)|^b", True),
        ("^(a|b)", True),
        ("(^a|^b)", False),
        (r"^a\|b", True),
        ("^[|]b", True),
        ("^[]|]b", True),
        ("^[^]|]b", True),
        ("^a[", True),
        (r"\Aa", True),
        (".*", True),
        ("^a|.*", True),
        ("", True),
        ("a|", False),
    ],
)
def test_each_alternative_outside_of_brackets_says_where_a_name_begins(pattern, anchored):
    assert regexes.is_anchored(pattern) is anchored


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [
        ("^orders", "orders"),
        (r"^orders\.new$", "orders.new"),
        ("^orders?", "order"),
        ("^orders*", "order"),
        ("^orders{2}", "order"),
        ("^orders+", "orders"),
        (r"^a\d", "a"),
        (r"^a\+*", "a"),
        ("^a|^b", ""),
        ("orders", ""),
        ("^a\\", "a"),
    ],
)
def test_what_every_name_begins_with(pattern, prefix):
    assert regexes.prefix(pattern) == prefix


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("a(", "missing ), unterminated subpattern at position 1"),
        ("a)", "unbalanced parenthesis at position 1"),
        ("*", "nothing to repeat at position 0"),
        ("a**", "multiple repeat at position 2"),
        ("[", "unterminated character set at position 0"),
        ("a{2,1}", "min repeat greater than max repeat at position 2"),
        ("a\\", "bad escape (end of pattern) at position 1"),
        (r"\K", None),  # which Perl knows
        ("[[:alpha:]]", None),
        ("a", None),
    ],
)
def test_what_is_no_pattern_to_anyone(pattern, why):
    assert regexes.broken(pattern) == why


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("b", "abc", True),
        ("^b", "abc", False),
        ("^.$", "ü", None),  # two bytes
        ("^ü$", "ü", True),
        ("^.*$", "ü", True),
        ("^a", "ü", False),
        ("[[:alpha:]]", "a", None),
        ("a{,2}", "a", None),
        (r"\K", "a", None),
    ],
)
def test_a_pattern_matches_as_the_broker_says_or_only_it_can_tell(pattern, name, expected):
    assert regexes.matches(pattern, name) is expected


def test_a_compiled_pattern_is_kept_and_what_python_reads_otherwise_is_none():
    assert regexes.compiled("a+") == re.compile("a+")
    assert regexes.compiled("[[=a=]]") is None
    assert regexes.compiled("a(") is None
