"""
The safety tests on the full scale, in parts; what each measured is in ``docs/safety-results.md``.

``python -m tests.safety`` is what `make safety` runs. ``--part kills`` runs one part, and
``--page`` only writes the page anew from what the parts measured last. Further arguments go to
pytest, such as ``-k "kill and 4.0"``: then the figures are only printed, since they are not all.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.safety import page
from tests.safety.parts import BY_NAME, LANES, Part
from tests.safety.runner import Runner
from toolchain import engine


def main(arguments: list[str]) -> int:
    """Run what is asked for; return 0 if every test passed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.safety",
        description="Further arguments go to pytest; the figures are then only printed.",
        epilog="; ".join(f"{part.name}: {part.about}" for part in BY_NAME.values()),
        allow_abbrev=False,
    )
    parser.add_argument("--part", action="append", choices=BY_NAME, help="only this; repeatable")
    parser.add_argument("--lanes", type=int, default=LANES, help="so many parts side by side")
    parser.add_argument("--page", action="store_true", help="only write the page anew")
    asked, further = parser.parse_known_args(arguments)
    chosen = [part for name, part in BY_NAME.items() if not asked.part or name in asked.part]
    if further:
        return pytest.main(
            [
                *(str(Path(__file__).parent), "-m", "safety", "--safety-scale=full"),
                *("-v", "-s", "-p", "no:cacheprovider"),
                *(f"--safety-part={part.name}" for part in chosen),
                *further,
            ]
        )
    try:
        failed = [] if asked.page else _run(chosen, asked.lanes)
    except KeyboardInterrupt:
        print("interrupted: all that was started is stopped; parts that had ended are kept")
        return 130
    finally:
        page.write()
        print(f"written: {page.FILE.relative_to(page.measured.ROOT)}")
    if failed:
        print(f"not every test passed in: {', '.join(failed)}; see the page")
    return bool(failed)


def _run(chosen: Iterable[Part], lanes: int) -> list[str]:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    engine.ensure(print)  # once, not in each part
    return Runner(lanes=lanes).run(chosen)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
