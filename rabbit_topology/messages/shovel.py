"""
Moving all messages of a queue to another one, by the broker itself.

Through a fanout exchange, so that the routing key of each message stays what it was; headers and
properties are not touched and nothing is added. Source: "Dynamic Shovels", RabbitMQ documentation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from math import inf
from typing import Any
from urllib.parse import quote

from rabbit_topology.broker.access import Access
from rabbit_topology.broker.management import NotFoundError, UnreachableError
from rabbit_topology.compiler.names import own_name
from rabbit_topology.errors import BrokerError
from rabbit_topology.messages.inflow import Inflow
from rabbit_topology.messages.queue import BrokerQueue

PREFETCH = 1000
"""So many messages are on their way at most,"""

IN_FLIGHT_BYTES = 32 << 20
"""and no more than this: a message is in the broker's memory several times meanwhile."""

UNKNOWN_BYTES = 160 << 10
"""How large a message is taken for as long as no statistics say it: most are smaller."""

_STARTS = 3
"""So often is a shovel started that ends, or does not run, and has moved nothing."""

PLUGIN = "rabbitmq_shovel"

_NODES_SECONDS = 15.0
"""How long a node that has just started may take to publish what plugins it has."""
_POLL_SECONDS = 0.05
_REPORT_SECONDS = 2.0
_STILL_SECONDS = 2.0
"""A shovel that moves nothing for so long waits for messages that consumers have taken."""
_LATE_SECONDS = 5.0
"""How long a shovel may take to consume from its source: the broker can lose one that it is told to
start while it still stops another of that name."""
_REJECTED_SECONDS = 0.2
"""How long to leave a target alone that takes none."""


_ALARMS = (
    ("mem_alarm", "memory", "mem_used", "mem_limit"),
    ("disk_free_alarm", "disk", "disk_free", "disk_free_limit"),
)


class StuckError(BrokerError):
    """Messages do not get ahead; they are where they were."""


def check_available(access: Access) -> None:
    """Check that every running node can run a shovel, and that none is short of memory or disk.

    Raises:
        BrokerError: A node lacks the plugin, or has an alarm, which the error names.
    """
    deadline = time.monotonic() + _NODES_SECONDS
    nodes = _running_nodes(access)
    while any("enabled_plugins" not in node for node in nodes):
        if time.monotonic() > deadline:
            raise BrokerError(
                access.management.endpoint,
                "the broker does not tell which plugins its nodes have; nothing was touched",
            )
        time.sleep(0.2)
        nodes = _running_nodes(access)
    lacking = [node["name"] for node in nodes if PLUGIN not in node["enabled_plugins"]]
    if lacking:
        raise BrokerError(
            access.management.endpoint,
            "replacing a queue that is in use needs the broker to move its messages, and "
            f"{', '.join(lacking)} lacks the plugin for it; nothing was touched; run "
            f"rabbitmq-plugins enable {PLUGIN} there",
        )
    for node in nodes:
        for alarm, what, now, limit in _ALARMS:
            if node.get(alarm):
                raise BrokerError(
                    access.management.endpoint,
                    f"{node['name']} has a {what} alarm ({node.get(now, 0) / 1e6:,.0f} MB, its "
                    f"limit is {node.get(limit, 0) / 1e6:,.0f} MB), so the broker takes no "
                    "messages, and none can be moved; nothing was touched",
                )


def _running_nodes(access: Access) -> list[dict[str, Any]]:
    return [node for node in access.management.get("/nodes") if node.get("running")]


@dataclass(frozen=True, kw_only=True)
class Move:
    """Moving what is ready in ``source`` to ``exchange``, in a vhost.

    Consumers of the source may take messages at the same time. Killed at any moment it loses
    nothing: a message is acknowledged at its source when its destination has confirmed it.
    """

    access: Access
    vhost: str
    source: str
    exchange: str
    what: str
    """What it is called in reports, such as "back into queue orders"."""
    report: Callable[[str], None]
    """Takes a line about progress."""
    patience: float
    """How many seconds nothing may get ahead."""
    mean_bytes: float = 0.0
    """How large a message is on average; 0: as the source's statistics say."""
    inflow: Inflow | None = None
    """What may come into the queue behind the exchange; None: all there is."""
    meanwhile: Callable[[], None] = lambda: None
    """Called again and again; it may raise."""

    def run(self, most: int = 0, still: float = inf) -> None:
        """Move until at most ``most`` messages are left, or fewer were not for ``still`` seconds.

        Raises:
            StuckError: Nothing got ahead; the shovel is stopped.
            BrokerError: The broker cannot be asked, or refuses the shovel.
        """
        started = reported = progress = time.monotonic()
        total = least = left = self._ready()
        lost = 0
        while left > most:
            if time.monotonic() > progress + still:
                return
            self.meanwhile()
            # It ends by itself when it has moved, and had confirmed, as many as there are now.
            until = self.inflow.allowed(left) if self.inflow else "queue-length"
            if until == 0:
                time.sleep(_POLL_SECONDS)
                left = self._ready()
                continue
            self._start(until)
            changed = time.monotonic()
            while _exists(self.access, self._path):
                time.sleep(_POLL_SECONDS)
                self.meanwhile()
                now, before, left = time.monotonic(), left, self._ready()
                changed = now if left != before else changed
                if now - reported > _REPORT_SECONDS:
                    self.report(f"moving messages {self.what}: {left:,} of {total:,} left")
                    reported = now
                if not left and now - changed > _STILL_SECONDS:
                    self._stop()  # consumers took what it still counts on
                elif now - changed > _LATE_SECONDS and not self._consumers():
                    self._stop()  # it does not run, and so holds no message: once more
                    lost += 1
                elif now - max(changed, progress) > self.patience:
                    break
            left = self._ready()
            # What its target rejects comes back: only fewer than ever before is progress.
            if left < least:
                least, progress, lost = left, time.monotonic(), 0
            elif left:
                time.sleep(_REJECTED_SECONDS)
            if lost >= _STARTS:
                raise self._stuck(
                    f"the broker's shovel ended {lost} times before it had moved any: the broker's "
                    "log says why"
                )
            if left and time.monotonic() - progress > self.patience:
                raise self._stuck(
                    f"for {self.patience:.0f} s: a consumer has the queue for itself and takes "
                    "none, their target is full and rejects them, or the broker has a memory or "
                    "disk alarm"
                )
        if total:
            seconds = time.monotonic() - started
            self.report(f"moved {total:,} messages {self.what} in {seconds:.1f} s")

    @contextmanager
    def going_on(self) -> Iterator[Callable[[int], None]]:
        """Keep moving what comes in, and yield a function that waits.

        It waits until at most so many messages are left, or until publishers have shown to be as
        fast as the broker moves.
        """
        if self.inflow:
            yield partial(self.run, still=_STILL_SECONDS)
            return
        self._start("never")
        try:
            yield self._wait
        finally:
            self._stop()

    def _wait(self, most: int) -> None:
        least, since = self._ready(), time.monotonic()
        reported = since
        while (left := self._ready()) > most:
            self.meanwhile()
            now = time.monotonic()
            if left < least:
                least, since = left, now
            if now - since > _STILL_SECONDS:
                return
            if now - reported > _REPORT_SECONDS:
                self.report(f"catching up with publishers: {left:,} held messages left")
                reported = now
            time.sleep(_POLL_SECONDS)

    def _stuck(self, why: str) -> StuckError:
        self._stop()
        said = f"none of {self._ready():,} messages could be moved {self.what}: {why}"
        return StuckError(self.access.management.endpoint, said)

    def _ready(self) -> int:
        return self._queue.ready()

    def _consumers(self) -> int:
        return self._queue.consumers()

    @property
    def _queue(self) -> BrokerQueue:
        return BrokerQueue(self.access, self.vhost, self.source)

    @property
    def _path(self) -> str:
        return _path(self.access, self.vhost, self.source)

    def _stop(self) -> None:
        _stop(self.access, self._path)

    def _start(self, until: str | int) -> None:
        value = _value(self.vhost, self.source, self.exchange, self._prefetch, until)
        self.access.management.request("PUT", self._path, {"value": value})

    @cached_property
    def _prefetch(self) -> int:
        mean = self.mean_bytes or mean_bytes(self.access, self.vhost, self.source) or UNKNOWN_BYTES
        return max(1, min(PREFETCH, int(IN_FLIGHT_BYTES / mean)))


def mean_bytes(access: Access, vhost: str, queue: str) -> float:
    """Return how large a message of a queue is on average, as its statistics say; 0: not known."""
    try:
        listed = access.management.get(access.path("queues", vhost, queue))
    except NotFoundError:
        return 0.0
    messages, size = listed.get("messages") or 0, listed.get("message_bytes") or 0
    return float(size / messages) if messages else 0.0


def _value(
    vhost: str, source: str, exchange: str, prefetch: int, until: str | int
) -> dict[str, Any]:
    # Without host, user and password: the broker connects to itself, and takes messages that say
    # they are of another user, as their own publishers were allowed to.
    uri = f"amqp:///{quote(vhost, safe='')}"
    return {
        "src-protocol": "amqp091",
        "src-uri": uri,
        "src-queue": source,
        "src-prefetch-count": prefetch,
        "src-delete-after": until,
        "dest-protocol": "amqp091",
        "dest-uri": uri,
        "dest-exchange": exchange,
        "ack-mode": "on-confirm",
        # One that fails stays so: each time that it tried again, the source would count its
        # messages as delivered once more, and drop them in the end.
        "reconnect-delay": 0,
    }


def end_unlisted(access: Access, vhost: str, sources: Iterable[str]) -> None:
    """End the shovels on ``sources`` that may run and are listed no more, after a killed run.

    The broker deletes the parameter first, and may leave it at that: see `safety.half_done`. One
    that moves nothing is written in its place, which ends the other, and is deleted.
    """
    for source in sources:
        path = _path(access, vhost, source)
        if access.exists("queues", vhost, source) and not _exists(access, path):
            value = _value(vhost, source, "", 1, 0)
            try:
                access.management.request("PUT", path, {"value": value})
            except UnreachableError:
                raise
            except BrokerError:
                return  # it runs no shovels at all
            _stop(access, path)


def stop_leftover(access: Access, vhost: str, source: str) -> None:
    """Stop the shovel that a killed run left on ``source``; no message is lost by it."""
    _stop(access, _path(access, vhost, source))


def _path(access: Access, vhost: str, source: str) -> str:
    return access.path("parameters/shovel", vhost, own_name("move", source))


def _exists(access: Access, path: str) -> bool:
    try:
        access.management.get(path)
    except NotFoundError:
        return False
    return True


def _stop(access: Access, path: str) -> None:
    try:
        access.management.request("DELETE", path)
    except NotFoundError:
        return
