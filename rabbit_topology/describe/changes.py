"""
Two graphs compared: all that is in either, marked with what became of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rabbit_topology.describe import build
from rabbit_topology.describe.graph import Change, Edge, Graph, Node
from rabbit_topology.routing.network import Network

ADDED, REMOVED = "+ ", "- "
"""What notes and labels begin with that came or went."""


def compared(before: Graph, now: Graph) -> Graph:
    """Return the graph of both, of what is there now first."""
    nodes = {key: _node(before.nodes.get(key), node) for key, node in now.nodes.items()}
    gone = {
        key: replace(node, type=f"{node.type}, removed", change=Change.REMOVED)
        for key, node in before.nodes.items()
        if key not in now.nodes
    }
    old = {edge.identity: edge for edge in before.edges}
    new = {edge.identity for edge in now.edges}
    edges = [_edge(old.get(edge.identity), edge) for edge in now.edges]
    edges += [
        _marked(edge, REMOVED, Change.REMOVED) for edge in before.edges if edge.identity not in new
    ]
    return Graph(
        vhost=now.vhost,
        nodes={**nodes, **gone},
        edges=tuple(edges),
        groups={**before.groups, **now.groups},
    )


def counterpart(network: Network, known: Mapping[str, Network], *, alone: bool) -> Graph:
    """Return what a vhost is compared with in another stack; empty, if it is not there.

    Args:
        network: The vhost.
        known: The vhosts of the other stack, by name.
        alone: The vhost is the only one of its stack: it is compared with the other's only one,
            whatever their names.
    """
    name = next(iter(known)) if alone and len(known) == 1 else network.vhost
    return build.graph(known[name]) if name in known else Graph(vhost=network.vhost)


def _node(old: Node | None, new: Node) -> Node:
    if old is None:
        return replace(new, type=f"{new.type}, added", change=Change.ADDED)
    same = old.kind == new.kind and old.type == new.type and set(old.notes) == set(new.notes)
    if same:
        return replace(new, group=new.group or old.group)
    type_ = new.type if old.type == new.type else f"{old.type} -> {new.type}"
    return replace(
        new,
        type=type_,
        notes=_lists(old.notes, new.notes),
        group=new.group or old.group,
        change=Change.CHANGED,
    )


def _edge(old: Edge | None, new: Edge) -> Edge:
    if old is None:
        return _marked(new, ADDED, Change.ADDED)
    if set(old.labels) == set(new.labels):
        return new
    return replace(new, labels=_lists(old.labels, new.labels), change=Change.CHANGED)


def _marked(edge: Edge, sign: str, change: Change) -> Edge:
    labels = tuple(f"{sign}{label}" for label in edge.labels) or (change.value,)
    return replace(edge, labels=labels, change=change)


def _lists(old: tuple[str, ...], new: tuple[str, ...]) -> tuple[str, ...]:
    return (
        *(item for item in new if item in old),
        *(f"{ADDED}{item}" for item in new if item not in old),
        *(f"{REMOVED}{item}" for item in old if item not in new),
    )
