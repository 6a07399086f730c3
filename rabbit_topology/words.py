"""
How problems show what the user wrote, and what they may have meant.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from difflib import get_close_matches

_LISTED = 10
"""Names that a fix lists, of all that there are to choose."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean "x"?`` for the closest of ``known``, or what there is to choose."""
    # Names of another length cannot be close: most are not looked at any further.
    similar = sorted(it for it in known if abs(len(it) - len(name)) <= 1 + len(name) // 2)
    if close := get_close_matches(name, similar, n=1, cutoff=0.6):
        return f"did you mean {json.dumps(close[0], ensure_ascii=False)}?"
    choices = sorted(known)
    if not choices:
        return "none is declared"
    more = f" and {len(choices) - _LISTED:,} more" if len(choices) > _LISTED else ""
    return f"known are: {', '.join(choices[:_LISTED])}{more}"


def show(value: object) -> str:
    """Return a value as JSON, shortened to what fits on a line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
