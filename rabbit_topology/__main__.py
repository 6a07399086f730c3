"""
``python -m rabbit_topology``, and the command ``rabbit-topology``.
"""

from __future__ import annotations

import sys

_NEEDED = ("typer", "rich", "click")


def main() -> None:
    """Run the command line, where what it needs is installed."""
    try:
        from rabbit_topology.commands import app  # what it needs is no part of a deployment
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        sys.exit(f"the commands need {error.name}: pip install 'rabbit-topology[commands]'")
    app.main()


if __name__ == "__main__":
    main()
