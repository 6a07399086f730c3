"""
YAML as Pulumi reads it: what is taken, what is not, and the line of each key.
"""

from __future__ import annotations

import pytest

from rabbit_topology.config import yaml_files
from rabbit_topology.config.yaml_files import YamlError, is_secret, load


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("~", None),
        ("", None),
        ("null", None),
        ("Null", None),
        ("NULL", None),
        ("nULL", "nULL"),
        ("True", True),
        ("TRUE", True),
        ("False", False),
        ("FALSE", False),
        ("tRUE", "tRUE"),
        ("no", "no"),
        ("+5", 5),
        ("-5", -5),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("0b1", "0b1"),
        ("1_000", "1_000"),
        (".5", 0.5),
        ("5.", 5.0),
        ("-1.5e+3", -1500.0),
        ("1e3", 1000.0),
        ("1:30", "1:30"),
        ("2026-01-02", "2026-01-02"),
        ("'5'", "5"),
    ],
)
def test_a_scalar_is_what_yaml_1_2_says(text, value):
    result = load(f"a: {text}", "x").value["a"]
    assert result == value
    assert type(result) is type(value)


def test_what_is_inherited_stands_behind_what_is_ones_own():
    text = """
    one: &one {x: 1, y: 1}
    two: &two {y: 2, z: 2}
    both: {<<: [*one, *two], z: 3}
    """
    assert load(text, "x").value["both"] == {"x": 1, "y": 1, "z": 3}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\n[b]: 2", "line 2: a key is text"),
        ("a: 1\n<<: 2", "line 2: << takes a mapping"),
        ("b: &b {}\na:\n  <<:\n    - *b\n    - 2", "line 5: << takes a mapping"),
        ("a: 1\nb: 2\na: 3", "line 3: the key a stands here twice"),
        ("b: 1\na: &a\n  - *a", "line 2: it contains itself"),
        ("a: 1\nb: c: d", "line 2: mapping values are not allowed"),
        ("a: *b", "line 1: found undefined alias"),
    ],
)
def test_what_is_not_taken_is_told_by_its_line(text, words):
    with pytest.raises(YamlError) as caught:
        load(text, "x")
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_what_an_alias_repeats_may_stand_twice():
    assert load("a: &a [1]\nb: *a\nc: *a", "x").value == {"a": [1], "b": [1], "c": [1]}


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        ({"secure": "v1:abc"}, True),
        ({"secure": 1}, False),
        ({"secure": "v1:abc", "more": 1}, False),
        ({}, False),
        ("secure", False),
        (None, False),
    ],
)
def test_what_pulumi_has_encrypted(value, secret):
    assert is_secret(value) is secret


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    with pytest.raises(YamlError, match="there is no such file"):
        yaml_files.read(tmp_path / "missing.yaml", "x")
    with pytest.raises(YamlError, match="it cannot be read: "):
        yaml_files.read(tmp_path, "x")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xfc")
    with pytest.raises(YamlError, match="it cannot be read: "):
        yaml_files.read(tmp_path / "latin.yaml", "x")
    (tmp_path / "good.yaml").write_text("a: ü", encoding="utf-8")
    document = yaml_files.read(tmp_path / "good.yaml", "its name")
    assert (document.name, document.value) == ("its name", {"a": "ü"})


def test_the_place_of_a_key_in_a_file():
    document = load("a:\n  - 1\n  - b: 2\n5:\n  c: 3\n", "x")
    assert document.find([]) == (0, (1, 1))
    assert document.find(["a"]) == (1, (1, 1))
    assert document.find(["a", 0]) == (2, (2, 5))
    assert document.find(["a", 1, "b"]) == (3, (3, 5))
    assert document.find(["a", 2]) == (1, (1, 1))
    assert document.find(["a", "b"]) == (1, (1, 1))
    assert document.find([5, "c"]) == (2, (5, 3))
    assert document.find(["a", 0, "deeper"]) == (2, (2, 5))
    assert document.find(["a", 1, "b"]) == (3, (3, 5))
