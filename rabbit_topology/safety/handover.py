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
   faster and has declared the old one again, that is replaced in the same way. When the engine
   comes to create the queue, it is there. Then the drained messages are moved into it, then the
   held ones, and shortly before the last of them the stand-in is switched to the new queue. The
   bindings are made, the stand-in and the helpers go. When the engine comes to create the
   bindings, they are there.

Every step can be done twice, and finds by the broker's own objects how far the last run came. From
just before the deletion on there is a *return* exchange: the next run then goes on, and not back.
Source: "Exchange to Exchange Bindings", "Dynamic Shovels", RabbitMQ documentation.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol
from urllib.parse import quote

from rabbit_topology import interrupt
from rabbit_topology.broker.access import LOCK_QUEUE, NEUTRAL, Access
from rabbit_topology.broker.management import NotFoundError
from rabbit_topology.compiler.effective import Target
from rabbit_topology.compiler.names import PREFIX, own_name
from rabbit_topology.errors import BrokerError
from rabbit_topology.messages import contents, counting, delays, shovel
from rabbit_topology.messages.deletion import delete_empty, delete_if_empty
from rabbit_topology.messages.inflow import Inflow
from rabbit_topology.model import ByName, Queue, QueueType, Route
from rabbit_topology.safety import limits
from rabbit_topology.safety.obstacles import Obstacles

PATIENCE_SECONDS = 900.0
"""How long consumers may take to finish what they hold, before everything is put back."""

SETTLE_SECONDS = 0.3
"""How long messages that were routed before a switch may still be on their way to a queue."""

SWITCH_AT = 20
"""With so many messages left in the holding queue, publishers are switched to the new queue.
What is published then overtakes these few: nowhere else does the order change."""

CANCEL_SECONDS = 1.0
"""How long RabbitMQ 3.10 may take to tell consumers that a quorum queue is gone. If another quorum
queue of that name is there earlier they are not told, and wait for messages that never come: in
45 of 45 tries where it was there at once, and on a busy machine once after 0.5 s. A classic queue
in its place does no harm: told in 20 of 20, within 40 ms. 4.0 and 4.3 tell within 10 ms."""

_TELLS_AT_ONCE = (4, 0)

_BETWEEN = Queue(type=QueueType.CLASSIC)
"""What has the name of a quorum queue for that time."""

_REGISTERED_SECONDS = 2.0
"""A node that is killed forgets a quorum queue that it has just got, with all its messages: the
list of them reaches the disk when it has not changed for half a second, looked at as often."""

_SAFE_MEMBERS = 3

_SHOVEL_ENDS_SECONDS = 5.0

REDECLARED = 20
"""So often is a queue or exchange replaced again that a client has declared when it was deleted."""

_UNLIMITED_FROM = (4, 0)
"""From here on a quorum queue drops what is returned 20 times, unless it is told not to: a queue
that is full, or on a node that is down, returns what comes out of a helper at once."""

_MEAN_BYTES = "rabbit-topology-mean-bytes"
_SETTINGS = "rabbit-topology-settings"
_TAKEN = "rabbit-topology-taken"
_TYPE = "rabbit-topology-type"
"""What the stand-in knows about the queue as it was, in its arguments."""

OTHERWISE = "inequivalent arg"
"""What the broker says of a queue or exchange that is there, and declared otherwise."""


class Settings(Protocol):
    """The next settings of a queue that is replaced."""

    def check(self, name: str, new: Queue) -> None:
        """Raise if what applies to ``new`` would take messages from the queue."""

    def write(self, name: str, new: Queue) -> None:
        """Have them apply to ``new`` as soon as it is declared."""


@dataclass(frozen=True, kw_only=True)
class Handover:
    """One queue's way from its old declaration to its new one."""

    access: Access
    vhost: str
    name: str
    report: Callable[[str], None]
    by_name: ByName = ByName.REFUSE
    """What to do when messages are published to the queue by its name."""
    settings: Settings | None = None
    """None: they are looked at and written elsewhere."""

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

    def check(self, new: Queue) -> None:
        """Look for what stands in the way, and touch nothing.

        Raises:
            BrokerError: The queue cannot be replaced by ``new`` without loss.
        """
        described = contents.describe(self.access, self.vhost, self.name)
        if described is not None:
            with self.access.channel(self.vhost):
                pass  # without AMQP nothing can be moved
            self._check(described, new)

    def shadow(self, route: Route, new: Queue | None) -> None:
        """Give ``route``, which is about to be unbound, a second way into the queue.

        ``new`` is what replaces the queue; None if it stays, and its source is replaced.
        """
        described = contents.describe(self.access, self.vhost, self.name)
        if described is None:
            return  # nothing left to lead to
        self._begin(described, new)
        self.access.bind(
            self.vhost, route.source, "e", self.stand_in, route.routing_key, route.arguments
        )

    def take_over(self, new: Queue) -> None:
        """Empty the queue, holding whatever is published to it, and delete it.

        Raises:
            BrokerError: Something stands in the way; everything is then as it was.
            InterruptedRunError: The run was interrupted; likewise.
        """
        described = contents.describe(self.access, self.vhost, self.name)
        if described is None:
            return
        old_type = contents.queue_type(described)
        if old_type is QueueType.STREAM:
            # Once more: its bindings are gone only now.
            self._obstacles(new).check_empty_stream()
        self._begin(described, new)
        try:
            if self.settings:
                self.settings.write(self.name, new)
            self._declare_helpers(described, new)
            counting.wait(self.access, self.vhost, self.name, self.report)
            self._hold()
            self._keep_given_up(described)
            self._obstacles(new).check_cut_off()
            self._drain(described, new)
        except BaseException:
            self.report(f"queue {self.name}: putting everything back")
            self.give_back()
            raise

    def declare(self, new: Queue) -> None:
        """Declare the queue, which was just deleted.

        What a client has declared under its name meanwhile is replaced as well.

        Raises:
            BrokerError: The broker cannot be asked, or refuses.
        """
        self.access.delete_policy(self.vhost, self.given_up)
        if self._tells_late(self._noted().get(_TYPE), new):
            self._fill_in(new)
        for _ in range(REDECLARED):
            if self._declares(new):
                return
            described = contents.describe(self.access, self.vhost, self.name)
            if described is None:
                continue
            self.report(
                f"queue {self.name}: is there as it was before, a client may have declared it "
                f"again ({self._clients(described)}); replacing that as well"
            )
            self._declare_helpers(described, new)
            self._hold()
            self._replace_redeclared(described, new)
        raise BrokerError(
            self.access.management.endpoint,
            f"queue {self.name}: clients declare it again, with other arguments, as often as it is "
            "deleted; stop them, or have them declare it as the config does, and run again",
        )

    def renew(self, new: Queue) -> None:
        """Declare the queue, if that is not done, and give back.

        Raises:
            BrokerError: The broker cannot be asked, or refuses.
        """
        self.declare(new)
        self._give_back(young=self._exists("queues", self.kept))

    def give_back(self) -> None:
        """Lead everything into the queue again, which exists, and remove what helped."""
        self._give_back(young=False)

    def complete(self, new: Queue) -> None:
        """Go on where a killed run has stopped, which had deleted the queue or was about to.

        Raises:
            BrokerError: The broker cannot be asked, or refuses.
        """
        self.declare(new)
        self._give_back(young=False)

    def rescue(self) -> None:
        """Lead copies to what is to come back: a node has forgotten the queue that had these.

        To be called before another one is declared: killed again, the next run does the same.
        """
        if not self._exists("queues", self.kept):
            return
        shovel.stop_leftover(self.access, self.vhost, self.kept)
        self._lead_into_drained()
        while not delete_if_empty(self.access, self.vhost, self.kept):
            self._move(self.kept, self.drained)

    def former_settings(self) -> dict[str, Any]:
        """Return what applied to the queue before all this began, by the keys of policies."""
        settings: dict[str, Any] = json.loads(self._noted().get(_SETTINGS, "{}"))
        return settings

    def is_shadowed(self) -> bool:
        """Tell whether a stand-in is there: a handover was begun and not finished."""
        return self._exists("exchanges", self.stand_in)

    def is_held(self) -> bool:
        """Tell whether publishers are, or were about to be, led into the holding queue."""
        return self._exists("queues", self.holding)

    def is_gone(self) -> bool:
        """Tell whether the old queue was deleted, or was about to be."""
        return self._exists("exchanges", self.returning)

    def _declares(self, queue: Queue) -> bool:
        """Declare a queue under the name, and return whether none is there with other arguments."""
        try:
            self.access.declare("queues", self.vhost, self.name, queue.declaration())
        except BrokerError as error:
            if OTHERWISE in str(error):
                return False
            raise
        return True

    def _replace_redeclared(self, described: dict[str, Any], new: Queue) -> None:
        if self._tells_late(contents.queue_type(described), new):
            self._drain(described, new, next_=_BETWEEN)
            self._fill_in(new)
        else:
            self._drain(described, new, next_=new)

    def _fill_in(self, new: Queue) -> None:
        """Have a classic queue in the place until consumers know that the old one is gone.

        Clients cannot declare the old one again meanwhile, and all are told when this one goes.
        """
        if not self._declares(_BETWEEN):
            return  # a client was faster
        time.sleep(CANCEL_SECONDS - SETTLE_SECONDS)
        described = contents.describe(self.access, self.vhost, self.name)
        if described is not None:
            self._drain(described, new, next_=new)

    def _tells_late(self, old: str | None, new: Queue) -> bool:
        """Return whether consumers may not learn that a queue was deleted, if ``new`` follows."""
        both = old == new.type == QueueType.QUORUM
        return both and self.access.management.version < _TELLS_AT_ONCE

    def _clients(self, described: Mapping[str, Any]) -> str:
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
        return f"as a {contents.queue_type(described).value} queue, {who}"

    def _give_back(self, *, young: bool) -> None:
        if not self.is_shadowed():
            return
        self._drop_again()
        if self.is_held() and not young:
            self._wait_until_registered(self.name)
            self.access.request_if_there("DELETE", "queues", self.vhost, self.kept)
        shovel.stop_leftover(self.access, self.vhost, self.name)
        with self.access.channel(self.vhost) as channel:
            channel.exchange_declare(self.returning, "fanout", durable=True)
            channel.queue_bind(self.name, self.returning)
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
        described = contents.describe(self.access, self.vhost, self.name) or {"name": self.name}
        applying = limits.now(self.access, self.vhost, {"arguments": {}, **described})
        if contents.queue_type(described) is QueueType.STREAM:
            applying = {}  # what it keeps for how long has nothing to do with consumers
        noted = self._noted()
        if not noted.get(_TAKEN, True):
            applying = {}  # nobody has taken anything: its limits do what they would have done
        mean = float(noted.get(_MEAN_BYTES, 0))
        inflow = Inflow(
            limits=applying,
            ready=partial(contents.ready, self.access, self.vhost, self.name),
            consumers=partial(contents.consumers, self.access, self.vhost, self.name),
            mean_bytes=lambda: mean or shovel.mean_bytes(self.access, self.vhost, source),
        )
        return shovel.Move(
            access=self.access,
            vhost=self.vhost,
            source=source,
            exchange=self.returning,
            what=f"back into queue {self.name}",
            report=self.report,
            patience=PATIENCE_SECONDS,
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
                channel.queue_bind(self.name, self.stand_in)
                channel.queue_unbind(self.holding, self.stand_in)
            self._bind_again()

    def _bind_again(self) -> None:
        for binding in self.access.bindings("exchanges", self.vhost, self.stand_in, "destination"):
            self.access.copy_binding(self.vhost, binding, destination=("q", self.name))

    @staticmethod
    def _helper_type(described: Mapping[str, Any], new: Queue) -> QueueType:
        """Return the helpers' type: as safe as the safer of the two."""
        quorum = QueueType.QUORUM in (contents.queue_type(described), new.type)
        return QueueType.QUORUM if quorum else QueueType.CLASSIC

    def _helpers(self, new: Queue) -> list[str]:
        """Return the names of the queues that hold messages meanwhile."""
        helpers = [self.holding, self.drained]
        if new.type is QueueType.QUORUM:
            # With three members, the other two remember a queue that a killed node forgets.
            nodes = self.access.management.get("/nodes")
            helpers += [self.kept] if len(nodes) < _SAFE_MEMBERS else []
        return helpers

    def _obstacles(self, new: Queue) -> Obstacles:
        return Obstacles(
            access=self.access,
            vhost=self.vhost,
            name=self.name,
            helpers=self._helpers(new),
            patience=PATIENCE_SECONDS,
            report=self.report,
            by_name=self.by_name,
        )

    def _begin(self, described: dict[str, Any], new: Queue | None) -> None:
        """Make the stand-in, once, after all that can fail has been looked at."""
        self.access.lock(self.vhost)
        if self.is_shadowed():
            return
        if new is not None:
            self._check(described, new)
        # Helpers have no statistics when they are needed, so the stand-in has what is known now.
        noted = {
            _MEAN_BYTES: int(shovel.mean_bytes(self.access, self.vhost, self.name)),
            _SETTINGS: json.dumps(limits.now(self.access, self.vhost, described)),
            _TAKEN: contents.is_taken(self.access, self.vhost, self.name),
            _TYPE: contents.queue_type(described).value,
        }
        with self.access.channel(self.vhost) as channel:
            channel.exchange_declare(self.stand_in, "fanout", durable=True, arguments=noted)
            if not self.is_held():
                channel.queue_bind(self.name, self.stand_in)

    def _check(self, described: dict[str, Any], new: Queue) -> None:
        obstacles = self._obstacles(new)
        obstacles.check(described, self._helper_type(described, new))
        if self.settings:
            self.settings.check(self.name, new)
        obstacles.check_last(described)

    def _sources(self) -> list[dict[str, Any]]:
        """Return the bindings of the queue, but those that every queue has and our own."""
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

    def _drain(self, described: dict[str, Any], new: Queue, *, next_: Queue | None = None) -> None:
        """Move and wait until the queue is exactly empty, then delete it at once.

        ``next_`` is declared in the same moment, before any client can.
        """
        kind, obstacles = contents.queue_type(described), self._obstacles(new)
        deadline, until = time.monotonic() + PATIENCE_SECONDS, delays.Deadline()

        def meanwhile() -> None:
            interrupt.check()
            obstacles.watch_delays(until)

        time.sleep(SETTLE_SECONDS)
        while True:
            try:
                empty = contents.wait_until_empty(
                    self.access,
                    self.vhost,
                    self.name,
                    report=self.report,
                    patience=deadline - time.monotonic(),
                    meanwhile=meanwhile,
                )
            except TimeoutError:
                raise BrokerError(
                    self.access.management.endpoint,
                    f"queue {self.name}: its consumers still hold messages after "
                    f"{PATIENCE_SECONDS:.0f} s, or it cannot get rid of its dead letters "
                    f"({self._quick(self.name)}); everything was put back, run again when they "
                    "are done, or stop them",
                ) from None
            if empty:
                obstacles.check_dead_letters()
                with self.access.channel(self.vhost) as channel:
                    channel.exchange_declare(self.returning, "fanout", durable=True)
                if delete_empty(self.access, self.vhost, self.name, kind, next_):
                    return
            self._lead_into_drained()
            self._move(self.name, self.drained, meanwhile=interrupt.check)

    def _keep_given_up(self, described: Mapping[str, Any]) -> None:
        """Lead to the drained queue what a quorum queue would drop at its delivery limit.

        It counts what is returned to it, and what was being moved is, if a node is killed.
        """
        if contents.queue_type(described) is not QueueType.QUORUM:
            return
        applying = limits.now(self.access, self.vhost, described)
        if contents.TARGET in applying or not self._gives_up(applying):
            return  # nothing is dropped
        target = Target(kind="queues", name=self.name, type=QueueType.QUORUM)
        definition = self.access.applied(self.vhost, target)
        # When the broker starts, the drained queue may be later than this one.
        safely = {contents.STRATEGY: "at-least-once", "overflow": "reject-publish"}
        definition |= {contents.TARGET: self.drained, **safely}
        self.access.override_policy(self.vhost, self.given_up, self.name, "queues", definition)

    def _gives_up(self, applying: Mapping[str, Any]) -> bool:
        """Return whether a quorum queue has a delivery limit, by what applies to it."""
        with_default = self.access.management.version >= _UNLIMITED_FROM
        if "delivery-limit" not in applying:
            return with_default
        return int(applying["delivery-limit"]) >= 0 or not with_default

    def _drop_again(self) -> None:
        """End what `_keep_given_up` began, once all that it kept is in the drained queue."""
        if not any(one["name"] == self.given_up for one in self.access.policies(self.vhost)):
            return
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (held := contents.read(self.access, self.vhost, self.name)) and held.dead_letters:
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        self.access.delete_policy(self.vhost, self.given_up)

    def _lead_into_drained(self) -> None:
        with self.access.channel(self.vhost) as channel:
            channel.exchange_declare(self.drained, "fanout", durable=True)
            channel.queue_bind(self.drained, self.drained)

    def _quick(self, queue: str) -> contents.Contents:
        held = contents.quick(self.access, self.vhost, queue)
        return held or contents.Contents(
            kind=QueueType.CLASSIC, ready=0, unacknowledged=0, consumers=0
        )

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
            patience=PATIENCE_SECONDS,
            meanwhile=meanwhile,
        ).run()

    def _declare_helpers(self, described: Mapping[str, Any], new: Queue) -> None:
        """Declare the queues that keep messages meanwhile, and let nothing into them too early."""
        kind = self._helper_type(described, new)
        self._obstacles(new).check_operator_policy(kind)
        helpers = [helper for helper in self._helpers(new) if not self._exists("queues", helper)]
        for helper in helpers:
            self._declare_helper(helper, described, kind)
        self._lead_into_drained()
        for helper in helpers[:1]:  # the others are as old
            self._wait_until_registered(helper)

    def _declare_helper(self, name: str, described: Mapping[str, Any], kind: QueueType) -> None:
        """Declare a queue in which messages wait, which drops none and lets none expire.

        It has no time to live. What brings one of its own is dead-lettered as by the original; if
        that dead-letters nothing, to another helper, so that it comes back and expires no more.
        """
        quorum = kind is QueueType.QUORUM
        arguments: dict[str, Any] = {"x-queue-type": kind.value}
        if name != self.kept:
            kept = contents.lifetime(self.access, self.vhost, described)
            kept.pop("message-ttl", None)
            if not quorum:
                kept.pop(contents.STRATEGY, None)
            elif contents.STRATEGY in kept:
                arguments["x-overflow"] = "reject-publish"  # what "at least once" asks for
            if contents.TARGET not in kept:
                kept = {contents.TARGET: self.drained if name == self.holding else self.stand_in}
            arguments |= {f"x-{key}": value for key, value in kept.items()}
        if quorum and self.access.management.version >= _UNLIMITED_FROM:
            arguments["x-delivery-limit"] = -1
        self.access.override_policy(self.vhost, name, name, "queues", NEUTRAL)
        with self.access.channel(self.vhost) as channel:
            channel.queue_declare(name, durable=True, arguments=arguments)

    def _wait_until_registered(self, queue: str) -> None:
        """Let nothing into a quorum queue before its only node has it on disk."""
        described = contents.describe(self.access, self.vhost, queue) or {}
        # With three members, the other two remember.
        if described.get("members") and len(described["members"]) < _SAFE_MEMBERS:
            time.sleep(_REGISTERED_SECONDS)

    def _delete_emptied(self, queue: str) -> None:
        deadline = time.monotonic() + _SHOVEL_ENDS_SECONDS
        while self._quick(queue).consumers and time.monotonic() < deadline:
            time.sleep(0.02)  # its shovel, on the way out
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not delete_if_empty(self.access, self.vhost, queue):
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
        with self.access.rebinding, self.access.channel(self.vhost) as channel:
            self._bind_again()  # what another replacement has bound to the stand-in meanwhile
            # The stand-in last: as long as it is there, a next run knows that something is left.
            for exchange in (self.drained, self.returning, self.stand_in):
                channel.exchange_delete(exchange)

    def _exists(self, kind: str, name: str) -> bool:
        return self.access.exists(kind, self.vhost, name)


def way_in(access: Access, vhost: str, queue: str) -> tuple[str, str]:
    """Return where a binding to ``queue`` should lead now: to it, or to its stand-in.

    As kind, ``q`` or ``e``, and name.
    """
    stand_in = own_name("stand-in", queue)
    return ("e", stand_in) if access.exists("exchanges", vhost, stand_in) else ("q", queue)


def leftovers(access: Access, vhost: str) -> list[str]:
    """Return the names of the exchanges and queues that an unfinished run has left in a vhost.

    A run that is at work has some as well; its marks among them.
    """
    pattern = quote(f"^{re.escape(PREFIX)}")
    query = f"?name={pattern}&use_regex=true&page_size=500&disable_stats=true"
    leftovers: list[str] = []
    for kind in ("exchanges", "queues"):
        page, pages = 1, 1
        while page <= pages:
            try:
                answer = access.management.get(f"{access.path(kind, vhost)}{query}&page={page}")
            except NotFoundError:
                return []
            leftovers += [queue["name"] for queue in answer["items"] if queue["name"] != LOCK_QUEUE]
            page, pages = page + 1, answer.get("page_count", 1)
    return leftovers
