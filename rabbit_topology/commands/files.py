"""
What a command writes: to the terminal, or to a file; and how it names files.
"""

from __future__ import annotations

import json
from pathlib import Path

import typer

from rabbit_topology.errors import TopologyError


def write(text: str, output: Path | None) -> None:
    """Write a text that holds no secret; without a file it is printed.

    Raises:
        TopologyError: The file cannot be written.
    """
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TopologyError(f"{output}: {error.strerror}") from None


def as_json(document: object) -> str:
    """Return a document as commands write it for programs, with a line's end."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def print_json(document: object) -> None:
    """Print a document for programs: not through a console, which would colour and wrap it."""
    write(as_json(document), None)


def name_of(file: Path) -> str:
    """Return how a file is named where somebody reads it: from the working directory on."""
    here = Path.cwd()
    return file.relative_to(here).as_posix() if file.is_relative_to(here) else file.as_posix()
