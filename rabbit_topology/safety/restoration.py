"""
Leading everything back into a queue: the second half of its replacement, all of it after a kill.

What stands in for the queue, and where its messages wait, has names that follow from the queue's
own, so that the next run knows them. Every step can be done twice.
Source: "Exchange to Exchange Bindings", "Dynamic Shovels", RabbitMQ documentation.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any

from rabbit_topology.broker.access import Access
from rabbit_topology.broker.management import NotFoundError
from rabbit_topology.compiler.names import own_name
from rabbit_topology.errors import BrokerError
from rabbit_topology.messages import shovel
from rabbit_topology.messages.contents import Contents
from rabbit_topology.messages.deletion import delete_if_empty
from rabbit_topology.messages.inflow import Inflow
from rabbit_topology.messages.queue import BrokerQueue
from rabbit_topology.messages.state import QueueState
from rabbit_topology.model import QueueType
from rabbit_topology.safety import limits
from rabbit_topology.safety.replacement import ROUTED_SECONDS, Way, way_of

PATIENCE_SECONDS = 900.0
"""How long consumers may take to finish what they hold, before everything is put back."""

SETTLE_SECONDS = 0.3
"""How long messages that were routed before a switch may still be on their way to a queue."""

SWITCH_AT = 20
"""With so many messages left in the holding queue, publishers are switched to the new queue.
What is published then overtakes these few: nowhere else does the order change."""

_REGISTERED_SECONDS = 2.0
"""A node that is killed forgets a quorum queue that it has just got, with all its messages: the
list of them reaches the disk when it has not changed for half a second, looked at as often."""

SAFE_MEMBERS = 3
"""With so many, the other two remember a queue that a killed node forgets."""

_SHOVEL_ENDS_SECONDS = 5.0

MEAN_BYTES = "rabbit-topology-mean-bytes"
SETTINGS = "rabbit-topology-settings"
TAKEN = "rabbit-topology-taken"
TYPE = "rabbit-topology-type"
"""What the stand-in knows about the queue as it was, in its arguments."""


@dataclass(frozen=True, kw_only=True)
class Restoration:
    """One queue's way back."""

    access: Access
    vhost: str
    name: str
    report: Callable[[str], None]
    patience: float = PATIENCE_SECONDS
    """Seconds."""
    successor: str = ""
    """The queue that it comes back into where it is renamed; none: itself."""

    @property
    def queue(self) -> BrokerQueue:
        """The queue itself."""
        return self._other(self.name)

    @property
    def destination(self) -> str:
        """The name of the queue that everything comes back into."""
        return self.successor or self.name

    def _other(self, name: str) -> BrokerQueue:
        return BrokerQueue(self.access, self.vhost, name)

    @property
    def stand_in(self) -> str:
        """The fanout exchange that takes the queue's place at its sources."""
        return own_name("stand-in", self.name)

    @property
    def holding(self) -> str:
        """The queue that takes what is published while the queue is away."""
        return own_name("holding", self.name)

    @property
    def drained(self) -> str:
        """The queue, and the exchange to it, that takes what the queue held before."""
        return own_name("drained", self.name)

    @property
    def kept(self) -> str:
        """The queue with copies of what the new queue gets while a node could forget that."""
        return own_name("kept", self.name)

    @property
    def given_up(self) -> str:
        """The policy that leads to the drained queue what the queue would drop meanwhile."""
        return own_name("given-up", self.name)

    @property
    def returning(self) -> str:
        """The exchange through which everything comes back into the queue."""
        return own_name("return", self.name)

    def has_stand_in(self) -> bool:
        """Return whether a stand-in is there: a replacement was begun and not finished."""
        return self._exists("exchanges", self.stand_in)

    def is_held(self) -> bool:
        """Return whether publishers are, or were about to be, led into the holding queue."""
        return self._exists("queues", self.holding)

    def is_gone(self) -> bool:
        """Return whether the old queue was deleted, or was about to be."""
        return self._exists("exchanges", self.returning)

    def is_renamed(self, successor: str) -> bool:
        """Return whether what it held comes back under another name: it is gone, or that began."""
        return not self._exists("queues", self.name) or successor in self.returned_to()

    def returned_to(self) -> set[str]:
        """Return the queues that what it held comes back into, once that has begun."""
        bindings = self.access.bindings("exchanges", self.vhost, self.returning, "source")
        return {binding["destination"] for binding in bindings} - {self.kept}

    def former_settings(self) -> dict[str, Any]:
        """Return what applied to the queue before all this began, by the keys of policies."""
        settings: dict[str, Any] = json.loads(self._noted().get(SETTINGS, "{}"))
        return settings

    def restore(self) -> None:
        """Lead everything into the queue again, which exists, and remove what helped."""
        self._restore(young=False)

    def rescue(self) -> None:
        """Lead copies to what is to come back: a node has forgotten the queue that had these.

        To be called before another one is declared: killed again, the next run does the same.
        """
        if not self._exists("queues", self.kept):
            return
        shovel.stop_leftover(self.access, self.vhost, self.kept)
        self._lead_into_drained()
        while not delete_if_empty(self._other(self.kept)):
            self._move(self.kept, self.drained)

    def _restore(self, *, young: bool) -> None:
        if not self.has_stand_in():
            return
        self._drop_again()
        if self.is_held() and not young:
            self._wait_until_registered(self.destination)
            self.access.request_if_there("DELETE", "queues", self.vhost, self.kept)
        shovel.stop_leftover(self.access, self.vhost, self.name)
        with self.access.channel(self.vhost) as channel:
            channel.exchange_declare(self.returning, "fanout", durable=True)
            channel.queue_bind(self.destination, self.returning)
        with self._copying(young=young) as end_copies:
            self._return_all(end_copies)
        with ThreadPoolExecutor() as threads:  # each may wait for the broker's statistics
            jobs = [
                threads.submit(copy_context().run, self._delete_emptied, queue)
                for queue in (self.drained, self.holding)
            ]
            for job in jobs:
                job.result()
        self._remove_helpers()

    def _return_all(self, end_copies: Callable[[bool], None]) -> None:
        """Move everything back, and lead publishers to the queue near the end."""
        meanwhile = partial(end_copies, False)
        if self._exists("queues", self.drained):
            self._moving_back(self.drained, meanwhile).run()
        if self.is_held():
            with self._moving_back(self.holding, meanwhile).going_on() as wait_until_left:
                wait_until_left(SWITCH_AT)
                end_copies(True)
                wait_until_left(SWITCH_AT)
                self._switch_back()
                time.sleep(SETTLE_SECONDS)
                wait_until_left(0)
                time.sleep(SETTLE_SECONDS)  # for what is between the two queues
        end_copies(True)
        self._switch_back()

    @contextmanager
    def _copying(self, *, young: bool) -> Iterator[Callable[[bool], None]]:
        """Keep copies of what comes back into a queue that a killed node would forget.

        Yields a function that ends it once that is over, if need be waiting for it.
        """
        if not young:
            yield lambda _wait: None
            return
        with self.access.channel(self.vhost) as channel:
            channel.queue_bind(self.kept, self.returning)
        ends, ended = time.monotonic() + _REGISTERED_SECONDS, False

        def end(wait: bool) -> None:
            nonlocal ended
            if ended or (not wait and time.monotonic() < ends):
                return
            time.sleep(max(0.0, ends - time.monotonic()))
            with self.access.channel(self.vhost) as channel:
                channel.queue_unbind(self.kept, self.returning)
                channel.queue_delete(self.kept)
            ended = True

        yield end

    def _moving_back(self, source: str, meanwhile: Callable[[], None]) -> shovel.Move:
        queue = self._other(self.destination)
        state = queue.state() or QueueState({"name": self.destination})
        applying = limits.now(self.access, self.vhost, state)
        if state.type is QueueType.STREAM:
            applying = {}  # what it keeps for how long has nothing to do with consumers
        noted = self._noted()
        if not noted.get(TAKEN, True):
            applying = {}  # nobody has taken anything: its limits do what they would have done
        mean = float(noted.get(MEAN_BYTES, 0))
        inflow = Inflow(
            limits=applying,
            ready=queue.ready,
            consumers=queue.consumers,
            mean_bytes=lambda: mean or shovel.mean_bytes(self.access, self.vhost, source),
        )
        return shovel.Move(
            access=self.access,
            vhost=self.vhost,
            source=source,
            exchange=self.returning,
            what=f"back into queue {self.destination}",
            report=self.report,
            patience=self.patience,
            mean_bytes=mean,
            inflow=inflow if inflow.bounded else None,
            meanwhile=meanwhile,
        )

    def _noted(self) -> Mapping[str, Any]:
        """Return what was noted about the queue before all this began."""
        try:
            stand_in = self.access.management.get(
                self.access.path("exchanges", self.vhost, self.stand_in)
            )
        except NotFoundError:
            return {}
        arguments: Mapping[str, Any] = stand_in["arguments"]
        return arguments

    def _switch_back(self) -> None:
        with self.access.rebinding:
            with self.access.channel(self.vhost) as channel:
                channel.queue_bind(self.destination, self.stand_in)
                channel.queue_unbind(self.holding, self.stand_in)
            self._bind_again()

    def _bind_again(self) -> set[Way]:
        """Bind the queue as its stand-in is; return the bindings of that."""
        bindings = self.access.bindings("exchanges", self.vhost, self.stand_in, "destination")
        for binding in bindings:
            self.access.copy_binding(self.vhost, binding, destination=("q", self.destination))
        return {way_of(binding) for binding in bindings}

    def _drop_again(self) -> None:
        """End what `_keep_given_up` began, once all that it kept is in the drained queue."""
        if not any(one["name"] == self.given_up for one in self.access.policies(self.vhost)):
            return
        deadline = time.monotonic() + self.patience
        while (held := self.queue.read()) and held.dead_letters:
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        self.access.delete_policy(self.vhost, self.given_up)

    def _delete_emptied(self, queue: str) -> None:
        deadline = time.monotonic() + _SHOVEL_ENDS_SECONDS
        while self._quick(queue).consumers and time.monotonic() < deadline:
            time.sleep(0.02)  # its shovel, on the way out
        deadline = time.monotonic() + self.patience
        while not delete_if_empty(self._other(queue)):
            self._moving_back(queue, lambda: None).run()
            if time.monotonic() > deadline:
                raise BrokerError(
                    self.access.management.endpoint,
                    f"queue {queue} cannot be emptied ({self._quick(queue)}): it holds messages of "
                    f"queue {self.name}, and the next update goes on with them",
                )

    def _remove_helpers(self) -> None:
        for queue in (self.drained, self.holding, self.kept):
            self.access.delete_policy(self.vhost, queue)
        self.access.request_if_there("DELETE", "queues", self.vhost, self.kept)
        before: set[Way] | None = None
        while True:
            with self.access.rebinding, self.access.channel(self.vhost) as channel:
                ways = self._bind_again()  # another replacement may have bound it meanwhile
                if ways == before:
                    # The stand-in last: as long as it is there, a next run knows what is left.
                    for exchange in (self.drained, self.returning, self.stand_in):
                        channel.exchange_delete(exchange)
                    return
            before = ways
            time.sleep(ROUTED_SECONDS)

    def _wait_until_registered(self, queue: str) -> None:
        """Let nothing into a quorum queue before its only node has it on disk."""
        state = self._other(queue).state()
        # With three members, the other two remember.
        if state and 0 < len(state.members) < SAFE_MEMBERS:
            time.sleep(_REGISTERED_SECONDS)

    def _lead_into_drained(self) -> None:
        with self.access.channel(self.vhost) as channel:
            channel.exchange_declare(self.drained, "fanout", durable=True)
            channel.queue_bind(self.drained, self.drained)

    def _quick(self, queue: str) -> Contents:
        held = self._other(queue).quick()
        return held or Contents(kind=QueueType.CLASSIC, ready=0, unacknowledged=0, consumers=0)

    def _move(
        self, source: str, exchange: str, meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        shovel.Move(
            access=self.access,
            vhost=self.vhost,
            source=source,
            exchange=exchange,
            what=f"{'out of' if source == self.name else 'for'} queue {self.name}",
            report=self.report,
            patience=self.patience,
            meanwhile=meanwhile,
        ).run()

    def _exists(self, kind: str, name: str) -> bool:
        return self.access.exists(kind, self.vhost, name)
