"""
A topology as YAML, in the order and style in which a person would write it.

Source: "YAML Ain't Markup Language (YAML) version 1.2", "Core Schema".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rabbit_topology.config.words import printable

_WIDTH = 100

_PLAIN = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
_MEANING = re.compile(r"null|true|false|yes|no|on|off|y|n", re.IGNORECASE)
"""What is no text without quotes, to one version of YAML or another."""


def document(topology: Mapping[str, Any], comments: Iterable[str] = ()) -> str:
    """Return a topology, of one vhost or of several, as a document.

    Args:
        topology: Mappings, lists, text, numbers, true, false and None.
        comments: Lines to begin with.
    """
    lines = [printable(f"# {line}".rstrip()) for line in comments]
    apart = 3 if "vhosts" in topology else 1  # so many levels are never on one line
    for key, inner in topology.items():
        if lines and isinstance(inner, dict | list):
            lines.append("")
        lines += _entry(key, inner, 0, apart)
    return "\n".join(lines) + "\n"


def flow(value: Any) -> str:
    """Return a value on one line."""
    match value:
        case Mapping():
            inside = ", ".join(f"{_key(key)}: {flow(inner)}" for key, inner in value.items())
            return f"{{{inside}}}"
        case list():
            return f"[{', '.join(map(flow, value))}]"
        case str() if _PLAIN.fullmatch(value) and not _MEANING.fullmatch(value):
            return value
    return printable(json.dumps(value, ensure_ascii=False))  # its escapes are YAML's as well


def _key(name: str) -> str:
    return flow(str(name))


def _entry(key: str, value: Any, depth: int, apart: int) -> Iterator[str]:
    start = f"{'  ' * depth}{_key(key)}:"
    line = f"{start} {flow(value)}"
    if not isinstance(value, dict | list) or not value or (depth >= apart and len(line) <= _WIDTH):
        yield line
    elif isinstance(value, dict):
        yield start
        for name, inner in value.items():
            yield from _entry(name, inner, depth + 1, apart)
    else:
        yield start
        for one in value:
            yield from _item(one, depth + 1, apart)


def _item(value: Any, depth: int, apart: int) -> Iterator[str]:
    indent = "  " * depth
    line = f"{indent}- {flow(value)}"
    if not isinstance(value, dict) or len(line) <= _WIDTH:
        yield line
        return
    start = f"{indent}- "
    for key, inner in value.items():
        for entry in _entry(key, inner, depth + 1, apart):
            yield f"{start}{entry.lstrip()}" if start else entry
            start = ""
