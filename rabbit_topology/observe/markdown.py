"""
Text in Markdown, for comments and job summaries: nothing in it is taken for anything else.
"""

from __future__ import annotations

from rabbit_topology.config.words import printable

COMMENT = 65_536
"""So many characters does a comment on GitHub take at most."""

_SYNTAX = "\\`*_[]|@~"


def cell(told: str) -> str:
    """Return text that Markdown takes for nothing else, in a table or outside of one."""
    plain = printable(told).replace("&", "&amp;").replace("<", "&lt;")
    for character in _SYNTAX:
        plain = plain.replace(character, f"&#{ord(character)};")
    return plain
