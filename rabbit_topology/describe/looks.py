"""
What kinds of nodes, edges and changes look like, whatever they are drawn with.

A change is also told by words and signs: colours are not all that tells it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rabbit_topology.describe.graph import Change, Edge, EdgeKind, Graph, Key, Node, NodeKind

_SHOWN = 6
"""Labels of one edge that are shown."""

_DEFAULT_EXCHANGE = "(default exchange)"


class Line(StrEnum):
    """How an edge is drawn."""

    SOLID = "solid"
    DASHED = "dashed"
    THICK = "thick"


@dataclass(frozen=True, kw_only=True)
class Fill:
    """The colours of a node; its text is always dark."""

    fill: str
    stroke: str
    dashed: bool = False


NODES: Mapping[NodeKind, Fill] = {
    NodeKind.EXCHANGE: Fill(fill="#fff3e0", stroke="#b35900"),
    NodeKind.QUEUE: Fill(fill="#e3f2fd", stroke="#1565c0"),
    NodeKind.STREAM: Fill(fill="#ede7f6", stroke="#5e35b1"),
    NodeKind.SERVICE: Fill(fill="#f1f3f4", stroke="#5f6368"),
}

CHANGES: Mapping[Change, Fill] = {
    Change.SAME: Fill(fill="#f6f8fa", stroke="#8c959f"),
    Change.ADDED: Fill(fill="#dafbe1", stroke="#1a7f37"),
    Change.REMOVED: Fill(fill="#ffebe9", stroke="#cf222e", dashed=True),
    Change.CHANGED: Fill(fill="#fff8c5", stroke="#9a6700"),
}

LINES: Mapping[EdgeKind, Line] = {
    EdgeKind.BINDING: Line.SOLID,
    EdgeKind.DEAD_LETTER: Line.DASHED,
    EdgeKind.ALTERNATE: Line.DASHED,
    EdgeKind.RETRY: Line.THICK,
    EdgeKind.PUBLISHES: Line.SOLID,
    EdgeKind.CONSUMES: Line.SOLID,
}

EDGES: Mapping[EdgeKind, str] = {
    EdgeKind.DEAD_LETTER: "#c62828",
    EdgeKind.ALTERNATE: "#b35900",
    EdgeKind.RETRY: "#8e44ad",
    EdgeKind.PUBLISHES: "#808080",
    EdgeKind.CONSUMES: "#808080",
}
"""The colours of edges; bindings have that of the page's text."""

BOX = "#8c959f"
"""The colour of the line around a vhost, and around a group."""

TEXT = "#111111"
"""The colour of text on a node."""


def names(graph: Graph) -> dict[Key, str]:
    """Return a name for each node that any format takes: `exchange1`, `queue2`."""
    counts: Counter[str] = Counter()
    given: dict[Key, str] = {}
    for key in graph.nodes:
        counts[key.kind] += 1
        given[key] = f"{key.kind}{counts[key.kind]}"
    return given


def node_lines(node: Node) -> list[str]:
    """Return the lines of text in a node."""
    name = node.key.name or _DEFAULT_EXCHANGE
    return [visible(line) for line in (name, node.type, *node.notes)]


def edge_lines(edge: Edge) -> list[str]:
    """Return the lines of text on an edge: so many labels, and how many more there are."""
    labels = edge.labels
    if len(labels) > _SHOWN:
        labels = (*labels[: _SHOWN - 1], f"and {len(labels) - _SHOWN + 1:,} more")
    return [visible(label) for label in labels]


def fill(node: Node, *, comparison: bool) -> Fill:
    """Return the colours of a node; in a comparison they tell what became of it."""
    return CHANGES[node.change] if comparison else NODES[node.kind]


def stroke(edge: Edge, *, comparison: bool) -> str | None:
    """Return the colour of an edge, None for that of the page's text."""
    return CHANGES[edge.change].stroke if comparison else EDGES.get(edge.kind)


def parts(graph: Graph) -> Iterator[tuple[str | None, Sequence[Node]]]:
    """Yield the nodes of the vhost: each group with its title, and then all others with None.

    A node of which a part of the graph shows nothing that its patterns make is in no group.
    """
    inside = [node for node in graph.nodes.values() if node.kind is not NodeKind.SERVICE]
    shown = {node.group for node in inside if node.made}
    grouped: dict[Key, list[Node]] = {}
    others = []
    for node in inside:
        if node.group is not None and node.group in graph.groups and node.group in shown:
            grouped.setdefault(node.group, []).append(node)
        else:
            others.append(node)
    for owner, members in grouped.items():
        yield visible(graph.groups[owner]), members
    yield None, others


def rim(graph: Graph) -> Iterator[Node]:
    """Yield the services, which stand outside of the vhost."""
    yield from (node for node in graph.nodes.values() if node.kind is NodeKind.SERVICE)


def visible(text: str) -> str:
    """Return text with all that cannot be seen written as escapes: line breaks, for example."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
