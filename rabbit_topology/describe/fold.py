"""
A smaller graph: what patterns make is folded into what has the pattern.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from rabbit_topology.describe.graph import Change, Edge, Graph, Key, Node

READABLE = 60
"""So many nodes can be read at once; of more, what patterns make is folded."""


def folded(graph: Graph) -> Graph:
    """Return the graph without what patterns make; its edges end at what has the pattern."""
    owners = {
        key: node.group for key, node in graph.nodes.items() if node.made and node.group is not None
    }
    owners = {key: owner for key, owner in owners.items() if owner in graph.nodes}
    members: dict[Key, list[Node]] = {}
    for key, owner in owners.items():
        members.setdefault(owner, []).append(graph.nodes[key])
    nodes = {
        key: _owner(node, members[key], graph.groups[key]) if key in members else node
        for key, node in graph.nodes.items()
        if key not in owners
    }
    edges: dict[object, Edge] = {}
    for edge in graph.edges:
        moved = _moved(edge, owners)
        if moved.source == moved.target and moved != edge:
            continue  # inside of what is folded
        known = edges.get(moved.identity)
        edges[moved.identity] = _both(known, moved) if known else moved
    return replace(graph, nodes=nodes, edges=tuple(edges.values()), groups={})


def _moved(edge: Edge, owners: dict[Key, Key]) -> Edge:
    source, target = owners.get(edge.source), owners.get(edge.target)
    names = [end.name for end, owner in ((edge.source, source), (edge.target, target)) if owner]
    return replace(
        edge,
        source=source or edge.source,
        target=target or edge.target,
        labels=(*edge.labels, *names),
    )


def _both(one: Edge, other: Edge) -> Edge:
    labels = dict.fromkeys((*one.labels, *other.labels))
    return replace(one, labels=tuple(labels), change=_common((one.change, other.change)))


def _owner(node: Node, members: list[Node], name: str) -> Node:
    counted = Counter(member.key.kind for member in members)
    texts = [f"{count} {kind}{'s' * (count > 1)}" for kind, count in counted.items()]
    what = name.removeprefix(f"{node.key.name}: ")
    words = f"with {what}: {', '.join(texts)}"
    changes = [member.change for member in members]
    change = node.change
    if change is Change.SAME and any(one is not Change.SAME for one in changes):
        change = Change.CHANGED
    return replace(node, notes=(*node.notes, words), group=None, change=change)


def _common(changes: Iterable[Change]) -> Change:
    different = set(changes)
    return different.pop() if len(different) == 1 else Change.CHANGED
