"""
How problems show what the user wrote, and what they may have meant.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from difflib import get_close_matches


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean "x"?`` for the closest of ``known``, or what there is to choose."""
    choices = sorted(known)
    close = get_close_matches(name, choices, n=1, cutoff=0.6)
    if close:
        return f"did you mean {json.dumps(close[0], ensure_ascii=False)}?"
    return "known are: " + ", ".join(choices) if choices else "none is declared"


def show(value: object) -> str:
    """Return a value as JSON, shortened to what fits on a line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
