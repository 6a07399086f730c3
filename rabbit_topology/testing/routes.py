"""
Routes of a config, in a test: where a message goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rabbit_topology.commands import sources
from rabbit_topology.model import Reason
from rabbit_topology.routing import publication, text
from rabbit_topology.routing.lives import End
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.publication import Publication


class Queues(frozenset[str]):
    """Names of queues, and the message that gets into them."""

    publication: Publication

    @classmethod
    def of(cls, names: Iterable[str], message: Publication) -> Queues:
        """Return names with a message."""
        queues = cls(names)
        queues.publication = message
        return queues

    def __repr__(self) -> str:
        return repr(set(self)) if self else "set()"


class Published:
    """What becomes of a message."""

    def __init__(self, message: Publication) -> None:
        self._message = message

    @property
    def reaches(self) -> Queues:
        """The queues that it certainly gets into."""
        return Queues.of(self._message.routed.reaches, self._message)

    @property
    def may_reach(self) -> Queues:
        """Those as well that it gets into or not, by a hash, at random or by unknown rules."""
        return Queues.of(self._message.routed.may_reach, self._message)

    @property
    def dropped(self) -> bool:
        """Whether it gets into no queue."""
        return self._message.dropped

    def ends(self, when: str = "rejected") -> dict[str, int]:
        """Return the queues that it ends up in, with the milliseconds until then at least.

        Args:
            when: Why it leaves queues: `rejected`, `expired`, `delivery_limit` or `maxlen`.

        Raises:
            ValueError: ``when`` is none of these.
        """
        reason = Reason(when)
        ends: dict[str, int] = {}
        for queue in sorted(self._message.routed.may_reach):
            for end, last, at in self._message.ends(queue, reason):
                if end is End.STAYS:
                    ends[last] = max(at, ends.get(last, 0))
        return ends

    def __repr__(self) -> str:
        return text.trace(self._message, later=False)


class Routes:
    """One vhost of a config."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def publish(
        self,
        exchange: str,
        routing_key: str = "",
        headers: Mapping[str, Any] | None = None,
        expiration: int | None = None,
    ) -> Published:
        """Return what becomes of a message; nothing is sent anywhere.

        Args:
            exchange: Where to; the empty name is the default exchange.
            routing_key: With which key.
            headers: As JSON has them; CC and BCC are lists of further routing keys.
            expiration: Milliseconds until it expires.

        Raises:
            TopologyError: There is no such exchange, or the broker would refuse the message.
        """
        return Published(
            publication.publish(self.network, exchange, routing_key, headers, expiration)
        )


def load(file: str | Path, vhost: str | None = None) -> Routes:
    """Read a stack's file, or a topology file that stacks share.

    Args:
        file: The file.
        vhost: Which, where there are several.

    Raises:
        TopologyError: It cannot be read, or has no such vhost.
        ConfigError: It is not a topology.
    """
    return Routes(sources.vhost(sources.load(Path(file)), vhost))


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Tell pytest what to show where queues are not those that a test asks for."""
    if op != "==" or not isinstance(left, Queues) or not isinstance(right, set | frozenset):
        return None
    lines = [f"{left!r} {op} {set(right) or 'set()'!r}"]
    lines += (f"does not get into {name}" for name in sorted(right - left))
    lines += (f"gets into {name} too" for name in sorted(left - right))
    return [*lines, *text.trace(left.publication, later=False).splitlines()]
