"""
Ctrl-C: what is at work ends or puts everything back, and nothing new begins.

The engine's host for Python interrupts the program and kills it 5 s later. So an interrupt is only
noted: whatever waits looks for it, and the program ends when nothing is at work any more.

Source: "pulumi cancel" and "Resource hooks", Pulumi documentation.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread

from rabbit_topology.errors import TopologyError

_ANSWER_SECONDS = 0.3
"""How long the answer of a hook that has ended may take to reach the engine."""

_STATUS = 130
"""What a shell says of a program that an interrupt has ended."""

_asked = Event()
_at_work = 0
_guard = Lock()


class InterruptedRunError(TopologyError):
    """The run was interrupted, so nothing new begins."""

    def __init__(self) -> None:
        super().__init__("the run was interrupted; run again, and it goes on from here")


def listen() -> None:
    """Note interrupts from now on, instead of ending in the middle of something."""
    signal.signal(signal.SIGINT, _note)


def check() -> None:
    """Raise if the run was interrupted: whatever can stop asks while it waits.

    Raises:
        InterruptedRunError: It was.
    """
    if _asked.is_set():
        raise InterruptedRunError


@contextmanager
def at_work() -> Iterator[None]:
    """Be waited for when an interrupt comes.

    Raises:
        InterruptedRunError: It has come already.
    """
    global _at_work  # noqa: PLW0603 - a signal is the process's, and so is what it waits for
    check()
    with _guard:
        _at_work += 1
    try:
        yield
    finally:
        with _guard:
            _at_work -= 1


def _note(_signal: int, _frame: object) -> None:
    if not _asked.is_set():
        _asked.set()
        Thread(target=_leave, daemon=True).start()


def _leave() -> None:
    """End the program as soon as nothing is at work."""
    while True:
        time.sleep(_ANSWER_SECONDS)
        with _guard:
            if not _at_work:
                break
    sys.stdout.flush()
    os._exit(_STATUS)  # the SDK would print where each of its coroutines was
