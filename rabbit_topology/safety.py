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
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from threading import Lock
from typing import Any

import pulumi

from rabbit_topology import contents, handover, limits, policies
from rabbit_topology.access import Access
from rabbit_topology.errors import BrokerError, TopologyError
from rabbit_topology.handover import Handover
from rabbit_topology.hooks import Hooks
from rabbit_topology.management import UnreachableError
from rabbit_topology.model import (
    DEFAULT_VHOST,
    ByName,
    OnDelete,
    Route,
    SafetySettings,
    Topology,
    Verdict,
)
from rabbit_topology.names import SETTINGS_PREFIX
from rabbit_topology.overlap import Overlap

_REGISTERING_SECONDS = 0.05
"""A resource that the engine has answered for has its URN at once; one being replaced has none."""

_SHOVEL_ENDS_SECONDS = 3.0
"""How long a shovel that was deleted may go on consuming."""

_WAYS_ON = (
    "Either let its consumers empty it and stop them, then run again; or have it deleted with all "
    "it holds: set `on_delete: discard` on it, run `pulumi up`, and then remove it; or leave it on "
    "the broker with `on_delete: retain` in the same way"
)


class _Fate(Enum):
    """Why the engine is about to delete a resource."""

    REPLACED = "it is replaced"
    DESTROYED = "the stack is being destroyed"
    REMOVED = "it is no longer in the config"


class RefusedError(TopologyError):
    """A deletion would lose messages. ``queues`` holds what each of the queues holds."""

    def __init__(self, reason: str, queues: Mapping[str, contents.Contents]) -> None:
        self.queues = dict(queues)
        lines = "".join(f"\n  - queue {name} holds {it}" for name, it in queues.items())
        super().__init__(f"refused, since messages would be lost: {reason}{lines}\n{_WAYS_ON}")


@dataclass(kw_only=True)
class Safety:
    """What the hooks do for the resources of one vhost: create once, before its resources.

    ``vhost`` and ``exchange`` are the hooks of those; `queue` and `binding` return theirs.
    ``retains_vhost`` tells that the vhost must stay, for the sake of a queue that does.
    """

    hooks: Hooks
    topology: Topology
    settings: SafetySettings
    everyone: Callable[[], Iterable[Safety]]
    """All that guard a vhost of the same component."""
    access: Access = field(init=False)
    """Known from the first hook on: endpoint and credentials may be outputs of other resources."""
    _resources: dict[str, pulumi.Resource] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)
    """What is being replaced, by kind and name."""
    _shadowed: dict[str, set[str]] = field(default_factory=dict)
    """By kind and name of a destination: its bindings that are gone, and not yet made again."""
    _turns: dict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """So that a binding is not shadowed by a stand-in that is just being removed."""
    _guard: Lock = field(default_factory=Lock)
    # Threads of our own: those of the event loop may all be waiting for registrations, which the
    # engine answers only when a hook has ended. Many, since each may wait for statistics.
    _threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(32, thread_name_prefix="rabbit-topology")
    )
    _verdict: dict[str, contents.Contents] | BrokerError | None = None
    """The queues at stake that are in use, once that was asked to destroy the whole stack."""

    def __post_init__(self) -> None:
        hooks = self.hooks
        self.retains_vhost = any(
            queue.on_delete is OnDelete.RETAIN for queue in self.topology.queues.values()
        )
        self.vhost = (
            None if self.retains_vhost else pulumi.ResourceHookBinding(before_delete=[hooks.vhost])
        )
        self.exchange = pulumi.ResourceHookBinding(
            before_delete=[hooks.exchange], after_create=[hooks.after]
        )
        self._queues: dict[OnDelete, pulumi.ResourceHookBinding] = {
            OnDelete.REFUSE: pulumi.ResourceHookBinding(
                before_delete=[hooks.queue], after_create=[hooks.after], on_error=[hooks.read_again]
            ),
            OnDelete.RETAIN: pulumi.ResourceHookBinding(
                before_delete=[hooks.retained_queue],
                after_create=[hooks.after],
                on_error=[hooks.read_again],
            ),
            OnDelete.DISCARD: pulumi.ResourceHookBinding(on_error=[hooks.read_again]),
        }
        self._bindings = {
            OnDelete.REFUSE: pulumi.ResourceHookBinding(
                before_delete=[hooks.binding], after_create=[hooks.after]
            ),
            OnDelete.RETAIN: pulumi.ResourceHookBinding(
                before_delete=[hooks.free_binding], after_create=[hooks.after]
            ),
            OnDelete.DISCARD: None,
        }
        # By what happens to a policy's queues when they leave the config; None: operator policies.
        self._policies = {
            on_delete: pulumi.ResourceHookBinding(
                before_create=[it], before_update=[it], before_delete=[it]
            )
            for on_delete, it in hooks.policies.items()
        }
        self.permissions = pulumi.ResourceHookBinding(before_delete=[hooks.permissions])

    def queue(self, name: str) -> pulumi.ResourceHookBinding:
        """Return the hooks of a queue; what may be discarded is not guarded."""
        return self._queues[self.topology.queues[name].on_delete]

    def binding(self, route: Route) -> pulumi.ResourceHookBinding | None:
        """Return the hooks of a binding, which follow those of its queue."""
        if route.kind == "exchange":
            return self._bindings[OnDelete.RETAIN]
        return self._bindings[self.topology.queues[route.destination].on_delete]

    def policy(self, on_delete: OnDelete | None) -> pulumi.ResourceHookBinding:
        """Return the hooks of a policy for queues with this ``on_delete``; None: an operator's."""
        return self._policies[on_delete]

    def watch(self, kind: str, key: str, resource: pulumi.Resource) -> None:
        """Remember a resource, to tell later whether the engine is done with registering it."""
        self._resources[f"{kind} {key}"] = resource

    def watch_binding(self, route: Route, resource: pulumi.Resource) -> None:
        """Remember a binding's resource, as `watch` does."""
        self.watch("binding", _identity(route), resource)

    # The hooks. Each gets the inputs that the resource was last deployed with.

    async def before_vhost(self, old: Mapping[str, Any]) -> None:
        """Refuse to delete a vhost whose queues are in use."""
        vhost = old["name"]
        if pulumi.runtime.is_dry_run():
            return  # its queues are still there, and speak for themselves
        left = await self._off_loop(contents.survey, self.access, vhost)
        in_use = {name: it for name, it in left.items() if it.in_use}
        if in_use:
            raise RefusedError(f"vhost {vhost} would be deleted with its queues", in_use)

    async def before_exchange(self, old: Mapping[str, Any]) -> None:
        """Warn of traffic, or have a stand-in route while the exchange is replaced."""
        name, vhost = old["name"], old["vhost"]
        if await self._fate("exchange", vhost, name) is not _Fate.REPLACED:
            await self._warn_of_traffic(vhost, name, f"exchange {name}")
        elif pulumi.runtime.is_dry_run():
            change = _changes(old["settings"], self.topology.exchanges[name].declaration())
            pulumi.info(f"exchange {name} is replaced ({change}); a stand-in routes meanwhile")
            await self._off_loop(
                self._foresee, self._overlap(name).check, self.topology.exchanges[name]
            )
        else:
            self._taken.add(f"exchange {name}")
            await self._off_loop(
                self._overlap(name).take_over, self.topology.exchanges[name], self._outgoing(name)
            )

    async def before_queue(self, old: Mapping[str, Any]) -> None:
        """Refuse, delete if exactly empty, or take over what the queue holds."""
        name, vhost = old["name"], old["vhost"]
        fate = await self._fate("queue", vhost, name)
        if fate is _Fate.REPLACED:
            await self._take_over(name, old)
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
            await self._off_loop(self._check_deletion, vhost, name, _Fate.REMOVED, keep=True)

    async def before_free_binding(self, old: Mapping[str, Any]) -> None:
        """Warn of traffic, or give the route a second way while it is replaced."""
        vhost, route = old["vhost"], _route(old)
        if await self._fate("binding", vhost, _identity(route)) is _Fate.REPLACED:
            await self._shadow(route)
        else:
            label = f"binding {route.source} -[{route.routing_key}]-> {route.destination}"
            await self._warn_of_traffic(vhost, route.source, label)

    async def after(self, new: Mapping[str, Any]) -> None:
        """Give back what was taken, once the resource that it was taken for is there again."""
        if "destination" not in new:
            kind = "exchange" if "type" in new["settings"] else "queue"
            key = f"{kind} {new['name']}"
            if key in self._taken:
                self._taken.discard(key)
                self._shadowed.pop(key, None)
                await self._give_back(kind, new["name"])
            return
        route = _route(new)
        key = f"{route.kind} {route.destination}"
        async with self._turns[key]:
            # Another binding to it may still be without its source: it needs the second way on.
            waiting = self._shadowed.get(key, set())
            waiting.discard(_identity(route))
            if key in self._shadowed and not waiting and key not in self._taken:
                del self._shadowed[key]
                await self._give_back(route.kind, route.destination)

    async def _give_back(self, kind: str, name: str) -> None:
        if kind == "queue":
            await self._off_loop(self._handover(name).give_back)
        else:
            await self._off_loop(self._overlap(name).give_back, self.topology.exchanges[name])

    async def before_permissions(self, old: Mapping[str, Any]) -> None:
        """Take no permissions away in a destroy that is refused."""
        await self._fate("permissions", old["vhost"], old["user"])

    async def before_policy(
        self, old: Mapping[str, Any], new: Mapping[str, Any], on_delete: OnDelete | None
    ) -> None:
        """Refuse limits that drop messages; let no policy leave a queue without its next one."""
        if not new and await self._fate("policy", old["vhost"], old["name"]) is _Fate.DESTROYED:
            return  # its queues are empty, and go as well
        await self._off_loop(self._change_policy, old, new, on_delete)

    # What they are made of.

    async def _take_over(self, name: str, old: Mapping[str, Any]) -> None:
        queue = self.topology.queues[name]
        change = _changes(old["settings"], queue.declaration())
        if pulumi.runtime.is_dry_run():
            found = await self._off_loop(contents.quick, self.access, self.topology.vhost, name)
            pulumi.info(f"queue {name} is replaced ({change}); kept through it: {found}")
            await self._off_loop(self._foresee, self._handover(name).check, queue)
            await self._off_loop(self._warn_of_publishing_by_name, name)
            return
        pulumi.info(f"queue {name} is replaced ({change})")
        self._taken.add(f"queue {name}")
        await self._off_loop(self._handover(name).take_over, queue)

    async def _shadow(self, route: Route) -> None:
        if pulumi.runtime.is_dry_run():
            return
        name, key = route.destination, f"{route.kind} {route.destination}"
        # Else it is the source that is replaced, and the destination stays.
        replaced = await self._is_registering(route.kind, name)
        async with self._turns[key]:
            self._shadowed.setdefault(key, set()).add(_identity(route))
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

    def _change_policy(
        self, old: Mapping[str, Any], new: Mapping[str, Any], on_delete: OnDelete | None
    ) -> None:
        """Raise if a change of a policy would lose messages; see to it that none is lost by it."""
        vhost, name = (new or old)["vhost"], (new or old)["name"]
        left, staying = set[str](), set[str]()
        if old and on_delete:
            kind = "exchanges" if old["policy"]["applyTo"] == "exchanges" else "queues"
            left = set(limits.leaving(self.access, vhost, old["policy"], new.get("policy")))
            if vhost == self.topology.vhost:
                staying = left & getattr(self.topology, kind).keys()
            if not pulumi.runtime.is_dry_run():
                if on_delete is OnDelete.REFUSE and name.startswith(SETTINGS_PREFIX):
                    for it in left - staying if kind == "queues" else ():
                        # Deleted in this run, if it can be: refused here, it keeps its settings.
                        self._check_deletion(vhost, it, _Fate.REMOVED, keep=True)
                self._keep_settings(old, kind, staying)
        after = limits.policy(name, new["policy"]) if new else None
        self._check_limits(vhost, name, after, operator=on_delete is None)
        retained = on_delete is OnDelete.RETAIN and not new
        if retained and left and left == staying and not pulumi.runtime.is_dry_run():
            # The engine leaves it, for a queue that does not: it would compete with the next one.
            self.access.request_if_there("DELETE", "policies", vhost, name)

    def _keep_settings(self, old: Mapping[str, Any], kind: str, names: set[str]) -> None:
        """Give what leaves a policy its next one, so that it is never without.

        Without, what expires in between would not be dead-lettered, for example. As long as the
        next policy's dead-letter or alternate exchange leads nowhere, it has the old settings.
        """
        vhost = self.topology.vhost
        for key, it in policies.compile_all(self.topology).items():
            leaving = it.members & names
            if key == old["name"] or it.policy.apply_to != kind or not leaving:
                continue
            body = it.body()
            if not limits.leads_on(self.access, vhost, it.policy.definition):
                if any(one["name"] == key for one in self.access.policies(vhost)):
                    raise TopologyError(
                        f"the settings of {', '.join(sorted(leaving))} cannot change in one step "
                        "with the exchange that they name, since others have it as well: first "
                        "add the exchange with its bindings, run `pulumi up`, then change them"
                    )
                settings = limits.policy(key, old["policy"])["definition"]
                body |= {"pattern": policies.pattern(leaving), "definition": settings}
            self._check_limits(vhost, key, {"name": key, **body}, operator=False)
            self.access.declare("policies", vhost, key, body)

    def _check_limits(
        self, vhost: str, name: str, after: Mapping[str, Any] | None, *, operator: bool
    ) -> None:
        """Raise if a policy, or its deletion, would make queues drop messages that they hold."""
        dry_run = pulumi.runtime.is_dry_run()
        patience = {"patience": 0.0} if dry_run else {}
        losing = {
            queue: reason
            for queue, reason in limits.dropped(
                self.access, vhost, name, after, operator=operator, **patience
            )
            if self._on_delete(queue) is not OnDelete.DISCARD
            # A queue that is no longer here speaks for itself; so does a policy that it keeps.
            and (queue in self.topology.queues or not name.startswith(SETTINGS_PREFIX))
        }
        if not losing:
            return
        lines = "".join(f"\n  - queue {queue}: {reason}" for queue, reason in losing.items())
        if dry_run:
            self._announce(f"would lose messages, `pulumi up` will refuse:{lines}")
        else:
            raise TopologyError(
                f"refused, since messages would be lost: settings of queues change{lines}\nEither "
                "let consumers empty them first; or have them keep what is too much with "
                "`dead_letter: true`; or allow the loss with `on_delete: discard`"
            )

    def _check_deletion(self, vhost: str, name: str, fate: _Fate, *, keep: bool = False) -> None:
        """Raise if a queue cannot be deleted without loss; unless ``keep``, delete it now.

        Deleted here and not by the provider, so that test and deletion are one step.
        """
        if pulumi.runtime.is_dry_run():
            self._foresee(self._preview_deletion, vhost, name, fate)
            return
        found = contents.read(self.access, vhost, name)
        if found is None:
            return
        if found.in_use or not (
            keep or handover.delete_empty(self.access, vhost, name, found.kind)
        ):
            raise RefusedError(fate.value, {name: found})

    def _preview_deletion(self, vhost: str, name: str, fate: _Fate) -> None:
        found = contents.read(self.access, vhost, name)
        if found and found.in_use:
            self._announce(
                f"would lose {found.messages:,} messages in queue {name} ({found}): {fate.value}; "
                "`pulumi up` will refuse"
            )

    def _foresee(self, check: Callable[..., None], *args: Any) -> None:
        """Say in a preview what an update would be refused for."""
        try:
            check(*args)
        except UnreachableError:
            raise  # then nothing is known
        except BrokerError as error:
            self._announce(f"{error}; `pulumi up` will refuse")

    def _check_destruction(self) -> None:
        """Raise, before anything is deleted, if any queue that would be destroyed is in use."""
        everyone = list(self.everyone())
        in_use: dict[str, contents.Contents] = {}
        for guard in everyone:
            guard.access = self.access
            for name, it in guard.in_use_when_destroyed().items():
                vhost = guard.topology.vhost
                in_use[name if len(everyone) == 1 else f"{name} in vhost {vhost}"] = it
        if in_use:
            raise RefusedError(_Fate.DESTROYED.value, in_use)

    def in_use_when_destroyed(self) -> dict[str, contents.Contents]:
        """Return the queues that go with the stack and are in use, and what they hold."""
        with self._guard:
            if self._verdict is None:
                try:
                    found = self._survey_without_shovels()
                    self._verdict = {name: it for name, it in found.items() if it.in_use}
                except BrokerError as error:
                    self._verdict = error  # for all hooks: asking may have taken long
        if isinstance(self._verdict, BrokerError):
            raise self._verdict
        return self._verdict

    def _survey_without_shovels(self) -> dict[str, contents.Contents]:
        """Return what each queue at stake holds, once the stack's shovels have let go of theirs.

        They depend on everything else, so they are deleted before anything else is.
        """
        vhost = self.topology.vhost
        sources = {shovel.source_queue for shovel in self.topology.shovels.values()}
        deadline = time.monotonic() + _SHOVEL_ENDS_SECONDS
        while True:
            found = contents.survey(self.access, vhost, self._is_at_stake)
            leaving = (it for name, it in found.items() if name in sources and it.empty)
            if not any(it.consumers for it in leaving) or time.monotonic() > deadline:
                return found
            time.sleep(0.1)

    def _is_at_stake(self, name: str) -> bool:
        """Tell whether a queue goes with the stack and may not be deleted with messages."""
        # The queues of others are at stake only where the vhost goes with them.
        vhost_goes = self.topology.vhost != DEFAULT_VHOST and not self.retains_vhost
        goes = name in self.topology.queues or vhost_goes
        return goes and self._on_delete(name) is OnDelete.REFUSE

    def _on_delete(self, name: str) -> OnDelete:
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

    def _warn_of_publishing_by_name(self, queue: str) -> None:
        rate = contents.published(self.access, self.topology.vhost, queue)[1]
        bound = any(route.destination == queue for route in self.topology.routes())
        if rate and not bound and self.settings.published_by_name is ByName.REFUSE:
            self._announce(f"{handover.by_name_text(queue, rate)}; `pulumi up` will refuse")

    def _announce(self, text: str) -> None:
        if self.settings.preview is Verdict.ERROR:
            raise TopologyError(text)
        pulumi.warn(text)

    async def _fate(self, kind: str, vhost: str, key: str) -> _Fate:
        """Tell why a resource is deleted; raise if it is the whole stack and that would lose."""
        if f"{kind} {key}" not in self._resources or vhost != self.topology.vhost:
            return _Fate.REMOVED
        if await self._is_registering(kind, key):
            return _Fate.REPLACED
        if not pulumi.runtime.is_dry_run():
            await self._off_loop(self._check_destruction)
        return _Fate.DESTROYED

    async def _is_registering(self, kind: str, key: str) -> bool:
        """Tell whether the engine is not done with a resource of the stack."""
        resource = self._resources.get(f"{kind} {key}")
        if resource is None:
            return False
        urn = asyncio.ensure_future(resource.urn.future())
        answered, _ = await asyncio.wait({urn}, timeout=_REGISTERING_SECONDS)
        return not answered

    def _outgoing(self, exchange: str) -> list[Route]:
        return [route for route in self.topology.routes() if route.source == exchange]

    def _handover(self, name: str) -> Handover:
        return Handover(
            access=self.access,
            vhost=self.topology.vhost,
            name=name,
            report=pulumi.info,
            by_name=self.settings.published_by_name,
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


def _route(inputs: Mapping[str, Any]) -> Route:
    return Route(
        source=inputs["source"],
        kind=inputs["destinationType"],
        destination=inputs["destination"],
        routing_key=inputs.get("routingKey", ""),
        arguments=json.loads(inputs.get("argumentsJson") or "{}"),
    )


def _identity(route: Route) -> str:
    return json.dumps(route.model_dump(), sort_keys=True)


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return what differs, as ``x-queue-type: classic -> quorum``."""
    before = {
        "durable": old.get("durable", False),
        "auto_delete": old.get("autoDelete", False),
        **({"type": old["type"]} if "type" in old else {}),
        **json.loads(old.get("argumentsJson") or "{}"),
        **old.get("arguments", {}),
    }
    after = {key: value for key, value in new.items() if key != "arguments"}
    after |= new.get("arguments", {})
    return ", ".join(_differences(before, after)) or "as an earlier run began it"


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for key in {**before, **after}:
        if before.get(key) != after.get(key):
            yield f"{key}: {before.get(key, 'none')} -> {after.get(key, 'none')}"
