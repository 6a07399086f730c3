"""
Tests of one's own, with plain pytest: what a program deploys, and where messages go.

    pytest_plugins = ["rabbit_topology.testing"]    # in conftest.py

gives the fixture `deploy`, and failures that show the way that a message takes.

    from rabbit_topology.testing import load

    def test_orders_are_billed():
        topology = load("Pulumi.orders-prod.yaml")
        assert topology.publish("orders", "order.new").reaches == {"billing", "audit"}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from rabbit_topology.testing.routes import (
    Published,
    Queues,
    Routes,
    load,
    pytest_assertrepr_compare,
)

if TYPE_CHECKING:
    from rabbit_topology.testing.deployment import Deployment

__all__ = ["Published", "Queues", "Routes", "deploy", "load", "pytest_assertrepr_compare"]


@pytest.fixture
def deploy() -> Iterator[Callable[..., Deployment]]:
    """Return a function that runs a program under Pulumi's mocks: `deployment.Mocked.deploy`."""
    # Here: tests of routes alone need no Pulumi.
    from rabbit_topology.testing.deployment import Mocked

    with Mocked() as mocked:
        yield mocked.deploy
