"""
``python -m rabbit_topology review``: a preview as a pull request's comment. It only reads.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rabbit_topology.commands import brokers, exits, files, sources
from rabbit_topology.commands.options import Stack
from rabbit_topology.config.stack import Stack as Config
from rabbit_topology.errors import ConfigError, TopologyError
from rabbit_topology.review import as_json, comment, preview
from rabbit_topology.review.preview import Preview
from rabbit_topology.review.verdict import Outcome, Review
from rabbit_topology.review.verdict import review as reviewed

app = typer.Typer()

_STDIN = "-"

_STATUSES = {
    Outcome.LOSES_NOTHING: 0,
    Outcome.REFUSED: exits.NOT_WELL,
    Outcome.DISCARDS: exits.NOT_WELL,
    Outcome.NOT_KNOWN: exits.ERROR,
    Outcome.FAILED: exits.ERROR,
}


class Form(StrEnum):
    """How a review is written."""

    MARKDOWN = "markdown"
    JSON = "json"


@app.command(cls=exits.Command)
def review(
    file: Annotated[
        Path | None,
        typer.Argument(help="the stack's file, or a topology file that stacks share"),
    ] = None,
    stack: Stack = None,
    base: Annotated[
        str | None,
        typer.Option(help="the config before: a file, a stack, git:REV, or git:REV:FILE"),
    ] = None,
    previewed: Annotated[
        str,
        typer.Option("--preview", help="what `pulumi preview --json` has printed; -: stdin"),
    ] = _STDIN,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="a file")] = None,
    form: Annotated[Form, typer.Option("--format", help="of the output")] = Form.MARKDOWN,
) -> None:
    """Say what a change does, for its pull request.

    Exit 0: it loses nothing; 2: it would be refused, or discards messages; 1: an error, or the
    preview could not look.
    """
    where = sources.file(file, stack)
    if brokers.is_meant(where):
        raise TopologyError(f"{where}: name the config of the change")
    before, now = _configs(base, where)
    seen = _preview(previewed)
    name = _name(where, seen)
    made = reviewed(name, seen, before, now)
    _write(made, output, form)
    if status := _STATUSES[made.outcome]:
        raise typer.Exit(status)


def _configs(base: str | None, where: Path) -> tuple[Config | None, Config]:
    if base is None:
        return None, sources.load(where)
    if not sources.is_there(base, str(where)):
        typer.echo(f"{base} does not have {where}: there is nothing to compare it with", err=True)
        return None, sources.load(where)
    try:
        return sources.pair(base, str(where))
    except ConfigError as error:
        now = sources.load(where)  # what is wrong is not this one
        typer.echo(f"{base}: there is nothing to compare with: {error}", err=True)
        return None, now


def _preview(named: str) -> Preview:
    if named == _STDIN:
        if sys.stdin.isatty():
            raise TopologyError(
                "there is no preview: say --preview FILE, or pipe `pulumi preview --json` into it"
            )
        return preview.parse(sys.stdin.read(), "stdin")
    try:
        text = Path(named).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise TopologyError(f"{named}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TopologyError(f"{named}: it is not UTF-8, as a preview is") from None
    return preview.parse(text, named)


def _name(where: Path, seen: Preview) -> str:
    """Return the stack's name; a topology file that stacks share does not tell."""
    known = seen.stack
    if not where.name.startswith("Pulumi."):
        return known or where.stem
    name = where.stem.removeprefix("Pulumi.")
    if known is not None and known != name:
        raise TopologyError(
            f"the preview is of stack {known}, and {where} is that of {name}: name the file, or "
            "make the preview, of the same stack"
        )
    return name


def _write(made: Review, output: Path | None, form: Form) -> None:
    text = files.as_json(as_json.write(made)) if form is Form.JSON else comment.write(made)
    files.write(text, output)
    if output is not None:
        typer.echo(made.verdict)
