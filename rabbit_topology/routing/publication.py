"""
One message from its publisher to wherever it may end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from rabbit_topology.model import Reason
from rabbit_topology.routing import lives, message
from rabbit_topology.routing.links import Link
from rabbit_topology.routing.lives import End, Life
from rabbit_topology.routing.message import Message
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.steps import DEFAULT_EXCHANGE, located
from rabbit_topology.routing.trace import Hop, Routed, route

MAX_PASSAGES = 1_000
"""How often all that becomes of one message is followed over links."""


@dataclass
class _Left:
    """How often it may still be followed over a link."""

    passages: int = MAX_PASSAGES


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A message that a link takes."""

    link: Link
    queue: str | None
    """The queue that it is taken from; None: one that the link has of its own."""
    at: int
    """When, in milliseconds since it was published, at least."""
    certain: bool
    """The link takes it for sure."""
    onward: Publication | None
    """What becomes of it where the link puts it."""
    end: End | None = None
    """Why that is not followed."""


@dataclass(frozen=True)
class Publication:
    """A message that was published, and all that may become of it."""

    network: Network
    message: Message
    at: int = 0
    """When, in milliseconds since it was first published."""
    first_vhost: str | None = None
    """Where it was first published; None: here."""
    trail: tuple[object, ...] = ()
    """The links that it has come over, each with the message as it was then."""
    left: _Left = field(default_factory=_Left, compare=False, repr=False)

    @cached_property
    def routed(self) -> Routed:
        """Where it goes at once."""
        return route(self.network, self.message.exchange, self.message)

    @property
    def root(self) -> Hop:
        """The tree of its hops."""
        return self.routed.root

    @property
    def dropped(self) -> bool:
        """Whether it gets into no queue: it is dropped, or returned to who asked for that."""
        return self.routed.dropped

    @cached_property
    def later(self) -> Mapping[str, Mapping[Reason, Life]]:
        """By queue that it may get into, and by reason that it may leave it for: what follows."""
        return {
            queue: {reason: self.follow(queue, reason) for reason in self.reasons(queue)}
            for queue in sorted(self.routed.may_reach)
        }

    @cached_property
    def passages(self) -> Sequence[Passage]:
        """The links that take it on its way, and out of the queues that it gets into."""
        by_key = self.network.links.by_key
        return [
            *(
                self._passage(by_key[key], None, self.message, self.at + after, certain=certain)
                for key, (after, certain) in self.routed.links.items()
            ),
            *(
                one
                for queue, after in sorted(self.routed.delays.items())
                for one in self.taken(
                    queue, self.message, self.at + after, certain=queue in self.routed.reaches
                )
            ),
        ]

    def taken(
        self, queue: str, message: Message, at: int, *, certain: bool = True
    ) -> Iterator[Passage]:
        """Yield the links that take a message out of a queue, or may.

        Args:
            queue: The queue.
            message: As it got there.
            at: When.
            certain: It is there for sure.
        """
        for link in self.network.taking(queue):
            yield self._passage(link, queue, message, at, certain=certain)

    @cached_property
    def beyond(self) -> Mapping[str, bool]:
        """The queues that links bring it to, each with whether they certainly do.

        With the vhost, where that is not the one that it was first published in.
        """
        queues: dict[str, bool] = {}
        for passage in self.passages:
            onward = passage.onward
            if onward is None:
                continue
            for queue in onward.routed.may_reach:
                name = onward.located(queue)
                sure = passage.certain and queue in onward.routed.reaches
                queues[name] = queues.get(name, False) or sure
            for name, sure in onward.beyond.items():
                queues[name] = queues.get(name, False) or (passage.certain and sure)
        return queues

    @property
    def kept(self) -> bool:
        """Whether it certainly gets into some queue, here or where a link brings it."""
        routed = self.routed
        if routed.certainly_routed and not routed.links:
            return True
        taken = (one.onward for one in self.passages if one.queue is None and one.certain)
        return bool(routed.reaches) or any(one is not None and one.kept for one in taken)

    def located(self, queue: str) -> str:
        """Return a queue's name, with its vhost if it was first published in another one."""
        return located(queue, self.network.vhost, self.first_vhost or self.network.vhost)

    def reasons(self, queue: str) -> list[Reason]:
        """Return why it may leave a queue other than to a consumer that acknowledges it."""
        return lives.reasons(self.network, queue, self.message)

    def ends(self, queue: str, reason: Reason) -> Iterator[tuple[End, str, int]]:
        """Yield where it ends if it leaves a queue for a reason; in the queue, if it cannot.

        Yields:
            How it ends, the last queue, and when, in milliseconds.
        """
        if reason in self.reasons(queue):
            life = self.follow(queue, reason)
            yield from self._ended(life, reason, but=life)
        else:
            yield from self.rests(queue, reason)

    def follow(self, queue: str, reason: Reason) -> Life:
        """Return what follows when it leaves a queue for a reason."""
        at = self.at + self.routed.delays[queue]
        return lives.follow(self.network, queue, self.message, reason, at)

    def rests(self, queue: str, reason: Reason) -> Iterator[tuple[End, str, int]]:
        """Yield where it ends once it is in a queue, after it left others for a reason."""
        at = self.at + self.routed.delays[queue]
        life = lives.follow(self.network, queue, self.message, reason, at, first=False)
        yield from self._ended(life, reason)

    def _ended(
        self, life: Life, reason: Reason, but: Life | None = None
    ) -> Iterator[tuple[End, str, int]]:
        """Yield how it ends here, and over links out of all queues on the way ``but`` the first."""
        for one in life.walk():
            for end, at in one.own_ends():
                if end is not End.TAKEN:
                    yield end, self.located(one.queue), at
            for passage in self.taken(one.queue, one.message, one.at) if one is not but else ():
                yield from self.crosses(passage, reason)

    def crosses(self, passage: Passage, reason: Reason) -> Iterator[tuple[End, str, int]]:
        """Yield where it ends that a link takes, after it left queues for a reason."""
        onward = passage.onward
        last = self.located(passage.queue) if passage.queue is not None else passage.link.title
        if onward is None:
            yield passage.end or End.UNKNOWN, last, passage.at
            return
        if not onward.routed.may_reach and not onward.routed.links:
            yield End.UNKNOWN if onward.routed.unknown else End.UNROUTED, last, passage.at
        for queue in sorted(onward.routed.may_reach):
            yield from onward.rests(queue, reason)
        for further in onward.passages:
            if further.queue is None:
                yield from onward.crosses(further, reason)

    def _passage(
        self, link: Link, queue: str | None, message: Message, at: int, *, certain: bool
    ) -> Passage:
        state = (
            *(link.key, message.routing_keys, repr(sorted(message.headers)), message.deaths),
            self.network.links.hops(message),
        )
        self.left.passages -= 1
        end = None
        if not link.is_followed or link.target is None:
            end = End.UNKNOWN
        elif state in self.trail:
            end = End.ENDLESS
        elif len(self.trail) > lives.MAX_DEATHS or self.left.passages < 0:
            end = End.CUT
        passage = Passage(
            link=link,
            queue=queue,
            at=at,
            certain=certain and not link.doubt and end is None,
            onward=None,
            end=end,
        )
        if end is not None or link.target is None:
            return passage
        onward = Publication(
            self.network.links.networks[link.target.vhost],
            link.carried(message, self.network.context.version),
            at,
            self.first_vhost or self.network.vhost,
            (*self.trail, state),
            self.left,
        )
        return replace(passage, onward=onward)


def publish(
    network: Network,
    exchange: str,
    routing_key: str = "",
    headers: Mapping[str, Any] | None = None,
    expiration: int | None = None,
) -> Publication:
    """Return what becomes of a message; nothing is sent anywhere.

    Args:
        network: The vhost.
        exchange: Where to; the empty name is the default exchange.
        routing_key: With which key.
        headers: As JSON has them; CC and BCC are lists of further routing keys.
        expiration: Milliseconds until it expires.

    Raises:
        TopologyError: There is no such exchange, or the broker would refuse the message.
    """
    if exchange != DEFAULT_EXCHANGE:
        network.check(exchange)
    return Publication(network, message.message(exchange, routing_key, headers, expiration))
