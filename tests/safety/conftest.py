"""
Brokers, scale and results of the safety tests.

Those that carry the marker `safety` alone run when it is asked for; ``python -m tests.safety``
does that, on the full scale, and writes the results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import engine_env
from tests.integration.stacks import start_once
from tests.safety.results import Results
from tests.safety.scenarios import FAST, FULL, Scale
from toolchain.broker import Broker

__all__ = ["broker_4_0", "cluster", "engine_env", "results", "scale", "start_broker", "vhost"]

SCALES = {"fast": FAST, "full": FULL}

_RESULTS = Results()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("safety")
    group.addoption("--safety-scale", choices=SCALES, default="fast")
    group.addoption("--safety-results", type=Path, help="a Markdown file to write")
    group.addoption("--safety-command", default="", help="what the file says it was made by")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "safety" in config.option.markexpr:
        return
    long = [
        item
        for item in items
        if item.get_closest_marker("safety") and not item.get_closest_marker("integration")
    ]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


# Read with a default: where only the root's folder is given, this file is loaded too late for its
# options to be known.


@pytest.fixture(scope="session")
def scale(pytestconfig: pytest.Config) -> Scale:
    return SCALES[pytestconfig.getoption("--safety-scale", default="fast")]


@pytest.fixture(scope="session")
def results() -> Results:
    """What all tests measured; written when the session ends."""
    return _RESULTS


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed and "tests/safety/" in report.nodeid:
        _RESULTS.failures.append(report.nodeid.removeprefix("tests/safety/"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("--safety-results", default=None)
    if path:
        _RESULTS.command = session.config.getoption("--safety-command")
        _RESULTS.write(path)


@pytest.fixture(scope="session")
def start_broker() -> Iterator[Callable[[str], Broker]]:
    """Start a broker by version, once per session, as it comes."""
    with start_once() as start:
        yield start


@pytest.fixture(scope="session")
def cluster() -> Iterator[Callable[[], Broker]]:
    """Three nodes, started when first asked for."""
    running: list[Broker] = []

    def start() -> Broker:
        if not running:
            running.append(Broker.start(version="4.0", nodes=3, report=print))
        return running[0]

    yield start
    for broker in running:
        broker.stop()


@pytest.fixture
def broker_4_0(start_broker: Callable[[str], Broker]) -> Broker:
    return start_broker("4.0")


_numbers = iter(range(1, 10_000))


@pytest.fixture
def vhost() -> str:
    """A vhost name that no other test has."""
    return f"safety-{next(_numbers)}"
