"""
``python -m rabbit_topology``: what can be done with a topology besides deploying it.
"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from rabbit_topology import deployed, proof
from rabbit_topology.errors import TopologyError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
_out = Console(highlight=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, soft_wrap=True)


@app.callback()
def _commands() -> None:
    """RabbitMQ topologies with Pulumi that never lose a message."""


@app.command()
def prove(
    stack: Annotated[str | None, typer.Option(help="default: the selected stack")] = None,
) -> None:
    """Send and receive a message over every binding, through the exported URLs."""
    it = deployed.read(stack)
    proven = 0
    for topology, found in it.vhosts:
        outputs = proof.Outputs(
            exchange_urls=found["exchange_urls"],
            queue_urls=found["queue_urls"],
            connection_url=found["connection_url"],
        )
        proven += len(proof.prove(topology, outputs, it.management, report=_show))
    _out.print(f"{proven} of {proven} bindings deliver", style="bold green")


def _show(delivery: proof.Delivery) -> None:
    note = "  (on a copy: in use, left untouched)" if delivery.copied else ""
    _out.print(f"  delivered  {proof.describe(delivery.route)}{note}", markup=False)


def main() -> None:
    """Run the command line; an error of ours is printed in its own words, exit status 1."""
    try:
        app()
    except TopologyError as error:
        _err.print(str(error), style="red", markup=False)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
