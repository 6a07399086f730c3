"""The example in Go, which uses what a stack exports: compiled, so that it is known to compile.

Only a test needs it. Its packages take minutes to compile; the result stays in the user's cache.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from toolchain import golang
from toolchain.golang import Build, BuildError, Report

__all__ = ["BuildError", "clean", "ensure"]

_FORMAT = 1  # Raise it when the same program is built or laid out in another way.
_PROGRAM = Path(__file__).parents[1] / "examples" / "consumers" / "go"


def ensure(report: Report) -> Path:
    """Return the program, compiled now if it is not there; raises BuildError."""
    entry = golang.entry(
        "consumer", lambda go: golang.digest(go, _FORMAT, [_PROGRAM]), [_PROGRAM], _build, report
    )
    return entry / "consumer"


def clean(report: Report) -> None:
    """Delete what `ensure` has built, waiting for a build that is under way."""
    golang.clean("consumer", report)


def _build(build: Build) -> None:
    build.report("compiling the example in Go; the first time takes some minutes")
    # `-mod=mod` completes go.mod and go.sum: in a copy, not in the clone.
    copy = Path(shutil.copytree(_PROGRAM, build.temporary / _PROGRAM.name))
    build.compile(copy, ".", build.target / "consumer", "compiling the example", mod="mod")
