"""
Settings that the broker changes in place, as policies.

Queues with the same settings share a policy, whose pattern lists their names: each policy that is
written makes the broker look at every queue of the vhost. Exactly one policy applies to a queue, so
a policy of the user's that matches as well is merged into it.

Source: "Policies", RabbitMQ documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from rabbit_topology import regexes
from rabbit_topology.model import OnDelete, Policy, QueueType, Topology
from rabbit_topology.names import SETTINGS_PREFIX, own_name

PRIORITY = 100
"""Of policies made here, unless one of the user's has as much: room for the user's below."""

MAX_PATTERN = 20_000
"""Bytes: the broker's regular expressions end at 64 KiB when compiled."""

_ABLE = {
    None: {"all", "queues"},
    QueueType.CLASSIC: {"all", "queues", "classic_queues"},
    QueueType.QUORUM: {"all", "queues", "quorum_queues"},
    QueueType.STREAM: {"all", "queues", "streams"},
}
"""What a policy for a queue of a type applies to."""


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """A policy made of settings."""

    policy: Policy
    members: frozenset[str]
    """The names that it is for."""
    on_delete: OnDelete
    """Of the queues that it is for: it stays, or goes, as they do."""

    def body(self) -> dict[str, JsonValue]:
        """Return it as the management API takes it."""
        return {
            "pattern": self.policy.pattern,
            "apply-to": self.policy.apply_to,
            "priority": self.policy.priority,
            "definition": dict(self.policy.definition),
        }


def compile_all(topology: Topology) -> dict[str, Compiled]:
    """Return the policies that the settings of queues and exchanges need, by name."""
    found: dict[str, Compiled] = {}
    priority = max(
        [PRIORITY, *(policy.priority + 1 for policy in topology.policies.values())],
    )
    index = Index(topology.policies)
    for kind in ("queues", "exchanges"):
        groups: dict[tuple[str, OnDelete, str], list[str]] = {}
        definitions: dict[str, dict[str, JsonValue]] = {}
        for name, settings, on_delete in _settings(topology, kind):
            type_ = topology.queues[name].type if kind == "queues" else None
            users = [topology.policies[it] for it in index.matching(kind, name, type_)[:1]]
            definition = {**(users[0].definition if users else {}), **settings}
            key = repr(sorted(definition.items()))
            definitions[key] = definition
            # A queue that is retained keeps its settings, so they are in no other's policy.
            alone = name if on_delete is OnDelete.RETAIN else ""
            groups.setdefault((key, on_delete, alone), []).append(name)
        for (key, on_delete, _), names in groups.items():
            for members in _chunks(sorted(names)):
                found[own_name(kind, members[0], SETTINGS_PREFIX)] = Compiled(
                    policy=Policy(
                        pattern=pattern(members),
                        apply_to=kind,
                        priority=priority,
                        definition=definitions[key],
                    ),
                    members=frozenset(members),
                    on_delete=on_delete,
                )
    return found


def pattern(names: Iterable[str]) -> str:
    """Return a pattern for exactly these names."""
    return f"^({'|'.join(re.escape(it) for it in sorted(names))})$"


class Index:
    """Policies, to be asked which match a name.

    Most patterns say what a name begins with: only those that begin as a name does are tried, so
    that many policies and many queues are not many times many. The others are tried on each name.
    """

    def __init__(self, policies: Mapping[str, Policy]) -> None:
        self._by_prefix: dict[str, list[tuple[str, Policy, re.Pattern[str]]]] = {}
        self._order: dict[str, int] = {}
        for key, it in policies.items():
            self._order[key] = -it.priority
            if pattern := regexes.compiled(it.pattern):
                begin = regexes.prefix(it.pattern)
                self._by_prefix.setdefault(begin, []).append((key, it, pattern))
        self._lengths = sorted({len(it) for it in self._by_prefix})

    def matching(self, kind: str, name: str, type_: QueueType | None = None) -> list[str]:
        """Return the names of the policies that match, the one that applies first.

        A pattern that is no regular expression to Python matches nothing.

        Args:
            kind: `queues` or `exchanges`.
            name: The name of one.
            type_: Of a queue: policies can be for one type only.
        """
        able = _ABLE[type_] if kind == "queues" else {"all", "exchanges"}
        found = [
            key
            for length in self._lengths
            if length <= len(name)
            for key, it, pattern in self._by_prefix.get(name[:length], ())
            if it.apply_to in able and pattern.search(name)
        ]
        return sorted(found, key=self._order.__getitem__)


def objects(topology: Topology) -> Iterator[tuple[str, str, QueueType | None]]:
    """Yield what policies can apply to: kind, name, and of a queue its type."""
    yield from (("queues", name, queue.type) for name, queue in topology.queues.items())
    yield from (("exchanges", name, None) for name in topology.exchanges)


def _settings(
    topology: Topology, kind: str
) -> Iterator[tuple[str, dict[str, JsonValue], OnDelete]]:
    if kind == "queues":
        for name, queue in topology.queues.items():
            if settings := queue.settings():
                yield name, settings, queue.on_delete
    else:
        for name, exchange in topology.exchanges.items():
            if settings := exchange.settings():
                yield name, settings, OnDelete.REFUSE


def _chunks(names: list[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    size = 0
    for name in names:
        escaped = len(re.escape(name).encode()) + 1
        if chunk and size + escaped > MAX_PATTERN:
            yield chunk
            chunk, size = [], 0
        chunk.append(name)
        size += escaped
    yield chunk
