"""What it costs to check a config: everything that is said about it before a resource exists."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

from bench.topology import topology
from rabbit_topology.lint.reading import parse


def measure(sizes: Sequence[int], repeat: int) -> dict[str, float]:
    """Return the seconds to check a config, by its number of objects."""
    return {str(size): median(_once(size) for _ in range(repeat)) for size in sizes}


def _once(size: int) -> float:
    config = topology(size)
    started = time.monotonic()
    parse(config)
    return time.monotonic() - started
