"""
The resource hooks of a component, one set for all its vhosts.

Their names stand in the state of every stack. So they are the same for each vhost, one that has
left the config included, and find by a resource's own inputs who has to decide.
Source: "Resource hooks", Pulumi documentation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import pulumi
from pika.exceptions import AMQPError

from rabbit_topology.access import Access
from rabbit_topology.errors import TopologyError
from rabbit_topology.management import UnreachableError
from rabbit_topology.model import OnDelete

_READ_TOO_EARLY = "ConsumerDetail"
"""The provider reads a queue back right after declaring it. A consumer that subscribed in that
moment has no statistics yet, which the provider's client cannot decode: reading again helps. One
whose channel has gone meanwhile is forgotten when the broker cleans up, every two minutes."""

_READ_AGAIN_SECONDS = (*[0.25] * 40, *[2.5] * 55)
"""Pauses; the engine ends it after a hundred."""

Inputs = Mapping[str, Any]


class Guard(Protocol):
    """Decides for one vhost. All get the inputs that a resource was, or is, deployed with."""

    async def before_vhost(self, old: Inputs) -> None:
        """Raise if the vhost cannot be deleted."""

    async def before_exchange(self, old: Inputs) -> None:
        """Raise if an exchange cannot be deleted, or prepare its replacement."""

    async def before_queue(self, old: Inputs) -> None:
        """Raise if a queue cannot be deleted, or prepare its replacement."""

    async def before_retained_queue(self, old: Inputs) -> None:
        """Prepare the replacement of a queue that is not deleted otherwise."""

    async def before_binding(self, old: Inputs) -> None:
        """Raise if the queue of a binding cannot be deleted, or prepare its replacement."""

    async def before_free_binding(self, old: Inputs) -> None:
        """Prepare the replacement of a binding that no queue's deletion depends on."""

    async def before_permissions(self, old: Inputs) -> None:
        """Raise if the whole stack is being destroyed and cannot be."""

    async def before_policy(self, old: Inputs, new: Inputs, on_delete: OnDelete | None) -> None:
        """Raise if a policy cannot be created, changed or deleted; one of the two may be empty.

        ``on_delete`` is that of its queues; None is an operator policy.
        """

    async def after(self, new: Inputs) -> None:
        """Finish a replacement, after a queue, exchange or binding was created."""


class Hooks:
    """All hooks of one component: create once, before its resources."""

    def __init__(
        self, name: str, access: pulumi.Output[Access], guard_of: Callable[[str, Access], Guard]
    ) -> None:
        """Register the hooks under the component's name; ``guard_of`` gets a vhost's name."""
        self._name = name
        self._access = access
        self._guard_of = guard_of
        self.vhost = self._before("vhost", lambda it: it.before_vhost)
        self.exchange = self._before("exchange", lambda it: it.before_exchange)
        self.queue = self._before("queue", lambda it: it.before_queue)
        self.retained_queue = self._before("retained-queue", lambda it: it.before_retained_queue)
        self.binding = self._before("binding", lambda it: it.before_binding)
        self.free_binding = self._before("free-binding", lambda it: it.before_free_binding)
        self.permissions = self._before("permissions", lambda it: it.before_permissions)
        self.policies = {
            on_delete: self._policy(kind, on_delete)
            for on_delete, kind in (
                (OnDelete.REFUSE, "policy"),
                (OnDelete.RETAIN, "retained-policy"),
                (OnDelete.DISCARD, "discarded-policy"),
                (None, "operator-policy"),
            )
        }
        self.after = self._hook("after", self._run_after, on_dry_run=False)
        self.read_again = pulumi.ErrorHook(f"rabbit-topology:{name}:read-again", _read_again)

    def _before(
        self, kind: str, method: Callable[[Guard], Callable[[Inputs], Awaitable[None]]]
    ) -> pulumi.ResourceHook:
        async def run(args: pulumi.ResourceHookArgs) -> None:
            old = args.old_inputs or {}
            guard = await self._guard(old["vhost"] if "vhost" in old else old["name"])
            await method(guard)(old)

        return self._hook(kind, run, on_dry_run=True)

    def _policy(self, kind: str, on_delete: OnDelete | None) -> pulumi.ResourceHook:
        async def run(args: pulumi.ResourceHookArgs) -> None:
            old, new = args.old_inputs or {}, args.new_inputs or {}
            guard = await self._guard((old or new)["vhost"])
            await guard.before_policy(old, new, on_delete)

        return self._hook(kind, run, on_dry_run=True)

    async def _run_after(self, args: pulumi.ResourceHookArgs) -> None:
        new = args.new_inputs or {}
        guard = await self._guard(new["vhost"])
        await guard.after(new)

    async def _guard(self, vhost: str) -> Guard:
        access = await self._access.future()
        if access is None:
            raise UnreachableError("", "its endpoint or credentials are not known yet")
        return self._guard_of(vhost, access)

    def _hook(
        self,
        kind: str,
        function: Callable[[pulumi.ResourceHookArgs], Awaitable[None]],
        *,
        on_dry_run: bool,
    ) -> pulumi.ResourceHook:
        """Return a hook; in a preview the broker may be out of reach."""

        async def run(args: pulumi.ResourceHookArgs) -> None:
            try:
                await function(args)
            except AMQPError as error:
                raise TopologyError(f"the broker closed the AMQP connection: {error!r}") from None
            except UnreachableError as error:
                if not pulumi.runtime.is_dry_run():
                    raise
                pulumi.warn(f"whether {kind} {args.name} can be changed is not known: {error}")

        options = pulumi.ResourceHookOptions(on_dry_run=on_dry_run)
        return pulumi.ResourceHook(f"rabbit-topology:{self._name}:{kind}", run, options)


async def _read_again(args: pulumi.ErrorHookArgs) -> bool:
    failures = len(args.errors)
    if _READ_TOO_EARLY not in str(args.errors[:1]) or failures > len(_READ_AGAIN_SECONDS):
        return False
    if failures == 1:
        pulumi.warn(
            f"{args.name} was read back before the broker knew all of its consumers; the engine "
            "keeps a note of that: make the next update with `pulumi up --refresh`"
        )
    await asyncio.sleep(_READ_AGAIN_SECONDS[failures - 1])
    return True
