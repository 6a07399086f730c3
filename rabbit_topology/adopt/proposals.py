"""
What could be said shorter, or better, than it is there; and what it would cost to change it.

Nothing of it is written into the config: the literal one changes nothing on the broker.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from rabbit_topology.adopt import text
from rabbit_topology.compiler import patterns, policies
from rabbit_topology.compiler.settings import BY_KEY
from rabbit_topology.config.words import show
from rabbit_topology.errors import parts, path
from rabbit_topology.lint import rules
from rabbit_topology.model import Queue, Topology
from rabbit_topology.model.units import duration_text

_DURATIONS = frozenset({"message_ttl", "expires", "consumer_timeout"})

_LISTED = re.compile(r"\^\(?((?:[\w-]|\\.|\|)+)\)?\$")
"""A pattern that is a name, or a choice of names: a point without a backslash is any character."""

_REPLACED = "the queue is replaced once, with what it holds"


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """One thing that could be said otherwise."""

    path: str
    """Where, as a config path."""
    instead: str
    """What could stand there."""
    gain: str
    cost: str
    """What the next `pulumi up` would do."""

    def __str__(self) -> str:
        return f"{self.path}: {self.instead}: {self.gain}; {self.cost}"


def propose(root: str, topology: Topology) -> Iterator[Proposal]:
    """Yield what could be said otherwise in a vhost.

    Args:
        root: The config path that its topology stands at.
        topology: As it was adopted.
    """
    shorter = {name: _shorter(queue) for name, queue in topology.queues.items()}
    refused = _refused(topology, shorter)
    for name, settings in shorter.items():
        if settings and name not in refused:
            yield Proposal(
                path=f"{root}.{path('queues', name)}",
                instead=text.flow(settings) + " instead of arguments",
                gain="from then on they change in place",
                cost=_REPLACED,
            )
    for name, exchange in topology.exchanges.items():
        if alternate := exchange.arguments.get("alternate-exchange"):
            yield Proposal(
                path=f"{root}.{path('exchanges', name)}",
                instead=f"alternate: {text.flow(alternate)} instead of the argument",
                gain="from then on it changes in place",
                cost="the exchange is replaced once, under its traffic",
            )
    yield from _policies(root, topology)


def _shorter(queue: Queue) -> dict[str, Any]:
    """Return the settings that could stand for arguments of a queue."""
    settings: dict[str, Any] = {}
    for argument, value in queue.arguments.items():
        key = argument.removeprefix("x-").replace("-", "_")
        known = BY_KEY.get(argument.removeprefix("x-"))
        if known and known.in_policies and key in Queue.model_fields:
            is_duration = key in _DURATIONS
            settings[key] = (
                duration_text(value) if is_duration and isinstance(value, int) else value
            )
    if "x-dead-letter-exchange" in queue.arguments:
        target = {"exchange": queue.arguments["x-dead-letter-exchange"]}
        if "x-dead-letter-routing-key" in queue.arguments:
            target["routing_key"] = queue.arguments["x-dead-letter-routing-key"]
        settings["dead_letter"] = target
    return settings


def _refused(topology: Topology, shorter: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Return the queues that the config would refuse with their settings."""
    refused: set[str] = set()
    queues: dict[str, Queue] = dict(topology.queues)
    for name, settings in shorter.items():
        stated = {"type": queues[name].type.value, "typed": queues[name].typed, **settings}
        try:
            queues[name] = Queue.model_validate_json(json.dumps(stated))
        except ValidationError:
            refused.add(name)
    changed = topology.model_copy(update={"queues": queues})
    for finding in rules.check(changed, patterns.expand(changed)):
        match parts(finding.problem.path):
            case ["topology", "queues", str(name), *_]:
                refused.add(name)
    return refused


def _policies(root: str, topology: Topology) -> Iterator[Proposal]:
    """Yield policies whose patterns list the names of declared queues, and nothing else."""
    for name, policy in topology.policies.items():
        listed = _LISTED.fullmatch(policy.pattern)
        names = [re.sub(r"\\(.)", r"\1", one) for one in listed[1].split("|")] if listed else []
        members = [
            target
            for target in policies.objects(topology)
            if target.name in names and target.takes(policy.apply_to)
        ]
        if names and {("queues", name) for name in names} == {
            (target.kind, target.name) for target in members
        }:
            yield Proposal(
                path=f"{root}.{path('policies', name)}",
                instead=f"settings of {show(', '.join(sorted(names)))}",
                gain="what applies to a queue stands with it",
                cost="another policy takes its place, and nothing is replaced",
            )
