"""
The broker, or the definitions file, that a command reads in the place of a config.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rabbit_topology.adopt import definitions, express, links
from rabbit_topology.adopt.definitions import Definitions
from rabbit_topology.adopt.express import Expressed, Left
from rabbit_topology.broker.management import Management
from rabbit_topology.config import provider_settings
from rabbit_topology.config.stack import Stack
from rabbit_topology.errors import TopologyError
from rabbit_topology.findings import Finding
from rabbit_topology.lint import check as lint
from rabbit_topology.lint.reading import read

LIVE = "live:"
"""The name of the broker that the environment leads to, where a file is named."""


def is_meant(where: Path) -> bool:
    """Return whether a name is that of a broker or of a definitions file."""
    return str(where) == LIVE or where.suffix in (".json", ".tfstate")


def management(
    endpoint: str | None = None,
    username: str | None = None,
    ask: Callable[[str], str] | None = None,
) -> Management:
    """Return how to reach the broker of the environment.

    Args:
        endpoint: In the place of what the environment says.
        username: Likewise.
        ask: Asks for a password that the environment does not have, given the user's name.

    Raises:
        TopologyError: The environment does not say it all.
    """
    given = {"endpoint": endpoint, "username": username}
    reached = provider_settings.read(given.get, os.environ)
    if "password" not in reached and ask is not None and "username" in reached:
        reached["password"] = ask(reached["username"])
    missing = [one.variable for one in provider_settings.NEEDED if one.argument not in reached]
    if missing:
        raise TopologyError(
            f"which broker? {', '.join(missing)} is not set in this environment; the endpoint is "
            "the URL of the management API, such as http://localhost:15672"
        )
    return Management(**reached)


def stack(where: Path) -> Stack:
    """Return what a broker has, as far as a config can say it: its shovels and upstreams too.

    Raises:
        TopologyError: It cannot be read.
    """
    return stack_and_left(where)[0]


def stack_and_left(where: Path) -> tuple[Stack, list[Left]]:
    """Return the same as `stack`, and what of the broker a config cannot say.

    Raises:
        TopologyError: It cannot be read.
    """
    had = _read(where)
    said = express.express(links.with_their_queues(had), definitions.of_vhosts(had, ()))
    linked = replace(said, topologies=links.with_links(said.topologies, had))
    return config(had, linked), said.left


def findings(where: Path) -> list[Finding]:
    """Return what the rules find in what a broker has.

    Raises:
        TopologyError: It cannot be read.
    """
    had = _read(where)
    said = express.express(had, definitions.of_vhosts(had, ()), with_refused=True)
    return lint.check(config(had, said))


def config(had: Definitions, said: Expressed) -> Stack:
    """Return what was expressed, as the config's own rules see it.

    Raises:
        TopologyError: There is nothing in it.
    """
    if not said.topologies:
        raise TopologyError(f"{had.source} has nothing that a config can say")
    return read(said.topology, broker=had.broker)


def progress(text: str) -> None:
    """Say how far a broker was read, where somebody is looking."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


def _read(where: Path) -> Definitions:
    if str(where) == LIVE:
        return definitions.live(management(), progress)
    return definitions.from_file(where, str(where), vhost=where.stem)
