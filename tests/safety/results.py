"""The figures of all safety tests of a session, as a Markdown page."""

from __future__ import annotations

import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.safety.ledger import Report
from tests.safety.scenarios import Outcome


@dataclass(kw_only=True)
class Results:
    """Collects one row for each scenario, kill point and refusal."""

    command: str = ""
    versions: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    """Tests that failed: the figures are then not the whole truth."""
    _changes: list[str] = field(default_factory=list)
    _kills: list[str] = field(default_factory=list)
    _refusals: list[str] = field(default_factory=list)
    _total: Counter[str] = field(default_factory=Counter)

    def change(self, version: str, name: str, outcome: Outcome, *, by_name: bool = False) -> None:
        """Add a scenario and print its figures; ``by_name`` is `Change.by_name`."""
        self.versions.add(version)
        what = f"{name}, {outcome.notes}" if outcome.notes else name
        self._changes.append(outcome.report.markdown(version, what, f"{outcome.up_seconds:.1f}"))
        self._count(outcome.report, by_name=by_name)
        print(f"\n{version}: {what}: up {outcome.up_seconds:.1f} s\n{outcome.report.table()}")

    def kill(self, version: str, what: str, moment: str, outcome: Outcome, *, struck: bool) -> None:
        """Add a kill point and print its figures; ``struck``: there was something to kill."""
        self.versions.add(version)
        self._total["kill points"] += struck
        name = f"{moment}{'' if struck else ' (the run had ended)'}, {outcome.notes}"
        self._kills.append(
            outcome.report.markdown(version, what, name, f"{outcome.up_seconds:.1f}")
        )
        self._count(outcome.report)
        print(f"\n{version}: {what}: {name}\n{outcome.report}")

    def refusal(self, version: str, what: str, said: str) -> None:
        """Add a refusal by what it said, or the deletion that `discard` allows."""
        self.versions.add(version)
        self._refusals.append(f"| {version} | {what} | {said} |")
        print(f"\n{version}: {what}: {said}")

    def write(self, path: Path) -> None:
        """Write all of it to a file."""
        path.write_text(str(self))

    def __str__(self) -> str:
        total = self._total
        versions = {it.partition(",")[0] for it in self.versions}  # without the number of nodes
        return "\n".join(
            [
                "# Results of the safety tests",
                "",
                (
                    f"Measured on {datetime.now(tz=UTC):%d %B %Y} with "
                    f"RabbitMQ {', '.join(sorted(versions))} and Python "
                    f"{sys.version.split()[0]} on {os.cpu_count()} cores, which the brokers, the "
                    "engine, publishers and consumers share, by"
                ),
                "",
                f"    {self.command}",
                "",
                (
                    f"**{total['confirmed']:,} messages confirmed, {total['lost']:,} lost, "
                    f"{total['altered']:,} altered, {total['twice']:,} delivered twice**; "
                    f"{total['kill points']:,} runs or brokers killed on the way. "
                    + (
                        "Some tests failed, see the end: what they would have counted is missing."
                        if self.failures
                        else "After each of them the next `pulumi up` completed it, and nothing "
                        "was left behind."
                    )
                ),
                "",
                (
                    f"*No bindings* stands apart, with {total['lost by name']:,} lost: what is "
                    "published to a queue by its name, and on its way at the moment in which the "
                    "queue is deleted, is confirmed and discarded by the broker."
                ),
                "",
                (
                    "What the columns mean: *confirmed*, acknowledged by the broker and taken by a "
                    "queue. *Lost*, confirmed and never delivered. *Twice*, delivered once more "
                    "without a redelivered flag and without the publisher having sent it again; "
                    "*redelivered* and *sent again* count those. *Out of order*, behind a later "
                    "message of the same publisher and priority. *Returned*, taken by no queue, "
                    "sent again until confirmed. *Longest gap*, the longest time without a "
                    "delivery at any one queue. *up*, the seconds of the `pulumi up` itself."
                ),
                "",
                "## Changes",
                "",
                Report.markdown_head("version", "change", "up, s"),
                *self._changes,
                "",
                "## Killed",
                "",
                Report.markdown_head("version", "change", "killed", "next up, s"),
                *self._kills,
                "",
                "## Refused",
                "",
                "| version | what | result |\n| --- | --- | --- |",
                *self._refusals,
                "",
                *(
                    ["## Failed", "", *(f"- `{it}`" for it in self.failures), ""]
                    * bool(self.failures)
                ),
            ]
        )

    def _count(self, report: Report, *, by_name: bool = False) -> None:
        self._total["confirmed"] += report.confirmed
        self._total["lost by name" if by_name else "lost"] += report.lost
        self._total["altered"] += report.altered.total()
        self._total["twice"] += report.twice
