"""
Runs parts of the safety tests as processes: first those that need the machine to themselves, one
after the other, then the rest side by side.

Nothing but what was started here is ever stopped.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

from tests.safety import measured
from tests.safety.commits import Repository
from tests.safety.killing import kill_all
from tests.safety.measured import ROOT, Run
from tests.safety.parts import LANES, Part

STOP_SECONDS = 60
"""A session that is interrupted gets so long to stop its brokers."""

MARK = "SAFETY_TESTS_DATA"
"""A variable that all processes of a part inherit, and no others have with its value."""

Say = Callable[[str], None]


def command(part: Part, data: Path) -> list[str]:
    """Return the command that runs one part and adds what it measures to a file."""
    return [
        *(sys.executable, "-u", "-m", "pytest", str(Path(__file__).parent), "-m", "safety"),
        *("-v", "-s", "-p", "no:cacheprovider", "--color=no", "--safety-scale=full"),
        *(f"--safety-part={part.name}", f"--safety-data={data}"),
    ]


Command = Callable[[Part, Path], Sequence[str]]


@dataclass(kw_only=True)
class _Running:
    """One part on its way."""

    part: Part
    process: subprocess.Popen[str]
    reader: Thread
    data: Path
    commit: str
    changed: bool
    began: datetime
    since: float
    beside: set[str] = field(default_factory=set)

    def run(self, repository: Repository) -> Run:
        """Return which run it was, once it has ended."""
        changed = self.changed or repository.head() != self.commit or repository.changed()
        return Run(
            part=self.part.name,
            command=f"make safety PART={self.part.name}",
            commit=self.commit,
            changed=changed,
            began=self.began.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - self.since, 1),
            status=self.process.wait(),
            python=sys.version.split()[0],
            cores=os.cpu_count() or 0,
            beside=tuple(sorted(self.beside)),
        )


class Runner:
    """Runs parts and keeps what each measured; what was kept of one before stays until it ends.

    ``say`` gets every line that the parts print, each behind its part's name.
    """

    def __init__(
        self,
        folder: Path = measured.FOLDER,
        *,
        lanes: int = LANES,
        say: Say = print,
        command: Command = command,
        repository: Repository | None = None,
    ) -> None:
        self._folder = folder
        self._lanes = lanes
        self._say = say
        self._command = command
        self._repository = repository or Repository()
        self._running: list[_Running] = []

    def run(self, parts: Iterable[Part]) -> list[str]:
        """Run parts to their end; return the names of those whose tests did not all pass.

        One that fails ends no other. When this is interrupted, all that run are, and keep nothing.
        """
        parts = list(parts)
        failed: list[str] = []
        with tempfile.TemporaryDirectory(prefix="safety-") as scratch:
            try:
                for part in (part for part in parts if part.alone):
                    failed += self._run([part], 1, Path(scratch))
                together = [part for part in parts if not part.alone]
                failed += self._run(together, self._lanes, Path(scratch))
            finally:
                self._stop()
        return failed

    def _run(self, parts: Sequence[Part], lanes: int, scratch: Path) -> list[str]:
        waiting, failed = list(parts), []
        while waiting or self._running:
            while waiting and len(self._running) < lanes:
                self._start(waiting.pop(0), scratch)
            time.sleep(0.1)
            for running in [one for one in self._running if one.process.poll() is not None]:
                self._running.remove(running)
                failed += self._keep(running)
        return failed

    def _start(self, part: Part, scratch: Path) -> None:
        data = scratch / f"{part.name}.jsonl"
        names = {one.part.name for one in self._running}
        self._say(f"{part.name} | begins, beside {', '.join(sorted(names)) or 'nothing'}")
        process = subprocess.Popen(
            self._command(part, data),
            cwd=ROOT,
            env={**os.environ, MARK: str(data)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # so that Ctrl-C reaches it once, from here
        )
        reader = Thread(target=self._read, args=(part, process), daemon=True)
        reader.start()
        for one in self._running:
            one.beside.add(part.name)
        self._running.append(
            _Running(
                part=part,
                process=process,
                reader=reader,
                data=data,
                commit=self._repository.head(),
                changed=self._repository.changed(),
                began=datetime.now(tz=UTC),
                since=time.monotonic(),
                beside=names,
            )
        )

    def _read(self, part: Part, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            self._say(f"{part.name} | {line.rstrip()}")

    def _keep(self, running: _Running) -> list[str]:
        _sweep(running)
        running.reader.join(5)
        run = running.run(self._repository)
        measured.keep(run, running.data, self._folder)
        kept = measured.load(run.part, self._folder)
        sound = kept is not None and kept.sound
        result = "all passed" if sound else f"FAILED, status {run.status}"
        self._say(f"{run.part} | ended after {run.seconds / 60:.1f} minutes: {result}")
        return [] if sound else [run.part]

    def _stop(self) -> None:
        """Interrupt what still runs, and kill what does not end."""
        for running in self._running:
            with suppress(ProcessLookupError):
                running.process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + STOP_SECONDS
        for running in self._running:
            try:
                running.process.wait(max(deadline - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                running.process.kill()
                running.process.wait()
            _sweep(running)
        self._running.clear()


def _sweep(running: _Running) -> None:
    """Kill what a part that has ended has left behind, such as the engine of an interrupted run."""
    kill_all(f"{MARK}={running.data}")
