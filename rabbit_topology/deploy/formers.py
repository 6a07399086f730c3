"""
Users that services had in other rotations, and which of them stay beside the present ones.

A service that `rotates: user` has another user after each rotation. Which former ones there still
are is what the engine's record says, and which of them are in use is what the broker says: nothing
else is remembered.
Source: "HTTP API Reference", RabbitMQ documentation. `/api/connections/username` knows a connection
from its first moment on; `/api/connections` waits for the next statistics, 5 s by default.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from rabbit_topology.broker.access import Access
from rabbit_topology.broker.management import NotFoundError
from rabbit_topology.errors import TopologyError
from rabbit_topology.model import Topology
from rabbit_topology.services import permissions

QUIET_SECONDS = 10.0
"""An update removes a user that nobody connects as for so long. Clients that reconnect wait for 5 s
by default, where they wait at all: those of Java and Spring."""

Count = Callable[[str], int | None]
"""Returns how many connections a user has; None: the broker has no such user."""

_POLL_SECONDS = 0.1
_ROTATION = "rotation"


@dataclass(frozen=True, kw_only=True)
class Former:
    """A user that a service had in another rotation, and that the stack still has."""

    vhost: str
    service: str
    rotation: int
    user: str
    successor: str
    """The user that the service has now."""
    is_followed: bool
    """An earlier update has made the successor, so that it could be handed out."""
    is_last: bool
    """No other rotation was between the two."""


def key(service: str, rotation: int) -> str:
    """Return what the logical names of a service's user begin with, below its vhost's."""
    return f"service/{service}" if rotation == 1 else f"{_ROTATION}/{rotation}/{service}"


def find(
    known: Mapping[str, str], component: str, topologies: Sequence[Topology]
) -> Iterator[Former]:
    """Yield the former users that a stack has.

    Args:
        known: As `Record.users` returns them.
        component: The component's name.
        topologies: All of its vhosts.
    """
    declared = {name for topology in topologies for name in _declared(topology)}
    later = [logical for logical in known if f"/{_ROTATION}/" in logical]
    for topology in topologies:
        prefix = f"{component}/{topology.vhost}/"
        rotated: dict[str, list[int]] = {}
        for logical in later:
            if logical.startswith(f"{prefix}{_ROTATION}/"):
                number, _, name = logical.removeprefix(f"{prefix}{_ROTATION}/").partition("/")
                if number.isdecimal():
                    rotated.setdefault(name, []).append(int(number))
        for name, service in topology.services.items():
            current = permissions.user_rotation(service)
            there = {
                rotation: known[f"{prefix}{key(name, rotation)}"]
                for rotation in sorted((1, *rotated.get(name, ())))
                if f"{prefix}{key(name, rotation)}" in known
            }
            former = {
                rotation: user
                for rotation, user in there.items()
                if rotation != current and user not in declared
            }
            for rotation, user in former.items():
                yield Former(
                    vhost=topology.vhost,
                    service=name,
                    rotation=rotation,
                    user=user,
                    successor=permissions.user_name(topology, name),
                    is_followed=current in there,
                    is_last=rotation == max(former),
                )


def _declared(topology: Topology) -> Iterator[str]:
    yield from topology.users
    for name in topology.services:
        yield permissions.user_name(topology, name)


def staying(
    formers: Iterable[Former],
    count: Count | None,
    *,
    is_preview: bool,
    report: Callable[[str], None],
    seconds: float = QUIET_SECONDS,
) -> list[Former]:
    """Return the former users that are to stay; say of each whether it does, and why.

    Args:
        formers: All of them.
        count: Asks the broker; None: it cannot be asked yet.
        is_preview: A preview looks once, and does not wait.
        report: Tells the user.
        seconds: How long to look whether somebody connects as one that is to go.

    Raises:
        BrokerError: The broker cannot be asked.
    """
    stay: list[Former] = []
    leaving: list[Former] = []
    for one in formers:
        if why := _why(one, count):
            report(f"user {one.user} stays: {why}")
            stay.append(one)
        else:
            leaving.append(one)
    used = {} if is_preview or count is None else _watched(leaving, count, seconds)
    for one in leaving:
        if connections := used.get(one.user):
            report(f"user {one.user} stays: {_in_use(connections)}")
            stay.append(one)
        elif count is None:
            report(f"user {one.user} goes, unless a connection uses it")
        elif is_preview:
            report(
                f"user {one.user} goes, unless somebody connects as it within {seconds:g} s: no "
                "connection uses it now"
            )
        else:
            report(f"user {one.user} goes: no connection uses it")
    return stay


def _why(one: Former, count: Count | None) -> str | None:
    """Return why a user stays, None if it may go."""
    connections = count(one.user) if count is not None else 0
    if connections:
        return _in_use(connections)
    if connections is None or not one.is_last:
        return None
    if not one.is_followed:
        return f"{one.successor} takes its place, and is not handed out yet"
    if count is None:
        return "it is not known yet where the broker is; the next rotation removes it"
    if not count(one.successor):
        return (
            f"nobody is connected as {one.successor} so far; the next update that finds a "
            "connection of that, and none of this one, removes it"
        )
    return None


def _in_use(connections: int) -> str:
    use = "1 connection uses" if connections == 1 else f"{connections:,} connections use"
    return f"{use} it; the next update that finds none removes it"


def _watched(formers: Sequence[Former], count: Count, seconds: float) -> dict[str, int]:
    """Return the connections of those that somebody connects as within so many seconds."""
    used: dict[str, int] = {}
    deadline = time.monotonic() + seconds
    while len(used) < len(formers) and time.monotonic() < deadline:
        for one in formers:
            if one.user not in used and (connections := count(one.user)):
                used[one.user] = connections
        time.sleep(_POLL_SECONDS)
    return used


def connections_of(access: Access, user: str) -> int | None:
    """Return how many connections a user has, in any vhost; None: there is no such user.

    Raises:
        BrokerError: The broker cannot be asked.
    """
    name = quote(user, safe="")
    connections = len(access.management.get(f"/connections/username/{name}"))
    if connections:
        return connections
    try:
        access.management.get(f"/users/{name}")
    except NotFoundError:
        return None
    return 0


def check_unused(access: Access, user: str) -> None:
    """Check, right before a former user is deleted, that nobody has connected as it meanwhile.

    The broker closes the connections of a user that is deleted.

    Raises:
        TopologyError: Somebody has, or the broker cannot be asked.
    """
    if connections := connections_of(access, user):
        raise TopologyError(
            f"refused: user {user}, which a service had before a rotation, is not deleted: "
            f"{_in_use(connections)}. Run `pulumi up` again"
        )
