"""
What a picture shows: nodes, edges between them, and groups of nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class NodeKind(StrEnum):
    """What a node stands for."""

    EXCHANGE = "exchange"
    QUEUE = "queue"
    STREAM = "stream"
    SERVICE = "service"


class EdgeKind(StrEnum):
    """Why messages go from one node to the other."""

    BINDING = "binding"
    DEAD_LETTER = "dead letters"
    ALTERNATE = "alternate exchange"
    RETRY = "retry"
    """What a queue that only waits gives on when its time is over: retries, delayed publishing."""
    PUBLISHES = "publishes"
    CONSUMES = "consumes"


class Change(StrEnum):
    """What became of a node or an edge."""

    SAME = "same"
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, kw_only=True, order=True)
class Key:
    """What identifies a node: exchanges and queues may have the same name."""

    kind: str
    """`exchange`, `queue` or `service`; a stream is a queue."""
    name: str


@dataclass(frozen=True, kw_only=True)
class Node:
    """An exchange, queue, stream or service."""

    key: Key
    kind: NodeKind
    type: str
    """In words: `topic exchange`."""
    notes: tuple[str, ...] = ()
    """What settings and policies come to, a few words each."""
    group: Key | None = None
    """The node whose patterns it belongs to; its own key, if it has such patterns."""
    made: bool = False
    """A pattern makes it."""
    change: Change = Change.SAME


@dataclass(frozen=True, kw_only=True)
class Edge:
    """A way of messages between two nodes, with everything that makes it."""

    source: Key
    target: Key
    kind: EdgeKind
    labels: tuple[str, ...] = ()
    """Routing keys and the like, one each."""
    change: Change = Change.SAME

    @property
    def identity(self) -> tuple[Key, Key, EdgeKind]:
        """What makes it the same edge in another graph."""
        return self.source, self.target, self.kind


@dataclass(frozen=True, kw_only=True)
class Graph:
    """One vhost as a picture shows it."""

    vhost: str
    nodes: Mapping[Key, Node] = field(default_factory=dict)
    edges: tuple[Edge, ...] = ()
    groups: Mapping[Key, str] = field(default_factory=dict)
    """By node with patterns: what these are, in words."""

    @property
    def is_comparison(self) -> bool:
        """Return whether anything in it is not as it was."""
        changes = [node.change for node in self.nodes.values()]
        changes += (edge.change for edge in self.edges)
        return any(change is not Change.SAME for change in changes)


def merged(edges: list[Edge]) -> tuple[Edge, ...]:
    """Return the edges with one for all between the same nodes of the same kind."""
    labels: dict[tuple[Key, Key, EdgeKind], dict[str, None]] = {}
    for edge in edges:
        labels.setdefault(edge.identity, {}).update(dict.fromkeys(edge.labels))
    return tuple(
        Edge(source=source, target=target, kind=kind, labels=tuple(all_labels))
        for (source, target, kind), all_labels in labels.items()
    )
