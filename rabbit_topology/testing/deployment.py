"""
What a program asks the engine for, under Pulumi's mocks, as plain data.

Source: "Unit testing Pulumi programs", Pulumi documentation.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import pulumi
from google.protobuf import json_format
from pulumi.runtime import mocks, rpc, settings
from pulumi.runtime.config import set_all_config

PROJECT = "rabbit-topology"
STACK = "test"

_SECRET = {rpc._special_sig_key: rpc._special_secret_sig}  # noqa: SLF001 - the wire's own mark


@dataclass(frozen=True, kw_only=True)
class Registration:
    """One resource as it went over the wire."""

    type: str
    """Its type token, `rabbitmq:index/queue:Queue`."""
    name: str
    inputs: dict[str, Any]
    """By their names on the wire, in camelCase, as plain values."""
    secrets: frozenset[str]
    """The names of the inputs that went over the wire as secrets."""
    parent: str
    protect: bool
    provider: str
    delete_before_replace: bool
    retain: bool
    hooks: dict[str, list[str]]
    """The names of its hooks, by what they are for: `before_delete`."""
    dependencies: tuple[str, ...]
    """The URNs of what it depends on."""
    urn: str


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What one run of a program registered and exported."""

    registrations: tuple[Registration, ...]
    exports: dict[str, Any]
    """By name; secrets in plain."""
    secret_exports: frozenset[str]
    """The names of those that are secret."""

    def of(self, type_: str) -> list[Registration]:
        """Return all resources of one type.

        Raises:
            AssertionError: There is none: a loop over them would test nothing.
        """
        registered = [one for one in self.registrations if one.type == type_]
        if not registered:
            known = sorted({one.type for one in self.registrations})
            raise AssertionError(f"no {type_} among {known}")
        return registered

    def one(self, type_: str, name: str) -> Registration:
        """Return the resource of a type with this logical name.

        Raises:
            AssertionError: There is none of the type.
            ValueError: There is none of the name, or more than one.
        """
        (registered,) = (one for one in self.of(type_) if one.name == name)
        return registered


class Mocked:
    """The mocks, while it is entered; the SDK's settings are as before when it is left."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        set_all_config({}, [])
        settings.set_root_resource(None)  # type: ignore[arg-type]  # None is what it is at first
        self._loop.close()
        asyncio.set_event_loop(None)

    def deploy(
        self,
        program: Callable[[], object],
        *,
        config: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
        preview: bool = False,
    ) -> Deployment:
        """Run a program, and return what it asked the engine for. No broker is asked.

        Args:
            program: What a `__main__.py` does.
            config: Values by full key, `rabbitmq:endpoint`; objects as JSON.
            secrets: The keys of those that are secret.
            preview: As in `pulumi preview`.

        Raises:
            AssertionError: An export is not known, two resources have one URN, or the program
                invokes a function of a provider.
        """
        monitor = _Recorder()
        settings.set_root_resource(None)  # type: ignore[arg-type]  # None is what it is at first
        set_all_config(dict(config or {}), list(secrets))
        pulumi.runtime.set_mocks(
            monitor.mocks, project=PROJECT, stack=STACK, preview=preview, monitor=monitor
        )
        pulumi.runtime.test(program)()  # type: ignore[no-untyped-call]  # the SDK has no types here
        counts = Counter(one.urn for one in monitor.registrations)
        if max(counts.values(), default=1) > 1:
            raise AssertionError(f"duplicate URNs: {counts.most_common(3)}")
        exports, hidden = self._loop.run_until_complete(_exports())
        return Deployment(
            registrations=tuple(monitor.registrations), exports=exports, secret_exports=hidden
        )


async def _exports() -> tuple[dict[str, Any], frozenset[str]]:
    root: Any = settings.get_root_resource()
    values: dict[str, Any] = {}
    hidden: set[str] = set()
    for name, exported in root.outputs.items():
        output = pulumi.Output.from_input(exported)
        if not await output.is_known():
            raise AssertionError(f"export {name} is unknown")
        values[name] = await output.future()
        if await output.is_secret():
            hidden.add(name)
    return values, frozenset(hidden)


class _Echo(mocks.Mocks):
    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        return f"{args.name}-id", args.inputs

    def call(self, args: mocks.MockCallArgs) -> Any:
        raise AssertionError(f"unexpected invoke {args.token}")


class _Recorder(mocks.MockMonitor):
    def __init__(self) -> None:
        super().__init__(_Echo())
        self.registrations: list[Registration] = []

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - the SDK's name
        answer = super().RegisterResource(request)  # type: ignore[no-untyped-call]  # likewise
        if request.type != "pulumi:pulumi:Stack":
            inputs = json_format.MessageToDict(request.object)
            self.registrations.append(
                Registration(
                    type=request.type,
                    name=request.name,
                    inputs=_plain(inputs),
                    secrets=frozenset(key for key, value in inputs.items() if _is_secret(value)),
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
    return isinstance(value, dict) and _SECRET.items() <= value.items()


def _plain(value: Any) -> Any:
    """Return a value without the marks of secrets."""
    if _is_secret(value):
        return _plain(value["value"])
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value
