"""One command: how long it takes, and how much memory it and all that it starts take at most."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

_SAMPLE_SECONDS = 0.1
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class FailedError(Exception):
    """A command failed, or did something other than what was to be measured."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one command took.

    seconds: from its start to its end. peak_bytes: the most resident memory of its whole process
    tree, sampled every tenth of a second; None where nothing is started. output: what it printed.
    """

    seconds: float
    peak_bytes: int | None
    output: str = ""


def run(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], limit: float) -> Measured:
    """Run a command to its end.

    Raises FailedError if its exit status is not 0, or if it takes more than `limit` seconds: its
    process tree is then killed.
    """
    with tempfile.TemporaryFile("w+") as printed:
        started = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        sampler = _Sampler(process.pid)
        try:
            status = process.wait(limit)
            seconds = time.monotonic() - started
        except BaseException as error:
            _kill(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise FailedError(f"{_short(command)} takes more than {limit:.0f} s") from None
            raise
        finally:
            peak = sampler.stop()
        printed.seek(0)
        output = printed.read()
    if status:
        raise FailedError(f"{_short(command)} failed ({status}):\n{output[-3000:]}")
    return Measured(seconds=seconds, peak_bytes=peak, output=output)


class _Sampler:
    """Adds up the memory of a process tree again and again, and keeps the most."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = 0
        self._ended = Event()
        self._thread = Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._ended.set()
        self._thread.join()
        return self._peak

    def _sample(self) -> None:
        while not self._ended.is_set():
            self._peak = max(self._peak, sum(map(_resident, tree(self._pid))))
            self._ended.wait(_SAMPLE_SECONDS)


def tree(pid: int) -> list[int]:
    """Return a process and all below it, as far as they run."""
    result = [pid]
    for parent in result:  # which grows meanwhile
        # One that ends in between takes its list with it.
        with suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                with suppress(OSError):
                    result += map(int, (task / "children").read_text().split())
    return result


def _resident(pid: int) -> int:
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    return 0


def _kill(process: subprocess.Popen[bytes]) -> None:
    for pid in tree(process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _short(command: Sequence[str]) -> str:
    return " ".join([Path(command[0]).name, *command[1:3]])
