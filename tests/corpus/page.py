"""
The page about whole brokers that were adopted, from what `tests.corpus` has measured.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_HEAD = (
    "# Brokers of others, adopted\n\n"
    "Written by `python -m tests.corpus FOLDER` from {files} definitions files that others have "
    "published: applications, courses, OpenStack, RabbitMQ's own tests. Each was imported into an "
    "empty broker of each version. Then `adopt`, `pulumi up`, `pulumi up --refresh "
    "--expect-no-changes` and `pulumi preview --refresh --expect-no-changes` ran, and the broker's "
    "own export (`GET /api/definitions`) was compared with what it was before: every object, every "
    "argument, every password hash.\n\n"
)
_COLUMNS = {
    "refused": "the broker refuses",
    "nothing": "nothing to manage",
    "adopted": "adopted, export unchanged",
    "failed": "failed",
}


def write(results: Path, page: Path) -> None:
    """Write the page; of a file that was tried twice, the last result counts."""
    read = [json.loads(line) for line in results.read_text().splitlines()]
    latest = {(one["version"], one["file"]): one for one in read}
    page.write_text("".join(_page(list(latest.values()))))


def _page(outcomes: list[dict[str, Any]]) -> Iterator[str]:
    yield _HEAD.format(files=len({one["file"] for one in outcomes}))
    yield f"| version | files | {' | '.join(_COLUMNS.values())} | objects managed |\n"
    yield f"| --- | --- | --- |{' --- |' * len(_COLUMNS)}\n"
    for version in _versions(outcomes):
        here = [one for one in outcomes if one["version"] == version]
        counted = Counter(one["outcome"] for one in here)
        managed = sum(one["adopted"] for one in here)
        counts = " | ".join(str(counted[column]) for column in _COLUMNS)
        yield f"| {version} | {len(here)} | {counts} | {managed:,} |\n"
    yield "\n## What the broker refuses\n\n"
    yield "| reason | files, by version |\n| --- | --- |\n"
    yield from _rows(outcomes, "refused")
    if failed := [one for one in outcomes if one["outcome"] == "failed"]:
        yield "\n## What failed\n\n"
        for one in failed:
            yield f"- {one['file']} on {one['version']}: {_short(one['reason'])}\n"
    yield "\n## What is left alone on purpose\n\n"
    yield (
        "Each is listed by the command, with the reason ([why](left-alone.md)). Counted over all "
        "files:\n\n"
    )
    versions = [*_versions(outcomes)]
    yield f"| what, and why | {' | '.join(versions)} |\n| --- |{' --- |' * len(versions)}\n"
    kinds = {version: _left(outcomes, version) for version in versions}
    totals = sum(kinds.values(), Counter[str]())
    for kind, _ in totals.most_common():
        counts = " | ".join(str(kinds[version][kind]) for version in versions)
        yield f"| {kind} | {counts} |\n"


def _versions(outcomes: Iterable[dict[str, Any]]) -> list[str]:
    versions = {one["version"] for one in outcomes}
    return sorted(versions, key=lambda version: [int(part) for part in version.split(".")])


def _rows(outcomes: list[dict[str, Any]], outcome: str) -> Iterator[str]:
    reasons: dict[str, Counter[str]] = {}
    for one in outcomes:
        if one["outcome"] == outcome:
            reasons.setdefault(_short(one["reason"]), Counter())[one["version"]] += 1
    for reason, counted in sorted(reasons.items(), key=lambda one: -one[1].total()):
        counts = ", ".join(f"{version}: {count}" for version, count in sorted(counted.items()))
        yield f"| {reason} | {counts} |\n"


def _left(outcomes: Iterable[dict[str, Any]], version: str) -> Counter[str]:
    """Return how often each kind of thing is left alone for a reason, names taken out."""
    lines = (line for one in outcomes if one["version"] == version for line in one["left"])
    return Counter(map(_kind, lines))


def _kind(line: str) -> str:
    """Return ``queue: it is exclusive`` for ``queue q of vhost v: it is exclusive``."""
    title, _, reason = line.partition(": ")
    kind = re.match(r"(?:operator |topic |global |federation )?\w+", title)
    plain = re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", "…", reason)
    return _short(f"{kind.group(0) if kind else title}: {plain}")


def _short(text: str) -> str:
    flat = " ".join(re.sub(r"http://\S+", "", text).split()).replace("|", "\\|")
    return flat if len(flat) <= 160 else f"{flat[:157]}…"
