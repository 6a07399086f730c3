"""
Which hooks each resource of a vhost carries: by what it is, and by what is to become of it.

Their names are in the state of every stack.
Source: "Resource hooks", Pulumi documentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pulumi

from rabbit_topology.compiler import retained
from rabbit_topology.compiler.names import route_key
from rabbit_topology.deploy.hooks import Hooks
from rabbit_topology.model import OnDelete, Route, Topology
from rabbit_topology.safety import half_done


@dataclass(frozen=True, kw_only=True)
class Carried:
    """The hooks of one vhost's resources."""

    hooks: Hooks
    topology: Topology
    kept: retained.Kept
    retains_vhost: bool
    """The vhost stays on the broker, and nobody is asked."""

    @cached_property
    def shovel(self) -> pulumi.ResourceHookBinding:
        """The hooks of a shovel."""
        return pulumi.ResourceHookBinding(
            before_update=[self.hooks.shovel],
            before_delete=[self.hooks.shovel],
            on_error=[self.hooks.shovel_ended],
        )

    @cached_property
    def upstream(self) -> pulumi.ResourceHookBinding:
        """The hooks of a federation upstream."""
        return pulumi.ResourceHookBinding(
            before_update=[self.hooks.upstream], before_delete=[self.hooks.upstream]
        )

    @cached_property
    def vhost(self) -> pulumi.ResourceHookBinding:
        """The hooks of the vhost itself."""
        return pulumi.ResourceHookBinding(
            before_create=[self.hooks.making],
            before_delete=[] if self.retains_vhost else [self.hooks.vhost],
        )

    @cached_property
    def permissions(self) -> pulumi.ResourceHookBinding:
        """The hooks of a user's permissions."""
        return pulumi.ResourceHookBinding(before_delete=[self.hooks.permissions])

    @cached_property
    def topic_permissions(self) -> pulumi.ResourceHookBinding:
        """The hooks of a user's topic permissions."""
        return pulumi.ResourceHookBinding(before_delete=[self.hooks.topic_permissions])

    @cached_property
    def user(self) -> pulumi.ResourceHookBinding:
        """The hooks of a user."""
        return pulumi.ResourceHookBinding(before_delete=[self.hooks.user])

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
        queue = self.topology.queues[name]
        on_delete = OnDelete.RETAIN if hooks.stays else queue.on_delete
        return pulumi.ResourceHookBinding(
            before_create=[hooks.renamed_queue] if queue.renamed_from else None,
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
        if self.topology.exchange_type(route.source) in half_done.BOUND_IN_ONE_STEP:
            return pulumi.ResourceHookBinding(before_delete=[before], after_create=[hooks.after])
        removed = [] if before is hooks.retained_binding else [hooks.unbind]
        return pulumi.ResourceHookBinding(
            before_create=[hooks.bind],
            before_delete=[before, *removed],
            after_create=[hooks.after],
        )

    def _on_delete(self, queue: str) -> OnDelete:
        return retained.on_delete(self.topology, self.kept, queue)

    def policy(self, on_delete: OnDelete | None) -> pulumi.ResourceHookBinding:
        """Return the hooks of a policy for queues with this ``on_delete``; None: an operator's."""
        if on_delete and self.hooks.stays:
            on_delete = OnDelete.RETAIN
        return self._policies[on_delete]

    @cached_property
    def _policies(self) -> dict[OnDelete | None, pulumi.ResourceHookBinding]:
        return {
            on_delete: pulumi.ResourceHookBinding(
                before_create=[hook],
                before_update=[hook],
                before_delete=[hook],
                after_create=[self.hooks.after_policy],
            )
            for on_delete, hook in self.hooks.policies.items()
        }
