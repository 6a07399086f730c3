"""
One queue on a broker: what it holds, exactly, at the moment of asking.

Which source is exact differs by queue type, and is written down in docs/exactness.md:

- ready: a passive declare over AMQP asks the queue's own process, classic and quorum;
- unacknowledged, classic: the management API asks the queue's process when it is told to leave
  the statistics out;
- all others, quorum: the queue's own total, see `totals`. A message may be in a state that has no
  count of its own: delayed, dead-lettered at least once, or one that nobody here has heard of;
- quorum before RabbitMQ 4.3, unless it dead-letters at least once: there a message is ready or
  held, and a passive declare counts everyone who holds one, cancelled consumers and `basic.get`
  included. Nobody there means nothing held. The declare answers 0 as well while the queue has no
  leader, so `basic.get` makes sure of one;
- streams: reading is not destructive, so a read from the first offset tells.

Source: "Queues", "Quorum Queues", "Streams", "HTTP API Reference", RabbitMQ documentation.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from rabbit_topology.broker.access import Access, NoAmqpError, NoVhostError
from rabbit_topology.broker.amqp import AMQPError, ChannelClosedByBroker
from rabbit_topology.broker.management import NotFoundError
from rabbit_topology.broker.totals import Count, NoLeaderError
from rabbit_topology.compiler.effective import Rules
from rabbit_topology.errors import BrokerError
from rabbit_topology.messages.contents import Contents
from rabbit_topology.messages.state import QueueState
from rabbit_topology.model import DeadLetterStrategy, QueueType

__all__ = ["BrokerQueue", "NoLeaderError"]

STREAM_PATIENCE_SECONDS = 1.5
"""How long a stream's first message may take to arrive before the stream counts as empty."""

STRATEGY = "dead-letter-strategy"
_AT_LEAST_ONCE = DeadLetterStrategy.AT_LEAST_ONCE.value
TARGET, TARGET_KEY = "dead-letter-exchange", "dead-letter-routing-key"
_LIFETIME_KEYS = ("message-ttl", TARGET, TARGET_KEY, STRATEGY)

TOTALS = "disable_stats=true&enable_queue_totals=true"
"""The query by which the management API asks the queues themselves."""

_LEAVING_SECONDS = 1.0
"""How long a consumer that is going away may take, before the statistics are waited for."""

_MEANWHILE_SECONDS = 1.0

_NOTHING = Count(messages=0, ready=0, unacknowledged=0, consumers=0)

_READY_OR_HELD_BEFORE = (4, 3)
"""Before this version a message of a quorum queue is ready, held, or waits to be dead-lettered."""


@dataclass(frozen=True, slots=True)
class BrokerQueue:
    """One queue on a broker, that may not exist."""

    access: Access
    vhost: str
    name: str

    def state(self) -> QueueState | None:
        """Return it as the management API knows it at this moment, None if it does not exist.

        Without statistics: for a classic queue the message counts then come from the queue itself.
        """
        access, vhost = self.access, self.vhost
        try:
            row: dict[str, Any] = access.management.get(f"{self._path}?{TOTALS}")
        except NotFoundError:
            return None
        if "messages" not in row:
            # 3.10 has the totals in listings only.
            pattern = quote(f"^{re.escape(self.name)}$", safe="")
            listed = access.management.get(
                f"{access.path('queues', vhost)}?{TOTALS}"
                f"&name={pattern}&use_regex=true&page=1&page_size=100"
            )
            row |= next((one for one in listed["items"] if one["name"] == self.name), {})
        return QueueState(row)

    def read(self) -> Contents | None:
        """Return what it holds, None if it does not exist.

        Exact, and immediate but for one case: the total of a quorum queue is known when the
        broker's statistics have gone round, and until then this waits; see `survey.expect`.

        Raises:
            BrokerError: The broker cannot be asked, or its answer cannot be trusted.
        """
        try:
            declared = self.declared()
        except NoAmqpError as error:
            return self._without_amqp(error)
        # Asked after the passive declare: a message that a consumer gives back in between is then
        # seen in one of the two.
        state = self.state() if declared else None
        return self.judge(state, *declared) if declared and state else None

    def judge(self, state: QueueState, ready: int, consumers: int) -> Contents | None:
        """Return what it holds that answered a passive declare so, and had this state then."""
        match state.type:
            case QueueType.STREAM:
                held = ready or self._first_of_stream()
                return Contents(kind=state.type, ready=held, unacknowledged=0, consumers=consumers)
            case QueueType.CLASSIC:
                return self._classic(state, ready, consumers)
        if not self._by_total(state):
            if (ready, consumers) == (0, 0):
                confirmed = self._confirmed()
                if confirmed is None:
                    return None
                ready, consumers = confirmed
            if consumers == 0:
                return Contents(kind=state.type, ready=ready, unacknowledged=0, consumers=0)
        counted = self._in_all(ready)
        return replace(counted, consumers=max(consumers, counted.consumers)) if counted else None

    def quick(self) -> Contents | None:
        """Return what it holds without waiting for statistics: never for a verdict.

        What a quorum queue holds but for ready messages may be some seconds old.
        """
        state = self.state()
        if state is None:
            return None
        kind = state.type
        count = (self._latest(state) if kind is QueueType.QUORUM else state.count) or _NOTHING
        try:
            declared = self.declared()
        except BrokerError:
            # The management API's numbers will do for a preview.
            return Contents.counted(kind, count)
        if declared is None:
            return None
        ready, consumers = declared
        if kind is QueueType.STREAM:
            ready = ready or self._first_of_stream()
            count = replace(count, messages=0, unacknowledged=0)
        return replace(Contents.counted(kind, count), ready=ready, consumers=consumers)

    def ready(self) -> int:
        """Return how many messages wait for a consumer, exactly; 0 if it does not exist.

        Raises:
            BrokerError: The broker cannot be asked.
        """
        declared = self.declared()
        return declared[0] if declared else 0

    def consumers(self) -> int:
        """Return how many consumers it has, exactly, as `ready` does."""
        declared = self.declared()
        return declared[1] if declared else 0

    def declared(self) -> tuple[int, int] | None:
        """Return its ready messages and its consumers as it says itself, None if it is gone."""
        try:
            with self.access.channel(self.vhost) as channel:
                declared = channel.queue_declare(self.name, passive=True).method
        except NoVhostError:
            return None  # and with it all that was in it
        except ChannelClosedByBroker as error:
            if error.reply_code == 404 and "no queue" in error.reply_text:
                return None
            raise self._error(f"cannot be asked: {error.reply_text}") from None
        except AMQPError as error:
            # The broker's answer that there is none is too long for AMQP where the name is.
            if not self.access.exists("queues", self.vhost, self.name):
                return None
            raise self._error(f"cannot be asked: {error!r}") from None
        return declared.message_count, declared.consumer_count

    def published(self) -> tuple[int, float]:
        """Return how many messages were published to it, and how many come in per second.

        As the broker's statistics tell, so of some seconds ago; 0 where they are switched off.
        """
        return statistics(self.access, self._path, "publish")

    def is_taken(self) -> bool:
        """Return whether anybody takes messages from it: it has consumers, or is asked for some.

        The latter as the broker's statistics tell.
        """
        return bool(self.consumers() or statistics(self.access, self._path, "deliver_get")[1])

    def lifetime(self, state: QueueState) -> dict[str, Any]:
        """Return how long it keeps a message in this state, and where that goes then.

        By the keys of policies. What is not certain is left out, but for dead-lettering that keeps
        messages until their target has them: that is then taken for what the queue does.
        """
        outcomes = lifetimes(state, self.access.rules(self.vhost))
        certain = {
            key: value
            for key, value in outcomes[0].items()
            if all(outcome.get(key) == value for outcome in outcomes)
        }
        if any(outcome.get(STRATEGY) == _AT_LEAST_ONCE for outcome in outcomes):
            certain[STRATEGY] = _AT_LEAST_ONCE
        return certain

    def is_told_by_total(self, state: QueueState) -> bool:
        """Return whether it is one of which only its total counts all messages."""
        return state.type is QueueType.QUORUM and self._by_total(state)

    def settled(self, state: QueueState) -> Count | None:
        """Return what a quorum queue counts, None of one that can delay no messages.

        As of a moment after the call; waits for statistics.
        """
        if not delays_messages(self.access, state):
            return None
        return self.access.totals.count(self.access, self.vhost, self.name, lambda _count: True)

    def delaying(self) -> Count | None:
        """Return its last statistics if it delays messages by them, however old they are."""
        try:
            count = Count.of(self.access.management.get(self._path))
        except NotFoundError:
            return None
        return count if count and count.delayed else None

    def is_empty(self) -> bool:
        """Return whether a quorum queue holds nothing, as exactly as can be told; True if gone.

        Right after `read` found it empty and unused this is immediate; but on versions whose
        messages are ready or held, only the ready ones are looked at again.

        Raises:
            NoLeaderError: There is none.
        """
        state = self.state()
        if state is None:
            return True
        if self._by_total(state):
            count = self.access.totals.count(
                self.access, self.vhost, self.name, lambda counted: counted.messages > 0
            )
            return count is None or count.messages == 0
        confirmed = self._confirmed()
        return confirmed is None or confirmed[0] == 0

    def wait_until_empty(
        self,
        *,
        report: Callable[[str], None],
        patience: float,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> bool:
        """Wait until it is empty, with nothing new coming in; False when one is ready again.

        All messages are looked at as one sum, which only falls: looked at one after the other, a
        message that a consumer gives back and takes again could be missed. A sum above 0 that
        becomes 0 is a fresh 0, so that under traffic one round of statistics is enough.
        ``meanwhile`` is called every second or so, and may raise.

        Raises:
            TimeoutError: Consumers hold messages for longer than ``patience`` seconds.
            BrokerError: The broker cannot be asked.
        """
        deadline = time.monotonic() + patience
        last, leader, last_at, zero_since, called = 0, None, 0.0, 0.0, time.monotonic()
        by_total: bool | None = None
        while True:
            if by_total and self._exactly_empty():
                return True
            asked = time.monotonic()
            state, declared = self.state(), self.declared()
            if state is None or declared is None:
                return True
            quorum = state.type is QueueType.QUORUM
            if by_total is None:
                by_total = quorum and self._by_total(state)
            ready, consumers = declared
            if ready:
                return False
            if not quorum and state.messages is None:
                raise self._not_answering()
            total = state.messages or 0
            if total == 0:
                exact = not quorum
                if quorum and consumers == 0 and not by_total:
                    exact = self._confirmed() in (None, (0, 0))
                # Of a leader on another node, or one just elected, the number may be missing.
                if not exact and last and state.leader == leader:
                    totals = self.access.totals
                    totals.believe(self.vhost, self.name, _NOTHING, since=last_at)
                    exact = True
                if exact:
                    return True
                zero_since = zero_since or time.monotonic()
                if time.monotonic() - zero_since > _LEAVING_SECONDS:
                    settled = self.read()
                    if settled is None or settled.empty or settled.ready:
                        return settled is None or settled.empty
            elif total != last:
                report(f"waiting for consumers to finish {total:,} messages of queue {self.name}")
            if time.monotonic() > called + _MEANWHILE_SECONDS:
                meanwhile()
                called = time.monotonic()
            if time.monotonic() > deadline:
                raise TimeoutError
            last, leader, last_at = total, state.leader, asked
            time.sleep(0.1)

    @property
    def _path(self) -> str:
        return self.access.path("queues", self.vhost, self.name)

    def _error(self, reason: str) -> BrokerError:
        return BrokerError(self.access.management.endpoint, f"queue {self.name!r} {reason}")

    def _by_total(self, state: QueueState) -> bool:
        """Return whether only a quorum queue's total counts all of its messages."""
        return not _knows_ready_or_held_only(self.access) or self._keeps_dead_letters(state)

    def _keeps_dead_letters(self, state: QueueState) -> bool:
        """Return whether a quorum queue dead-letters at least once.

        What is on its way to the dead-letter target is then neither ready nor with a consumer, and
        only the statistics know of it.
        """
        if state.type is not QueueType.QUORUM:
            return False
        return self.lifetime(state).get(STRATEGY) == _AT_LEAST_ONCE

    def _in_all(self, ready: int = 0) -> Contents | None:
        access, vhost = self.access, self.vhost
        access.totals.begin(access, vhost, lambda: quorum_queues(access, vhost))
        count = access.totals.count(
            access, vhost, self.name, lambda count: count.messages > 0 or count.consumers > 0
        )
        return Contents.counted(QueueType.QUORUM, count, ready=ready) if count else None

    def _latest(self, state: QueueState) -> Count | None:
        """Return what is known of a quorum queue that had this state just now, however old."""
        try:
            listed = Count.of(self.access.management.get(self._path))
        except NotFoundError:
            return None
        told = state.count
        # Only the statistics name all states, but they are the older ones; and what the queue
        # itself was told to count is 0 where its leader is on another node.
        if told and listed and told.messages == listed.messages:
            return listed
        return max(
            (count for count in (told, listed) if count),
            key=lambda count: count.messages,
            default=None,
        )

    def _exactly_empty(self) -> bool:
        """Return whether a quorum queue is known to be empty; note where its log ends by now."""
        try:
            count, _ = self.access.totals.exact(self.access, self.vhost, self.name)
        except NotFoundError:
            return True
        return count is not None and count.messages == 0

    def _confirmed(self) -> tuple[int, int] | None:
        """Return what `declared` does of a quorum queue, once its leader has answered.

        Without a leader the queue seems to be empty and unused, and the broker would delete it by
        force: while one is elected, while most of its nodes are away, or if its declaration was
        cut short. `basic.get` waits for the leader, and takes nothing from a queue that is empty.

        Raises:
            NoLeaderError: There is none.
        """
        try:
            with self.access.channel(self.vhost, closing=True) as channel:
                method, _, _ = channel.basic_get(self.name)
            if method:  # given back when the channel was closed
                return 1, 0
        except ChannelClosedByBroker as error:
            if error.reply_code == 404:
                return None
            if error.reply_code != 405:
                raise self._no_leader(error) from None
            self._consume()
        except AMQPError as error:
            raise self._no_leader(error) from None
        return self.declared()

    def _consume(self) -> None:
        """Make the leader of a queue with a single active consumer answer.

        It refuses `basic.get`.
        """
        try:
            with self.access.channel(self.vhost, closing=True) as channel:
                channel.basic_qos(prefetch_count=1)
                channel.basic_cancel(channel.basic_consume(self.name, lambda *_: None))
        except AMQPError as error:
            raise self._no_leader(error) from None

    def _no_leader(self, error: AMQPError) -> NoLeaderError:
        return NoLeaderError(
            self.access.management.endpoint,
            f"queue {self.name!r} does not answer, so what it holds is not known: it has no "
            f"leader, most of its nodes may be down ({error!r}); nothing is deleted",
        )

    def _classic(self, state: QueueState, ready: int, consumers: int) -> Contents:
        if state.messages is None:
            raise self._not_answering()
        return Contents(
            kind=QueueType.CLASSIC,
            ready=max(ready, state.ready),
            unacknowledged=state.unacknowledged,
            consumers=consumers,
        )

    def _not_answering(self) -> BrokerError:
        return self._error("does not tell what it holds: its node may be down; nothing is deleted")

    def _without_amqp(self, error: NoAmqpError) -> Contents | None:
        """Return what the management API alone can tell, which is never that a queue is unused.

        Raises:
            NoAmqpError: It looks unused. Only a classic queue can be deleted on that condition.
        """
        state = self.state()
        if state is None:
            return None
        if state.type is QueueType.CLASSIC:
            listed = self.access.management.get(self._path)
            return self._classic(state, 0, listed.get("consumers") or 0)
        endpoint = self.access.management.endpoint
        if state.type is QueueType.STREAM:
            said = f"stream {self.name!r} can be read over AMQP only, and {error}"
            raise NoAmqpError(endpoint, said)
        held = self._in_all()
        if held and not held.in_use:
            raise NoAmqpError(
                endpoint,
                f"queue {self.name!r} is empty as far as the management API knows, some seconds "
                f"ago; only AMQP tells for certain, and {error}",
            )
        return held

    def _first_of_stream(self) -> int:
        """Return 1 if a stream has a message, else 0; its own counter lags by a second or two."""
        with self.access.channel(self.vhost, closing=True) as channel:
            channel.basic_qos(prefetch_count=1)
            arguments = {"x-stream-offset": "first"}
            for method, _, _ in channel.consume(
                self.name, arguments=arguments, inactivity_timeout=STREAM_PATIENCE_SECONDS
            ):
                return 0 if method is None else 1
        return 0


def states(
    access: Access, vhost: str, query: str, *, exclusive: bool = False
) -> dict[str, QueueState]:
    """Return what the management API says of a vhost's queues, by name.

    Args:
        access: The broker.
        vhost: The vhost; one that does not exist has none.
        query: What is asked for, of the listing of queues.
        exclusive: Those that go with a connection as well.
    """
    try:
        listed = access.management.get(f"{access.path('queues', vhost)}?{query}")
    except NotFoundError:
        return {}
    every = (QueueState(row) for row in listed)
    return {state.name: state for state in every if exclusive or not state.is_exclusive}


def quorum_queues(access: Access, vhost: str) -> list[str]:
    """Return the names of a vhost's quorum queues."""
    every = states(access, vhost, "disable_stats=true").items()
    return [name for name, state in every if state.type is QueueType.QUORUM]


def delays_messages(access: Access, state: QueueState) -> bool:
    """Return whether a queue may keep messages that are neither ready nor held."""
    return state.type is QueueType.QUORUM and not _knows_ready_or_held_only(access)


def lifetimes(state: QueueState, rules: Sequence[Rules]) -> list[dict[str, Any]]:
    """Return what of a queue's settings `BrokerQueue.lifetime` is about; all that it may be."""
    outcomes = [outcome for one in rules for outcome in one.possible(state.target, state.arguments)]
    return [{key: outcome[key] for key in _LIFETIME_KEYS if key in outcome} for outcome in outcomes]


def statistics(access: Access, path: str, key: str) -> tuple[int, float]:
    """Return a count of an object's statistics, and its change per second; 0 without any."""
    try:
        stated = access.management.get(path).get("message_stats", {})
    except NotFoundError:
        return 0, 0.0
    return stated.get(key, 0), stated.get(f"{key}_details", {}).get("rate", 0.0)


def _knows_ready_or_held_only(access: Access) -> bool:
    """Return whether the broker is known to be too old for states other than these two."""
    return () < access.management.newest_version < _READY_OR_HELD_BEFORE
