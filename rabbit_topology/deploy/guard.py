"""
When the engine is about to delete something: the verdict, and the handover.

Hooks on the resources do it, so that plain `pulumi up` and `pulumi preview` are safe with nothing
around them. A hook knows the resource as it was; from the model it knows what is to be; and from
the resource's registration, which is under way while the engine replaces it and over when the
stack is destroyed, it knows which of the two this is.
Source: "Resource hooks", Pulumi documentation.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property, partial
from threading import Lock
from typing import Any

import pulumi

from rabbit_topology.broker.access import Access
from rabbit_topology.broker.inventory import Inventory, title
from rabbit_topology.broker.management import NotFoundError, UnreachableError
from rabbit_topology.compiler import policies, retained
from rabbit_topology.compiler.names import PREFIX, SETTINGS_PREFIX, own_name, route_key
from rabbit_topology.deploy import inputs
from rabbit_topology.deploy.children import Children
from rabbit_topology.deploy.hooks import Hooks, announce
from rabbit_topology.errors import BrokerError, TopologyError
from rabbit_topology.messages import contents, deletion
from rabbit_topology.model import (
    BUILT_IN_EXCHANGE_TYPES,
    OnDelete,
    Queue,
    Route,
    SafetySettings,
    Topology,
    VhostOnDelete,
)
from rabbit_topology.safety import federation, leaving, limits, link_guard, links
from rabbit_topology.safety.handover import Handover
from rabbit_topology.safety.link_guard import LinkGuard
from rabbit_topology.safety.links import Source
from rabbit_topology.safety.overlap import Overlap
from rabbit_topology.safety.planned import Planned

_BOUND_SECONDS = 10.0
"""How long the engine may take to bind an exchange that a policy names."""

_GONE_SECONDS = 5.0
"""How long the broker may take to delete what goes with a link that was deleted."""

_WAYS_ON = (
    "Either let its consumers empty it and stop them, then run again; or have it deleted with all "
    "it holds: set `on_delete: discard` on it, run `pulumi up`, and then remove it; or leave it on "
    "the broker with `on_delete: retain` in the same way"
)
_WAYS_ON_FROM_DESTROY = (
    f"{_WAYS_ON}. What `--target` names is not known here: to delete only that, take it out of the "
    "config and run `pulumi up`"
)
_WAYS_ON_FROM_FORCE = (
    "Either let consumers empty its queues and stop them, then run again; or do not have it "
    "replaced: run without `--replace`, or take the mark away with `pulumi state untaint`"
)


class _Fate(Enum):
    """Why the engine is about to delete a resource."""

    REPLACED = "it is replaced"
    DESTROYED = "the stack is being destroyed"
    REMOVED = "it is no longer in the config"


class RefusedError(TopologyError):
    """A deletion would lose messages. ``queues`` holds what each of the queues holds."""

    def __init__(
        self, reason: str, queues: Mapping[str, contents.Contents], ways_on: str = _WAYS_ON
    ) -> None:
        self.queues = dict(queues)
        lines = "".join(f"\n  - queue {name} holds {held}" for name, held in queues.items())
        super().__init__(f"refused, since messages would be lost: {reason}{lines}\n{ways_on}")


@dataclass(kw_only=True)
class Safety:
    """What the hooks do for the resources of one vhost: create once, before its resources.

    ``vhost`` has the hooks of that; `exchange`, `queue` and `binding` return theirs.
    ``retains_vhost`` tells that the vhost stays, as the config says or for the sake of a queue that
    does, and ``kept`` what else must.
    """

    hooks: Hooks
    children: Children
    topology: Topology
    settings: SafetySettings
    everyone: Callable[[], Iterable[Safety]]
    """All that guard a vhost of the same component."""
    deployed: Callable[[], Collection[tuple[str, str, str]] | None]
    """What the stack had before this run, as `Record.objects` returns it."""
    has_left: bool = False
    """The vhost has left the config, and others stay."""
    was_retained: bool = False
    """The vhost, if it has left the config, is one that the engine leaves on the broker."""
    access: Access = field(init=False)
    """Known from the first hook on: endpoint and credentials may be outputs of other resources."""
    links: LinkGuard = field(init=False)
    """What becomes of the shovels and upstreams."""
    _is_checked: bool = False
    """The vhost is being replaced, and it was looked whether anything in it is in use."""
    _taken: set[str] = field(default_factory=set)
    """What is being replaced, by kind and name."""
    _moving: set[str] = field(default_factory=set)
    """The queues that this run has yet to replace, as far as it was last looked."""
    _shadowed: dict[str, set[str]] = field(default_factory=dict)
    """By kind and name of a destination: its bindings that are gone, and not yet made again."""
    _turns: dict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """So that a binding is not shadowed by a stand-in that is just being removed."""
    _cleared: set[str] = field(default_factory=set)
    """The exchanges of which it is known that nothing stands in the way of their replacement."""
    _expected: set[str] = field(default_factory=set)
    """The vhosts of which it was said which queues may leave."""
    _guard: Lock = field(default_factory=Lock)
    _writing: Lock = field(default_factory=Lock)
    """So that queues that share a policy write it one after the other."""
    # Threads of our own: those of the event loop may all be waiting for registrations, which the
    # engine answers only when a hook has ended. Many, since each may wait for statistics.
    _threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(32, thread_name_prefix="rabbit-topology")
    )
    _verdict: dict[str, contents.Contents] | BrokerError | None = None
    """The queues at stake that are in use, once that was asked to destroy the whole stack."""

    def __post_init__(self) -> None:
        hooks = self.hooks
        self.links = LinkGuard(topology=self.topology, settings=self.settings)
        self.shovel = pulumi.ResourceHookBinding(
            before_update=[hooks.shovel],
            before_delete=[hooks.shovel],
            on_error=[hooks.shovel_ended],
        )
        self.upstream = pulumi.ResourceHookBinding(
            before_update=[hooks.upstream], before_delete=[hooks.upstream]
        )
        self.kept = policies.kept(self.topology)
        self.retains_vhost = (
            self.was_retained
            or hooks.stays
            or bool(self.kept.queues)
            or self.topology.vhost_settings.on_delete is VhostOnDelete.RETAIN
        )
        self.vhost = (
            None if self.retains_vhost else pulumi.ResourceHookBinding(before_delete=[hooks.vhost])
        )
        # By what happens to a policy's queues when they leave the config; None: operator policies.
        self._policies = {
            on_delete: pulumi.ResourceHookBinding(
                before_create=[hook],
                before_update=[hook],
                before_delete=[hook],
                after_create=[hooks.after_policy],
            )
            for on_delete, hook in hooks.policies.items()
        }
        self.permissions = pulumi.ResourceHookBinding(before_delete=[hooks.permissions])
        self.topic_permissions = pulumi.ResourceHookBinding(before_delete=[hooks.topic_permissions])
        self.user = pulumi.ResourceHookBinding(before_delete=[hooks.user])

    def exchange(self, name: str) -> pulumi.ResourceHookBinding:
        """Return the hooks of an exchange."""
        hooks = self.hooks
        stays = hooks.stays or name in self.kept.exchanges
        before = hooks.retained_exchange if stays else hooks.exchange
        return pulumi.ResourceHookBinding(
            before_delete=[before], after_delete=[hooks.after_deletion], after_create=[hooks.after]
        )

    def queue(self, name: str) -> pulumi.ResourceHookBinding:
        """Return the hooks of a queue: all are guarded when they are replaced."""
        hooks = self.hooks
        before = {
            OnDelete.REFUSE: hooks.kept_queue if name in self.kept.queues else hooks.queue,
            OnDelete.RETAIN: hooks.retained_queue,
            OnDelete.DISCARD: hooks.discarded_queue,
        }
        on_delete = OnDelete.RETAIN if hooks.stays else self.topology.queues[name].on_delete
        return pulumi.ResourceHookBinding(
            before_delete=[before[on_delete]],
            after_delete=[hooks.after_deletion],
            after_create=[hooks.after],
            on_error=[hooks.read_again],
        )

    def binding(self, route: Route) -> pulumi.ResourceHookBinding:
        """Return the hooks of a binding, which follow those of its queue."""
        hooks = self.hooks
        before = hooks.free_binding
        if hooks.stays or route_key(route) in self.kept.routes:
            before = hooks.retained_binding
        elif route.kind == "queue" and self._on_delete(route.destination) is OnDelete.REFUSE:
            before = hooks.binding
        return pulumi.ResourceHookBinding(before_delete=[before], after_create=[hooks.after])

    def policy(self, on_delete: OnDelete | None) -> pulumi.ResourceHookBinding:
        """Return the hooks of a policy for queues with this ``on_delete``; None: an operator's."""
        if on_delete and self.hooks.stays:
            on_delete = OnDelete.RETAIN
        return self._policies[on_delete]

    # The hooks. Each gets the inputs that the resource was last deployed with.

    async def goes_with_vhost(self, type_: str, old: Mapping[str, Any]) -> bool:
        """Tell whether the vhost itself is being replaced, and everything in it goes.

        Raises:
            RefusedError: Any of its queues is in use: said before anything in it is touched.
        """
        kind, vhost = inputs.kind(type_), self.topology.vhost
        if not await self.children.is_registering("vHost", "", vhost):
            return False
        last = kind == "vHost" and not pulumi.runtime.is_dry_run()
        if last or not self._is_checked:
            self._is_checked = True
            await self._off_loop(self._check_vhost)
        if kind == "queue" and not pulumi.runtime.is_dry_run():
            await self._off_loop(self._check_deletion, vhost, old["name"], _Fate.REPLACED)
        return True

    async def before_vhost(self, _old: Mapping[str, Any]) -> None:
        """Refuse to delete a vhost whose queues are in use, or that holds what others keep."""
        if pulumi.runtime.is_dry_run():
            # Its own queues are still there, and speak for themselves; but where it is no longer
            # the stack's own, all of them stay.
            check = self.check_others if self._vhost_goes else self._check_nothing_left
            await self._off_loop(self._foresee, check)
            return
        await self._off_loop(self._check_nothing_left)

    async def before_exchange(self, old: Mapping[str, Any]) -> None:
        """Warn of traffic, or have a stand-in route while the exchange is replaced."""
        name, vhost = old["name"], old["vhost"]
        fate = await self._fate("exchange", vhost, name)
        await self._check_exchange(name, fate)
        if fate is _Fate.REPLACED:
            await self._overlap_exchange(name, old)
        else:
            await self._warn_of_traffic(vhost, name, f"exchange {name}")

    async def before_retained_exchange(self, old: Mapping[str, Any]) -> None:
        """Delete what the engine leaves, unless it stays for the sake of a retained queue."""
        name, vhost = old["name"], old["vhost"]
        fate = await self._fate("exchange", vhost, name)
        if fate is _Fate.DESTROYED or (
            fate is _Fate.REMOVED and name in (await self._left(vhost)).exchanges
        ):
            self._say_stays(f"exchange {name}")
            return
        await self._check_exchange(name, fate)
        if fate is _Fate.REPLACED:
            await self._overlap_exchange(name, old)
        else:
            await self._warn_of_traffic(vhost, name, f"exchange {name}")
        if not pulumi.runtime.is_dry_run():
            gone = ("DELETE", "exchanges", vhost, name)
            await self._off_loop(self.access.request_if_there, *gone)

    async def before_queue(self, old: Mapping[str, Any]) -> None:
        """Refuse, delete if exactly empty, or take over what the queue holds."""
        name, vhost = old["name"], old["vhost"]
        fate = await self._fate("queue", vhost, name)
        if fate is _Fate.REPLACED:
            await self._take_over(name, old)
        else:
            await self._off_loop(self._check_deletion, vhost, name, fate)

    async def before_discarded_queue(self, old: Mapping[str, Any]) -> None:
        """Take over what a queue holds that is replaced; otherwise it may go with all of it."""
        name, vhost = old["name"], old["vhost"]
        if await self._fate("queue", vhost, name) is _Fate.REPLACED:
            await self._take_over(name, old)
        elif pulumi.runtime.is_dry_run():
            lost = await self._off_loop(contents.quick, self.access, vhost, name)
            if lost and lost.in_use:
                pulumi.info(
                    f"queue {name} is deleted with all it holds ({lost}): on_delete is discard"
                )

    async def before_kept_queue(self, old: Mapping[str, Any]) -> None:
        """Judge a queue that may stay for the sake of one that dead-letters to it."""
        name, vhost = old["name"], old["vhost"]
        fate = await self._fate("queue", vhost, name)
        if fate is _Fate.REPLACED:
            await self._take_over(name, old)
        elif fate is _Fate.DESTROYED or name in (await self._left(vhost, but=name)).queues:
            self._say_stays(f"queue {name}")
        else:
            await self._off_loop(self._check_deletion, vhost, name, fate)

    async def before_retained_queue(self, old: Mapping[str, Any]) -> None:
        """Take over what a queue holds that is replaced; otherwise it stays."""
        name, vhost = old["name"], old["vhost"]
        if await self._fate("queue", vhost, name) is _Fate.REPLACED:
            await self._take_over(name, old)

    async def before_binding(self, old: Mapping[str, Any]) -> None:
        """Refuse if the queue goes with the binding and is in use."""
        vhost, name = old["vhost"], old["destination"]
        if vhost == self.topology.vhost and name in self.topology.queues:
            await self.before_free_binding(old)
        elif not pulumi.runtime.is_dry_run():
            # Its queue goes with it: refused here, nothing is unbound from a queue that stays.
            await self._off_loop(self._check_leaving)
            await self._off_loop(self._check_deletion, vhost, name, _Fate.REMOVED, keep=True)

    async def before_free_binding(self, old: Mapping[str, Any]) -> None:
        """Warn of traffic, or give the route a second way while it is replaced."""
        vhost, route = old["vhost"], inputs.route(old)
        if await self._fate("binding", vhost, route_key(route)) is _Fate.REPLACED:
            await self._shadow(route)
        elif route.kind == "exchange" or self.children.has("queue", vhost, route.destination):
            await self._warn_of_traffic(vhost, route.source, _label(route))

    async def before_retained_binding(self, old: Mapping[str, Any]) -> None:
        """Unbind what the engine leaves, unless it stays for the sake of a retained queue."""
        vhost, route = old["vhost"], inputs.route(old)
        fate = await self._fate("binding", vhost, route_key(route))
        if fate is _Fate.REPLACED:
            await self._shadow(route)
        elif fate is _Fate.DESTROYED or route_key(route) in (await self._left(vhost)).routes:
            self._say_stays(_label(route))
            return
        else:
            await self._warn_of_traffic(vhost, route.source, _label(route))
        if not pulumi.runtime.is_dry_run():
            await self._off_loop(leaving.unbind, self.access, vhost, route)

    async def after_deletion(self, old: Mapping[str, Any]) -> None:
        """Declare at once what is replaced, so that no client is faster.

        The engine's creation, which finds it there, reads it back: at once, since its consumers
        come back, and the provider cannot read those of which the broker knows no channel.
        """
        kind, name = _kind_and_name(old)
        if f"{kind} {name}" not in self._taken:
            return
        if kind == "exchange":
            await self._renew(old)
            return
        await self._off_loop(self._planned.release, name)
        await self._off_loop(self._handover(name).declare, self.topology.queues[name])

    async def after(self, new: Mapping[str, Any]) -> None:
        """Give back what was taken, once the resource that it was taken for is there again."""
        if "destination" not in new:
            await self._renew(new)
            return
        route = inputs.route(new)
        key = f"{route.kind} {route.destination}"
        async with self._turns[key]:
            # Another binding to it may still be without its source: it needs the second way on.
            waiting = self._shadowed.get(key, set())
            waiting.discard(route_key(route))
            if key in self._shadowed and not waiting and key not in self._taken:
                del self._shadowed[key]
                await self._give_back(route.kind, route.destination)

    async def _renew(self, given: Mapping[str, Any]) -> None:
        """Complete the replacement of a queue or exchange, unless that is done."""
        kind, name = _kind_and_name(given)
        key = f"{kind} {name}"
        if key not in self._taken:
            return
        if kind == "queue":
            await self._off_loop(self._planned.release, name)
            await self._off_loop(self._handover(name).renew, self.topology.queues[name])
        else:
            exchange = self.topology.exchanges[name]
            await self._off_loop(self._overlap(name).renew, exchange, self._outgoing(name))
        self._taken.discard(key)
        self._shadowed.pop(key, None)

    async def _give_back(self, kind: str, name: str) -> None:
        if kind == "queue":
            await self._off_loop(self._handover(name).give_back)
        else:
            await self._off_loop(self._overlap(name).give_back, self.topology.exchanges[name])

    async def before_permissions(self, old: Mapping[str, Any]) -> None:
        """Take no permissions away in a destroy that is refused, nor those of the run itself.

        Deleted here: where the engine does not know which user that is, it deletes none.
        """
        vhost, user = old["vhost"], old["user"]
        fate = await self._fate("permissions", vhost, user)
        is_own = user == self.access.management.username
        if fate is not _Fate.REPLACED and not is_own and not pulumi.runtime.is_dry_run():
            gone = ("DELETE", "permissions", vhost, user)
            await self._off_loop(self.access.request_if_there, *gone)

    async def before_topic_permissions(self, old: Mapping[str, Any]) -> None:
        """Leave topic permissions as well in a destroy that is refused."""
        await self._fate("topicPermissions", old["vhost"], old["user"])

    async def before_policy(
        self, old: Mapping[str, Any], new: Mapping[str, Any], on_delete: OnDelete | None
    ) -> None:
        """Refuse limits that drop messages; let no policy leave a queue without its next one."""
        kind = "policy" if on_delete else "operatorPolicy"
        fate = None if new else await self._fate(kind, old["vhost"], old["name"])
        if fate is _Fate.DESTROYED:
            return  # its queues are empty, and go as well
        if on_delete:
            await self._off_loop(self._check_links_of_policy, old, new)
        if fate is _Fate.REPLACED:
            await self._off_loop(self._stand_in_for_policy, old, operator=on_delete is None)
        else:
            self._moving = await self._replaced()
            await self._off_loop(self._change_policy, old, new, on_delete)
        if not pulumi.runtime.is_dry_run():
            await self._off_loop(self._write_policy, old, new, on_delete)

    async def _replaced(self) -> set[str]:
        """Return the queues that this run has yet to replace."""
        vhost = self.topology.vhost
        moving = list(await self._off_loop(self._planned.moving))
        if pulumi.runtime.is_dry_run():
            return set(moving)
        replaced = await asyncio.gather(
            *(self.children.is_registering("queue", vhost, name) for name in moving)
        )
        return {name for name, one in zip(moving, replaced, strict=True) if one}

    async def after_policy(self, new: Mapping[str, Any], *, operator: bool) -> None:
        """Remove what stood in for a policy that was replaced."""
        stand_in = own_name("policy", new["name"])
        delete = partial(self.access.delete_policy, operator=operator)
        await self._off_loop(delete, new["vhost"], stand_in)

    async def before_shovel(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """Note what a shovel lets go of; refuse if a queue of its own would go with messages.

        Deleted here, if it is there: one that was to end by itself may have done so.
        """
        vhost, name = old["vhost"], old["name"]
        source = Source.of(name, vhost, old["info"])
        fate = None if new else await self._fate("shovel", vhost, name)
        if fate is not _Fate.DESTROYED or pulumi.runtime.is_dry_run():
            stays = fate in (None, _Fate.REPLACED)
            await self._off_loop(
                self._judge, self.links.check_shovel, self.access, source, stays=stays
            )
        self.links.leaving.append(source)
        if not new and not pulumi.runtime.is_dry_run():
            gone = ("DELETE", "parameters/shovel", vhost, name)
            await self._off_loop(self.access.request_if_there, *gone)

    async def before_upstream(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """Refuse if what the upstream's broker keeps for a link would go with messages."""
        vhost, name = old["vhost"], old["name"]
        fate = None if new else await self._fate("federationUpstream", vhost, name)
        if fate is not _Fate.DESTROYED or pulumi.runtime.is_dry_run():
            stays = fate in (None, _Fate.REPLACED)
            await self._off_loop(
                self._judge, self.links.check_upstream, self.access, vhost, name, stays=stays
            )

    # What they are made of.

    def _stand_in_for_policy(self, old: Mapping[str, Any], *, operator: bool) -> None:
        """Have the same settings under another name, so that they are there all the time."""
        if pulumi.runtime.is_dry_run():
            return
        body = limits.policy(old["name"], old["policy"])
        del body["name"]
        stand_in = own_name("policy", old["name"])
        self.access.write_policy(old["vhost"], stand_in, body, operator=operator)

    def _write_policy(
        self, old: Mapping[str, Any], new: Mapping[str, Any], on_delete: OnDelete | None
    ) -> None:
        """Write or delete a policy, one at a time; the engine then has nothing left to do."""
        operator = on_delete is None
        if new:
            body = limits.policy(new["name"], new["policy"])
            name = body.pop("name")
            self.access.write_policy(new["vhost"], name, body, operator=operator)
        elif on_delete is not OnDelete.RETAIN:
            self.access.delete_policy(old["vhost"], old["name"], operator=operator)

    async def _overlap_exchange(self, name: str, old: Mapping[str, Any]) -> None:
        exchange = self.topology.exchanges[name]
        if pulumi.runtime.is_dry_run():
            change = inputs.changes(old["settings"], exchange.declaration())
            pulumi.info(f"exchange {name} is replaced ({change}); a stand-in routes meanwhile")
            await self._off_loop(self._foresee, self._overlap(name).check, exchange)
        else:
            self._taken.add(f"exchange {name}")
            await self._off_loop(self._overlap(name).take_over, exchange, self._outgoing(name))

    async def _left(self, vhost: str, but: str = "") -> retained.Kept:
        """Return what stays for queues, other than ``but``, that are in the config no longer."""
        known = {*self.topology.queues, but} if vhost == self.topology.vhost else {but}
        left: retained.Kept = await self._off_loop(leaving.kept, self.access, vhost, known)
        return left

    @staticmethod
    def _say_stays(what: str) -> None:
        pulumi.info(f"{what} stays on the broker, with the queue that is to be retained")

    async def _take_over(self, name: str, old: Mapping[str, Any]) -> None:
        queue = self.topology.queues[name]
        change = inputs.changes(old["settings"], queue.declaration())
        if pulumi.runtime.is_dry_run():
            held = await self._off_loop(contents.quick, self.access, self.topology.vhost, name)
            pulumi.info(f"queue {name} is replaced ({change}); kept through it: {held}")
            await self._off_loop(self._foresee, self._handover(name).check, queue)
            return
        pulumi.info(f"queue {name} is replaced ({change})")
        self._taken.add(f"queue {name}")
        self._moving = await self._replaced() | {name}
        await self._off_loop(self._handover(name).take_over, queue)

    async def _shadow(self, route: Route) -> None:
        if pulumi.runtime.is_dry_run():
            return
        name, key = route.destination, f"{route.kind} {route.destination}"
        for end in (route.source, *((name,) if route.kind == "exchange" else ())):
            await self._clear_exchange(end)
        # Else it is the source that is replaced, and the destination stays.
        replaced = await self.children.is_registering(route.kind, self.topology.vhost, name)
        async with self._turns[key]:
            self._shadowed.setdefault(key, set()).add(route_key(route))
            if route.kind == "queue":
                queue = self.topology.queues[name] if replaced else None
                await self._off_loop(self._handover(name).shadow, route, queue)
            elif name in self.topology.exchanges:
                await self._off_loop(
                    self._overlap(name).shadow,
                    route,
                    self.topology.exchanges[name],
                    self._outgoing(name),
                    replaced=replaced,
                )

    async def _clear_exchange(self, name: str) -> None:
        """Raise, before anything is unbound, if an exchange is replaced that cannot be."""
        exchange = self.topology.exchanges.get(name)
        vhost = self.topology.vhost
        if not exchange or not await self.children.is_registering("exchange", vhost, name):
            return
        async with self._turns[f"replaced {name}"]:
            if name not in self._cleared:
                await self._check_exchange(name, _Fate.REPLACED)
                await self._off_loop(self._overlap(name).clear, exchange)
                self._cleared.add(name)

    async def _check_exchange(self, name: str, fate: _Fate) -> None:
        """Raise, or say in a preview, that an exchange or its links would go with messages."""
        if fate is _Fate.DESTROYED:
            return  # its links went before, and the rest was asked before anything went
        vhost = self.topology.vhost
        await self._off_loop(self._judge, contents.check_exchange, self.access, vhost, name)
        check = partial(self.links.check_exchange, stays=fate is _Fate.REPLACED)
        await self._off_loop(self._judge, check, self.access, vhost, name)

    def _check_links_of_policy(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        vhost, name = (new or old)["vhost"], (new or old)["name"]
        self._judge(self.links.check_policy, self.access, vhost, name, new.get("policy"))

    def _sources_going(self) -> list[Source]:
        """Return what shovels take from that this run deletes."""
        return [source for guard in self.everyone() for source in guard.links.leaving]

    def _change_policy(
        self,
        old: Mapping[str, Any],
        new: Mapping[str, Any],
        on_delete: OnDelete | None,
    ) -> None:
        """Raise if a change of a policy would lose messages; see to it that none is lost by it."""
        vhost, name = (new or old)["vhost"], (new or old)["name"]
        dry_run = pulumi.runtime.is_dry_run()
        left, staying = set[str](), set[str]()
        if old and on_delete:
            kind = "exchanges" if old["policy"]["applyTo"] == "exchanges" else "queues"
            left = set(limits.leaving(self.access, vhost, old["policy"], new.get("policy")))
            if vhost == self.topology.vhost:
                staying = left & getattr(self.topology, kind).keys()
            if on_delete is OnDelete.REFUSE and name.startswith(SETTINGS_PREFIX):
                for queue in left - staying if kind == "queues" and not dry_run else ():
                    # Deleted in this run, if it can be: refused here, it keeps its settings.
                    self._check_deletion(vhost, queue, _Fate.REMOVED, keep=True)
            self._keep_settings(old, kind, staying)
        after = limits.policy(name, new["policy"]) if new else None
        self._check_limits(vhost, name, after, operator=on_delete is None)
        if on_delete is OnDelete.RETAIN and not new and not dry_run:
            gone = left - staying
            if gone and kind == "exchanges":
                gone &= leaving.kept(self.access, vhost, self.topology.queues).exchanges
            if not gone:
                # The engine leaves it, and what it is for does not: it would compete with others.
                self.access.delete_policy(vhost, name)

    def _keep_settings(self, old: Mapping[str, Any], kind: str, names: set[str]) -> None:
        """Give what leaves a policy its next one, so that it is never without.

        Without, what expires in between would not be dead-lettered, for example. As long as the
        next policy's dead-letter or alternate exchange leads nowhere, it has the old settings.
        """
        vhost = self.topology.vhost
        for key, compiled in policies.compile_all(self.topology).items():
            leaving = compiled.members & names
            if key == old["name"] or compiled.policy.apply_to != kind or not leaving:
                continue
            body = compiled.body()
            definition = compiled.policy.definition
            if not limits.leads_on(self.access, vhost, definition):
                there = any(one["name"] == key for one in self.access.policies(vhost))
                if there and not self._will_lead_on(definition):
                    self._refuse(
                        f"the settings of {', '.join(sorted(leaving))} cannot change in one step "
                        "with the exchange that they name, since others have it as well: first "
                        "add the exchange with its bindings, run `pulumi up`, then change them"
                    )
                elif not there:
                    settings = limits.policy(key, old["policy"])["definition"]
                    body |= {"pattern": policies.pattern(leaving), "definition": settings}
            if not pulumi.runtime.is_dry_run():
                self._check_limits(vhost, key, {"name": key, **body}, operator=False)
                self.access.write_policy(vhost, key, body)

    def _will_lead_on(self, definition: Mapping[str, Any]) -> bool:
        """Return whether the engine binds the exchanges that a policy names; wait until it has."""
        sources = {route.source for route in self.topology.routes()}
        if not sources.issuperset(limits.named(definition)):
            return False
        deadline = time.monotonic() + _BOUND_SECONDS
        while not pulumi.runtime.is_dry_run() and time.monotonic() < deadline:
            if limits.leads_on(self.access, self.topology.vhost, definition):
                return True
            time.sleep(0.1)
        return pulumi.runtime.is_dry_run()

    def _check_limits(
        self,
        vhost: str,
        name: str,
        after: Mapping[str, Any] | None,
        *,
        operator: bool,
    ) -> None:
        """Raise if a policy, or its deletion, would make queues drop messages that they hold."""
        losing = {
            queue: reason
            for queue, reason in limits.dropped(self.access, vhost, name, after, operator=operator)
            # A queue that is no longer here speaks for itself; so does a policy that it keeps.
            if queue in self.topology.queues or not name.startswith(SETTINGS_PREFIX)
        }
        if not operator and self._moving & losing.keys():
            # What counts for these is what they are replaced with, and until then what they have.
            for queue, definition in self._planned.moving().items():
                if queue in self._moving and queue in losing:
                    del losing[queue]
                    self._hold(queue, definition)
        self._refuse_losses(losing)

    def _hold(self, queue: str, definition: Mapping[str, Any]) -> None:
        """Have a queue that is about to be replaced keep what its policy sets until then."""
        if not pulumi.runtime.is_dry_run():  # else its replacement speaks for itself
            self.check(queue, self.topology.queues[queue])
            self._planned.hold(queue, definition)

    def check(self, name: str, new: Queue) -> None:
        """Raise if what applies to a queue that is replaced would take messages from it."""
        losses = self._planned.losses(name, new)
        self._refuse_losses({name: "; ".join(losses)} if losses else {})

    def write(self, name: str, new: Queue) -> None:
        """Write the policies of a queue's next settings before it is replaced."""
        vhost = self.topology.vhost
        with self._writing:
            for operator, key, body in self._planned.missing(name, new):
                self._check_limits(vhost, key, {"name": key, **body}, operator=operator)
                self.access.write_policy(vhost, key, body, operator=operator)

    @cached_property
    def _planned(self) -> Planned:
        return Planned(access=self.access, topology=self.topology)

    def _refuse_losses(self, losing: Mapping[str, str]) -> None:
        """Raise, or say in a preview, that settings would take messages; by queue, the reason."""
        allowed = [name for name in losing if self._on_delete(name) is OnDelete.DISCARD]
        if allowed and pulumi.runtime.is_dry_run():
            pulumi.warn(
                "loses messages, as `on_delete: discard` allows:"
                f"{_lines({name: losing[name] for name in allowed})}"
            )
        lines = _lines({name: why for name, why in losing.items() if name not in allowed})
        if not lines:
            return
        if pulumi.runtime.is_dry_run():
            self._announce(f"would lose messages, `pulumi up` will refuse:{lines}")
        else:
            raise TopologyError(
                f"refused, since messages would be lost: settings of queues change{lines}\nEither "
                "let consumers empty them first; or have them keep what is too much with "
                "`dead_letter: true`; or allow the loss with `on_delete: discard`"
            )

    def _refuse(self, reason: str) -> None:
        """Raise, or say in a preview, that an update is refused."""
        if not pulumi.runtime.is_dry_run():
            raise TopologyError(reason)
        self._announce(f"{reason}; `pulumi up` will refuse")

    def _check_deletion(self, vhost: str, name: str, fate: _Fate, *, keep: bool = False) -> None:
        """Raise if a queue cannot be deleted without loss; unless ``keep``, delete it now.

        Deleted here and not by the provider, so that test and deletion are one step.
        """
        if pulumi.runtime.is_dry_run():
            self._foresee(self._preview_deletion, vhost, name, fate)
            return
        going = self._sources_going()
        link_guard.wait_until_let_go(self.access, vhost, name, going)
        self._expect_deletions(vhost)
        held = contents.read(self.access, vhost, name)
        if held is None:
            return
        if held.in_use or not (keep or deletion.delete_empty(self.access, vhost, name, held.kind)):
            raise RefusedError(fate.value, {name: held})

    def _expect_deletions(self, vhost: str) -> None:
        """Have all queues that may leave in this run wait for statistics together."""
        with self._guard:
            if vhost not in self._expected:
                self._expected.add(vhost)
                declared = self.topology.queues if vhost == self.topology.vhost else {}
                contents.expect(self.access, vhost, lambda name: name not in declared)

    def _check_vhost(self) -> None:
        """Raise, or say in a preview, that a vhost cannot be replaced with what is in it."""
        vhost = self.topology.vhost
        left = contents.survey(self.access, vhost)
        in_use = {name: held for name, held in left.items() if held.in_use}
        if not in_use:
            return
        reason = f"vhost {vhost} is replaced, which deletes everything in it first"
        error = RefusedError(reason, in_use, _WAYS_ON_FROM_FORCE)
        if not pulumi.runtime.is_dry_run():
            raise error
        self._announce(f"{error}; `pulumi up` will refuse")

    def _preview_deletion(self, vhost: str, name: str, fate: _Fate) -> None:
        self._expect_deletions(vhost)
        held = contents.read(self.access, vhost, name)
        going = self._sources_going()
        held_by_others = (
            held and link_guard.without_readers(self.access, vhost, {name: held}, going)[name]
        )
        if held_by_others and held_by_others.in_use:
            self._announce(
                f"would lose {held_by_others.messages:,} messages in queue {name} "
                f"({held_by_others}): {fate.value}; `pulumi up` will refuse"
            )

    def _judge(self, check: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        """Have a check refuse, in a preview say so."""
        if pulumi.runtime.is_dry_run():
            self._foresee(check, *args, **kwargs)
        else:
            check(*args, **kwargs)

    def _foresee(self, check: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        """Say in a preview what an update would be refused for."""
        try:
            check(*args, **kwargs)
        except UnreachableError:
            raise  # then nothing is known
        except BrokerError as error:
            self.foresee(error)

    def foresee(self, error: BrokerError) -> None:
        """Say in a preview that an update would be refused for ``error``."""
        self._announce(f"{error}; `pulumi up` will refuse")

    def _check_destruction(self) -> None:
        """Raise, before anything is deleted, if any queue that would be destroyed is in use."""
        everyone = list(self.everyone())
        in_use: dict[str, contents.Contents] = {}
        for guard in everyone:
            guard.access = self.access
            for name, held in guard.in_use_when_destroyed().items():
                vhost = guard.topology.vhost
                in_use[name if len(everyone) == 1 else f"{name} in vhost {vhost}"] = held
        if in_use:
            raise RefusedError(_Fate.DESTROYED.value, in_use, _WAYS_ON_FROM_DESTROY)

    def in_use_when_destroyed(self) -> dict[str, contents.Contents]:
        """Return the queues that go with the stack and are in use, and what they hold."""
        with self._guard:
            if self._verdict is None:
                try:
                    self._verdict = self._judge_destruction()
                except BrokerError as error:
                    self._verdict = error  # for all hooks: asking may have taken long
        if isinstance(self._verdict, BrokerError):
            raise self._verdict
        return self._verdict

    def _judge_destruction(self) -> dict[str, contents.Contents]:
        """Return which queues at stake are in use by others than the stack's own shovels.

        The shovels depend on everything else, so they go before anything else does.
        """
        surveyed = contents.survey(self.access, self.topology.vhost, self._is_at_stake)
        sources = [source for guard in self.everyone() for source in guard.links.sources]
        held = link_guard.without_readers(self.access, self.topology.vhost, surveyed, sources)
        own = self._own_buffers()  # judged with their links
        in_use = {name: one for name, one in held.items() if one.in_use and name not in own}
        if not in_use:
            self.check_others()
            for name, exchange in self.topology.exchanges.items():
                if exchange.type not in BUILT_IN_EXCHANGE_TYPES:
                    contents.check_exchange(self.access, self.topology.vhost, name)
            self.links.check_destruction(self.access)
        return in_use

    @property
    def _vhost_goes(self) -> bool:
        """Return whether the vhost goes with the stack, and with it what others keep there."""
        return self.topology.makes_vhost and not self.retains_vhost

    def _check_leaving(self) -> None:
        """Raise, before anything of it is deleted, if a vhost leaves with what others keep."""
        if not self.has_left:
            return
        with self._guard:
            if self._verdict is None:
                try:
                    self.check_others()
                    self._verdict = {}
                except BrokerError as error:
                    self._verdict = error
        if isinstance(self._verdict, BrokerError):
            raise self._verdict

    def check_others(self) -> None:
        """Raise if the vhost goes, and is protected, or holds what the stack does not manage.

        Raises:
            BrokerError: It names what. What is empty now may be published to a moment later.
        """
        if not self._vhost_goes:
            return
        self._check_protection()
        deployed, vhost = self.deployed(), self.topology.vhost
        if deployed is None:
            return  # looked at again when only the vhost is left
        managed = {(kind, name) for kind, where, name in deployed if where == vhost}
        managed |= {("queue", name) for name in self.topology.queues}
        buffers = tuple(self._own_buffers())
        managed |= {("queue", name) for name in buffers}
        others = [
            (kind, name)
            for kind, name in self._held()
            if (kind, name) not in managed
            and not (kind == "exchange" and name.startswith(buffers))  # a buffer has one as well
        ]
        if others:
            raise _others_error(self.access, vhost, others)

    def _check_protection(self) -> None:
        vhost = self.topology.vhost
        try:
            described = self.access.management.get(self.access.path("vhosts", vhost))
        except NotFoundError:
            return
        if described.get("protected_from_deletion"):
            raise BrokerError(
                self.access.management.endpoint,
                f"refused, since vhost {vhost} would be deleted, and the broker protects it from "
                f"that. To let it go, run rabbitmqctl disable_vhost_deletion_protection {vhost}",
            )

    def _held(self) -> list[tuple[str, str]]:
        """Return what is in the vhost, by kind and name, but what a run makes for itself.

        A queue that a run has left counts: it may hold messages.
        """
        within = Inventory(self.access).within(self.topology.vhost)
        return sorted(one for one in within if not self._is_of_a_run(*one))

    def _is_of_a_run(self, kind: str, name: str) -> bool:
        match kind:
            case "queue":
                return False
            case "permissions" | "topicPermissions":
                return name == self.access.management.username
            case "policy" | "operatorPolicy":
                return name.startswith((PREFIX, SETTINGS_PREFIX))
            case _:
                return name.startswith(PREFIX)

    def _own_buffers(self) -> set[str]:
        """Return the buffers in this vhost that go with the stack's own upstreams."""
        return {
            link.buffer(self.access, guard.topology.vhost)
            for guard in self.everyone()
            if guard.topology.federation_upstreams
            for link in federation.running_links(self.access, guard.topology.vhost)
            if link.upstream in guard.topology.federation_upstreams
            and links.vhost_here(self.access, link.uri) == self.topology.vhost
        }

    def _check_nothing_left(self) -> None:
        """Raise if a vhost holds anything, now that what the stack has in it is deleted.

        The buffer of a link that was deleted may take a moment.
        """
        vhost, deadline = self.topology.vhost, time.monotonic() + _GONE_SECONDS
        while (others := self._held()) and time.monotonic() < deadline:
            time.sleep(0.1)
        has_queues = any(kind == "queue" for kind, _ in others)
        left = contents.survey(self.access, vhost) if has_queues else {}
        in_use = {name: held for name, held in left.items() if held.in_use}
        if in_use:
            raise RefusedError(f"vhost {vhost} would be deleted with its queues", in_use)
        if others:
            raise _others_error(self.access, vhost, others)

    def _is_at_stake(self, name: str) -> bool:
        """Tell whether a queue goes with the stack and may not be deleted with messages."""
        # The queues of others are at stake only where the vhost goes with them.
        goes = name in self.topology.queues or self._vhost_goes
        return goes and self._on_delete(name) is OnDelete.REFUSE

    def _on_delete(self, name: str) -> OnDelete:
        """Return what happens to a queue in the end: it may stay for the sake of another."""
        if name in self.kept.queues:
            return OnDelete.RETAIN
        queue = self.topology.queues.get(name)
        return queue.on_delete if queue else OnDelete.REFUSE

    async def _warn_of_traffic(self, vhost: str, exchange: str, what: str) -> None:
        if not pulumi.runtime.is_dry_run():
            return
        rate = await self._off_loop(contents.published_to, self.access, vhost, exchange)
        if rate:
            self._announce(
                f"{what} is removed while {rate:,.1f} messages/s are published to its exchange"
            )

    def _announce(self, text: str) -> None:
        announce(self.settings, text)

    async def _fate(self, kind: str, vhost: str, key: str) -> _Fate:
        """Tell why a resource is deleted; raise if it is the whole stack and that would lose."""
        if not self.children.has(kind, vhost, key):
            if not pulumi.runtime.is_dry_run():
                await self._off_loop(self._check_leaving)
            return _Fate.REMOVED
        if await self.children.is_registering(kind, vhost, key):
            return _Fate.REPLACED
        if not pulumi.runtime.is_dry_run():
            await self._off_loop(self._check_destruction)
        return _Fate.DESTROYED

    def _outgoing(self, exchange: str) -> list[Route]:
        return [route for route in self.topology.routes() if route.source == exchange]

    def _handover(self, name: str) -> Handover:
        return Handover(
            access=self.access,
            vhost=self.topology.vhost,
            name=name,
            report=pulumi.info,
            by_name=self.settings.published_by_name,
            settings=self,
        )

    def _overlap(self, name: str) -> Overlap:
        return Overlap(
            access=self.access,
            vhost=self.topology.vhost,
            name=name,
            report=pulumi.info,
            by_name=self.settings.published_by_name,
        )

    async def _off_loop(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run blocking work in a thread: the program and other hooks go on meanwhile."""
        call = partial(copy_context().run, function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def _lines(reasons: Mapping[str, str]) -> str:
    return "".join(f"\n  - queue {queue}: {reason}" for queue, reason in reasons.items())


def _kind_and_name(given: Mapping[str, Any]) -> tuple[str, str]:
    """Return whether inputs are of a queue or exchange, and its name."""
    return ("exchange" if "type" in given["settings"] else "queue"), given["name"]


def _label(route: Route) -> str:
    return f"binding {route.source} -[{route.routing_key}]-> {route.destination}"


def _others_error(access: Access, vhost: str, others: Iterable[tuple[str, str]]) -> BrokerError:
    lines = "".join(f"\n  - {title(kind, name)}" for kind, name in others)
    return BrokerError(
        access.management.endpoint,
        f"refused, since vhost {vhost} would be deleted with what the stack does not manage:"
        f"{lines}\nEither delete that, or move it to another vhost, then run again; or leave the "
        "vhost on the broker: set `on_delete: retain` in its `vhost_settings`, run `pulumi up`, "
        "and then this again",
    )
