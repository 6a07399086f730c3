"""
Whether a whole vhost may go, with all that is in it, or a whole stack.

Source: "Virtual Hosts", RabbitMQ documentation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from threading import Lock

from rabbit_topology.broker.access import Access
from rabbit_topology.broker.inventory import Inventory, title
from rabbit_topology.broker.management import NotFoundError
from rabbit_topology.compiler import retained
from rabbit_topology.compiler.names import PREFIX, SETTINGS_PREFIX
from rabbit_topology.errors import BrokerError
from rabbit_topology.messages import survey
from rabbit_topology.messages.contents import Contents
from rabbit_topology.model import BUILT_IN_EXCHANGE_TYPES, OnDelete, Topology
from rabbit_topology.safety import federation, link_guard, links
from rabbit_topology.safety.deletion import Reason, RefusedError
from rabbit_topology.safety.link_guard import LinkGuard

_GONE_SECONDS = 5.0
"""How long the broker may take to delete what goes with a link that was deleted."""


@dataclass(kw_only=True)
class Destruction:
    """Decides for one vhost."""

    access: Access
    topology: Topology
    kept: retained.Kept
    goes: bool
    """The vhost goes with the stack, and with it what others keep there."""
    links: LinkGuard
    every_link: Callable[[], Iterable[LinkGuard]]
    """Those of all vhosts of the component."""
    deployed: Callable[[], Collection[tuple[str, str, str]] | None]
    """What the stack had before this run, by kind, vhost and name; None: not known."""
    _lock: Lock = field(default_factory=Lock)
    _verdict: dict[str, Contents] | BrokerError | None = None
    """What `in_use` has answered: to ask may have taken long."""

    def in_use(self) -> dict[str, Contents]:
        """Return the queues that go with the stack and are in use, and what they hold.

        By others than the stack's own shovels, which go before anything else does.

        Raises:
            BrokerError: Something else is in the way, or the broker cannot be asked.
        """
        return self._once(self._in_use)

    def check_leaving(self) -> None:
        """Raise, before anything of it is deleted, if a vhost leaves with what others keep."""

        def check() -> dict[str, Contents]:
            self.check_others()
            return {}

        self._once(check)

    def _once(self, judge: Callable[[], dict[str, Contents]]) -> dict[str, Contents]:
        with self._lock:
            if self._verdict is None:
                try:
                    self._verdict = judge()
                except BrokerError as error:
                    self._verdict = error
        if isinstance(self._verdict, BrokerError):
            raise self._verdict
        return self._verdict

    def _in_use(self) -> dict[str, Contents]:
        vhost = self.topology.vhost
        surveyed = survey.survey(self.access, vhost, self._is_at_stake)
        sources = [source for one in self.every_link() for source in one.sources]
        held = link_guard.without_readers(self.access, vhost, surveyed, sources)
        own = self._own_buffers()  # judged with their links
        in_use = {name: one for name, one in held.items() if one.in_use and name not in own}
        if not in_use:
            self.check_others()
            for name, exchange in self.topology.exchanges.items():
                if exchange.type not in BUILT_IN_EXCHANGE_TYPES:
                    survey.check_exchange(self.access, vhost, name)
            self.links.check_destruction(self.access)
        return in_use

    def _is_at_stake(self, name: str) -> bool:
        """Return whether a queue goes with the stack and may not be deleted with messages."""
        # The queues of others are at stake only where the vhost goes with them.
        goes = name in self.topology.queues or self.goes
        return goes and retained.on_delete(self.topology, self.kept, name) is OnDelete.REFUSE

    def check_replaced(self) -> None:
        """Raise if a vhost is replaced, which deletes everything in it first, and is in use.

        Raises:
            RefusedError: It says which of its queues.
        """
        vhost = self.topology.vhost
        left = survey.survey(self.access, vhost)
        if in_use := {name: held for name, held in left.items() if held.in_use}:
            what = f"vhost {vhost} is replaced, which deletes everything in it first"
            raise RefusedError(Reason.REPLACED, in_use, what)

    def check_others(self) -> None:
        """Raise if the vhost goes, and is protected, or holds what the stack does not manage.

        Raises:
            BrokerError: It names what. What is empty now may be published to a moment later.
        """
        if not self.goes:
            return
        self._check_protection()
        deployed, vhost = self.deployed(), self.topology.vhost
        if deployed is None:
            return  # looked at again when only the vhost is left
        managed = {(kind, name) for kind, where, name in deployed if where == vhost}
        managed |= {("queue", name) for name in self.topology.queues}
        buffers = tuple(self._own_buffers())
        managed |= {("queue", name) for name in buffers}
        others = [
            (kind, name)
            for kind, name in self._held()
            if (kind, name) not in managed
            and not (kind == "exchange" and name.startswith(buffers))  # a buffer has one as well
        ]
        if others:
            raise self._others_error(others)

    def check_nothing_left(self) -> None:
        """Raise if a vhost holds anything, now that what the stack has in it is deleted.

        The buffer of a link that was deleted may take a moment.

        Raises:
            RefusedError: Queues in it are in use.
            BrokerError: Others keep something else there.
        """
        vhost, deadline = self.topology.vhost, time.monotonic() + _GONE_SECONDS
        while (others := self._held()) and time.monotonic() < deadline:
            time.sleep(0.1)
        has_queues = any(kind == "queue" for kind, _ in others)
        left = survey.survey(self.access, vhost) if has_queues else {}
        if in_use := {name: held for name, held in left.items() if held.in_use}:
            what = f"vhost {vhost} would be deleted with its queues"
            raise RefusedError(Reason.REMOVED, in_use, what)
        if others:
            raise self._others_error(others)

    def _check_protection(self) -> None:
        vhost = self.topology.vhost
        try:
            described = self.access.management.get(self.access.path("vhosts", vhost))
        except NotFoundError:
            return
        if described.get("protected_from_deletion"):
            raise BrokerError(
                self.access.management.endpoint,
                f"refused, since vhost {vhost} would be deleted, and the broker protects it from "
                f"that. To let it go, run rabbitmqctl disable_vhost_deletion_protection {vhost}",
            )

    def _held(self) -> list[tuple[str, str]]:
        """Return what is in the vhost, by kind and name, but what a run makes for itself.

        A queue that a run has left counts: it may hold messages.
        """
        within = Inventory(self.access).within(self.topology.vhost)
        return sorted(one for one in within if not self._is_of_a_run(*one))

    def _is_of_a_run(self, kind: str, name: str) -> bool:
        match kind:
            case "queue":
                return False
            case "permissions" | "topicPermissions":
                return name == self.access.management.username
            case "policy" | "operatorPolicy":
                return name.startswith((PREFIX, SETTINGS_PREFIX))
            case _:
                return name.startswith(PREFIX)

    def _own_buffers(self) -> set[str]:
        """Return the buffers in this vhost that go with the stack's own upstreams."""
        return {
            link.buffer(self.access, one.topology.vhost)
            for one in self.every_link()
            if one.topology.federation_upstreams
            for link in federation.running_links(self.access, one.topology.vhost)
            if link.upstream in one.topology.federation_upstreams
            and links.vhost_here(self.access, link.uri, one.topology.vhost) == self.topology.vhost
        }

    def _others_error(self, others: Iterable[tuple[str, str]]) -> BrokerError:
        lines = "".join(f"\n  - {title(kind, name)}" for kind, name in others)
        return BrokerError(
            self.access.management.endpoint,
            f"refused, since vhost {self.topology.vhost} would be deleted with what the stack does "
            f"not manage:{lines}\nEither delete that, or move it to another vhost, then run again; "
            "or leave the vhost on the broker: set `on_delete: retain` in its `vhost_settings`, "
            "run `pulumi up`, and then this again",
        )


def check(vhosts: Sequence[Destruction]) -> None:
    """Raise, before anything is deleted, if any queue that would be destroyed is in use.

    Raises:
        RefusedError: It says which, over all vhosts of a stack.
        BrokerError: As `Destruction.in_use` does.
    """
    in_use = {
        name if len(vhosts) == 1 else f"{name} in vhost {one.topology.vhost}": held
        for one in vhosts
        for name, held in one.in_use().items()
    }
    if in_use:
        raise RefusedError(Reason.DESTROYED, in_use)
