"""What makes the SDK fast changes nothing but the time."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pulumi
import pytest
from pulumi.runtime import resource, settings
from pulumi.runtime.stack import run_in_stack

from rabbit_topology.deploy import sdk


class Child(pulumi.ComponentResource):
    def __init__(self, name: str) -> None:
        super().__init__("test:index:Child", name)


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The debug log, as it is before any test."""
    said: list[str] = []
    monkeypatch.delenv(sdk.LOG, raising=False)
    monkeypatch.setattr(pulumi.log, "debug", said.append)
    return said


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What else `sdk` changes, as it is before any test."""
    monkeypatch.setattr(resource, "_get_stack_trace", resource._get_stack_trace)
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_registrations_have_begun_when_the_sdk_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an SDK does so by itself, `register_before_waiting` is not needed any more."""
    begun: list[int] = []

    async def look() -> None:
        begun.append(len(settings._get_rpc_manager().rpcs))

    monkeypatch.setattr("pulumi.runtime.stack.wait_for_rpcs", look)

    def as_it_comes() -> None:
        for number in range(5):
            Child(f"child-{number}")

    def ours() -> None:
        sdk.register_before_waiting()
        as_it_comes()

    asyncio.run(_as_the_engine_does(as_it_comes))
    asyncio.run(_as_the_engine_does(ours))
    assert begun == [0, 6], "the stack and five children"


async def _as_the_engine_does(program) -> None:
    settings.configure(settings.Settings(project="p", stack="s", monitor=None, engine=None))
    settings.set_root_resource(None)
    try:
        await run_in_stack(program)
    finally:
        settings.set_root_resource(None)


def test_without_an_engine_nothing_is_begun(deploy) -> None:
    assert deploy(sdk.register_before_waiting).registrations == ()


def test_what_is_registered_stays_the_same(deploy) -> None:
    def program() -> None:
        Child("child")

    def fast() -> None:
        sdk.start()
        program()

    assert deploy(program).registrations == deploy(fast).registrations


def test_the_sdk_keeps_its_debug_log_to_itself(log: list[str]) -> None:
    sdk.silence_debug_log()
    pulumi.log.debug("unheard", stream_id=1)
    assert log == []


def test_the_debug_log_can_be_had(log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sdk.LOG, "1")
    sdk.silence_debug_log()
    pulumi.log.debug("heard")
    assert log == ["heard"]


class Base:
    """Three `__init__` above what makes it, as the SDK's classes have them."""

    def __init__(self) -> None:
        self.trace = resource._get_stack_trace()


class Custom(Base):
    def __init__(self) -> None:
        super().__init__()


class Concrete(Custom):
    def __init__(self) -> None:
        super().__init__()


def test_the_engine_is_told_the_same_places() -> None:
    told = []
    for change in (lambda: None, sdk.cache_source_positions, lambda: None):
        change()
        told.append(list(Concrete().trace.frames))
    as_it_comes, *ours = told
    assert len(as_it_comes) > 5
    assert ours == [as_it_comes, as_it_comes]


@pytest.mark.parametrize("changed", ["_get_source_position_for_frame", "_get_stack_trace"])
def test_places_of_an_unknown_sdk_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    monkeypatch.setattr(resource, changed, lambda one, other: None)
    before = resource._get_stack_trace
    sdk.cache_source_positions()
    assert resource._get_stack_trace is before


@pytest.mark.parametrize("gone", ["_get_source_position_for_frame", "_get_stack_trace"])
def test_an_sdk_without_places_is_left_alone(monkeypatch: pytest.MonkeyPatch, gone: str) -> None:
    monkeypatch.delattr(resource, gone)
    sdk.cache_source_positions()
    assert not hasattr(resource, gone)


def test_a_resource_made_without_its_classes_has_no_place() -> None:
    told = []
    for change in (lambda: None, sdk.cache_source_positions):
        change()
        told.append(list(resource._get_stack_trace().frames))
    assert told == [[], []]


def test_garbage_is_collected_rarely_but_it_is() -> None:
    usual = 700
    gc.enable()  # a command of another test may have turned it off
    gc.set_threshold(usual)
    sdk.raise_gc_threshold()
    assert gc.get_threshold()[0] > 10 * usual
    assert gc.isenabled()
