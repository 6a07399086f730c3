"""
Sets of routing keys, against all keys of up to four words from a small alphabet, and greenery.
"""

from __future__ import annotations

from itertools import product

import greenery
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rabbit_topology.routing import tree
from rabbit_topology.routing.keys import EVERYTHING, Keys
from rabbit_topology.routing.pattern import (
    EVERY_KEY,
    TooComplexError,
    as_binding_key,
    of_key,
    of_topic,
)
from rabbit_topology.routing.router import is_pattern, takes
from rabbit_topology.routing.tree import Patterns, irredundant

WORDS = ("a", "b", "", "x")
"""Words of the keys that are tried; no pattern has an x, so it stands for all other words."""

ALL_KEYS = [""] + [
    ".".join(words)
    for length in (1, 2, 3, 4)
    for words in product(WORDS, repeat=length)
    if words != ("",)
]

token = st.sampled_from(["a", "b", "", "*", "#"])
binding_key = st.lists(token, max_size=4).map(".".join)


def brute(binding_keys):
    """Return which of all keys some bindings of a topic exchange take."""
    return {
        key
        for key in ALL_KEYS
        if any(
            takes(pattern, key) if is_pattern(pattern) else pattern == key
            for pattern in binding_keys
        )
    }


def keys_of(taken):
    return {key for key in ALL_KEYS if key in taken}


def of(binding_keys):
    return Keys.taken(map(of_topic, binding_keys))


some = st.lists(binding_key, max_size=4)


@settings(max_examples=120)
@given(some, some)
def test_union_intersection_and_difference_are_those_of_all_keys(one, two):
    first, second = brute(one), brute(two)
    assert keys_of(of(one)) == first
    assert keys_of(of(one) | of(two)) == first | second
    assert keys_of(of(one) & of(two)) == first & second
    assert keys_of(of(one) - of(two)) == first - second


@settings(max_examples=80)
@given(some, some, some)
def test_differences_of_differences_too(one, two, three):
    first, second, third = brute(one), brute(two), brute(three)
    everything = set(ALL_KEYS)
    alternate = EVERYTHING - of(one)
    assert keys_of(alternate & of(two)) == (everything - first) & second
    assert keys_of(of(three) - (of(two) - of(one))) == third - (second - first)
    assert keys_of((of(three) - of(one)) - (of(two) - of(one))) == (third - first) - (
        second - first
    )


@settings(max_examples=120)
@given(some, some)
def test_an_example_is_a_shortest_key_and_there_is_one_if_there_is_a_key(one, two):
    difference = of(one) - of(two)
    example = difference.example()
    left = brute(one) - brute(two)
    # Keys of up to four words tell all of these patterns apart, bar `#` behind `#`.
    assert bool(difference) == (example is not None)
    if example is None:
        assert not left
    else:
        assert example in difference
        assert any(
            takes(pattern, example) if is_pattern(pattern) else pattern == example
            for pattern in one
        )
        assert not any(
            takes(pattern, example) if is_pattern(pattern) else pattern == example
            for pattern in two
        )
        if left:
            assert len(of_key(example)) == min(len(of_key(key)) for key in left)


@settings(max_examples=80)
@given(some)
def test_simplified_is_the_same_set_with_nothing_to_spare(one):
    plain = of(one).simplified()
    assert plain.same(of(one))
    for part in plain.parts:
        others = Keys(tuple(other for other in plain.parts if other != part))
        assert Keys((part,)) - others


def words_as_characters(binding_keys):
    """Return the same language for greenery: words are one character, each with a dot before it.

    The empty word is `e`; one empty word alone is no key.
    """
    as_regex = {"*": r"\.[abex]", "#": r"(\.[abex])*", "": r"\.e"}
    parts = []
    for pattern in binding_keys:
        tokens = pattern.split(".") if pattern else []
        parts.append("".join(as_regex.get(word, rf"\.{word}") for word in tokens))
    language = greenery.parse("|".join(f"({part})" for part in parts) or "[]")
    return language.difference(greenery.parse(r"\.e"))


few = st.lists(st.lists(token, max_size=3).map(".".join), min_size=1, max_size=2)


@settings(max_examples=25)  # its automata take their time
@given(few, few)
def test_greenery_says_the_same(one, two):
    first, second = words_as_characters(one), words_as_characters(two)
    assert bool(of(one) - of(two)) == (not first.difference(second).empty())
    assert bool(of(one) & of(two)) == (not first.intersection(second).empty())
    assert of(one).same(of(two)) == first.equivalent(second)


@pytest.mark.parametrize(
    ("binding_key", "taken", "refused"),
    [
        ("#", ["", "a", "a.b", "a..b", "."], []),
        ("#.#", ["", "a"], []),
        ("", [""], ["a", "."]),
        ("*", ["a"], ["", "a.b", "."]),
        ("*.*", [".", "a.", ".a"], ["", "a"]),
        ("a.*.b", ["a..b", "a.x.b"], ["a.b"]),
        ("a.#", ["a", "a.", "a.b.c"], ["", "b"]),
        ("#.b", ["b", ".b", "a.b"], ["", "a"]),
        ("a*", ["a*"], ["ab", "a"]),
    ],
)
def test_words_that_are_empty_and_the_key_that_has_none(binding_key, taken, refused):
    for key in taken:
        assert key in of([binding_key]), key
    for key in refused:
        assert key not in of([binding_key]), key


@pytest.mark.parametrize(
    ("pattern", "taken", "refused"),
    [("a+.*", "a+.b", "aa.b"), ("*.(a)", "x.(a)", "x.a"), ("[a].#", "[a]", "a")],
)
def test_a_word_of_a_topic_pattern_is_no_regular_expression(pattern, taken, refused):
    assert takes(pattern, taken)
    assert not takes(pattern, refused)


def test_a_direct_key_is_taken_as_it_is():
    assert "order.*" in Keys.taken([of_key("order.*")])
    assert "order.new" not in Keys.taken([of_key("order.*")])


def test_one_empty_word_is_no_key():
    assert not of(["*"]) & of(["#."])
    assert (of(["#."]) - of(["*.#"])).example() is None
    assert of(["#."]).example() == "x."


def test_patterns_for_the_same_keys_are_equal():
    assert of_topic("#.*.#") == of_topic("*.#") == of_topic("#.*")
    assert as_binding_key(of_topic("a.#.*.#.b")) == "a.*.#.b"


def test_a_part_is_told_with_what_it_is_without():
    (part,) = (of(["order.#"]) - of(["order.new", "invoice.#", "*.eu"])).parts
    assert str(part) == "order.# but not order.new, *.eu"


@pytest.mark.parametrize(
    ("count", "shown"),
    [(4, "# but not k0, k1, k2, k3"), (5, "# but not k0, k1, k2, 2 more patterns")],
)
def test_of_many_that_a_part_is_without_a_few_are_told(count, shown):
    (part,) = (of(["#"]) - of([f"k{number}" for number in range(count)])).parts
    assert str(part) == shown


# Each of these would have some 2 ** 1,000 states as an automaton that knows which words came.
OVERLAPPING = {
    "a word anywhere": [f"#.w{number}.#" for number in range(1000)],
    "a word and three more": [f"#.w{number}.*.*.*" for number in range(1000)],
    "two words": [f"w{number}.#.v{number}" for number in range(1000)],
    "each wider than the next": [".".join(["*"] * number + ["#"]) for number in range(200)],
    "a word at each place": [
        f"{'*.' * place}w{number}.#" for place in range(10) for number in range(100)
    ],
}


@pytest.mark.parametrize("binding_keys", OVERLAPPING.values(), ids=OVERLAPPING.keys())
def test_overlapping_patterns_do_not_explode(binding_keys):
    tree = Patterns(map(of_topic, binding_keys))
    steps = [tree.steps(pattern) for pattern in (*tree.all, EVERY_KEY)]
    assert max(steps) <= 2 * (1 + max(len(pattern) for pattern in tree.all)) ** 2
    kept = irredundant(tree.all)
    assert len(kept) == (1 if "*" in binding_keys[1] and "w" not in binding_keys[1] else 1000)


def test_what_is_beyond_the_bounds_is_said(monkeypatch):
    monkeypatch.setattr(tree, "MAX_STEPS", 3)
    with pytest.raises(TooComplexError, match="more than 3 steps"):
        bool(of(["a.b.c.d.e"]) - of(["a.b.c.d.f"]))
