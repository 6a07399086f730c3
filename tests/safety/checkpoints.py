"""
Runs whose state is saved once, at the end, killed at random moments; and what the next one does.

A killed run leaves the state as it was before it, while the broker is somewhere between. Here the
next run has to arrive where it would have arrived from the start.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.safety import settled
from tests.safety.killing import Definitions, Moment, Run, definitions, kill_points, reach
from tests.support.stacks import (
    Stack,
    connect,
    drain,
    fill,
    held,
    management,
    untouched,
    wanted,
)
from toolchain import engine

KEPT = "kept"
MESSAGES = 50

ENDED = " (it had ended)"
"""What `Kills.said` says of a run that had ended before it was to be killed."""

TRIES = 2
"""So many further runs are made where one had ended."""


@dataclass(kw_only=True)
class Kills:
    """One stack, its two configs, and what became of the runs that were killed."""

    stack: Stack
    vhost: str
    size: int
    struck: int = 0
    """Runs that had not ended by themselves before they were to be killed."""
    said: list[str] = field(default_factory=list)
    """A line for each kill."""

    def __post_init__(self) -> None:
        self.stack.env.update(engine.QUICK)

    def config(self, number: int) -> dict[str, Any]:
        """Return one of two configs; from one to the other half is created, half deleted, and
        every queue and exchange that stays but the kept one is replaced.
        """
        kinds = (("quorum", "direct"), ("classic", "topic"))[number % 2]
        # Each holds two thirds of all names.
        names = [f"n{one}" for one in range(self.size) if one % 3 != number % 2]
        return {
            "vhost": self.vhost,
            "exchanges": {name: {"type": kinds[1]} for name in names},
            "queues": {
                KEPT: {"on_delete": "retain"},
                **{name: {"type": kinds[0]} for name in names},
            },
            "bindings": [{"source": name, "queue": name, "routing_key": "k"} for name in names],
        }

    def deploy(self, number: int, *flags: str) -> None:
        """Deploy a config without a kill, and check the outcome."""
        self.stack.configure(self.config(number))
        self.stack.up(*flags)
        self.check(number)

    def check(self, number: int) -> None:
        """Check that the broker holds exactly what the config says, that a further run has nothing
        to do, and that the messages are where they were.
        """
        again = self.stack.up("--expect-no-changes")
        assert set(again.changes) == {"unchanged"}, again.text
        assert held(self.stack.broker, self.vhost) == wanted(self.config(number))
        assert settled.leftovers(self.stack.broker, self.vhost) == []
        self.check_messages()

    def check_messages(self) -> None:
        """Check that every message is there, untouched; they are put back afterwards."""
        with connect(self.stack.broker, self.vhost) as connection:
            channel = connection.channel()
            assert drain(channel, KEPT) == untouched(MESSAGES)
            fill(channel, KEPT, MESSAGES)

    def start(self) -> None:
        """Deploy the first config, and put messages into the queue that stays."""
        self.stack.configure(self.config(0))
        self.stack.up()
        with connect(self.stack.broker, self.vhost) as connection:
            fill(connection.channel(), KEPT, MESSAGES)
        self.check(0)

    def kill_updates(self, count: int, seed: int) -> None:
        """Kill an update from one config to the other `count` times; the next completes it."""
        self.stack.configure(self.config(1))
        total = self._changes("up")
        self.check(1)
        self.deploy(0)
        for number, change in enumerate(_spread(count, seed, total), 1):
            self.stack.configure(self.config(number))
            self._kill(change, total, "up", again=partial(self._between, number))
            text = self.stack.up().text
            self.said[-1] += f"; then {_summary(text)}"
            self.check(number)

    def kill_destroys(self, count: int, seed: int) -> None:
        """Kill a destroy `count` times; the next destroy finishes it, or an update with
        ``--refresh`` undoes it, in turn.
        """
        self.deploy(0)
        total = self._changes("destroy", "--run-program")
        for number, change in enumerate(_spread(count, seed, total)):
            self.deploy(0)
            again = partial(self.deploy, 0)
            self._kill(change, total, "destroy", "--run-program", again=again)
            if number % 2:
                text = self.stack.up("--refresh").text
                self.said[-1] += f"; then up --refresh: {_summary(text)}"
                self.check(0)
            text = self.stack.destroy().text
            self.said[-1] += f"; then destroy: {_summary(text)}"
            self._check_destroyed()

    def _changes(self, command: str, *flags: str) -> int:
        """Let a run come to its end; return how many changes it made on the broker."""
        changes = _Changes(definitions(management(self.stack.broker), self.vhost))
        run = Run(self.stack, *flags, command=command)
        never = Moment(name="never", condition=lambda now: changes.after(now) < 0)
        reach(run, never, self.stack.broker, self.vhost)
        assert run.wait() == 0, run.text
        return changes.after(definitions(management(self.stack.broker), self.vhost))

    def _between(self, number: int) -> None:
        """Have one config deployed, and the next one ready."""
        self.deploy(number - 1)
        self.stack.configure(self.config(number))

    def _kill(
        self, change: int, total: int, command: str, *flags: str, again: Callable[[], None]
    ) -> None:
        """Kill a run after so many changes; another one, earlier, where it has ended before.

        On a busy machine some changes are over before they are seen, and fewer are counted.
        """
        tries = 0
        while not self._strike(change, total, command, *flags) and tries < TRIES:
            tries += 1
            change = max(1, change - total // 5)
            again()

    def _strike(self, change: int, total: int, command: str, *flags: str) -> bool:
        changes = _Changes(definitions(management(self.stack.broker), self.vhost))
        run = Run(self.stack, *flags, command=command)
        moment = Moment(name="change", condition=lambda now: changes.after(now) >= change)
        struck = reach(run, moment, self.stack.broker, self.vhost)
        run.kill()
        self.struck += struck
        self.stack.pulumi("cancel", "--yes", "--stack", self.stack.name)
        ended = "" if struck else ENDED
        self.said.append(
            f"{command} killed after {change} of {total} changes{ended}, left {self._left()}"
        )
        return struck

    def _left(self) -> str:
        result = held(self.stack.broker, self.vhost)
        return ", ".join(f"{len(result[kind])} {kind}" for kind in result)

    def _check_destroyed(self) -> None:
        """Check that nothing is left but the queue that is to stay, with all that it holds."""
        result = held(self.stack.broker, self.vhost)
        assert set(result["queues"]) == {KEPT}
        assert result["exchanges"] == {}
        assert result["bindings"] == []
        self.check_messages()
        state = json.loads(self.stack.pulumi("stack", "export", "--stack", self.stack.name).output)
        assert not state["deployment"].get("resources")
        assert not state["deployment"].get("pending_operations")


def _spread(count: int, seed: int, total: int) -> list[int]:
    """Return numbers of changes from 1 to `total`, one at random in each equal part."""
    return [1 + int(point) for point in kill_points(count, seed, total)]


class _Changes:
    """Counts what was made and what went in a vhost, from one look to the next."""

    def __init__(self, before: Definitions) -> None:
        self._last = self._objects(before)
        self._count = 0

    def after(self, now: Definitions) -> int:
        """Return how many changes there were so far."""
        objects = self._objects(now)
        self._count += len(objects ^ self._last)
        self._last = objects
        return self._count

    @staticmethod
    def _objects(now: Definitions) -> set[object]:
        return {
            *((name, one["type"]) for name, one in now.exchanges.items()),
            *((name, one["arguments"].get("x-queue-type")) for name, one in now.queues.items()),
            *now.bindings,
        }


def _summary(text: str) -> str:
    return ", ".join(" ".join(line.split()) for line in _counts(text)) or "nothing to do"


def _counts(text: str) -> Iterator[str]:
    for line in text.rpartition("Resources:")[2].splitlines():
        if line.startswith("    "):
            yield line
