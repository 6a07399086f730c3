"""
Taking messages from a queue, and publishing them so that it is known what became of each.

Nothing is acknowledged unless somebody says so, so whatever ends the program gives back the rest.
Source: "Consumer Acknowledgements and Publisher Confirms", "Publishers" (unroutable messages),
RabbitMQ documentation.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker, NackError, UnroutableError

from rabbit_topology.broker import verbatim
from rabbit_topology.broker.access import Access
from rabbit_topology.broker.verbatim import Verbatim
from rabbit_topology.errors import BrokerError

_STEP_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """One message that was taken; it is not acknowledged."""

    tag: int
    exchange: str
    routing_key: str
    redelivered: bool
    properties: Verbatim
    body: bytes
    at: float
    """When it came, by the monotonic clock."""


class Outcome(StrEnum):
    """What the broker says of a message that was published."""

    CONFIRMED = "confirmed"
    RETURNED = "returned"
    REFUSED = "refused"


class Transfer:
    """Messages of one queue, each delivered once, and a way to publish, on one connection.

    One connection: while the broker takes no messages, heartbeats are answered all the same, so
    that what was taken stays with this consumer.
    """

    def __init__(self, channel: BlockingChannel, queue: str, endpoint: str) -> None:
        self._channel = channel
        self._connection = channel.connection
        self._queue = queue
        self._endpoint = endpoint
        self._outlet: BlockingChannel | None = None
        self._waiting: deque[Delivery] = deque()
        self._consumer = ""
        self._cancelled = False
        self.delivered = 0
        """How many messages were delivered."""

    def begin(self, prefetch: int) -> None:
        """Have messages delivered, so many at most that are not acknowledged."""
        self._channel.basic_qos(prefetch_count=prefetch)
        self._channel.add_on_cancel_callback(self._on_cancel)
        self._consumer = self._channel.basic_consume(self._queue, self._on_delivery)

    def next(self, patience: float) -> Delivery | None:
        """Return the next message, None if none comes for ``patience`` seconds.

        Raises:
            BrokerError: The queue is gone, or the broker has closed the channel.
        """
        deadline = time.monotonic() + patience
        while not self._waiting:
            left = deadline - time.monotonic()
            if left < 0:
                return None
            self._look(min(left, _STEP_SECONDS))
        return self._waiting.popleft()

    def pause(self, seconds: float) -> None:
        """Wait, and answer the broker meanwhile; raises as `next` does."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._look(min(left, _STEP_SECONDS))

    @property
    def waiting(self) -> int:
        """How many messages were delivered, and not asked for yet."""
        return len(self._waiting)

    @property
    def oldest(self) -> float | None:
        """When the first of these came, by the monotonic clock; None: there is none."""
        return self._waiting[0].at if self._waiting else None

    def publish(
        self, exchange: str, routing_key: str, properties: bytes, body: bytes
    ) -> tuple[Outcome, str]:
        """Publish a message; return what became of it, and what the broker says of it.

        Raises:
            AMQPError: The connection broke: nobody knows what became of it.
        """
        if self._outlet is None or not self._outlet.is_open:
            self._outlet = self._connection.channel()
            self._outlet.confirm_delivery()
        try:
            self._outlet.basic_publish(
                exchange, routing_key, body, Verbatim(properties), mandatory=True
            )
        except UnroutableError as error:
            return Outcome.RETURNED, str(error.messages[0].method.reply_text)
        except NackError:
            return (
                Outcome.REFUSED,
                "the broker did not confirm it: a queue is full or not available",
            )
        except ChannelClosedByBroker as error:
            # The broker refuses what a channel is closed for: nothing of it went anywhere.
            return Outcome.REFUSED, str(error.reply_text)
        return Outcome.CONFIRMED, ""

    def acknowledge(self, delivery: Delivery) -> None:
        """Take a message out of its queue.

        Raises:
            AMQPError: The channel or the connection broke: it comes back to its queue.
        """
        self._channel.basic_ack(delivery.tag)

    def give_back(self, *, nack: bool) -> bool:
        """Give back to the front of the queue, in order, all that was not acknowledged.

        Return whether there was a channel to close: else the broker gives it back, at some time.

        Not by the client's own way to close: that would reject what it has not handed on yet, one
        by one, to the end of some queues.

        Args:
            nack: By `basic.nack` first: see `messages.delivery_limit`.
        """
        if not self._channel.is_open:
            return False
        plain = self._channel._impl  # noqa: SLF001 - see above
        if nack and self._consumer and not self._cancelled:
            # Cancelled, so that none is delivered again; and closed before any is read that came
            # meanwhile, which the client would reject.
            plain.basic_cancel(self._consumer)
            plain.basic_nack(0, multiple=True, requeue=True)
        plain.close()
        while not self._channel.is_closed:
            self._connection.process_data_events(time_limit=_STEP_SECONDS)
        return True

    def _look(self, seconds: float) -> None:
        self._connection.process_data_events(time_limit=seconds)
        if self._cancelled:
            raise BrokerError(
                self._endpoint,
                f"queue {self._queue!r} was deleted, or its node stopped: the broker ended what "
                "took its messages",
            )
        if not self._channel.is_open:
            raise BrokerError(
                self._endpoint,
                f"the broker has closed the channel that took messages from {self._queue!r}: they "
                "were held for longer than its consumer timeout, or a queue has gone",
            )

    def _on_delivery(
        self, _channel: object, method: Any, properties: Verbatim, body: bytes
    ) -> None:
        self.delivered += 1
        self._waiting.append(
            Delivery(
                tag=method.delivery_tag,
                exchange=method.exchange,
                routing_key=method.routing_key,
                redelivered=method.redelivered,
                properties=properties,
                body=body,
                at=time.monotonic(),
            )
        )

    def _on_cancel(self, _frame: object) -> None:
        self._cancelled = True


@contextmanager
def opened(access: Access, vhost: str, queue: str) -> Iterator[Transfer]:
    """Lend a transfer of a queue's messages; the caller gives back what it has not acknowledged.

    Raises:
        NoAmqpError: No AMQP address answers.
        BrokerError: The broker refuses the user, or the vhost to the user.
    """
    with access.channel(vhost, closing=True) as channel, verbatim.kept(channel):
        yield Transfer(channel, queue, access.management.endpoint)
