"""Which cases of the safety tests are chosen from a product, and that none is in no part."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from itertools import combinations, pairwise, product
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from tests.safety import scenarios, test_safety
from tests.safety.killing import Moment, exchange_boundaries, queue_boundaries
from tests.safety.pairs import Case, covering, in_turn, pairs
from tests.safety.parts import PARTS, part_of
from tests.safety.scenarios import FAST, FULL
from tests.support.repository import ROOT
from tests.support.versions import VERSIONS

FACTORS = (("a", "b", "c"), range(17), (True, False), (True, False))


def held(cases: list[Case]) -> set[object]:
    return {pair for case in cases for pair in pairs(case)}


def test_every_pair_of_values_is_held() -> None:
    cases = covering(*FACTORS)
    for (first, ones), (second, others) in combinations(enumerate(FACTORS), 2):
        for one, other in product(ones, others):
            assert any(case[first] == one and case[second] == other for case in cases), (one, other)


def test_no_more_cases_are_chosen_than_the_two_largest_factors_need() -> None:
    cases = covering(*FACTORS)
    assert len(cases) == len(set(cases)) == 3 * 17
    # The values of the others are spread over them.
    assert {*Counter((case[0], case[2]) for case in cases).values()} <= {8, 9}


def test_the_same_factors_give_the_same_cases() -> None:
    assert covering(*FACTORS) == covering(*FACTORS)


def test_what_is_not_allowed_is_not_chosen_and_all_else_is_held() -> None:
    def allowed(case: Case) -> bool:
        return not (case[1] == 3 and case[3])

    cases = covering(*FACTORS, allowed=allowed)
    assert all(map(allowed, cases))
    assert held(cases) == held([case for case in product(*FACTORS) if allowed(case)])


def test_given_cases_are_kept_and_not_covered_again() -> None:
    given = [("a", kind, way) for kind in "xy" for way in "klmn"]
    cases = covering("abc", "xy", "klmn", given=given)
    assert cases[:8] == given
    assert len(cases) == 8 + 4 + 4
    assert held(cases) == held([*product("abc", "xy", "klmn")])


def test_a_factor_alone_has_no_pairs() -> None:
    assert covering("abc") == []


def test_sides_take_turns() -> None:
    assert in_turn([1, 3, 5, 2, 4], lambda number: number % 2) == [1, 2, 3, 4, 5]
    assert in_turn([1, 3, 5, 7, 2], lambda number: number % 2) == [1, 2, 3, 5, 7]
    assert in_turn([], bool) == []


@pytest.mark.parametrize(
    ("kills", "boundaries"),
    [
        (test_safety.QUEUE_KILLS, [*queue_boundaries("", "", ""), *test_safety.RANDOM_KILLS]),
        (test_safety.EXCHANGE_KILLS, [*exchange_boundaries("", "")]),
    ],
)
def test_every_moment_is_killed_on_every_version_and_in_both_directions(
    kills: dict[str, list[test_safety.Kill]], boundaries: list[str]
) -> None:
    assert [*kills] == [*VERSIONS]
    for version in VERSIONS:
        # Each once, and so that no undisturbed run is needed between them.
        assert sorted(kill.moment for kill in kills[version]) == sorted(boundaries)
        turns = [kill.undone for kill in in_turn(kills[version], lambda kill: kill.undone)]
        assert all(one != other for one, other in pairwise(turns)), turns
    everywhere = [kill for version in VERSIONS for kill in kills[version]]
    for moment in boundaries:
        here = [kill for kill in everywhere if kill.moment == moment]
        consumed = {False} if moment in test_safety.NEEDS_MESSAGES else {False, True}
        assert {kill.undone for kill in here} == {False, True}
        assert {kill.consumed for kill in here} == consumed


def test_every_deletion_is_tried_in_every_way_on_every_version() -> None:
    cases = [param.values for param in test_safety._deletions()]
    ways = [*test_safety.WAYS, "destroyed"]
    kinds = ["classic", "quorum"]
    assert held(cases) == held([*product(VERSIONS, kinds, ways)])
    assert {case for case in cases if case[0] == "4.0"} == {*product(["4.0"], kinds, ways)}


def test_every_safety_test_belongs_to_one_part() -> None:
    collected = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "tests/safety", "--collect-only", "-q"),
            *("-m", "safety", "-p", "no:cacheprovider"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert collected.returncode == 0, collected.stdout + collected.stderr
    lines = [line for line in collected.stdout.splitlines() if "::" in line]
    tests = {line.partition("::")[2].partition("[")[0] for line in lines}
    named = [test for part in PARTS for test in part.tests]
    assert tests == {*named}
    assert len(named) == len(tests)


def test_a_test_of_no_part_is_an_error() -> None:
    with pytest.raises(LookupError, match="test_new belongs to no part of tests/safety/parts"):
        part_of("test_new")


@pytest.mark.parametrize(
    ("scale", "missed", "tries", "problem"),
    [(FULL, 5, 6, False), (FULL, 99, 6, True), (FAST, 99, 6, False)],
)
def test_a_step_that_is_never_struck_is_a_failure_on_the_full_scale(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    scale: scenarios.Scale,
    missed: int,
    tries: int,
    problem: bool,
) -> None:
    done: list[Any] = []

    def kill(_stack: Any, _change: Any, wanted: Any, *_: Any, **__: Any) -> tuple[Any, bool]:
        done.append(wanted)
        return Mock(), len([one for one in done if isinstance(one, str)]) > missed

    change = Mock(before="before", after="after")
    monkeypatch.setattr(scenarios, "kill_and_complete", kill)
    monkeypatch.setattr(scenarios, "timed_up", lambda _, wanted: done.append([wanted]))
    settings = (tmp_path, scale, Mock())
    kills = [test_safety.Kill("4.0", "queue deleted", undone=False, consumed=True)]

    def strike() -> None:
        test_safety._kill_runs(
            *(Mock(), "a change", change, kills),
            *(lambda name, _: Moment(name=name, condition=bool), *settings),
        )

    if problem:
        with pytest.raises(AssertionError, match="a change, queue deleted: over each time"):
            strike()
    else:
        strike()
    # Undone before it is tried again, so that it is the same change each time.
    assert done == ["after", *[["before"], "after"] * (tries - 1)]


def test_a_time_is_tried_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kill = Mock(return_value=(Mock(), False))
    monkeypatch.setattr(scenarios, "kill_and_complete", kill)
    kills = [test_safety.Kill("4.0", "at random, 6", undone=False, consumed=True)]
    test_safety._kill_runs(
        *(Mock(), "a change", Mock(), kills),
        *(lambda name, _: Moment(name=name, seconds=9), tmp_path, FULL, Mock()),
    )
    assert kill.call_count == 1
