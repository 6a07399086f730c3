"""
The protocol of a replacement: what happens around the engine's own steps, in which order.

The engine unbinds, deletes, creates and binds again, and the broker knows no other way: the type,
durability and arguments of a queue or exchange cannot be changed. Queues and exchanges are
replaced by the same steps, each of which can be done twice:

    the engine                 a replacement
    ─────────────────────────  ──────────────────────────────────────────────────────────────
    is about to unbind         divert       the stand-in is bound as the binding is
    is about to delete         take_over    the stand-in takes what comes; a queue is emptied
    has deleted                declare      at once, so that no client is faster
    has created (it is there)  renew        what waits comes back, the bindings are made
    has bound (they are there) restore      only where bindings alone were replaced

`check` asks beforehand, and touches nothing. A run that was killed has left a stand-in: the next
one completes what it began, see `recovery`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from rabbit_topology.model import Route

REDECLARED = 20
"""So often is a queue or exchange replaced again that a client has declared when it was deleted."""

ROUTED_SECONDS = 1.0
"""How long a broker may take to route a message, with much to spare: it looks up one exchange after
another, and topic exchanges word by word. Before a way is taken away that messages had, so long
another one has to be there. On a busy machine one message took 62 ms, in which the new bindings of
its exchange were made and the stand-in was removed: it saw the first of the ones, and no longer the
other, and reached one of two queues."""

OTHERWISE = "inequivalent arg"
"""What the broker says of a queue or exchange that is there, and declared otherwise."""


Way = tuple[str, str, str, str]
"""A binding, by what the broker tells it from others: ends, kind, and key with arguments."""


def way_of(binding: Mapping[str, Any]) -> Way:
    """Return what tells a binding from others, as the management API lists it."""
    keys = ("source", "destination_type", "destination", "properties_key")
    source, kind, destination, properties = (str(binding[key]) for key in keys)
    return source, kind, destination, properties


class Replacement(Protocol):
    """One queue's, or exchange's, way from its old declaration to its new one."""

    def check(self) -> None:
        """Raise if it cannot be replaced without loss."""

    def divert(self, route: Route, *, replaced: bool) -> None:
        """Bind the stand-in as ``route`` is, which leads here and is about to be unbound.

        Without ``replaced`` it stays, and the source of the route is replaced.
        """

    def take_over(self) -> None:
        """Lead everything away from it and empty it; it is about to be deleted."""

    def declare(self) -> None:
        """Declare it anew; it was just deleted."""

    def renew(self) -> None:
        """Complete the replacement, unless that is done; it was just created."""

    def restore(self) -> None:
        """Lead everything to it again, and remove what helped; it exists."""

    def has_stand_in(self) -> bool:
        """Return whether a replacement was begun and not finished."""
