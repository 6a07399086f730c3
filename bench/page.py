"""The measurements as a page: ``python -m bench.page`` writes it anew from what was kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bench.goals import goals
from bench.results import Results
from bench.tools import ROOT, Step

KEPT = ROOT / ".local" / "bench.json"
NOTES = ROOT / "bench" / "notes.md"
"""What no measurement can say by itself."""
PAGE = ROOT / "docs" / "performance.md"
PLOT = PAGE.with_suffix(".svg")

_MIB = 1 << 20


def write(results: Results) -> None:
    """Write docs/performance.md, and the plot beside it."""
    # Here, since it needs what only `make bench` installs.
    from bench import plot

    PAGE.write_text(render(results))
    plot.write(results, PLOT)


def render(results: Results) -> str:
    """Return the page as Markdown."""
    return "\n".join(_lines(results)) + "\n"


def _lines(results: Results) -> Iterator[str]:
    with_what = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    yield "# How fast it is"
    yield ""
    yield (
        f"Measured on {results.date} by `make bench` on {results.machine}, which the broker "
        f"shares: {with_what}. Each tool builds the same topology, a third each of exchanges, "
        f"classic queues and bindings, on a fresh broker of its own. {_repeats(results)}, the "
        "tools in rotation. Absolute times are this machine's; ratios hold."
    )
    yield ""
    for tool in results.tools():
        yield f"- **{tool}**: {results.programs[tool]}"
    yield ""
    yield f"![time over size]({PLOT.name})"
    yield ""
    yield "## Goals"
    yield ""
    yield from _table(
        ["", "at most", "measured", ""],
        [
            [
                goal.text,
                f"{goal.limit:g}{goal.unit}",
                "" if goal.measured is None else f"{goal.measured:.2f}{goal.unit}",
                goal.verdict,
            ]
            for goal in goals(results)
        ],
    )
    yield ""
    yield NOTES.read_text().rstrip()
    yield from _figures(results, "Seconds", results.seconds, _seconds)
    yield from _figures(results, "Peak memory, MiB", results.peak, _mebibytes)
    yield from _left_out(results)
    yield from _policies(results)
    yield from _rules(results)


def _repeats(results: Results) -> str:
    """Return how often each was measured, and what was measured less often."""
    counts = results.repeats()
    most = max(counts.values(), default=0)
    fewer = [f"{tool} at {size:,} ({n})" for (tool, size), n in counts.items() if n < most]
    return f"Medians of {most} runs" + (f", but {', '.join(fewer)}" if fewer else "")


def _figures(
    results: Results,
    title: str,
    figure: Callable[[str, int, str], float | None],
    show: Callable[[float], str],
) -> Iterator[str]:
    yield ""
    yield f"## {title}"
    for step in Step:
        tools = [
            tool
            for tool in results.tools()
            if any(figure(tool, size, step) is not None for size in results.sizes())
        ]
        yield ""
        yield f"**{step[0].upper()}{step[1:]}**"
        yield ""
        rows = []
        for size in results.sizes():
            result = [figure(tool, size, step) for tool in tools]
            rows.append([f"{size:,}", *("" if one is None else show(one) for one in result)])
        yield from _table(["resources", *tools], rows)


def _left_out(results: Results) -> Iterator[str]:
    if results.left_out:
        yield ""
        yield "## Left out"
        yield ""
        for key, reason in results.left_out.items():
            yield f"- {key}: {' '.join(reason.split())[:300]}"


def _policies(results: Results) -> Iterator[str]:
    if results.policies:
        yield ""
        yield "## Policies"
        yield ""
        yield (
            "One PUT of a policy makes the broker look at every queue of the vhost, so what counts "
            "is how many distinct policies there are. Every queue is matched by one of them."
        )
        yield ""
        yield from _table(
            ["queues", "distinct policies", "one PUT, ms", "all, s"],
            [
                [
                    f"{policy['queues']:,}",
                    f"{policy['policies']:,}",
                    f"{policy['seconds'] * 1000:,.0f}",
                    f"{policy['all_seconds']:,.2f}",
                ]
                for policy in results.policies
            ],
        )


def _rules(results: Results) -> Iterator[str]:
    if results.rules:
        yield ""
        yield "## Checking a config"
        yield ""
        yield from _table(
            ["objects", "seconds"],
            [[f"{int(size):,}", f"{seconds:.3f}"] for size, seconds in results.rules.items()],
        )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join(['---', *(['---:'] * (len(head) - 1))])} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _seconds(value: float) -> str:
    return f"{value:,.2f}" if value < 10 else f"{value:,.1f}"


def _mebibytes(value: float) -> str:
    return f"{value / _MIB:,.0f}"


if __name__ == "__main__":
    write(Results.load(KEPT))
