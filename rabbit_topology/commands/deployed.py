"""
What a deployed stack is: its config and outputs, read with the `pulumi` command.

Source: "pulumi config", "pulumi stack output", "pulumi stack export", Pulumi documentation.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from rabbit_topology.broker.management import Management
from rabbit_topology.config import base, provider_settings
from rabbit_topology.errors import TopologyError
from rabbit_topology.handover import outputs
from rabbit_topology.handover.accounts import Account, Kind, of_vhost
from rabbit_topology.lint.reading import parse_stack
from rabbit_topology.model import Topology


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
    value = config(stack)
    read_outputs = _outputs(stack)
    whole = base.topology(
        value("rabbit-topology:base"), value("rabbit-topology:topology"), base.project_folder()
    )
    topology, *_ = parse_stack(whole, value("rabbit-topology:broker"))
    reached = provider_settings.read(
        lambda key: value(f"{provider_settings.NAMESPACE}:{key}"), os.environ
    )
    for setting in provider_settings.NEEDED:
        if setting.argument not in reached:
            raise TopologyError(
                f"{setting.path}: missing, and {setting.variable} is not set in this environment"
            )
    management = Management(**reached)
    if isinstance(topology, Topology):
        vhosts = [(topology, read_outputs)]
    else:
        vhosts = [(vhost, read_outputs["vhosts"][vhost.vhost]) for vhost in topology]
    return Deployed(vhosts=vhosts, management=management)


def config(stack: str | None = None) -> Callable[[str], Any]:
    """Read a stack's config, secrets in plain; return what returns the value of a key.

    Raises:
        TopologyError: There is no `pulumi`, no such stack, or its secrets cannot be decrypted.
    """
    entries = _pulumi("config", "--json", "--show-secrets", *_chosen(stack))

    def value(key: str) -> Any:
        entry = entries.get(key, {})
        return entry.get("objectValue", entry.get("value"))

    return value


def accounts(
    stack: str | None = None,
    *,
    kinds: Collection[Kind] = tuple(Kind),
    vhost: str | None = None,
) -> list[Account]:
    """Read what services and users of a stack connect with: secrets.

    Args:
        stack: The stack's name, the selected one by default.
        kinds: Which of them.
        vhost: Only those of this one.

    Raises:
        TopologyError: There is no such vhost, or no stack that was deployed.
    """
    read_outputs = _outputs(stack)
    read_accounts: list[Account] = []
    if Kind.SERVICE in kinds:
        read_accounts += outputs.services(read_outputs)
    if Kind.USER in kinds:
        state = _pulumi("stack", "export", "--show-secrets", *_chosen(stack))
        read_accounts += outputs.users(read_outputs, state)
    return of_vhost(read_accounts, vhost, outputs.by_vhost(read_outputs))


def _outputs(stack: str | None) -> dict[str, Any]:
    printed = _pulumi("stack", "output", "--json", "--show-secrets", *_chosen(stack))
    if not {"connection_url", "vhosts"} & printed.keys():
        raise TopologyError("the stack has no outputs yet: run `pulumi up` first")
    return printed


def _chosen(stack: str | None) -> list[str]:
    return ["--stack", stack] if stack else []


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
