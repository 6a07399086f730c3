"""
What the engine is about to do to one vhost, put to those who decide.

Hooks on the resources ask, so that plain `pulumi up` and `pulumi preview` are safe with nothing
around them. A hook knows the resource as it was; from the model it knows what is to be; and from
the resource's registration, which is under way while the engine replaces it and over when the
stack is destroyed, it knows which of the two this is. What may go is decided in `safety`.
Source: "Resource hooks", Pulumi documentation.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from rabbit_topology.broker.access import Access
from rabbit_topology.compiler import policies, retained
from rabbit_topology.compiler.names import route_key
from rabbit_topology.deploy import formers, inputs
from rabbit_topology.deploy.carried import Carried
from rabbit_topology.deploy.children import Children
from rabbit_topology.deploy.hooks import Hooks
from rabbit_topology.errors import BrokerError, TopologyError
from rabbit_topology.messages import survey
from rabbit_topology.messages.queue import BrokerQueue
from rabbit_topology.model import (
    PREDECLARED_EXCHANGES,
    Exchange,
    OnDelete,
    Route,
    Topology,
    VhostOnDelete,
)
from rabbit_topology.safety import destruction, half_done, leaving
from rabbit_topology.safety.deletion import Deletions, Reason
from rabbit_topology.safety.destruction import Destruction
from rabbit_topology.safety.exchange_replacement import ExchangeReplacement
from rabbit_topology.safety.link_guard import LinkGuard
from rabbit_topology.safety.links import Source
from rabbit_topology.safety.policy_changes import PolicyChanges
from rabbit_topology.safety.queue_replacement import QueueReplacement
from rabbit_topology.safety.replacement import Replacement
from rabbit_topology.safety.run import Run
from rabbit_topology.services import permissions

Inputs = Mapping[str, Any]

_THREADS = ThreadPoolExecutor(32, thread_name_prefix="rabbit-topology")
"""Threads of our own: those of the event loop may all be waiting for registrations, which the
engine answers only when a hook has ended. Many, since each may wait for statistics."""


@dataclass(kw_only=True)
class VhostGuard:
    """Guards one vhost: create once, before its resources."""

    hooks: Hooks
    children: Children
    topology: Topology
    run: Run
    everyone: Callable[[], Iterable[VhostGuard]]
    """All that guard a vhost of the same component."""
    deployed: Callable[[], Collection[tuple[str, str, str]] | None]
    """What the stack had before this run, as `Record.objects` returns it."""
    has_left: bool = False
    """The vhost has left the config, and others stay."""
    was_retained: bool = False
    """The vhost, if it has left the config, is one that the engine leaves on the broker."""
    access: Access = field(init=False)
    """Known from the first hook on: endpoint and credentials may be outputs of other resources."""
    _is_checked: bool = False
    """The vhost is being replaced, and it was looked whether anything in it is in use."""
    _replaced: set[str] = field(default_factory=set)
    """What is being replaced, by kind and name."""
    _renamed: dict[str, str] = field(default_factory=dict)
    """The queues that take over from another one in this run, and the name of that."""
    _diverted: dict[str, set[str]] = field(default_factory=dict)
    """By kind and name of a destination: its bindings that are gone, and not yet made again."""
    _turns: dict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """So that a binding is not diverted to a stand-in that is just being removed."""
    _cleared: set[str] = field(default_factory=set)
    """The exchanges of which it is known that nothing stands in the way of their replacement."""

    @cached_property
    def kept(self) -> retained.Kept:
        """What stays for the sake of queues that are retained."""
        return policies.kept(self.topology)

    @cached_property
    def retains_vhost(self) -> bool:
        """The vhost stays, as the config says or for the sake of a queue that does."""
        return (
            self.was_retained
            or self.hooks.stays
            or bool(self.kept.queues)
            or self.topology.vhost_settings.on_delete is VhostOnDelete.RETAIN
        )

    @cached_property
    def carried(self) -> Carried:
        """The hooks of the vhost's resources."""
        return Carried(
            hooks=self.hooks,
            topology=self.topology,
            kept=self.kept,
            retains_vhost=self.retains_vhost,
        )

    @cached_property
    def _successors(self) -> dict[str, str]:
        """The queues that this run renames, by the names that they had before."""
        return self.topology.successors

    @cached_property
    def _former_exchanges(self) -> set[str]:
        """The exchanges that stand for others by the names that those had before."""
        return self.topology.former_exchanges

    # Who decides.

    @cached_property
    def links(self) -> LinkGuard:
        """Decides for shovels and upstreams."""
        return LinkGuard(topology=self.topology, settings=self.run.settings)

    @cached_property
    def deletions(self) -> Deletions:
        """Decides for queues that go."""
        return Deletions(
            access=self.access, topology=self.topology, run=self.run, leaving=self._leaving
        )

    @cached_property
    def destruction(self) -> Destruction:
        """Decides for all together."""
        return Destruction(
            access=self.access,
            topology=self.topology,
            kept=self.kept,
            goes=self.topology.makes_vhost and not self.retains_vhost,
            links=self.links,
            every_link=lambda: [guard.links for guard in self.everyone()],
            deployed=self.deployed,
        )

    @cached_property
    def policy_changes(self) -> PolicyChanges:
        """Decides for policies, and for what a queue that is replaced is to have."""
        return PolicyChanges(
            access=self.access,
            topology=self.topology,
            run=self.run,
            kept=self.kept,
            deletions=self.deletions,
        )

    def _replacement(self, kind: str, name: str) -> Replacement:
        """Return how a ``queue`` or ``exchange`` is replaced."""
        return self._of_exchange(name) if kind == "exchange" else self._of_queue(name)

    def _of_queue(self, name: str) -> QueueReplacement:
        former = self._renamed.get(name)
        return QueueReplacement(
            access=self.access,
            vhost=self.topology.vhost,
            name=former or name,
            successor=name if former else "",
            new=self.topology.queues[name],
            report=self.run.report,
            by_name=self.run.settings.published_by_name,
            settings=self.policy_changes,
        )

    def _of_exchange(self, name: str) -> ExchangeReplacement:
        # One of the broker's own is never replaced, but it may be where a binding leads.
        declared = self.topology.exchanges.get(name)
        return ExchangeReplacement(
            access=self.access,
            vhost=self.topology.vhost,
            name=name,
            new=declared or Exchange(type=PREDECLARED_EXCHANGES[name]),
            outgoing=[route for route in self.topology.routes() if route.source == name],
            report=self.run.report,
            by_name=self.run.settings.published_by_name,
        )

    def _queue(self, name: str) -> BrokerQueue:
        return BrokerQueue(self.access, self.topology.vhost, name)

    def _leaving(self) -> list[Source]:
        """Return what shovels take from that this run deletes."""
        return [source for guard in self.everyone() for source in guard.links.leaving]

    # The hooks. Each gets the inputs that the resource was last deployed with.

    async def goes_with_vhost(self, type_: str, old: Inputs) -> bool:
        """Return whether the vhost itself is being replaced, and everything in it goes.

        Raises:
            RefusedError: Any of its queues is in use: said before anything in it is touched.
        """
        kind, vhost = inputs.kind(type_), self.topology.vhost
        if not await self.children.is_registering("vHost", "", vhost):
            return False
        last = kind == "vHost" and not self.run.is_preview
        if last or not self._is_checked:
            self._is_checked = True
            await self._off_loop(self.run.judge, self.destruction.check_replaced)
        if kind == "queue" and not self.run.is_preview:
            await self._off_loop(self.deletions.check, old["name"], Reason.REPLACED)
        return True

    async def before_vhost(self, _old: Inputs) -> None:
        """Refuse to delete a vhost whose queues are in use, or that holds what others keep."""
        check = self.destruction.check_nothing_left
        if self.run.is_preview and self.destruction.goes:
            # Its own queues are still there, and speak for themselves; but where it is no longer
            # the stack's own, all of them stay.
            check = self.destruction.check_others
        await self._off_loop(self.run.judge, check)

    async def before_exchange(self, old: Inputs) -> None:
        """Warn of traffic, or have a stand-in route while the exchange is replaced."""
        await self._exchange(old, await self._reason("exchange", old["name"]))

    async def before_retained_exchange(self, old: Inputs) -> None:
        """Delete what the engine leaves, unless it stays for the sake of a retained queue."""
        name = old["name"]
        reason = await self._reason("exchange", name)
        if reason is Reason.DESTROYED or (
            reason is Reason.REMOVED and name in (await self._kept_for_others()).exchanges
        ):
            self._say_stays(f"exchange {name}")
            return
        await self._exchange(old, reason)
        await self._delete("exchanges", self.topology.vhost, name)

    async def _exchange(self, old: Inputs, reason: Reason) -> None:
        name = old["name"]
        await self._check_exchange(name, reason)
        if reason is Reason.REPLACED:
            if name in self._former_exchanges:
                self._refuse_to_replace_former(name)
            declaration = self.topology.exchanges[name].declaration()
            change = inputs.changes(old["settings"], declaration)
            foreseen = f"exchange {name} is replaced ({change}); a stand-in routes meanwhile"
            await self._begin("exchange", name, foreseen)
        else:
            await self._warn_of_traffic(name, f"exchange {name}")

    async def before_queue(self, old: Inputs) -> None:
        """Refuse, delete if exactly empty, or take over what the queue holds."""
        reason = await self._reason("queue", old["name"])
        if reason is Reason.REPLACED:
            await self._replace_queue(old)
        else:
            await self._off_loop(self.deletions.check, old["name"], reason)

    async def before_renamed_queue(self, new: Inputs) -> None:
        """Take over what a queue holds that had another name, before it is made by its new one."""
        name = new["name"]
        former = self.topology.queues[name].renamed_from
        if former not in self._successors:
            return
        self._renamed[name] = former
        replacement = self._of_queue(name)
        held = await self._off_loop(self._queue(former).quick)
        if held is None and not await self._off_loop(replacement.has_stand_in):
            del self._renamed[name]
            return
        if ("queue", self.topology.vhost, former) not in (self.deployed() or ()):
            self.run.refuse(
                TopologyError(
                    f"refused, since queue {former} would be renamed, and this stack has not made "
                    "it. Declare it as it is, run `pulumi up`, and rename it after that"
                )
            )
            return
        said = f"queue {former} is renamed to {name}"
        if not self.run.is_preview:
            self.run.report(said)
        await self._begin("queue", name, f"{said}; kept through it: {held}")
        if not self.run.is_preview:
            await self._off_loop(replacement.declare)

    async def before_discarded_queue(self, old: Inputs) -> None:
        """Take over what a queue holds that is replaced; otherwise it may go with all of it."""
        name = old["name"]
        if await self._reason("queue", name) is Reason.REPLACED:
            await self._replace_queue(old)
        elif self.run.is_preview and name not in self._successors:
            lost = await self._off_loop(self._queue(name).quick)
            if lost and lost.in_use:
                self.run.report(
                    f"queue {name} is deleted with all it holds ({lost}): on_delete is discard"
                )

    async def before_kept_queue(self, old: Inputs) -> None:
        """Judge a queue that may stay for the sake of one that dead-letters to it."""
        name = old["name"]
        reason = await self._reason("queue", name)
        if reason is Reason.REPLACED:
            await self._replace_queue(old)
        elif reason is Reason.DESTROYED or name in (await self._kept_for_others(but=name)).queues:
            self._say_stays(f"queue {name}")
        else:
            await self._off_loop(self.deletions.check, name, reason)

    async def before_retained_queue(self, old: Inputs) -> None:
        """Take over what a queue holds that is replaced; otherwise it stays."""
        if await self._reason("queue", old["name"]) is Reason.REPLACED:
            await self._replace_queue(old)

    async def before_binding(self, old: Inputs) -> None:
        """Refuse if the queue goes with the binding and is in use."""
        name = old["destination"]
        if name in self.topology.queues or name in self._successors:
            await self.before_free_binding(old)
        elif not self.run.is_preview:
            # Its queue goes with it: refused here, nothing is unbound from a queue that stays.
            await self._check_leaving()
            await self._off_loop(self.deletions.check, name, Reason.REMOVED, keep=True)

    async def before_free_binding(self, old: Inputs) -> None:
        """Warn of traffic, or divert the route while it is replaced."""
        route = inputs.route(old)
        if await self._reason("binding", route_key(route)) is Reason.REPLACED:
            await self._divert(route)
        elif not await self._leave_to_follower(route) and (
            route.kind == "exchange" or self._has("queue", route.destination)
        ):
            await self._warn_of_traffic(route.source, _label(route))

    async def before_retained_binding(self, old: Inputs) -> None:
        """Unbind what the engine leaves, unless it stays for the sake of a retained queue."""
        route = inputs.route(old)
        key = route_key(route)
        reason = await self._reason("binding", key)
        if reason is Reason.REPLACED:
            await self._divert(route)
        elif reason is Reason.DESTROYED or key in (await self._kept_for_others()).routes:
            self._say_stays(_label(route))
            return
        elif not await self._leave_to_follower(route):
            await self._warn_of_traffic(route.source, _label(route))
        if not self.run.is_preview:
            await self._off_loop(leaving.unbind, self.access, self.topology.vhost, route)

    async def _leave_to_follower(self, route: Route) -> bool:
        """Return whether a binding that goes has a follower, since one of its ends is renamed.

        A queue that is renamed gets all its bindings under the new name: what the config does not
        have goes again. Where the engine unbinds too early, since it replaces the exchange, the
        stand-in is bound before.
        """
        successor = self._successors.get(route.destination) if route.kind == "queue" else None
        if successor is None:
            former, ends = self._former_exchanges, {route.source}
            if route.kind == "exchange":
                ends.add(route.destination)
            if route.source in former and await self._is_registering("exchange", route.source):
                self._refuse_to_replace_former(route.source)
            return not former.isdisjoint(ends)
        if self.run.is_preview:
            return True
        later = route.model_copy(update={"destination": successor})
        if not self._has("binding", route_key(later)):
            await self._off_loop(leaving.unbind, self.access, self.topology.vhost, later)
        elif await self._is_registering("exchange", route.source):
            self._renamed[successor] = route.destination
            await self._off_loop(self._of_queue(successor).divert, route, replaced=True)
        return True

    def _refuse_to_replace_former(self, exchange: str) -> None:
        """Raise, or say in a preview, that an exchange is replaced while it is renamed.

        Its bindings go with it, and it leads to its follower only after that.
        """
        self.run.refuse(
            TopologyError(
                f"refused, since exchange {exchange} is renamed, and would be replaced at the same "
                "time, which loses messages: rename it as it is, run `pulumi up`, and change its "
                "type, durability or arguments after that"
            )
        )

    async def before_making(self, new: Inputs) -> None:
        """Delete a vhost that is about to be created, and was only half made before."""
        await self._off_loop(half_done.remove_vhost, self.access, new["name"], self.run.report)

    async def bind(self, new: Inputs) -> None:
        """Make a binding, which the engine then finds made: see `safety.half_done`."""
        await self._over_amqp(self.access.bind, inputs.route(new))

    async def unbind(self, old: Inputs) -> None:
        """Remove a binding, which the engine then finds gone: see `safety.half_done`."""
        await self._over_amqp(self.access.unbind_over_amqp, inputs.route(old))

    async def _over_amqp(self, function: Callable[..., None], route: Route) -> None:
        def run() -> None:
            if half_done.binds_in_two_steps(self.access):
                kind = "q" if route.kind == "queue" else "e"
                ends = (route.source, kind, route.destination)
                function(self.topology.vhost, *ends, route.routing_key, route.arguments)

        await self._off_loop(run)

    async def after_deletion(self, old: Inputs) -> None:
        """Declare at once what is replaced, so that no client is faster.

        The engine's creation, which finds it there, reads it back: at once, since its consumers
        come back, and the provider cannot read those of which the broker knows no channel.
        """
        kind, name = _kind_and_name(old)
        if f"{kind} {name}" in self._replaced:
            await self._off_loop(self._replacement(kind, name).declare)

    async def after(self, new: Inputs) -> None:
        """Go on with a replacement, once the resource is there again."""
        if "destination" not in new:
            await self._renew(*_kind_and_name(new))
            return
        route = inputs.route(new)
        key = f"{route.kind} {route.destination}"
        async with self._turns[key]:
            # Another binding to it may still be without its source: it needs the second way on.
            waiting = self._diverted.get(key, set())
            waiting.discard(route_key(route))
            if key in self._diverted and not waiting and key not in self._replaced:
                del self._diverted[key]
                await self._off_loop(self._replacement(route.kind, route.destination).restore)

    async def _renew(self, kind: str, name: str) -> None:
        """Complete the replacement of a queue or exchange, if there is one."""
        key = f"{kind} {name}"
        if key in self._replaced:
            await self._off_loop(self._replacement(kind, name).renew)
            self._replaced.discard(key)
            if kind == "queue":
                self._renamed.pop(name, None)
            self._diverted.pop(key, None)

    async def before_permissions(self, old: Inputs) -> None:
        """Take no permissions away in a destroy that is refused, nor those of the run itself.

        Nor those of a user that a service had before a rotation, and still connects as: they go
        before the user does. Deleted here: where the engine does not know which user the run's own
        is, it deletes none.
        """
        user = old["user"]
        reason = await self._reason("permissions", user)
        is_former = reason is Reason.REMOVED and permissions.has_former(self.topology, user)
        if is_former and not self.run.is_preview:
            await self._off_loop(formers.check_unused, self.access, user)
        if reason is not Reason.REPLACED and user != self.access.management.username:
            await self._delete("permissions", self.topology.vhost, user)

    async def before_topic_permissions(self, old: Inputs) -> None:
        """Leave topic permissions as well in a destroy that is refused."""
        await self._reason("topicPermissions", old["user"])

    async def before_policy(self, old: Inputs, new: Inputs, on_delete: OnDelete | None) -> None:
        """Refuse limits that drop messages; let no policy leave a queue without its next one."""
        operator = on_delete is None
        kind = "operatorPolicy" if operator else "policy"
        reason = None if new else await self._reason(kind, old["name"])
        if reason is Reason.DESTROYED:
            return  # its queues are empty, and go as well
        changes = self.policy_changes
        if on_delete:
            vhost, name = self.topology.vhost, (new or old)["name"]
            check = partial(self.links.check_policy, self.access, vhost, name, new.get("policy"))
            await self._off_loop(self.run.judge, check)
        if reason is Reason.REPLACED:
            await self._off_loop(changes.stand_in, old, operator=operator)
        else:
            changes.replaced = await self._yet_to_be_replaced()
            await self._off_loop(changes.check_change, old, new, on_delete)
        if not self.run.is_preview:
            await self._off_loop(changes.apply, old, new, on_delete)

    async def after_policy(self, new: Inputs, *, operator: bool) -> None:
        """Remove what stood in for a policy that was replaced."""
        await self._off_loop(self.policy_changes.end_stand_in, new["name"], operator=operator)

    async def before_shovel(self, old: Inputs, new: Inputs) -> None:
        """Note what a shovel lets go of; refuse if a queue of its own would go with messages.

        Deleted here, if it is there: one that was to end by itself may have done so.
        """
        vhost, name = self.topology.vhost, old["name"]
        source = Source.of(name, vhost, old["info"])
        reason = None if new else await self._reason("shovel", name)
        if reason is not Reason.DESTROYED or self.run.is_preview:
            stays = reason in (None, Reason.REPLACED)
            check = partial(self.links.check_shovel, self.access, source, stays=stays)
            await self._off_loop(self.run.judge, check)
        self.links.leaving.append(source)
        if not new:
            await self._delete("parameters/shovel", vhost, name)

    async def before_upstream(self, old: Inputs, new: Inputs) -> None:
        """Refuse if what the upstream's broker keeps for a link would go with messages."""
        vhost, name = self.topology.vhost, old["name"]
        reason = None if new else await self._reason("federationUpstream", name)
        if reason is not Reason.DESTROYED or self.run.is_preview:
            stays = reason in (None, Reason.REPLACED)
            check = partial(self.links.check_upstream, self.access, vhost, name, stays=stays)
            await self._off_loop(self.run.judge, check)

    def foresee(self, error: BrokerError) -> None:
        """Say in a preview that an update would be refused for ``error``."""
        self.run.foresee(error)

    # What they are made of.

    async def _reason(self, kind: str, key: str) -> Reason:
        """Return why a resource is deleted.

        Raises:
            RefusedError: It is the whole stack, or vhost, and that would lose messages.
        """
        if not self._has(kind, key):
            if not self.run.is_preview:
                await self._check_leaving()
            return Reason.REMOVED
        if await self._is_registering(kind, key):
            return Reason.REPLACED
        if not self.run.is_preview:
            await self._off_loop(self._check_destruction)
        return Reason.DESTROYED

    def _has(self, kind: str, key: str) -> bool:
        return self.children.has(kind, self.topology.vhost, key)

    async def _is_registering(self, kind: str, key: str) -> bool:
        return await self.children.is_registering(kind, self.topology.vhost, key)

    async def _check_leaving(self) -> None:
        if self.has_left:
            await self._off_loop(self.destruction.check_leaving)

    def _check_destruction(self) -> None:
        everyone = list(self.everyone())
        for guard in everyone:
            guard.access = self.access
        destruction.check([guard.destruction for guard in everyone])

    async def _replace_queue(self, old: Inputs) -> None:
        name = old["name"]
        change = inputs.changes(old["settings"], self.topology.queues[name].declaration())
        foreseen = ""
        if self.run.is_preview:
            held = await self._off_loop(self._queue(name).quick)
            foreseen = f"queue {name} is replaced ({change}); kept through it: {held}"
        else:
            self.run.report(f"queue {name} is replaced ({change})")
            self.policy_changes.replaced = await self._yet_to_be_replaced() | {name}
        await self._begin("queue", name, foreseen)

    async def _begin(self, kind: str, name: str, foreseen: str) -> None:
        """Take over what is about to be deleted; in a preview, say what is ``foreseen``."""
        replacement = self._replacement(kind, name)
        if self.run.is_preview:
            self.run.report(foreseen)
            await self._off_loop(self.run.judge, replacement.check)
        else:
            self._replaced.add(f"{kind} {name}")
            await self._off_loop(replacement.take_over)

    async def _yet_to_be_replaced(self) -> set[str]:
        """Return the queues that this run has yet to replace."""
        moving = list(await self._off_loop(self.policy_changes.planned.moving))
        if self.run.is_preview:
            return set(moving)
        replaced = await asyncio.gather(*(self._is_registering("queue", name) for name in moving))
        return {name for name, one in zip(moving, replaced, strict=True) if one}

    async def _divert(self, route: Route) -> None:
        """Divert a route that is about to be unbound and bound again."""
        if self.run.is_preview:
            return
        name, key = route.destination, f"{route.kind} {route.destination}"
        for end in (route.source, *((name,) if route.kind == "exchange" else ())):
            await self._clear_exchange(end)
        # Else it is the source that is replaced, and the destination stays.
        replaced = await self._is_registering(route.kind, name)
        async with self._turns[key]:
            self._diverted.setdefault(key, set()).add(route_key(route))
            divert = self._replacement(route.kind, name).divert
            await self._off_loop(divert, route, replaced=replaced)

    async def _clear_exchange(self, name: str) -> None:
        """Raise, before anything is unbound, if an exchange is replaced that cannot be."""
        if name not in self.topology.exchanges or not await self._is_registering("exchange", name):
            return
        async with self._turns[f"replaced {name}"]:
            if name not in self._cleared:
                await self._check_exchange(name, Reason.REPLACED)
                await self._off_loop(self._of_exchange(name).clear)
                self._cleared.add(name)

    async def _check_exchange(self, name: str, reason: Reason) -> None:
        """Raise, or say in a preview, that an exchange or its links would go with messages."""
        if reason is Reason.DESTROYED:
            return  # its links went before, and the rest was asked before anything went
        vhost, stays = self.topology.vhost, reason is Reason.REPLACED
        for check in (
            partial(survey.check_exchange, self.access, vhost, name),
            partial(self.links.check_exchange, self.access, vhost, name, stays=stays),
        ):
            await self._off_loop(self.run.judge, check)

    async def _kept_for_others(self, but: str = "") -> retained.Kept:
        """Return what stays for queues, other than ``but``, that are in the config no longer."""
        known, vhost = {*self.topology.queues, but}, self.topology.vhost
        kept: retained.Kept = await self._off_loop(leaving.kept, self.access, vhost, known)
        return kept

    def _say_stays(self, what: str) -> None:
        self.run.report(f"{what} stays on the broker, with the queue that is to be retained")

    async def _warn_of_traffic(self, exchange: str, what: str) -> None:
        if not self.run.is_preview:
            return
        vhost = self.topology.vhost
        rate = await self._off_loop(survey.published_to, self.access, vhost, exchange)
        if rate:
            self.run.announce(
                f"{what} is removed while {rate:,.1f} messages/s are published to its exchange"
            )

    async def _delete(self, kind: str, *names: str) -> None:
        """Delete an object that may be gone; a preview deletes nothing."""
        if not self.run.is_preview:
            await self._off_loop(self.access.request_if_there, "DELETE", kind, *names)

    async def _off_loop(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run blocking work in a thread: the program and other hooks go on meanwhile."""
        call = partial(copy_context().run, function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(_THREADS, call)


def _kind_and_name(given: Inputs) -> tuple[str, str]:
    """Return whether inputs are of a queue or exchange, and its name."""
    return ("exchange" if "type" in given["settings"] else "queue"), given["name"]


def _label(route: Route) -> str:
    return f"binding {route.source} -[{route.routing_key}]-> {route.destination}"
