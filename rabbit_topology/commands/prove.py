"""
``python -m rabbit_topology prove``: a message over every binding of a deployed stack.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer
from rich.console import Console

from rabbit_topology import proof
from rabbit_topology.commands import deployed

app = typer.Typer()
_out = Console(highlight=False, soft_wrap=True)


@app.command()
def prove(
    stack: Annotated[str | None, typer.Option(help="default: the selected stack")] = None,
) -> None:
    """Send and receive a message over every binding, through the exported URLs."""
    deployed_stack = deployed.read(stack)
    several = len(deployed_stack.vhosts) > 1
    proven = queues = 0
    for topology, exported in deployed_stack.vhosts:
        outputs = proof.Outputs(
            exchange_urls=exported["exchange_urls"],
            queue_urls=exported["queue_urls"],
            connection_url=exported["connection_url"],
        )
        show = partial(_show, several=several)
        proven += len(proof.prove(topology, outputs, deployed_stack.management, report=show))
        queues += len(topology.queues)
    answering = f"{queues} of {queues} queues answer, {proven} of {proven} bindings deliver"
    _out.print(answering, style="bold green")
    _out.print("by messages through copies: none was put into a queue of the stack")


def _show(delivery: proof.Delivery, *, several: bool) -> None:
    where = f"vhost {delivery.vhost}: " if several else ""
    _out.print(f"  delivered  {where}{proof.describe(delivery.route)}", markup=False)
