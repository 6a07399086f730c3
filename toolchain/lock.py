"""A lock between processes that a crash releases and that may be removed while others wait."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def exclusive(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock file `path`, made with its folder if absent; `waiting` is told of a wait.

    The holder may remove the file: who waited for it then takes a new one.
    """
    while (lock := _acquire(path, waiting)) is None:
        pass
    with lock:
        yield


def shared(path: Path) -> IO[bytes]:
    """Return the open lock file: nobody has it exclusively while it is open here or in a child."""
    lock = path.open("ab")
    fcntl.flock(lock, fcntl.LOCK_SH)
    return lock


def is_free(path: Path) -> bool:
    """Return whether nobody holds the lock file, exclusively or shared."""
    with path.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _acquire(path: Path, waiting: Callable[[], None]) -> IO[bytes] | None:
    """Return the locked file; None if it was removed meanwhile, so that it guards nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        waiting()
        fcntl.flock(lock, fcntl.LOCK_EX)
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(path.stat(), os.fstat(lock.fileno())):
            return lock
    lock.close()
    return None
