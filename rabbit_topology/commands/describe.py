"""
``python -m rabbit_topology`` ``graph`` and ``asyncapi``: they only read.
"""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
import yaml

from rabbit_topology.commands import files, sources
from rabbit_topology.commands.options import Live, Stack, Vhost
from rabbit_topology.describe import asyncapi as documents
from rabbit_topology.describe import build, changes, focus, fold, mermaid
from rabbit_topology.describe.graph import Graph
from rabbit_topology.errors import TopologyError
from rabbit_topology.routing.network import Network

_REQUIREMENTS = "requirements-pictures.txt"

app = typer.Typer()


class Form(StrEnum):
    """What a picture is written in."""

    MERMAID = "mermaid"
    DOT = "dot"
    SVG = "svg"


_File = Annotated[
    Path | None,
    typer.Argument(help="a stack's file, a topology file that stacks share, or a definitions file"),
]


@app.command()
def graph(
    file: _File = None,
    stack: Stack = None,
    live: Live = False,
    vhost: Vhost = None,
    form: Annotated[Form, typer.Option("--format", help="of the output")] = Form.MERMAID,
    focus_: Annotated[
        str | None,
        typer.Option("--focus", help="an exchange, queue or service, and what is around it"),
    ] = None,
    depth: Annotated[int, typer.Option(min=0, help="with --focus: how many steps")] = 2,
    diff: Annotated[
        str | None,
        typer.Option(
            help="colour what is different from a file, stack, git:REV, git:REV:FILE, or live:"
        ),
    ] = None,
) -> None:
    """Draw a vhost: exchanges, queues, bindings, dead letters, and services at the rim."""
    where = sources.file(file, stack, live=live)
    if diff is None:
        picture = build.graph(sources.vhost(sources.load(where), vhost))
    else:
        before, now = sources.pair(diff, str(where))
        chosen = sources.vhost(now, vhost)
        known = Network.every(before)
        old = changes.counterpart(chosen, known, alone=len(now.written) == 1)
        picture = changes.compared(old, build.graph(chosen))
    if focus_ is not None:
        picture = focus.focused(picture, focus_, depth)
    elif len(picture.nodes) > fold.READABLE:
        before_ = len(picture.nodes)
        picture = fold.folded(picture)
        _say(
            f"{before_} objects: what patterns make is folded into what has them, which leaves "
            f"{len(picture.nodes)}; --focus NAME draws a part"
        )
    typer.echo(_written(picture, form), nl=False)


@app.command()
def asyncapi(
    file: _File = None,
    stack: Stack = None,
    live: Live = False,
    vhost: Vhost = None,
    service: Annotated[str | None, typer.Option(help="only what this one does")] = None,
    version: Annotated[str, typer.Option(help="of the document")] = "1.0.0",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="a file; JSON if its name ends in .json")
    ] = None,
) -> None:
    """Describe a vhost, or one service, as an AsyncAPI 3.0 document."""
    read = sources.load(sources.file(file, stack, live=live))
    chosen = sources.vhost(read, vhost)
    document = documents.document(chosen, read.broker, service, version=version)
    text = files.as_json(document)
    if output is None or output.suffix != ".json":
        # What stands there twice is written twice: read from JSON it is not one object.
        text = yaml.safe_dump(json.loads(text), sort_keys=False, allow_unicode=True, width=100)
    files.write(text, output)


def _written(picture: Graph, form: Form) -> str:
    if form is Form.MERMAID:
        text = mermaid.render(picture)
        if reason := mermaid.too_large(picture, text):
            _say(f"{reason}; --focus NAME draws a part")
        return text
    try:
        from rabbit_topology.describe import dot

        if form is Form.DOT:
            return dot.render(picture)
        from rabbit_topology.describe import svg
    except ImportError:
        raise TopologyError(
            f"{form} needs further packages: pip install -r {_REQUIREMENTS}"
        ) from None
    return svg.render(dot.render(picture))


def _say(text: str) -> None:
    typer.echo(text, err=True)
