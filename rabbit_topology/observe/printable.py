"""
Names as a terminal can show them: a queue may be called anything, control characters included.
"""

from __future__ import annotations


def printable(text: str) -> str:
    """Return a text with escapes in the place of what would move the cursor, or worse."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )
