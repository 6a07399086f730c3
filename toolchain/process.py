"""Processes of our own on Linux: started, recognised beyond doubt, and ended."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import BrokerError

_LAUNCH = str(Path(__file__).with_name("launch.py"))

# A parent-death signal comes when the *thread* that forked ends. This thread lives as long as the
# process does, whichever thread starts a broker.
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="broker-spawner")


@dataclass(frozen=True)
class Process:
    """A process by its `pid` and its start in clock ticks after boot, so never a later one."""

    pid: int
    start: int

    @classmethod
    def read(cls, record: Path) -> "Process | None":
        """Return the process of a record that `spawn` made; None if there is none."""
        try:
            pid, start = record.read_text(encoding="ascii").split()
            return cls(int(pid), int(start))
        except (FileNotFoundError, ValueError):
            return None

    def alive(self) -> bool:
        """Return whether it runs. A dead child of ours is reaped on the way."""
        result = _stat(self.pid)
        if result is None or result[1] != self.start:
            return False
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # A zombie with more threads is still ending, and its ports are still open.
            if result[0] != "Z" or len(list(Path(f"/proc/{self.pid}/task").iterdir())) > 1:
                return True
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        return False

    def signal(self, number: int) -> None:
        """Send the signal to this very process; nothing happens if it is gone."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            # The handle stays with one process: no pid can be recycled between check and signal.
            if self.alive():
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


def spawn(
    command: Sequence[str],
    *,
    record: Path,
    output: Path,
    environment: Mapping[str, str],
    with_parent: bool,
    inherit: int | None = None,
) -> Process:
    """Start a command in a session of its own and return it once it is recorded in `record`.

    Its output goes to the end of the file `output`, the open file `inherit` stays open in it.
    `with_parent`: it is killed as soon as this process ends, in whatever way.
    Raises BrokerError if the command does not start.
    """
    if not sys.platform.startswith("linux"):
        raise BrokerError("local broker processes need Linux: start RabbitMQ or Docker yourself")
    record.unlink(missing_ok=True)
    parent = str(os.getpid() if with_parent else 0)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(output), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    if inherit is not None:
        actions.append((os.POSIX_SPAWN_DUP2, inherit, 3))
    pid = _SPAWNER.submit(
        os.posix_spawn,
        sys.executable,
        [sys.executable, "-I", "-S", _LAUNCH, str(record), parent, *command],
        environment,
        file_actions=actions,
        setsid=True,
    ).result()
    while (process := Process.read(record)) is None:
        if os.waitpid(pid, os.WNOHANG)[0]:
            raise BrokerError(f"{command[0]} does not start:\n{output.read_text()[-2000:]}")
        time.sleep(0.005)
    return process


def stop(processes: Sequence[Process], grace: float = 10) -> None:
    """End all of them: SIGTERM, and after `grace` seconds SIGKILL. Returns when all are gone."""
    deadline = time.monotonic() + grace
    for process in processes if grace else ():
        process.signal(signal.SIGTERM)
    while alive := [process for process in processes if process.alive()]:
        for process in alive if time.monotonic() >= deadline else ():
            process.signal(signal.SIGKILL)
        time.sleep(0.02)


def _stat(pid: int) -> tuple[str, int] | None:
    """Return the state letter and the start time of a process; None if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may itself hold blanks and parentheses.
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])
