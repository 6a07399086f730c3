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
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pika.exceptions import AMQPError

from rabbit_topology import contents, handover
from rabbit_topology.access import Access
from rabbit_topology.errors import BrokerError, TopologyError
from rabbit_topology.handover import Handover
from rabbit_topology.management import NotFoundError, UnreachableError
from rabbit_topology.model import OnDelete, Route, Topology, Verdict
from rabbit_topology.overlap import Overlap

_REGISTERING_SECONDS = 0.05
"""A resource that the engine has answered for has its URN at once; one being replaced has none."""

_WAYS_ON = (
    "Either let its consumers empty it and stop them, then run again; or have it deleted with all "
    "it holds: set `on_delete: discard` on it, run `pulumi up`, and then remove it; or leave it on "
    "the broker with `on_delete: retain` in the same way"
)


class RefusedError(TopologyError):
    """A deletion would lose messages. ``queues`` holds what each of the queues holds."""

    def __init__(self, reason: str, queues: Mapping[str, contents.Contents]) -> None:
        self.queues = dict(queues)
        lines = "".join(f"\n  - queue {name} holds {it}" for name, it in queues.items())
        super().__init__(f"refused, nothing was deleted: {reason}:{lines}\n{_WAYS_ON}")


@dataclass(kw_only=True)
class Safety:
    """The hooks of one `Topology`: create once, before its resources."""

    name: str
    access: Access
    topology: Topology
    preview: Verdict
    _resources: dict[str, pulumi.Resource] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)
    _surveyed: dict[str, contents.Contents] | None = None

    def __post_init__(self) -> None:
        self._routes = set(map(_identity, self.topology.routes()))
        vhost = self._before("vhost", self._before_vhost)
        exchange = self._before("exchange", self._before_exchange)
        queue = self._before("queue", self._before_queue)
        retained = self._before("retained-queue", self._before_retained_queue)
        binding = self._before("binding", self._before_binding)
        free = self._before("free-binding", self._before_free_binding)
        after = self._hook("after", self._after)
        self.vhost = pulumi.ResourceHookBinding(before_delete=[vhost])
        self.exchange = pulumi.ResourceHookBinding(before_delete=[exchange], after_create=[after])
        self._queues = {
            OnDelete.REFUSE: pulumi.ResourceHookBinding(
                before_delete=[queue], after_create=[after]
            ),
            OnDelete.RETAIN: pulumi.ResourceHookBinding(
                before_delete=[retained], after_create=[after]
            ),
            OnDelete.DISCARD: None,
        }
        self._bindings = {
            OnDelete.REFUSE: pulumi.ResourceHookBinding(
                before_delete=[binding], after_create=[after]
            ),
            OnDelete.RETAIN: pulumi.ResourceHookBinding(before_delete=[free], after_create=[after]),
            OnDelete.DISCARD: None,
        }

    def queue(self, name: str) -> pulumi.ResourceHookBinding | None:
        """Return the hooks of a queue; what may be discarded has none."""
        return self._queues[self.topology.queues[name].on_delete]

    def binding(self, route: Route) -> pulumi.ResourceHookBinding | None:
        """Return the hooks of a binding, which follow those of its queue."""
        if route.kind == "exchange":
            return self._bindings[OnDelete.RETAIN]
        return self._bindings[self.topology.queues[route.destination].on_delete]

    def watch(self, kind: str, key: str, resource: pulumi.Resource) -> None:
        """Remember a resource, to tell later whether the engine is done with registering it."""
        self._resources[f"{kind} {key}"] = resource

    def watch_binding(self, route: Route, resource: pulumi.Resource) -> None:
        """Remember a binding's resource, as `watch` does."""
        self.watch("binding", _identity(route), resource)

    # The hooks. Each gets the inputs that the resource was last deployed with.

    async def _before_vhost(self, old: Mapping[str, Any]) -> None:
        vhost = old["name"]
        left = await self._off_loop(contents.survey, self.access, vhost)
        retained = [
            name
            for name, queue in self.topology.queues.items()
            if vhost == self.topology.vhost and queue.on_delete is OnDelete.RETAIN and name in left
        ]
        in_use = {name: it for name, it in left.items() if it.in_use and name not in retained}
        if not pulumi.runtime.is_dry_run():
            # In a preview the stack's own queues are still there, and speak for themselves.
            if retained:
                raise BrokerError(
                    self.access.management.endpoint,
                    f"vhost {vhost} still has the retained queues {', '.join(retained)}, which "
                    "would go with it; move or delete them first",
                )
            if in_use:
                raise RefusedError(f"vhost {vhost} would be deleted with its queues", in_use)

    async def _before_exchange(self, old: Mapping[str, Any]) -> None:
        name, vhost = old["name"], old["vhost"]
        if not await self._is_replaced("exchange", vhost, name):
            await self._off_loop(self._warn_of_traffic, vhost, name, f"exchange {name}")
        elif pulumi.runtime.is_dry_run():
            change = _changes(old["settings"], self._exchange_settings(name))
            pulumi.info(f"exchange {name} is replaced ({change}); a stand-in routes meanwhile")
        else:
            overlap = self._overlap(name)
            self._taken.add(f"exchange {name}")
            await self._off_loop(
                overlap.take_over, self.topology.exchanges[name], self._outgoing(name)
            )

    async def _before_queue(self, old: Mapping[str, Any]) -> None:
        name, vhost = old["name"], old["vhost"]
        if await self._is_replaced("queue", vhost, name):
            await self._take_over(name, old)
        else:
            reason = await self._why_deleted("queue", vhost, name)
            await self._off_loop(self._check_deletion, vhost, name, reason)

    async def _before_retained_queue(self, old: Mapping[str, Any]) -> None:
        name, vhost = old["name"], old["vhost"]
        if await self._is_replaced("queue", vhost, name):
            await self._take_over(name, old)

    async def _before_binding(self, old: Mapping[str, Any]) -> None:
        vhost, route = old["vhost"], _route(old)
        managed = vhost == self.topology.vhost and route.destination in self.topology.queues
        if managed and not self._is_wanted(vhost, route):
            await self._before_free_binding(old)
        elif managed and await self._is_replaced("binding", vhost, _identity(route)):
            await self._shadow(route)
        elif not pulumi.runtime.is_dry_run():
            # Its queue goes with it: refused here, nothing is unbound from a queue that stays.
            reason = await self._why_deleted("queue", vhost, route.destination)
            await self._off_loop(self._check_deletion, vhost, route.destination, reason, keep=True)

    async def _before_free_binding(self, old: Mapping[str, Any]) -> None:
        vhost, route = old["vhost"], _route(old)
        if self._is_wanted(vhost, route):
            if await self._is_replaced("binding", vhost, _identity(route)):
                await self._shadow(route)
        else:
            label = f"binding {route.source} -[{route.routing_key}]-> {route.destination}"
            await self._off_loop(self._warn_of_traffic, vhost, route.source, label)

    async def _after(self, new: Mapping[str, Any]) -> None:
        """Give back what was taken, once the resource that it was taken for is there again."""
        if "destination" in new:
            kind = new["destinationType"]
            key = f"{kind} {new['destination']}"
            if f"shadowed {key}" not in self._taken or key in self._taken:
                return
            self._taken.discard(f"shadowed {key}")
            name = new["destination"]
        else:
            name = new["name"]
            kind = "exchange" if "type" in new["settings"] else "queue"
            key = f"{kind} {name}"
            if key not in self._taken:
                return
            self._taken -= {key, f"shadowed {key}"}
        if kind == "queue":
            await self._off_loop(self._handover(name).give_back)
        else:
            await self._off_loop(self._overlap(name).give_back, self.topology.exchanges[name])

    # What they are made of.

    async def _take_over(self, name: str, old: Mapping[str, Any]) -> None:
        queue = self.topology.queues[name]
        change = _changes(old["settings"], self._queue_settings(name))
        if pulumi.runtime.is_dry_run():
            found = await self._off_loop(contents.quick, self.access, self.topology.vhost, name)
            pulumi.info(f"queue {name} is replaced ({change}); kept through it: {found}")
            return
        pulumi.info(f"queue {name} is replaced ({change})")
        self._taken.add(f"queue {name}")
        await self._off_loop(self._handover(name).take_over, queue)

    async def _shadow(self, route: Route) -> None:
        if pulumi.runtime.is_dry_run():
            return
        self._taken.add(f"shadowed {route.kind} {route.destination}")
        if route.kind == "queue":
            await self._off_loop(self._handover(route.destination).shadow, route)
        elif route.destination in self.topology.exchanges:
            await self._off_loop(
                self._overlap(route.destination).shadow,
                route,
                self.topology.exchanges[route.destination],
                self._outgoing(route.destination),
            )

    def _check_deletion(self, vhost: str, name: str, reason: str, *, keep: bool = False) -> None:
        """Raise if a queue cannot be deleted without loss; unless ``keep``, delete it now.

        Deleted here and not by the provider, so that test and deletion are one step.
        """
        if pulumi.runtime.is_dry_run():
            found = contents.quick(self.access, vhost, name)
            if found and found.in_use:
                self._announce(
                    f"would lose {found.ready + found.unacknowledged:,} messages in "
                    f"queue {name} ({found}): {reason}; `pulumi up` will refuse"
                )
            return
        if vhost == self.topology.vhost and name in self.topology.queues:
            self._check_whole_stack(reason)
        found = contents.read(self.access, vhost, name)
        if found is None:
            return
        if found.in_use or not (keep or handover.delete_empty(self.access, vhost, name)):
            raise RefusedError(reason, {name: found})

    def _check_whole_stack(self, reason: str) -> None:
        """Raise, before anything is deleted, if any queue of a destroyed stack is in use."""
        if self._surveyed is None:
            self._surveyed = contents.survey(self.access, self.topology.vhost)
        in_use = {
            name: it
            for name, it in self._surveyed.items()
            if it.in_use and self._on_delete(name) is OnDelete.REFUSE
        }
        if in_use:
            raise RefusedError(reason, in_use)

    def _on_delete(self, name: str) -> OnDelete:
        queue = self.topology.queues.get(name)
        return queue.on_delete if queue else OnDelete.REFUSE

    def _warn_of_traffic(self, vhost: str, exchange: str, what: str) -> None:
        if not pulumi.runtime.is_dry_run():
            return
        try:
            found = self.access.management.get(self.access.path("exchanges", vhost, exchange))
        except NotFoundError:
            return
        rate = found.get("message_stats", {}).get("publish_in_details", {}).get("rate", 0.0)
        if rate:
            self._announce(
                f"{what} is removed while {rate:,.1f} messages/s are published to its exchange"
            )

    def _announce(self, text: str) -> None:
        if self.preview is Verdict.ERROR:
            raise TopologyError(text)
        pulumi.warn(text)

    async def _is_replaced(self, kind: str, vhost: str, key: str) -> bool:
        resource = self._resources.get(f"{kind} {key}")
        if resource is None or vhost != self.topology.vhost:
            return False
        urn = asyncio.ensure_future(resource.urn.future())
        answered, _ = await asyncio.wait({urn}, timeout=_REGISTERING_SECONDS)
        return not answered

    async def _why_deleted(self, kind: str, vhost: str, name: str) -> str:
        if f"{kind} {name}" in self._resources and vhost == self.topology.vhost:
            return "the stack is being destroyed"
        return f"{kind} {name} is no longer in the config"

    def _is_wanted(self, vhost: str, route: Route) -> bool:
        return vhost == self.topology.vhost and _identity(route) in self._routes

    def _outgoing(self, exchange: str) -> list[Route]:
        return [route for route in self.topology.routes() if route.source == exchange]

    def _handover(self, name: str) -> Handover:
        return Handover(
            access=self.access, vhost=self.topology.vhost, name=name, report=pulumi.info
        )

    def _overlap(self, name: str) -> Overlap:
        return Overlap(access=self.access, vhost=self.topology.vhost, name=name, report=pulumi.info)

    def _queue_settings(self, name: str) -> dict[str, Any]:
        queue = self.topology.queues[name]
        return {
            "durable": queue.durable,
            "auto_delete": queue.auto_delete,
            **queue.declared_arguments(),
        }

    def _exchange_settings(self, name: str) -> dict[str, Any]:
        exchange = self.topology.exchanges[name]
        return {
            "type": exchange.type,
            "durable": exchange.durable,
            "auto_delete": exchange.auto_delete,
            **exchange.arguments,
        }

    async def _off_loop(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run blocking work in a thread: the program and other hooks go on meanwhile."""
        return await asyncio.to_thread(function, *args, **kwargs)

    def _before(
        self, kind: str, function: Callable[[Mapping[str, Any]], Awaitable[None]]
    ) -> pulumi.ResourceHook:
        async def run(args: pulumi.ResourceHookArgs) -> None:
            try:
                await _in_our_words(function, args.old_inputs or {})
            except UnreachableError as error:
                if not pulumi.runtime.is_dry_run():
                    raise
                pulumi.warn(f"whether {kind} {args.name} can be deleted is not known: {error}")

        return self._hook(kind, run, on_dry_run=True)

    def _hook(
        self, kind: str, function: Callable[..., Awaitable[None]], *, on_dry_run: bool = False
    ) -> pulumi.ResourceHook:
        async def run(args: pulumi.ResourceHookArgs) -> None:
            if on_dry_run:
                await function(args)
            else:
                await _in_our_words(function, args.new_inputs or {})

        options = pulumi.ResourceHookOptions(on_dry_run=on_dry_run)
        return pulumi.ResourceHook(f"rabbit-topology:{self.name}:{kind}", run, options)


async def _in_our_words(
    function: Callable[[Mapping[str, Any]], Awaitable[None]], inputs: Mapping[str, Any]
) -> None:
    try:
        await function(inputs)
    except AMQPError as error:
        raise TopologyError(f"the broker closed the AMQP connection: {error!r}") from None


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
    return ", ".join(_differences(before, new)) or "as an earlier run began it"


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for key in {**before, **after}:
        if before.get(key) != after.get(key):
            yield f"{key}: {before.get(key, 'none')} -> {after.get(key, 'none')}"
