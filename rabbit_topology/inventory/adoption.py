"""
What the broker has already that a stack is about to make: adopted where equal, else refused.

The provider makes an object by writing it, whether it is there or not: it would overwrite what
others have made. What the stack has made is what the engine's record of it says; all else that is
there by the same name must be as it is declared, or be taken over by name.
Source: "Definitions", "HTTP API Reference", RabbitMQ documentation.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rabbit_topology import model
from rabbit_topology.broker import inventory
from rabbit_topology.compiler import policies
from rabbit_topology.config.words import show
from rabbit_topology.model import Topology
from rabbit_topology.services import permissions

_MISSING = "none"

_HASHES: Mapping[str, Callable[[bytes], Any]] = {
    "rabbit_password_hashing_sha256": hashlib.sha256,
    "rabbit_password_hashing_sha512": hashlib.sha512,
}
_SALT_BYTES = 4

_EXPIRES = "x-expires"

_BY_DEFAULT: Mapping[str, Mapping[str, Any]] = {
    "shovel": {
        "ack-mode": "on-confirm",
        "reconnect-delay": 1,
        "src-protocol": "amqp091",
        "dest-protocol": "amqp091",
        "src-delete-after": "never",
        "src-prefetch-count": 1000,
        "dest-add-forward-headers": False,
        "dest-add-timestamp-header": False,
    },
    "federationUpstream": {
        "ack-mode": "on-confirm",
        "reconnect-delay": 5,
        "prefetch-count": 1000,
        "max-hops": 1,
        "trust-user-id": False,
    },
}
"""What the broker takes where a parameter leaves it out, and the provider writes."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One object as it is declared: what sets it apart, and what it is to be."""

    kind: str
    """As `inputs.kind` returns it."""
    vhost: str
    """Empty for what is in none."""
    name: str
    settings: Mapping[str, Any]

    @property
    def title(self) -> str:
        """What it is called: ``policy ttl``."""
        return inventory.title(self.kind, self.name)

    @property
    def can_be_taken_over(self) -> bool:
        """Whether writing it makes it what it is to be: a queue or exchange does not change."""
        return self.kind not in ("queue", "exchange")


@dataclass(frozen=True, kw_only=True)
class Adoption:
    """What is there already, of all that a stack is about to make."""

    equal: Sequence[Wanted] = ()
    """It is as it is declared."""
    different: Sequence[tuple[Wanted, Sequence[str]]] = ()
    """It is not; and what differs, no password among it."""
    missing: Sequence[str] = ()
    """The vhosts that the stack has made, and that are not there."""
    absent: Sequence[str] = ()
    """The vhosts and users that others are to have made, and that are not there, as titles."""
    gone: Sequence[str] = ()
    """What the stack has made, and the broker has deleted by itself, as the refusal names it."""
    unlimited: Sequence[str] = ()
    """The vhosts whose limits the stack has set, and that have none."""


def wanted(
    topology: Topology, password_of: Callable[[str, model.Service | model.User], str | None]
) -> Iterator[Wanted]:
    """Yield what a topology declares, but for bindings: one that is there is the same one.

    Args:
        topology: With its patterns spelled out.
        password_of: Returns the password of a user; None: not known.
    """
    vhost, settings = topology.vhost, topology.vhost_settings
    if topology.makes_vhost:
        yield Wanted(
            kind="vHost",
            vhost="",
            name=vhost,
            settings={
                "description": settings.description or "",
                "tags": [],
                "default_queue_type": settings.default_queue_type,
                "tracing": bool(settings.tracing),
                "max-connections": settings.limits.max_connections,
                "max-queues": settings.limits.max_queues,
            },
        )
    for name, exchange in topology.exchanges.items():
        declared = exchange.declaration()
        yield Wanted(kind="exchange", vhost=vhost, name=name, settings=declared)
    for name, queue in topology.queues.items():
        declared = inventory.typed(queue.declaration())
        yield Wanted(kind="queue", vhost=vhost, name=name, settings=declared)
    for kind, those in (
        ("policy", topology.policies),
        ("operatorPolicy", topology.operator_policies),
    ):
        for name, policy in those.items():
            yield Wanted(kind=kind, vhost=vhost, name=name, settings=policies.body(policy))
    for name, shovel in topology.shovels.items():
        stated = _parameter(shovel.model_dump(mode="json", exclude_none=True))
        yield Wanted(kind="shovel", vhost=vhost, name=name, settings=stated)
    for name, upstream in topology.federation_upstreams.items():
        stated = _parameter(upstream.model_dump(mode="json", exclude_none=True))
        yield Wanted(kind="federationUpstream", vhost=vhost, name=name, settings=stated)
    for service_name, service in topology.services.items():
        name = permissions.user_name(topology, service_name)
        if not service.exists:
            yield _user(name, password_of(name, service), ())
        allowed = permissions.permissions(topology, service)
        topics = permissions.topic_permissions(topology, service)
        yield from _allowed(vhost, name, allowed, topics)
    for name, user in topology.users.items():
        if not user.exists:
            yield _user(name, password_of(name, user), user.tags)
        yield from _allowed(vhost, name, user.permissions, user.topic_permissions)


def users_of_others(topologies: Iterable[Topology]) -> Iterator[tuple[str, str]]:
    """Yield each vhost and user that others have made, and that gets permissions there."""
    stated: list[tuple[str, str, bool]] = []
    for topology in topologies:
        for name, user in topology.users.items():
            stated.append((topology.vhost, name, user.exists))
        for key, service in topology.services.items():
            name = permissions.user_name(topology, key)
            stated.append((topology.vhost, name, service.exists))
    made = {name for _, name, exists in stated if not exists}
    yield from ((vhost, name) for vhost, name, exists in stated if exists and name not in made)


class Listed(Protocol):
    """What a broker has."""

    def settings(self, kind: str, vhost: str, name: str) -> Mapping[str, Any] | None:
        """Do what `Inventory.settings` does."""


def look(there: Listed, objects: Sequence[Wanted]) -> Adoption:
    """Compare objects that the stack has not made with what the broker has by the same name.

    Raises:
        BrokerError: The broker cannot be asked.
    """
    equal: list[Wanted] = []
    different: list[tuple[Wanted, Sequence[str]]] = []
    for one in objects:
        settings = there.settings(one.kind, one.vhost, one.name)
        if settings is None:
            continue
        if differences := [*_differences(one, settings)]:
            different.append((one, differences))
        else:
            equal.append(one)
    return Adoption(equal=equal, different=different)


def passing(topology: Topology) -> Iterator[tuple[str, str]]:
    """Yield what the broker may delete by itself, by kind and name."""
    for name, exchange in topology.exchanges.items():
        if exchange.auto_delete or not exchange.durable:
            yield "exchange", name
    for name, queue in topology.queues.items():
        expires = queue.expires is not None or _EXPIRES in queue.arguments
        if queue.auto_delete or not queue.durable or expires:
            yield "queue", name


def verifies(stated: str, algorithm: str, password: str) -> bool:
    """Return whether a password has this hash, in base64, as the broker keeps it."""
    hash_ = _HASHES.get(algorithm)
    if hash_ is None:
        return False
    whole = base64.b64decode(stated)
    salt, digest = whole[:_SALT_BYTES], whole[_SALT_BYTES:]
    return hmac.compare_digest(hash_(salt + password.encode()).digest(), digest)


def _user(name: str, password: str | None, tags: Sequence[str]) -> Wanted:
    settings = {"tags": sorted(tags), "password": password}
    return Wanted(kind="user", vhost="", name=name, settings=settings)


def _allowed(
    vhost: str,
    name: str,
    allowed: model.Permissions | None,
    topics: Mapping[str, model.TopicPermissions],
) -> Iterator[Wanted]:
    if allowed:
        stated = allowed.model_dump()
        yield Wanted(kind="permissions", vhost=vhost, name=name, settings=stated)
    if topics:
        each = {exchange: one.model_dump() for exchange, one in topics.items()}
        yield Wanted(kind="topicPermissions", vhost=vhost, name=name, settings=each)


def _parameter(stated: Mapping[str, Any]) -> dict[str, Any]:
    """Return a shovel's or upstream's settings by the broker's keys."""
    renamed = {}
    for key, value in stated.items():
        short = key.replace("source_", "src_").replace("destination_", "dest_")
        renamed[short.replace("_", "-")] = value
    return renamed


def _differences(one: Wanted, there: Mapping[str, Any]) -> Iterator[str]:
    if one.kind == "user":
        yield from _user_differences(one.settings, there)
        return
    if one.kind in _BY_DEFAULT:
        default = _BY_DEFAULT[one.kind]
        before, after = (
            {**default, **stated, **_listed(stated)} for stated in (there, one.settings)
        )
    else:
        before, after = ({key: there.get(key) for key in one.settings}, dict(one.settings))
    for key in {**after, **before}:
        yield from _difference(key, before.get(key), after.get(key))


def _difference(key: str, before: Any, after: Any) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for inner in {**after, **before}:
            yield from _difference(inner, before.get(inner), after.get(inner))
    elif before != after:
        shown = _shown(before), _shown(after)
        # A URI may hold a password, anywhere; what differs may be what is not shown.
        secret = "uri" in key or shown[0] == shown[1]
        yield f"{key}: another" if secret else f"{key}: {shown[0]} -> {shown[1]}"


def _user_differences(wanted_: Mapping[str, Any], there: Mapping[str, Any]) -> Iterator[str]:
    tags = there.get("tags", [])
    has = sorted(tags if isinstance(tags, list) else filter(None, tags.split(",")))
    yield from _difference("tags", has, wanted_["tags"])
    password = wanted_["password"]
    algorithm = there.get("hashing_algorithm", "")
    if password is None or not verifies(there.get("password_hash", ""), algorithm, password):
        yield "password: another"


def _listed(parameter: Mapping[str, Any]) -> dict[str, Any]:
    """Return the URIs of a parameter as lists: the provider writes one, others may write text."""
    return {
        key: [value] if isinstance(value, str) else value
        for key, value in parameter.items()
        if key.endswith("uri")
    }


def _shown(value: object) -> str:
    return _MISSING if value in (None, "", []) else show(value)
