"""
What a queue holds, exactly, at the moment of asking.

Which source is exact differs by queue type, and is written down in docs/exactness.md:

- ready: a passive declare over AMQP asks the queue's own process, classic and quorum;
- unacknowledged, classic: the management API asks the queue's process when it is told to leave
  the statistics out;
- all others, quorum: the queue's own total, see `totals`. A message may be in a state that has no
  count of its own: delayed, dead-lettered at least once, or one that nobody here has heard of;
- quorum before RabbitMQ 4.3, unless it dead-letters at least once: there a message is ready or
  held, and a passive declare counts everyone who holds one, cancelled consumers and `basic.get`
  included. Nobody there means nothing held. The declare answers 0 as well while the queue has no
  leader, so `basic.get` makes sure of one;
- streams: reading is not destructive, so a read from the first offset tells.

Source: "Queues", "Quorum Queues", "Streams", "HTTP API Reference", RabbitMQ documentation.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import quote

from rabbit_topology.broker.access import Access, NoAmqpError, NoVhostError
from rabbit_topology.broker.amqp import AMQPError, ChannelClosedByBroker
from rabbit_topology.broker.management import NotFoundError
from rabbit_topology.broker.totals import Count, NoLeaderError
from rabbit_topology.compiler.effective import Rules, Target
from rabbit_topology.errors import BrokerError
from rabbit_topology.model import TYPE_ARGUMENT, DeadLetterStrategy, QueueType

__all__ = ["Contents", "NoLeaderError", "read", "survey"]

STREAM_PATIENCE_SECONDS = 1.5
"""How long a stream's first message may take to arrive before the stream counts as empty."""

STRATEGY = "dead-letter-strategy"
_AT_LEAST_ONCE = DeadLetterStrategy.AT_LEAST_ONCE.value
TARGET, _TARGET_KEY = "dead-letter-exchange", "dead-letter-routing-key"
_LIFETIME_KEYS = ("message-ttl", TARGET, _TARGET_KEY, STRATEGY)

TOTALS = "disable_stats=true&enable_queue_totals=true"
"""The query by which the management API asks the queues themselves."""

_LEAVING_SECONDS = 1.0
"""How long a consumer that is going away may take, before the statistics are waited for."""

_MEANWHILE_SECONDS = 1.0

_NOTHING = Count(messages=0, ready=0, unacknowledged=0, consumers=0)

_SIDE_BY_SIDE = 32
"""So many queues are asked at once: each may have to wait for the broker's statistics."""

_READY_OR_HELD_BEFORE = (4, 3)
"""Before this version a message of a quorum queue is ready, held, or waits to be dead-lettered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """The messages and consumers of one queue of type ``kind``."""

    kind: QueueType
    ready: int
    unacknowledged: int
    consumers: int
    dead_letters: int = 0
    """Messages that a quorum queue keeps until their dead-letter target has confirmed them."""
    delayed: int = 0
    """Messages that a quorum queue delivers later: of RabbitMQ 4.3 and newer."""
    unknown: int = 0
    """Messages that the queue counts in its total, and in nothing else that is known here."""

    @classmethod
    def counted(cls, kind: QueueType, count: Count, *, ready: int = 0) -> Contents:
        """Return what a queue's own counts say; ``ready`` are those that a newer answer says."""
        return cls(
            kind=kind,
            ready=max(ready, count.ready),
            unacknowledged=count.unacknowledged,
            consumers=count.consumers,
            dead_letters=count.dead_letters,
            delayed=count.delayed,
            unknown=count.unknown,
        )

    @classmethod
    def together(cls, parts: Sequence[Contents]) -> Contents:
        """Return what several queues hold; of the type of the first."""
        counts = [one.name for one in fields(cls) if one.name != "kind"]
        return cls(
            kind=parts[0].kind,
            **{count: sum(getattr(part, count) for part in parts) for count in counts},
        )

    @property
    def messages(self) -> int:
        """How many messages would be lost with it."""
        return self.undelivered + self.unacknowledged

    @property
    def undelivered(self) -> int:
        """How many messages no consumer holds: what limits on a queue's length count."""
        return self.ready + self.dead_letters + self.delayed + self.unknown

    @property
    def empty(self) -> bool:
        """No message is in it: neither waiting, nor with a consumer, nor on its way out."""
        return self.messages == 0

    @property
    def in_use(self) -> bool:
        """Deleting it would lose a message, or take a queue away from under a consumer."""
        return not self.empty or self.consumers > 0

    def __str__(self) -> str:
        others = {
            "delayed": self.delayed,
            "not dead-lettered yet": self.dead_letters,
            "in a state that this program does not know": self.unknown,
        }
        said = "".join(f"{many:,} {state}, " for state, many in others.items() if many)
        return (
            f"{self.ready:,} ready, {self.unacknowledged:,} unacknowledged, {said}"
            f"{self.consumers:,} consumer{'' if self.consumers == 1 else 's'}"
        )


def describe(access: Access, vhost: str, name: str) -> dict[str, Any] | None:
    """Return a queue as the management API knows it at this moment, None if it does not exist.

    Without statistics: for a classic queue the message counts then come from the queue itself.
    """
    try:
        described: dict[str, Any] = access.management.get(
            f"{access.path('queues', vhost, name)}?{TOTALS}"
        )
    except NotFoundError:
        return None
    if "messages" not in described:
        # 3.10 has the totals in listings only.
        pattern = quote(f"^{re.escape(name)}$", safe="")
        listed = access.management.get(
            f"{access.path('queues', vhost)}?{TOTALS}"
            f"&name={pattern}&use_regex=true&page=1&page_size=100"
        )
        described |= next((queue for queue in listed["items"] if queue["name"] == name), {})
    return described


def queue_type(described: Mapping[str, Any]) -> QueueType:
    """Return a described queue's type."""
    stated = described.get("type") or described.get("arguments", {}).get(TYPE_ARGUMENT)
    # 3.10 answers with the Erlang module's name for some types.
    for kind in QueueType:
        if kind.value in str(stated or QueueType.CLASSIC):
            return kind
    return QueueType.CLASSIC


def lifetime(access: Access, vhost: str, described: Mapping[str, Any]) -> dict[str, Any]:
    """Return how long a described queue keeps a message, and where that goes then.

    By the keys of policies. What is not certain is left out, but for dead-lettering that keeps
    messages until their target has them: that is then taken for what the queue does.
    """
    outcomes = _lifetimes(described, access.rules(vhost))
    certain = {
        key: value
        for key, value in outcomes[0].items()
        if all(outcome.get(key) == value for outcome in outcomes)
    }
    if any(outcome.get(STRATEGY) == _AT_LEAST_ONCE for outcome in outcomes):
        certain[STRATEGY] = _AT_LEAST_ONCE
    return certain


def _lifetimes(described: Mapping[str, Any], rules: Sequence[Rules]) -> list[dict[str, Any]]:
    """Return what of a queue's settings `lifetime` is about; all that it may be."""
    target = Target(kind="queues", name=described["name"], type=queue_type(described))
    arguments = described.get("arguments", {})
    outcomes = [outcome for one in rules for outcome in one.possible(target, arguments)]
    return [{key: outcome[key] for key in _LIFETIME_KEYS if key in outcome} for outcome in outcomes]


def read(access: Access, vhost: str, name: str) -> Contents | None:
    """Return what a queue holds, None if it does not exist.

    Exact, and immediate but for one case: the total of a quorum queue is known when the broker's
    statistics have gone round, and until then this waits; see `expect`.

    Raises:
        BrokerError: The broker cannot be asked, or its answer cannot be trusted.
    """
    try:
        declared = _declared(access, vhost, name)
    except NoAmqpError as error:
        return _without_amqp(access, vhost, name, error)
    # Asked after the passive declare: a message that a consumer gives back in between is then
    # seen in one of the two.
    described = describe(access, vhost, name) if declared else None
    return _judge(access, vhost, described, *declared) if declared and described else None


def _judge(
    access: Access, vhost: str, described: Mapping[str, Any], ready: int, consumers: int
) -> Contents | None:
    """Return what a queue holds that answered a passive declare so, and was described then."""
    name, kind = described["name"], queue_type(described)
    match kind:
        case QueueType.STREAM:
            held = ready or _first_of_stream(access, vhost, name)
            return Contents(kind=kind, ready=held, unacknowledged=0, consumers=consumers)
        case QueueType.CLASSIC:
            return _classic(access, described, ready, consumers)
    if not _by_total(access, vhost, described):
        if (ready, consumers) == (0, 0):
            confirmed = _confirmed(access, vhost, name)
            if confirmed is None:
                return None
            ready, consumers = confirmed
        if consumers == 0:
            return Contents(kind=kind, ready=ready, unacknowledged=0, consumers=0)
    counted = _in_all(access, vhost, name, ready)
    return replace(counted, consumers=max(consumers, counted.consumers)) if counted else None


def expect(access: Access, vhost: str, only: Callable[[str], bool] = lambda _name: True) -> None:
    """Say what queues will be asked for, those that ``only`` says yes to: one wait does for all."""
    access.totals.plan(vhost, only)


def _in_all(access: Access, vhost: str, name: str, ready: int = 0) -> Contents | None:
    access.totals.begin(access, vhost, lambda: _quorum_queues(access, vhost))
    count = access.totals.count(
        access, vhost, name, lambda count: count.messages > 0 or count.consumers > 0
    )
    return Contents.counted(QueueType.QUORUM, count, ready=ready) if count else None


def _quorum_queues(access: Access, vhost: str) -> list[str]:
    listed = _listed(access, vhost, "disable_stats=true").items()
    return [name for name, described in listed if queue_type(described) is QueueType.QUORUM]


def is_told_by_total(access: Access, vhost: str, described: Mapping[str, Any]) -> bool:
    """Return whether a described queue is one of which only its total counts all messages."""
    return queue_type(described) is QueueType.QUORUM and _by_total(access, vhost, described)


def _by_total(access: Access, vhost: str, described: Mapping[str, Any]) -> bool:
    """Tell whether only a quorum queue's total counts all of its messages."""
    return not _knows_ready_or_held_only(access) or _keeps_dead_letters(access, vhost, described)


def _knows_ready_or_held_only(access: Access) -> bool:
    """Tell whether the broker is known to be too old for states other than these two."""
    return () < access.management.newest_version < _READY_OR_HELD_BEFORE


def quick(access: Access, vhost: str, name: str) -> Contents | None:
    """Return what a queue holds without waiting for statistics: never for a verdict.

    What a quorum queue holds but for ready messages may be some seconds old.
    """
    described = describe(access, vhost, name)
    if described is None:
        return None
    kind = queue_type(described)
    count = latest(access, vhost, described) if kind is QueueType.QUORUM else Count.of(described)
    count = count or _NOTHING
    try:
        declared = _declared(access, vhost, name)
    except BrokerError:
        # The management API's numbers will do for a preview.
        return Contents.counted(kind, count)
    if declared is None:
        return None
    ready, consumers = declared
    if kind is QueueType.STREAM:
        ready = ready or _first_of_stream(access, vhost, name)
        count = replace(count, messages=0, unacknowledged=0)
    return replace(Contents.counted(kind, count), ready=ready, consumers=consumers)


def delays_messages(access: Access, described: Mapping[str, Any]) -> bool:
    """Tell whether a described queue may keep messages that are neither ready nor held."""
    return queue_type(described) is QueueType.QUORUM and not _knows_ready_or_held_only(access)


def settled(access: Access, vhost: str, described: Mapping[str, Any]) -> Count | None:
    """Return what a described quorum queue counts, None of one that can delay no messages.

    As of a moment after the call; waits for statistics.
    """
    if not delays_messages(access, described):
        return None
    return access.totals.count(access, vhost, described["name"], lambda _count: True)


def delaying(access: Access, vhost: str, name: str) -> Count | None:
    """Return the last statistics of a queue if it delays messages by them, however old they are."""
    try:
        count = Count.of(access.management.get(access.path("queues", vhost, name)))
    except NotFoundError:
        return None
    return count if count and count.delayed else None


def latest(access: Access, vhost: str, described: Mapping[str, Any]) -> Count | None:
    """Return what is known of a quorum queue that was described just now, however old."""
    try:
        listed = Count.of(access.management.get(access.path("queues", vhost, described["name"])))
    except NotFoundError:
        return None
    told = Count.of(described)
    # Only the statistics name all states, but they are the older ones; and what the queue itself
    # was told to count is 0 where its leader is on another node.
    if told and listed and told.messages == listed.messages:
        return listed
    return max(
        (count for count in (told, listed) if count), key=lambda count: count.messages, default=None
    )


def ready(access: Access, vhost: str, name: str) -> int:
    """Return how many messages of a queue wait for a consumer, exactly; 0 if it does not exist.

    Raises:
        BrokerError: The broker cannot be asked.
    """
    declared = _declared(access, vhost, name)
    return declared[0] if declared else 0


def consumers(access: Access, vhost: str, name: str) -> int:
    """Return how many consumers a queue has, exactly, as `ready` does."""
    declared = _declared(access, vhost, name)
    return declared[1] if declared else 0


def published(access: Access, vhost: str, name: str) -> tuple[int, float]:
    """Return how many messages were published to a queue, and how many come in per second.

    As the broker's statistics tell, so of some seconds ago; 0 where they are switched off.
    """
    return _published(access, access.path("queues", vhost, name), "publish")


def is_taken(access: Access, vhost: str, name: str) -> bool:
    """Return whether anybody takes messages from a queue: it has consumers, or is asked for some.

    The latter as the broker's statistics tell.
    """
    path = access.path("queues", vhost, name)
    return bool(consumers(access, vhost, name) or _published(access, path, "deliver_get")[1])


def published_by_name(access: Access, vhost: str) -> float:
    """Return the messages/s that come to any queue of a vhost through the default exchange."""
    return _published(access, access.path("exchanges", vhost, "amq.default"), "publish_out")[1]


def published_to(access: Access, vhost: str, exchange: str) -> float:
    """Return the messages/s that are published to an exchange, as `published` does."""
    return _published(access, access.path("exchanges", vhost, exchange), "publish_in")[1]


def _published(access: Access, path: str, key: str) -> tuple[int, float]:
    try:
        statistics = access.management.get(path).get("message_stats", {})
    except NotFoundError:
        return 0, 0.0
    return statistics.get(key, 0), statistics.get(f"{key}_details", {}).get("rate", 0.0)


def check_exchange(access: Access, vhost: str, name: str) -> None:
    """Check that an exchange keeps no messages, as one of the type `x-delayed-message` does.

    Whatever the broker counts there in messages is taken for such.

    Raises:
        BrokerError: It does.
    """
    try:
        described = access.management.get(f"{access.path('exchanges', vhost, name)}")
    except NotFoundError:
        return
    counts = {
        key: value
        for key, value in described.items()
        if key.startswith("messages") and isinstance(value, int) and value
    }
    if counts:
        held = ", ".join(f"{value:,} {key.replace('_', ' ')}" for key, value in counts.items())
        raise BrokerError(
            access.management.endpoint,
            f"exchange {name} keeps messages itself, which would go with it: {held}. Wait until "
            "they have been delivered, with no publisher at work, and run again",
        )


def names(access: Access, vhost: str, *, exclusive: bool = False) -> list[str]:
    """Return the names of a vhost's queues; ``exclusive`` ones, which go with a connection, too."""
    return list(_listed(access, vhost, "disable_stats=true", exclusive=exclusive))


def _listed(
    access: Access, vhost: str, query: str, *, exclusive: bool = False
) -> dict[str, dict[str, Any]]:
    """Return what the management API says of a vhost's queues, by name; as `names` does."""
    try:
        listed = access.management.get(f"{access.path('queues', vhost)}?{query}")
    except NotFoundError:
        return {}
    return {queue["name"]: queue for queue in listed if exclusive or not queue.get("exclusive")}


def dead_lettering(access: Access, vhost: str, exchange: str) -> Iterator[tuple[str, str | None]]:
    """Yield the queues in use that dead-letter to an exchange by its name, and by which key.

    No key means that messages keep theirs.
    """
    rules = access.rules(vhost)
    for queue in access.management.get(f"{access.path('queues', vhost)}?disable_stats=true"):
        ways = {
            outcome.get(_TARGET_KEY)
            for outcome in _lifetimes(queue, rules)
            if outcome.get(TARGET) == exchange
        }
        if not ways:
            continue
        held = quick(access, vhost, queue["name"])
        if held and held.in_use:
            yield from ((queue["name"], key) for key in ways)


def survey(
    access: Access, vhost: str, only: Callable[[str], bool] = lambda _name: True
) -> dict[str, Contents]:
    """Return what each queue of a vhost holds that ``only`` says yes to, by name; as `read` does.

    Raises:
        BrokerError: The broker cannot be asked, or its answer cannot be trusted.
    """
    expect(access, vhost, only)
    wanted = [name for name in names(access, vhost) if only(name)]
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as threads:
        try:
            declared = list(threads.map(lambda name: _declared(access, vhost, name), wanted))
        except NoAmqpError:
            held = threads.map(lambda name: read(access, vhost, name), wanted)
        else:
            described = _listed(access, vhost, TOTALS)  # after the declares, as `read` does
            held = threads.map(
                # A queue that does not answer is left out of the listing: that is no queue gone.
                lambda name, answer: (
                    _judge(access, vhost, described[name], *answer)
                    if answer and name in described
                    else read(access, vhost, name)
                ),
                wanted,
                declared,
            )
        return {name: contents for name, contents in zip(wanted, held, strict=True) if contents}


def is_empty(access: Access, vhost: str, name: str) -> bool:
    """Tell whether a quorum queue holds nothing, as exactly as it can be told; True if it is gone.

    Right after `read` found it empty and unused this is immediate; but on versions whose messages
    are ready or held, only the ready ones are looked at again.

    Raises:
        NoLeaderError: There is none.
    """
    described = describe(access, vhost, name)
    if described is None:
        return True
    if _by_total(access, vhost, described):
        count = access.totals.count(access, vhost, name, lambda counted: counted.messages > 0)
        return count is None or count.messages == 0
    confirmed = _confirmed(access, vhost, name)
    return confirmed is None or confirmed[0] == 0


def wait_until_empty(
    access: Access,
    vhost: str,
    name: str,
    *,
    report: Callable[[str], None],
    patience: float,
    meanwhile: Callable[[], None] = lambda: None,
) -> bool:
    """Wait until a queue that gets no new messages is empty; False when one is ready again.

    All messages are looked at as one sum, which only falls: looked at one after the other, a
    message that a consumer gives back and takes again could be missed. A sum above 0 that becomes
    0 is a fresh 0, so that under traffic one round of statistics is enough. ``meanwhile`` is
    called every second or so, and may raise.

    Raises:
        TimeoutError: Consumers hold messages for longer than ``patience`` seconds.
        BrokerError: The broker cannot be asked.
    """
    deadline = time.monotonic() + patience
    last, leader, last_at, zero_since, called = 0, None, 0.0, 0.0, time.monotonic()
    by_total: bool | None = None
    while True:
        if by_total and _exactly_empty(access, vhost, name):
            return True
        asked = time.monotonic()
        described, declared = describe(access, vhost, name), _declared(access, vhost, name)
        if described is None or declared is None:
            return True
        quorum = queue_type(described) is QueueType.QUORUM
        if by_total is None:
            by_total = quorum and _by_total(access, vhost, described)
        ready, consumers = declared
        if ready:
            return False
        if not quorum and "messages" not in described:
            raise _not_answering(access, name)
        total = described.get("messages", 0)
        if total == 0:
            exact = not quorum
            if quorum and consumers == 0 and not by_total:
                exact = _confirmed(access, vhost, name) in (None, (0, 0))
            # Of a leader on another node, or one just elected, the number may be missing.
            if not exact and last and described.get("leader") == leader:
                access.totals.believe(vhost, name, _NOTHING, since=last_at)
                exact = True
            if exact:
                return True
            zero_since = zero_since or time.monotonic()
            if time.monotonic() - zero_since > _LEAVING_SECONDS:
                settled = read(access, vhost, name)
                if settled is None or settled.empty or settled.ready:
                    return settled is None or settled.empty
        elif total != last:
            report(f"waiting for consumers to finish {total:,} messages of queue {name}")
        if time.monotonic() > called + _MEANWHILE_SECONDS:
            meanwhile()
            called = time.monotonic()
        if time.monotonic() > deadline:
            raise TimeoutError
        last, leader, last_at = total, described.get("leader"), asked
        time.sleep(0.1)


def _exactly_empty(access: Access, vhost: str, name: str) -> bool:
    """Tell whether a quorum queue is known to be empty; and note where its log ends by now."""
    try:
        count, _ = access.totals.exact(access, vhost, name)
    except NotFoundError:
        return True
    return count is not None and count.messages == 0


def _declared(access: Access, vhost: str, name: str) -> tuple[int, int] | None:
    """Return the ready messages and the consumers of a queue as it says itself, None if gone."""
    try:
        with access.channel(vhost) as channel:
            declared = channel.queue_declare(name, passive=True).method
    except NoVhostError:
        return None  # and with it all that was in it
    except ChannelClosedByBroker as error:
        if error.reply_code == 404 and "no queue" in error.reply_text:
            return None
        raise BrokerError(
            access.management.endpoint, f"queue {name!r} cannot be asked: {error.reply_text}"
        ) from None
    except AMQPError as error:
        # The broker's answer that there is none is too long for AMQP where the name is.
        if not access.exists("queues", vhost, name):
            return None
        raise BrokerError(
            access.management.endpoint, f"queue {name!r} cannot be asked: {error!r}"
        ) from None
    return declared.message_count, declared.consumer_count


def _confirmed(access: Access, vhost: str, name: str) -> tuple[int, int] | None:
    """Return what `_declared` does of a quorum queue, once its leader has answered.

    Without a leader the queue seems to be empty and unused, and the broker would delete it by
    force: while one is elected, while most of its nodes are away, or if its declaration was cut
    short. `basic.get` waits for the leader, and takes nothing from a queue that is empty.

    Raises:
        NoLeaderError: There is none.
    """
    try:
        with access.channel(vhost, closing=True) as channel:
            method, _, _ = channel.basic_get(name)
        if method:  # given back when the channel was closed
            return 1, 0
    except ChannelClosedByBroker as error:
        if error.reply_code == 404:
            return None
        if error.reply_code != 405:
            raise _no_leader(access, name, error) from None
        _consume(access, vhost, name)
    except AMQPError as error:
        raise _no_leader(access, name, error) from None
    return _declared(access, vhost, name)


def _consume(access: Access, vhost: str, name: str) -> None:
    """Have the leader of a queue with a single active consumer answer: it refuses `basic.get`."""
    try:
        with access.channel(vhost, closing=True) as channel:
            channel.basic_qos(prefetch_count=1)
            channel.basic_cancel(channel.basic_consume(name, lambda *_: None))
    except AMQPError as error:
        raise _no_leader(access, name, error) from None


def _no_leader(access: Access, name: str, error: AMQPError) -> NoLeaderError:
    return NoLeaderError(
        access.management.endpoint,
        f"queue {name!r} does not answer, so what it holds is not known: it has no leader, most of "
        f"its nodes may be down ({error!r}); nothing is deleted",
    )


def _classic(access: Access, described: Mapping[str, Any], ready: int, consumers: int) -> Contents:
    if "messages" not in described:
        raise _not_answering(access, described["name"])
    return Contents(
        kind=QueueType.CLASSIC,
        ready=max(ready, described["messages_ready"]),
        unacknowledged=described["messages_unacknowledged"],
        consumers=consumers,
    )


def _without_amqp(access: Access, vhost: str, name: str, error: NoAmqpError) -> Contents | None:
    """Return what the management API alone can tell, which is never that a queue is unused.

    Raises:
        NoAmqpError: It looks unused. Only a classic queue can be deleted on that condition.
    """
    described = describe(access, vhost, name)
    if described is None:
        return None
    kind = queue_type(described)
    if kind is QueueType.CLASSIC:
        listed = access.management.get(access.path("queues", vhost, name))
        return _classic(access, described, 0, listed.get("consumers") or 0)
    if kind is QueueType.STREAM:
        said = f"stream {name!r} can be read over AMQP only, and {error}"
        raise NoAmqpError(access.management.endpoint, said)
    held = _in_all(access, vhost, name)
    if held and not held.in_use:
        raise NoAmqpError(
            access.management.endpoint,
            f"queue {name!r} is empty as far as the management API knows, some seconds ago; only "
            f"AMQP tells for certain, and {error}",
        )
    return held


def _keeps_dead_letters(access: Access, vhost: str, described: Mapping[str, Any]) -> bool:
    """Tell whether a quorum queue dead-letters at least once.

    What is on its way to the dead-letter target is then neither ready nor with a consumer, and
    only the statistics know of it.
    """
    if queue_type(described) is not QueueType.QUORUM:
        return False
    return lifetime(access, vhost, described).get(STRATEGY) == _AT_LEAST_ONCE


def _not_answering(access: Access, name: str) -> BrokerError:
    return BrokerError(
        access.management.endpoint,
        f"queue {name!r} does not tell what it holds: its node may be down; nothing is deleted",
    )


def _first_of_stream(access: Access, vhost: str, name: str) -> int:
    """Return 1 if a stream has a message, else 0; its own counter lags by a second or two."""
    with access.channel(vhost, closing=True) as channel:
        channel.basic_qos(prefetch_count=1)
        arguments = {"x-stream-offset": "first"}
        for method, _, _ in channel.consume(
            name, arguments=arguments, inactivity_timeout=STREAM_PATIENCE_SECONDS
        ):
            return 0 if method is None else 1
    return 0
