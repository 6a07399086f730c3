"""
What rules of advice look at: one vhost's topology, and what settings come to in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from pydantic import JsonValue

from rabbit_topology.compiler import effective
from rabbit_topology.compiler.effective import Index, Target
from rabbit_topology.compiler.settings import alike
from rabbit_topology.errors import path
from rabbit_topology.model import Exchange, Policy, Queue, QueueType, Topology
from rabbit_topology.model.versions import Version


@dataclass(frozen=True, kw_only=True)
class Context:
    """One vhost, and the version of its broker."""

    written: Topology
    """As it is written: what findings name."""
    whole: Topology
    """With patterns spelled out: what there will be."""
    version: Version | None
    """None: not known."""
    denied: frozenset[str] = frozenset()
    """The deprecated features that the broker itself says it denies, where it was asked."""

    @cached_property
    def like(self) -> tuple[Version, ...]:
        """The versions that the broker may behave like, the newest last."""
        return alike(self.version)

    @cached_property
    def settings(self) -> Mapping[str, Mapping[str, JsonValue]]:
        """By queue: what its settings, its arguments and the policies for it come to.

        By the names that policies have for them.
        """
        return {
            name: self._effective("queues", name, queue, queue.type)
            for name, queue in self.whole.queues.items()
        }

    @cached_property
    def alternates(self) -> Mapping[str, str]:
        """By exchange that has one: its alternate exchange."""
        named = {
            name: self._effective("exchanges", name, exchange).get("alternate-exchange")
            for name, exchange in self.whole.exchanges.items()
        }
        return {name: one for name, one in named.items() if isinstance(one, str)}

    @cached_property
    def _indexes(self) -> tuple[Index, Index]:
        """The policies, and the operator policies."""
        kinds = (self.whole.policies, self.whole.operator_policies)
        users, operators = (Index(policies, self.like[-1:]) for policies in kinds)
        return users, operators

    def _effective(
        self, kind: str, name: str, declared: Queue | Exchange, type_: QueueType | None = None
    ) -> Mapping[str, JsonValue]:
        target = Target(kind=kind, name=name, type=type_)
        own = declared.settings()
        policy, operator = (
            index.definition(next(iter(index.matching(target)), None)) for index in self._indexes
        )
        if not (policy or operator or declared.arguments):
            return own
        if own:  # then both are in one policy, made from them
            policy = {**effective.able(policy, type_), **own}
        return effective.settings(type_, declared.arguments, policy, operator, self.like[-1])

    @cached_property
    def dead_letter_targets(self) -> frozenset[str]:
        """The exchanges that queues dead-letter to."""
        named = (setting.get("dead-letter-exchange") for setting in self.settings.values())
        return frozenset(name for name in named if isinstance(name, str))

    def queues(self) -> Iterator[tuple[str, Queue]]:
        """Yield the queues that are written, not those that patterns make."""
        yield from self.written.queues.items()

    def exchanges(self) -> Iterator[tuple[str, Exchange]]:
        """Yield the exchanges that are written, not those that patterns make."""
        yield from self.written.exchanges.items()

    def policies(self) -> Iterator[tuple[str, Policy]]:
        """Yield all policies, each with its config path."""
        for kind in ("policies", "operator_policies"):
            written: Mapping[str, Policy] = getattr(self.written, kind)
            for name, policy in written.items():
                yield path("topology", kind, name), policy


def of_queue(name: str, *rest: str | int) -> str:
    """Return the config path of a queue, or of something in it."""
    return path("topology", "queues", name, *rest)


def of_exchange(name: str, *rest: str | int) -> str:
    """Return the config path of an exchange, or of something in it."""
    return path("topology", "exchanges", name, *rest)
