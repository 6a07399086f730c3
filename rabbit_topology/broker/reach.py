"""
Which of a broker's AMQP addresses answer at all: all are asked at once, and briefly.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from threading import Lock, Thread

from rabbit_topology.compiler.urls import Address
from rabbit_topology.errors import reason

_SECONDS = 3.0
"""An address behind a firewall does not even refuse."""

_REMEMBERED_SECONDS = 5.0
"""Where many queues are asked, each would wait for the same dead addresses."""


class Reach:
    """The addresses that do not answer, remembered for a few seconds."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._silent: dict[Address, str] = {}
        self._until = 0.0

    def silent(self, addresses: Sequence[Address]) -> dict[Address, str]:
        """Return the addresses that take no TCP connection, each with the reason."""
        with self._guard:
            if time.monotonic() > self._until:
                self._silent = probe(addresses)
                self._until = time.monotonic() + _REMEMBERED_SECONDS
            return dict(self._silent)


def probe(addresses: Sequence[Address], seconds: float = _SECONDS) -> dict[Address, str]:
    """Return the addresses that take no TCP connection within ``seconds``, each with the reason."""
    answers: SimpleQueue[tuple[Address, str]] = SimpleQueue()

    def ask(address: Address) -> None:
        try:
            socket.create_connection((address.host, address.port), timeout=seconds).close()
        except (OSError, UnicodeError) as error:  # the latter: no host has such a name
            answers.put((address, reason(error)))
        else:
            answers.put((address, ""))

    for address in addresses:
        # Nobody waits for them in the end: a name server may take minutes.
        Thread(target=ask, args=(address,), daemon=True).start()
    silent = dict.fromkeys(addresses, f"no answer within {seconds:g} s")
    deadline = time.monotonic() + seconds + 0.5
    for _ in addresses:
        try:
            address, failure = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            break
        if failure:
            silent[address] = failure
        else:
            silent.pop(address, None)
    return silent
