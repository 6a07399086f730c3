"""
A queue as the management API describes it.

Source: "HTTP API Reference", RabbitMQ documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rabbit_topology.broker.totals import Count
from rabbit_topology.compiler.effective import Target
from rabbit_topology.model import TYPE_ARGUMENT, QueueType


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue at one moment."""

    row: Mapping[str, Any]
    """The API's own answer."""

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.row["name"])

    @property
    def type(self) -> QueueType:
        """Its type: classic, where none is said."""
        stated = self.row.get("type") or self.arguments.get(TYPE_ARGUMENT)
        # 3.10 answers with the Erlang module's name for some types.
        for kind in QueueType:
            if kind.value in str(stated or QueueType.CLASSIC):
                return kind
        return QueueType.CLASSIC

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What it was declared with."""
        return self.row.get("arguments") or {}

    @property
    def declaration(self) -> dict[str, Any]:
        """What cannot be changed, as `Queue.declaration` says it."""
        return {key: self.row[key] for key in ("durable", "auto_delete", "arguments")}

    @property
    def target(self) -> Target:
        """What policies are matched with."""
        return Target(kind="queues", name=self.name, type=self.type)

    @property
    def is_exclusive(self) -> bool:
        """It goes with a connection."""
        return bool(self.row.get("exclusive"))

    @property
    def messages(self) -> int | None:
        """How many messages it holds in all; None: it did not say."""
        count: int | None = self.row.get("messages")
        return count

    @property
    def ready(self) -> int:
        """How many wait for a consumer."""
        return int(self.row.get("messages_ready") or 0)

    @property
    def unacknowledged(self) -> int:
        """How many consumers hold."""
        return int(self.row.get("messages_unacknowledged") or 0)

    @property
    def count(self) -> Count | None:
        """What its statistics say of its messages; None: there are none yet."""
        return Count.of(self.row)

    @property
    def leader(self) -> str | None:
        """The node of a quorum queue's leader."""
        node: str | None = self.row.get("leader")
        return node

    @property
    def members(self) -> frozenset[str]:
        """The nodes of a quorum queue."""
        return frozenset(self.row.get("members") or ())

    @property
    def online(self) -> frozenset[str]:
        """Those of `members` that are there."""
        return frozenset(self.row.get("online") or ())
