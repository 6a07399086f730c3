"""
How problems show what the user wrote, and what they may have meant.
"""

from __future__ import annotations

import json
import re
from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from rabbit_topology.errors import TopologyError
from rabbit_topology.model import SECRETS

_LISTED = 10
"""Names that a fix lists, of all that there are to choose."""

_ALL = 50
"""Of so many names each is compared; of more, those that begin or end most alike."""

_NEIGHBOURS = 5

_MISSPELT = 0.85
"""So alike are two names of which one is the other misspelt."""


class NameIndex(frozenset[str]):
    """Names to choose from, ready to be asked for the closest to many that are wrong."""

    @cached_property
    def ordered(self) -> list[str]:
        """In order: those that begin alike stand together."""
        return sorted(self)

    @cached_property
    def _backwards(self) -> list[str]:
        return sorted(word[::-1] for word in self)

    def close_to(self, name: str, cutoff: float = 0.6) -> str | None:
        """Return the closest name, None if none is as close as ``cutoff``, from 0 to 1."""
        if len(self) <= _ALL:
            near = self.ordered
        else:
            behind = _around(self._backwards, name[::-1])
            near = sorted({*_around(self.ordered, name), *(word[::-1] for word in behind)})
        return next(iter(get_close_matches(name, near, n=1, cutoff=cutoff)), None)


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean "x"?`` for the closest of ``known``, or what there is to choose."""
    names = known if isinstance(known, NameIndex) else NameIndex(known)
    if close := names.close_to(name):
        return f"did you mean {json.dumps(close, ensure_ascii=False)}?"
    if not names:
        return "none is declared"
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return f"known are: {', '.join(names.ordered[:_LISTED])}{more}"


def vhost_among(names: Sequence[str], name: str | None = None) -> str:
    """Return which of a stack's vhosts is meant: that of a name, by default the only one.

    Raises:
        TopologyError: There is none of this name, or no name is given and there are several.
    """
    if name is None and len(names) > 1:
        raise TopologyError(f"there are several vhosts: say --vhost and one of {', '.join(names)}")
    chosen = names[0] if name is None else name
    if chosen not in names:
        raise TopologyError(f"{show(chosen)} is not a vhost of the stack; {suggest(chosen, names)}")
    return chosen


def misspelt(key: str, known: NameIndex) -> str | None:
    """Return which of ``known`` a key is meant for; None if it is one itself, or none is.

    One may begin with ``x-`` where the other does not.
    """
    if key in known:
        return None
    other = key.removeprefix("x-") if key.startswith("x-") else f"x-{key}"
    return other if other in known else known.close_to(key, _MISSPELT)


def _around(ordered: list[str], name: str) -> list[str]:
    at = bisect(ordered, name)
    return ordered[max(at - _NEIGHBOURS, 0) : at + _NEIGHBOURS]


NOT_SHOWN = "[not shown]"
"""Stands for a value that is secret, or may be."""


_CREDENTIALS = re.compile(r"://[^\s\"']*@")
"""What stands before the host in a URI."""


def without_secrets(value: Any) -> Any:
    """Return a value without passwords: in URIs, and under keys that are for secrets."""
    match value:
        case str():
            return _CREDENTIALS.sub(f"://{NOT_SHOWN}@", value)
        case Mapping():
            return {
                key: NOT_SHOWN if key in SECRETS else without_secrets(inner)
                for key, inner in value.items()
            }
        case list() | tuple():
            return [without_secrets(inner) for inner in value]
        case _:
            return value


def printable(text: str) -> str:
    """Return a text with escapes in the place of what would move the cursor, or worse."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def show(value: object) -> str:
    """Return a value as JSON without passwords, shortened to what fits on a line."""
    text = json.dumps(without_secrets(value), ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
