"""
What is checked on the broker before the first resource is registered.
"""

from __future__ import annotations

import pulumi

from rabbit_topology.errors import BrokerError
from rabbit_topology.management import Management, UnreachableError


def check(management: Management) -> None:
    """Check that the broker answers and that the user may manage it.

    A preview does without a broker, so that CI can run one: there it only warns.

    Raises:
        pulumi.RunError: The broker is out of reach (in an update), the credentials are wrong, or
            the user lacks the administrator tag.
    """
    try:
        management.check_administrator()
    except UnreachableError as error:
        if not pulumi.runtime.is_dry_run():
            raise pulumi.RunError(f"{error}; nothing was changed") from None
        pulumi.warn(f"{error}; this preview goes by the stack's state alone")
    except BrokerError as error:
        raise pulumi.RunError(f"{error}; nothing was changed") from None
