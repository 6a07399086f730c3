"""
A graph as a Mermaid flowchart, which GitHub draws itself.

There is no library in Python that writes Mermaid and escapes what stands in labels, so this does:
whatever Mermaid or the Markdown in its labels might read as syntax is written as a character code.
Tests have Mermaid itself read it. Source: "Flowcharts - Basic Syntax", Mermaid documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rabbit_topology.describe import looks
from rabbit_topology.describe.graph import Graph, Key, Node, NodeKind
from rabbit_topology.describe.looks import Fill, Line

MAX_EDGES = 500
MAX_TEXT = 50_000
"""What Mermaid draws at most, unless a page allows more; GitHub does not."""

_SHAPES: Mapping[NodeKind, tuple[str, str]] = {
    NodeKind.EXCHANGE: ("{{", "}}"),
    NodeKind.QUEUE: ("[(", ")]"),
    NodeKind.STREAM: ("[[", "]]"),
    NodeKind.SERVICE: ("([", "])"),
}
_ARROWS: Mapping[Line, tuple[str, str]] = {
    Line.SOLID: ("--", "-->"),
    Line.DASHED: ("-.", ".->"),
    Line.THICK: ("==", "==>"),
}
_PLAIN = frozenset(" .,-/()=+?!'")
_LIST = re.compile(r"[-+.)]")
"""What makes Markdown take the beginning of a line for a list."""
_LATE = (r"\n", ":fa-", "$$")
"""What Mermaid takes for a line break, an icon and a formula after it has read character codes."""
_JOINER = "#8288;"
"""A character without width, to part them."""


def render(graph: Graph) -> str:
    """Return a graph as a Mermaid flowchart."""
    return "\n".join(_lines(graph)) + "\n"


def too_large(graph: Graph, text: str) -> str | None:
    """Return why GitHub does not draw a flowchart, None if it does."""
    if len(graph.edges) > MAX_EDGES:
        return f"it has {len(graph.edges):,} edges, and GitHub draws {MAX_EDGES} at most"
    if len(text) > MAX_TEXT:
        return f"it has {len(text):,} characters, and GitHub draws {MAX_TEXT:,} at most"
    return None


def escaped(text: str) -> str:
    """Return text as it can stand in a label."""
    first = _LIST.search(text)
    risky = first.start() if first and not text[: first.start()].strip("0123456789 ") else -1
    return "".join(
        character
        if at != risky and (character.isalnum() or character in _PLAIN or _inside(text, at))
        else f"#{ord(character)};{_JOINER if text.startswith(_LATE, at) else ''}"
        for at, character in enumerate(text)
    )


def _inside(text: str, at: int) -> bool:
    """Return whether a character is harmless by its place: ``a_b`` or ``a: b``."""
    character, before, after = text[at], text[at - 1 : at], text[at + 1 : at + 2]
    return (character == "_" and before.isalnum() and after.isalnum()) or (
        character == ":" and after == " "
    )


def _lines(graph: Graph) -> Iterator[str]:
    names = looks.names(graph)
    yield "flowchart LR"
    for node in looks.rim(graph):
        yield f"    {_node(node, names)}"
    yield f"    subgraph v[{_label([looks.visible(f'vhost {graph.vhost}')])}]"
    for number, (title, members) in enumerate(looks.parts(graph), start=1):
        if title is None:
            yield from (f"        {_node(node, names)}" for node in members)
            continue
        yield f"        subgraph g{number}[{_label([title])}]"
        yield from (f"            {_node(node, names)}" for node in members)
        yield "        end"
    yield "    end"
    boxes = [f"g{number}" for number, (title, _) in enumerate(looks.parts(graph), start=1) if title]
    yield f"    classDef box fill:none,stroke:{looks.BOX}"
    yield f"    class {','.join(('v', *boxes))} box"
    for edge in graph.edges:
        begin, end = _ARROWS[looks.LINES[edge.kind]]
        lines = looks.edge_lines(edge)
        arrow = f"{begin} {_label(lines)} {end}" if lines else end
        yield f"    {names[edge.source]} {arrow} {names[edge.target]}"
    yield from _styles(graph, names)


def _node(node: Node, names: Mapping[Key, str]) -> str:
    begin, end = _SHAPES[node.kind]
    return f"{names[node.key]}{begin}{_label(looks.node_lines(node))}{end}"


def _label(lines: Sequence[str]) -> str:
    return f'"{"<br/>".join(map(escaped, lines))}"'


def _styles(graph: Graph, names: Mapping[Key, str]) -> Iterator[str]:
    comparison = graph.is_comparison
    classes: dict[str, tuple[Fill, list[str]]] = {}
    for node in graph.nodes.values():
        word = str(node.change if comparison else node.kind)
        fill = looks.fill(node, comparison=comparison)
        classes.setdefault(word, (fill, []))[1].append(names[node.key])
    for word, (fill, members) in classes.items():
        dashes = ",stroke-dasharray:5 3" if fill.dashed else ""
        colours = f"fill:{fill.fill},stroke:{fill.stroke},color:{looks.TEXT}"
        yield f"    classDef {word} {colours}{dashes}"
        yield f"    class {','.join(members)} {word}"
    strokes: dict[str, list[int]] = {}
    for number, edge in enumerate(graph.edges):
        stroke = looks.stroke(edge, comparison=comparison)
        if stroke is not None:
            strokes.setdefault(stroke, []).append(number)
    for stroke, numbers in strokes.items():
        yield f"    linkStyle {_joined(numbers)} stroke:{stroke}"


def _joined(numbers: Iterable[int]) -> str:
    return ",".join(map(str, numbers))
