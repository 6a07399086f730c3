"""
One publisher or one group of consumers as a process of its own: ``python -m tests.safety.clients``.

Settings come as JSON in the first argument, commands as lines on the standard input: ``stop``,
``pause``, ``resume``. When the input ends, so does the process. Both clients try the next host
whenever a connection fails, for as long as it takes.
Source: "Consumer Acknowledgements and Publisher Confirms", RabbitMQ documentation.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pika
from pika.adapters.select_connection import IOLoop
from pika.channel import Channel

from tests.safety.ledger import Mark, Outcome, Writer
from tests.safety.messages import (
    Messages,
    Publication,
    RawProperties,
    differences,
    digest,
    identity,
    without_added,
)

BACK_OFF = 0.02
"""Seconds before a channel, a subscription or a returned message is tried again."""
RECONNECT = 0.1
"""Seconds before the next host is tried."""
TICK = 0.005
"""Seconds between two looks at what is due to be published."""
ACKNOWLEDGE = 0.01
"""Seconds that acknowledgements are collected for, where a message needs no work."""
BURST = 2.0
"""Seconds of publishing that are made up for after a pause."""
DETAILED = 100
"""So many altered messages are described in full."""


class Client:
    """A connection that comes back on its own, on an event loop that outlives it."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._hosts = [pika.URLParameters(url) for url in urls]
        self._next = 0
        self._stopping = False
        self._connection: pika.SelectConnection | None = None
        self.loop = IOLoop()
        self.loop.add_handler(sys.stdin.fileno(), self._on_input, IOLoop.READ)
        self._connect()

    def run(self) -> None:
        self.loop.start()

    def opened(self, connection: pika.SelectConnection) -> None:
        raise NotImplementedError

    def command(self, word: str) -> None:
        raise NotImplementedError

    def end(self) -> None:
        """Close the connection and let `run` return."""
        self._stopping = True
        if self._connection and self._connection.is_open:
            self._connection.close()
        else:
            self.loop.stop()

    def _connect(self) -> None:
        host = self._hosts[self._next % len(self._hosts)]
        self._next += 1
        self._connection = pika.SelectConnection(
            host,
            on_open_callback=self.opened,
            on_open_error_callback=self._on_closed,
            on_close_callback=self._on_closed,
            custom_ioloop=self.loop,
        )

    def _on_closed(self, _connection: Any, _reason: Any) -> None:
        if self._stopping:
            self.loop.stop()
        else:
            self.loop.call_later(RECONNECT, self._connect)

    def _on_input(self, handle: int, _events: int) -> None:
        words = os.read(handle, 4096).decode().split()
        if not words:
            os._exit(1)  # whoever started this is gone: nobody reads the ledger
        for word in words:
            self.command(word)


class Publisher(Client):
    """Publishes at a rate with confirms; what is not confirmed is sent again, as what it was."""

    def __init__(
        self,
        urls: Sequence[str],
        messages: Messages,
        writer: Writer,
        *,
        rate: float | None,
        count: int | None,
        window: int,
    ) -> None:
        self._messages = messages
        self._writer = writer
        self._rate = rate
        self._count = count
        self._window = window
        self._channel: Channel | None = None
        self._outstanding: dict[int, int] = {}
        self._tag = 0
        self._returned: set[int] = set()
        self._again: deque[tuple[float, int]] = deque()
        self._made = 0
        self._begin: float | None = None
        super().__init__(urls)
        self.loop.call_later(TICK, self._tick)

    def command(self, word: str) -> None:
        if word == "stop":
            self._count = self._made

    def opened(self, connection: pika.SelectConnection) -> None:
        connection.channel(on_open_callback=self._on_channel)

    def _on_channel(self, channel: Channel) -> None:
        channel.add_on_close_callback(self._on_channel_closed)
        channel.add_on_return_callback(self._on_return)

        def ready(_frame: Any) -> None:
            self._channel, self._tag = channel, 0

        channel.confirm_delivery(self._on_answer, callback=ready)

    def _on_channel_closed(self, channel: Channel, _reason: Any) -> None:
        self._channel = None
        self._retry(Outcome.UNCONFIRMED, self._outstanding.values(), 0.0)
        self._outstanding.clear()
        self._returned.clear()
        if channel.connection.is_open and not self._stopping:
            self.loop.call_later(BACK_OFF, lambda: self._reopen(channel.connection))

    def _reopen(self, connection: pika.SelectConnection) -> None:
        if connection.is_open:
            self.opened(connection)

    def _on_return(self, _channel: Any, _method: Any, properties: Any, body: bytes) -> None:
        result = identity(properties.raw, body)
        if result:
            self._returned.add(result.sequence)

    def _on_answer(self, frame: Any) -> None:
        tag = frame.method.delivery_tag
        outstanding = self._outstanding
        if frame.method.multiple:
            sequences = []
            while outstanding and (oldest := next(iter(outstanding))) <= tag:
                sequences.append(outstanding.pop(oldest))
        else:
            sequences = [outstanding.pop(tag)]
        if isinstance(frame.method, pika.spec.Basic.Nack):
            self._returned.difference_update(sequences)
            self._retry(Outcome.NACKED, sequences, BACK_OFF)
            return
        now = time.monotonic()
        for sequence in sequences:
            if sequence in self._returned:
                self._returned.discard(sequence)
                self._retry(Outcome.RETURNED, (sequence,), BACK_OFF)
            else:
                self._write(Outcome.CONFIRMED, sequence, now)

    def _retry(self, outcome: Outcome, sequences: Any, delay: float) -> None:
        now = time.monotonic()
        for sequence in sequences:
            self._write(outcome, sequence, now)
            self._again.append((now + delay, sequence))

    def _write(self, outcome: Outcome, sequence: int, now: float) -> None:
        content = digest(*self._messages.content(sequence))
        self._writer.add(outcome, self._messages.publisher, sequence, now, content)

    def _tick(self) -> None:
        self.loop.call_later(TICK, self._tick)
        if self._channel is not None:
            self._publish(self._channel)
        self._writer.flush()
        if self._made == self._count and not self._again and not self._outstanding:
            self.end()

    def _publish(self, channel: Channel) -> None:
        now = time.monotonic()
        again = self._again
        while again and again[0][0] <= now and len(self._outstanding) < self._window:
            self._send(channel, again.popleft()[1])
        for _ in range(self._due(now)):
            if len(self._outstanding) + len(again) >= self._window or self._made == self._count:
                return
            self._send(channel, self._made)
            self._made += 1

    def _due(self, now: float) -> int:
        """Return how many new messages the rate asks for."""
        if self._rate is None:
            return self._window
        if self._begin is None:
            self._begin = now
        due = int((now - self._begin) * self._rate) - self._made
        most = int(self._rate * BURST) + 1
        if due > most:
            self._begin += (due - most) / self._rate
        return min(due, most)

    def _send(self, channel: Channel, sequence: int) -> None:
        properties, body = self._messages.content(sequence)
        publication = self._messages.publication(sequence)
        self._tag += 1
        self._outstanding[self._tag] = sequence
        channel.basic_publish(
            publication.exchange,
            publication.routing_key,
            body,
            RawProperties(properties),
            mandatory=True,
        )


@dataclass(kw_only=True)
class Subscription:
    """One consumer of one queue: deliveries wait here until they are worked on."""

    consumer: int
    index: int
    queue: str
    prefetch: int
    work_seconds: float
    channel: Channel | None = None
    waiting: deque[tuple[Any, bytes, bytes]] = field(default_factory=deque)
    working: bool = False


class Consumers(Client):
    """Consumes several queues; what arrives is written down before it is acknowledged."""

    def __init__(
        self,
        urls: Sequence[str],
        subscriptions: Sequence[Subscription],
        published: Mapping[int, Messages],
        writer: Writer,
        details: Path,
    ) -> None:
        self._subscriptions = subscriptions
        self._published = published
        self._writer = writer
        self._details = details.open("a", buffering=1)
        self._described = 0
        self._added: dict[str, int] = {}
        self._paused = False
        super().__init__(urls)
        self.loop.call_later(ACKNOWLEDGE, self._tick)

    def command(self, word: str) -> None:
        match word:
            case "pause" | "resume":
                self._paused = word == "pause"
            case "stop":
                self._work_off()
                if self._added:
                    self._details.write(json.dumps({"added": self._added}) + "\n")
                self.end()

    def opened(self, connection: pika.SelectConnection) -> None:
        for subscription in self._subscriptions:
            self._open(connection, subscription)

    def _open(self, connection: pika.SelectConnection, subscription: Subscription) -> None:
        if not connection.is_open or self._stopping:
            return

        def later(_channel: Channel, _reason: Any) -> None:
            subscription.channel = None
            # The broker gives them to a consumer again: none of them counts as delivered.
            subscription.waiting.clear()
            self.loop.call_later(BACK_OFF, lambda: self._open(connection, subscription))

        def ready(channel: Channel) -> None:
            subscription.channel = channel
            channel.add_on_close_callback(later)
            channel.add_on_cancel_callback(lambda _frame: self._resubscribe(subscription))
            channel.basic_qos(prefetch_count=subscription.prefetch)
            self._subscribe(channel, subscription)

        connection.channel(on_open_callback=ready)

    def _resubscribe(self, subscription: Subscription) -> None:
        # The queue was deleted. What was taken from it is worked off on the open channel.
        def again() -> None:
            if subscription.channel and subscription.channel.is_open:
                self._subscribe(subscription.channel, subscription)

        self.loop.call_later(BACK_OFF, again)

    def _subscribe(self, channel: Channel, subscription: Subscription) -> None:
        def take(_channel: Channel, method: Any, properties: Any, body: bytes) -> None:
            subscription.waiting.append((method, properties.raw, body))
            if subscription.work_seconds:
                self._work(subscription)
            elif len(subscription.waiting) * 2 > subscription.prefetch and not self._paused:
                self._acknowledge(subscription)

        channel.basic_consume(subscription.queue, take)

    def _tick(self) -> None:
        self.loop.call_later(ACKNOWLEDGE, self._tick)
        if not self._paused:
            self._work_off()

    def _work_off(self) -> None:
        for subscription in self._subscriptions:
            if subscription.work_seconds:
                self._work(subscription)
            else:
                self._acknowledge(subscription)

    def _acknowledge(self, subscription: Subscription) -> None:
        if not subscription.waiting or subscription.channel is None:
            return
        last = subscription.waiting[-1][0].delivery_tag
        now = time.monotonic()
        while subscription.waiting:
            self._record(now, subscription, *subscription.waiting.popleft())
        self._writer.flush()
        subscription.channel.basic_ack(last, multiple=True)

    def _work(self, subscription: Subscription) -> None:
        if subscription.working or not subscription.waiting or self._paused:
            return
        subscription.working = True
        channel, delivery = subscription.channel, subscription.waiting[0]

        def done() -> None:
            subscription.working = False
            if channel is subscription.channel and channel is not None:
                subscription.waiting.popleft()
                self._record(time.monotonic(), subscription, *delivery)
                self._writer.flush()
                channel.basic_ack(delivery[0].delivery_tag)
            self._work(subscription)

        self.loop.call_later(subscription.work_seconds, done)

    def _record(
        self, seconds: float, subscription: Subscription, method: Any, raw: bytes, body: bytes
    ) -> None:
        result = identity(raw, body)
        messages = self._published.get(result.publisher) if result else None
        if result is None or messages is None:
            self._describe({"message": "unknown", "altered": {"identity": ["known", "unknown"]}})
            return
        mark = Mark.REDELIVERED if method.redelivered else Mark.NONE
        expected = messages.content(result.sequence)
        properties = raw
        if (raw, body) != expected:
            properties, added = without_added(raw)
            for name in added:
                mark |= Mark.ADDED
                self._added[name] = self._added.get(name, 0) + 1
            if (properties, body) != expected:
                mark |= Mark.ALTERED
                self._describe(
                    {
                        "message": f"{result.publisher}-{result.sequence} at {subscription.queue}",
                        "altered": differences(expected, (properties, body)),
                    }
                )
        publication = messages.publication(result.sequence)
        if (method.exchange, method.routing_key) != (publication.exchange, publication.routing_key):
            mark |= Mark.REROUTED
        self._writer.add(
            mark,
            result.publisher,
            result.sequence,
            seconds,
            digest(properties, body),
            queue=subscription.index,
            consumer=subscription.consumer,
        )

    def _describe(self, detail: Mapping[str, Any]) -> None:
        self._described += 1
        if self._described > DETAILED:
            detail = {
                "message": detail["message"],
                "altered": dict.fromkeys(detail["altered"], ("", "")),
            }
        self._details.write(json.dumps(detail) + "\n")


def main(text: str) -> None:
    """Run the client that the settings describe; `traffic.Traffic` writes them."""
    settings = json.loads(text)
    logging.disable(logging.CRITICAL)
    pika.spec.props[pika.BasicProperties.INDEX] = RawProperties
    folder, name = Path(settings["folder"]), settings["name"]
    publications = [Publication(**publication) for publication in settings["publications"]]

    def messages(publisher: int) -> Messages:
        return Messages(
            publisher,
            publications,
            body_bytes=settings["body_bytes"],
            expiration=settings["expiration"],
        )

    client: Client
    if settings["role"] == "publisher":
        (folder / f"started-{name}").write_text(str(time.monotonic()))
        client = Publisher(
            settings["urls"],
            messages(settings["publisher"]),
            Writer(folder / f"published-{name}.bin"),
            rate=settings["rate"],
            count=settings["count"],
            window=settings["window"],
        )
    else:
        client = Consumers(
            settings["urls"],
            [Subscription(**subscription) for subscription in settings["subscriptions"]],
            {number: messages(number) for number in range(settings["publishers"])},
            Writer(folder / f"delivered-{name}.bin"),
            folder / f"details-{name}.jsonl",
        )
    client.run()


if __name__ == "__main__":
    main(sys.argv[1])
