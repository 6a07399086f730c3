"""
Values as the page says them; never a secret.
"""

from __future__ import annotations

import json
from typing import Any

from rabbit_topology.config.words import without_secrets
from rabbit_topology.describe.notes import size_text
from rabbit_topology.model.units import duration_text

_TIMES = frozenset({"message-ttl", "expires", "consumer-timeout"})
_SIZES = frozenset({"max-length-bytes", "stream-max-segment-size-bytes"})


def setting(key: str, value: Any) -> str:
    """Return a setting's value, with its unit where it has one."""
    number = isinstance(value, int) and not isinstance(value, bool)
    if number and value > 0 and key in _TIMES:
        return f"{duration_text(value)} ({value:,} ms)"
    if number and key in _SIZES:
        return f"{size_text(value)} ({value:,} bytes)" if value >= 1000 else size_text(value)
    return plain(value)


def plain(value: Any) -> str:
    """Return text as it is, and anything else as JSON."""
    known = without_secrets(value)
    return known if isinstance(known, str) else json.dumps(known, ensure_ascii=False)
