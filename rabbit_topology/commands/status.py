"""
``python -m rabbit_topology status``: what a broker is doing. It only reads.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live as Screen
from rich.text import Text

from rabbit_topology.broker.management import Management
from rabbit_topology.commands import brokers, configured, exits, files
from rabbit_topology.commands.options import File, Live, Secrets, Stack
from rabbit_topology.config.words import vhost_among
from rabbit_topology.errors import BrokerError, TopologyError
from rabbit_topology.model import Topology
from rabbit_topology.model.units import milliseconds
from rabbit_topology.observe import looking, notices, status_reports
from rabbit_topology.observe.status import Status

app = typer.Typer()

_WIDTH_OF_FILES = 160


@app.command(cls=exits.Command)
def status(
    stack: Stack = None,
    file: File = None,
    live: Live = False,
    vhost: Annotated[list[str] | None, typer.Option(help="only this one; repeatable")] = None,
    secrets: Secrets = False,
    watch: Annotated[
        str | None, typer.Option(help="again and again, after so long: 5s; Ctrl-C ends it")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="all rows of each table")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="all of it, for programs")] = False,
) -> None:
    """Say what a stack's broker, or any, is doing. Exit 0: all is well; 2: see above; 1: an error.

    Without a stack, --live: of all vhosts, or of those with --vhost.
    """
    if watch is not None and as_json:
        raise TopologyError("--watch is for a terminal: leave --json out")
    pause = None if watch is None else _seconds(watch)
    ask = _Asking(stack, file, vhost or [], live=live, secrets=secrets)
    if pause is not None:
        _watch(ask, pause, every=every)
        return
    asked = ask()
    if as_json:
        files.print_json(status_reports.as_json(asked))
    else:
        console = _console()
        console.print(status_reports.text(asked, console, every=every))
    if not asked.well:
        raise typer.Exit(exits.NOT_WELL)


class _Asking:
    """How the broker is asked, each time anew."""

    def __init__(
        self,
        stack: str | None,
        file: Path | None,
        vhosts: list[str],
        *,
        live: bool,
        secrets: bool,
    ) -> None:
        self._management: Management
        topologies: list[Topology] = []
        if live:
            self._management = brokers.management()
        else:
            config = configured.read(file, stack, secrets=secrets)
            self._management = config.management
            every = {one.vhost: one for one in config.stack.whole.values()}
            chosen = {vhost_among([*every], vhost) for vhost in vhosts} or every.keys()
            topologies = [one for vhost, one in every.items() if vhost in chosen]
        self._expected = notices.expected(topologies) if topologies else notices.Expected()
        self._vhosts = [one.vhost for one in topologies] or vhosts or None
        self._users = looking.users(topologies) if topologies else None

    def __call__(self) -> Status:
        seen = looking.look(self._management, self._vhosts, self._users)
        return Status(seen=seen, notices=notices.notices(seen, self._expected))


def _watch(ask: _Asking, pause: float, *, every: bool) -> None:
    console = _console()
    shown = status_reports.text(ask(), console, every=every)
    with Screen(shown, console=console, auto_refresh=False, screen=console.is_terminal) as screen:
        try:
            while True:
                time.sleep(pause)
                try:
                    shown = status_reports.text(ask(), console, every=every)
                except BrokerError as error:  # it may be there again the next time
                    shown = Text(str(error), style="red")
                screen.update(shown, refresh=True)
        except KeyboardInterrupt:
            return


def _console() -> Console:
    """Return where it is shown: as wide as the terminal, and a file as wide as need be."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return Console(highlight=False)
    return Console(highlight=False, width=_WIDTH_OF_FILES)


def _seconds(written: str) -> float:
    try:
        pause = milliseconds(written)
    except ValueError as error:
        raise TopologyError(f"--watch {written}: {error}") from None
    if not isinstance(pause, int) or pause < 1000:
        raise TopologyError(f"--watch {written}: 1s or longer")
    return pause / 1000
