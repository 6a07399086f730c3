"""
What stands in the way of replacing a queue, looked for before anything is touched.

Source: "Policies", "Virtual Hosts" (limits), "Dead Letter Exchanges", RabbitMQ documentation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rabbit_topology.broker.access import LOCK_QUEUE, Access
from rabbit_topology.broker.totals import Count
from rabbit_topology.compiler.effective import Index, Target
from rabbit_topology.errors import BrokerError
from rabbit_topology.messages import delays, shovel, survey
from rabbit_topology.messages.queue import BrokerQueue
from rabbit_topology.messages.state import QueueState
from rabbit_topology.model import PublishedByName, QueueType

_STATISTICS_SECONDS = 6.0
"""One round of the broker's statistics and a little more. They show a rate for two."""

_ACCEPT = "rabbit-topology:safety.published_by_name: accept"
_BY_NAME = (
    "the broker confirms and discards those that are on their way when it deletes the queue. Stop "
    "these publishers while this runs, or have them publish through an exchange that is bound to "
    f"the queue, or accept the loss: {_ACCEPT}"
)

_DROPPING_KEYS = {"max-length", "max-length-bytes", "max-in-memory-length", "expires"}


@dataclass(frozen=True, kw_only=True)
class Obstacles:
    """What stands in the way of one queue's replacement.

    ``helpers`` are the queues that hold its messages meanwhile, ``patience`` is how many seconds
    its consumers are waited for.
    """

    access: Access
    vhost: str
    name: str
    helpers: Sequence[str]
    patience: float
    report: Callable[[str], None]
    by_name: PublishedByName

    @property
    def _queue(self) -> BrokerQueue:
        return BrokerQueue(self.access, self.vhost, self.name)

    def check(self, state: QueueState, kind: QueueType) -> None:
        """Look for all of them; the queue has this ``state``, and ``kind`` is its helpers' type.

        Raises:
            BrokerError: The queue cannot be replaced without loss.
        """
        shovel.check_available(self.access)
        self.check_operator_policy(kind)
        if state.type is QueueType.STREAM:
            self.check_empty_stream()
        self._check_room()
        self._check_space()
        self.check_dead_letters()

    def check_last(self, state: QueueState) -> None:
        """Look for what may take the broker some seconds to tell; as `check` does."""
        self._check_by_name()
        self._check_delays(self._queue.settled(state))

    def check_operator_policy(self, kind: QueueType) -> None:
        """Raise if an operator policy could take messages from a helper."""
        index = Index(self.access.live(self.vhost, operator=True), self.access.like)
        for helper in self.helpers:
            applying = index.applying(Target(kind="queues", name=helper, type=kind))
            applied = {key for policy in applying for key in index.definition(policy)}
            if limited := _DROPPING_KEYS & applied:
                raise self._error(
                    f"an operator policy applies to the queue {helper!r}, which is to hold "
                    f"messages of {self.name} meanwhile, and sets {', '.join(sorted(limited))}: "
                    "it could drop them; narrow its pattern and run again"
                )

    def check_empty_stream(self) -> None:
        """Raise if a stream holds messages."""
        held = self._queue.read()
        if held and not held.empty:
            raise self._error(
                f"stream {self.name} holds messages and cannot be replaced without losing them: "
                "reading a stream does not take its messages out. Declare the new one under "
                "another name; or, if what it holds may go, set `on_delete: discard` on it and run "
                "`pulumi up`, take it out of the config and run `pulumi up`, and then declare it "
                "as it is to be"
            )

    def check_dead_letters(self) -> None:
        """Raise if another queue could dead-letter to this one by its name.

        That is no publishing that the broker's statistics know of.
        """
        if self.by_name is PublishedByName.ACCEPT:
            return
        for sender, key in survey.dead_lettering(self.access, self.vhost, ""):
            # Its own come round in a cycle, which the broker ends in the queue as in a helper.
            ours = sender in (self.name, *self.helpers)
            if not ours and key in (None, self.name):
                raise self._error(
                    f"queue {self.name} cannot be replaced without loss while queue {sender}, which"
                    " is in use, dead-letters to it by its name, through the default exchange: the "
                    "broker drops what comes while it is away. Have it dead-letter to an exchange "
                    "that is bound to the queue, or let it become empty and unused, or accept the "
                    f"loss: {_ACCEPT}"
                )

    def check_cut_off(self) -> None:
        """Raise if messages still come to a queue whose bindings lead elsewhere.

        Looked at only where somebody publishes to some queue of the vhost by its name: nothing
        else can reach it now, and the statistics take their time.
        """
        if self.by_name is PublishedByName.ACCEPT or not survey.published_by_name(
            self.access, self.vhost
        ):
            return
        if not self._queue.published()[1]:
            return
        self.report(f"queue {self.name}: looking whether it is published to by its name")
        counts = []
        for _ in range(2):
            time.sleep(_STATISTICS_SECONDS)
            counts.append(self._queue.published()[0])
        if counts[1] > counts[0]:
            raise self._published_by_name((counts[1] - counts[0]) / _STATISTICS_SECONDS)

    def watch_delays(self, until: delays.Deadline) -> None:
        """Raise, while traffic is held, once the queue delays messages that will not come soon."""
        count = self._queue.delaying()
        if not count:
            return
        said = delays.refusal(self.name, count, self.patience)
        if said or until.passed(count):
            raise self._error(
                said
                or f"queue {self.name}: {count.delayed:,} messages are delayed again and again, as "
                "consumers give them back; everything was put back. Run again when consumers take "
                "what they get, or stop them meanwhile"
            )

    def _check_room(self) -> None:
        """Raise if the vhost's limit leaves no room for the helpers, and for the lock."""
        limit = self.access.queue_limit(self.vhost)
        if limit is None:
            return
        names = survey.names(self.access, self.vhost, exclusive=True)
        needed = len({*names, *self.helpers, LOCK_QUEUE})
        if needed > limit:
            raise self._error(
                f"queue {self.name} cannot be replaced: {len(self.helpers)} more queues hold its "
                f"messages meanwhile, and the vhost takes {limit:,} (its limit max-queues): raise "
                f"it to {needed:,} or more, and run again"
            )

    def _check_space(self) -> None:
        """Raise if a copy of what the queue holds does not fit on its node's disk."""
        listed = self.access.management.get(self.access.path("queues", self.vhost, self.name))
        held, node = listed.get("message_bytes") or 0, listed.get("node") or listed.get("leader")
        for one in self.access.management.get("/nodes"):
            free, limit = one.get("disk_free"), one.get("disk_free_limit")
            if one["name"] != node or not isinstance(free, int) or not isinstance(limit, int):
                continue
            if free - limit < held:
                raise self._error(
                    f"queue {self.name} cannot be replaced: it holds {held / 1e6:,.0f} MB, which "
                    f"are moved, and {node} has {free / 1e6:,.0f} MB of disk left, of which it "
                    f"keeps {limit / 1e6:,.0f} MB free"
                )

    def _check_delays(self, count: Count | None) -> None:
        """Raise if the queue delays messages for longer than consumers are waited for."""
        said = count and delays.refusal(self.name, count, self.patience)
        if said:
            raise self._error(said)
        if count and count.delayed:
            self.report(
                f"queue {self.name}: delays {count.delayed:,} messages, which are waited for: up "
                f"to {delays.longest_wait(count):,.0f} s"
            )

    def _check_by_name(self) -> None:
        """Raise if messages come to a queue that has no bindings; wait for old rates to fade."""
        bindings = self.access.bindings("queues", self.vhost, self.name)
        if self.by_name is PublishedByName.ACCEPT or any(binding["source"] for binding in bindings):
            return
        deadline = time.monotonic() + 4 * _STATISTICS_SECONDS
        while rate := self._queue.published()[1]:
            if time.monotonic() > deadline:
                raise self._published_by_name(rate)
            time.sleep(0.5)

    def _published_by_name(self, rate: float) -> BrokerError:
        return self._error(
            f"queue {self.name} cannot be replaced without loss while {rate:,.1f} messages/s are "
            f"published to it by its name, through the default exchange; {_BY_NAME}"
        )

    def _error(self, said: str) -> BrokerError:
        return BrokerError(self.access.management.endpoint, said)
