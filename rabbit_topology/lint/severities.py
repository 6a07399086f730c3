"""
How bad it is to use what some versions of RabbitMQ do not know yet, and others no more.
"""

from __future__ import annotations

from rabbit_topology.findings import Severity
from rabbit_topology.model.versions import Version


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
