"""
The provider that a component's resources use, asked through the engine what it sees.

The engine is asked in a thread of ours: those of the event loop may all be waiting for
registrations, which the engine answers only when a hook has ended.
Source: "Provider functions", "Resource hooks", Pulumi documentation.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any

import grpc
import pulumi
from google.protobuf import json_format, struct_pb2
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.settings import get_monitor, grpc_error_to_exception
from pulumi_rabbitmq import _utilities

from rabbit_topology.broker import marker
from rabbit_topology.broker.access import Access
from rabbit_topology.broker.management import UnreachableError
from rabbit_topology.broker.marker import TwoBrokersError
from rabbit_topology.compiler import urls
from rabbit_topology.config import provider_settings
from rabbit_topology.errors import BrokerError, reason

_EXCHANGE = "rabbitmq:index/getExchange:getExchange"
_VHOST = "rabbitmq:index/getVHost:getVHost"
_DEFAULT_USER = "rabbitmq:index/getDefaultUser:getDefaultUser"
"""The official plugin, 3.5 or newer, has it; it asks no broker."""

_UNKNOWN = "unrecognized"
"""How a plugin says that it does not know a function."""


class Provider:
    """The provider of a component's resources: what deletes them, and which broker it is of."""

    def __init__(self, component: pulumi.Resource) -> None:
        """Ask for the component's own provider, an inherited one, or the default one."""
        self._component = component
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="rabbit-topology-provider")
        self._turn = asyncio.Lock()
        self._verdict: BrokerError | None = None
        self._is_proven = False

    async def prove(self, access: Access, vhost: str) -> None:
        """Prove, once in a run, that the provider and both ways of ``access`` are of one broker.

        Raises:
            TwoBrokersError: They are not.
            UnreachableError: The management API does not answer, or it is not known yet which
                broker the provider is of.
            BrokerError: One of the three refuses.
        """
        async with self._turn:
            if self._verdict:
                raise self._verdict
            if self._is_proven:
                return
            reference, endpoint = await self._reference()
            look = partial(_ask, reference)
            call = partial(copy_context().run, _prove, access, vhost, endpoint, look)
            loop = asyncio.get_running_loop()
            try:
                self._is_proven = await loop.run_in_executor(self._threads, call)
            except UnreachableError:
                raise
            except BrokerError as error:
                self._verdict = error
                raise

    async def begin(self) -> bool:
        """Make the engine start the provider as it is configured now; return whether it answers.

        It does so with the first resource. Where the program has none left, the engine would
        delete the last ones by what an earlier run had configured; and once the program has
        ended, it can start none any more: a hook that asks would wait for ever.
        """
        try:
            reference, _ = await self._reference()
            call = partial(copy_context().run, _ask, reference, _VHOST, {"name": "/"})
            await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except BrokerError as error:
            pulumi.log.debug(str(error))  # it is said again where it matters
            return False
        return True

    async def is_official(self) -> bool:
        """Return whether the plugin can do what the official one can, 3.5 or newer.

        True as well where nobody can tell yet.
        """
        try:
            reference, _ = await self._reference()
            call = partial(copy_context().run, _ask, reference, _DEFAULT_USER, {})
            await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except BrokerError as error:
            return _UNKNOWN not in str(error)
        return True

    async def _reference(self) -> tuple[str, str]:
        """Return how the engine names the provider, empty for the default one, and its endpoint."""
        provider = self._component.get_provider(_EXCHANGE)
        if provider is None:
            stated = provider_settings.read(
                pulumi.Config(provider_settings.NAMESPACE).get, os.environ
            )
            return "", urls.without_credentials(stated.get("endpoint", "its default endpoint"))
        known = [
            provider.id,
            *(getattr(provider, setting, None) for setting in ("endpoint", "username")),
        ]
        for output in known:
            if isinstance(output, pulumi.Output) and not await output.is_known():
                raise UnreachableError("", "its provider's endpoint is not known yet")
        urn, id_ = await provider.urn.future(), await provider.id.future()
        endpoint = await pulumi.Output.from_input(getattr(provider, "endpoint", None)).future()
        return f"{urn}::{id_}", urls.without_credentials(str(endpoint or "its own endpoint"))


Look = Callable[[str, Mapping[str, str]], Mapping[str, Any]]


def _prove(access: Access, vhost: str, endpoint: str, look: Look) -> bool:
    """Return whether anything was proven: nothing can be where there is no such vhost yet."""
    way = f"{endpoint} (provider of the resources)"
    if not access.has_vhost(vhost):
        if not _is_there(look(_VHOST, {"name": vhost})) or access.has_vhost(vhost):
            return False
        raise _two_brokers(access, vhost, way)
    with access.marker(vhost) as name:
        wanted = {"name": name, "vhost": vhost}
        if not marker.is_seen(lambda: _is_there(look(_EXCHANGE, wanted))):
            raise _two_brokers(access, vhost, way)
    return True


def _two_brokers(access: Access, vhost: str, way: str) -> TwoBrokersError:
    endpoint = access.management.endpoint
    addresses = ", ".join(map(str, access.addresses))
    return TwoBrokersError(
        endpoint,
        (way, f"{urls.without_credentials(endpoint)} (Access: management API; AMQP: {addresses})"),
        vhost,
        "have the provider (rabbitmq:endpoint, or `provider` in the component's options) and "
        "Access.connect name the same broker",
    )


def _is_there(answer: Mapping[str, Any]) -> bool:
    """Return whether a function of the provider has an object; without, all else is empty."""
    return bool(answer.get("id"))


def _ask(reference: str, function: str, arguments: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the answer of one of the provider's functions.

    Raises:
        BrokerError: It has none; ``endpoint`` is empty.
        UnreachableError: The provider is not configured yet.
    """
    given = struct_pb2.Struct()
    given.update(dict(arguments))
    defaults = _utilities.get_invoke_opts_defaults()
    request = resource_pb2.ResourceInvokeRequest(
        tok=function,
        args=given,
        provider=reference,
        # Else the engine would start another default provider than that of the resources.
        version=defaults.version or "",
        pluginDownloadURL=defaults.plugin_download_url or "",
        acceptResources=True,
    )
    monitor = get_monitor()
    if monitor is None:
        raise UnreachableError("", "no engine runs this program")
    try:
        answer = monitor.Invoke(request)
    except grpc.RpcError as error:
        said = reason(grpc_error_to_exception(error))
        raise BrokerError("", f"the provider cannot ask its broker: {said}") from None
    if answer.failures:
        said = "; ".join(failure.reason for failure in answer.failures)
        raise BrokerError("", f"the provider cannot ask its broker: {said}")
    if getattr(answer, "unknown", False):
        raise UnreachableError("", "its provider's endpoint is not known yet")
    outputs: Mapping[str, Any] = json_format.MessageToDict(getattr(answer, "return"))
    return outputs
