"""
What a broker is doing: its queues, exchanges and services at one moment, in typed values.

Values only. A number that the broker has not counted yet is None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rabbit_topology.findings import Severity


@dataclass(frozen=True, kw_only=True)
class QueueStatus:
    """One queue or stream."""

    vhost: str
    name: str
    type: str
    state: str
    """`running`, or what the broker says else: `down`, `minority`."""
    ready: int | None
    held: int | None
    """With consumers, and not acknowledged yet."""
    delayed: int
    """Of a quorum queue, from RabbitMQ 4.3 on: not ready before some time has passed."""
    dead_lettering: int
    """Waiting in the queue until a dead-letter target has confirmed them."""
    consumers: int | None
    incoming: float
    """Messages each second."""
    outgoing: float
    """Delivered and fetched, each second."""
    policy: str | None
    operator_policy: str | None
    settings: Mapping[str, Any]
    """What its arguments and policies come to, by the keys of policies."""
    leader: str | None
    members: Sequence[str] = ()
    """The nodes that have a replica; none of a classic queue."""
    online: Sequence[str] = ()
    """Those of them that run."""
    idle_since: datetime | None = None
    """Nobody has used it since then; None where the broker does not say."""


@dataclass(frozen=True, kw_only=True)
class ExchangeStatus:
    """One exchange."""

    vhost: str
    name: str
    type: str
    incoming: float
    """Messages each second."""
    outgoing: float
    """Into queues and other exchanges; more than came in, where several bindings take one."""
    policy: str | None
    alternate: str | None
    """The exchange that gets what no binding takes."""
    unroutable: int | None = None
    """Messages of channels open now that no binding took; None where none of the vhost's was."""


@dataclass(frozen=True, kw_only=True)
class VhostStatus:
    """One vhost."""

    name: str
    there: bool = True
    dropped: int = 0
    """Messages that no binding took, and that are lost."""
    dropping: float = 0
    """The same each second, now."""
    returned: int = 0
    """Messages that no binding took, and that went back to who published them."""
    connections: int = 0


@dataclass(frozen=True, kw_only=True)
class ServiceStatus:
    """One service, or one user where there is no config."""

    vhost: str
    name: str
    user: str
    connections: int
    """Those of `former` included."""
    channels: int
    blocked: int
    """Connections that may not publish now: memory or disk is short."""
    hosts: Sequence[str]
    """Where they come from."""
    former: int = 0
    """Connections as users that the service had before a rotation."""


@dataclass(frozen=True, kw_only=True)
class NodeStatus:
    """One node of the broker."""

    name: str
    running: bool
    alarms: Sequence[str]
    """`memory`, `disk`: publishers are blocked."""
    partitions: Sequence[str]
    """Nodes that it does not see, though they run."""


@dataclass(frozen=True, kw_only=True)
class Binding:
    """One binding, as far as status needs to know it."""

    vhost: str
    source: str
    kind: str
    """`queue` or `exchange`."""
    destination: str
    routing_key: str


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something that somebody should look at."""

    severity: Severity
    vhost: str
    """Empty for what is in none."""
    object: str
    """What it is: ``queue orders``."""
    message: str

    def __str__(self) -> str:
        where = f" of vhost {self.vhost}" if self.vhost else ""
        return f"{self.object}{where}: {self.message}"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a broker answers."""

    endpoint: str
    version: str
    cluster: str
    time: datetime
    vhosts: Sequence[VhostStatus]
    queues: Sequence[QueueStatus]
    exchanges: Sequence[ExchangeStatus]
    bindings: Sequence[Binding]
    services: Sequence[ServiceStatus]
    nodes: Sequence[NodeStatus]


@dataclass(frozen=True, kw_only=True)
class Status:
    """What a broker is doing, and what of it somebody should look at."""

    seen: Seen
    notices: Sequence[Notice]

    @property
    def well(self) -> bool:
        """Whether there is nothing that somebody should do something about."""
        return all(one.severity is Severity.NOTE for one in self.notices)
