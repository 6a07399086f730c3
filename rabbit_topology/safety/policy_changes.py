"""
Whether a policy may change, and that no queue is ever without its settings while it does.

What a policy lets go of gets its next one first. Limits that would drop what queues hold are
refused.
Source: "Policies", "Queue Length Limit", RabbitMQ documentation.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Any

from rabbit_topology.broker.access import Access
from rabbit_topology.compiler import policies, retained
from rabbit_topology.compiler.names import SETTINGS_PREFIX, own_name
from rabbit_topology.errors import TopologyError
from rabbit_topology.model import OnDelete, Queue, Topology
from rabbit_topology.safety import half_done, leaving, limits
from rabbit_topology.safety.deletion import Deletions, Reason
from rabbit_topology.safety.planned import Planned
from rabbit_topology.safety.run import Run

_BOUND_SECONDS = 10.0
"""How long the engine may take to bind an exchange that a policy names."""

Inputs = Mapping[str, Any]
"""A policy as the provider gets it."""


@dataclass(kw_only=True)
class PolicyChanges:
    """Decides for the policies of one vhost; the settings of a queue that is replaced as well."""

    access: Access
    topology: Topology
    run: Run
    kept: retained.Kept
    deletions: Deletions
    replaced: set[str] = field(default_factory=set)
    """The queues that this run has yet to replace, as far as it was last looked."""
    _writing: Lock = field(default_factory=Lock)
    """So that queues that share a policy write it one after the other."""

    @cached_property
    def planned(self) -> Planned:
        """The policies as they will be when the run has ended."""
        return Planned(access=self.access, topology=self.topology)

    def check_change(self, old: Inputs, new: Inputs, on_delete: OnDelete | None) -> None:
        """Raise if a change of a policy would lose messages; see to it that none is lost by it.

        Args:
            old: Empty for one that is created.
            new: Empty for one that is deleted.
            on_delete: That of its queues; None is an operator policy.

        Raises:
            RefusedError: A queue that goes with it is in use.
            TopologyError: Queues would drop what they hold.
            BrokerError: The broker cannot be asked.
        """
        vhost, name = self.topology.vhost, (new or old)["name"]
        left, staying = set[str](), set[str]()
        if old and on_delete:
            kind = "exchanges" if old["policy"]["applyTo"] == "exchanges" else "queues"
            left = set(limits.leaving(self.access, vhost, old["policy"], new.get("policy")))
            staying = left & getattr(self.topology, kind).keys()
            if on_delete is OnDelete.REFUSE and name.startswith(SETTINGS_PREFIX):
                goes = left - staying if kind == "queues" and not self.run.is_preview else set()
                renamed = goes & self.topology.successors.keys()
                self._hold(renamed)
                for queue in goes - renamed:
                    # Deleted in this run, if it can be: refused here, it keeps its settings.
                    self.deletions.check(queue, Reason.REMOVED, keep=True)
            self._keep_settings(old, kind, staying)
        after = limits.policy(name, new["policy"]) if new else None
        self._check_limits(name, after, operator=on_delete is None)
        if on_delete is OnDelete.RETAIN and not new and not self.run.is_preview:
            gone = left - staying
            if gone and kind == "exchanges":
                gone &= leaving.kept(self.access, vhost, self.topology.queues).exchanges
            if not gone:
                # The engine leaves it, and what it is for does not: it would compete with others.
                self.access.delete_policy(vhost, name)

    def apply(self, old: Inputs, new: Inputs, on_delete: OnDelete | None) -> None:
        """Write or delete a policy, one at a time; the engine then has nothing left to do."""
        vhost, operator = self.topology.vhost, on_delete is None
        if new:
            body = limits.policy(new["name"], new["policy"])
            self.access.write_policy(vhost, body.pop("name"), body, operator=operator)
        elif on_delete is not OnDelete.RETAIN:
            was_there = self.access.delete_policy(vhost, old["name"], operator=operator)
            # If not, a run may have been killed while it was deleted.
            if not was_there and old["policy"]["applyTo"] != "exchanges":
                left = {*limits.leaving(self.access, vhost, old["policy"], None)}
                half_done.apply_again(self.access, vhost, left)

    def stand_in(self, old: Inputs, *, operator: bool) -> None:
        """Write the same settings under another name while a policy is replaced."""
        if self.run.is_preview:
            return
        body = limits.policy(old["name"], old["policy"])
        stand_in = own_name("policy", body.pop("name"))
        self.access.write_policy(self.topology.vhost, stand_in, body, operator=operator)

    def end_stand_in(self, name: str, *, operator: bool) -> None:
        """Remove what `stand_in` has made, once the policy is there again."""
        stand_in = own_name("policy", name)
        self.access.delete_policy(self.topology.vhost, stand_in, operator=operator)

    # The settings of a queue that is replaced.

    def check(self, name: str, new: Queue) -> None:
        """Raise if what applies to a queue that is replaced would take messages from it."""
        losses = self.planned.losses(name, new)
        self._refuse_losses({name: "; ".join(losses)} if losses else {})

    def write(self, name: str, new: Queue) -> None:
        """Write the policies of a queue's next settings before it is replaced."""
        with self._writing:
            for operator, key, body in self.planned.missing(name, new):
                self._check_limits(key, {"name": key, **body}, operator=operator)
                self.access.write_policy(self.topology.vhost, key, body, operator=operator)

    def release(self, name: str) -> None:
        """Let a queue that is replaced go by its own policies again."""
        self.planned.release(name)

    def _keep_settings(self, old: Inputs, kind: str, names: set[str]) -> None:
        """Write the next policy of what leaves one before that goes: none is ever without.

        Without, what expires in between would not be dead-lettered, for example. As long as the
        next policy's dead-letter or alternate exchange leads nowhere, it has the old settings.
        """
        vhost = self.topology.vhost
        for key, compiled in policies.compile_all(self.topology).items():
            members = compiled.members & names
            if key == old["name"] or compiled.policy.apply_to != kind or not members:
                continue
            body = compiled.body()
            definition = compiled.policy.definition
            if not limits.leads_on(self.access, vhost, definition):
                there = any(one["name"] == key for one in self.access.policies(vhost))
                if there and not self._will_lead_on(definition):
                    self.run.refuse(
                        TopologyError(
                            f"the settings of {', '.join(sorted(members))} cannot change in one "
                            "step with the exchange that they name, since others have it as well: "
                            "first add the exchange with its bindings, run `pulumi up`, then "
                            "change them"
                        )
                    )
                elif not there:
                    settings = limits.policy(key, old["policy"])["definition"]
                    body |= {"pattern": policies.pattern(members), "definition": settings}
            if not self.run.is_preview:
                self._check_limits(key, {"name": key, **body}, operator=False)
                self.access.write_policy(vhost, key, body)

    def _will_lead_on(self, definition: Mapping[str, Any]) -> bool:
        """Return whether the engine binds the exchanges that a policy names; wait until it has."""
        sources = {route.source for route in self.topology.routes()}
        if not sources.issuperset(limits.named(definition)):
            return False
        deadline = time.monotonic() + _BOUND_SECONDS
        while not self.run.is_preview and time.monotonic() < deadline:
            if limits.leads_on(self.access, self.topology.vhost, definition):
                return True
            time.sleep(0.1)
        return self.run.is_preview

    def _check_limits(self, name: str, after: Mapping[str, Any] | None, *, operator: bool) -> None:
        """Raise if a policy, or its deletion, would make queues drop messages that they hold."""
        vhost = self.topology.vhost
        losing = {
            queue: reason
            for queue, reason in limits.dropped(self.access, vhost, name, after, operator=operator)
            # A queue that is no longer here speaks for itself; so does a policy that it keeps.
            if queue in self.topology.queues or not name.startswith(SETTINGS_PREFIX)
        }
        if not operator:
            # What counts for these is what they are replaced with, and until then what they have.
            for queue in self._hold(self.replaced & losing.keys()):
                del losing[queue]
        self._refuse_losses(losing)

    def _hold(self, queues: set[str]) -> list[str]:
        """Keep what policies set of queues until these are replaced; return those that still are.

        In a preview nothing is kept: there the replacement speaks for itself.
        """
        if not queues:
            return []
        moving = {name: one for name, one in self.planned.moving().items() if name in queues}
        for queue, definition in moving.items() if not self.run.is_preview else ():
            self.check(queue, self.topology.queues[self.planned.later(queue)])
            self.planned.hold(queue, definition)
        return [*moving]

    def _refuse_losses(self, losing: Mapping[str, str]) -> None:
        """Raise, or say in a preview, that settings would take messages; by queue, the reason."""
        allowed = [
            name
            for name in losing
            if retained.on_delete(self.topology, self.kept, name) is OnDelete.DISCARD
        ]
        if allowed and self.run.is_preview:
            self.run.warn(
                "loses messages, as `on_delete: discard` allows:"
                f"{_lines({name: losing[name] for name in allowed})}"
            )
        lines = _lines({name: why for name, why in losing.items() if name not in allowed})
        if not lines:
            return
        if self.run.is_preview:
            self.run.announce(f"would lose messages, `pulumi up` will refuse:{lines}")
        else:
            raise TopologyError(
                f"refused, since messages would be lost: settings of queues change{lines}\nEither "
                "let consumers empty them first; or have them keep what is too much with "
                "`dead_letter: true`; or allow the loss with `on_delete: discard`"
            )


def _lines(reasons: Mapping[str, str]) -> str:
    return "".join(f"\n  - queue {queue}: {reason}" for queue, reason in reasons.items())
