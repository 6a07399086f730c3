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

from rabbit_topology import interrupt
from rabbit_topology.broker.access import Access
from rabbit_topology.broker.amqp import AMQPError
from rabbit_topology.broker.management import UnreachableError
from rabbit_topology.deploy import inputs
from rabbit_topology.deploy.children import Children
from rabbit_topology.deploy.provider import Provider
from rabbit_topology.errors import BrokerError, TopologyError
from rabbit_topology.model import OnDelete, OnRefusal, SafetySettings
from rabbit_topology.safety.run import Run

_READ_TOO_EARLY = "ConsumerDetail"
"""The provider reads a queue back right after declaring it. A consumer that subscribed in that
moment has no statistics yet, which the provider's client cannot decode: reading again helps. One
whose channel has gone meanwhile is forgotten when the broker cleans up, every two minutes."""

_READ_NOTHING = "nil state"
"""How the provider says that what it has made is not there when it reads it back."""

_READ_AGAIN_SECONDS = (*[0.25] * 40, *[2.5] * 55)
"""Pauses; the engine ends it after a hundred."""

Inputs = Mapping[str, Any]


class Guard(Protocol):
    """Decides for one vhost. All get the inputs that a resource was, or is, deployed with."""

    async def goes_with_vhost(self, type_: str, old: Inputs) -> bool:
        """Return whether a resource goes with its vhost, which is replaced; raise if it cannot."""

    async def before_vhost(self, old: Inputs) -> None:
        """Raise if the vhost cannot be deleted."""

    async def before_exchange(self, old: Inputs) -> None:
        """Raise if an exchange cannot be deleted, or prepare its replacement."""

    async def before_queue(self, old: Inputs) -> None:
        """Raise if a queue cannot be deleted, or prepare its replacement."""

    async def before_retained_exchange(self, old: Inputs) -> None:
        """Delete an exchange, which the engine leaves, unless it stays for a retained queue."""

    async def before_renamed_queue(self, new: Inputs) -> None:
        """Take over what a queue holds under the name that it had before."""

    async def before_discarded_queue(self, old: Inputs) -> None:
        """Prepare the replacement of a queue that is deleted with all it holds otherwise."""

    async def before_kept_queue(self, old: Inputs) -> None:
        """Delete a queue, which the engine leaves, unless it stays for a retained queue."""

    async def before_retained_queue(self, old: Inputs) -> None:
        """Prepare the replacement of a queue that is not deleted otherwise."""

    async def before_binding(self, old: Inputs) -> None:
        """Raise if the queue of a binding cannot be deleted, or prepare its replacement."""

    async def before_free_binding(self, old: Inputs) -> None:
        """Prepare the replacement of a binding that no queue's deletion depends on."""

    async def before_retained_binding(self, old: Inputs) -> None:
        """Delete a binding, which the engine leaves, unless it stays for a retained queue."""

    async def before_making(self, new: Inputs) -> None:
        """Make room for a vhost that is to be created."""

    async def bind(self, new: Inputs) -> None:
        """Make a binding, which the engine then finds made."""

    async def unbind(self, old: Inputs) -> None:
        """Remove a binding, which the engine then finds gone."""

    async def before_permissions(self, old: Inputs) -> None:
        """Raise if the whole stack is being destroyed and cannot be."""

    async def before_topic_permissions(self, old: Inputs) -> None:
        """Raise if the whole stack is being destroyed and cannot be."""

    async def before_policy(self, old: Inputs, new: Inputs, on_delete: OnDelete | None) -> None:
        """Raise if a policy cannot be created, changed or deleted; one of the two may be empty.

        ``on_delete`` is that of its queues; None is an operator policy.
        """

    async def before_shovel(self, old: Inputs, new: Inputs) -> None:
        """Raise if a shovel cannot be changed, or deleted where ``new`` is empty."""

    async def before_upstream(self, old: Inputs, new: Inputs) -> None:
        """Raise if a federation upstream cannot be changed, or deleted where ``new`` is empty."""

    def foresee(self, error: BrokerError) -> None:
        """Say in a preview what an update would be refused for."""

    async def after_policy(self, new: Inputs, *, operator: bool) -> None:
        """Finish a replacement, after a policy was created."""

    async def after_deletion(self, old: Inputs) -> None:
        """Go on with a replacement, after a queue or exchange was deleted."""

    async def after(self, new: Inputs) -> None:
        """Finish a replacement, after a queue, exchange or binding was created."""


class Hooks:
    """All hooks of one component: create once, before its resources."""

    def __init__(
        self,
        name: str,
        access: pulumi.Output[Access],
        provider: Provider,
        children: Children,
        run: Run,
        guard_of: Callable[[str, Access], Guard],
        *,
        stays: bool = False,
    ) -> None:
        """Register the hooks.

        Args:
            name: The name of the component.
            access: The broker.
            provider: What deletes the resources.
            children: The resources.
            run: Whether it is a preview, and who is told what.
            guard_of: Returns who decides for a vhost.
            stays: The hooks are for resources that the engine leaves on the broker.
        """
        self.stays = stays
        self._all: list[pulumi.ResourceHook | pulumi.ErrorHook] = []
        self._prefix = f"rabbit-topology:{name}:{'staying-' if stays else ''}"
        self._provider = provider
        self._children = children
        self._run = run
        self._foreseen = False
        self._access = access
        self._guard_of = guard_of
        self.vhost = self._before("vhost", lambda guard: guard.before_vhost)
        self.exchange = self._before("exchange", lambda guard: guard.before_exchange)
        self.retained_exchange = self._before(
            "retained-exchange", lambda guard: guard.before_retained_exchange
        )
        self.queue = self._before("queue", lambda guard: guard.before_queue)
        self.discarded_queue = self._before(
            "discarded-queue", lambda guard: guard.before_discarded_queue
        )
        self.kept_queue = self._before("kept-queue", lambda guard: guard.before_kept_queue)
        self.retained_queue = self._before(
            "retained-queue", lambda guard: guard.before_retained_queue
        )
        self.renamed_queue = self._hook("renamed-queue", self._run_renamed, on_dry_run=True)
        self.binding = self._before("binding", lambda guard: guard.before_binding)
        self.free_binding = self._before("free-binding", lambda guard: guard.before_free_binding)
        self.retained_binding = self._before(
            "retained-binding", lambda guard: guard.before_retained_binding
        )
        self.making = self._hook("making", self._run_making, on_dry_run=False)
        self.bind = self._hook("bind", self._run_bind, on_dry_run=False)
        self.unbind = self._hook("unbind", self._run_unbind, on_dry_run=False)
        self.permissions = self._before("permissions", lambda guard: guard.before_permissions)
        self.topic_permissions = self._before(
            "topic-permissions", lambda guard: guard.before_topic_permissions
        )
        self.user = self._hook("user", self._run_user, on_dry_run=True)
        self.shovel = self._changing("shovel", lambda guard: guard.before_shovel)
        self.upstream = self._changing("upstream", lambda guard: guard.before_upstream)
        self.policies = {
            on_delete: self._policy(kind, on_delete)
            for on_delete, kind in (
                (OnDelete.REFUSE, "policy"),
                (OnDelete.RETAIN, "retained-policy"),
                (OnDelete.DISCARD, "discarded-policy"),
                (None, "operator-policy"),
            )
        }
        self.after_deletion = self._hook(
            "after-deletion", self._run_after_deletion, on_dry_run=False
        )
        self.after = self._hook("after", self._run_after, on_dry_run=False)
        self.after_policy = self._hook("after-policy", self._run_after_policy, on_dry_run=False)
        self.read_again = pulumi.ErrorHook(f"{self._prefix}read-again", _read_again)
        self.shovel_ended = pulumi.ErrorHook(f"{self._prefix}shovel-ended", _shovel_ended)
        self._all += [self.read_again, self.shovel_ended]

    async def registered(self) -> None:
        """Wait until the engine knows all hooks.

        A program that fails while it is told of them crashes, and its error is never shown.
        """
        # The SDK waits for the same, for each resource that has a hook.
        await asyncio.gather(*(hook._registered for hook in self._all))  # noqa: SLF001

    def _before(
        self, kind: str, method: Callable[[Guard], Callable[[Inputs], Awaitable[None]]]
    ) -> pulumi.ResourceHook:
        async def run(args: pulumi.ResourceHookArgs) -> None:
            old = args.old_inputs or {}
            guard = await self._judge(old["vhost"] if "vhost" in old else old["name"])
            if guard and not await self._is_judged(args, old, guard):
                await method(guard)(old)

        return self._hook(kind, run, on_dry_run=True)

    def _changing(
        self, kind: str, method: Callable[[Guard], Callable[[Inputs, Inputs], Awaitable[None]]]
    ) -> pulumi.ResourceHook:
        async def run(args: pulumi.ResourceHookArgs) -> None:
            old, new = args.old_inputs or {}, args.new_inputs or {}
            guard = await self._judge((old or new)["vhost"])
            if guard and (new or not await self._is_judged(args, old, guard)):
                await method(guard)(await _plain(old), await _plain(new))

        return self._hook(kind, run, on_dry_run=True)

    def _policy(self, kind: str, on_delete: OnDelete | None) -> pulumi.ResourceHook:
        async def run(args: pulumi.ResourceHookArgs) -> None:
            old, new = args.old_inputs or {}, args.new_inputs or {}
            guard = await self._judge((old or new)["vhost"])
            if guard and (new or not await self._is_judged(args, old, guard)):
                await guard.before_policy(old, new, on_delete)

        return self._hook(kind, run, on_dry_run=True)

    async def _run_user(self, args: pulumi.ResourceHookArgs) -> None:
        await self._stays_elsewhere(args, args.old_inputs or {})

    async def _is_judged(self, args: pulumi.ResourceHookArgs, old: Inputs, guard: Guard) -> bool:
        """Return whether a deletion needs no further check, whatever is deleted."""
        if self.stays:
            kind = inputs.kind(args.type)
            if not await self._children.is_registering(kind, *inputs.identity(kind, old)):
                return True
        return await self._stays_elsewhere(args, old) or await guard.goes_with_vhost(args.type, old)

    async def _stays_elsewhere(self, args: pulumi.ResourceHookArgs, old: Inputs) -> bool:
        """Raise, or say in a preview and return True, that an object would be deleted and stays.

        The program has it as another resource, so the engine has declared it once more, which
        changes nothing, and is now about to delete it.
        """
        kind = inputs.kind(args.type)
        vhost, key = inputs.identity(kind, old)
        other = await self._children.other_urn(kind, vhost, key, args.urn)
        if other is None:
            return False
        component = await self._children.parent.urn.future()
        text = (
            f"refused: the {kind} would be deleted that is in the config as another resource, "
            f"{other}. To keep it, take the old resource out of the state, which changes nothing "
            f"on the broker, and run again: pulumi state delete --target-dependents '{args.urn}'; "
            f"or, where more has moved, the whole component: '{component}'"
        )
        self._run.refuse(TopologyError(text))
        return True

    async def _run_renamed(self, args: pulumi.ResourceHookArgs) -> None:
        new = args.new_inputs or {}
        guard = await self._judge(new["vhost"])
        if guard:
            await guard.before_renamed_queue(new)

    async def _run_making(self, args: pulumi.ResourceHookArgs) -> None:
        new = args.new_inputs or {}
        guard = await self._guard(new["name"])
        await guard.before_making(new)

    async def _run_bind(self, args: pulumi.ResourceHookArgs) -> None:
        new = args.new_inputs or {}
        guard = await self._judge(new["vhost"])
        if guard:
            await guard.bind(new)

    async def _run_unbind(self, args: pulumi.ResourceHookArgs) -> None:
        old = args.old_inputs or {}
        guard = await self._guard(old["vhost"])
        await guard.unbind(old)

    async def _run_after_deletion(self, args: pulumi.ResourceHookArgs) -> None:
        old = args.old_inputs or {}
        guard = await self._guard(old["vhost"])
        await guard.after_deletion(old)

    async def _run_after(self, args: pulumi.ResourceHookArgs) -> None:
        new = args.new_inputs or {}
        guard = await self._guard(new["vhost"])
        await guard.after(new)

    async def _run_after_policy(self, args: pulumi.ResourceHookArgs) -> None:
        new = args.new_inputs or {}
        guard = await self._guard(new["vhost"])
        await guard.after_policy(new, operator=inputs.kind(args.type) == "operatorPolicy")

    async def _judge(self, vhost: str) -> Guard | None:
        """Return who decides for a vhost, once it is certain that it is asked where it counts.

        None in the preview of what would be refused.

        Raises:
            BrokerError: In an update; as `Provider.prove` does.
        """
        access = await self._reached()
        guard = self._guard_of(vhost, access)
        try:
            await self._provider.prove(access, vhost)
        except BrokerError as error:
            if isinstance(error, UnreachableError) or not pulumi.runtime.is_dry_run():
                raise
            if not self._foreseen:
                self._foreseen = True
                guard.foresee(error)
            return None
        return guard

    async def _guard(self, vhost: str) -> Guard:
        return self._guard_of(vhost, await self._reached())

    async def _reached(self) -> Access:
        access = await self._access.future()
        if access is None:
            raise UnreachableError("", "its endpoint or credentials are not known yet")
        return access

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
                with interrupt.at_work():
                    await function(args)
            except AMQPError as error:
                raise TopologyError(f"the broker closed the AMQP connection: {error!r}") from None
            except UnreachableError as error:
                if not pulumi.runtime.is_dry_run():
                    raise
                pulumi.warn(f"whether {kind} {args.name} can be changed is not known: {error}")

        options = pulumi.ResourceHookOptions(on_dry_run=on_dry_run)
        hook = pulumi.ResourceHook(f"{self._prefix}{kind}", run, options)
        self._all.append(hook)
        return hook


def refuse(settings: SafetySettings, text: str) -> None:
    """Refuse a whole run before anything of it is done; in a preview say that an update would be.

    Raises:
        pulumi.RunError: In an update, or in a preview whose settings say so.
    """
    if not pulumi.runtime.is_dry_run():
        raise pulumi.RunError(text)
    foreseen = f"{text}; `pulumi up` will refuse"
    if settings.preview is OnRefusal.ERROR:
        raise pulumi.RunError(foreseen)
    pulumi.warn(foreseen)


async def _plain(given: Inputs) -> Inputs:
    """Return inputs with what is secret in them, which a hook gets as outputs."""
    return {
        key: await value.future() if isinstance(value, pulumi.Output) else value
        for key, value in given.items()
    }


async def _shovel_ended(args: pulumi.ErrorHookArgs) -> bool:
    if _READ_NOTHING in str(args.errors[:1]):
        pulumi.warn(
            f"{args.name} was not there any more when the provider read it back: it has ended by "
            "itself, as `source_delete_after` says. Take it out of the config"
        )
    return False


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
