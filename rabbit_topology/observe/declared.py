"""
What a vhost is to have: each object, and where the config says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from rabbit_topology import model
from rabbit_topology.adopt import proof
from rabbit_topology.compiler import policies
from rabbit_topology.compiler.effective import Applicable
from rabbit_topology.compiler.policies import Compiled
from rabbit_topology.errors import path
from rabbit_topology.inventory import adoption
from rabbit_topology.inventory.adoption import Wanted
from rabbit_topology.model import Route, Topology
from rabbit_topology.services import permissions

PasswordOf = Callable[[str, model.Service | model.User], str | None]
"""Returns the password of a user; None: not known."""

_SECTIONS = {
    "exchange": "exchanges",
    "queue": "queues",
    "policy": "policies",
    "operatorPolicy": "operator_policies",
    "shovel": "shovels",
    "federationUpstream": "federation_upstreams",
}

_LAST_PART = re.compile(r"[.-][^.-]*$")
"""Of a name that a pattern has made."""


@dataclass(frozen=True, kw_only=True)
class Declared:
    """One vhost of a config."""

    root: str
    """The config path of its topology."""
    written: Topology
    whole: Topology
    """The same with patterns spelled out."""

    @cached_property
    def compiled(self) -> Mapping[str, Compiled]:
        """The policies that settings need, by name."""
        return policies.compile_all(self.whole)

    @cached_property
    def policies(self) -> Mapping[str, Applicable]:
        """All policies, by name."""
        made = {name: one.policy for name, one in self.compiled.items()}
        return {**self.whole.policies, **made}

    @cached_property
    def users(self) -> Mapping[str, str]:
        """By the name of each user that has permissions here: its config path."""
        services = {
            permissions.user_name(self.whole, key): self.within("services", key)
            for key in self.whole.services
        }
        return {**services, **{name: self.within("users", name) for name in self.whole.users}}

    @cached_property
    def _bindings(self) -> Mapping[tuple[object, ...], str]:
        return {
            proof.declared(route): self.within("bindings", index)
            for index, binding in enumerate(self.written.bindings)
            for route in binding.routes()
        }

    def objects(self, password_of: PasswordOf) -> Iterator[Wanted]:
        """Yield all that is to be there but bindings."""
        for one in adoption.wanted(self.whole, password_of):
            if one.kind == "exchange":
                yield replace(one, settings={**one.settings, "internal": False})
            else:
                yield one
        for name, compiled in self.compiled.items():
            vhost = self.whole.vhost
            yield Wanted(kind="policy", vhost=vhost, name=name, settings=compiled.body())

    def within(self, *parts: str | int) -> str:
        """Return the config path of something in the vhost."""
        inside = path("x", *parts).removeprefix("x")  # a bracket may follow where a dot does not
        return f"{self.root}{inside}"

    def path(self, kind: str, name: str) -> str:
        """Return where the config says something of an object, or would.

        What a pattern makes stands with what has the pattern.
        """
        match kind:
            case "vHost":
                return self.within("vhost_settings")
            case "user" | "permissions" | "topicPermissions":
                return self.users.get(name) or self.within("users", name)
            case "policy" if name in self.compiled:
                compiled = self.compiled[name]
                return self.path(compiled.policy.apply_to.removesuffix("s"), min(compiled.members))
        section = _SECTIONS.get(kind)
        if section is None:
            return self.root
        if section in ("exchanges", "queues"):
            return self._origin(section, name)
        return self.within(section, name)

    def binding(self, route: Route) -> str:
        """Return where the config has a binding: with the pattern, for one that a pattern makes."""
        there = self._bindings.get(proof.declared(route))
        return there or self.path("exchange", route.source)

    def _origin(self, section: str, name: str) -> str:
        written: Mapping[str, object] = getattr(self.written, section)
        if name in written or name not in getattr(self.whole, section):
            return self.within(section, name)
        for other in ("queues", "exchanges", "super_streams"):
            having: Mapping[str, object] = getattr(self.written, other)
            begins = name
            while separator := _LAST_PART.search(begins):
                begins = begins[: separator.start()]
                if begins in having:
                    return self.within(other, begins)
        return self.within(section, name)
