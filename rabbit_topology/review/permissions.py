"""
What users may do that they could not do before: services, and users written by hand.

Two regular expressions are compared by the names that the config has, and by their alternatives,
where they are lists of such. Where that proves nothing it is said to be perhaps.
Source: "Access Control", "Topic Authorisation", RabbitMQ documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from rabbit_topology.compiler import regexes
from rabbit_topology.model import PREDECLARED_EXCHANGES, Permissions, TopicPermissions, Topology
from rabbit_topology.services import permissions
from rabbit_topology.services.permissions import NOTHING

EVERYTHING = ".*"
TAGS = "tags"
_ALL = {EVERYTHING, "", "^", "^.*", ".*$", "^.*$", r"^.*\z"}
_DEFAULT_EXCHANGE = "amq.default"
_RIGHTS = ("configure", "write", "read")

_ALTERNATIVES = re.compile(r"\^\((.*)\)(?:\$|\\z)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Widening:
    """A right of a user that goes further than before."""

    user: str
    right: str
    """`configure`, `write`, `read`, `keys to write on orders` or `TAGS`."""
    before: str
    """As a regular expression over names or routing keys; empty: no such user."""
    now: str
    gains: tuple[str, ...] = ()
    """Names of the config that it is for now, and was not."""
    certain: bool = True
    """False: whether it goes further cannot be told."""

    @property
    def is_everything(self) -> bool:
        """Whether it is for everything now."""
        return self.right != TAGS and self.now in _ALL


@dataclass(frozen=True, kw_only=True)
class _Rights:
    user: str
    allowed: Permissions = field(default_factory=Permissions)
    topics: Mapping[str, TopicPermissions] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


def widened(before: Topology | None, now: Topology) -> list[Widening]:
    """Return what goes further in a vhost; both with patterns spelled out.

    Args:
        before: The vhost before; None: it is new.
        now: The vhost.
    """
    old = _everyone(before) if before is not None else {}
    names = dict.fromkeys(_names(now))
    return [
        one
        for key, rights in _everyone(now).items()
        for one in _widened(rights.user, old.get(key), rights, names)
    ]


def _everyone(topology: Topology) -> dict[str, _Rights]:
    """Return what each user may do, by the user's name, of a service the one before rotations."""
    known = {
        permissions.first_user_name(topology, name): _Rights(
            user=permissions.user_name(topology, name),
            allowed=permissions.permissions(topology, service),
            topics=permissions.topic_permissions(topology, service),
        )
        for name, service in topology.services.items()
    }
    for name, user in topology.users.items():
        known[name] = _Rights(
            user=name,
            allowed=user.permissions or Permissions(),
            topics=user.topic_permissions,
            tags=() if user.exists else tuple(user.tags),
        )
    return known


def _names(topology: Topology) -> Iterator[str]:
    yield from topology.exchanges
    yield from topology.queues
    yield from PREDECLARED_EXCHANGES
    yield _DEFAULT_EXCHANGE
    for service in topology.services.values():
        yield from (publish.exchange for publish in service.publishes)
        yield from (*service.consumes, *service.binds)


def _widened(
    user: str, old: _Rights | None, new: _Rights, names: Mapping[str, None]
) -> Iterator[Widening]:
    former = old or _Rights(user=user)
    for right in _RIGHTS:
        was, now = str(getattr(former.allowed, right)), str(getattr(new.allowed, right))
        if _is_within(now, was):
            continue
        gains = tuple(
            name for name in names if regexes.matches(now, name) and not regexes.matches(was, name)
        )
        shown = was if old is not None else ""
        certain = bool(gains) or was == NOTHING or now in _ALL
        yield Widening(user=user, right=right, before=shown, now=now, gains=gains, certain=certain)
    for exchange in dict.fromkeys((*former.topics, *new.topics)):
        for right in ("write", "read"):
            was, now = (_keys(one, exchange, right) for one in (former, new))
            if not _is_within(now, was):
                yield Widening(
                    user=user,
                    right=f"keys to {right} on {exchange}",
                    before=was if old is not None else "",
                    now=now,
                    certain=was == NOTHING or now in _ALL,
                )
    if more := [tag for tag in new.tags if tag not in former.tags]:
        yield Widening(
            user=user,
            right=TAGS,
            before=", ".join(former.tags),
            now=", ".join(new.tags),
            gains=tuple(more),
        )


def _keys(rights: _Rights, exchange: str, right: str) -> str:
    """Return the routing keys that a user may use: all, where no topic permissions limit them."""
    if regexes.matches(getattr(rights.allowed, right), exchange) is False:
        return NOTHING
    limits = rights.topics.get(exchange)
    return EVERYTHING if limits is None else str(getattr(limits, right))


def _is_within(now: str, was: str) -> bool:
    """Return whether it is certain that one expression is for nothing that the other is not."""
    if now in (was, NOTHING) or was in _ALL:
        return True
    new, old = _alternatives(now), _alternatives(was)
    return new is not None and old is not None and new <= old


def _alternatives(pattern: str) -> frozenset[str] | None:
    """Return the alternatives of ``^(a|b)$``; None, if it is anything else."""
    matched = _ALTERNATIVES.fullmatch(pattern)
    return frozenset(regexes.alternatives(matched[1])) if matched else None
