"""The real program without its safety hooks, for what they cost; nobody should run it so."""

import runpy
from pathlib import Path
from typing import Any

from rabbit_topology import safety


def _nothing(self: Any, *_: object) -> None:
    self.retains_vhost = False
    self.vhost = self.exchange = None


# Any, since the types rightly say that a program has hooks.
without: Any = safety.Safety
without.__post_init__ = without.queue = without.binding = _nothing

runpy.run_path(str(Path(__file__).resolve().parent / "ours.py"))
