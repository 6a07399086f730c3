"""
Names of services and users, as other tools take names. Two names never become the same one.

Source: "Object Names and IDs", Kubernetes documentation; "Environment Variable Definition", POSIX.
"""

from __future__ import annotations

import re
from hashlib import sha256

from rabbit_topology.errors import TopologyError

_LABEL = 63
"""Characters at most of a name that Kubernetes takes everywhere (RFC 1123 label)."""

_SECRET = "-amqp"  # noqa: S105 - what names end with


def label(name: str) -> str:
    """Return a name in small letters, digits and single hyphens, so short that a suffix fits.

    One that is so already stays; of another one a hash keeps the names of two apart.
    """
    longest = _LABEL - len(_SECRET)
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if plain and plain == name and len(plain) <= longest:
        return plain
    tail = sha256(name.encode()).hexdigest()[:8]
    head = plain[: longest - len(tail) - 1].strip("-")
    return f"{head}-{tail}" if head else f"s-{tail}"


def secret_name(name: str) -> str:
    """Return the name of a service's Secret: `<service>-amqp`, as far as Kubernetes takes it."""
    return f"{label(name)}{_SECRET}"


def variable_prefix(name: str) -> str:
    """Return what the names of a service's environment variables begin with among others'."""
    prefix = label(name).upper().replace("-", "_")
    return f"_{prefix}_" if prefix[0].isdigit() else f"{prefix}_"


def check_namespace(name: str) -> None:
    """Accept the name of a Kubernetes namespace.

    Raises:
        TopologyError: It is none.
    """
    if not re.fullmatch(rf"(?=.{{1,{_LABEL}}}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?", name):
        raise TopologyError(
            f"--namespace {name}: a namespace has up to {_LABEL} small letters, digits and "
            "hyphens, and no hyphen at its ends"
        )
