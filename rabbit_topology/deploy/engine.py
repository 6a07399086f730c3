"""
The engine that runs the program, if one does.

Source: "Pulumi project file reference", "Testing", Pulumi documentation.
"""

from __future__ import annotations

import pulumi
from pulumi.runtime.mocks import MockMonitor
from pulumi.runtime.settings import get_monitor

from rabbit_topology import interrupt
from rabbit_topology.errors import reason

NEEDED = ">=3.245.0"
"""The versions of Pulumi that will do: error hooks, which came with 3.219, are called from here on.
`Pulumi.yaml` says the same; a program of one's own has another."""


def is_mocked() -> bool:
    """Return whether a test runs the program, under mocks."""
    return isinstance(get_monitor(), MockMonitor)


def listen() -> None:
    """Note interrupts from now on; a test under mocks has its own way to end."""
    if not is_mocked():
        interrupt.listen()


def check_version() -> None:
    """Check the engine's version.

    Raises:
        pulumi.RunError: It is too old, and would not call all hooks.
    """
    if is_mocked():
        return
    try:
        pulumi.require_pulumi_version(NEEDED)
    except Exception as error:  # noqa: BLE001 - the SDK raises nothing more exact
        raise pulumi.RunError(
            f"Pulumi {NEEDED} is needed; an older one does not call all hooks that keep messages: "
            f"{reason(error)}"
        ) from None
