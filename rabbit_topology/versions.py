"""
Versions of RabbitMQ, as far as rules depend on them: major and minor.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from rabbit_topology.rule import Severity

Version: TypeAlias = tuple[int, int]


def parse(text: str) -> Version:
    """Return ``4.3.6`` or ``4.3`` as (4, 3); what follows, as in ``4.1.0-rc.1``, is left out.

    Raises:
        ValueError: The text is no version.
    """
    found = re.fullmatch(r"(\d+)\.(\d+)([.+-].*)?", text, re.ASCII)
    if not found:
        raise ValueError('a version is written "4.0" or "4.0.5", in quotes')
    return int(found[1]), int(found[2])


def text(version: Version) -> str:
    """Return (4, 3) as ``4.3``."""
    return f"{version[0]}.{version[1]}"


def needing(least: Version, version: Version | None) -> Severity | None:
    """Return how bad it is to use what only brokers from ``least`` on know; None: not at all."""
    if version is None:
        return Severity.NOTE
    return Severity.ERROR if version < least else None


def denied(since: Version, version: Version | None) -> Severity:
    """Return how bad it is to use what brokers deny from ``since`` on."""
    if version is None:
        return Severity.WARNING
    return Severity.ERROR if version >= since else Severity.NOTE
