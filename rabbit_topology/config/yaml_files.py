"""
YAML as Pulumi reads it, and the line that each key stands in.

Pulumi's YAML is 1.2: `yes` and `1:30` are text there, a date is text, a key is always text, and a
key that stands twice is an error. Source: "YAML Ain't Markup Language (YAML) version 1.2", chapter
10.3, "Core Schema".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import yaml

_Libyaml: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where it is there

_SECURE = "secure"
_TAG = "tag:yaml.org,2002:"

Parts: TypeAlias = Sequence[str | int]
"""A path into a document: keys and indexes."""


class _Loader(_Libyaml):  # type: ignore[misc]  # the C loader has no types
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - yaml's own name; filled below, for this class alone


for _name, _pattern, _first in (
    ("null", r"|~|null|Null|NULL", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})$"), _first)


class YamlError(ValueError):
    """A text is not YAML, or not YAML that Pulumi would take; says where and why in one line."""


class Place(NamedTuple):
    """Where something stands in a file, both from 1."""

    line: int
    column: int


START = Place(1, 1)


@dataclass(frozen=True, kw_only=True)
class Document:
    """One YAML file."""

    name: str
    """Its name as it was given."""
    value: Any
    """What it holds: mappings, lists, text, numbers, true, false and null."""
    node: yaml.Node | None
    _keys: dict[int, dict[str, tuple[Place, yaml.Node]]] = field(default_factory=dict, repr=False)
    """By the identity of a mapping's node: its keys, with place and value. Filled when asked."""

    def find(self, parts: Parts) -> tuple[int, Place]:
        """Return how many of ``parts`` there are in the file, and where the last of them is.

        The beginning of the file, if there is none.
        """
        node, place = self.node, START
        for depth, part in enumerate(parts):
            inner = self._step(node, part)
            if inner is None:
                return depth, place
            place, node = inner
        return len(parts), place

    def _step(self, node: yaml.Node | None, part: str | int) -> tuple[Place, yaml.Node] | None:
        """Return the node behind one key or index, and its place."""
        if isinstance(node, yaml.MappingNode):
            if id(node) not in self._keys:
                self._keys[id(node)] = {
                    key.value: (_place(key), value) for key, value in node.value
                }
            return self._keys[id(node)].get(str(part))
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            return _place(node.value[part]), node.value[part]
        return None


def read(file: Path, name: str) -> Document:
    """Read one file; ``name`` stands for it in what is said about it.

    Raises:
        YamlError: It cannot be read, or is not YAML.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise YamlError("there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise YamlError(f"it cannot be read: {error}") from None
    return load(text, name)


def load(text: str, name: str) -> Document:
    """Read a text.

    Raises:
        YamlError: It is not YAML.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise YamlError(f"{where}{getattr(error, 'problem', None) or error}") from None
    return Document(name=name, node=node, value=None if node is None else _Values().of(node))


def is_secret(value: object) -> bool:
    """Return whether a value of a stack's config is an encrypted one: ``{secure: …}``."""
    return isinstance(value, dict) and value.keys() == {_SECURE} and isinstance(value[_SECURE], str)


class _Values:
    """From nodes to values; what an alias repeats is made once."""

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}
        self._open: set[int] = set()

    def of(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        key = id(node)
        if key in self._open:
            raise YamlError(f"line {_line(node)}: it contains itself")
        if key not in self._made:
            self._open.add(key)
            self._made[key] = (
                self._mapping(node)
                if isinstance(node, yaml.MappingNode)
                else [self.of(element) for element in node.value]
            )
            self._open.remove(key)
        return self._made[key]

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        own: dict[str, Any] = {}
        inherited: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise YamlError(f"line {_line(key)}: a key is text")
            if key.tag == f"{_TAG}merge":
                for token in reversed(
                    value.value if isinstance(value, yaml.SequenceNode) else [value]
                ):
                    taken = self.of(token)
                    if not isinstance(taken, dict):
                        raise YamlError(f"line {_line(token)}: << takes a mapping")
                    inherited.update(taken)
            elif key.value in own:
                raise YamlError(f"line {_line(key)}: the key {key.value} stands here twice")
            else:
                own[key.value] = self.of(value)
        return {**inherited, **own}


def _scalar(node: yaml.ScalarNode) -> Any:
    text: str = node.value
    match node.tag.removeprefix(_TAG):
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        case "float":
            return float(text)
        case _:
            return text


def _place(node: yaml.Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


def _line(node: yaml.Node) -> int:
    return _place(node).line
