"""
Engine and brokers for the integration tests: built or unpacked at first use, started once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.support.stacks import Stack, start_once
from tests.support.versions import VERSIONS, one_version_each
from toolchain import engine
from toolchain.broker import Broker


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--versions",
        choices=("in-turn", "all"),
        default="in-turn",
        help="run what is for several versions of RabbitMQ on one of them, in turn, or on all",
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Iterator[None]:
    ours = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.integration)
    yield  # to what chooses by marker and name
    if config.getoption("--versions", default="in-turn") == "in-turn":
        kept = [item for item in items if item in ours]
        chosen = one_version_each([_case(item) for item in kept])
        left_out = {item for item, runs in zip(kept, chosen, strict=True) if not runs}
        config.hook.pytest_deselected(items=[item for item in items if item in left_out])
        items[:] = [item for item in items if item not in left_out]


def _case(item: pytest.Item) -> tuple[Hashable, str | None]:
    """Return what is tested, and on which version if it says so."""
    name, _, parameters = item.name.partition("[")
    parts = parameters.rstrip("]").split("-")
    version = next((part for part in parts if part in VERSIONS), None)
    return (item.path, name, *(part for part in parts if part not in VERSIONS)), version


@pytest.fixture(scope="session")
def engine_env() -> dict[str, str]:
    return engine.ensure(print)


@pytest.fixture(scope="session")
def start_broker() -> Iterator[Callable[[str], Broker]]:
    """Start a broker by version, once per session; its statistics go round in a second.

    With those of the safety tests it takes 5 and 10 s, as by default.
    """
    kept = "management.sample_retention_policies"
    config = {
        "collect_statistics_interval": "1000",
        # The plugin collects them as often as it keeps a sample.
        **{f"{kept}.{one}.minute": "1" for one in ("global", "basic", "detailed")},
        **{f"{kept}.{one}.hour": "60" for one in ("global", "basic")},
        f"{kept}.global.day": "1200",
    }
    with start_once(config=config, advanced={"quorum_tick_interval": 1000}) as start:
        yield start


@pytest.fixture(params=VERSIONS)
def broker(request: pytest.FixtureRequest, start_broker: Callable[[str], Broker]) -> Broker:
    """Each of the three versions in turn."""
    return start_broker(request.param)


@pytest.fixture(scope="session")
def start_default_broker() -> Iterator[Callable[[str], Broker]]:
    """Start a broker by version, once per session, with the statistics it has by default.

    They go round every 5 s, those of quorum queues every 10 s: whatever is judged by them, or must
    not wait for them, is tested here as well.
    """
    with start_once() as start:
        yield start


@pytest.fixture(params=VERSIONS)
def default_stack(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    engine_env: dict[str, str],
    start_default_broker: Callable[[str], Broker],
) -> Stack:
    """A stack on each of the three versions in turn, with default statistics."""
    return Stack(tmp_path, engine_env, start_default_broker(request.param))


@pytest.fixture
def one_default_stack(
    tmp_path: Path, engine_env: dict[str, str], start_default_broker: Callable[[str], Broker]
) -> Stack:
    """A stack on one version, with default statistics."""
    return Stack(tmp_path, engine_env, start_default_broker("4.0"))


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
