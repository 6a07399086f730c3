"""
Brokers, scale and results of the safety tests.

Those that carry the marker `safety` alone run when it is asked for; ``python -m tests.safety``
does that, on the full scale, in parts, and keeps what each of them measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import engine_env
from tests.safety import measured, parts
from tests.safety.results import Results
from tests.safety.scenarios import FAST, FULL, Scale
from tests.support.stacks import start_once
from toolchain.broker import Broker

__all__ = ["broker_4_0", "cluster", "engine_env", "results", "scale", "start_broker", "vhost"]

SCALES = {"fast": FAST, "full": FULL}

_RESULTS = Results()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("safety")
    group.addoption("--safety-scale", choices=SCALES, default="fast")
    group.addoption(
        "--safety-part", action="append", choices=parts.BY_NAME, help="only these; all by default"
    )
    group.addoption("--safety-data", type=Path, help="a file of JSON lines to write as tests run")


@pytest.hookimpl(trylast=True)  # markers may still be set by others
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = config.getoption("--safety-part", default=None) or [*parts.BY_NAME]
    asked = "safety" in config.option.markexpr

    def runs(item: pytest.Item) -> bool:
        if not item.get_closest_marker("safety"):
            return True
        try:
            part = parts.part_of(item.originalname)
        except LookupError as error:
            raise pytest.UsageError(str(error)) from None
        return part in chosen if asked else bool(item.get_closest_marker("integration"))

    left_out = [item for item in items if not runs(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


# Read with a default: where only the root's folder is given, this file is loaded too late for its
# options to be known.


@pytest.fixture(scope="session")
def scale(pytestconfig: pytest.Config) -> Scale:
    return SCALES[pytestconfig.getoption("--safety-scale", default="fast")]


@pytest.fixture(scope="session")
def results() -> Results:
    """What all tests measure."""
    return _RESULTS


def pytest_configure(config: pytest.Config) -> None:
    _RESULTS.path = config.getoption("--safety-data", default=None)


def pytest_collection_finish(session: pytest.Session) -> None:
    _note(selected=[_name(item.nodeid) for item in session.items])


def pytest_runtest_logstart(nodeid: str) -> None:
    _note(began=_name(nodeid))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # Setup and teardown say something only if they went wrong.
    if report.when == "call" or not report.passed:
        _note(test=_name(report.nodeid), became=report.outcome, seconds=round(report.duration, 1))


def _note(**line: Any) -> None:
    if _RESULTS.path:
        measured.add(_RESULTS.path, **line)


def _name(nodeid: str) -> str:
    return nodeid.removeprefix("tests/safety/")


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
