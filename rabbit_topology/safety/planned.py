"""
What will apply to a queue when the stack's policies are written, before they are.

A queue is replaced while the engine has yet to write the policies of its next settings, or has
written them already: in what order is the engine's choice. So what a replacement takes from a
queue is judged by what applies to it in the end. The policies that it needs are written before it
is declared anew, so that no message comes back into a queue without its settings; and until then it
keeps what a policy sets that is about to let go of it.

Source: "Policies", RabbitMQ documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rabbit_topology.broker.access import NEUTRAL, Access
from rabbit_topology.compiler import effective, policies
from rabbit_topology.compiler.effective import Live, Target
from rabbit_topology.compiler.names import PREFIX, SETTINGS_PREFIX, own_name
from rabbit_topology.messages.queue import BrokerQueue, states
from rabbit_topology.model import Queue, QueueType, Topology
from rabbit_topology.safety import limits

_DEAD_LETTERS = ("dead-letter-exchange", "dead-letter-routing-key", "dead-letter-strategy")

_MARK = {"type": "fanout", "durable": True, "auto_delete": False, "arguments": {}}

Body = dict[str, Any]
"""A policy as the management API takes it."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The policies of a topology's vhost, as an update will have left them."""

    access: Access
    topology: Topology

    def losses(self, name: str, new: Queue) -> list[str]:
        """Return why a queue that is replaced by ``new`` would lose what it holds.

        Args:
            name: The queue's; it may not exist.
            new: What it is declared with next.
        """
        state = self._queue(name).state()
        if state is None:
            return []
        after = effective.rules(self._after(False), self._after(True), self.access.like)
        return limits.replaced(
            self.access,
            self.topology.vhost,
            state,
            (self.later(name), new.type, new.declared_arguments()),
            after,
            self._bound,
        )

    def losses_of_waiting(
        self, name: str, new: Queue, before: Mapping[str, Any], queues: Sequence[str]
    ) -> list[str]:
        """Return why a queue that is declared now would lose what waits for it.

        Args:
            name: The queue's.
            new: What it is declared with.
            before: What applied to it before, by the keys of policies.
            queues: Where its messages wait.
        """
        return limits.returned(
            self.access,
            self.topology.vhost,
            Target(kind="queues", name=self.later(name), type=new.type),
            before,
            new.declared_arguments(),
            effective.rules(self._after(False), self._after(True), self.access.like),
            queues,
            self._bound,
        )

    def missing(self, name: str, new: Queue) -> Iterator[tuple[bool, str, Body]]:
        """Yield the policies that apply to a queue in the end and are not on the broker so yet.

        Each with whether it is an operator policy, and its name. As long as a policy sends dead
        letters to where nothing leads on, it is one with what applies to the queue now.
        """
        target = Target(kind="queues", name=self.later(name), type=new.type)
        for operator in (False, True):
            live = self.access.live(self.topology.vhost, operator=operator)
            ours = self._ours(operator)
            planned = effective.live(_named(ours))
            after = effective.Index(self._after(operator), self.access.like)
            for key in after.applying(target):
                if key is None or key not in ours or live.get(key) == planned[key]:
                    continue
                body = ours[key]
                if limits.leads_on(self.access, self.topology.vhost, body["definition"]):
                    yield operator, key, body
                elif former := self._former(name, body, live.get(key)):
                    yield operator, key, former

    def moving(self) -> dict[str, dict[str, Any]]:
        """Return the queues yet to be replaced, and what the policy sets that applies to them."""
        replaced = self._replaced()
        if not replaced:
            return {}
        index = effective.Index(self.access.live(self.topology.vhost), self.access.like)
        return {
            name: dict(index.definition(index.applying(target)[0]))
            for name, type_ in replaced.items()
            for target in (Target(kind="queues", name=name, type=type_),)
        }

    def hold(self, name: str, definition: Mapping[str, Any]) -> None:
        """Hold a queue to what its policy sets, whatever becomes of that; {} is no policy.

        An exchange of the same name, which nothing leads to, tells the next run if this one fails.
        """
        held, vhost = _held_settings(name), self.topology.vhost
        self.access.declare("exchanges", vhost, held, _MARK)
        self.access.override_policy(vhost, held, name, "queues", definition or NEUTRAL)

    def release(self, name: str) -> None:
        """Let a queue go by its own policies again."""
        self.remove(_held_settings(name))

    def remove(self, held: str) -> None:
        """Remove the policy with held settings that has such a name."""
        self.access.delete_policy(self.topology.vhost, held)
        self.access.request_if_there("DELETE", "exchanges", self.topology.vhost, held)

    def held(self, leftovers: Iterable[str]) -> tuple[set[str], set[str]]:
        """Return the names of held settings among what runs have left: needed, and needed no more.

        They are needed as long as the queue is still to be replaced.
        """
        held = {name for name in leftovers if name.startswith(_held_settings(""))}
        needed = {_held_settings(name) for name in self._replaced()} if held else set()
        return held & needed, held - needed

    @cached_property
    def _bound(self) -> frozenset[str]:
        """The exchanges that the update binds: until it has, `missing` keeps former settings."""
        return frozenset(route.source for route in self.topology.routes())

    def _replaced(self) -> dict[str, QueueType]:
        """Return the types of queues that are not as the topology has them, or not so called."""
        declared, renamed = self.topology.queues, self.topology.successors
        there = states(self.access, self.topology.vhost, "disable_stats=true", exclusive=True)
        return {
            name: state.type
            for name, state in there.items()
            if name in renamed
            or (name in declared and state.declaration != declared[name].declaration())
        }

    def later(self, name: str) -> str:
        """Return what a queue that is replaced will be called."""
        return self.topology.successors.get(name, name)

    def _queue(self, name: str) -> BrokerQueue:
        return BrokerQueue(self.access, self.topology.vhost, name)

    def _former(self, name: str, body: Body, there: Live | None) -> Body | None:
        """Return ``body`` for this queue, and those that have it already, with its old settings."""
        state = self._queue(name).state()
        if state is None:
            return None
        old = limits.now(self.access, self.topology.vhost, state)
        kept = {key for key in body["definition"] if key not in _DEAD_LETTERS} | {*_DEAD_LETTERS}
        definition = {key: old[key] for key in sorted(kept) if key in old}
        names = {self.later(name)}
        if there:
            if dict(there.definition) != definition:
                return None  # the engine is at it
            members = (one for one in self.topology.queues if re.search(there.pattern, one))
            names |= set(members)
        if not definition:
            return None
        return {**body, "pattern": policies.pattern(names), "definition": definition}

    def _ours(self, operator: bool) -> dict[str, Body]:
        """Return the policies, or operator policies, that the stack writes, by name."""
        if operator:
            written = self.topology.operator_policies
            return {key: policies.body(policy) for key, policy in written.items()}
        written = self.topology.policies
        return {**self._made, **{key: policies.body(policy) for key, policy in written.items()}}

    @cached_property
    def _made(self) -> Mapping[str, Body]:
        return {key: one.body() for key, one in policies.compile_all(self.topology).items()}

    def _after(self, operator: bool) -> dict[str, Live]:
        """Return all policies, or operator policies, that the vhost will have, by name.

        Settings that are in none of the policies that the stack makes now are on their way out.
        """
        live = self.access.live(self.topology.vhost, operator=operator)
        passing = (SETTINGS_PREFIX, PREFIX)
        theirs = {key: one for key, one in live.items() if not key.startswith(passing)}
        return {**theirs, **effective.live(_named(self._ours(operator)))}


def _held_settings(name: str) -> str:
    return own_name("settings", name)


def _named(bodies: Mapping[str, Body]) -> Iterator[Body]:
    return ({"name": key, **body} for key, body in bodies.items())
