"""
A graph in DOT, the language of Graphviz, written by the library `graphviz`.

It quotes what has to be. The backslashes and entities that Graphviz itself reads in labels are
escaped here. Source: "DOT Language", "escString", Graphviz documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import graphviz

from rabbit_topology.describe import looks
from rabbit_topology.describe.graph import Edge, EdgeKind, Graph, Key, Node, NodeKind
from rabbit_topology.describe.looks import Line

_FONT = "Helvetica,Arial,sans-serif"
_SHAPES: Mapping[NodeKind, str] = {
    NodeKind.EXCHANGE: "hexagon",
    NodeKind.QUEUE: "cylinder",
    NodeKind.STREAM: "box3d",
    NodeKind.SERVICE: "box",
}
_LINES: Mapping[Line, dict[str, str]] = {
    Line.SOLID: {},
    Line.DASHED: {"style": "dashed"},
    Line.THICK: {"style": "bold"},
}
_BLACK = "#333333"


def render(graph: Graph) -> str:
    """Return a graph in DOT."""
    names = looks.names(graph)
    comparison = graph.is_comparison
    picture = graphviz.Digraph(
        graph_attr={"rankdir": "LR", "fontname": _FONT, "bgcolor": "white", "ranksep": "0.8"},
        # The margin is for fonts that are wider than the one that Graphviz counts with.
        node_attr={
            "fontname": _FONT,
            "fontsize": "12",
            "fontcolor": looks.TEXT,
            "margin": "0.25,0.1",
        },
        edge_attr={"fontname": _FONT, "fontsize": "10"},
    )
    for node in looks.rim(graph):
        _node(picture, node, names, comparison=comparison)
    with picture.subgraph(name="cluster_v") as vhost:
        vhost.attr(label=_label([looks.visible(f"vhost {graph.vhost}")]), color=looks.BOX)
        for number, (title, members) in enumerate(looks.parts(graph), start=1):
            if title is None:
                for node in members:
                    _node(vhost, node, names, comparison=comparison)
                continue
            with vhost.subgraph(name=f"cluster_g{number}") as group:
                group.attr(label=_label([title]), style="dashed", color=looks.BOX)
                for node in members:
                    _node(group, node, names, comparison=comparison)
    for edge in graph.edges:
        colour = looks.stroke(edge, comparison=comparison) or _BLACK
        lines = looks.edge_lines(edge)
        picture.edge(
            names[edge.source],
            names[edge.target],
            label=_label(lines) if lines else None,
            color=colour,
            fontcolor=colour,
            # What comes back does not count for the order from left to right.
            constraint="false" if _leads_back(graph, edge) else None,
            **_LINES[looks.LINES[edge.kind]],
        )
    return str(picture.source)


def _leads_back(graph: Graph, edge: Edge) -> bool:
    return edge.kind is EdgeKind.RETRY and not graph.nodes[edge.target].made


def _node(
    picture: graphviz.Digraph, node: Node, names: Mapping[Key, str], *, comparison: bool
) -> None:
    fill = looks.fill(node, comparison=comparison)
    styles = ["filled"]
    styles += ["rounded"] if node.kind is NodeKind.SERVICE else []
    styles += ["dashed"] if fill.dashed else []
    picture.node(
        names[node.key],
        label=_label(looks.node_lines(node)),
        shape=_SHAPES[node.kind],
        style=",".join(styles),
        fillcolor=fill.fill,
        color=fill.stroke,
    )


def _label(lines: Iterable[str]) -> str:
    escaped = (graphviz.escape(line.replace("&", "&amp;")) for line in lines)
    # What begins and ends like HTML would be taken for it; not so text of this subclass of `str`.
    label: str = graphviz.nohtml(r"\n".join(escaped))
    return label
