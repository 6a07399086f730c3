"""
What the stack has deployed so far, as the engine's own record of it tells.

Source: readStackResourceOutputs of the engine's built-in provider, by which stack references work.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from typing import Any

import grpc
import pulumi
from google.protobuf import json_format, struct_pb2
from pulumi.runtime import settings
from pulumi.runtime.proto import resource_pb2

from rabbit_topology.deploy import engine, inputs

LEAVING = "leaving"
"""The output of a component that holds what `Record.leaving` returns, if there is any."""

RETAINED = "retained"
"""The output of a component that names the vhosts that the engine does not delete, if any."""

_PROVIDER = "rabbitmq:index/"
_FUNCTION = "pulumi:pulumi:readStackResourceOutputs"
_COMPONENT = "rabbit_topology:index:Topology"
_QUEUE = "rabbitmq:index/queue:Queue"
_USER = "rabbitmq:index/user:User"
_VHOST = "rabbitmq:index/vHost:VHost"
_PATIENCE_SECONDS = 30.0


class Record:
    """Asks in the background at once: later, when deletions begin, the engine does not answer."""

    def __init__(self) -> None:
        self._answer: Future[Mapping[str, Any]] = Future()
        self._has_warned = False
        monitor = settings.get_monitor()
        self._is_mocked = engine.is_mocked()
        if self._is_mocked:
            self._answer.set_result({})
        else:
            Thread(target=self._ask, args=(monitor, pulumi.get_stack()), daemon=True).start()

    def objects(self) -> Mapping[tuple[str, str, str], Mapping[str, Any]] | None:
        """Return what the stack has made or imported, by kind, vhost and key, and its outputs.

        As `inputs.identity` returns them. None: not known, or there is no engine.
        """
        resources = None if self._is_mocked else self._resources()
        if resources is None:
            return None
        return dict(_objects(resources))

    def users(self) -> dict[str, str]:
        """Return the names of the users that the stack has made, by logical name."""
        resources = self._resources() or {}
        return {
            urn.split("::", 3)[-1]: outputs["name"] for urn, outputs in _of_type(resources, _USER)
        }

    def unfinished(self, component: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield what a component has in the state and no update of its program has had so far.

        An imported resource, for example: the engine has no hooks for it yet.

        Yields:
            ``vhost`` or ``queue``, and the outputs of the resource.
        """
        resources = self._resources() or {}
        had = _had(resources, component)
        for vhost, name, outputs in _owned(resources, component):
            if not _is_in(had, vhost, name):
                yield ("queue" if name else "vhost"), outputs

    def retained(self, component: str) -> frozenset[str]:
        """Return the vhosts of a component that the engine leaves on the broker when they go."""
        named: set[str] = set()
        for outputs in _components(self._resources() or {}, component):
            named.update(outputs.get(RETAINED, ()))
        return frozenset(named)

    def leaving(self, component: str, declared: Mapping[str, Container[str]]) -> dict[str, Any]:
        """Return the queues, by vhost, that updates have had and that are no longer ``declared``.

        The component keeps them among its outputs: their deletion comes last, and may be refused.
        """
        resources = self._resources() or {}
        had = _had(resources, component)
        left: dict[str, list[str]] = {}
        for vhost, name, _ in _owned(resources, component):
            if _is_in(had, vhost, name) and not _is_in(declared, vhost, name):
                left.setdefault(vhost, []).extend([name] if name else ())
        return {vhost: sorted(names) for vhost, names in left.items()}

    def _resources(self) -> Mapping[str, Any] | None:
        try:
            return self._answer.result(_PATIENCE_SECONDS)
        except (TimeoutError, grpc.RpcError) as error:
            if not self._has_warned:
                self._has_warned = True
                pulumi.warn(
                    f"the engine does not tell what the stack has ({error!r}): what was imported "
                    "and never deployed is not noticed"
                )
            return None

    def _ask(self, monitor: Any, stack: str) -> None:
        arguments = struct_pb2.Struct()
        arguments.update({"stackName": stack})
        request = resource_pb2.ResourceInvokeRequest(tok=_FUNCTION, args=arguments)
        try:
            answer = getattr(monitor.Invoke(request), "return")
            known = json_format.MessageToDict(answer)
            self._answer.set_result(known.get("outputs", {}))
        except grpc.RpcError as error:
            self._answer.set_exception(error)


def _objects(
    resources: Mapping[str, Any],
) -> Iterator[tuple[tuple[str, str, str], Mapping[str, Any]]]:
    for resource in resources.values():
        if resource["type"].startswith(_PROVIDER):
            kind, outputs = inputs.kind(resource["type"]), resource["outputs"]
            with suppress(KeyError):  # one that was never made has no outputs
                yield (kind, *inputs.identity(kind, outputs)), outputs


def _of_type(resources: Mapping[str, Any], type_: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for urn, resource in resources.items():
        if resource["type"] == type_ and "name" in resource["outputs"]:
            yield urn, resource["outputs"]


def _owned(
    resources: Mapping[str, Any], component: str
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield the vhosts and queues that a component has.

    Yields:
        Vhost, queue or nothing, and the outputs of the resource.
    """
    for urn, outputs in _of_type(resources, _VHOST):
        if urn.endswith(f"::{component}/{outputs['name']}"):
            yield outputs["name"], "", outputs
    for urn, outputs in _of_type(resources, _QUEUE):
        if f"::{component}/" in urn:
            yield outputs["vhost"], outputs["name"], outputs


def _is_in(queues: Mapping[str, Container[str]], vhost: str, name: str) -> bool:
    return vhost in queues and (not name or name in queues[vhost])


def _had(resources: Mapping[str, Any], component: str) -> dict[str, set[str]]:
    """Return the queues that updates of a component's program have had, by vhost.

    It has outputs once its program has come to its end.
    """
    had: dict[str, set[str]] = {}
    for outputs in _components(resources, component):
        vhosts = outputs.get("vhosts") or {outputs.get("vhost"): outputs}
        had |= {vhost: set(one.get("queue_urls", ())) for vhost, one in vhosts.items() if vhost}
        for vhost, names in outputs.get(LEAVING, {}).items():
            had.setdefault(vhost, set()).update(names)
    return had


def _components(resources: Mapping[str, Any], component: str) -> Iterator[Mapping[str, Any]]:
    for urn, resource in resources.items():
        if resource["type"] == _COMPONENT and urn.endswith(f"::{component}"):
            yield resource["outputs"]
