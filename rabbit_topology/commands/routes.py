"""
``python -m rabbit_topology`` ``trace``, ``reach``, ``diff`` and ``test``: they only read.
"""

from __future__ import annotations

import json
import shutil
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from rabbit_topology.commands import files, sources
from rabbit_topology.commands.options import Live, Stack, Vhost
from rabbit_topology.errors import TopologyError
from rabbit_topology.model.units import milliseconds
from rabbit_topology.routing import (
    as_json,
    changes,
    expectations,
    phrases,
    publication,
    reports,
    text,
    text_sets,
)
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.reach import Reach

app = typer.Typer()


class Form(StrEnum):
    """How an answer is written."""

    TEXT = "text"
    JSON = "json"


_File = Annotated[
    Path | None,
    typer.Option(
        "--file", help="a stack's file, a topology file that stacks share, or a definitions file"
    ),
]
_Format = Annotated[Form, typer.Option("--format", help="of the output")]


@app.command()
def trace(
    exchange: Annotated[str, typer.Argument(help='where to; "" is the default exchange')],
    routing_key: Annotated[str, typer.Argument(help="with which key")] = "",
    header: Annotated[
        list[str] | None,
        typer.Option(help="name=value; the value as JSON, else as text: gpus=8"),
    ] = None,
    cc: Annotated[list[str] | None, typer.Option(help="a further routing key, in CC")] = None,
    bcc: Annotated[list[str] | None, typer.Option(help="a further routing key, in BCC")] = None,
    expiration: Annotated[str | None, typer.Option(help="it expires after so long: 30s")] = None,
    stack: Stack = None,
    file: _File = None,
    live: Live = False,
    vhost: Vhost = None,
    form: _Format = Form.TEXT,
) -> None:
    """Say where a message goes, and what becomes of it then. Nothing is sent."""
    headers = dict(_header(written) for written in header or ())
    headers |= {name: keys for name, keys in (("CC", cc), ("BCC", bcc)) if keys}
    network = _network(stack, file, vhost, live=live)
    published = publication.publish(
        network, exchange, routing_key, headers, None if expiration is None else _time(expiration)
    )
    _answer(form, as_json.trace(published), text.trace(published, width=_width()))


@app.command()
def reach(
    queue: Annotated[str | None, typer.Argument(help="a queue or stream")] = None,
    service: Annotated[str | None, typer.Option(help="or a service, or user")] = None,
    stack: Stack = None,
    file: _File = None,
    live: Live = False,
    vhost: Vhost = None,
    form: _Format = Form.TEXT,
) -> None:
    """Say what leads to a queue, and who can publish it; or where a service's messages can get."""
    if (queue is None) == (service is None):
        raise TopologyError("name a queue, or --service and a service")
    known = Reach(_network(stack, file, vhost, live=live))
    if queue is not None:
        report = reports.of_queue(known, queue)
        _answer(form, as_json.queue(report), text_sets.queue(report, width=_width()))
    else:
        can = reports.of_publisher(known, service or "")
        _answer(form, as_json.publisher(can), text_sets.publisher(can, width=_width()))


@app.command()
def diff(
    old: Annotated[str, typer.Argument(help="a file, a stack, git:REV, git:REV:FILE, or live:")],
    new: Annotated[str, typer.Argument(help="the same; git:REV is the other one's file then")],
    form: _Format = Form.TEXT,
) -> None:
    """Say which messages go elsewhere, with an example of each kind. Exit 1 if any do."""
    before, now = sources.pair(old, new)
    compared = changes.stacks(before, now)
    shown = "\n".join(
        text_sets.changes(name, one, width=_width()) for name, one in compared.items()
    )
    _answer(form, {name: as_json.changes(one) for name, one in compared.items()}, shown)
    if any(compared.values()):
        raise typer.Exit(1)


@app.command("test")
def check(stack: Stack = None, file: _File = None, form: _Format = Form.TEXT) -> None:
    """Check what the config expects of its routes, `rabbit-topology:expect`."""
    read = sources.load(sources.file(file, stack))
    failed = expectations.check(read)
    document = {"expectations": len(read.expect), "failures": as_json.failures(failed)}
    _answer(form, document, text.failures(len(read.expect), failed, width=_width()))
    if failed:
        raise typer.Exit(1)


def _network(stack: str | None, file: Path | None, vhost: str | None, *, live: bool) -> Network:
    read = sources.load(sources.file(file, stack, live=live))
    return sources.vhost(read, vhost)


def _header(written: str) -> tuple[str, Any]:
    name, equals, value = written.partition("=")
    if not equals:
        raise TopologyError(f"--header {written}: a header is written name=value")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _time(written: str) -> int:
    try:
        value = milliseconds(int(written) if written.isdecimal() else written)
    except ValueError as error:
        raise TopologyError(f"--expiration {written}: {error}") from None
    return value if isinstance(value, int) else 0


def _answer(form: Form, document: object, shown: str) -> None:
    if form is Form.JSON:
        files.print_json(document)
    else:
        typer.echo(shown)


def _width() -> int:
    return shutil.get_terminal_size((phrases.WIDTH, 24)).columns
