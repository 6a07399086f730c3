"""
AMQP: its errors, and channels that are used again, since opening one takes longer than most of
what it is used for.

Source: "Connections", "Channels", RabbitMQ documentation.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.compat import long
from pika.exceptions import AMQPError, ChannelClosedByBroker

from rabbit_topology.broker.values import is_number

__all__ = ["AMQPError", "ChannelClosedByBroker", "Pool", "long_numbers"]

_FRESH_SECONDS = 20.0
"""Nobody answers heartbeats on an idle connection: it is closed before the broker would do it."""


class Pool:
    """Channels by vhost that are not in use, each alone on its connection.

    A connection is for one thread at a time.
    """

    def __init__(self) -> None:
        self._idle: dict[str, list[tuple[float, BlockingChannel]]] = {}
        self._guard = Lock()
        atexit.register(self._close_all)  # else the broker warns of each that it lost

    @contextmanager
    def channel(
        self, vhost: str, connect: Callable[[str], pika.BlockingConnection]
    ) -> Iterator[BlockingChannel]:
        """Lend a channel to a vhost, a new one if need be; after an error it is closed.

        One that was closed while it was lent is followed by another on the same connection.
        """
        channel = self._take(vhost) or connect(vhost).channel()
        try:
            yield channel
        except BaseException:
            _close(channel)
            raise
        with self._guard:
            self._idle.setdefault(vhost, []).append((time.monotonic(), channel))

    def _take(self, vhost: str) -> BlockingChannel | None:
        while True:
            with self._guard:
                if not self._idle.get(vhost):
                    return None
                since, channel = self._idle[vhost].pop()
            if time.monotonic() - since < _FRESH_SECONDS:
                # One that the broker has closed meanwhile says so here.
                with suppress(AMQPError):
                    channel.connection.process_data_events(time_limit=0)
                    return channel if channel.is_open else channel.connection.channel()
            _close(channel)

    def _close_all(self) -> None:
        with self._guard:
            idle, self._idle = self._idle, {}
        for channels in idle.values():
            for _, channel in channels:
                _close(channel)


def _close(channel: BlockingChannel) -> None:
    with suppress(AMQPError):
        channel.connection.close()


def long_numbers(value: Any) -> Any:
    """Return a value with whole numbers that AMQP sends as 64 bits, as the management API does."""
    match value:
        case Mapping():
            return {key: long_numbers(one) for key, one in value.items()}
        case list():
            return [*map(long_numbers, value)]
        case int() if is_number(value):
            return long(value)
    return value
