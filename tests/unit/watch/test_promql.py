"""
PromQL of names that hold what it takes for its own.
"""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabbit_topology.watch import promql

ODD = [
    'say "x"',
    "back\\slash",
    "line\nbreak",
    "a.b",
    "(a|b)*",
    "^$",
    "ü€😀",
    "$job",
    "[[x]]",
    "{}",
]
NAMES = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(ODD)


def read(literal):
    """Return what a PromQL string literal means, as Go's `strconv` does: JSON knows no `\\x`."""
    return json.loads(re.sub(r"((?:^|[^\\])(?:\\\\)*)\\x(..)", r"\1\\u00\2", _twice(literal)))


def _twice(literal):
    # Numbers that follow each other: the pattern above takes one of two neighbours.
    return re.sub(r"(\\x..)(?=\\x)", lambda one: "\\u00" + one[1][2:], literal)


@given(NAMES)
def test_a_literal_means_the_text_and_has_nothing_that_grafana_fills_in(name):
    literal = promql.text(name)
    assert read(literal) == name
    assert "$" not in literal
    assert "[[" not in literal
    assert "\n" not in literal


@pytest.mark.parametrize(
    ("name", "literal"),
    [
        ("orders.new", '"orders.new"'),
        ('say "x"', r'"say \"x\""'),
        ("back\\slash", r'"back\\slash"'),
        ("line\nbreak\ttab", r'"line\nbreak\ttab"'),
        ("ü€😀", '"ü€😀"'),
        ("a$b", r'"a\x24b"'),
        ("[[b]]", r'"\x5b\x5bb]]"'),
    ],
)
def test_literals(name, literal):
    assert promql.text(name) == literal


@given(st.lists(NAMES.filter(bool), min_size=1, max_size=4), NAMES)
def test_a_pattern_matches_its_texts_whole_and_nothing_else(names, other):
    # These characters alone are special to Go's expressions, and to Python's alike.
    anchored = re.compile(f"(?s:{promql.pattern(names)})")
    assert all(anchored.fullmatch(name) for name in names)
    assert bool(anchored.fullmatch(other)) == (other in names)


def test_a_pattern_escapes_no_more_than_go_allows():
    assert promql.pattern(["a-b c#d", "e.f"]) == r"a-b c#d|e\.f"


def test_one_queue_is_named_and_several_are_a_pattern():
    metric, job, vhost = "m", 'j"', "/"
    assert promql.selector(metric, job, vhost) == r'm{job="j\"",vhost="/"}'
    assert promql.selector(metric, job, vhost, ["a.b"]) == r'm{job="j\"",vhost="/",queue="a.b"}'
    both = promql.selector(metric, job, vhost, ["a.b", 'c"'])
    assert both == r'm{job="j\"",vhost="/",queue=~"a\\.b|c\""}'


@pytest.mark.parametrize(
    ("milliseconds", "written"),
    [(0, "0s"), (1, "1s"), (60_000, "1m"), (90_500, "1m31s"), (90_061_000, "1d1h1m1s")],
)
def test_durations_are_whole_seconds_rounded_up(milliseconds, written):
    assert promql.duration(milliseconds) == written
