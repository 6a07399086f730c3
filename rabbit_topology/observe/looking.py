"""
Asking a broker what it is doing: from what its management API answers to typed values.

Source: "HTTP API Reference", "Statistics", RabbitMQ documentation. Counts are as old as the
broker's statistics, 5 s by default.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import quote

from rabbit_topology.broker.management import Management, NotFoundError
from rabbit_topology.compiler import effective
from rabbit_topology.compiler.settings import alike
from rabbit_topology.model import QueueType, Topology, versions
from rabbit_topology.model.versions import Version
from rabbit_topology.observe.status import (
    Binding,
    ExchangeStatus,
    NodeStatus,
    QueueStatus,
    Seen,
    ServiceStatus,
    VhostStatus,
)
from rabbit_topology.services import permissions

PAGE_SIZE = 500

_PREDECLARED = "amq."
_ASKED = 50
"""So many exchanges at most are asked one by one for what they could not route."""


@dataclass(frozen=True, kw_only=True)
class User:
    """Who is looked for among the connections of a vhost."""

    vhost: str
    name: str
    """What it is called: the service's name."""
    user: str
    is_former: Callable[[str], bool] = lambda _: False
    """Returns whether another user is one that the service had before a rotation."""


def users(topologies: Iterable[Topology]) -> list[User]:
    """Return the user of each service of topologies."""
    return [
        User(
            vhost=topology.vhost,
            name=name,
            user=permissions.user_name(topology, name),
            is_former=partial(permissions.is_former, topology, name),
        )
        for topology in topologies
        for name in topology.services
    ]


def look(
    management: Management, vhosts: Sequence[str] | None, users: Sequence[User] | None
) -> Seen:
    """Ask a broker what it is doing.

    Args:
        management: Its management API.
        vhosts: Which of its vhosts; None: all of them.
        users: Who should be connected; None: whoever is.

    Raises:
        BrokerError: It cannot be asked.
    """
    overview = management.get("/overview?disable_stats=true")
    version = str(overview["rabbitmq_version"])
    names = vhosts
    if names is None:
        names = sorted(one["name"] for one in management.get("/vhosts?columns=name"))
    parts = [_vhost(management, name, _like(version)) for name in names]
    connected = [one for part in parts for one in part.connections]
    return Seen(
        endpoint=management.endpoint,
        version=version,
        cluster=str(overview.get("cluster_name", "")),
        time=datetime.now(tz=UTC),
        vhosts=[part.vhost for part in parts],
        queues=[one for part in parts for one in part.queues],
        exchanges=[one for part in parts for one in part.exchanges],
        bindings=[one for part in parts for one in part.bindings],
        services=[*_services(connected, _everybody(connected) if users is None else users)],
        nodes=[_node(one) for one in management.get("/nodes")],
    )


@dataclass(frozen=True, kw_only=True)
class _Vhost:
    """All of one vhost."""

    vhost: VhostStatus
    queues: Sequence[QueueStatus] = ()
    exchanges: Sequence[ExchangeStatus] = ()
    bindings: Sequence[Binding] = ()
    connections: Sequence[Mapping[str, Any]] = ()


def _vhost(management: Management, name: str, like: Version) -> _Vhost:
    quoted = quote(name, safe="")
    try:
        described = management.get(f"/vhosts/{quoted}")
    except NotFoundError:
        return _Vhost(vhost=VhostStatus(name=name, there=False))
    stats = described.get("message_stats") or {}
    connections = management.get(f"/vhosts/{quoted}/connections")
    vhost = VhostStatus(
        name=name,
        dropped=stats.get("drop_unroutable", 0),
        dropping=_rate(stats, "drop_unroutable"),
        returned=stats.get("return_unroutable", 0),
        connections=len(connections),
    )
    policies = {one["name"]: one["definition"] for one in management.get(f"/policies/{quoted}")}
    exchanges = [_exchange(one, policies) for one in _pages(management, f"/exchanges/{quoted}")]
    if vhost.dropped or vhost.returned:
        exchanges = [*_with_unroutable(management, exchanges)]
    return _Vhost(
        vhost=vhost,
        queues=[_queue(one, like) for one in _queues(management, quoted)],
        exchanges=exchanges,
        bindings=[_binding(one) for one in management.get(f"/bindings/{quoted}")],
        connections=connections,
    )


def _queues(management: Management, quoted: str) -> list[Mapping[str, Any]]:
    """Return the rows of a vhost's queues, with consumers that are such.

    A quorum queue counts whoever holds one of its messages as a consumer, who has only got it by
    `basic.get` as well.
    """
    rows = [*_pages(management, f"/queues/{quoted}")]

    def may_differ(one: Mapping[str, Any]) -> bool:
        return one.get("type") == QueueType.QUORUM and bool(one.get("consumers"))

    if not any(may_differ(one) for one in rows):
        return rows
    subscribed = Counter(one["queue"]["name"] for one in management.get(f"/consumers/{quoted}"))
    return [
        {**one, "consumers": subscribed[one["name"]]} if may_differ(one) else one for one in rows
    ]


def _pages(management: Management, path: str) -> Iterator[Mapping[str, Any]]:
    page, pages = 1, 1
    while page <= pages:
        answer = management.get(f"{path}?page={page}&page_size={PAGE_SIZE}")
        yield from answer["items"]
        page, pages = page + 1, answer.get("page_count", 1)


def _queue(one: Mapping[str, Any], like: Version) -> QueueStatus:
    stats = one.get("message_stats") or {}
    arguments = one.get("arguments") or {}
    stated = one.get("type")
    type_ = QueueType(str(stated)) if stated in (*QueueType,) else None
    applied = one.get("effective_policy_definition") or {}  # some versions have a list for none
    return QueueStatus(
        vhost=one["vhost"],
        name=one["name"],
        type=str(stated or QueueType.CLASSIC),
        state=str(one.get("state", "unknown")),
        ready=one.get("messages_ready"),
        held=one.get("messages_unacknowledged"),
        delayed=one.get("messages_delayed") or 0,
        dead_lettering=one.get("messages_dlx") or 0,
        consumers=one.get("consumers"),
        incoming=_rate(stats, "publish"),
        outgoing=_rate(stats, "deliver_get"),
        policy=one.get("policy") or None,
        operator_policy=one.get("operator_policy") or None,
        settings=_settings(type_, arguments, applied, like),
        leader=one.get("leader") or one.get("node"),
        members=tuple(one.get("members") or ()),
        online=tuple(one.get("online") or ()),
        idle_since=_time(one.get("idle_since")),
    )


def _settings(
    type_: QueueType | None,
    arguments: Mapping[str, Any],
    applied: Mapping[str, Any],
    like: Version,
) -> Mapping[str, Any]:
    """Return what applies; the type is no setting, and the broker has put policies together."""
    whole = effective.settings(type_, arguments, applied, {}, like)
    return {key: value for key, value in whole.items() if key != "queue-type"}


def _exchange(one: Mapping[str, Any], policies: Mapping[str, Mapping[str, Any]]) -> ExchangeStatus:
    stats = one.get("message_stats") or {}
    policy = one.get("policy") or None
    settings = {**(policies.get(policy) or {} if policy else {}), **(one.get("arguments") or {})}
    return ExchangeStatus(
        vhost=one["vhost"],
        name=one["name"],
        type=str(one.get("type")),
        incoming=_rate(stats, "publish_in"),
        outgoing=_rate(stats, "publish_out"),
        policy=policy,
        alternate=settings.get("alternate-exchange"),
    )


def _with_unroutable(
    management: Management, exchanges: Iterable[ExchangeStatus]
) -> Iterator[ExchangeStatus]:
    """Yield exchanges with what they could not route, by the channels that publish to them."""
    asked = 0
    for one in exchanges:
        busy = one.incoming > 0 or not one.name.startswith(_PREDECLARED)
        if not busy or not one.name or asked >= _ASKED:
            yield one
            continue
        asked += 1
        path = f"/exchanges/{quote(one.vhost, safe='')}/{quote(one.name, safe='')}"
        try:
            incoming = management.get(path).get("incoming") or ()
        except NotFoundError:  # it went meanwhile
            continue
        stats = [each.get("stats") or {} for each in incoming]
        lost = ("drop_unroutable", "return_unroutable")
        yield replace(one, unroutable=sum(each.get(key, 0) for each in stats for key in lost))


def _binding(one: Mapping[str, Any]) -> Binding:
    return Binding(
        vhost=one["vhost"],
        source=one["source"],
        kind=one["destination_type"],
        destination=one["destination"],
        routing_key=one["routing_key"],
    )


def _everybody(connections: Iterable[Mapping[str, Any]]) -> list[User]:
    pairs = {(str(one.get("vhost")), str(one.get("user"))) for one in connections}
    return [User(vhost=vhost, name=user, user=user) for vhost, user in sorted(pairs)]


def _services(
    connections: Sequence[Mapping[str, Any]], users: Iterable[User]
) -> Iterator[ServiceStatus]:
    by_user: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for one in connections:
        by_user.setdefault((str(one.get("vhost")), str(one.get("user"))), []).append(one)
    for user in users:
        former = [
            one
            for (vhost, other), some in by_user.items()
            if vhost == user.vhost and user.is_former(other)
            for one in some
        ]
        those = [*by_user.get((user.vhost, user.user), ()), *former]
        hosts = Counter(str(one.get("peer_host")) for one in those)
        yield ServiceStatus(
            vhost=user.vhost,
            name=user.name,
            user=user.user,
            connections=len(those),
            channels=sum(one.get("channels") or 0 for one in those),
            blocked=sum(one.get("state") in ("blocked", "blocking") for one in those),
            hosts=tuple(sorted(hosts)),
            former=len(former),
        )


def _node(one: Mapping[str, Any]) -> NodeStatus:
    alarms = {"memory": one.get("mem_alarm"), "disk": one.get("disk_free_alarm")}
    return NodeStatus(
        name=one["name"],
        running=bool(one.get("running")),
        alarms=tuple(name for name, raised in alarms.items() if raised),
        partitions=tuple(map(str, one.get("partitions") or ())),
    )


def _rate(stats: Mapping[str, Any], key: str) -> float:
    rate = (stats.get(f"{key}_details") or {}).get("rate")
    return float(rate) if isinstance(rate, int | float) else 0.0


def _time(text: object) -> datetime | None:
    """Return a time as one or the other version writes it, in UTC."""
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _like(version: str) -> Version:
    try:
        return alike(versions.parse(version))[-1]
    except ValueError:
        return alike(None)[-1]
