"""The real program, with its topology from a file.

The engine hands the config on as one environment variable, and Linux limits that to 128 KiB:
less than the larger topologies here.
"""

import runpy
from pathlib import Path

import pulumi

import rabbit_topology

pulumi.runtime.set_config("rabbit-topology:topology", Path("topology.json").read_text())
runpy.run_path(str(Path(rabbit_topology.__file__).resolve().parent.parent / "__main__.py"))
