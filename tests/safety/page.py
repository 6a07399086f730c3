"""The page ``docs/safety-results.md``, made from what the parts measured last, whenever it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from tests.safety import measured
from tests.safety.commits import Repository
from tests.safety.ledger import Report, written
from tests.safety.measured import Measured, Row
from tests.safety.parts import PARTS
from tests.safety.results import CHANGES, KILLED, REFUSED, SAVED

FILE = measured.ROOT / "docs" / "safety-results.md"

ChangedSince = Callable[[str], Sequence[str] | None]
"""What `Repository.changed_since` returns for a commit."""

_HOW = (
    "By `make safety`, or `make safety PART=...` for one part. The brokers, the engine, publishers "
    "and consumers share the machine's cores, and those of the parts that ran beside it."
)
_BY_NAME = (
    "*No bindings* stands apart, with {lost:,} lost: what is published to a queue by its name, "
    "and on its way at the moment in which the queue is deleted, is confirmed and discarded by the "
    "broker."
)
_COLUMNS = (
    "What the columns mean: *confirmed*, acknowledged by the broker and taken by a queue. *Lost*, "
    "confirmed and never delivered. *Twice*, delivered once more without a redelivered flag and "
    "without the publisher having sent it again; *redelivered* and *sent again* count those. *Out "
    "of order*, behind a later message of the same publisher and priority. *Returned*, taken by no "
    "queue, sent again until confirmed. *Longest gap*, the longest time without a delivery at any "
    "one queue. *up*, the seconds of the `pulumi up` itself."
)
_CHOICE = (
    "What was chosen: every change is made on every version. Runs are killed at every step of a "
    "replacement on every version; of the change made or undone, and with or without consumers, "
    "every pair with each other, with each step and with each version is there once at least, "
    "instead of every product (`tests/safety/pairs.py`). What would lose messages is refused in "
    "every way for every type of queue on 4.0, and on the others so that every version meets every "
    "way and every type. Killed runs are under 500 messages/s, other changes under 1,000, "
    "replacements in a row under 3,500."
)
_HEADS: Mapping[str, tuple[str, ...]] = {
    CHANGES: ("version", "change", "up, s"),
    KILLED: ("version", "change", "killed", "next up, s"),
    SAVED: ("version", "what"),
    REFUSED: ("version", "what", "result"),
}


def write(path: Path = FILE) -> None:
    """Write the page from what is kept, as this clone knows the commits."""
    parts = {part.name: measured.load(part.name) for part in PARTS}
    path.write_text(text(parts, Repository().changed_since))


def text(parts: Mapping[str, Measured | None], changed_since: ChangedSince) -> str:
    """Return the page. A part that is None has not been measured."""
    runs = [part for part in parts.values() if part]
    rows = [row for part in runs for row in part.session.rows]
    total = _total(rows)
    blocks = [
        "# Results of the safety tests",
        _HOW,
        (
            f"**{total['confirmed']:,} messages confirmed, {total['lost']:,} lost, "
            f"{total['altered']:,} altered, {total['twice']:,} delivered twice**; "
            f"runs and brokers killed on the way: {total['struck']:,}. {_verdict(parts)}"
        ),
        _BY_NAME.format(lost=total["lost by name"]),
        "## Parts",
        _overview(parts, changed_since),
        *_notes(runs, changed_since),
        *_failures(runs),
        _CHOICE,
        _COLUMNS,
        *_tables(rows),
    ]
    return "\n\n".join(blocks) + "\n"


def _total(rows: Iterable[Row]) -> Counter[str]:
    total: Counter[str] = Counter()
    for row in rows:
        total["struck"] += row.struck
        lost = "lost by name" if row.by_name else "lost"
        total[lost] += int(row.figures.get("lost", 0))
        for name in ("confirmed", "altered", "twice"):
            total[name] += int(row.figures.get(name, 0))
    return total


def _verdict(parts: Mapping[str, Measured | None]) -> str:
    """Return what can be said of all parts together."""
    failed = [name for name, part in parts.items() if part and not part.sound]
    missing = [name for name, part in parts.items() if not part]
    said = []
    if failed:
        said.append(
            f"**Not every test passed, in {_listed(failed)}**: what the others of it would have "
            "counted is missing."
        )
    if missing:
        said.append(f"**Not measured: {_listed(missing)}.**")
    return " ".join(said) or (
        "After each of them the next `pulumi up` completed it, and nothing was left behind."
    )


def _overview(parts: Mapping[str, Measured | None], changed_since: ChangedSince) -> str:
    about = {part.name: part.about for part in PARTS}
    lines = [
        "| part | what | commit | began | minutes | beside | RabbitMQ, Python, cores | tests |",
        "| --- | --- | --- | --- | ---: | --- | --- | --- |",
    ]
    for name, part in parts.items():
        cells = _cells(part, changed_since) if part else ("not measured", *[""] * 5)
        lines.append("| " + " | ".join((name, about.get(name, ""), *cells)) + " |")
    return "\n".join(lines)


def _cells(part: Measured, changed_since: ChangedSince) -> tuple[str, ...]:
    run, session = part.run, part.session
    commit = f"`{run.commit[:10]}`" if run.commit else "not known"
    if run.changed:
        commit += " with uncommitted changes"
    if _since(part, changed_since):
        commit += ", older than what decides"
    return (
        commit,
        f"{datetime.fromisoformat(run.began):%d %B %Y, %H:%M} UTC",
        f"{run.seconds / 60:.1f}",
        _listed(run.beside) or "nothing",
        f"{', '.join(session.versions) or 'none'}; {run.python}; {run.cores}",
        _passed(part),
    )


def _passed(part: Measured) -> str:
    became = Counter(part.session.tests.values())
    passed = f"{became[measured.PASSED]} of {len(part.session.tests)} passed"
    return passed if part.sound else f"**{passed}**"


def _since(part: Measured, changed_since: ChangedSince) -> str:
    """Return what is to be said of a part's age; empty if it is of what there is now."""
    changed = changed_since(part.run.commit)
    if changed is None:
        return "measured at a commit that is not known here, so that its age is not known either"
    if changed:
        files = ", ".join(f"`{name}`" for name in changed)
        return f"measured before the last change of what decides about messages: {files}"
    return ""


def _notes(runs: Iterable[Measured], changed_since: ChangedSince) -> Iterator[str]:
    notes = [(part.run.part, _since(part, changed_since)) for part in runs]
    if lines := [f"- *{name}*: {note}." for name, note in notes if note]:
        yield "\n".join(lines)


def _failures(runs: Iterable[Measured]) -> Iterator[str]:
    """Yield what failed, and what broke off, if anything did."""
    lines: list[str] = []
    for part in runs:
        run, session = part.run, part.session
        lines += [f"- *{run.part}*: `{name}` failed" for name in session.failed]
        skipped = [name for name, became in session.tests.items() if became == measured.SKIPPED]
        lines += [f"- *{run.part}*: `{name}` was skipped" for name in skipped]
        if session.missing or not session.tests:
            during = f" during `{session.begun}`" if session.begun in session.missing else ""
            lines.append(
                f"- *{run.part}* broke off{during}, with status {run.status}; not run to the end: "
                + (", ".join(f"`{name}`" for name in session.missing) or "all of it")
            )
        elif not part.sound and not session.failed and not skipped:
            lines.append(f"- *{run.part}* ended with status {run.status} after its tests")
    if lines:
        yield "## Failed"
        yield "\n".join(lines)


def _tables(rows: Sequence[Row]) -> Iterator[str]:
    for table, first in _HEADS.items():
        here = [row for row in rows if row.table == table]
        headings = Report.HEADINGS if any(row.figures for row in here) else ()
        rule = ["---"] * len(first) + ["---:"] * len(headings)
        lines = [(*first, *headings), rule]
        lines += [(row.version, *row.cells, *written(row.figures)) for row in here]
        yield f"## {table}"
        yield "\n".join(f"| {' | '.join(cells)} |" for cells in lines) if here else "Nothing."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
