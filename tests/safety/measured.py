"""
What the parts measured, as files: one for each part, of JSON lines.

A session of tests adds a line to its file for each test that begins or ends and each row of a table
(`Session`), so that what it had measured is known however it ends. The first line of a part's file
in ``docs/safety-results/`` says of which run it is (`Run`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.support.repository import ROOT

FOLDER = ROOT / "docs" / "safety-results"

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of one of the page's tables."""

    table: str
    version: str
    """RabbitMQ's, and the number of nodes if it matters."""
    cells: tuple[str, ...]
    """What the table has before the ledger's figures."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """The ledger's, by their headings; none for what was refused."""
    by_name: bool = False
    """Messages were published to a queue by its name, and may be lost: `Change.by_name`."""
    struck: bool = False
    """There was something to kill, and it was killed."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Which run of a part it was."""

    part: str
    command: str
    commit: str
    """Empty where it is not known."""
    changed: bool
    """There were uncommitted changes, or the commit changed meanwhile."""
    began: str
    """Date and time, ISO 8601."""
    seconds: float
    status: int
    """Of pytest; 0: all passed, 1: some failed, anything else: it broke off."""
    python: str
    cores: int
    beside: tuple[str, ...] = ()
    """Parts that ran at the same time, if only for a while."""


@dataclass(kw_only=True)
class Session:
    """What a session of tests did so far."""

    tests: dict[str, str] = field(default_factory=dict)
    """What became of each test that was to run: empty if it has not ended."""
    begun: str = ""
    """The last test that began."""
    rows: list[Row] = field(default_factory=list)

    @property
    def failed(self) -> list[str]:
        return [name for name, became in self.tests.items() if became == FAILED]

    @property
    def missing(self) -> list[str]:
        """Tests that have not come to an end."""
        return [name for name, became in self.tests.items() if not became]

    @property
    def versions(self) -> list[str]:
        """RabbitMQ's, without the number of nodes."""
        return sorted({row.version.partition(",")[0] for row in self.rows})


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A part's last run."""

    run: Run
    session: Session

    @property
    def sound(self) -> bool:
        """Every test of it passed."""
        tests = self.session.tests
        return self.run.status == 0 and bool(tests) and set(tests.values()) == {PASSED}


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file; a last line that was not written to its end is left out."""
    for line in path.read_text().splitlines(keepends=True) if path.exists() else ():
        if line.endswith("\n"):
            yield json.loads(line)


def add(path: Path, **line: Any) -> None:
    """Add a line to a session's file."""
    with path.open("a") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def add_row(path: Path, row: Row) -> None:
    add(path, row=asdict(row))


def session(told: Iterable[Mapping[str, Any]]) -> Session:
    """Return what the lines of a session's file say."""
    read = Session()
    for line in told:
        match line:
            case {"selected": names}:
                read.tests |= dict.fromkeys(names, "")
            case {"began": name}:
                read.begun = name
            case {"test": name, "became": became}:
                # It has failed if anything of it did, such as what stops its broker.
                if read.tests.get(name) != FAILED:
                    read.tests[name] = became
            case {"row": row}:
                read.rows.append(Row(**{**row, "cells": tuple(row["cells"])}))
    return read


def keep(run: Run, source: Path, folder: Path = FOLDER) -> None:
    """Make a session's file that of its part."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{run.part}.jsonl"
    path.write_text("")
    add(path, run=asdict(run))
    for line in lines(source):
        add(path, **line)


def load(part: str, folder: Path = FOLDER) -> Measured | None:
    """Return a part's last run, None if there was none."""
    first, *rest = [*lines(folder / f"{part}.jsonl")] or [None]
    if first is None:
        return None
    run = first["run"]
    return Measured(run=Run(**{**run, "beside": tuple(run["beside"])}), session=session(rest))
