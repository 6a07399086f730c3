"""
Options that several commands have.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Stack = Annotated[str | None, typer.Option("--stack", help="default: the project's only one")]
File = Annotated[
    Path | None, typer.Option("--file", help="a stack's file, or a topology file that stacks share")
]
Live = Annotated[
    bool, typer.Option("--live", help="the broker that RABBITMQ_ENDPOINT and so on lead to")
]
Vhost = Annotated[str | None, typer.Option("--vhost", help="where the stack has several")]
Secrets = Annotated[
    bool, typer.Option("--secrets", help="decrypt the stack's, for the broker's password")
]
