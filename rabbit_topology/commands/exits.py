"""
Exit statuses of commands that look at a broker, or at a preview: 0 all is well, 2 it is not, 1 an
error.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

NOT_WELL = 2
ERROR = 1

_WRONG_USE = 2
"""What wrong options end with by default."""


class Command(TyperCommand):
    """A command whose wrong use is an error like any other: a job must not take it for drift."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Do what commands do, with another exit status where the options are wrong."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if getattr(error, "exit_code", None) == _WRONG_USE:
                error.exit_code = ERROR  # type: ignore[attr-defined]
            raise
