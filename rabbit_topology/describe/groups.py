"""
Which exchanges and queues patterns make, and what for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rabbit_topology.describe.graph import Key
from rabbit_topology.errors import parts
from rabbit_topology.model import Topology
from rabbit_topology.routing.origins import additions

_KINDS = {"queues": "queue", "exchanges": "exchange", "super_streams": "exchange"}
_WORDS = {
    "retry": "retry",
    "dead_letter": "dead letters",
    "unroutable": "unroutable",
    "delays": "delays",
}


@dataclass(frozen=True, kw_only=True)
class Groups:
    """What belongs together in one vhost."""

    owners: Mapping[Key, Key]
    """By exchange or queue that a pattern makes: the one that has the pattern."""
    names: Mapping[Key, str]
    """By exchange or queue that has patterns: what these are, in words."""


def of(written: Topology) -> Groups:
    """Return what the patterns of a topology make; ``written`` is not spelled out."""
    owners: dict[Key, Key] = {}
    patterns: dict[Key, list[str]] = {}
    for where, made in additions(written):
        _, kind, name, *field = map(str, parts(where))
        owner = Key(kind=_KINDS[kind], name=name)
        keys = [
            *(Key(kind="exchange", name=exchange) for exchange in made.exchanges),
            *(Key(kind="queue", name=queue) for queue in made.queues),
        ]
        if keys:
            patterns.setdefault(owner, []).append(_WORDS[field[0]] if field else "super stream")
            owners.update(dict.fromkeys((key for key in keys if key != owner), owner))
    names = {owner: f"{owner.name}: {', '.join(words)}" for owner, words in patterns.items()}
    return Groups(owners=owners, names=names)
