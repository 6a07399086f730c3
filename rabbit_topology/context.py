"""
What rules of advice look at: one vhost's topology, and what settings come to in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from pydantic import JsonValue

from rabbit_topology import policies
from rabbit_topology.errors import path
from rabbit_topology.model import Exchange, Policy, Queue, Topology
from rabbit_topology.versions import Version


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
    def settings(self) -> Mapping[str, Mapping[str, JsonValue]]:
        """By queue: what its settings, its arguments and the policies for it come to.

        By the names that policies have for them. Source: "Policies", "Operator Policies".
        """
        users = policies.Index(self.whole.policies)
        operators = policies.Index(self.whole.operator_policies)
        found: dict[str, Mapping[str, JsonValue]] = {}
        for name, queue in self.whole.queues.items():
            first = users.matching("queues", name, queue.type)[:1]
            over = operators.matching("queues", name, queue.type)[:1]
            if not (first or over or queue.arguments):
                found[name] = queue.settings()
                continue
            settings = {
                **(self.whole.policies[first[0]].definition if first else {}),
                **queue.settings(),
                **{key.removeprefix("x-"): it for key, it in queue.arguments.items()},
            }
            limits = self.whole.operator_policies[over[0]].definition if over else {}
            found[name] = {**settings, **_stricter(limits, settings)}
        return found

    @cached_property
    def alternates(self) -> Mapping[str, str]:
        """By exchange that has one: its alternate exchange."""
        index = policies.Index(self.whole.policies)
        found: dict[str, str] = {}
        for name, exchange in self.whole.exchanges.items():
            first = index.matching("exchanges", name)[:1]
            policy = self.whole.policies[first[0]].definition if first else {}
            key = "alternate-exchange"
            alternate = exchange.arguments.get(key) or exchange.alternate or policy.get(key)
            if isinstance(alternate, str):
                found[name] = alternate
        return found

    @cached_property
    def dead_letter_targets(self) -> frozenset[str]:
        """The exchanges that queues dead-letter to."""
        named = (it.get("dead-letter-exchange") for it in self.settings.values())
        return frozenset(it for it in named if isinstance(it, str))

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


def _stricter(
    limits: Mapping[str, JsonValue], settings: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """Return an operator policy's limits where they are lower, or the only ones."""
    kept: dict[str, JsonValue] = {}
    for key, limit in limits.items():
        value = settings.get(key)
        if isinstance(value, int) and isinstance(limit, int):
            kept[key] = min(value, limit)
        else:
            kept[key] = limit
    return kept
