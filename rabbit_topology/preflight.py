"""
What is checked, and mended, on the broker before the first resource is registered.
"""

from __future__ import annotations

from collections.abc import Sequence

import pulumi

from rabbit_topology import recovery
from rabbit_topology.access import Access
from rabbit_topology.errors import BrokerError
from rabbit_topology.management import UnreachableError
from rabbit_topology.model import Topology


def check(access: Access, topologies: Sequence[Topology]) -> None:
    """Check that the broker answers and that the user may manage it; complete what a killed run
    has left.

    A preview does without a broker, so that CI can run one: there it only warns.

    Raises:
        pulumi.RunError: The broker is out of reach (in an update), the credentials are wrong, the
            user lacks the administrator tag, or another run is at work.
    """
    try:
        access.management.check_administrator()
        for topology in topologies:
            _complete(access, topology)
    except UnreachableError as error:
        if not pulumi.runtime.is_dry_run():
            raise pulumi.RunError(f"{error}; nothing was changed") from None
        pulumi.warn(f"{error}; this preview goes by the stack's state alone")
    except BrokerError as error:
        raise pulumi.RunError(f"{error}; nothing was changed") from None


def _complete(access: Access, topology: Topology) -> None:
    if pulumi.runtime.is_dry_run():
        left = recovery.find(access, topology)
        if left:
            pulumi.warn(f"the next update completes what an earlier one left: {_list(left)}")
    else:
        left = recovery.complete(access, topology, pulumi.info)
        if left:
            pulumi.warn(
                f"an earlier run left {_list(left)}, and what it belongs to is no longer in "
                "the config; look at what it holds, then delete it"
            )


def _list(names: list[str]) -> str:
    return ", ".join(sorted(names))
