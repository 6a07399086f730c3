"""
Durations and sizes as people write them: ``10m``, ``2GiB``.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_BYTES = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}


def milliseconds(value: object) -> object:
    """Return ``1h30m`` as 5400000. What is not text stays: a number is in milliseconds.

    Raises:
        ValueError: The text is not a duration.
    """
    return _sum(value, _MILLISECONDS, 'a duration such as "500ms", "30s" or "1h30m"')


def parse_size(value: object) -> object:
    """Return ``2GiB`` as 2147483648. What is not text stays: a number is in bytes.

    Raises:
        ValueError: The text is not a size.
    """
    return _sum(value, _BYTES, 'a size such as "500MB" or "2GiB"')


def duration_text(value: int) -> str:
    """Return milliseconds as people write them, in the largest unit that leaves no rest."""
    unit, size = max(
        ((unit, size) for unit, size in _MILLISECONDS.items() if value % size == 0),
        key=lambda unit: unit[1],
    )
    return f"{value // size}{unit}"


def elapsed_text(value: int) -> str:
    """Return milliseconds as people say how long something took: `1m 5s`."""
    shown = []
    for unit, size in reversed(_MILLISECONDS.items()):
        number, value = divmod(value, size)
        if number:
            shown.append(f"{number}{unit}")
    return " ".join(shown) or "0s"


def _sum(value: object, units: dict[str, int], what: str) -> object:
    if not isinstance(value, str):
        return value
    unit = "|".join(sorted(units, key=len, reverse=True))
    if not re.fullmatch(rf"(\d+({unit}))+", value, re.ASCII):
        raise ValueError(f"it is {what}")
    parts = re.findall(rf"(\d+)({unit})", value, re.ASCII)
    return sum(int(number) * units[name] for number, name in parts)


def _schema(units: dict[str, int], what: str) -> dict[str, Any]:
    pattern = rf"^([0-9]+({'|'.join(units)}))+$"
    text = {"type": "string", "pattern": pattern}
    return {"anyOf": [{"type": "integer", "minimum": 0}, text], "description": what}


Duration = Annotated[
    int,
    Field(ge=0),
    BeforeValidator(milliseconds),
    WithJsonSchema(_schema(_MILLISECONDS, "milliseconds, or text such as 30s or 1h30m")),
]
"""Milliseconds; written as a number of them, or as text with units."""

Size = Annotated[
    int,
    Field(ge=0),
    BeforeValidator(parse_size),
    WithJsonSchema(_schema(_BYTES, "bytes, or text such as 500MB or 2GiB")),
]
"""Bytes; written as a number of them, or as text with units."""
