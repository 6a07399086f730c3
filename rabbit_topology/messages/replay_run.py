"""
One run over one queue's messages: each is taken once, and replayed or held until the end.

Source: "Consumer Acknowledgements and Publisher Confirms", "Consumer Prefetch", "Validated
User-ID", RabbitMQ documentation.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from rabbit_topology.broker.access import Access
from rabbit_topology.broker.amqp import AMQPError
from rabbit_topology.broker.transfer import Delivery, Outcome, Transfer
from rabbit_topology.broker.verbatim import with_headers
from rabbit_topology.errors import BrokerError, reason
from rabbit_topology.messages import delivery_limit
from rabbit_topology.messages.delivery_limit import Taking
from rabbit_topology.messages.queue import BrokerQueue
from rabbit_topology.messages.replay_targets import Targets
from rabbit_topology.messages.shovel import mean_bytes
from rabbit_topology.messages.state import QueueState
from rabbit_topology.replays.destination import Destination
from rabbit_topology.replays.ledger import Ledger, Left, Mode
from rabbit_topology.replays.message import OF_THE_QUEUE, REPLAYS, Message, mark_of
from rabbit_topology.replays.origin import Source, origin, own_key, reason_of
from rabbit_topology.replays.peek import Peeked
from rabbit_topology.replays.request import Request

_IDLE_SECONDS = 10.0
"""So long is waited for a message that is ready, and is not delivered;"""

_QUIET_SECONDS = 3.0
"""and so long for one that is on its way here, where none is ready."""

_STEP_SECONDS = 0.5
_REPORT_SECONDS = 2.0
_TAIL_SECONDS = 0.5

_HELD_SECONDS = 1200.0
"""So long is a message held at most: the broker takes back what is held for longer than its
consumer timeout, 30 minutes by default."""

_TIMEOUT_SHARE = 0.6

_MAYBE_TWICE = "nothing is lost; the last message may be both there and here"

_MANY = 25
"""So many messages that come in, one for each that was replayed, are no coincidence."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be replayed, and who is told."""

    access: Access
    vhost: str
    queue: str
    request: Request
    report: Callable[[str], None]
    """Takes a line about progress."""
    show: Callable[[Peeked], None] = lambda _peeked: None
    """Takes each message that is looked at in `Mode.PEEK`."""
    stopping: Callable[[], bool] = lambda: False
    """Asked again and again: somebody wants the run to end."""

    @property
    def of_queue(self) -> BrokerQueue:
        """The queue on the broker."""
        return BrokerQueue(self.access, self.vhost, self.queue)


class Run:
    """What one run knows while it takes messages."""

    def __init__(
        self,
        job: Job,
        ledger: Ledger,
        taking: Taking,
        places: Targets,
        opened: Transfer,
        state: QueueState,
    ) -> None:
        self._job = job
        self._request = job.request
        self._access = job.access
        self._queue = job.of_queue
        self._ledger = ledger
        self._taking = taking
        self._places = places
        self._transfer = opened
        self._source = Source(name=job.queue, exchanges=self._leading_here())
        self._held_seconds = self._patience(state)
        self._prefetch = self._request.prefetch(
            ledger.ready, mean_bytes(job.access, job.vhost, job.queue)
        )
        self._sent: set[tuple[bytes, int]] = set()
        self._looked = self._shown = self._acknowledged = 0
        self._oldest: float | None = None
        self._begun = self._reported = self._due = time.monotonic()

    def go(self) -> None:
        """Take, replay, and give back the rest; whatever breaks off is noted."""
        self._taking.back = False
        try:
            self._transfer.begin(self._prefetch)
            self._take()
            if self._sent:
                self._transfer.pause(_TAIL_SECONDS)
        except (AMQPError, BrokerError) as error:
            self._ledger.failed = f"{reason(error)}; {_MAYBE_TWICE}"
        except KeyboardInterrupt:
            self._ledger.failed = f"interrupted at once; {_MAYBE_TWICE}"
        finally:
            self._count_rest()
            self._give_back()

    def _take(self) -> None:
        while self._looked < self._ledger.ready and not self._is_done():
            why = self._stop()
            delivery = None if why else self._next()
            if delivery is None:
                self._ledger.stopped = why or self._ledger.stopped
                return
            self._looked += 1
            self._handle(delivery)
            if self._ledger.came_back:
                self._ledger.stopped = "a message that was replayed came back"
                return

    def _is_done(self) -> bool:
        limit = self._request.limit
        done = self._shown if self._request.mode is Mode.PEEK else self._ledger.replayed.total()
        return limit is not None and done >= limit

    def _stop(self) -> str | None:
        """Return why the run has to end now, None if it goes on."""
        if self._job.stopping():
            return "interrupted"
        held = self._looked - self._acknowledged
        if held >= self._prefetch:
            return (
                f"{held:,} messages that stay are held at once, and no more are: those behind them "
                "were not looked at. --hold N holds more, at the cost of memory"
            )
        now = time.monotonic()
        since = self._oldest if self._oldest is not None else self._transfer.oldest
        if since is not None and now - since > self._held_seconds:
            return (
                f"messages were held for {self._held_seconds:,.0f} s, and the broker takes back "
                "what is held for long; run again for the rest"
            )
        if now - self._reported > _REPORT_SECONDS:
            self._reported = now
            self._progress(now)
            return self._coming_in()
        return None

    def _progress(self, now: float) -> None:
        replayed, left = self._ledger.replayed.total(), self._ledger.left.total()
        speed = replayed / max(now - self._begun, 0.001)
        self._job.report(
            f"queue {self._job.queue}: {self._looked:,} of {self._ledger.ready:,} looked at, "
            f"{replayed:,} replayed ({speed:,.0f}/s), {left:,} left"
        )

    def _coming_in(self) -> str | None:
        """Return why to stop if the queue gets back as many messages as leave it."""
        replayed = len(self._sent)
        if replayed < _MANY:
            return None
        came = self._queue.ready() + self._transfer.delivered - self._ledger.ready
        if came < replayed:
            return None
        return (
            f"{came:,} messages have come into the queue since {replayed:,} were replayed: they "
            "come back, or new ones come as fast. Mend what they fail at first"
        )

    def _next(self) -> Delivery | None:
        """Return the next message, None if there is none or somebody wants the run to end."""
        begun = time.monotonic()
        while (delivery := self._transfer.next(_STEP_SECONDS)) is None:
            if self._job.stopping():
                self._ledger.stopped = "interrupted"
                return None
            ready, idle = self._queue.ready(), time.monotonic() - begun
            if not ready and idle > _QUIET_SECONDS:
                missing = self._ledger.ready - self._looked
                self._ledger.notes.append(
                    f"{missing:,} of those that were ready were not delivered: others took them"
                )
                return None
            if ready and idle > _IDLE_SECONDS:
                self._ledger.stopped = (
                    f"{ready:,} messages are ready, and the broker delivers none: a consumer may "
                    "have the queue for itself (single active consumer, or exclusive)"
                )
                return None
        return delivery

    def _handle(self, delivery: Delivery) -> None:
        properties = delivery.properties
        message = _message(delivery)
        if not properties.readable:
            self._leave(delivery, message, Left.UNREADABLE)
        elif (message.mark, message.replays) in self._sent:
            self._ledger.came_back += 1
            self._leave(delivery, message, Left.CAME_BACK)
        elif not self._request.selection.has(self._source, message, time.time()):
            self._leave(delivery, message, Left.NOT_SELECTED)
        else:
            self._selected(delivery, message)

    def _selected(self, delivery: Delivery, message: Message) -> None:
        target = self._request.target
        goes: Destination | str
        if target is None:
            goes = origin(self._source, message)
        else:
            goes = target.of(own_key(self._source, message))
        why, said = Left.NO_ORIGIN, goes if isinstance(goes, str) else ""
        if isinstance(goes, Destination):
            obstacle = self._places.obstacle(goes, message.size) or self._of_user(message)
            if obstacle:
                why, said = obstacle
        if self._request.mode is Mode.PEEK:
            self._shown += 1
            self._job.show(
                Peeked(
                    number=self._looked,
                    message=message,
                    reason=reason_of(self._source, message),
                    destination=said or goes,
                )
            )
        if said or isinstance(goes, str):
            self._leave(delivery, message, why, said)
        elif self._request.mode.changes:
            self._publish(delivery, message, goes)
        else:
            self._note_replayed(message, goes)
            self._hold(delivery, message)

    def _publish(self, delivery: Delivery, message: Message, goes: Destination) -> None:
        self._pace()
        exchange, key = self._places.address(goes)
        count = message.replays + 1
        raw = with_headers(delivery.properties.raw, without=OF_THE_QUEUE, counts={REPLAYS: count})
        try:
            outcome, said = self._transfer.publish(exchange, key, raw, delivery.body)
        except (AMQPError, KeyboardInterrupt):
            self._leave(delivery, message, Left.UNCERTAIN, f"on its way to {goes.place}")
            raise
        if outcome is not Outcome.CONFIRMED:
            why = Left.RETURNED if outcome is Outcome.RETURNED else Left.REFUSED
            self._leave(delivery, message, why, f"{goes.place}: {said}")
            return
        self._sent.add((message.mark, count))
        self._note_replayed(message, goes)
        self._places.sent(goes, message.size)
        self._transfer.acknowledge(delivery)
        self._acknowledged += 1

    def _pace(self) -> None:
        if self._request.rate is None:
            return
        now = time.monotonic()
        if self._due > now:
            self._transfer.pause(self._due - now)
        self._due = max(self._due, now) + 1 / self._request.rate

    def _note_replayed(self, message: Message, goes: Destination) -> None:
        expires = message.expiration is not None
        self._ledger.replay(goes, replays=message.replays, expires=expires)

    def _leave(self, delivery: Delivery, message: Message, why: Left, said: str = "") -> None:
        self._ledger.leave(why, said)
        self._hold(delivery, message)

    def _hold(self, delivery: Delivery, message: Message) -> None:
        self._taking.saw(message.deliveries)
        self._oldest = delivery.at if self._oldest is None else self._oldest

    def _of_user(self, message: Message) -> tuple[Left, str] | None:
        user, ours = message.user_id, self._access.management.username
        if user in (None, ours) or self._may_impersonate:
            return None
        return Left.USER, (
            f"user {user} published it, and the broker lets {ours} say so only with the tag "
            "impersonator: rabbitmqctl set_user_tags, with the tags that the user has"
        )

    @cached_property
    def _may_impersonate(self) -> bool:
        tags = self._access.management.get("/whoami")["tags"]
        return "impersonator" in (tags.split(",") if isinstance(tags, str) else tags)

    def _leading_here(self) -> frozenset[str]:
        bindings = self._access.bindings("queues", self._job.vhost, self._job.queue)
        return frozenset(binding["source"] for binding in bindings)

    def _patience(self, state: QueueState) -> float:
        """Return how many seconds a message may be held."""
        outcomes = (
            outcome
            for rules in self._access.rules(self._job.vhost)
            for outcome in rules.possible(state.target, state.arguments)
        )
        stated = [int(one["consumer-timeout"]) for one in outcomes if "consumer-timeout" in one]
        return min([_HELD_SECONDS, *(timeout / 1000 * _TIMEOUT_SHARE for timeout in stated)])

    def _count_rest(self) -> None:
        """Count what was delivered and not handled: it goes back, and may be what was replayed."""
        while self._transfer.waiting:
            delivery = self._transfer.next(0)
            if delivery is None:
                break
            message = _message(delivery)
            back = (message.mark, message.replays) in self._sent
            self._ledger.came_back += back
            self._leave(delivery, message, Left.CAME_BACK if back else Left.NOT_REACHED)
        self._ledger.taken = self._transfer.delivered

    def _give_back(self) -> None:
        held = self._transfer.delivered - self._acknowledged
        try:
            ready = self._queue.ready()
            given_back = self._transfer.give_back(nack=self._taking.nack)
            rest = self._ledger.left[Left.NOT_REACHED]
            missing = self._looked < self._ledger.ready
            self._taking.all_seen = not (ready or rest or missing or self._ledger.failed)
            self._taking.back = given_back and delivery_limit.wait_until_back(
                self._queue, ready, held, certain=self._taking.limit is not None
            )
        except (AMQPError, BrokerError) as error:
            self._ledger.failed = self._ledger.failed or reason(error)


def _message(delivery: Delivery) -> Message:
    properties = delivery.properties
    return Message(
        exchange=delivery.exchange,
        routing_key=delivery.routing_key,
        headers=properties.headers or {},
        timestamp=properties.timestamp,
        expiration=properties.expiration,
        user_id=properties.user_id,
        message_id=properties.message_id,
        size=len(delivery.body),
        mark=mark_of(
            delivery.body,
            properties.message_id,
            properties.correlation_id,
            properties.timestamp,
            properties.type,
            properties.app_id,
        ),
    )
