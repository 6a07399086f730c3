"""
Clients of other people, each in a thread: they publish and consume while a test does something.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker, UnroutableError

from tests.support.stacks import connect
from toolchain.broker import Broker


@dataclass(kw_only=True)
class _Client:
    """Runs until it is left; whatever goes wrong in it is raised then."""

    broker: Broker
    vhost: str
    name: str = "client"
    _left: Event = field(default_factory=Event)
    _error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left.set()
        self._thread.join(30)
        if self._error and not error:
            raise self._error

    def _run(self) -> None:
        try:
            with connect(self.broker, self.vhost, name=self.name) as connection:
                self._work(connection)
        except BaseException as error:  # noqa: BLE001 - raised again where it is seen
            self._error = error

    def _work(self, connection: pika.BlockingConnection) -> None:
        raise NotImplementedError


@dataclass(kw_only=True)
class Consumer(_Client):
    """Consumes a queue; when it is cancelled it subscribes again at once.

    With ``declares`` it declares the queue with these arguments whenever it subscribes, as many
    client libraries do. ``taken`` has the numbers of the messages, in order, and when they came.
    """

    queue: str = "q"
    declares: Mapping[str, Any] | None = None
    prefetch: int = 300
    work_seconds: float = 0.0
    taken: list[int] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    headers: list[Mapping[str, Any] | None] = field(default_factory=list)
    refused: int = 0
    """How often its declaration was refused, since the queue was declared otherwise."""

    def _work(self, connection: pika.BlockingConnection) -> None:
        while not self._left.is_set():
            try:
                self._consume(connection)
            except AMQPError:  # a broker closes it where a queue goes while it subscribes
                connection = connect(self.broker, self.vhost, name=self.name)

    def _consume(self, connection: pika.BlockingConnection) -> None:
        channel = self._subscribe(connection)
        while not self._left.is_set():
            connection.process_data_events(time_limit=0.01)
            if self._gone or not channel.is_open:
                channel = self._subscribe(connection)

    def _subscribe(self, connection: pika.BlockingConnection) -> BlockingChannel:
        declares = self.declares
        while True:
            channel = connection.channel()
            channel.basic_qos(prefetch_count=self.prefetch)
            try:
                if declares is not None:
                    channel.queue_declare(self.queue, durable=True, arguments=dict(declares))
                channel.basic_consume(self.queue, self._take)
            except ChannelClosedByBroker as error:
                if error.reply_code == 406:
                    self.refused += 1
                    declares = None  # the others' declaration will do
                time.sleep(0.005)
                if self._left.is_set():
                    return connection.channel()
                continue
            self._gone = False
            channel.add_on_cancel_callback(self._cancelled)
            return channel

    def _cancelled(self, _method: object) -> None:
        self._gone = True

    def _take(
        self, channel: BlockingChannel, method: Any, properties: pika.BasicProperties, body: bytes
    ) -> None:
        if self.work_seconds:
            time.sleep(self.work_seconds)
        self.taken.append(int(body.split()[0]))
        self.at.append(time.monotonic())
        self.headers.append(properties.headers)
        channel.basic_ack(method.delivery_tag)

    @property
    def longest_gap(self) -> float:
        """The longest time in seconds without a message."""
        return max(
            (after - before for before, after in zip(self.at, self.at[1:], strict=False)), default=0
        )


@dataclass(kw_only=True)
class Publisher(_Client):
    """Publishes numbered messages, each until it is confirmed; ``confirmed`` has the numbers.

    With ``declares`` it declares the exchange of that type whenever it has to begin again.
    """

    exchange: str = "e"
    routing_key: str = "k"
    rate: float = 500.0
    declares: str | None = None
    properties: pika.BasicProperties = field(
        default_factory=lambda: pika.BasicProperties(delivery_mode=2)
    )
    padding: bytes = b""
    first: int = 0
    """The first message's number."""
    confirmed: list[int] = field(default_factory=list)
    refused: int = 0

    def _work(self, connection: pika.BlockingConnection) -> None:
        channel, number, began = connection.channel(), 0, time.monotonic()
        channel.confirm_delivery()
        while not self._left.is_set():
            ahead = number / self.rate - (time.monotonic() - began)
            if ahead > 0:
                time.sleep(min(ahead, 0.05))
                continue
            body = f"{self.first + number} ".encode() + self.padding
            try:
                channel.basic_publish(
                    self.exchange, self.routing_key, body, self.properties, mandatory=True
                )
            except (AMQPError, UnroutableError):
                if connection.is_closed:
                    raise
                if not channel.is_open:
                    channel = self._again(connection)
                continue
            self.confirmed.append(self.first + number)
            number += 1

    def _again(self, connection: pika.BlockingConnection) -> BlockingChannel:
        channel = connection.channel()
        if self.declares:
            try:
                channel.exchange_declare(self.exchange, self.declares, durable=True)
            except ChannelClosedByBroker:
                self.refused += 1
                channel = connection.channel()
        with suppress(ValueError):
            channel.confirm_delivery()
        return channel
