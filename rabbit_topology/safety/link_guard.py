"""
What a run may do to the shovels and federation links of one vhost, and which of them let go.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rabbit_topology.broker.access import Access
from rabbit_topology.messages.contents import Contents
from rabbit_topology.messages.queue import BrokerQueue
from rabbit_topology.model import LinkQueues, SafetySettings, Topology
from rabbit_topology.safety import federation, limits, links
from rabbit_topology.safety.links import Source

_LETS_GO_SECONDS = 10.0
"""How long a shovel that was deleted may go on consuming."""

_STATISTICS_SECONDS = 6.0
"""One round of the broker's statistics and a little more."""


@dataclass(kw_only=True)
class LinkGuard:
    """Judges for one vhost: create one with its guard."""

    topology: Topology
    settings: SafetySettings
    leaving: list[Source] = field(default_factory=list)
    """What shovels take from that this run deletes, to make them anew or for good."""

    @property
    def sources(self) -> list[Source]:
        """What the shovels of the topology take from."""
        return [
            Source(
                shovel=name,
                vhost=self.topology.vhost,
                uri=shovel.source_uri,
                queue=shovel.source_queue,
                exchange=shovel.source_exchange,
                routing_key=shovel.source_exchange_key or "",
                address=shovel.source_address,
            )
            for name, shovel in self.topology.shovels.items()
        ]

    @property
    def _accepts(self) -> bool:
        return self.settings.link_queues is LinkQueues.ACCEPT

    def check_shovel(self, access: Access, source: Source, *, stays: bool) -> None:
        """Raise if a shovel cannot be changed, or deleted, without loss."""
        if not self._accepts:
            links.check_shovel(access, source, stays=stays)

    def check_upstream(self, access: Access, vhost: str, name: str, *, stays: bool) -> None:
        """Raise if an upstream cannot be changed, or deleted, without loss."""
        if self._accepts:
            return
        own = [link for link in federation.running_links(access, vhost) if link.upstream == name]
        what = f"federation upstream {name} {'changes' if stays else 'goes'}, which"
        federation.check_links(access, vhost, own, what, stays=stays)

    def check_exchange(self, access: Access, vhost: str, name: str, *, stays: bool) -> None:
        """Raise if an exchange cannot be replaced, or deleted, without loss to its links."""
        if self._accepts:
            return
        own = [link for link in federation.running_links(access, vhost) if link.exchange == name]
        what = f"exchange {name} is {'replaced' if stays else 'deleted'}, which"
        federation.check_links(access, vhost, own, what, stays=stays)

    def check_policy(
        self, access: Access, vhost: str, name: str, new: Mapping[str, Any] | None
    ) -> None:
        """Raise if a policy, given as the provider gets it, would restart links with loss."""
        if self._accepts:
            return
        after = limits.policy(name, new) if new else None
        own = federation.restarted(
            access, vhost, federation.running_links(access, vhost), name, after
        )
        names = ", ".join(sorted({link.exchange for link in own}))
        what = f"policy {name} changes what applies to exchange {names}, which"
        federation.check_links(access, vhost, own, what, stays=True)

    def check_destruction(self, access: Access) -> None:
        """Raise if shovels or upstreams cannot go with the stack without loss."""
        for source in self.sources:
            self.check_shovel(access, source, stays=False)
        for name in self.topology.federation_upstreams:
            self.check_upstream(access, self.topology.vhost, name, stays=False)


def without_readers(
    access: Access, vhost: str, surveyed: Mapping[str, Contents], sources: Iterable[Source]
) -> dict[str, Contents]:
    """Return what queues hold, without the consumers that are shovels with these sources.

    Only where nothing else is in the way. Waits for statistics where they alone can tell.
    """
    all_sources = list(sources)
    return {
        name: _without(access, vhost, name, held, all_sources) for name, held in surveyed.items()
    }


def _without(
    access: Access, vhost: str, name: str, held: Contents, sources: list[Source]
) -> Contents:
    own = [source for source in sources if source.queue_name() == name]
    if not own or not held.empty:
        return held
    unsure = any(links.vhost_here(access, source.uri) is None for source in own)
    deadline = time.monotonic() + (_STATISTICS_SECONDS if unsure else 0.0)
    while True:
        others = max(0, held.consumers - links.readers(access, own, vhost, name))
        if not others or time.monotonic() >= deadline:
            return replace(held, consumers=others)
        time.sleep(0.5)


def wait_until_let_go(access: Access, vhost: str, name: str, sources: Iterable[Source]) -> None:
    """Wait until a queue has no consumers, if shovels took from it that are going away."""
    own = [source for source in sources if source.queue_name() == name]
    if not any(links.vhost_here(access, source.uri) in (vhost, None) for source in own):
        return
    deadline = time.monotonic() + _LETS_GO_SECONDS
    queue = BrokerQueue(access, vhost, name)
    while queue.consumers() and time.monotonic() < deadline:
        time.sleep(0.1)
