"""
Names of what the program makes on a broker for itself.
"""

from __future__ import annotations

import json
from hashlib import sha256

from rabbit_topology.model import MAX_NAME_BYTES, Route

PREFIX = "rabbit-topology."
"""What the names of everything begin with that a run leaves on a broker while it works."""


SETTINGS_PREFIX = "rabbit-topology-"
"""What the names of policies begin with that hold the settings of queues and exchanges."""


def own_name(role: str, name: str, prefix: str = PREFIX) -> str:
    """Return the name of a helper object for ``name``; a hash ends it where it is too long."""
    whole = f"{prefix}{role}.{name}"
    if len(whole.encode()) <= MAX_NAME_BYTES:
        return whole
    digest = sha256(name.encode()).hexdigest()[:16]
    kept = whole.encode()[: MAX_NAME_BYTES - 17].decode(errors="ignore")
    return f"{kept}~{digest}"


def route_key(route_: Route) -> str:
    """Return a text that is the same for two routes only if the broker has one binding for both."""
    return json.dumps(route_.model_dump(), sort_keys=True)
