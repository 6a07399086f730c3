"""
``python -m rabbit_topology drift``: a broker beside the config. It only reads, with no engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rabbit_topology.adopt import definitions
from rabbit_topology.commands import brokers, configured, exits, files
from rabbit_topology.commands.configured import Configured
from rabbit_topology.commands.options import File, Stack
from rabbit_topology.errors import TopologyError
from rabbit_topology.lint import files as lint_files
from rabbit_topology.lint import report as lint_report
from rabbit_topology.observe import comparison, drift_reports, ignores, remembered
from rabbit_topology.observe import definitions as observed
from rabbit_topology.observe.comparison import Unmanaged
from rabbit_topology.observe.drift import Report, State
from rabbit_topology.observe.ignores import Ignored

app = typer.Typer()

_STYLES = {
    State.CHANGED: "yellow",
    State.OVERRULED: "yellow",
    State.MISSING: "red",
    State.UNMANAGED: "cyan",
    None: "none",
}


class Form(StrEnum):
    """How a drift is written."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    GITHUB = "github"
    MARKDOWN = "markdown"


@app.command(cls=exits.Command)
def drift(
    stack: Stack = None,
    file: File = None,
    secrets: Annotated[
        bool,
        typer.Option("--secrets", help="decrypt the stack's: passwords are compared as well"),
    ] = False,
    exported: Annotated[
        Path | None,
        typer.Option("--definitions", help="what the broker has, exported; default: the broker"),
    ] = None,
    ignore: Annotated[
        Path | None, typer.Option(help="a file of what is meant to be otherwise, with reasons")
    ] = None,
    unmanaged: Annotated[
        Unmanaged, typer.Option(help="which objects that are not declared count")
    ] = Unmanaged.OWN,
    since: Annotated[
        Path | None,
        typer.Option(help="a file that remembers: one request, where nothing has changed"),
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="of the output")] = Form.TEXT,
) -> None:
    """Compare a broker with the config. Exit 0: the same; 2: it is not; 1: an error."""
    if since is not None and exported is not None:
        raise TopologyError("--since needs a broker, and not a file")
    config = configured.read(file, stack, secrets=secrets)
    left_out = ignores.read(ignore) if ignore else ()
    if exported is not None:
        had = definitions.from_file(exported, str(exported), _only_vhost(config))
        username = str(config.reached.get("username", ""))
        report = _compared(config, had, username, left_out, unmanaged)
    else:
        report = _live(config, left_out, unmanaged, since)
    _write(report, config, form)
    if report.open:
        raise typer.Exit(exits.NOT_WELL)


def _only_vhost(config: Configured) -> str | None:
    names = [whole.vhost for whole in config.stack.whole.values()]
    return names[0] if len(names) == 1 else None


def _live(
    config: Configured, ignored: Sequence[Ignored], unmanaged: Unmanaged, since: Path | None
) -> Report:
    management = config.management
    endpoint, username = management.endpoint, management.username
    options = (endpoint, username, unmanaged, *ignored)
    asked = remembered.asked(config.stack, config.passwords(), *options)
    last = remembered.read(since) if since else None
    if last and remembered.digest(last.salt, asked) != last.digest:
        last = None
    answer = observed.read(management, brokers.progress, last.etag if last else None)
    if answer is None and last is not None:
        return last.report
    if answer is None:
        raise TopologyError(f"{endpoint}: 304 to a request without a condition")
    report = _compared(config, answer.definitions, username, ignored, unmanaged)
    if since is not None and answer.etag is not None:
        remembered.write(since, answer.etag, asked, report)
    return report


def _compared(
    config: Configured,
    had: definitions.Definitions,
    username: str,
    ignored: Sequence[Ignored],
    unmanaged: Unmanaged,
) -> Report:
    return comparison.compare(
        config.stack,
        had,
        config.password_of,
        endpoint=had.source,
        username=username,
        counted=unmanaged,
        ignored=ignored,
    )


def _write(report: Report, config: Configured, form: Form) -> None:
    match form:
        case Form.TEXT:
            out = Console(highlight=False, soft_wrap=True)
            for state, line in drift_reports.text(report):
                out.print(line, style=_STYLES[state], markup=False)
        case Form.JSON:
            files.print_json(drift_reports.as_json(report))
        case Form.MARKDOWN:
            typer.echo(drift_reports.markdown(report, config.name), nl=False)
        case Form.SARIF:
            catalogue = [*drift_reports.RULES.values()]
            files.print_json(lint_report.as_sarif(_located(report, config), catalogue))
        case Form.GITHUB:
            for line in drift_reports.workflow_commands(_located(report, config)):
                typer.echo(line)
            typer.echo(report.summary())


def _located(report: Report, config: Configured) -> list[lint_files.Located]:
    name = files.name_of(config.file)
    return lint_files.locate(config.file, name, drift_reports.findings(report))
