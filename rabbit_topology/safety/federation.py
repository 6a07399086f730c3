"""
Links of federated exchanges: which run, and what their buffers hold.

A link has a queue on the upstream's broker, its buffer, which the broker deletes whenever it stops
a running link.
Source: "Federated Exchanges", "Federation Reference", RabbitMQ documentation; terminate/2 of the
broker's rabbit_federation_exchange_link.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rabbit_topology.broker.access import Access
from rabbit_topology.compiler import effective
from rabbit_topology.compiler.effective import Applicable, Index, Target
from rabbit_topology.compiler.whereabouts import vhost_named
from rabbit_topology.errors import BrokerError
from rabbit_topology.messages.queue import BrokerQueue
from rabbit_topology.safety.links import ACCEPT, SETTLING_SECONDS, listed, told, vhost_here

_STILL_SECONDS = 2.0
"""A buffer that is empty for so long, looked at all the while, has no publisher at work."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """A running link of a federated exchange."""

    upstream: str
    exchange: str
    uri: str
    """The upstream's, as it is configured; without what it leaves out."""
    upstream_exchange: str

    def buffer(self, access: Access, vhost: str) -> str:
        """Return the name of its buffer, on the upstream's broker.

        Source: upstream_queue_name/3 of rabbit_federation_exchange_link.
        """
        there = vhost_named(self.uri, vhost)
        cluster = access.management.get("/cluster-name")["name"]
        if there != vhost:
            down = f":{vhost}:{self.exchange}"
        else:
            down = "" if self.exchange == self.upstream_exchange else f":{self.exchange}"
        return f"federation: {self.upstream_exchange} -> {cluster}{down}"


def running_links(access: Access, vhost: str) -> list[Link]:
    """Return the links of federated exchanges that delete their buffer when they are stopped.

    A link that has no connection leaves its buffer alone, so does one that is told to
    (`resource-cleanup-mode: never`, honoured by 3.10.8, 4.0.5 and 4.3.6). One that is just
    starting is waited for, and counts if it still is.
    """
    deadline = time.monotonic() + SETTLING_SECONDS
    while True:
        links = [
            one
            for one in listed(access, "federation-links", vhost)
            if one.get("type") == "exchange" and one.get("status") in ("running", "starting")
        ]
        if all(one["status"] == "running" for one in links) or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    upstreams = {
        one["name"]: one["value"]
        for one in (listed(access, "parameters/federation-upstream", vhost) if links else ())
    }
    known = []
    for one in links:
        value = upstreams.get(one["upstream"], {})
        if value.get("resource-cleanup-mode") == "never":
            continue
        uri = value.get("uri", one.get("uri", ""))
        known.append(
            Link(
                upstream=one["upstream"],
                exchange=one["exchange"],
                uri=uri if isinstance(uri, str) else next(iter(uri), ""),
                upstream_exchange=one.get("upstream_exchange", one["exchange"]),
            )
        )
    return known


def check_links(
    access: Access, vhost: str, links: Sequence[Link], what: str, *, stays: bool
) -> None:
    """Check that ``what`` may stop links, for a moment if what they belong to ``stays``.

    Raises:
        BrokerError: A buffer would be deleted with messages, or with those that are published
            until the link has its next one.
    """
    deadline = time.monotonic() + (0.0 if stays else _STILL_SECONDS)
    while True:
        held = {link.exchange: _held(access, vhost, link) for link in links}
        if stays or not all(count == 0 for count in held.values()):
            break  # a publisher is at work, or a backlog there
        if not held or time.monotonic() > deadline:
            return
        time.sleep(0.02)
    if not held:
        return
    lines = "".join(
        f"\n  - the buffer of exchange {name} holds {told(count)}" for name, count in held.items()
    )
    upstreams = ", ".join(sorted({link.upstream for link in links}))
    until = "; what is published until it has its next one is lost as well" if stays else ""
    raise BrokerError(
        access.management.endpoint,
        f"{what} stops the running link of upstream {upstreams}, which deletes its buffer on the "
        f"upstream's broker{until}{lines}\nA link without a connection keeps its buffer: change "
        "the password of its user on the upstream's broker, or take its permissions away, and "
        "close its connection there (it is named `Federation link (upstream: ...)`); then run "
        "again, with the new password in the config if it has changed. Or let the buffer become "
        f"empty with no publisher at work, and accept what is lost: {ACCEPT}",
    )


def _held(access: Access, vhost: str, link: Link) -> int | None:
    there = vhost_here(access, link.uri, vhost)
    if there is None:
        return None
    state = BrokerQueue(access, there, link.buffer(access, vhost)).state()
    return state.messages if state else None


def restarted(
    access: Access, vhost: str, links: Sequence[Link], name: str, new: Mapping[str, Any] | None
) -> list[Link]:
    """Return the links whose exchange gets another policy when the policy ``name`` becomes new.

    The broker then stops and starts them, even where both policies say the same of federation.
    """
    if not links:
        return []
    before = access.live(vhost)
    after = {key: policy for key, policy in before.items() if key != name}
    after |= effective.live([{**new, "name": name}] if new else [])
    indexes = Index(before, access.like), Index(after, access.like)

    def applied(index: Index, link: Link) -> list[tuple[str | None, Applicable | None]]:
        keys = index.applying(Target(kind="exchanges", name=link.exchange))
        return [(key, index.policies[key] if key else None) for key in keys]

    return [link for link in links if applied(indexes[0], link) != applied(indexes[1], link)]
