"""
Values in the arguments of exchanges, queues and bindings.
"""

from __future__ import annotations

from collections.abc import Mapping


def is_number(value: object) -> bool:
    """Return whether a value is a number: true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def has_number(value: object) -> bool:
    """Return whether a value is a number, or has one anywhere in it."""
    match value:
        case Mapping():
            return any(map(has_number, value.values()))
        case list():
            return any(map(has_number, value))
    return is_number(value)
