"""
Ctrl-C during a replacement, as the engine's current host for Python passes it on.

It interrupts the program and kills it 5 s later. The host that the tests build is older and does
neither, so both are done here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

from tests.support.clients import Publisher
from tests.support.stacks import Stack, connect, fill, held, wait_for, wanted

MESSAGES = 20
KILLED_AFTER_SECONDS = 5.0


def config(vhost: str, type_: str) -> dict[str, Any]:
    return {
        "vhost": vhost,
        "exchanges": {"e": {}},
        "queues": {"q": {"type": type_}},
        "bindings": [{"source": "e", "queue": "q", "routing_key": "k"}],
    }


class Run:
    """`pulumi up` in the background."""

    def __init__(self, stack: Stack) -> None:
        self._mark = f"PULUMI_BACKEND_URL={stack.env['PULUMI_BACKEND_URL']}".encode()
        self.text = ""
        self.process = subprocess.Popen(
            ["pulumi", "up", "--yes", "--skip-preview", "--stack", stack.name, "--color", "never"],
            cwd=stack.folder,
            env=stack.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.text += line

    def program(self) -> int:
        """Return the process that runs the program."""
        (result,) = (
            int(folder.name)
            for folder in Path("/proc").glob("[0-9]*")
            if self._mark in _read(folder / "environ").split(b"\0")
            and b"pulumi-language-python-exec" in _read(folder / "cmdline")
        )
        return result

    def interrupt(self) -> float:
        """Interrupt engine and program; return after how many seconds the program ended.

        Raises:
            AssertionError: It had to be killed.
        """
        program, began = self.program(), time.monotonic()
        os.kill(self.process.pid, signal.SIGINT)
        os.kill(program, signal.SIGINT)
        while _runs(program):
            if time.monotonic() > began + KILLED_AFTER_SECONDS:
                os.kill(program, signal.SIGKILL)
                raise AssertionError(f"it had to be killed:\n{self.text}")
            time.sleep(0.02)
        return time.monotonic() - began

    def wait(self) -> int:
        status = self.process.wait(60)
        self._reader.join(5)
        return status


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _runs(pid: int) -> bool:
    state = _read(Path(f"/proc/{pid}/stat")).rpartition(b")")[2].split()[:1]
    return state not in ([], [b"Z"])


@contextmanager
def holding_a_message(stack: Stack, vhost: str) -> Iterator[None]:
    """Have a consumer that holds a message, so that the queue does not become empty."""
    with connect(stack.broker, vhost) as connection:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=1)
        channel.basic_get("q")
        yield


def test_an_interrupt_puts_back_what_waits_for_consumers(one_stack: Stack, vhost: str) -> None:
    stack = one_stack
    stack.configure(config(vhost, "classic"))
    stack.up()
    with connect(stack.broker, vhost) as connection:
        fill(connection.channel(), "q", MESSAGES)
    before = held(stack.broker, vhost)
    stack.configure(config(vhost, "quorum"))
    with Publisher(broker=stack.broker, vhost=vhost, first=1000) as publisher:
        with holding_a_message(stack, vhost):
            run = Run(stack)
            wait_for(lambda: "waiting for consumers to finish" in run.text, "it waits", 60)
            run.interrupt()
            assert run.wait() != 0
        assert "Traceback" not in run.text
        assert "putting everything back" in run.text
        assert held(stack.broker, vhost) == before
        stack.pulumi("cancel", "--yes", "--stack", stack.name, check=False)
        completed = stack.up()
        time.sleep(0.5)
    assert held(stack.broker, vhost) == wanted(config(vhost, "quorum")), completed.text
    assert set(stack.up().changes) == {"unchanged"}
    with connect(stack.broker, vhost) as connection:
        channel, taken = connection.channel(), set[int]()
        while (got := channel.basic_get("q", auto_ack=True))[0]:
            taken.add(int(got[2].split()[0]))
    assert taken == {*range(MESSAGES), *publisher.confirmed}
