"""
Who may do what: services and users, with the permissions that their users have in the vhost.

Source: "Access Control", "Topic Authorisation", RabbitMQ documentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rabbit_topology.compiler import regexes
from rabbit_topology.describe import services
from rabbit_topology.model import Permissions, TopicPermissions, Topology
from rabbit_topology.routing.steps import DEFAULT_EXCHANGE
from rabbit_topology.services import permissions

_DEFAULT_NAME = "amq.default"
"""What permissions call the default exchange."""

_EXCHANGE = {
    "write": "publish",
    "read": "bind queues to it",
    "configure": "declare and delete it",
}
_QUEUE = {
    "read": "consume and purge",
    "write": "bind it",
    "configure": "declare and delete it",
}
"""By kind of permission: what it is good for."""


@dataclass(frozen=True, kw_only=True)
class Principal:
    """A service or a user, and the permissions of its user."""

    name: str
    kind: str
    """`service` or `user`."""
    user: str
    """The user's name on the broker."""
    permissions: Permissions | None
    """None: it cannot open the vhost."""
    topics: Mapping[str, TopicPermissions]
    keys: Mapping[str, Sequence[str]]
    """By exchange: the routing keys that a service says it publishes with; none: any."""
    tags: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Right:
    """What one of them may do with an exchange or a queue."""

    principal: Principal
    does: tuple[str, ...]
    """In words: `publish`."""
    perhaps: tuple[str, ...] = ()
    """Likewise, where only the broker can tell: its regular expressions are Perl's."""
    limits: str = ""
    """With which routing keys it publishes, where these are limited."""


def principals(topology: Topology) -> list[Principal]:
    """Return the services and users of a vhost."""
    return [
        *(
            Principal(
                name=name,
                kind="service",
                user=permissions.user_name(topology, name),
                permissions=permissions.permissions(topology, service),
                topics=permissions.topic_permissions(topology, service),
                keys=services.publishes(service),
            )
            for name, service in topology.services.items()
        ),
        *(
            Principal(
                name=name,
                kind="user",
                user=name,
                permissions=user.permissions,
                topics=user.topic_permissions,
                keys={},
                tags=user.tags,
            )
            for name, user in topology.users.items()
        ),
    ]


def on_exchange(everyone: Sequence[Principal], name: str, *, is_topic: bool) -> Iterator[Right]:
    """Yield who may do something with an exchange; the default exchange has the empty name."""
    words = _EXCHANGE if name != DEFAULT_EXCHANGE else {"write": "publish to any queue by its name"}
    for right in _rights(everyone, name or _DEFAULT_NAME, words):
        limits = _limits(right.principal, name) if is_topic else ""
        yield Right(
            principal=right.principal, does=right.does, perhaps=right.perhaps, limits=limits
        )


def on_queue(everyone: Sequence[Principal], name: str) -> Iterator[Right]:
    """Yield who may do something with a queue."""
    yield from _rights(everyone, name, _QUEUE)


def _rights(everyone: Sequence[Principal], name: str, words: Mapping[str, str]) -> Iterator[Right]:
    for principal in everyone:
        if principal.permissions is None:
            continue
        matched = {
            word: regexes.matches(getattr(principal.permissions, kind), name)
            for kind, word in words.items()
        }
        does = tuple(word for word, yes in matched.items() if yes)
        perhaps = tuple(word for word, yes in matched.items() if yes is None)
        if does or perhaps:
            yield Right(principal=principal, does=does, perhaps=perhaps)


def _limits(principal: Principal, exchange: str) -> str:
    allowed = principal.topics.get(exchange)
    if allowed is None:
        return ""
    if allowed.write == permissions.NOTHING:
        return "with no routing key"
    keys = principal.keys.get(exchange)
    if keys:
        return f"with {', '.join(keys)}"
    return "" if allowed.write == ".*" else f"with keys that {allowed.write} takes"
