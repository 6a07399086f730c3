"""
All safety tests on the full scale, and their figures in ``docs/safety-results.md``.

``python -m tests.safety`` is what `make safety` runs; further arguments go to pytest, such as
``-k "kill and 4.0"``. With arguments the figures are only printed, since they are not all.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FILE = ROOT / "docs" / "safety-results.md"


def main(arguments: list[str]) -> int:
    """Run pytest and return its exit status."""
    written = [] if arguments else [f"--safety-results={FILE}", "--safety-command=make safety"]
    return pytest.main(
        [
            *(str(Path(__file__).parent), "-m", "safety", "--safety-scale=full"),
            *("-v", "-s", "-p", "no:cacheprovider"),
            *written,
            *arguments,
        ]
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
