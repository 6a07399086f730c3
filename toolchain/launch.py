"""Become another program after writing down who that is; run as a script, by `process.spawn`.

Arguments: the file for "PID START", the pid of the process to die with (0: none), the command.
START is in clock ticks after boot. Writing them here leaves no moment at which the program runs
and is not recorded.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def main(record: str, parent: str, *command: str) -> None:
    """Record this process and replace it with the command."""
    if int(parent):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have died before the line above: then no signal will ever come.
        if os.getppid() != int(parent):
            sys.exit("the process that started this broker is gone")
    stat = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace")
    start = stat.rpartition(")")[2].split()[19]
    new = Path(f"{record}.new")
    new.write_text(f"{os.getpid()} {start}\n", encoding="ascii")
    new.replace(record)
    # It would keep the caller's folder busy.
    os.chdir(new.parent)
    os.execvp(command[0], command)  # noqa: S606 -- the command is `process.spawn`'s


if __name__ == "__main__":
    main(*sys.argv[1:])
