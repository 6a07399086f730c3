"""
Settings that the broker changes in place, as policies.

Queues with the same settings share a policy, whose pattern lists their names: each policy that is
written makes the broker look at every queue of the vhost. Exactly one policy applies to a queue, so
a policy of the user's that matches as well is merged into it.

Source: "Policies", RabbitMQ documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydantic import JsonValue

from rabbit_topology.compiler import effective, retained
from rabbit_topology.compiler.context import Context
from rabbit_topology.compiler.effective import Index, Target
from rabbit_topology.compiler.names import SETTINGS_PREFIX, own_name
from rabbit_topology.model import OnDelete, Policy, Topology

PRIORITY = 100
"""Of policies made here, unless one of the user's has as much: room for the user's below."""

MAX_PATTERN = 20_000
"""Bytes: the broker's regular expressions end at 64 KiB when compiled."""


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
        return body(self.policy)


def compile_all(topology: Topology) -> dict[str, Compiled]:
    """Return the policies that the settings of queues and exchanges need, by name."""
    compiled: dict[str, Compiled] = {}
    priority = max(
        [PRIORITY, *(policy.priority + 1 for policy in topology.policies.values())],
    )
    index = Index(topology.policies)
    staying = kept(topology)
    for kind in ("queues", "exchanges"):
        groups: dict[tuple[str, OnDelete, str], list[str]] = {}
        definitions: dict[str, dict[str, JsonValue]] = {}
        for name, settings, on_delete in _settings(topology, kind, staying):
            type_ = topology.queues[name].type if kind == "queues" else None
            users = index.matching(Target(kind=kind, name=name, type=type_))[:1]
            # One key that its type does not know would switch off all settings of the queue.
            theirs = effective.able(topology.policies[users[0]].definition, type_) if users else {}
            definition = {**theirs, **settings}
            if not definition:
                continue
            key = repr(sorted(definition.items()))
            definitions[key] = definition
            # What is retained keeps its settings, so they are in no other's policy.
            alone = name if on_delete is OnDelete.RETAIN else ""
            groups.setdefault((key, on_delete, alone), []).append(name)
        for (key, on_delete, _), names in groups.items():
            for members in _chunks(sorted(names)):
                compiled[own_name(kind, members[0], SETTINGS_PREFIX)] = Compiled(
                    policy=Policy(
                        pattern=pattern(members),
                        apply_to=kind,
                        priority=priority,
                        definition=definitions[key],
                    ),
                    members=frozenset(members),
                    on_delete=on_delete,
                )
    return compiled


def body(policy: Policy) -> dict[str, JsonValue]:
    """Return a policy as the management API takes it; digits are numbers, as the provider sends."""
    return {
        "pattern": policy.pattern,
        "apply-to": policy.apply_to,
        "priority": policy.priority,
        "definition": {key: as_sent(value) for key, value in policy.definition.items()},
    }


def as_sent(value: JsonValue) -> JsonValue:
    """Return what the provider makes of a value in a policy: text of digits becomes a number."""
    return int(value) if re.fullmatch(r"[+-]?[0-9]+", str(value)) else value  # type: ignore[arg-type]


def pattern(names: Iterable[str]) -> str:
    """Return a pattern for exactly these names."""
    return f"^({'|'.join(re.escape(name) for name in sorted(names))})$"


def objects(topology: Topology) -> Iterator[Target]:
    """Yield the queues and exchanges that policies can apply to."""
    for name, queue in topology.queues.items():
        yield Target(kind="queues", name=name, type=queue.type)
    for name in topology.exchanges:
        yield Target(kind="exchanges", name=name)


def kept(topology: Topology) -> retained.Kept:
    """Return what stays on the broker, for the sake of queues that are retained, when they go."""
    start = [name for name, queue in topology.queues.items() if queue.on_delete is OnDelete.RETAIN]
    if not start:
        return retained.Kept()
    whole = Context(written=topology, whole=topology, version=None)
    targets = {name: retained.DeadLetters.of(settings) for name, settings in whole.settings.items()}
    graph = retained.Graph(
        routes=list(topology.routes()),
        alternates=whole.alternates,
        dead_letters={name: target for name, target in targets.items() if target},
    )
    may_go = {
        name for name, queue in topology.queues.items() if queue.on_delete is OnDelete.DISCARD
    }
    return retained.kept(graph, start, may_go=may_go)


def _settings(
    topology: Topology, kind: str, staying: retained.Kept
) -> Iterator[tuple[str, dict[str, JsonValue], OnDelete]]:
    """Yield what has settings, and what stays: it may have some by a policy that does not."""
    if kind == "queues":
        for name, queue in topology.queues.items():
            stays = name in staying.queues
            settings = queue.settings()
            if settings or stays:
                yield name, settings, OnDelete.RETAIN if stays else queue.on_delete
    else:
        for name, exchange in topology.exchanges.items():
            stays = name in staying.exchanges
            settings = exchange.settings()
            if settings or stays:
                yield name, settings, OnDelete.RETAIN if stays else OnDelete.REFUSE


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
