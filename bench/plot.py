"""Time over size, both logarithmic: a straight line that climbs by 45 degrees is linear growth."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.results import Results
from bench.tools import Step


def write(results: Results, path: Path) -> None:
    """Write one diagram per step as an SVG; the same figures give the same file."""
    # Text stays text, and ids are not random: small and comparable.
    settings = {"svg.fonttype": "none", "svg.hashsalt": "rabbit-topology", "font.size": 9}
    with mpl.rc_context(settings):
        figure = Figure(figsize=(9, 7), layout="constrained")
        diagrams = figure.subplots(2, 2, sharex=True, sharey=True).flat
        for step, diagram in zip(Step, diagrams, strict=True):
            diagram.set_title(step)
            for tool in results.tools():
                sizes = [size for size in results.sizes() if results.seconds(tool, size, step)]
                taken = [results.seconds(tool, size, step) for size in sizes]
                # An empty line keeps the tools' colours the same in all diagrams.
                diagram.loglog(sizes, taken, marker="o", markersize=4, label=tool)
            diagram.grid(visible=True, which="both", alpha=0.2)
            diagram.set_xticks(results.sizes(), [f"{size:,}" for size in results.sizes()])
        figure.supxlabel("resources")
        figure.supylabel("seconds")
        handles, labels = diagram.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        figure.savefig(path, metadata={"Date": None, "Creator": None})
