"""
A `pulumi` run that is watched from outside, and killed: the whole process tree, at a chosen moment.

Nothing in the product knows of this. A moment is a time after the start, or a state of the broker
that its definitions show: those lie at the steps of a replacement.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

from rabbit_topology.broker.management import Management
from rabbit_topology.errors import BrokerError
from tests.safety.settled import PREFIX
from tests.support.stacks import Stack, management
from toolchain.broker import Broker

POLL_SECONDS = 0.001


class Run:
    """One `pulumi up`, or other command, in the background; ``say`` gets each line it prints."""

    def __init__(
        self,
        stack: Stack,
        *flags: str,
        command: str = "up",
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._mark = f"PULUMI_BACKEND_URL={stack.env['PULUMI_BACKEND_URL']}"
        self._say = say
        self.lines: list[str] = []
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [
                *("pulumi", command, "--yes", "--skip-preview", "--stack", stack.name, *flags),
                *("--non-interactive", "--color", "never"),
            ],
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

    @property
    def text(self) -> str:
        """All that it has printed so far."""
        return "".join(self.lines)

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def wait(self, seconds: float = 300) -> int:
        """Return its exit status; it gets as long as that."""
        status = self.process.wait(seconds)
        self._reader.join(5)
        return status

    def kill(self) -> int:
        """Kill the engine, the language host, the program and the plugins; return how many.

        They are known by their environment, since some have a process group of their own.
        """
        killed = kill_all(self._mark, between=self.process.poll)
        self.process.wait()
        return len(killed)

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.append(line)
            if self._say:
                self._say(line.rstrip())


def kill_all(mark: str, between: Callable[[], object] = lambda: None) -> set[int]:
    """Kill every process with a line, such as ``NAME=value``, in its environment; return their ids.

    Those that they start meanwhile are killed as well. ``between`` takes note of children that
    have ended: else they would be seen, as what is left of them, for ever.
    """
    killed: set[int] = set()
    while marked := _with_environment(mark):
        for pid in marked:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed |= marked
        between()
    return killed


def _with_environment(mark: str) -> set[int]:
    marked = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    marked.add(int(folder.name))
    return marked


def kill_points(count: int, seed: int, duration: float) -> list[float]:
    """Return moments all over a run of ``duration`` seconds, one at random in each equal part."""
    chosen = random.Random(seed)
    return [duration * (number + chosen.random()) / count for number in range(count)]


@dataclass(frozen=True, kw_only=True)
class Definitions:
    """What is declared in a vhost: a snapshot of the broker's own export."""

    exchanges: Mapping[str, Mapping[str, Any]]
    queues: Mapping[str, Mapping[str, Any]]
    bindings: frozenset[tuple[str, str]]
    """Source and destination."""
    policies: frozenset[str]
    shovels: frozenset[str]


def definitions(api: Management, vhost: str) -> Definitions:
    """Return what is declared in a vhost at this moment; takes about a millisecond."""
    result = api.get(f"/definitions/{quote(vhost, safe='')}")
    return Definitions(
        exchanges={exchange["name"]: exchange for exchange in result["exchanges"]},
        queues={queue["name"]: queue for queue in result["queues"]},
        bindings=frozenset(
            (binding["source"], binding["destination"]) for binding in result["bindings"]
        ),
        policies=frozenset(policy["name"] for policy in result["policies"]),
        shovels=frozenset(
            parameter["name"]
            for parameter in result["parameters"]
            if parameter["component"] == "shovel"
        ),
    )


Condition = Callable[[Definitions], bool]


def queue_boundaries(
    queue: str, source: str, new_type: str, successor: str = ""
) -> dict[str, Condition]:
    """Return each step of a queue's replacement by what it leaves on the broker.

    ``successor`` is the new name of one that is renamed.
    """
    new = successor or queue
    stand_in, holding = f"{PREFIX}stand-in.{queue}", f"{PREFIX}holding.{queue}"
    drained, returning = f"{PREFIX}drained.{queue}", f"{PREFIX}return.{queue}"
    # Of what comes back into a quorum queue there are copies at first.
    first = f"{PREFIX}kept.{queue}" if new_type == "quorum" else new

    def is_new(now: Definitions) -> bool:
        return now.queues.get(new, {}).get("arguments", {}).get("x-queue-type") == new_type

    return {
        "stand-in declared": lambda now: stand_in in now.exchanges,
        "stand-in leads to the queue": lambda now: (stand_in, queue) in now.bindings,
        "source leads to the stand-in": lambda now: (source, stand_in) in now.bindings,
        "binding gone": lambda now: (
            (source, stand_in) in now.bindings and (source, queue) not in now.bindings
        ),
        "holding queue declared": lambda now: holding in now.queues,
        "publishers led to both": lambda now: (
            {(stand_in, queue), (stand_in, holding)} <= now.bindings
        ),
        "publishers led to the holding queue": lambda now: (
            (stand_in, holding) in now.bindings and (stand_in, queue) not in now.bindings
        ),
        "drained queue declared": lambda now: drained in now.queues,
        "messages moved": lambda now: bool(now.shovels),
        "queue deleted": lambda now: holding in now.queues and queue not in now.queues,
        "new queue declared": lambda now: holding in now.queues and is_new(now),
        "return exchange declared": lambda now: returning in now.exchanges,
        "return exchange bound": lambda now: (returning, first) in now.bindings,
        "messages moved back": lambda now: bool(now.shovels) and is_new(now),
        "publishers led to the new queue": lambda now: (
            is_new(now) and returning in now.exchanges and (stand_in, new) in now.bindings
        ),
        "new binding made": lambda now: (
            is_new(now) and stand_in in now.exchanges and (source, new) in now.bindings
        ),
        "holding queue deleted": lambda now: (
            is_new(now) and stand_in in now.exchanges and holding not in now.queues
        ),
        "stand-in deleted": lambda now: is_new(now) and stand_in not in now.exchanges,
    }


def exchange_boundaries(exchange: str, new_type: str) -> dict[str, Condition]:
    """Return each step of an exchange's replacement by what it leaves on the broker."""
    stand_in = f"{PREFIX}exchange.{exchange}"

    def is_new(now: Definitions) -> bool:
        return now.exchanges.get(exchange, {}).get("type") == new_type

    return {
        "stand-in exchange declared": lambda now: stand_in in now.exchanges,
        "stand-in exchange bound": lambda now: any(
            binding[0] == stand_in for binding in now.bindings
        ),
        "alternate set": lambda now: stand_in in now.policies,
        "exchange deleted": lambda now: stand_in in now.exchanges and exchange not in now.exchanges,
        "new exchange declared": lambda now: stand_in in now.exchanges and is_new(now),
        "new exchange leads to the stand-in": lambda now: (exchange, stand_in) in now.bindings,
        "alternate removed": lambda now: (
            is_new(now) and stand_in in now.exchanges and stand_in not in now.policies
        ),
        "stand-in exchange deleted": lambda now: is_new(now) and stand_in not in now.exchanges,
    }


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When to strike: so many seconds after the start, or at a state of the broker."""

    name: str
    seconds: float | None = None
    condition: Condition | None = None


def moments(points: list[float]) -> list[Moment]:
    return [Moment(name=f"after {seconds:.2f} s", seconds=seconds) for seconds in points]


def reach(run: Run, moment: Moment, broker: Broker, vhost: str) -> bool:
    """Return True at the moment, False when the run has ended before it came."""
    if moment.seconds is not None:
        with suppress(subprocess.TimeoutExpired):
            run.process.wait(max(run.started + moment.seconds - time.monotonic(), 0))
        return not run.ended
    api = management(broker)
    while not run.ended:
        with suppress(BrokerError):
            if moment.condition and moment.condition(definitions(api, vhost)):
                return True
        time.sleep(POLL_SECONDS)
    return False
