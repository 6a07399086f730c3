"""
How a value is shown, and what a name that nobody knows may have been meant for.
"""

from __future__ import annotations

import pytest

from rabbit_topology.config.words import NameIndex, misspelt, show, suggest, vhost_among
from rabbit_topology.errors import TopologyError


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("ü", '"ü"'),
        ({"a": [1, None]}, '{"a": [1, null]}'),
        ("x" * 78, f'"{"x" * 78}"'),
        ("x" * 79, f'"{"x" * 76}...'),
    ],
)
def test_a_value_is_shown_as_json_of_80_characters_at_most(value, text):
    assert show(value) == text
    assert len(text) <= 80


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("amqp://u:secret@h/v", '"amqp://[not shown]@h/v"'),
        ({"a": ["amqp://u:secret@h", 1]}, '{"a": ["amqp://[not shown]@h", 1]}'),
        ({"password": "secret"}, '{"password": "[not shown]"}'),
        ("amqp://h/v", '"amqp://h/v"'),
        ("me@example.com", '"me@example.com"'),
    ],
)
def test_no_password_is_shown(value, text):
    assert show(value) == text


def test_what_json_does_not_know_is_shown_as_text():
    assert show(1j) == '"1j"'


@pytest.mark.parametrize(
    ("known", "text"),
    [
        ([], "none is declared"),
        (["ordrs"], 'did you mean "ordrs"?'),
        (["zzz", "yyy"], "known are: yyy, zzz"),
        ([f"{number:02}" for number in range(10)], "known are: 00, 01, 02, 03, 04, 05, 06, 07,"),
        ([f"{number:04}" for number in range(1011)], "0007, 0008, 0009 and 1,001 more"),
    ],
)
def test_the_closest_is_suggested_or_what_there_is_to_choose(known, text):
    assert text in suggest("orders", known)
    assert ("more" in suggest("orders", known)) is (len(known) > 10)


def test_a_suggestion_is_shown_as_it_is_written():
    assert suggest("würde", ["würden"]) == 'did you mean "würden"?'


@pytest.mark.parametrize("count", [50, 51, 1000])
def test_the_closest_of_many_is_found_by_its_beginning_and_by_its_end(count):
    names = NameIndex([*(f"{number:04}" * 3 for number in range(count - 1)), "orders.new"])
    assert names.close_to("orders.nwe") == "orders.new"
    assert names.close_to("xrders.new") == "orders.new"
    assert names.close_to("nothing like it") is None


def test_of_several_that_are_close_the_closest_is_meant():
    assert NameIndex(["order", "orders", "border"]).close_to("orderss") == "orders"
    assert NameIndex(["orders"]).close_to("ord", 0.9) is None


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("x-max-length", None),  # it is one itself
        ("max-length", "x-max-length"),
        ("x-alternate", "alternate"),
        ("x-age", "age"),  # too short to be alike without its beginning
        ("ttl", "x-ttl"),
        ("ttl-x-", None),
        ("x-max-lenght", "x-max-length"),
        ("x-of-another-kind", None),
        ("x-max", None),  # not alike enough
    ],
)
def test_a_key_that_is_nearly_a_known_one_is_misspelt(key, meant):
    assert misspelt(key, NameIndex(["x-max-length", "alternate", "age", "x-ttl"])) == meant


def test_the_only_vhost_is_meant_by_default():
    assert vhost_among(["a"]) == "a"
    assert vhost_among(["a", "b"], "b") == "b"


@pytest.mark.parametrize(
    ("names", "name", "said"),
    [
        (["a", "b"], None, "there are several vhosts: say --vhost and one of a, b"),
        (["orders"], "ordres", '"ordres" is not a vhost of the stack; did you mean "orders"?'),
        (["a"], "orders", '"orders" is not a vhost of the stack; known are: a'),
    ],
)
def test_a_vhost_that_is_not_known_is_an_error(names, name, said):
    with pytest.raises(TopologyError) as error:
        vhost_among(names, name)
    assert str(error.value) == said
