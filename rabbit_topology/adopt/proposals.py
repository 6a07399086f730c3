"""
What could be said shorter, or better, than it is there; and what it would cost to change it.

Nothing of it is written into the config: the literal one changes nothing on the broker.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rabbit_topology.adopt import text
from rabbit_topology.compiler import policies, regexes
from rabbit_topology.config.words import show
from rabbit_topology.errors import path
from rabbit_topology.model import Topology
from rabbit_topology.model.units import duration_text

_SETTINGS = {
    "x-max-length": "max_length",
    "x-max-length-bytes": "max_length_bytes",
    "x-overflow": "overflow",
    "x-message-ttl": "message_ttl",
    "x-expires": "expires",
    "x-delivery-limit": "delivery_limit",
    "x-max-age": "max_age",
}
"""Arguments that a setting stands for, which a policy holds: it changes in place from then on."""

_DURATIONS = frozenset({"message_ttl", "expires"})

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
    for name, queue in topology.queues.items():
        arguments = queue.arguments
        settings = {
            _SETTINGS[key]: _shown(_SETTINGS[key], value)
            for key, value in arguments.items()
            if key in _SETTINGS
        }
        if "x-dead-letter-exchange" in arguments:
            target: dict[str, Any] = {"exchange": arguments["x-dead-letter-exchange"]}
            if "x-dead-letter-routing-key" in arguments:
                target["routing_key"] = arguments["x-dead-letter-routing-key"]
            settings["dead_letter"] = target
        if settings:
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


def _policies(root: str, topology: Topology) -> Iterator[Proposal]:
    """Yield policies that are for declared queues alone, all of which get only this one."""
    for name, policy in topology.policies.items():
        if not (policy.pattern.startswith("^") and policy.pattern.endswith("$")):
            continue
        members = [
            target
            for target in policies.objects(topology)
            if target.takes(policy.apply_to) and regexes.matches(policy.pattern, target.name)
        ]
        if members and all(target.kind == "queues" for target in members):
            listed = ", ".join(sorted(target.name for target in members))
            yield Proposal(
                path=f"{root}.{path('policies', name)}",
                instead=f"settings of {show(listed)}",
                gain="what applies to a queue stands with it",
                cost="another policy takes its place, and nothing is replaced",
            )


def _shown(setting: str, value: Any) -> Any:
    return duration_text(value) if setting in _DURATIONS and isinstance(value, int) else value
