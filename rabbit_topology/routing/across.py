"""
Which messages links bring to a queue: exactly the keys and headers, by where they are published.

Worked out backwards like `reach`: what a link brings there is what it publishes there; what it
publishes is what gets to its source. What comes to its source as dead letters is not among it.
Source: as in `links`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from rabbit_topology.routing.dead_letters import DeadLetters, by_name
from rabbit_topology.routing.headers import Box
from rabbit_topology.routing.keys import Part
from rabbit_topology.routing.links import Carrier, Link
from rabbit_topology.routing.meet import MAX_PATTERNS
from rabbit_topology.routing.messages import Case, Messages
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.pattern import EVERY_KEY, TooComplexError, of_key
from rabbit_topology.routing.reach import Reach, in_addition
from rabbit_topology.routing.steps import DEFAULT_EXCHANGE

Spots: TypeAlias = Mapping[tuple[str, str], Messages]
"""By vhost and exchange: messages that are published there."""


@dataclass(frozen=True)
class _Hops:
    """What the links that are still to come ask of those before them."""

    most: int | None = None
    """So many links of federation may come before; None: any number."""
    not_from: frozenset[str] = frozenset()
    """No link of federation from these vhosts may."""

    def before(self, link: Link) -> _Hops | None:
        """Return what is asked of those before a link too; None: the link is one too many."""
        if link.carrier is not Carrier.FEDERATION or link.source is None or link.target is None:
            return self
        upstream = link.source.vhost if link.has_own_queue else ""
        if self.most == 0 or upstream in self.not_from:
            return None
        most = None if self.most is None else self.most - 1
        if link.max_hops is None:
            return replace(self, most=most)
        most = link.max_hops - 1 if most is None else min(most, link.max_hops - 1)
        return _Hops(most, self.not_from | {link.target.vhost}) if most >= 0 else None


class Across:
    """What comes to queues over links; the answers about each vhost are kept."""

    def __init__(self, reach: Reach) -> None:
        """Prepare to ask about the queues of one vhost."""
        self._reaches = {reach.network.vhost: reach}
        self._here = reach

    @property
    def networks(self) -> Mapping[str, Network]:
        """All vhosts, by name."""
        network = self._here.network
        return self._here.network.links.networks or {network.vhost: network}

    def reach(self, vhost: str) -> Reach:
        """Return what leads where in a vhost."""
        if vhost not in self._reaches:
            self._reaches[vhost] = Reach(self.networks[vhost])
        return self._reaches[vhost]

    def to(self, queue: str, *, vhost: str | None = None, certain: bool = False) -> Spots:
        """Return which messages get into a queue, here and over links.

        The default exchange, which leads there by the queue's name, has the empty name.

        Raises:
            TooComplexError: They cannot be told within the bounds of the analysis.
        """
        there = self._here.network.vhost if vhost is None else vhost
        leading: dict[tuple[str, str], Messages] = {
            (there, exchange): messages
            for exchange, messages in self._at(there, queue, certain=certain).items()
        }
        for brought in self.brought(queue, vhost=there, certain=certain).values():
            for spot, messages in brought.items():
                leading[spot] = leading.get(spot, Messages()) | messages
        return leading

    def brought(
        self, queue: str, *, vhost: str | None = None, certain: bool = False
    ) -> Mapping[Link, Spots]:
        """Return what each link into the queue's vhost brings to it, by where it was published.

        Of a link that cannot be followed, nothing; but it is there if it may bring something.
        """
        there = self._here.network.vhost if vhost is None else vhost
        start = self._at(there, queue, certain=certain)
        return {
            link: found
            for link in self._here.network.links.into(there)
            if self._may_bring(link, start) and not (certain and link.doubt)
            for found in [self._follow(link, start, certain=certain)]
            if found or not link.is_followed
        }

    def kept(self, exchange: str) -> Messages:
        """Return the messages that certainly get into some queue from an exchange.

        Into one here, or into one where a link puts what it takes from an exchange here. What only
        a second link would put into a queue is not among them.

        Raises:
            TooComplexError: They cannot be told within the bounds of the analysis.
        """
        reach = self._here
        kept = reach.anywhere(exchange)
        for link in self._here.network.links.all:
            source, target = link.source, link.target
            if source is None or target is None or not link.has_own_queue or link.doubt:
                continue
            if source.vhost != reach.network.vhost or not link.is_followed or link.max_hops == 0:
                continue
            taken = reach.to_link(link.key, certain=True).get(exchange, Messages())
            if target.kind == "exchange":
                there = self.reach(target.vhost).anywhere(link.exchange or exchange)
                taken &= _published(link, there)
            kept |= taken
        return kept

    def onward(self, start: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return where dead letters from some queues may get to, over links from there too.

        Args:
            start: By vhost and name. Links from these themselves are not followed.
        """
        begin = set(start)
        seen, left = set(begin), list(begin)
        while left:
            vhost, queue = left.pop()
            dead = DeadLetters(self.reach(vhost)).onward([queue])
            places = {(vhost, name) for name in dead}
            if (vhost, queue) not in begin:
                for link in self._here.network.links.taking(vhost, queue):
                    places.update(self._behind(link))
            left += places - seen
            seen |= places
        return seen - begin

    def _behind(self, link: Link) -> Iterator[tuple[str, str]]:
        """Yield the queues that a link may bring something to."""
        if link.target is None or not link.is_followed:
            return
        there = link.target.vhost
        for queue in self.networks[there].queues:
            if self._may_bring(link, self._at(there, queue, certain=False)):
                yield there, queue

    def _at(self, vhost: str, queue: str, *, certain: bool) -> dict[str, Messages]:
        reach = self.reach(vhost)
        if queue not in reach.network.queues:
            return {}
        return {**reach.to(queue, certain=certain), DEFAULT_EXCHANGE: by_name(queue)}

    def _may_bring(self, link: Link, leading: Mapping[str, Messages]) -> bool:
        if link.exchange is None:
            return any(leading.values())
        return bool(_published(link, leading.get(link.exchange, Messages())))

    def _follow(self, first: Link, start: Mapping[str, Messages], *, certain: bool) -> Spots:
        """Return what is published anywhere and gets to a place over a link, and others before."""
        found: dict[tuple[str, str], dict[Case, None]] = {}
        known: dict[tuple[str, str, _Hops], dict[Case, None]] = {}
        left = [(first, start, _Hops())]
        while left:
            link, leading, hops = left.pop()
            before = hops.before(link)
            if before is None or link.source is None or not link.is_followed:
                continue
            vhost = link.source.vhost
            new: dict[str, Messages] = {}
            for exchange, messages in self._taken(link, leading, certain=certain):
                so_far = known.setdefault((vhost, exchange, before), {})
                more = in_addition(messages, so_far)
                if more.cases:
                    so_far.update(dict.fromkeys(more.cases))
                    found.setdefault((vhost, exchange), {}).update(dict.fromkeys(more.cases))
                    new[exchange] = more
                if len(so_far) > MAX_PATTERNS:
                    raise TooComplexError(
                        f"what {link.title} brings is more than {MAX_PATTERNS:,} patterns"
                    )
            if new:
                into = self._here.network.links.into(vhost)
                left += ((other, new, before) for other in into if not (certain and other.doubt))
        return {spot: Messages(tuple(cases)) for spot, cases in found.items()}

    def _taken(
        self, link: Link, leading: Mapping[str, Messages], *, certain: bool
    ) -> Iterator[tuple[str, Messages]]:
        """Yield by exchange what is published there, gets to a link, and is wanted behind it."""
        for exchange, taken in self._to_source(link, certain=certain):
            behind = leading.get(exchange if link.exchange is None else link.exchange)
            if behind is not None:
                messages = taken & _published(link, behind)
                if messages:
                    yield exchange, messages

    def _to_source(self, link: Link, *, certain: bool) -> Iterable[tuple[str, Messages]]:
        if link.source is None or link.source.name is None:
            return ()
        vhost, name = link.source.vhost, link.source.name
        if link.source.kind == "queue":
            return self._at(vhost, name, certain=certain).items()
        return self.reach(vhost).to_link(link.key, certain=certain).items()


def _published(link: Link, wanted: Messages) -> Messages:
    """Return the messages that a link makes one of ``wanted`` of."""
    cases: dict[Case, None] = {}
    for case in wanted.cases:
        box = _without(case.box, link.adds)
        if box is None:
            continue
        if link.routing_key is None:
            cases[Case(case.part, box)] = None
        elif case.part.has(of_key(link.routing_key)):
            cases[Case(Part(EVERY_KEY), box)] = None
    return Messages(tuple(cases))


def _without(box: Box, added: Iterable[str]) -> Box | None:
    """Return which headers a message had before some were added, None if it can have none."""
    allowed = dict(box.allowed)
    for name in added:
        one = allowed.pop(name, None)
        if one is not None and (not one.present or one.only is not None):
            return None
    return Box.of(allowed)
