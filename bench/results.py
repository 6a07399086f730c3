"""What was measured, kept in a file, so that a page can be written from several runs."""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench.measure import Measured


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One step of one run: `seconds`, and `peak_bytes` where processes were started."""

    tool: str
    size: int
    step: str
    seconds: float
    peak_bytes: int | None


@dataclass(kw_only=True)
class Results:
    """All samples, what was left out and why, and where and when it was measured."""

    versions: dict[str, str] = field(default_factory=dict)
    date: str = ""
    machine: str = ""
    samples: list[Sample] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """By ``tool, size``: why there are no figures."""
    policies: list[dict[str, float]] = field(default_factory=list)
    """`queues`, `policies`, `seconds` of one PUT, and `all_seconds` of all of them."""
    rules: dict[str, float] = field(default_factory=dict)
    """Seconds to check a config, by its number of objects."""
    programs: dict[str, str] = field(default_factory=dict)
    """What the columns mean, by tool."""

    def add(self, tool: str, size: int, step: str, measured: Measured) -> None:
        """Add one measurement."""
        self.samples.append(
            Sample(
                tool=tool,
                size=size,
                step=step,
                seconds=measured.seconds,
                peak_bytes=measured.peak_bytes,
            )
        )

    def here(self, versions: dict[str, str]) -> None:
        """Note when, where and with what it is measured."""
        self.versions |= versions
        self.date = f"{datetime.now(tz=UTC):%d %B %Y}"
        self.machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"

    def seconds(self, tool: str, size: int, step: str) -> float | None:
        """Return the median of a step; None if it was not measured."""
        result = [one.seconds for one in self._of(tool, size, step)]
        return median(result) if result else None

    def peak(self, tool: str, size: int, step: str) -> float | None:
        """Return the median of a step's memory in bytes; None if it was not measured."""
        result = [
            one.peak_bytes for one in self._of(tool, size, step) if one.peak_bytes is not None
        ]
        return median(result) if result else None

    def repeats(self) -> dict[tuple[str, int], int]:
        """Return by tool and size how often each step was measured at least."""
        result: dict[tuple[str, int], int] = {}
        for (tool, size, _), count in Counter(
            (sample.tool, sample.size, sample.step) for sample in self.samples
        ).items():
            result[tool, size] = min(count, result.get((tool, size), count))
        return result

    def sizes(self) -> list[int]:
        """Return all sizes that were measured, in order."""
        return sorted({sample.size for sample in self.samples})

    def tools(self) -> list[str]:
        """Return all tools that were measured, in the order in which they first were."""
        return list(dict.fromkeys(sample.tool for sample in self.samples))

    def save(self, path: Path) -> None:
        """Write all of it to a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what `save` wrote."""
        result = json.loads(path.read_text())
        samples = [Sample(**one) for one in result.pop("samples")]
        return cls(samples=samples, **result)

    def _of(self, tool: str, size: int, step: str) -> list[Sample]:
        return [
            sample
            for sample in self.samples
            if (sample.tool, sample.size, sample.step) == (tool, size, step)
        ]
