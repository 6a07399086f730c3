"""
Where a command writes what it has: to the terminal, or to a file.
"""

from __future__ import annotations

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
