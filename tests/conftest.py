"""
`deploy`: runs a Pulumi program under mocks and returns what it asked the engine for, as plain data.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import pulumi
import pytest
from google.protobuf import json_format
from pulumi.runtime import mocks, rpc, settings
from pulumi.runtime.config import set_all_config

from rabbit_topology.routing import tree

PROJECT = "rabbit-topology"

# How long an example takes depends on what else the machine does: it says nothing about the code.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


@dataclass(frozen=True, kw_only=True)
class Registration:
    """One resource as it went over the wire: camelCase inputs, plain values."""

    type: str
    name: str
    inputs: dict[str, Any]
    secrets: frozenset[str]
    """Names of the inputs that went over the wire as secrets."""
    parent: str
    protect: bool
    provider: str
    delete_before_replace: bool
    retain: bool
    hooks: dict[str, list[str]]
    dependencies: tuple[str, ...]
    urn: str


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What one run of a program registered and exported."""

    registrations: tuple[Registration, ...]
    exports: dict[str, Any]
    secret_exports: frozenset[str]
    log: tuple[str, ...] = field(default=())

    def of(self, type_: str) -> list[Registration]:
        """Return all of one type; fails when there is none, so that no loop is vacuous."""
        found = [it for it in self.registrations if it.type == type_]
        assert found, f"no {type_} among {[it.type for it in self.registrations]}"
        return found

    def one(self, type_: str, name: str) -> Registration:
        (found,) = (it for it in self.of(type_) if it.name == name)
        return found


class _Echo(mocks.Mocks):
    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict]:
        return f"{args.name}-id", args.inputs

    def call(self, args: mocks.MockCallArgs) -> tuple[dict, list[tuple[str, str]] | None]:
        raise AssertionError(f"unexpected invoke {args.token}")


class _Recorder(mocks.MockMonitor):
    def __init__(self) -> None:
        super().__init__(_Echo())
        self.registrations: list[Registration] = []

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - the SDK's name
        answer = super().RegisterResource(request)
        if request.type != "pulumi:pulumi:Stack":
            inputs = json_format.MessageToDict(request.object)
            self.registrations.append(
                Registration(
                    type=request.type,
                    name=request.name,
                    inputs=_plain(inputs),
                    secrets=frozenset(key for key, it in inputs.items() if _is_secret(it)),
                    parent=request.parent,
                    protect=request.protect,
                    provider=request.provider,
                    delete_before_replace=request.deleteBeforeReplace,
                    retain=request.retainOnDelete,
                    hooks={name.name: list(value) for name, value in request.hooks.ListFields()},
                    dependencies=tuple(request.dependencies),
                    urn=answer.urn,
                )
            )
        return answer


def _is_secret(value: Any) -> bool:
    return isinstance(value, dict) and value.get(rpc._special_sig_key) == rpc._special_secret_sig


def _plain(value: Any) -> Any:
    """Unwrap secrets, and give whole numbers back their type."""
    match value:
        case {rpc._special_sig_key: rpc._special_secret_sig, "value": inner}:
            return _plain(inner)
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case list():
            return [_plain(inner) for inner in value]
        case _:
            return value


@pytest.fixture
def deploy() -> Iterator[Callable[..., Deployment]]:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    def run(
        program: Callable[[], object],
        *,
        config: dict[str, str] | None = None,
        secrets: tuple[str, ...] = (),
        preview: bool = False,
    ) -> Deployment:
        monitor = _Recorder()
        settings.set_root_resource(None)
        set_all_config(config or {}, list(secrets))
        pulumi.runtime.set_mocks(
            monitor.mocks, project=PROJECT, stack="test", preview=preview, monitor=monitor
        )
        pulumi.runtime.test(program)()
        root = settings.get_root_resource()
        outputs = {name: pulumi.Output.from_input(it) for name, it in root.outputs.items()}

        async def read() -> tuple[dict[str, Any], frozenset[str]]:
            values, hidden = {}, set()
            for name, output in outputs.items():
                assert await output.is_known(), f"export {name} is unknown"
                values[name] = await output.future()
                if await output.is_secret():
                    hidden.add(name)
            return values, frozenset(hidden)

        exports, hidden = loop.run_until_complete(read())
        counts = Counter(it.urn for it in monitor.registrations)
        assert max(counts.values(), default=1) == 1, f"duplicate URNs: {counts.most_common(3)}"
        return Deployment(
            registrations=tuple(monitor.registrations), exports=exports, secret_exports=hidden
        )

    yield run
    set_all_config({}, [])
    settings.set_root_resource(None)
    loop.close()
    asyncio.set_event_loop(None)


@pytest.fixture
def steps_of_search(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of steps of each search among a topic's patterns."""
    steps: list[int] = []
    search = tree._search

    def counted(*arguments: Any) -> Any:
        answer = search(*arguments)
        steps.append(answer[1])
        return answer

    monkeypatch.setattr(tree, "_search", counted)
    return steps
