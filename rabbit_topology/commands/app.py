"""
``python -m rabbit_topology``: what can be done with a topology besides deploying it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup
from typer.main import get_group

import rabbit_topology
from rabbit_topology.errors import TopologyError

_MODULES = {
    "prove": "prove",
    "lint": "lint",
    "env": "env",
    "adopt": "adopt",
    "status": "status",
    "drift": "drift",
    "review": "review",
    "replay": "replay",
    "trace": "routes",
    "reach": "routes",
    "diff": "routes",
    "test": "routes",
    "graph": "describe",
    "asyncapi": "describe",
    "docs": "docs",
    "watch": "watch",
}
"""By each command, the module that has it."""


class _Commands(Mapping[str, Any]):
    """The commands by name. A command's module is imported when the command is looked up.

    So each command starts without what only others need. Help looks all of them up.
    """

    def __getitem__(self, name: str) -> Any:
        module = import_module(f"rabbit_topology.commands.{_MODULES[name]}")
        return get_group(module.app).commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


class _Group(TyperGroup):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings | {"commands": _Commands()})


app = typer.Typer(cls=_Group, no_args_is_help=True, pretty_exceptions_enable=False)
_err = Console(stderr=True, highlight=False, soft_wrap=True)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"rabbit-topology {rabbit_topology.__version__}")
        raise typer.Exit


@app.callback()
def _commands(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="say it and stop"),
    ] = False,
) -> None:
    """RabbitMQ topologies with Pulumi that never lose a message."""


def main() -> None:
    """Run the command line; an error of ours is printed in its own words, exit status 1."""
    try:
        app()
    except TopologyError as error:
        _err.print(str(error), style="red", markup=False)
        raise SystemExit(1) from None
