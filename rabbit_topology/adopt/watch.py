"""
Who really publishes and consumes: the least that each user would have needed.

Seen in the broker's statistics: an exchange lists the channels that publish to it, a consumer the
channel that it has. What nobody does meanwhile is not seen. Source: "HTTP API Reference", RabbitMQ
documentation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from rabbit_topology.adopt import text
from rabbit_topology.broker.management import Management, NotFoundError

PAUSE_SECONDS = 5.0
"""As often as the broker collects its statistics by default."""

_DEFAULT_EXCHANGE = "amq.default"
"""What the management API calls the exchange without a name."""


@dataclass(kw_only=True)
class Use:
    """What one user does in one vhost."""

    publishes: set[str] = field(default_factory=set)
    """Exchanges; an empty name is the default exchange."""
    consumes: set[str] = field(default_factory=set)
    """Queues."""

    def service(self, username: str) -> dict[str, Any]:
        """Return the service that may do as much."""
        stated: dict[str, Any] = {"username": username, "exists": True}
        if named := sorted(self.publishes - {""}):
            stated["publishes"] = named
        if self.consumes:
            stated["consumes"] = sorted(self.consumes)
        if "" in self.publishes:
            stated["replies"] = True
        return stated


Seen = dict[tuple[str, str], Use]
"""By vhost and user."""


def watch(
    management: Management, vhosts: Iterable[str], seconds: float, report: Callable[[str], None]
) -> Seen:
    """Look for some time at who publishes and consumes.

    Raises:
        BrokerError: The broker cannot be asked.
    """
    seen: Seen = {}
    ends, chosen = time.monotonic() + seconds, list(vhosts)
    while True:
        for vhost in chosen:
            for user, exchange in _publishers(management, vhost):
                seen.setdefault((vhost, user), Use()).publishes.add(exchange)
            for user, queue in _consumers(management, vhost):
                seen.setdefault((vhost, user), Use()).consumes.add(queue)
        left = ends - time.monotonic()
        if left <= 0:
            return seen
        report(f"watching for {left:,.0f} s more: {len(seen):,} users at work")
        time.sleep(min(left, PAUSE_SECONDS))


def proposed(seen: Seen) -> Iterator[str]:
    """Yield the services that would do as a config, one line each, by vhost."""
    for vhost in sorted({vhost for vhost, _ in seen}):
        yield f"services of vhost {vhost}:"
        for (where, user), use in sorted(seen.items()):
            if where == vhost:
                yield f"  {text.flow(user)}: {text.flow(use.service(user))}"


def _publishers(management: Management, vhost: str) -> Iterator[tuple[str, str]]:
    here = quote(vhost, safe="")
    for exchange in management.get(f"/exchanges/{here}"):
        name = exchange["name"]
        if name and not exchange.get("message_stats", {}).get("publish_in"):
            continue  # nobody has published to it since the broker started
        named = quote(name or _DEFAULT_EXCHANGE, safe="")
        try:
            described = management.get(f"/exchanges/{here}/{named}")
        except NotFoundError:
            continue  # deleted meanwhile
        for one in described.get("incoming", ()):
            user = (one.get("channel_details") or {}).get("user")
            if user:
                yield user, name


def _consumers(management: Management, vhost: str) -> Iterator[tuple[str, str]]:
    for one in management.get(f"/consumers/{quote(vhost, safe='')}"):
        user = (one.get("channel_details") or {}).get("user")
        if user:
            yield user, one["queue"]["name"]
