"""What the safety tests of a session measure: printed, and kept in a file if there is one."""

from __future__ import annotations

from pathlib import Path

from tests.safety import measured
from tests.safety.measured import Row
from tests.safety.scenarios import Outcome

CHANGES, KILLED, REFUSED = "Changes", "Killed", "Refused"
SAVED = "Killed, the state saved once"
"""The tables, by their headings."""


class Results:
    """Takes one row for each change, kill and refusal; ``path`` is set before the tests run."""

    path: Path | None = None

    def change(self, version: str, name: str, outcome: Outcome, *, by_name: bool = False) -> None:
        """Add a scenario and print its figures; ``by_name`` is `Change.by_name`."""
        what = f"{name}, {outcome.notes}" if outcome.notes else name
        self._add(
            Row(
                table=CHANGES,
                version=version,
                cells=(what, f"{outcome.up_seconds:.1f}"),
                figures=outcome.report.numbers,
                by_name=by_name,
            )
        )
        print(f"\n{version}: {what}: up {outcome.up_seconds:.1f} s\n{outcome.report.table()}")

    def kill(self, version: str, what: str, moment: str, outcome: Outcome, *, struck: bool) -> None:
        """Add a kill point and print its figures; ``struck``: there was something to kill."""
        name = f"{moment}{'' if struck else ' (the run had ended)'}, {outcome.notes}"
        self._add(
            Row(
                table=KILLED,
                version=version,
                cells=(what, name, f"{outcome.up_seconds:.1f}"),
                figures=outcome.report.numbers,
                struck=struck,
            )
        )
        print(f"\n{version}: {what}: {name}\n{outcome.report}")

    def refusal(self, version: str, what: str, said: str) -> None:
        """Add a refusal by what it said, or the deletion that `discard` allows."""
        self._add(Row(table=REFUSED, version=version, cells=(what, said)))
        print(f"\n{version}: {what}: {said}")

    def saved(self, version: str, said: str, *, struck: bool) -> None:
        """Add a kill without traffic, of a run whose state is saved once: what became of it."""
        self._add(Row(table=SAVED, version=version, cells=(said,), struck=struck))
        print(f"\n{version}: {said}")

    def _add(self, row: Row) -> None:
        if self.path:
            measured.add_row(self.path, row)
