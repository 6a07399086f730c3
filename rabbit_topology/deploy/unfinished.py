"""
What is in the state, and nothing guards yet: looked at before the program asks for anything.

The engine runs the hooks with which a resource was last deployed. One that was imported has none,
so it would be deleted or replaced unseen, with its messages. The program does not see hooks; it
sees what the stack has, and what updates of this program have had. A queue between the two may stay
as it is and nothing else.
Source: "Importing resources", "Resource hooks", Pulumi documentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rabbit_topology.deploy import inputs
from rabbit_topology.deploy.hooks import refuse
from rabbit_topology.deploy.record import Record
from rabbit_topology.model import SafetySettings, Topology

_WAYS_ON = (
    "No update of this program has had it so far: it was imported, or what made it has failed. "
    "Until one has, nothing looks after its messages. Declare it exactly as it is, run "
    "`pulumi up`, and change or remove it after that; or, if it may go, delete it on the broker, "
    "run `pulumi refresh`, and then this again"
)


def check(
    record: Record, component: str, topologies: Sequence[Topology], settings: SafetySettings
) -> None:
    """Check that no queue which nothing guards would be deleted or replaced.

    Args:
        record: What the stack has.
        component: The component's name.
        topologies: What its vhosts are to be.
        settings: What a preview does about it.

    Raises:
        pulumi.RunError: In an update, or in a preview whose settings say so.
    """
    lines = "".join(f"\n  - {line}" for line in _changes(record, component, topologies))
    if not lines:
        return
    refuse(settings, f"refused, since messages could be lost:{lines}\n{_WAYS_ON}")


def _changes(record: Record, component: str, topologies: Sequence[Topology]) -> Iterator[str]:
    by_name = {topology.vhost: topology for topology in topologies}
    for kind, outputs in record.unfinished(component):
        name = outputs["name"]
        if kind == "vhost":
            if name not in by_name:
                yield f"vhost {name} would be deleted"
            continue
        topology = by_name.get(outputs["vhost"])
        queue = topology.queues.get(name) if topology else None
        what = f"queue {name} of vhost {outputs['vhost']}"
        if queue is None:
            yield f"{what} would be deleted"
        elif inputs.differs(outputs["settings"], queue.declaration()):
            change = inputs.changes(outputs["settings"], queue.declaration())
            yield f"{what} would be replaced ({change})"
