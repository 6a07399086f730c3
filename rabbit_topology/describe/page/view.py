"""
All that the page shows, as plain values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rabbit_topology.describe.graph import Graph
from rabbit_topology.describe.page.leaving import Leaving
from rabbit_topology.describe.page.origins import Setting
from rabbit_topology.describe.page.rights import Principal, Right


@dataclass(frozen=True, kw_only=True)
class Link:
    """An exchange, queue or service that is named, and where it stands on the page."""

    kind: str
    name: str
    anchor: str | None = None
    """None: it does not stand there."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """A binding, or the way to an alternate exchange."""

    other: Link
    """What is at its other end."""
    by: str
    """What it takes."""
    path: str
    """Where the config says so; empty where there is none."""


@dataclass(frozen=True, kw_only=True)
class Coming:
    """What gets into a queue from one exchange."""

    exchange: Link
    messages: Sequence[str]
    """Classes of messages, in words."""
    certain: bool = True


@dataclass(frozen=True, kw_only=True)
class Example:
    """A message with which one gets to the other."""

    link: Link
    keys: Mapping[str, str]
    """By exchange: a routing key."""


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """An exchange."""

    link: Link
    type: str
    origin: str
    """Where the config has it; empty where it is not declared there."""
    declared: bool
    settings: Sequence[Setting]
    ways_out: Sequence[Way]
    ways_in: Sequence[Way]
    rights: Sequence[Right]
    doubts: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Queue:
    """A queue or stream."""

    link: Link
    type: str
    origin: str
    settings: Sequence[Setting]
    coming: Sequence[Coming]
    bindings: Sequence[Way]
    publishers: Sequence[Example]
    dead_from: Sequence[Link]
    dead_to: Link | None
    leaving: Leaving | None
    """What becomes of a message there; None: it could not be told."""
    rights: Sequence[Right]
    doubts: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Publishing:
    """One exchange that a service publishes to."""

    exchange: Link
    keys: Sequence[str]
    """With these routing keys; none: with any."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service."""

    link: Link
    principal: Principal
    exists: bool
    replies: bool
    publishes: Sequence[Publishing]
    consumes: Sequence[Link]
    binds: Sequence[Link]
    declares: Sequence[str]
    reaches: Sequence[Example]
    later: Sequence[Link]
    """Queues that what it publishes may get into as dead letters."""


@dataclass(frozen=True, kw_only=True)
class User:
    """A user that is no service."""

    link: Link
    principal: Principal


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A policy or an operator policy."""

    link: Link
    kind: str
    pattern: str
    apply_to: str
    priority: int
    definition: Mapping[str, str]
    applies: Sequence[Link]


@dataclass(frozen=True, kw_only=True)
class Connection:
    """A shovel or a federation upstream; its URIs are not shown."""

    link: Link
    kind: str
    details: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Missing:
    """What a broker has, and no config can say: it is on no part of the page."""

    title: str
    """What it is: ``policy ttl``."""
    vhost: str
    """Empty for what is in none."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class Vhost:
    """One vhost, or what one service has to do with it."""

    anchor: str
    name: str
    stack: str
    about: Mapping[str, str]
    graph: Graph
    folded: str = ""
    """What is left out of the picture, in words."""
    exchanges: Sequence[Exchange] = ()
    queues: Sequence[Queue] = ()
    services: Sequence[Service] = ()
    users: Sequence[User] = ()
    policies: Sequence[Policy] = ()
    connections: Sequence[Connection] = ()
    ways: Mapping[str, Any] = field(default_factory=dict)
    """What the script needs, as `ways.document` returns it."""
    missing: Sequence[Missing] = ()
    undecided: Sequence[str] = ()
    """What could not be told within the bounds of the analysis."""
    anchors: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """By kind and name: where it stands on the page."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """The page."""

    title: str
    vhosts: Sequence[Vhost]
    service: str | None = None
    """The one that it is for; None: for all."""
