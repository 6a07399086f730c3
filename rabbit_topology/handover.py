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
3. After the new queue is there: the drained messages are moved into it, then the held ones, and
   shortly before the last of them the stand-in is switched to the new queue. The bindings are
   made, the stand-in and the two queues go.

Every step can be done twice, and finds by the broker's own objects how far the last run came.
Source: "Exchange to Exchange Bindings", "Dynamic Shovels", RabbitMQ documentation.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol
from urllib.parse import quote

from pika.exceptions import ChannelClosedByBroker

from rabbit_topology import contents, delays, shovel
from rabbit_topology.access import LOCK_QUEUE, NEUTRAL, Access, NoAmqpError
from rabbit_topology.effective import Index, Target
from rabbit_topology.errors import BrokerError
from rabbit_topology.management import NotFoundError
from rabbit_topology.model import ByName, Queue, QueueType, Route
from rabbit_topology.names import PREFIX, own_name
from rabbit_topology.totals import Count

PATIENCE_SECONDS = 900.0
"""How long consumers may take to finish what they hold, before everything is put back."""

SETTLE_SECONDS = 0.3
"""How long messages that were routed before a switch may still be on their way to a queue."""

SWITCH_AT = 20
"""With so many messages left in the holding queue, publishers are switched to the new queue.
What is published then overtakes these few: nowhere else does the order change."""

CANCEL_SECONDS = 0.5
"""How long RabbitMQ 3.10 may take to tell consumers that a quorum queue is gone. If one of the same
name is there earlier they are not told, and wait for messages that never come."""

_REGISTERED_SECONDS = 2.0
"""A node that is killed forgets a quorum queue that it has just got, with all its messages: the
list of them reaches the disk when it has not changed for half a second, looked at as often."""

_SAFE_MEMBERS = 3

_SHOVEL_ENDS_SECONDS = 5.0

_STATISTICS_SECONDS = 6.0
"""One round of the broker's statistics and a little more. They show a rate for two."""

_ACCEPT = "rabbit-topology:safety.published_by_name: accept"
_BY_NAME = (
    "the broker confirms and discards those that are on their way when it deletes the queue. Stop "
    "these publishers while this runs, or have them publish through an exchange that is bound to "
    f"the queue, or accept the loss: {_ACCEPT}"
)

_DROPPING_KEYS = {"max-length", "max-length-bytes", "max-in-memory-length", "expires"}
_UNLIMITED_FROM = (4, 0)
"""From here on a quorum queue drops what is returned 20 times, unless it is told not to: a queue
that is full, or on a node that is down, returns what comes out of a helper at once."""


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
        """
        described = contents.describe(self.access, self.vhost, self.name)
        if described is None:
            return
        old_type = contents.queue_type(described)
        if old_type is QueueType.STREAM:
            self._check_empty_stream()  # once more: its bindings are gone only now
        quorum = self._quorum(described, new)
        self._begin(described, new)
        try:
            if self.settings:
                self.settings.write(self.name, new)
            self._hold(described, quorum=quorum)
            self._check_cut_off()
            self._drain(described, quorum=quorum)
            if old_type is new.type is QueueType.QUORUM:
                time.sleep(CANCEL_SECONDS)
        except BaseException:
            self.report(f"queue {self.name}: putting everything back")
            self.give_back()
            raise

    def give_back(self) -> None:
        """Lead everything into the queue again, which exists, and remove what helped."""
        if not self.is_shadowed():
            return
        if self.is_held():
            self._wait_until_registered(self.name)
        shovel.stop_leftover(self.access, self.vhost, self.name)
        returning = own_name("return", self.name)
        with self.access.channel(self.vhost) as channel:
            channel.exchange_declare(returning, "fanout", durable=True)
            channel.queue_bind(self.name, returning)
        if self._exists("queues", self.drained):
            self._move(self.drained, returning)
        if self.is_held():
            with shovel.moving(
                self.access, self.vhost, self.holding, returning, report=self.report
            ) as wait_until_left:
                wait_until_left(SWITCH_AT)
                self._switch_back()
                time.sleep(SETTLE_SECONDS)
                wait_until_left(0)
                time.sleep(SETTLE_SECONDS)  # for what is between the two queues
        self._switch_back()
        with ThreadPoolExecutor() as threads:  # each may wait for the broker's statistics
            jobs = [
                threads.submit(copy_context().run, self._delete_emptied, queue, returning)
                for queue in (self.drained, self.holding)
            ]
            for job in jobs:
                job.result()
        self._remove_helpers(returning)

    def _switch_back(self) -> None:
        with self.access.rebinding:
            with self.access.channel(self.vhost) as channel:
                channel.queue_bind(self.name, self.stand_in)
                channel.queue_unbind(self.holding, self.stand_in)
            self._bind_again()

    def _bind_again(self) -> None:
        for it in self.access.bindings("exchanges", self.vhost, self.stand_in, "destination"):
            self.access.copy_binding(self.vhost, it, destination=("q", self.name))

    def is_shadowed(self) -> bool:
        """Tell whether a stand-in is there: a handover was begun and not finished."""
        return self._exists("exchanges", self.stand_in)

    def is_held(self) -> bool:
        """Tell whether publishers are led into the holding queue."""
        return self._exists("queues", self.holding)

    @staticmethod
    def _quorum(described: dict[str, Any], new: Queue) -> bool:
        """Tell whether helpers are quorum queues: as safe as the safer of the two."""
        return QueueType.QUORUM in (contents.queue_type(described), new.type)

    def _begin(self, described: dict[str, Any], new: Queue | None) -> None:
        """Make the stand-in, once, after all that can fail has been looked at."""
        self.access.lock(self.vhost)
        if self.is_shadowed():
            return
        if new is not None:
            self._check(described, new)
        with self.access.channel(self.vhost) as channel:
            channel.exchange_declare(self.stand_in, "fanout", durable=True)
            if not self.is_held():
                channel.queue_bind(self.name, self.stand_in)

    def _check(self, described: dict[str, Any], new: Queue) -> None:
        shovel.check_available(self.access)
        for helper in (self.holding, self.drained):
            self._check_operator_policy(helper, self._quorum(described, new))
        if contents.queue_type(described) is QueueType.STREAM:
            self._check_empty_stream()
        self._check_room()
        self._check_dead_letters()
        if self.settings:
            self.settings.check(self.name, new)
        self._check_by_name()
        self._check_delays(contents.settled(self.access, self.vhost, described))

    def _check_room(self) -> None:
        """Raise if the vhost's limit leaves no room for the helpers, and for the lock."""
        limit = self.access.queue_limit(self.vhost)
        if limit is None:
            return
        names = contents.names(self.access, self.vhost, exclusive=True)
        needed = len({*names, self.holding, self.drained, LOCK_QUEUE})
        if needed > limit:
            raise BrokerError(
                self.access.management.endpoint,
                f"queue {self.name} cannot be replaced: two more queues hold its messages "
                f"meanwhile, and the vhost takes {limit:,} (its limit max-queues): raise it to "
                f"{needed:,} or more, and run again",
            )

    def _check_operator_policy(self, helper: str, quorum: bool) -> None:
        kind = QueueType.QUORUM if quorum else QueueType.CLASSIC
        index = Index(self.access.live(self.vhost, operator=True), self.access.like)
        applying = index.applying(Target(kind="queues", name=helper, type=kind))
        applied = {key for policy in applying for key in index.definition(policy)}
        if limited := _DROPPING_KEYS & applied:
            raise BrokerError(
                self.access.management.endpoint,
                f"an operator policy applies to the queue {helper!r}, which is to hold messages of "
                f"{self.name} meanwhile, and sets {', '.join(sorted(limited))}: it could drop "
                "them; narrow its pattern and run again",
            )

    def _check_dead_letters(self) -> None:
        """Raise if another queue could dead-letter to this one by its name.

        That is no publishing that the broker's statistics know of.
        """
        if self.by_name is ByName.ACCEPT:
            return
        for sender, key in contents.dead_lettering(self.access, self.vhost, ""):
            # Its own come round in a cycle, which the broker ends in the queue as in a helper.
            ours = sender in (self.name, self.holding, self.drained)
            if not ours and key in (None, self.name):
                raise BrokerError(
                    self.access.management.endpoint,
                    f"queue {self.name} cannot be replaced without loss while queue {sender}, which"
                    " is in use, dead-letters to it by its name, through the default exchange: the "
                    "broker drops what comes while it is away. Have it dead-letter to an exchange "
                    "that is bound to the queue, or let it become empty and unused, or accept the "
                    f"loss: {_ACCEPT}",
                )

    def _check_delays(self, count: Count | None) -> None:
        """Raise if the queue delays messages for longer than consumers are waited for."""
        said = count and delays.refusal(self.name, count, PATIENCE_SECONDS)
        if said:
            raise BrokerError(self.access.management.endpoint, said)
        if count and count.delayed:
            self.report(
                f"queue {self.name}: delays {count.delayed:,} messages, which are waited for: up "
                f"to {delays.longest_wait(count):,.0f} s"
            )

    def _check_by_name(self) -> None:
        """Raise if messages come to a queue that has no bindings; wait for old rates to fade."""
        if self.by_name is ByName.ACCEPT or self._sources():
            return
        deadline = time.monotonic() + 4 * _STATISTICS_SECONDS
        while rate := contents.published(self.access, self.vhost, self.name)[1]:
            if time.monotonic() > deadline:
                raise self._published_by_name(rate)
            time.sleep(0.5)

    def _check_cut_off(self) -> None:
        """Raise if messages still come to a queue whose bindings lead elsewhere.

        Looked at only where somebody publishes to some queue of the vhost by its name: nothing
        else can reach it now, and the statistics take their time.
        """
        if self.by_name is ByName.ACCEPT or not contents.published_by_name(self.access, self.vhost):
            return
        if not contents.published(self.access, self.vhost, self.name)[1]:
            return
        self.report(f"queue {self.name}: looking whether it is published to by its name")
        counts = []
        for _ in range(2):
            time.sleep(_STATISTICS_SECONDS)
            counts.append(contents.published(self.access, self.vhost, self.name)[0])
        if counts[1] > counts[0]:
            raise self._published_by_name((counts[1] - counts[0]) / _STATISTICS_SECONDS)

    def _published_by_name(self, rate: float) -> BrokerError:
        said = f"{by_name_text(self.name, rate)}; {_BY_NAME}"
        return BrokerError(self.access.management.endpoint, said)

    def _sources(self) -> list[dict[str, Any]]:
        """Return the bindings of the queue, but those that every queue has and our own."""
        return [
            it
            for it in self.access.bindings("queues", self.vhost, self.name)
            if it["source"] not in ("", self.stand_in)
        ]

    def _hold(self, described: dict[str, Any], *, quorum: bool) -> None:
        self._declare_helper(self.holding, described, quorum=quorum)
        with self.access.rebinding:
            direct = self._sources()
            for it in direct:
                self.access.copy_binding(self.vhost, it, destination=("e", self.stand_in))
            # With the stand-in in all places, these are gone in one step, and it is the only way.
            for it in direct:
                self.access.unbind(self.vhost, it)
            with self.access.channel(self.vhost) as channel:
                # The one moment in which a message can enter both: between these two.
                channel.queue_bind(self.holding, self.stand_in)
                channel.queue_unbind(self.name, self.stand_in)
        self.report(f"queue {self.name}: what is published now is held in {self.holding}")

    def _drain(self, described: dict[str, Any], *, quorum: bool) -> None:
        """Move and wait until the queue is exactly empty, then delete it at once."""
        kind = contents.queue_type(described)
        deadline, until = time.monotonic() + PATIENCE_SECONDS, delays.Deadline()
        time.sleep(SETTLE_SECONDS)
        while True:
            try:
                empty = contents.wait_until_empty(
                    self.access,
                    self.vhost,
                    self.name,
                    report=self.report,
                    patience=deadline - time.monotonic(),
                    meanwhile=partial(self._watch_delays, until),
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
                self._check_dead_letters()
                if delete_empty(self.access, self.vhost, self.name, kind):
                    return
            if not self._exists("queues", self.drained):
                self._declare_helper(self.drained, described, quorum=quorum)
            with self.access.channel(self.vhost) as channel:
                channel.exchange_declare(self.drained, "fanout", durable=True)
                channel.queue_bind(self.drained, self.drained)
            self._move(self.name, self.drained)

    def _watch_delays(self, until: delays.Deadline) -> None:
        """Raise, while traffic is held, once the queue delays messages that will not come soon."""
        count = contents.delaying(self.access, self.vhost, self.name)
        if not count:
            return
        said = delays.refusal(self.name, count, PATIENCE_SECONDS)
        if said or until.passed(count):
            raise BrokerError(
                self.access.management.endpoint,
                said
                or f"queue {self.name}: {count.delayed:,} messages are delayed again and again, as "
                "consumers give them back; everything was put back. Run again when consumers take "
                "what they get, or stop them meanwhile",
            )

    def _check_empty_stream(self) -> None:
        found = contents.read(self.access, self.vhost, self.name)
        if found and not found.empty:
            raise BrokerError(
                self.access.management.endpoint,
                f"stream {self.name} holds messages and cannot be replaced without losing them: "
                "reading a stream does not take its messages out. Declare the new one under "
                "another name; or, if what it holds may go, set `on_delete: discard` on it and run "
                "`pulumi up`, take it out of the config and run `pulumi up`, and then declare it "
                "as it is to be",
            )

    def _quick(self, queue: str) -> contents.Contents:
        found = contents.quick(self.access, self.vhost, queue)
        return found or contents.Contents(
            kind=QueueType.CLASSIC, ready=0, unacknowledged=0, consumers=0
        )

    def _move(self, source: str, exchange: str) -> None:
        what = f"{'out of' if source == self.name else 'back into'} queue {self.name}"
        shovel.move(
            self.access,
            self.vhost,
            source,
            exchange,
            what=what,
            report=self.report,
            patience=PATIENCE_SECONDS,
        )

    def _declare_helper(self, name: str, described: dict[str, Any], *, quorum: bool) -> None:
        """Declare a queue that keeps what the original would keep, for as long as it would.

        Its time to live and dead-lettering are the original's, so that nothing that would have
        expired comes back to life. It has no length limit: what is too much is dropped when it
        is back in the queue, oldest first, as it would have been.
        """
        self._check_operator_policy(name, quorum)
        arguments: dict[str, Any] = {"x-queue-type": "quorum" if quorum else "classic"}
        kept = contents.lifetime(self.access, self.vhost, described)
        if not quorum:
            kept.pop(contents.STRATEGY, None)
        elif contents.STRATEGY in kept:
            arguments["x-overflow"] = "reject-publish"  # what "at least once" asks for
        arguments |= {f"x-{key}": value for key, value in kept.items()}
        if quorum and self.access.management.version >= _UNLIMITED_FROM:
            arguments["x-delivery-limit"] = -1
        if self.access.policies(self.vhost):
            self.access.override_policy(self.vhost, name, name, "queues", NEUTRAL)
        with self.access.channel(self.vhost) as channel:
            channel.queue_declare(name, durable=True, arguments=arguments)
        self._wait_until_registered(name)

    def _wait_until_registered(self, queue: str) -> None:
        """Let nothing into a quorum queue before its only node has it on disk."""
        described = contents.describe(self.access, self.vhost, queue) or {}
        # With three members, the other two remember.
        if described.get("members") and len(described["members"]) < _SAFE_MEMBERS:
            time.sleep(_REGISTERED_SECONDS)

    def _delete_emptied(self, queue: str, returning: str) -> None:
        deadline = time.monotonic() + _SHOVEL_ENDS_SECONDS
        while self._quick(queue).consumers and time.monotonic() < deadline:
            time.sleep(0.02)  # its shovel, on the way out
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not delete_if_empty(self.access, self.vhost, queue):
            self._move(queue, returning)
            if time.monotonic() > deadline:
                raise BrokerError(
                    self.access.management.endpoint,
                    f"queue {queue} cannot be emptied ({self._quick(queue)}): it holds messages of "
                    f"queue {self.name}, and the next update goes on with them",
                )

    def _remove_helpers(self, returning: str) -> None:
        for queue in (self.drained, self.holding):
            self.access.delete_policy(self.vhost, queue)
        with self.access.rebinding, self.access.channel(self.vhost) as channel:
            self._bind_again()  # what another replacement has bound to the stand-in meanwhile
            # The stand-in last: as long as it is there, a next run knows that something is left.
            for exchange in (self.drained, returning, self.stand_in):
                channel.exchange_delete(exchange)

    def _exists(self, kind: str, name: str) -> bool:
        return self.access.exists(kind, self.vhost, name)


def by_name_text(queue: str, rate: float) -> str:
    """Return what is wrong with replacing a queue that is published to by its name."""
    return (
        f"queue {queue} cannot be replaced without loss while {rate:,.1f} messages/s are published "
        "to it by its name, through the default exchange"
    )


def way_in(access: Access, vhost: str, queue: str) -> tuple[str, str]:
    """Return where a binding to ``queue`` should lead now: to it, or to its stand-in.

    As kind, ``q`` or ``e``, and name.
    """
    stand_in = own_name("stand-in", queue)
    return ("e", stand_in) if access.exists("exchanges", vhost, stand_in) else ("q", queue)


def delete_if_empty(access: Access, vhost: str, name: str) -> bool:
    """Delete a helper that nothing new comes into, if it is empty; False if it is not.

    Since nothing comes in, a total that was published after the call is as good as one of this
    moment: the log of such a queue may go on growing, by changes of policies for example.
    """
    described = contents.describe(access, vhost, name)
    if described is None:
        return True
    if not contents.is_told_by_total(access, vhost, described):
        held = contents.read(access, vhost, name)
        return held is None or (held.empty and delete_empty(access, vhost, name, held.kind))
    count = access.totals.count(access, vhost, name, lambda _count: True)
    if count is None:
        return True
    if count.messages or contents.ready(access, vhost, name):
        return False
    return _delete(access, vhost, name, QueueType.QUORUM)


def delete_empty(access: Access, vhost: str, name: str, kind: QueueType) -> bool:
    """Delete a queue of type ``kind`` that was found empty; False if a message has come in since.

    A classic queue is tested again and deleted in one step. The broker has no such step for
    quorum queues and streams: between test and deletion lie a few milliseconds.
    """
    if kind is QueueType.QUORUM and not contents.is_empty(access, vhost, name):
        return False
    return _delete(access, vhost, name, kind)


def _delete(access: Access, vhost: str, name: str, kind: QueueType) -> bool:
    atomic = kind is QueueType.CLASSIC
    access.totals.forget(vhost, name)
    try:
        with access.channel(vhost) as channel:
            if (
                kind is QueueType.STREAM
                and channel.queue_declare(name, passive=True).method.message_count
            ):
                return False
            channel.queue_delete(name, if_empty=atomic)
    except ChannelClosedByBroker as error:
        if error.reply_code not in (404, 406):  # gone, or not empty any more
            raise
        return bool(error.reply_code == 404)
    except NoAmqpError:
        if not atomic:
            raise
        return _delete_unused(access, vhost, name)
    return True


def _delete_unused(access: Access, vhost: str, name: str) -> bool:
    """Delete a classic queue over the management API if it is empty and has no consumers."""
    path = f"{access.path('queues', vhost, name)}?if-empty=true&if-unused=true"
    try:
        access.management.request("DELETE", path)
    except NotFoundError:
        return True
    except BrokerError as error:
        if "PRECONDITION_FAILED" not in str(error):
            raise
        return False
    return True


def leftovers(access: Access, vhost: str) -> list[str]:
    """Return the names of the exchanges and queues that an unfinished run has left in a vhost.

    A run that is at work has some as well; its marks among them.
    """
    pattern = quote(f"^{re.escape(PREFIX)}")
    query = f"?name={pattern}&use_regex=true&page_size=500&disable_stats=true"
    found: list[str] = []
    for kind in ("exchanges", "queues"):
        page, pages = 1, 1
        while page <= pages:
            try:
                answer = access.management.get(f"{access.path(kind, vhost)}{query}&page={page}")
            except NotFoundError:
                return []
            found += [it["name"] for it in answer["items"] if it["name"] != LOCK_QUEUE]
            page, pages = page + 1, answer.get("page_count", 1)
    return found
