"""
What has a place of its own on the page, and where: anchors that stay as long as the names do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from urllib.parse import quote

from rabbit_topology.describe import services
from rabbit_topology.describe.page.view import Link
from rabbit_topology.model import PREDECLARED_EXCHANGES
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.steps import DEFAULT_EXCHANGE


class Places:
    """The places of one vhost: of all that is in it, or of what concerns one service."""

    def __init__(self, network: Network, service: str | None, begin: str) -> None:
        """Find them; ``begin`` is what each anchor begins with."""
        self._network = network
        self._written = network.context.written
        self._begin = begin
        shown = self._all() if service is None else self._around(service)
        self.anchors: Mapping[tuple[str, str], str] = {
            (kind, name): f"{begin}{safe(kind, name)}" for kind, name in shown
        }

    @property
    def whole(self) -> str:
        """The anchor of the vhost itself."""
        return f"{self._begin}vhost"

    def names(self, kind: str) -> list[str]:
        """Return the names of what has a place."""
        return [name for one, name in self.anchors if one == kind]

    def anchor(self, kind: str, name: str) -> str | None:
        """Return where something stands; None: nowhere."""
        return self.anchors.get((kind, name))

    def link(self, kind: str, name: str) -> Link:
        """Return a name with where it stands."""
        return Link(kind=kind, name=name, anchor=self.anchor(kind, name))

    def apart(self, kind: str, name: str) -> Link:
        """Return a place for what nothing else on the page names."""
        where = f"{self._begin}{safe(kind.replace(' ', '-'), name)}"
        return Link(kind=kind, name=name, anchor=where)

    @cached_property
    def alternate_of(self) -> Mapping[str, list[str]]:
        """By exchange: those that it is the alternate exchange of."""
        sources: dict[str, list[str]] = {}
        for source in self._network.shapes:
            alternate = self._network.alternate(source)
            if alternate is not None:
                sources.setdefault(alternate.destination, []).append(source)
        return sources

    def _around(self, name: str) -> Iterator[tuple[str, str]]:
        service = self._written.services[name]
        used = dict.fromkeys([*services.publishes(service), *service.binds])
        queues = self._network.queues
        yield from (("exchange", one) for one in used if self._network.known(one))
        yield from (("queue", one) for one in service.consumes if one in queues)
        yield "service", name

    def _all(self) -> Iterator[tuple[str, str]]:
        written, whole = self._written, self._network.context.whole
        named = self._named_exchanges()
        brokers = [name for name in PREDECLARED_EXCHANGES if name in named]
        # What is written stands before what patterns make.
        exchanges = dict.fromkeys([*written.exchanges, *whole.exchanges, *brokers])
        yield from (("exchange", name) for name in exchanges)
        yield "exchange", DEFAULT_EXCHANGE
        yield from (("queue", name) for name in dict.fromkeys([*written.queues, *whole.queues]))
        yield from (("service", name) for name in written.services)
        yield from (("user", name) for name in written.users)

    def _named_exchanges(self) -> set[str]:
        """Return the exchanges that the config says anything about."""
        network = self._network
        sources = {name for names in self.alternate_of.values() for name in names}
        names = {*self.alternate_of, *sources, *network.steps}
        names |= {name for kind, name in network.incoming if kind == "exchange"}
        for service in self._written.services.values():
            names |= {*services.publishes(service), *service.binds}
        dead = (one.get("dead-letter-exchange") for one in network.context.settings.values())
        return names | {name for name in dead if isinstance(name, str)}


def safe(*names: str) -> str:
    """Return names as a part of an anchor: no two of them become the same."""
    return "/".join(quote(name, safe="") for name in names)
