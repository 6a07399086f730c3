"""
Whether a queue may be deleted: only if that loses no message, and deleted in the same step.

Source: "Queues", RabbitMQ documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from threading import Lock

from rabbit_topology.broker.access import Access
from rabbit_topology.errors import TopologyError
from rabbit_topology.messages import deletion, survey
from rabbit_topology.messages.contents import Contents
from rabbit_topology.messages.queue import BrokerQueue
from rabbit_topology.model import Topology
from rabbit_topology.safety import link_guard
from rabbit_topology.safety.links import Source
from rabbit_topology.safety.run import Run

_WAYS_ON = (
    "Either let its consumers empty it and stop them, then run again; or have it deleted with all "
    "it holds: set `on_delete: discard` on it, run `pulumi up`, and then remove it; or leave it on "
    "the broker with `on_delete: retain` in the same way"
)


class Reason(Enum):
    """Why the engine is about to delete a resource."""

    REPLACED = "it is replaced"
    DESTROYED = "the stack is being destroyed"
    REMOVED = "it is no longer in the config"


_WAYS_ON_FROM = {
    Reason.REMOVED: _WAYS_ON,
    Reason.DESTROYED: f"{_WAYS_ON}. What `--target` names is not known here: to delete only that, "
    "take it out of the config and run `pulumi up`",
    Reason.REPLACED: "Either let consumers empty its queues and stop them, then run again; or do "
    "not have it replaced: run without `--replace`, or take the mark away with `pulumi state "
    "untaint`",
}


class RefusedError(TopologyError):
    """A deletion would lose messages. ``queues`` holds what each of the queues holds."""

    def __init__(
        self, reason: Reason, queues: Mapping[str, Contents], what: str | None = None
    ) -> None:
        """Say why: ``what`` goes with all its queues, by default a queue itself."""
        self.queues = dict(queues)
        lines = "".join(f"\n  - queue {name} holds {held}" for name, held in queues.items())
        super().__init__(
            f"refused, since messages would be lost: {what or reason.value}{lines}\n"
            f"{_WAYS_ON_FROM[reason]}"
        )


@dataclass(frozen=True, kw_only=True)
class Deletions:
    """Decides for the queues of one vhost, each of its own."""

    access: Access
    topology: Topology
    run: Run
    leaving: Callable[[], Iterable[Source]]
    """What shovels take from that this run deletes."""
    _expected: set[str] = field(default_factory=set)
    """The vhost, once it was said which queues may leave."""
    _lock: Lock = field(default_factory=Lock)

    def check(self, name: str, reason: Reason, *, keep: bool = False) -> None:
        """Raise if a queue cannot be deleted without loss; unless ``keep``, delete it now.

        Deleted here and not by the provider, so that test and deletion are one step. In a preview
        it is said what an update would be refused for.

        Raises:
            RefusedError: It holds messages, or has consumers.
            BrokerError: The broker cannot be asked.
        """
        if self.run.is_preview:
            if name not in self.topology.successors:  # else it is taken over before
                self.run.judge(self._foresee, name, reason)
            return
        vhost = self.topology.vhost
        link_guard.wait_until_let_go(self.access, vhost, name, self.leaving())
        self._expect()
        queue = BrokerQueue(self.access, vhost, name)
        held = queue.read()
        if held is None:
            return
        if held.in_use or not (keep or deletion.delete_empty(queue, held.kind)):
            raise RefusedError(reason, {name: held})

    def _foresee(self, name: str, reason: Reason) -> None:
        self._expect()
        vhost = self.topology.vhost
        held = BrokerQueue(self.access, vhost, name).read()
        if held is None:
            return
        by_others = link_guard.without_readers(self.access, vhost, {name: held}, self.leaving())
        if by_others[name].in_use:
            raise TopologyError(
                f"would lose {by_others[name].messages:,} messages in queue {name} "
                f"({by_others[name]}): {reason.value}"
            )

    def _expect(self) -> None:
        """Wait for the statistics of all queues that may leave in this run together."""
        vhost, declared = self.topology.vhost, self.topology.queues
        with self._lock:
            if vhost not in self._expected:
                self._expected.add(vhost)
                survey.expect(self.access, vhost, lambda name: name not in declared)
