"""
The one way in which a component's resources are made, and what is known of them afterwards.

Source: "Resource options", Pulumi documentation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakSet

import pulumi

from rabbit_topology.deploy.inputs import kind as kind_of

_VHOST = ("vHost", "")
_REGISTERING_SECONDS = 0.05
"""A resource that the engine has answered for has its URN at once; one being replaced has none."""

_Resource = TypeVar("_Resource", bound=pulumi.CustomResource)


_EVERYONE: WeakSet[Children] = WeakSet()
"""Those of all components of the program: what one gives up, another may have."""


@dataclass(kw_only=True, eq=False)
class Children:
    """Makes the resources of one component, and tells how far the engine is with them."""

    parent: pulumi.Resource
    endpoint: pulumi.Output[str]
    """Of their broker."""
    admission: pulumi.Output[None]
    """Known once anything may be made."""
    _made: dict[tuple[str, str, str], pulumi.Resource] = field(default_factory=dict)
    """By kind, vhost and key, as `inputs.identity` returns them."""

    def __post_init__(self) -> None:
        _EVERYONE.add(self)

    def make(
        self,
        type_: Callable[..., _Resource],
        name: str,
        *,
        vhost: str,
        key: str,
        inputs: Mapping[str, Any],
        hooks: pulumi.ResourceHookBinding | None = None,
        depends_on: Sequence[pulumi.Resource] = (),
        replace_with: Sequence[pulumi.Resource] = (),
        retain: bool = False,
        aliases: Sequence[str] = (),
        ignore_changes: Sequence[str] = (),
    ) -> _Resource:
        """Create a resource that stands for what has the ``key`` in the ``vhost`` on the broker.

        Args:
            type_: Its class.
            name: Its logical name.
            vhost: The name of its vhost; empty for what is in none.
            key: What sets it apart from others of its kind there.
            inputs: What its class takes.
            hooks: What is asked before and told after the engine changes it.
            depends_on: What has to be there before it.
            replace_with: What it goes and comes back with.
            retain: The engine does not delete it on the broker.
            aliases: Logical names that it may have had before.
            ignore_changes: Inputs that stay what they were.
        """
        before: Any = list(depends_on) or None
        if (*_VHOST, vhost) not in self._made:  # all else waits for its vhost
            before = self.admission.apply(lambda _: list(depends_on))
        resource = type_(
            name,
            **inputs,
            opts=pulumi.ResourceOptions(
                parent=self.parent,
                # A new object with the name of the old one is the old one: created first, as the
                # engine does where a replacement is forced, it would then be deleted with it.
                delete_before_replace=True,
                hooks=hooks,
                depends_on=before,
                replace_with=list(replace_with) or None,
                aliases=[pulumi.Alias(name=alias) for alias in aliases] or None,
                retain_on_delete=retain or None,
                ignore_changes=list(ignore_changes) or None,
            ),
        )
        self._made[kind_of(resource.pulumi_resource_type), vhost, key] = resource
        return resource

    def has(self, kind: str, vhost: str, key: str) -> bool:
        """Return whether the component has such an object."""
        return (kind, vhost, key) in self._made

    def get(self, kind: str, vhost: str, key: str) -> pulumi.Resource | None:
        """Return the resource of such an object, if the component has made it by now."""
        return self._made.get((kind, vhost, key))

    async def is_registering(self, kind: str, vhost: str, key: str) -> bool:
        """Return whether the engine is not done with a resource of the component."""
        resource = self._made.get((kind, vhost, key))
        if resource is None:
            return False
        urn = asyncio.ensure_future(resource.urn.future())
        answered, _ = await asyncio.wait({urn}, timeout=_REGISTERING_SECONDS)
        return not answered

    async def other_urn(self, kind: str, vhost: str, key: str, urn: str) -> str | None:
        """Return the URN under which an object is registered, if that is another than ``urn``.

        By any component of the program that has the same broker. None as well while the engine is
        not done with it.
        """
        for children in list(_EVERYONE):
            resource = children.get(kind, vhost, key)
            if resource is None:
                continue
            if await children.endpoint.future() != await self.endpoint.future():
                continue
            if await children.is_registering(kind, vhost, key):
                continue
            registered = await resource.urn.future()
            if registered and registered != urn:
                return registered
        return None
