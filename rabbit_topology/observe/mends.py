"""
What ends a drift: a command, or what to write in the config.

Source: "HTTP API Reference", RabbitMQ documentation; "pulumi up", Pulumi documentation.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from urllib.parse import quote

from rabbit_topology.adopt import express, text
from rabbit_topology.adopt.definitions import LISTS, Definitions, Listed
from rabbit_topology.inventory.adoption import Wanted
from rabbit_topology.model import Route
from rabbit_topology.observe.declared import Declared
from rabbit_topology.observe.drift import Action, Difference, Mend
from rabbit_topology.observe.overruled import Overruled
from rabbit_topology.observe.unmanaged import Other

_UP = "pulumi up --refresh"

_KEYS = {
    "exchange": "exchanges",
    "queue": "queues",
    "policy": "policies",
    "operatorPolicy": "operator_policies",
    "permissions": "permissions",
    "topicPermissions": "topic_permissions",
}
"""Of `definitions.LISTS`, by the kind of what is there."""

_INNER = {"permissions": "permissions", "topicPermissions": "topic_permissions"}
"""Keys of a user."""

_LIMITS = ("max-connections", "max-queues")


@dataclass(frozen=True, kw_only=True)
class Mends:
    """What ends the drifts of one vhost."""

    declared: Declared
    had: Definitions
    endpoint: str
    username: str

    def changed(self, one: Wanted, differences: Sequence[Difference]) -> Iterator[Mend]:
        """Yield what ends it that an object is not as it is declared."""
        where = self.declared.path(one.kind, one.name)
        match one.kind:
            case "vHost":
                yield from self._vhost(one, {difference.field for difference in differences})
                return
            case "queue" | "exchange":
                yield _remake(f"{_UP}    # replaces it; messages are kept")
            case "user":
                yield from _user(one.name, where, {difference.field for difference in differences})
                return
            case _:
                yield _remake(_UP)
        yield from self._as_is(one, where)

    def missing(self, one: Wanted) -> Iterator[Mend]:
        """Yield what ends it that an object is not there."""
        yield _remake(_UP)
        where = self.declared.path(one.kind, one.name)
        if one.kind != "vHost":
            yield _adopt(f"take {where} out of the config, and run `{_UP}`")

    def unbound(self, route: Route) -> Iterator[Mend]:
        """Yield what ends it that a binding is not there."""
        yield _remake(_UP)
        yield _adopt(f"take it out of {self.declared.binding(route)}, and run `{_UP}`")

    def unmanaged(self, other: Other) -> Iterator[Mend]:
        """Yield what ends it that something is there that is not declared."""
        gone = "once it is empty and unused" if other.kind == "queue" else "if nobody needs it"
        yield _remove(f"delete it on the broker, {gone}")
        if other.kind == "binding":
            yield _adopt(f"{self.declared.within('bindings')}: [{text.flow(_binding(other))}]")
        else:
            said = self._expressed(other.kind, other.name)
            where = self.declared.path(other.kind, other.name)
            if said is not None:
                yield _adopt(f"{where}: {text.flow(said)}")

    def overruled(self, one: Overruled) -> Iterator[Mend]:
        """Yield what ends it that something else applies to an object than is declared."""
        by = " and ".join(one.by)
        yield _remove(f"delete {by}, or have its pattern leave out {one.kind} {one.name}")
        yield _adopt(f"declare {by} as it is there: it is then merged with what is declared")

    def _as_is(self, one: Wanted, where: str) -> Iterator[Mend]:
        if one.kind == "policy" and one.name in self.declared.compiled:
            yield _adopt(f"write at {where} what is there; the settings of queues make this policy")
        elif self.declared.whole.services and ".services" in where:
            yield _adopt(f"let {where} say what it does: its permissions follow from that")
        elif one.kind in ("shovel", "federationUpstream"):
            yield _adopt(f"write at {where} what is there")
        else:
            said = self._expressed(one.kind, one.name)
            inner = _INNER.get(one.kind)
            if inner is not None and said is not None:
                where, said = f"{where}.{inner}", said.get(inner, {})
            if said is not None:
                yield _adopt(f"{where}: {text.flow(said)}")

    def _expressed(self, kind: str, name: str) -> Any:
        """Return one object of the broker as the config says it; None: it cannot."""
        key = _KEYS.get(kind)
        if key is None:
            return None
        vhost = self.declared.whole.vhost
        nothing: dict[str, list[Listed]] = {other: [] for other in LISTS}
        within = {**nothing, key: self._named[key].get(name, [])}
        had = replace(self.had, within={vhost: within}, users={}, cluster_wide=0)
        said = express.express(had, [vhost], with_refused=True).topologies.get(vhost, {})
        section = "users" if key in ("permissions", "topic_permissions") else key
        return said.get(section, {}).get(name)

    @cached_property
    def _named(self) -> Mapping[str, Mapping[str, list[Listed]]]:
        """By key, and by name, or by user of permissions: what the vhost has."""
        named: dict[str, dict[str, list[Listed]]] = {}
        for key in _KEYS.values():
            field = "user" if key in ("permissions", "topic_permissions") else "name"
            for one in self.had.within[self.declared.whole.vhost][key]:
                named.setdefault(key, {}).setdefault(str(one.get(field)), []).append(one)
        return named

    def _vhost(self, one: Wanted, fields: set[str]) -> Iterator[Mend]:
        """Yield requests: what the provider cannot read back, no `pulumi up` writes again."""
        base = f"{self.endpoint.rstrip('/')}/api"
        name = quote(one.name, safe="")
        keys = ("description", "tags", "default_queue_type", "tracing")
        if fields & {*keys}:
            body = {key: one.settings[key] for key in keys if one.settings[key] is not None}
            body["tags"] = ",".join(one.settings["tags"])
            yield _remake(self._curl("PUT", f"{base}/vhosts/{name}", body))
        for limit in _LIMITS:
            if limit in fields:
                value = one.settings[limit]
                where = f"{base}/vhost-limits/{name}/{limit}"
                if value is None:
                    yield _remake(self._curl("DELETE", where))
                else:
                    yield _remake(self._curl("PUT", where, {"value": value}))
        where = self.declared.path(one.kind, one.name)
        yield _adopt(f"write at {where} what is there")

    def _curl(self, method: str, url: str, body: Mapping[str, Any] | None = None) -> str:
        command = ["curl", "-u", self.username, "-X", method, url]
        if body is not None:
            stated = json.dumps(body, ensure_ascii=False)
            command += ["-H", "content-type: application/json", "-d", stated]
        return shlex.join(command)


def _user(name: str, where: str, fields: set[str]) -> Iterator[Mend]:
    if "password" in fields:
        yield _remake(
            f"raise {where}.rotation, and run `pulumi up`: a new password, which the provider "
            f"writes; or have the broker take the one that is declared: rabbitmqctl "
            f"change_password {name}"
        )
        yield _adopt(
            f"pulumi config set --secret --path 'rabbit-topology:{where}.password', with the "
            "password that it has"
        )
    else:
        yield _remake(_UP)
        yield _adopt(f"write at {where}.tags what is there")


def _binding(other: Other) -> dict[str, Any]:
    one = other.listed
    kind = "queue" if one.get("destination_type", "queue") == "queue" else "exchange"
    stated = {"source": one.get("source"), kind: one.get("destination")}
    stated |= {key: one[key] for key in ("routing_key", "arguments") if one.get(key)}
    return stated


def _remake(do: str) -> Mend:
    return Mend(action=Action.REMAKE, do=do)


def _remove(do: str) -> Mend:
    return Mend(action=Action.REMOVE, do=do)


def _adopt(do: str) -> Mend:
    return Mend(action=Action.ADOPT, do=do)
