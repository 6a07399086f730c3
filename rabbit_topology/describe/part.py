"""
The part of a comparison that is different: what came, went or changed, and what that hangs on.
"""

from __future__ import annotations

from dataclasses import replace

from rabbit_topology.describe.fold import folded
from rabbit_topology.describe.graph import Change, Graph

SMALL = 40
"""So many nodes can be seen in a moment; of more, what patterns make is folded."""


def changed(graph: Graph) -> Graph:
    """Return what is not as it was, with both ends of each edge; folded where that is much."""
    part = _changed(graph)
    return _changed(folded(graph)) if len(part.nodes) > SMALL else part


def _changed(graph: Graph) -> Graph:
    edges = tuple(edge for edge in graph.edges if edge.change is not Change.SAME)
    ends = {end for edge in edges for end in (edge.source, edge.target)}
    nodes = {
        # What is as it was only shows where a change is: its settings are no news.
        key: replace(node, notes=()) if node.change is Change.SAME else node
        for key, node in graph.nodes.items()
        if node.change is not Change.SAME or key in ends
    }
    return replace(graph, nodes=nodes, edges=edges)
