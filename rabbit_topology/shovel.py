"""
Moving all messages of a queue to another one, by the broker itself.

Through a fanout exchange, so that the routing key of each message stays what it was; headers and
properties are not touched and nothing is added. Source: "Dynamic Shovels", RabbitMQ documentation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from rabbit_topology import contents
from rabbit_topology.access import Access
from rabbit_topology.errors import BrokerError
from rabbit_topology.management import NotFoundError
from rabbit_topology.names import own_name

PREFETCH = 1000
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


class StuckError(BrokerError):
    """Messages do not get ahead; they are where they were."""


def check_available(access: Access) -> None:
    """Check that every running node can run a shovel.

    Raises:
        BrokerError: A node lacks the plugin, which the error names.
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


def _running_nodes(access: Access) -> list[dict[str, Any]]:
    return [node for node in access.management.get("/nodes") if node.get("running")]


def move(
    access: Access,
    vhost: str,
    source: str,
    exchange: str,
    *,
    what: str,
    report: Callable[[str], None],
    patience: float,
) -> None:
    """Move what is ready in ``source`` to ``exchange`` until nothing is left.

    Consumers of the source may take messages at the same time. Killed at any moment it loses
    nothing: a message is acknowledged at its source when its destination has confirmed it.
    ``what`` names the move in reports, such as "back into queue orders".

    Raises:
        StuckError: Nothing got ahead for ``patience`` seconds; the shovel is stopped.
        BrokerError: The broker cannot be asked, or refuses the shovel.
    """
    path = _path(access, vhost, source)
    started = reported = progress = time.monotonic()
    total = least = left = contents.ready(access, vhost, source)
    while left:
        # It ends by itself when it has moved, and had confirmed, as many as there are now.
        _start(access, vhost, source, exchange, until="queue-length")
        changed = time.monotonic()
        while _exists(access, path):
            time.sleep(_POLL_SECONDS)
            now, before, left = time.monotonic(), left, contents.ready(access, vhost, source)
            changed = now if left != before else changed
            if now - reported > _REPORT_SECONDS:
                report(f"moving messages {what}: {left:,} of {total:,} left")
                reported = now
            if not left and now - changed > _STILL_SECONDS:
                _stop(access, path)  # consumers took what it still counts on
            elif now - changed > _LATE_SECONDS and not contents.consumers(access, vhost, source):
                _stop(access, path)  # it does not run, and so holds no message: once more
            elif now - max(changed, progress) > patience:
                break
        left = contents.ready(access, vhost, source)
        # What its target rejects comes back: only fewer than ever before is progress.
        if left < least:
            least, progress = left, time.monotonic()
        elif left:
            time.sleep(_REJECTED_SECONDS)
        if left and time.monotonic() - progress > patience:
            _stop(access, path)
            raise StuckError(
                access.management.endpoint,
                f"none of {left:,} messages could be moved {what} for {patience:.0f} s: a consumer "
                "has the queue for itself and takes none, or their target is full and rejects them",
            )
    if total:
        seconds = time.monotonic() - started
        report(f"moved {total:,} messages {what} in {seconds:.1f} s")


@contextmanager
def moving(
    access: Access, vhost: str, source: str, exchange: str, *, report: Callable[[str], None]
) -> Iterator[Callable[[int], None]]:
    """Keep moving what comes into ``source``, and yield a function that waits.

    It waits until at most so many messages are left, or until publishers have shown to be as
    fast as the broker moves.
    """

    def wait(most: int) -> None:
        least, since, reported = (
            contents.ready(access, vhost, source),
            time.monotonic(),
            time.monotonic(),
        )
        while (left := contents.ready(access, vhost, source)) > most:
            now = time.monotonic()
            if left < least:
                least, since = left, now
            if now - since > _STILL_SECONDS:
                return
            if now - reported > _REPORT_SECONDS:
                report(f"catching up with publishers: {left:,} held messages left")
                reported = now
            time.sleep(_POLL_SECONDS)

    _start(access, vhost, source, exchange, until="never")
    try:
        yield wait
    finally:
        _stop(access, _path(access, vhost, source))


def stop_leftover(access: Access, vhost: str, source: str) -> None:
    """Stop the shovel that a killed run left on ``source``; no message is lost by it."""
    _stop(access, _path(access, vhost, source))


def _path(access: Access, vhost: str, source: str) -> str:
    return access.path("parameters/shovel", vhost, own_name("move", source))


def _start(access: Access, vhost: str, source: str, exchange: str, *, until: str) -> None:
    # Without host and password: the broker connects to itself, as the user that runs this.
    uri = f"amqp://{quote(access.management.username, safe='')}@/{quote(vhost, safe='')}"
    access.management.request(
        "PUT",
        _path(access, vhost, source),
        {
            "value": {
                "src-protocol": "amqp091",
                "src-uri": uri,
                "src-queue": source,
                "src-prefetch-count": PREFETCH,
                "src-delete-after": until,
                "dest-protocol": "amqp091",
                "dest-uri": uri,
                "dest-exchange": exchange,
                "ack-mode": "on-confirm",
                "reconnect-delay": 1,
            }
        },
    )


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
