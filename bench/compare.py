"""The tools in rotation, each on a fresh broker, so that what slows the machine slows all alike."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from math import log
from pathlib import Path

from bench.measure import FailedError
from bench.results import Results
from bench.tools import Step, Tool
from bench.topology import topology, with_one_more
from toolchain.broker import Broker

Report = Callable[[str], None]


def runs(tools: Sequence[Tool], sizes: Sequence[int], repeat: int) -> Iterator[tuple[int, Tool]]:
    """Yield size and tool of each run; every round begins with another tool."""
    for size in sorted(sizes):
        able = [one for one in tools if one.smallest <= size <= (one.largest or size)]
        for number in range(repeat):
            start = number % len(able) if able else 0
            for tool in able[start:] + able[:start]:
                yield size, tool


def measure(
    tool: Tool,
    size: int,
    version: str,
    *,
    once: float,
    limit: float,
    results: Results,
    report: Report,
) -> None:
    """Run all steps of one tool on a broker of its own, and add what they took.

    A run that would take more than `limit` seconds, by how it grew so far, is left out; so are
    those after one that did. One that takes more than `once` seconds is not repeated.
    """
    key = f"{tool.name}, {size:,}"
    if key in results.left_out or _whole(results, tool.name, size) > once:
        return
    expected = expectation(results, tool.name, size)
    if expected and expected > limit:
        results.left_out[key] = f"would take about {expected / 60:.0f} min"
        return
    config = topology(size)
    with Broker.start(version=version) as broker, tempfile.TemporaryDirectory() as folder:
        results.versions["RabbitMQ"] = broker.version
        try:
            session = tool.session(Path(folder), broker, limit)
            for step in Step:
                if step is Step.ADDED:
                    config = with_one_more(config)
                report(f"{size:,} {tool.name}: {step}")
                results.add(tool.name, size, step, session.measure(step, config))
        except FailedError as error:
            results.left_out[key] = str(error)
            report(f"{size:,} {tool.name}: {error}")


def expectation(results: Results, tool: str, size: int) -> float | None:
    """Return how many seconds a run should take going by the two sizes before it.

    By one alone it is taken to grow with the square.
    None if nothing smaller was measured.
    """
    smaller = [one for one in results.sizes() if one < size and _whole(results, tool, one)]
    if not smaller:
        return None
    last = _whole(results, tool, smaller[-1])
    power = 2.0
    if len(smaller) > 1:
        before = _whole(results, tool, smaller[-2])
        power = max(1.0, log(last / before) / log(smaller[-1] / smaller[-2]))
    return last * float((size / smaller[-1]) ** power)


def _whole(results: Results, tool: str, size: int) -> float:
    return sum(results.seconds(tool, size, step) or 0 for step in Step)
