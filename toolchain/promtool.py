"""Prometheus' `promtool`, which checks rules and tries them on made-up metrics.

It is the one on PATH if there is one, else built into the user's cache. Nothing but tests needs it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from toolchain import golang
from toolchain.golang import Build, BuildError, Report

__all__ = ["BuildError", "clean", "ensure"]

_FORMAT = 1  # Raise it when the same module is built or laid out in another way.
_MODULE = Path(__file__).parent / "promtool-cli"
_PACKAGE = "github.com/prometheus/prometheus/cmd/promtool"

# Without the clients of all clouds, by which Prometheus finds its targets: a fraction of the time.
_TAGS = "remove_all_sd"


def ensure(report: Report) -> str:
    """Return the command, built now if it is not there; raises BuildError."""
    on_path = shutil.which("promtool")
    if on_path:
        return on_path
    entry = golang.entry(
        "promtool",
        lambda go: golang.digest(go, (_FORMAT, _TAGS), [_MODULE]),
        [_MODULE],
        _build,
        report,
    )
    return str(entry / "promtool")


def clean(report: Report) -> None:
    """Delete what `ensure` has built, waiting for a build that is under way."""
    golang.clean("promtool", report)


def _build(build: Build) -> None:
    build.report("building promtool; the first time takes some minutes")
    # `-mod=mod` completes go.mod and go.sum: in a copy, not in the clone.
    module = Path(shutil.copytree(_MODULE, build.temporary / _MODULE.name))
    binary = build.target / "promtool"
    build.compile(module, _PACKAGE, binary, "compiling promtool", mod="mod", tags=_TAGS)
