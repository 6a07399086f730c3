"""
What two configs of a stack do differently: routes, permissions, settings, and the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rabbit_topology.config.stack import Stack
from rabbit_topology.describe import build, mermaid, part
from rabbit_topology.describe import changes as pictures
from rabbit_topology.describe.graph import Change as Mark
from rabbit_topology.describe.graph import Graph
from rabbit_topology.review.permissions import Widening, widened
from rabbit_topology.routing import changes, text_sets
from rabbit_topology.routing.changes import Changes
from rabbit_topology.routing.network import Network

_PICTURE = 12_000
"""Characters of a picture; what is larger is no small one."""


@dataclass(frozen=True, kw_only=True)
class VhostChange:
    """What is different in one vhost."""

    vhost: str
    new: bool = False
    """The config before does not have it."""
    gone: bool = False
    """Only the config before has it."""
    routes: Changes = field(default_factory=Changes)
    """Empty where it is new or gone: then all of it is."""
    widened: Sequence[Widening] = ()
    picture: str = ""
    """A Mermaid flowchart of what is different; empty: nothing is."""
    left_out: str = ""
    """Why there is no picture although something is different."""

    @property
    def lines(self) -> list[str]:
        """What is different about messages, a line each; settings of queues apart."""
        if self.new:
            return [f"vhost {self.vhost} is new"]
        if self.gone:
            return [f"vhost {self.vhost} is gone from the config, with all that leads through it"]
        return text_sets.differences(replace(self.routes, settings=[]))

    @property
    def dropped(self) -> int:
        """How many classes of messages got into a queue, and are dropped now."""
        return sum(not one.gained and not one.elsewhere for one in self.routes.changes)

    def settings(self) -> Iterator[tuple[str, str]]:
        """Yield queues, and a setting each that is another one now, in words."""
        for one in self.routes.settings:
            yield one.queue, text_sets.setting_change(one)


def compare(before: Stack, now: Stack) -> list[VhostChange]:
    """Return what is different, by vhost.

    A stack's only vhost is compared with the other's only one, whatever their names.
    """
    old, new = Network.every(before), Network.every(now)
    if len(old) == len(new) == 1:
        old = {name: next(iter(old.values())) for name in new}
    compared = [_compared(old.get(name), network) for name, network in new.items()]
    gone = (network for name, network in old.items() if name not in new)
    return compared + [_gone(network) for network in gone]


def settings(compared: Sequence[VhostChange]) -> Mapping[tuple[str, str], list[str]]:
    """Return by vhost and queue the settings that change in place."""
    known: dict[tuple[str, str], list[str]] = {}
    for vhost in compared:
        for queue, change in vhost.settings():
            known.setdefault((vhost.vhost, queue), []).append(change)
    return known


def _compared(before: Network | None, now: Network) -> VhostChange:
    graph = build.graph(now)
    old = build.graph(before) if before is not None else Graph(vhost=now.vhost)
    picture, left_out = _picture(pictures.compared(old, graph))
    return VhostChange(
        vhost=now.vhost,
        new=before is None,
        routes=changes.compare(before, now) if before is not None else Changes(),
        widened=widened(before.context.whole if before is not None else None, now.context.whole),
        picture=picture,
        left_out=left_out,
    )


def _gone(before: Network) -> VhostChange:
    graph = pictures.compared(build.graph(before), Graph(vhost=before.vhost))
    picture, left_out = _picture(graph)
    return VhostChange(vhost=before.vhost, gone=True, picture=picture, left_out=left_out)


def _picture(compared: Graph) -> tuple[str, str]:
    """Return what is different as a flowchart, or why it is left out."""
    shown = part.changed(compared)
    if not shown.nodes:
        return "", ""
    text = mermaid.render(shown)
    reason = mermaid.too_large(shown, text)
    if len(shown.nodes) <= part.SMALL and len(text) <= _PICTURE and not reason:
        return text, ""
    changed = sum(node.change is not Mark.SAME for node in shown.nodes.values())
    changed += sum(edge.change is not Mark.SAME for edge in shown.edges)
    return "", f"{changed:,} parts of the picture are different, too many for a small one"
