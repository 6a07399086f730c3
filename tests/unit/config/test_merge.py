from __future__ import annotations

import pytest

from rabbit_topology.config.merge import merge


@pytest.mark.parametrize(
    ("shared", "own", "whole"),
    [
        ({"a": 1}, {"b": None}, {"a": 1, "b": None}),
        ({"a": 1}, {"a": None}, {}),
        ({"a": None}, {"a": None}, {}),
        ({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}}),
        ({"a": {"b": 1}}, {"a": {"b": None, "c": None}}, {"a": {"c": None}}),
        ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
        ({"a": 2}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": 1}, 5, 5),
        (5, {"a": 1}, {"a": 1}),
    ],
)
def test_what_one_says_of_ones_own_is_besides_or_instead(shared, own, whole):
    assert merge(shared, own) == whole


def test_the_order_is_that_of_the_shared_one_and_then_of_ones_own():
    assert list(merge({"b": 1, "a": 2}, {"c": 3, "a": 4})) == ["b", "a", "c"]
