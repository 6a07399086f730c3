"""
A part of a graph: one object, what leads to it, and where it leads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from rabbit_topology.config.words import show, suggest
from rabbit_topology.describe.graph import Graph, Key
from rabbit_topology.errors import TopologyError


def focused(graph: Graph, name: str, depth: int) -> Graph:
    """Return what is within ``depth`` steps upstream or downstream of an object.

    What stands at the end of the part says how many of its edges are not shown.

    Raises:
        TopologyError: There is no exchange, queue or service of this name.
    """
    start = {key for key in graph.nodes if key.name == name}
    if not start:
        names = {key.name for key in graph.nodes}
        raise TopologyError(
            f"{show(name)} is not an exchange, queue or service of vhost {graph.vhost}; "
            f"{suggest(name, names)}"
        )
    down: dict[Key, list[Key]] = {}
    up: dict[Key, list[Key]] = {}
    for edge in graph.edges:
        down.setdefault(edge.source, []).append(edge.target)
        up.setdefault(edge.target, []).append(edge.source)
    kept = _within(start, down, depth) | _within(start, up, depth)
    edges = tuple(edge for edge in graph.edges if {edge.source, edge.target} <= kept)
    hidden = dict.fromkeys(kept, 0)
    for edge in graph.edges:
        for here, there in ((edge.source, edge.target), (edge.target, edge.source)):
            if here in kept and there not in kept:
                hidden[here] += 1
    nodes = {
        key: replace(node, notes=(*node.notes, f"{hidden[key]} more not shown"))
        if hidden[key]
        else node
        for key, node in graph.nodes.items()
        if key in kept
    }
    return replace(graph, nodes=nodes, edges=edges)


def _within(start: Iterable[Key], onward: Mapping[Key, list[Key]], depth: int) -> set[Key]:
    seen = frontier = set(start)
    for _ in range(depth):
        frontier = {key for one in frontier for key in onward.get(one, ())} - seen
        seen = seen | frontier
    return seen
