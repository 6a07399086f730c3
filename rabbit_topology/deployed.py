"""
What a deployed stack is: its config and outputs, read with the `pulumi` command.

Source: "pulumi config", "pulumi stack output", Pulumi documentation.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rabbit_topology import base
from rabbit_topology.errors import TopologyError
from rabbit_topology.management import Management
from rabbit_topology.model import Topology
from rabbit_topology.parse import parse_stack


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """One stack as it was last deployed."""

    vhosts: Sequence[tuple[Topology, dict[str, Any]]]
    """The topology of each vhost, and its outputs by name, secrets in plain: never print them
    whole."""
    management: Management


def read(stack: str | None = None) -> Deployed:
    """Read a stack, the selected one by default, in the current folder.

    Raises:
        TopologyError: There is no `pulumi`, no such stack, or it was never deployed.
        ConfigError: Its config is not a topology.
    """
    chosen = ["--stack", stack] if stack else []
    config = _pulumi("config", "--json", "--show-secrets", *chosen)
    outputs = _pulumi("stack", "output", "--json", "--show-secrets", *chosen)
    if not {"connection_url", "vhosts"} & outputs.keys():
        raise TopologyError("the stack has no outputs yet: run `pulumi up` first")
    whole = base.topology(
        _value(config, "rabbit-topology:base"),
        _value(config, "rabbit-topology:topology"),
        base.project_folder(),
    )
    topology, *_ = parse_stack(whole, _value(config, "rabbit-topology:broker"))
    management = Management(
        endpoint=_value(config, "rabbitmq:endpoint"),
        username=_value(config, "rabbitmq:username"),
        password=_value(config, "rabbitmq:password"),
        ca_file=_value(config, "rabbitmq:cacertFile"),
        insecure=_value(config, "rabbitmq:insecure") in (True, "true"),
    )
    if isinstance(topology, Topology):
        vhosts = [(topology, outputs)]
    else:
        vhosts = [(it, outputs["vhosts"][it.vhost]) for it in topology]
    return Deployed(vhosts=vhosts, management=management)


def _pulumi(*arguments: str) -> dict[str, Any]:
    try:
        ended = subprocess.run(["pulumi", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise TopologyError(
            "there is no `pulumi` on PATH: install it, or run `make up`, which builds one"
        ) from None
    if ended.returncode:
        raise TopologyError(f"pulumi {' '.join(arguments[:2])}: {ended.stderr.strip()}")
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


def _value(config: dict[str, Any], key: str) -> Any:
    entry = config.get(key, {})
    return entry.get("objectValue", entry.get("value"))
