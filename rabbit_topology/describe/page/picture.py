"""
The picture of a vhost as a part of the page: Graphviz's SVG, with the names that people know.

Graphviz writes the names of its own nodes as titles; here these become those of exchanges, queues
and services, and nodes say where on the page they stand. It is parsed and written by the standard
library, so that text stays text.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree as ET

from markupsafe import Markup

from rabbit_topology.describe import dot, looks, svg
from rabbit_topology.describe.graph import Graph, Key
from rabbit_topology.describe.page import words

_ARROW = "->"


def render(graph: Graph, anchors: Mapping[tuple[str, str], str]) -> Markup:
    """Return a graph as an SVG element.

    Args:
        graph: What to draw.
        anchors: By kind and name: where it stands on the page.
    """
    # What is read was written by Graphviz a moment ago.
    root = ET.fromstring(svg.render(dot.render(graph)))  # noqa: S314
    keys = {name: key for key, name in looks.names(graph).items()}
    for element in root.iter():
        element.tag = _local(element.tag)
        for name in [*element.attrib]:
            # Two pictures on a page would have the same ids; the rest is of other namespaces.
            if name == "id" or name.startswith("{"):
                del element.attrib[name]
        if element.text:
            element.text = words.plain(element.text)
    for group in root.iter("g"):
        title = group.find("title")
        if title is None or not title.text:
            continue
        if group.get("class") == "node":
            _name_node(group, title, keys[title.text], anchors)
        elif group.get("class") == "edge":
            ends = (looks.visible(keys[end].name) for end in title.text.split(_ARROW))
            title.text = " → ".join(ends)
        else:
            group.remove(title)
    root.set("role", "img")
    root.set("aria-label", _summary(graph))
    # It was escaped by whoever wrote it: the standard library.
    return Markup(ET.tostring(root, encoding="unicode", short_empty_elements=False))  # noqa: S704


def _name_node(
    group: ET.Element, title: ET.Element, key: Key, anchors: Mapping[tuple[str, str], str]
) -> None:
    title.text = words.plain(looks.visible(f"{key.kind} {key.name}"))
    if key.kind == "queue":
        group.set("data-queue", looks.visible(key.name))
    anchor = anchors.get((key.kind, key.name))
    if anchor is not None:
        group.set("data-anchor", anchor)


def _summary(graph: Graph) -> str:
    kinds = [key.kind for key in graph.nodes]
    counted = ", ".join(f"{kinds.count(kind)} {kind}s" for kind in dict.fromkeys(kinds))
    return (
        f"Picture of vhost {looks.visible(graph.vhost)}: {counted or 'nothing in it'}. "
        "The sections of the page say the same in words."
    )


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
