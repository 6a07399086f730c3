"""
AMQP connections that are used again: opening one takes longer than most of what it is used for.

Source: "Connections", RabbitMQ documentation.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock

import pika
from pika.exceptions import AMQPError

_FRESH_SECONDS = 20.0
"""Nobody answers heartbeats on an idle connection: it is closed before the broker would do it."""


class Pool:
    """Open connections by vhost that are not in use. A connection is for one thread at a time."""

    def __init__(self) -> None:
        self._idle: dict[str, list[tuple[float, pika.BlockingConnection]]] = {}
        self._guard = Lock()
        atexit.register(self._close_all)  # else the broker warns of each that it lost

    @contextmanager
    def connection(
        self, vhost: str, connect: Callable[[str], pika.BlockingConnection]
    ) -> Iterator[pika.BlockingConnection]:
        """Lend a connection to a vhost, a new one if need be; after an error it is closed."""
        connection = self._take(vhost) or connect(vhost)
        try:
            yield connection
        except BaseException:
            _close(connection)
            raise
        with self._guard:
            self._idle.setdefault(vhost, []).append((time.monotonic(), connection))

    def _take(self, vhost: str) -> pika.BlockingConnection | None:
        while True:
            with self._guard:
                if not self._idle.get(vhost):
                    return None
                since, connection = self._idle[vhost].pop()
            if time.monotonic() - since < _FRESH_SECONDS:
                # One that the broker has closed meanwhile says so here.
                with suppress(AMQPError):
                    connection.process_data_events(time_limit=0)
                    return connection
            _close(connection)

    def _close_all(self) -> None:
        with self._guard:
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for _, connection in connections:
                _close(connection)


def _close(connection: pika.BlockingConnection) -> None:
    with suppress(AMQPError):
        connection.close()
