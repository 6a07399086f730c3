"""
What may be a password in values that are shown: in arguments, policies and descriptions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rabbit_topology.config.words import NOT_SHOWN
from rabbit_topology.model import SECRETS

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
