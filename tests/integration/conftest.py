"""
Engine and brokers for the integration tests: built or unpacked at first use, started once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from tests.integration.stacks import Stack
from toolchain import engine
from toolchain.broker import Broker

VERSIONS = ("3.10", "4.0", "newest")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def engine_env() -> dict[str, str]:
    return engine.ensure(print)


@pytest.fixture(scope="session")
def start_broker() -> Iterator[Callable[[str], Broker]]:
    """Start a broker by version, once per session."""
    running: dict[str, Broker] = {}
    with ExitStack() as stack:

        def start(version: str) -> Broker:
            if version not in running:
                running[version] = stack.enter_context(Broker.start(version=version, report=print))
            return running[version]

        yield start


@pytest.fixture(params=VERSIONS)
def broker(request: pytest.FixtureRequest, start_broker: Callable[[str], Broker]) -> Broker:
    """Each of the three versions in turn."""
    return start_broker(request.param)


_numbers = count(1)


@pytest.fixture
def vhost() -> str:
    """A vhost name that no other test has."""
    return f"test-{next(_numbers)}"


@pytest.fixture
def stack(tmp_path: Path, engine_env: dict[str, str], broker: Broker) -> Stack:
    return Stack(tmp_path, engine_env, broker)


@pytest.fixture
def one_stack(
    tmp_path: Path, engine_env: dict[str, str], start_broker: Callable[[str], Broker]
) -> Stack:
    """A stack on one version, for what does not depend on the broker's."""
    return Stack(tmp_path, engine_env, start_broker("4.0"))
