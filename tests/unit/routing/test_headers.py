"""
Sets of headers, against every message with up to three headers of a few values.
"""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rabbit_topology.routing import headers
from rabbit_topology.routing.headers import ANY_HEADERS, Allowed

NAMES = ("a", "b", "x-c")
VALUES = (1, "1", True, 1.5, None)
"""None asks whether the header is there; a message has none of it."""

MISSING = object()
ALL_HEADERS = [
    {name: value for name, value in zip(NAMES, values, strict=True) if value is not MISSING}
    for values in product((*VALUES[:-1], "other", MISSING), repeat=3)
]

arguments = st.builds(
    lambda asked, how: {**asked, **({"x-match": how} if how else {})},
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES), max_size=3),
    st.sampled_from(["all", "any", "all-with-x", "any-with-x", None]),
)


def takes(wanted, message):
    """Say what a binding takes in the words of the documentation."""
    how = wanted.get("x-match", "all")
    asked = {
        name: value
        for name, value in wanted.items()
        if name != "x-match" and (how.endswith("-with-x") or not name.startswith("x-"))
    }
    matched = [
        name in message
        and (value is None or (type(message[name]) is type(value) and message[name] == value))
        for name, value in asked.items()
    ]
    return any(matched) if how.startswith("any") else all(matched)


def members(boxes):
    """Return the numbers of messages: 1 and True are equal to Python."""
    return [
        number
        for number, message in enumerate(ALL_HEADERS)
        if any(
            box.has({name: headers.value(value) for name, value in message.items()})
            for box in boxes
        )
    ]


@settings(max_examples=150)
@given(arguments)
def test_a_condition_and_its_boxes_take_what_the_documentation_says(wanted):
    condition = headers.condition(wanted)
    expected = [number for number, message in enumerate(ALL_HEADERS) if takes(wanted, message)]
    assert members(headers.boxes(condition)) == expected
    assert [
        number
        for number, message in enumerate(ALL_HEADERS)
        if condition.takes({name: headers.value(value) for name, value in message.items()})
    ] == expected


@settings(max_examples=100)
@given(st.lists(arguments, max_size=4))
def test_what_is_left_over_is_all_else(wanted):
    left = headers.left_over(map(headers.condition, wanted))
    assert members(left) == [
        number
        for number, message in enumerate(ALL_HEADERS)
        if not any(takes(one, message) for one in wanted)
    ]


@settings(max_examples=100)
@given(arguments, arguments)
def test_both_and_without_are_those_of_all_messages(one, two):
    first, second = (headers.boxes(headers.condition(asked)) for asked in (one, two))
    for box in first:
        for other in second:
            inside, outside = members([box]), members([other])
            both = box.both(other)
            assert members([both] if both else []) == [
                number for number in inside if number in outside
            ]
            assert members(box.without(other)) == [
                number for number in inside if number not in outside
            ]


@settings(max_examples=100)
@given(st.lists(arguments, max_size=3))
def test_an_example_is_one(wanted):
    for box in headers.left_over(map(headers.condition, wanted)):
        example = box.example()
        assert box.has({name: headers.value(value) for name, value in example.items()})


def test_numbers_are_alike_before_4_0():
    for alike in (True, False):
        one, two = (headers.value(plain, numbers_alike=alike) for plain in (1, 1.0))
        assert (one == two) is alike
    assert headers.value(True, numbers_alike=True) != headers.value(1, numbers_alike=True)


def test_many_bindings_with_many_headers_are_said_to_be_too_many(monkeypatch):
    wanted = [
        headers.condition({f"h{number}": 1, f"i{number}": 2, f"j{number}": 3})
        for number in range(20)
    ]
    with pytest.raises(headers.TooComplexError, match="more than 4,096 cases"):
        headers.left_over(wanted)
    # One header each, as most have: one box, however many there are.
    (left,) = headers.left_over(headers.condition({"type": f"t{number}"}) for number in range(1000))
    assert left != ANY_HEADERS
    assert str(left).endswith("or none")


ONE, TWO = headers.value("1"), headers.value("2")
NOT_THERE = Allowed(present=False)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (Allowed(), Allowed(), Allowed()),
        (NOT_THERE, Allowed(), NOT_THERE),
        (NOT_THERE, Allowed(missing=False), None),
        (Allowed(only=ONE), Allowed(), Allowed(only=ONE)),
        (Allowed(only=ONE), Allowed(only=TWO), NOT_THERE),
        (Allowed(only=ONE, missing=False), Allowed(only=TWO), None),
        (Allowed(only=ONE), Allowed(never=frozenset([ONE])), NOT_THERE),
        (Allowed(only=ONE), Allowed(never=frozenset([TWO])), Allowed(only=ONE)),
        (Allowed(missing=False), Allowed(only=ONE), Allowed(only=ONE, missing=False)),
        (
            Allowed(never=frozenset([ONE])),
            Allowed(never=frozenset([TWO])),
            Allowed(never=frozenset([ONE, TWO])),
        ),
    ],
)
def test_what_two_allow_of_a_header(one, other, both):
    assert one.both(other) == other.both(one) == both


@pytest.mark.parametrize(
    ("allowed", "others"),
    [
        (Allowed(), []),
        (NOT_THERE, [Allowed(missing=False)]),
        (Allowed(missing=False), [NOT_THERE]),
        (Allowed(only=ONE), [Allowed(never=frozenset([ONE]), missing=False)]),
        (Allowed(only=ONE, missing=False), [Allowed(never=frozenset([ONE]))]),
        (
            Allowed(never=frozenset([ONE, TWO])),
            [Allowed(only=ONE, missing=False), Allowed(only=TWO, missing=False)],
        ),
    ],
)
def test_what_is_not_allowed_of_a_header(allowed, others):
    assert list(allowed.others()) == others


def test_a_value_is_one_of_its_type():
    assert headers.value(1) != headers.value("1") != headers.value(True)
    assert headers.value(1) != headers.value(1.0)
    assert headers.value(1, numbers_alike=True) == headers.value(1.0, numbers_alike=True)
    assert headers.value({"a": 1, "b": 2}) == headers.value({"b": 2, "a": 1})
    assert headers.value([1, 2]) != headers.value([2, 1])
    assert headers.value(None) is None
