"""
``python -m rabbit_topology`` ``docs``: it only reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rabbit_topology.commands import brokers, sources
from rabbit_topology.commands.files import write
from rabbit_topology.commands.options import Live
from rabbit_topology.config import base
from rabbit_topology.describe.page import build
from rabbit_topology.describe.page.vhost import Config
from rabbit_topology.describe.page.view import Missing
from rabbit_topology.errors import TopologyError
from rabbit_topology.lint import files as lint_files

_REQUIREMENTS = "requirements-pictures.txt"
_LIVE_NAME = "the broker"

app = typer.Typer()


@app.command()
def docs(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="stacks' files, topology files that stacks share, or definitions files; default: "
            "every Pulumi.<stack>.yaml of the project"
        ),
    ] = None,
    stack: Annotated[list[str] | None, typer.Option(help="a stack, by its name")] = None,
    live: Live = False,
    vhost: Annotated[str | None, typer.Option(help="only this one")] = None,
    service: Annotated[
        str | None, typer.Option(help="only what this one has to do with it, for its team")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="a file")] = None,
) -> None:
    """Write an HTML page: settings and their origins, rights, and where each message goes."""
    page = build.page(_configs(files, stack, live=live), vhost=vhost, service=service)
    try:
        from rabbit_topology.describe.page import html
    except ImportError:
        raise TopologyError(
            f"docs needs further packages: pip install -r {_REQUIREMENTS}"
        ) from None
    text = html.render(page)
    write(text, output)


def _configs(files: list[Path] | None, stacks: list[str] | None, *, live: bool) -> list[Config]:
    if live:
        chosen = [Path(brokers.LIVE)]
    else:
        chosen = files or lint_files.stack_files(base.project_folder(), stacks or ())
    return [_config(file) for file in chosen]


def _config(file: Path) -> Config:
    if not brokers.is_meant(file):
        return Config(name=_name(file), stack=sources.load(file))
    stack, left = brokers.stack_and_left(file)
    missing = [Missing(title=one.title, vhost=one.vhost, reason=one.reason) for one in left]
    return Config(name=_name(file), stack=stack, live=True, missing=missing)


def _name(file: Path) -> str:
    return _LIVE_NAME if str(file) == brokers.LIVE else file.stem.removeprefix("Pulumi.")
