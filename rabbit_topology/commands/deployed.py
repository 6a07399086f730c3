"""
What a deployed stack is: its config and outputs, read with the `pulumi` command.

Source: "pulumi config", "pulumi stack output", Pulumi documentation.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rabbit_topology.broker.management import Management
from rabbit_topology.config import base, provider_settings
from rabbit_topology.config.words import show, suggest
from rabbit_topology.errors import TopologyError
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
    outputs = _outputs(stack)
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
        vhosts = [(topology, outputs)]
    else:
        vhosts = [(vhost, outputs["vhosts"][vhost.vhost]) for vhost in topology]
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


def service_urls(
    service: str, *, stack: str | None = None, vhost: str | None = None
) -> str | list[str]:
    """Read a service's AMQP URL, or one per host: a secret.

    Args:
        service: Its name in the config.
        stack: The stack's name, the selected one by default.
        vhost: Its vhost, needed only where several have a service of this name.

    Raises:
        TopologyError: There is no such service, or more than one, or no stack that was deployed.
    """
    outputs = _outputs(stack)
    every: dict[str, dict[str, Any]] = outputs.get("vhosts") or {outputs["vhost"]: outputs}
    if vhost is not None and vhost not in every:
        raise TopologyError(f"{show(vhost)} is not a vhost of the stack; {suggest(vhost, every)}")
    chosen = every if vhost is None else {vhost: every[vhost]}
    by_vhost = {
        name: vhost_outputs.get("service_urls", {}) for name, vhost_outputs in chosen.items()
    }
    having = [name for name, urls in by_vhost.items() if service in urls]
    match having:
        case [only]:
            its_urls: str | list[str] = by_vhost[only][service]
            return its_urls
        case []:
            known = {name for urls in by_vhost.values() for name in urls}
            raise TopologyError(
                f"{show(service)} is not a service of the stack; {suggest(service, known)}"
            )
        case _:
            raise TopologyError(
                f"{show(service)} is a service of several vhosts: say --vhost and one of "
                f"{', '.join(having)}"
            )


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
