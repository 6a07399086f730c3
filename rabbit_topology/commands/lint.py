"""
``python -m rabbit_topology lint``: configs are checked, with no Pulumi and no broker.
"""

from __future__ import annotations

import gc
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from rabbit_topology.commands import brokers
from rabbit_topology.commands.files import name_of, print_json
from rabbit_topology.commands.options import Live
from rabbit_topology.config import base
from rabbit_topology.findings import Severity
from rabbit_topology.lint import files as lint_files
from rabbit_topology.lint import report
from rabbit_topology.lint.check import CATALOGUE

app = typer.Typer()
_out = Console(highlight=False, soft_wrap=True)


class Format(StrEnum):
    """How `lint` says what it has found."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    GITHUB = "github"


class FailOn(StrEnum):
    """The least severe finding for which `lint` exits with 1."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"
    NEVER = "never"


_COUNTED = {
    FailOn.ERROR: (Severity.ERROR,),
    FailOn.WARNING: (Severity.ERROR, Severity.WARNING),
    FailOn.NOTE: tuple(Severity),
    FailOn.NEVER: (),
}


@app.command()
def lint(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="stacks' files or definitions files; default: every Pulumi.<stack>.yaml of the "
            "project"
        ),
    ] = None,
    stack: Annotated[list[str] | None, typer.Option(help="a stack's file, by its name")] = None,
    live: Live = False,
    format_: Annotated[Format, typer.Option("--format", help="of the output")] = Format.TEXT,
    fail_on: Annotated[FailOn, typer.Option(help="exit 1 from this severity on")] = FailOn.ERROR,
    rules: Annotated[bool, typer.Option("--rules", help="list all rules and do no more")] = False,
) -> None:
    """Check configs with no Pulumi and no broker; exit 1 if there are errors."""
    if rules:
        _show_rules(format_)
        return
    # All that is made lives until the end; to look for what does not would take most of the time.
    gc.disable()
    if live:
        chosen = [Path(brokers.LIVE)]
    else:
        chosen = files or lint_files.stack_files(base.project_folder(), stack or ())
    located = [one for file in chosen for one in _check(file)]
    match format_:
        case Format.JSON:
            print_json(report.as_json(located))
        case Format.SARIF:
            print_json(report.as_sarif(located, CATALOGUE))
        case Format.GITHUB:
            for line in report.as_annotations(located):
                typer.echo(line)
        case Format.TEXT:
            for severity, line in report.lines(located):
                _out.print(line, style=_STYLES[severity], markup=False)
            _out.print(
                f"{report.summary(located)} in {', '.join(map(name_of, chosen))}", markup=False
            )
    counts = report.count(located)
    if any(counts[severity] for severity in _COUNTED[fail_on]):
        raise typer.Exit(1)


_STYLES = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "none"}


def _show_rules(format_: Format) -> None:
    if format_ is not Format.TEXT:
        shown = ("name", "severity", "reason", "page", "silenceable")
        print_json([{key: getattr(named, key) for key in shown} for named in CATALOGUE])
        return
    table = Table("rule", "severity", "why", "read")
    for named in CATALOGUE:
        silent = "" if named.silenceable else ", always"
        table.add_row(named.name, f"{named.severity}{silent}", named.reason, named.page)
    _out.print(table, markup=False)


def _check(file: Path) -> list[lint_files.Located]:
    if not brokers.is_meant(file):
        return lint_files.check(file, name_of(file))
    return [
        lint_files.Located(finding=finding, file=name_of(file))
        for finding in brokers.findings(file)
    ]
