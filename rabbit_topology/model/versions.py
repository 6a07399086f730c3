"""
Versions of RabbitMQ, as far as anything depends on them: major and minor.
"""

from __future__ import annotations

import re
from typing import TypeAlias

Version: TypeAlias = tuple[int, int]


def parse(text: str) -> Version:
    """Return ``4.3.6`` or ``4.3`` as (4, 3); what follows, as in ``4.1.0-rc.1``, is left out.

    Raises:
        ValueError: The text is no version.
    """
    matched = re.fullmatch(r"(\d+)\.(\d+)([.+-].*)?", text, re.ASCII)
    if not matched:
        raise ValueError('a version is written "4.0" or "4.0.5", in quotes')
    return int(matched[1]), int(matched[2])


def text(version: Version) -> str:
    """Return (4, 3) as ``4.3``."""
    return f"{version[0]}.{version[1]}"
