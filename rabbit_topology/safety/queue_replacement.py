"""
Replacing a queue without losing a message, under live publishers and consumers.

A queue's type, durability and arguments cannot be changed: it has to be deleted and declared
anew. The engine does that in an order of its own: bindings, queue, queue, bindings. Around it:

1. Before the first binding goes, a *stand-in*, a fanout exchange, is bound to every source just
   as the queue is, and the queue to it. A message that takes both ways enters the queue once,
   since the broker routes it to each queue once: nothing arrives twice, nothing is missed.
2. Before the queue goes, one switch at the stand-in sends what is published into a *holding*
   queue instead. What the queue holds is moved into a *drained* queue, consumers finish what they
   have, and the queue is deleted when it is exactly empty.
3. As soon as the engine has deleted it as well, the new queue is declared, and where a client was
   faster and has declared the old one again, that is replaced in the same way. RabbitMQ 3.10 needs
   a second to tell consumers that a quorum queue is gone: for that time a classic queue has the
   name. When the engine comes to create the queue, it is there. Then the drained messages are
   moved into it, then the held ones, and shortly before the last of them the stand-in is switched
   to the new queue. The bindings are made, the stand-in and the helpers go. When the engine comes
   to create the bindings, they are there.

Every step can be done twice, and finds by the broker's own objects how far the last run came. From
just before the deletion on there is a *return* exchange: the next run then goes on, and not back.

A queue that is renamed goes the same way, and comes back under its new name. The engine creates
that one and deletes the old one at its end: before the creation, the old one is taken over.
Source: "Exchange to Exchange Bindings", "Dynamic Shovels", RabbitMQ documentation.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from rabbit_topology import interrupt
from rabbit_topology.broker.access import NEUTRAL
from rabbit_topology.broker.management import NotFoundError
from rabbit_topology.compiler.effective import Target
from rabbit_topology.errors import BrokerError
from rabbit_topology.messages import counting, delays, shovel
from rabbit_topology.messages.deletion import delete_empty
from rabbit_topology.messages.queue import STRATEGY, TARGET
from rabbit_topology.messages.state import QueueState
from rabbit_topology.model import PublishedByName, Queue, QueueType, Route
from rabbit_topology.safety import limits
from rabbit_topology.safety.obstacles import Obstacles
from rabbit_topology.safety.replacement import OTHERWISE, REDECLARED
from rabbit_topology.safety.restoration import (
    MEAN_BYTES,
    SAFE_MEMBERS,
    SETTINGS,
    SETTLE_SECONDS,
    TAKEN,
    TYPE,
    Restoration,
)

CANCEL_SECONDS = 1.0
"""How long RabbitMQ 3.10 may take to tell consumers that a quorum queue is gone. If another quorum
queue of that name is there earlier they are not told, and wait for messages that never come: in
45 of 45 tries where it was there at once, and on a busy machine once after 0.5 s. A classic queue
in its place does no harm: told in 20 of 20, within 40 ms. 4.0 and 4.3 tell within 10 ms."""

_TELLS_AT_ONCE = (4, 0)

_BETWEEN = Queue(type=QueueType.CLASSIC)
"""What has the name of a quorum queue for that time."""

_UNLIMITED_FROM = (4, 0)
"""From here on a quorum queue drops what is returned 20 times, unless it is told not to: a queue
that is full, or on a node that is down, returns what comes out of a helper at once."""


class Settings(Protocol):
    """The next settings of a queue that is replaced."""

    def check(self, name: str, new: Queue) -> None:
        """Raise if what applies to ``new`` would take messages from the queue."""

    def write(self, name: str, new: Queue) -> None:
        """Write them, so that they apply to ``new`` as soon as it is declared."""

    def release(self, name: str) -> None:
        """End what has kept the queue's former settings until it was deleted."""


@dataclass(frozen=True, kw_only=True)
class QueueReplacement(Restoration):
    """One queue's way from its old declaration to its new one."""

    new: Queue
    by_name: PublishedByName = PublishedByName.REFUSE
    """What to do when messages are published to the queue by its name."""
    settings: Settings | None = None
    """None: they are looked at and written elsewhere."""

    def check(self) -> None:
        """Look for what stands in the way, and touch nothing.

        Raises:
            BrokerError: The queue cannot be replaced without loss.
        """
        state = self.queue.state()
        if state is not None:
            with self.access.channel(self.vhost):
                pass  # without AMQP nothing can be moved
            self._check(state)

    def divert(self, route: Route, *, replaced: bool) -> None:
        """Bind the stand-in as ``route`` is, which is about to be unbound.

        Without ``replaced`` the queue stays, and the source of the route is replaced.
        """
        state = self.queue.state()
        if state is None:
            return  # nothing left to lead to
        self._begin(state, replaced=replaced)
        self.access.bind(
            self.vhost, route.source, "e", self.stand_in, route.routing_key, route.arguments
        )

    def take_over(self) -> None:
        """Empty the queue, holding whatever is published to it, and delete it.

        Raises:
            BrokerError: Something stands in the way; everything is then as it was.
            InterruptedRunError: The run was interrupted; likewise.
        """
        state = self.queue.state()
        if state is None:
            return
        old_type = state.type
        if old_type is QueueType.STREAM:
            # Once more: its bindings are gone only now.
            self._obstacles().check_empty_stream()
        self._begin(state)
        try:
            if self.settings:
                self.settings.write(self.name, self.new)
            self._declare_helpers(state)
            counting.wait(self.queue, self.report)
            self._hold()
            self._keep_given_up(state)
            self._obstacles().check_cut_off()
            self._drain(state)
        except BaseException:
            self.report(f"queue {self.name}: putting everything back")
            replace(self, successor="").restore()
            raise

    def declare(self) -> None:
        """Declare the queue, which was just deleted.

        What a client has declared under its name meanwhile is replaced as well.

        Raises:
            BrokerError: The broker cannot be asked, or refuses.
        """
        if self.settings:
            self.settings.release(self.name)
        self.access.delete_policy(self.vhost, self.given_up)
        if self.successor:
            self.access.declare("queues", self.vhost, self.successor, self.new.declaration())
            return
        if self._tells_late(self._noted().get(TYPE)):
            self._fill_in()
        for _ in range(REDECLARED):
            if self._declares(self.new):
                return
            state = self.queue.state()
            if state is None:
                continue
            self.report(
                f"queue {self.name}: is there as it was before, a client may have declared it "
                f"again ({self._clients(state)}); replacing that as well"
            )
            self._declare_helpers(state)
            self._hold()
            self._replace_redeclared(state)
        raise BrokerError(
            self.access.management.endpoint,
            f"queue {self.name}: clients declare it again, with other arguments, as often as it is "
            "deleted; stop them, or have them declare it as the config does, and run again",
        )

    def renew(self) -> None:
        """Declare the queue, if that is not done, and give back.

        Raises:
            BrokerError: The broker cannot be asked, or refuses.
        """
        self.declare()
        self._restore(young=self._exists("queues", self.kept))

    def complete(self) -> None:
        """Go on where a killed run has stopped, which had deleted the queue or was about to.

        Raises:
            BrokerError: The broker cannot be asked, or refuses.
        """
        self.declare()
        self._restore(young=False)

    def _declares(self, queue: Queue) -> bool:
        """Declare a queue under the name, and return whether none is there with other arguments."""
        try:
            self.access.declare("queues", self.vhost, self.name, queue.declaration())
        except BrokerError as error:
            if OTHERWISE in str(error):
                return False
            raise
        return True

    def _replace_redeclared(self, state: QueueState) -> None:
        if self._tells_late(state.type):
            self._drain(state, next_=_BETWEEN)
            self._fill_in()
        else:
            self._drain(state, next_=self.new)

    def _fill_in(self) -> None:
        """Declare a classic queue in its place until consumers know that the old one is gone.

        Clients cannot declare the old one again meanwhile, and all are told when this one goes.
        """
        if not self._declares(_BETWEEN):
            return  # a client was faster
        time.sleep(CANCEL_SECONDS - SETTLE_SECONDS)
        state = self.queue.state()
        if state is not None:
            self._drain(state, next_=self.new)

    def _tells_late(self, old: str | None) -> bool:
        """Return whether consumers may not learn that a queue of type ``old`` was deleted."""
        both = old == self.new.type == QueueType.QUORUM
        return both and self.access.management.version < _TELLS_AT_ONCE

    def _clients(self, state: QueueState) -> str:
        """Return which clients use a queue, as far as the broker's statistics tell by now."""
        try:
            listed = self.access.management.get(self.access.path("queues", self.vhost, self.name))
        except NotFoundError:
            listed = {}
        names = {
            consumer["channel_details"].get("connection_name")
            or consumer["channel_details"].get("name")
            for consumer in listed.get("consumer_details", ())
            if consumer.get("channel_details")
        }
        who = f"used by {', '.join(sorted(filter(None, names)))}" if names else "by whom is unknown"
        return f"as a {state.type.value} queue, {who}"

    def _helper_type(self, state: QueueState) -> QueueType:
        """Return the helpers' type: as safe as the safer of the two."""
        quorum = QueueType.QUORUM in (state.type, self.new.type)
        return QueueType.QUORUM if quorum else QueueType.CLASSIC

    def _helpers(self) -> list[str]:
        """Return the names of the queues that hold messages meanwhile."""
        helpers = [self.holding, self.drained]
        if self.new.type is QueueType.QUORUM:
            nodes = self.access.management.get("/nodes")
            helpers += [self.kept] if len(nodes) < SAFE_MEMBERS else []
        return helpers

    def _obstacles(self) -> Obstacles:
        return Obstacles(
            access=self.access,
            vhost=self.vhost,
            name=self.name,
            helpers=self._helpers(),
            patience=self.patience,
            report=self.report,
            by_name=self.by_name,
        )

    def _begin(self, state: QueueState, *, replaced: bool = True) -> None:
        """Make the stand-in, once, after all that can fail has been looked at."""
        self.access.lock(self.vhost)
        if self.has_stand_in():
            return
        if replaced:
            self._check(state)
        # Helpers have no statistics when they are needed, so the stand-in has what is known now.
        noted = {
            MEAN_BYTES: int(shovel.mean_bytes(self.access, self.vhost, self.name)),
            SETTINGS: json.dumps(limits.now(self.access, self.vhost, state)),
            TAKEN: self.queue.is_taken(),
            TYPE: state.type.value,
        }
        with self.access.channel(self.vhost) as channel:
            channel.exchange_declare(self.stand_in, "fanout", durable=True, arguments=noted)
            if not self.is_held():
                channel.queue_bind(self.name, self.stand_in)

    def _check(self, state: QueueState) -> None:
        obstacles = self._obstacles()
        obstacles.check(state, self._helper_type(state))
        if self.settings:
            self.settings.check(self.name, self.new)
        obstacles.check_last(state)

    def _sources(self) -> list[dict[str, Any]]:
        """Return the bindings of the queue, except that of the default exchange and our own."""
        return [
            binding
            for binding in self.access.bindings("queues", self.vhost, self.name)
            if binding["source"] not in ("", self.stand_in, self.returning)
        ]

    def _hold(self) -> None:
        """Lead publishers into the holding queue, in one step."""
        with self.access.rebinding:
            direct = self._sources()
            for binding in direct:
                self.access.copy_binding(self.vhost, binding, destination=("e", self.stand_in))
            # With the stand-in in all places, these are gone in one step, and it is the only way.
            for binding in direct:
                self.access.unbind(self.vhost, binding)
            with self.access.channel(self.vhost) as channel:
                # The one moment in which a message can enter both: between these two.
                channel.queue_bind(self.holding, self.stand_in)
                channel.queue_unbind(self.name, self.stand_in)
        self.report(f"queue {self.name}: what is published now is held in {self.holding}")

    def _drain(self, state: QueueState, *, next_: Queue | None = None) -> None:
        """Move and wait until the queue is exactly empty, then delete it at once.

        ``next_`` is declared in the same moment, before any client can.
        """
        kind, obstacles = state.type, self._obstacles()
        deadline, until = time.monotonic() + self.patience, delays.Deadline()

        def meanwhile() -> None:
            interrupt.check()
            obstacles.watch_delays(until)

        time.sleep(SETTLE_SECONDS)
        while True:
            try:
                empty = self.queue.wait_until_empty(
                    report=self.report,
                    patience=deadline - time.monotonic(),
                    meanwhile=meanwhile,
                )
            except TimeoutError:
                raise BrokerError(
                    self.access.management.endpoint,
                    f"queue {self.name}: its consumers still hold messages after "
                    f"{self.patience:.0f} s, or it cannot get rid of its dead letters "
                    f"({self._quick(self.name)}); everything was put back, run again when they "
                    "are done, or stop them",
                ) from None
            if empty:
                obstacles.check_dead_letters()
                with self.access.channel(self.vhost) as channel:
                    channel.exchange_declare(self.returning, "fanout", durable=True)
                if delete_empty(self.queue, kind, next_):
                    return
            self._lead_into_drained()
            self._move(self.name, self.drained, meanwhile=interrupt.check)

    def _keep_given_up(self, state: QueueState) -> None:
        """Lead to the drained queue what a quorum queue would drop at its delivery limit.

        It counts what is returned to it, and what was being moved is, if a node is killed.
        """
        if state.type is not QueueType.QUORUM:
            return
        applying = limits.now(self.access, self.vhost, state)
        if TARGET in applying or not self._gives_up(applying):
            return  # nothing is dropped
        target = Target(kind="queues", name=self.name, type=QueueType.QUORUM)
        definition = self.access.applied(self.vhost, target)
        # When the broker starts, the drained queue may be later than this one.
        safely = {STRATEGY: "at-least-once", "overflow": "reject-publish"}
        definition |= {TARGET: self.drained, **safely}
        self.access.override_policy(self.vhost, self.given_up, self.name, "queues", definition)

    def _gives_up(self, applying: Mapping[str, Any]) -> bool:
        """Return whether a quorum queue has a delivery limit, by what applies to it."""
        with_default = self.access.management.version >= _UNLIMITED_FROM
        if "delivery-limit" not in applying:
            return with_default
        return int(applying["delivery-limit"]) >= 0 or not with_default

    def _declare_helpers(self, state: QueueState) -> None:
        """Declare the queues that keep messages meanwhile, and let nothing into them too early."""
        kind = self._helper_type(state)
        self._obstacles().check_operator_policy(kind)
        helpers = [helper for helper in self._helpers() if not self._exists("queues", helper)]
        for helper in helpers:
            self._declare_helper(helper, state, kind)
        self._lead_into_drained()
        for helper in helpers[:1]:  # the others are as old
            self._wait_until_registered(helper)

    def _declare_helper(self, name: str, state: QueueState, kind: QueueType) -> None:
        """Declare a queue in which messages wait, which drops none and lets none expire.

        It has no time to live. What brings one of its own is dead-lettered as by the original; if
        that dead-letters nothing, to another helper, so that it comes back and expires no more.
        """
        quorum = kind is QueueType.QUORUM
        arguments: dict[str, Any] = {"x-queue-type": kind.value}
        if name != self.kept:
            kept = self.queue.lifetime(state)
            kept.pop("message-ttl", None)
            if not quorum:
                kept.pop(STRATEGY, None)
            elif STRATEGY in kept:
                arguments["x-overflow"] = "reject-publish"  # what "at least once" asks for
            if TARGET not in kept:
                kept = {TARGET: self.drained if name == self.holding else self.stand_in}
            arguments |= {f"x-{key}": value for key, value in kept.items()}
        if quorum and self.access.management.version >= _UNLIMITED_FROM:
            arguments["x-delivery-limit"] = -1
        self.access.override_policy(self.vhost, name, name, "queues", NEUTRAL)
        with self.access.channel(self.vhost) as channel:
            channel.queue_declare(name, durable=True, arguments=arguments)
