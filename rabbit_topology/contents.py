"""
What a queue holds, exactly, at the moment of asking.

Which source is exact differs by queue type, and is written down in docs/exactness.md:

- ready: a passive declare over AMQP asks the queue's own process, classic and quorum;
- unacknowledged, classic: the management API asks the queue's process when it is told to leave
  the statistics out;
- unacknowledged, quorum: a passive declare counts every consumer that holds a message, cancelled
  ones and `basic.get` included: nobody there means nothing held. With consumers there, the
  queue's own tick tells, up to its interval later;
- quorum, seemingly empty: a passive declare answers 0 as well while the queue has no leader, so
  `basic.get` makes sure of one;
- dead-lettered at least once: messages that wait for their target are in no count but the
  queue's tick;
- streams: reading is not destructive, so a read from the first offset tells.

Source: "Queues", "Quorum Queues", "Streams", "HTTP API Reference", RabbitMQ documentation.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from pika.exceptions import AMQPError, ChannelClosedByBroker

from rabbit_topology.access import Access, NoAmqpError
from rabbit_topology.errors import BrokerError
from rabbit_topology.management import NotFoundError
from rabbit_topology.model import TYPE_ARGUMENT, QueueType

STREAM_PATIENCE_SECONDS = 1.5
"""How long a stream's first message may take to arrive before the stream counts as empty."""

STRATEGY = "dead-letter-strategy"
_TARGET, _TARGET_KEY = "dead-letter-exchange", "dead-letter-routing-key"
_LIFETIME_KEYS = ("message-ttl", _TARGET, _TARGET_KEY, STRATEGY)

_TOTALS = "disable_stats=true&enable_queue_totals=true"
"""The query by which the management API asks the queues themselves."""

_LEAVING_SECONDS = 1.0
"""How long a consumer that is going away may take, before the statistics are waited for."""

_SIDE_BY_SIDE = 32
"""So many queues are asked at once: each may have to wait for the broker's statistics."""

TICK_PATIENCE_SECONDS = 60.0
"""How long two rounds of statistics may take, 10 s by default, before asking is given up."""


class NoLeaderError(BrokerError):
    """A quorum queue has no leader, so nobody knows what it holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """The messages and consumers of one queue of type ``kind``."""

    kind: QueueType
    ready: int
    unacknowledged: int
    consumers: int
    dead_letters: int = 0
    """Messages that a quorum queue keeps until their dead-letter target has confirmed them."""

    @property
    def messages(self) -> int:
        """How many messages would be lost with it."""
        return self.ready + self.unacknowledged + self.dead_letters

    @property
    def empty(self) -> bool:
        """No message is in it: neither waiting, nor with a consumer, nor on its way out."""
        return self.messages == 0

    @property
    def in_use(self) -> bool:
        """Deleting it would lose a message, or take a queue away from under a consumer."""
        return not self.empty or self.consumers > 0

    def __str__(self) -> str:
        dead = f"{self.dead_letters:,} not dead-lettered yet, " if self.dead_letters else ""
        return (
            f"{self.ready:,} ready, {self.unacknowledged:,} unacknowledged, {dead}"
            f"{self.consumers:,} consumer{'' if self.consumers == 1 else 's'}"
        )


def describe(access: Access, vhost: str, name: str) -> dict[str, Any] | None:
    """Return a queue as the management API knows it at this moment, None if it does not exist.

    Without statistics: for a classic queue the message counts then come from the queue itself.
    """
    try:
        found: dict[str, Any] = access.management.get(
            f"{access.path('queues', vhost, name)}?{_TOTALS}"
        )
    except NotFoundError:
        return None
    if "messages" not in found:
        # 3.10 has the totals in listings only.
        pattern = quote(f"^{re.escape(name)}$", safe="")
        listed = access.management.get(
            f"{access.path('queues', vhost)}?{_TOTALS}"
            f"&name={pattern}&use_regex=true&page=1&page_size=100"
        )
        found |= next((it for it in listed["items"] if it["name"] == name), {})
    return found


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

    By the keys of policies. An argument of the queue's comes before a policy, but for the time to
    live: of that the shortest counts.
    """
    name, kind = described["name"], queue_type(described)
    sources = [
        {key.removeprefix("x-"): it for key, it in described.get("arguments", {}).items()},
        access.effective_policy(vhost, name, "queues", operator=True, kind=kind),
        access.effective_policy(vhost, name, "queues", kind=kind),
    ]
    found = {}
    for key in _LIFETIME_KEYS:
        values = [it[key] for it in sources if key in it]
        if values:
            found[key] = min(values) if key == "message-ttl" else values[0]
    return found


def read(access: Access, vhost: str, name: str) -> Contents | None:
    """Return what a queue holds, None if it does not exist.

    Exact, and immediate but for one case: messages that consumers of a quorum queue hold, or that
    it still has to dead-letter, are known when the broker's statistics have gone round, and until
    then this waits.

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
    if (ready, consumers) == (0, 0):
        confirmed = _confirmed(access, vhost, name)
        if confirmed is None:
            return None
        ready, consumers = confirmed
    if consumers == 0 and not _keeps_dead_letters(access, vhost, described):
        return Contents(kind=kind, ready=ready, unacknowledged=0, consumers=0)
    settled = _by_statistics(access, vhost, name)
    return settled and replace(settled, ready=max(ready, settled.ready), consumers=consumers)


def quick(access: Access, vhost: str, name: str) -> Contents | None:
    """Return what a queue holds without waiting for statistics: never for a verdict.

    The unacknowledged messages of a quorum queue with consumers may be some seconds old.
    """
    described = describe(access, vhost, name)
    if described is None:
        return None
    kind = queue_type(described)
    ready, unacknowledged = (
        described.get(key) or 0 for key in ("messages_ready", "messages_unacknowledged")
    )
    try:
        declared = _declared(access, vhost, name)
    except BrokerError:
        # The management API's numbers will do for a preview.
        return Contents(kind=kind, ready=ready, unacknowledged=unacknowledged, consumers=0)
    if declared is None:
        return None
    hidden = 0
    if kind is QueueType.QUORUM:
        hidden = max(0, (described.get("messages") or 0) - ready - unacknowledged)
    ready, consumers = declared
    if kind is QueueType.STREAM:
        ready = ready or _first_of_stream(access, vhost, name)
    return Contents(
        kind=kind,
        ready=ready,
        unacknowledged=unacknowledged,
        consumers=consumers,
        dead_letters=hidden,
    )


def ready(access: Access, vhost: str, name: str) -> int:
    """Return how many messages of a queue wait for a consumer, exactly; 0 if it does not exist.

    Raises:
        BrokerError: The broker cannot be asked.
    """
    declared = _declared(access, vhost, name)
    return declared[0] if declared else 0


def published(access: Access, vhost: str, name: str) -> tuple[int, float]:
    """Return how many messages were published to a queue, and how many come in per second.

    As the broker's statistics tell, so of some seconds ago; 0 where they are switched off.
    """
    return _published(access, access.path("queues", vhost, name), "publish")


def published_by_name(access: Access, vhost: str) -> float:
    """Return the messages/s that come to any queue of a vhost through the default exchange."""
    return _published(access, access.path("exchanges", vhost, "amq.default"), "publish_out")[1]


def published_to(access: Access, vhost: str, exchange: str) -> float:
    """Return the messages/s that are published to an exchange, as `published` does."""
    return _published(access, access.path("exchanges", vhost, exchange), "publish_in")[1]


def _published(access: Access, path: str, key: str) -> tuple[int, float]:
    try:
        found = access.management.get(path).get("message_stats", {})
    except NotFoundError:
        return 0, 0.0
    return found.get(key, 0), found.get(f"{key}_details", {}).get("rate", 0.0)


def names(access: Access, vhost: str) -> list[str]:
    """Return the names of a vhost's queues, but for exclusive ones: they go with a connection."""
    return list(_listed(access, vhost, "disable_stats=true"))


def _listed(access: Access, vhost: str, query: str) -> dict[str, dict[str, Any]]:
    """Return what the management API says of all queues of a vhost but exclusive ones, by name."""
    try:
        listed = access.management.get(f"{access.path('queues', vhost)}?{query}")
    except NotFoundError:
        return {}
    return {it["name"]: it for it in listed if not it.get("exclusive")}


def dead_lettering(access: Access, vhost: str, exchange: str) -> Iterator[tuple[str, str | None]]:
    """Yield the queues in use that dead-letter to an exchange by its name, and by which key.

    No key means that messages keep theirs.
    """
    by_policy = any(_TARGET in it["definition"] for it in access.policies(vhost))
    for it in access.management.get(f"{access.path('queues', vhost)}?disable_stats=true"):
        if not by_policy and f"x-{_TARGET}" not in it["arguments"]:
            continue
        found = lifetime(access, vhost, it)
        if found.get(_TARGET) != exchange:
            continue
        held = quick(access, vhost, it["name"])
        if held and held.in_use:
            yield it["name"], found.get(_TARGET_KEY)


def survey(
    access: Access, vhost: str, only: Callable[[str], bool] = lambda _name: True
) -> dict[str, Contents]:
    """Return what each queue of a vhost holds that ``only`` says yes to, by name; as `read` does.

    Raises:
        BrokerError: The broker cannot be asked, or its answer cannot be trusted.
    """
    wanted = [name for name in names(access, vhost) if only(name)]
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as threads:
        try:
            declared = list(threads.map(lambda name: _declared(access, vhost, name), wanted))
        except NoAmqpError:
            found = threads.map(lambda name: read(access, vhost, name), wanted)
        else:
            described = _listed(access, vhost, _TOTALS)  # after the declares, as `read` does
            found = threads.map(
                # A queue that does not answer is left out of the listing: that is no queue gone.
                lambda name, it: (
                    _judge(access, vhost, described[name], *it)
                    if it and name in described
                    else read(access, vhost, name)
                ),
                wanted,
                declared,
            )
        return {name: it for name, it in zip(wanted, found, strict=True) if it}


def is_empty(access: Access, vhost: str, name: str) -> bool:
    """Tell whether no message of a quorum queue is ready, as its leader says; True if it is gone.

    Raises:
        NoLeaderError: There is none.
    """
    confirmed = _confirmed(access, vhost, name)
    return confirmed is None or confirmed[0] == 0


def wait_until_empty(
    access: Access, vhost: str, name: str, *, report: Callable[[str], None], patience: float
) -> bool:
    """Wait until a queue that gets no new messages is empty; False when one is ready again.

    Ready and held messages are looked at as one sum, which only falls: looked at one after the
    other, a message that a consumer gives back and takes again could be missed. A sum above 0
    that becomes 0 is a fresh 0, so that under traffic one round of statistics is enough.

    Raises:
        TimeoutError: Consumers hold messages for longer than ``patience`` seconds.
        BrokerError: The broker cannot be asked.
    """
    deadline = time.monotonic() + patience
    last, leader, zero_since = 0, None, 0.0
    hidden: bool | None = None
    while True:
        described, declared = describe(access, vhost, name), _declared(access, vhost, name)
        if described is None or declared is None:
            return True
        if hidden is None:
            hidden = _keeps_dead_letters(access, vhost, described)
        ready, consumers = declared
        if ready:
            return False
        quorum = queue_type(described) is QueueType.QUORUM
        if not quorum and "messages" not in described:
            raise _not_answering(access, name)
        total = described.get("messages", 0)
        if total == 0:
            exact = not quorum
            if quorum and consumers == 0 and not hidden:
                exact = _confirmed(access, vhost, name) in (None, (0, 0))
            # Of a leader on another node, or one just elected, the number may be missing.
            if exact or (last and described.get("leader") == leader):
                return True
            zero_since = zero_since or time.monotonic()
            if time.monotonic() - zero_since > _LEAVING_SECONDS:
                settled = read(access, vhost, name)
                return settled is None or settled.empty
        elif total != last:
            report(f"waiting for consumers to finish {total:,} messages of queue {name}")
        if time.monotonic() > deadline:
            raise TimeoutError
        last, leader = total, described.get("leader")
        time.sleep(0.1)


def _declared(access: Access, vhost: str, name: str) -> tuple[int, int] | None:
    """Return the ready messages and the consumers of a queue as it says itself, None if gone."""
    try:
        with access.channel(vhost) as channel:
            declared = channel.queue_declare(name, passive=True).method
    except ChannelClosedByBroker as error:
        if error.reply_code == 404 and "no queue" in error.reply_text:
            return None
        raise BrokerError(
            access.management.endpoint, f"queue {name!r} cannot be asked: {error.reply_text}"
        ) from None
    except AMQPError as error:
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
        BrokerError: It looks unused. Only a classic queue can be deleted on that condition.
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
        raise BrokerError(access.management.endpoint, said)
    found = _by_statistics(access, vhost, name)
    if found and not found.in_use:
        raise BrokerError(
            access.management.endpoint,
            f"queue {name!r} is empty as far as the management API knows, some seconds ago; only "
            f"AMQP tells for certain, and {error}",
        )
    return found


def _keeps_dead_letters(access: Access, vhost: str, described: Mapping[str, Any]) -> bool:
    """Tell whether a quorum queue dead-letters at least once.

    What is on its way to the dead-letter target is then neither ready nor with a consumer, and
    only the statistics know of it.
    """
    if queue_type(described) is not QueueType.QUORUM:
        return False
    return lifetime(access, vhost, described).get(STRATEGY) == "at-least-once"


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


def _by_statistics(access: Access, vhost: str, name: str) -> Contents | None:
    """Return the broker's statistics once they are certainly newer than the call.

    The queue's process publishes them at its own interval, the management plugin collects them at
    another. Its reductions grow from one publication to the next. The second change seen was
    therefore published after the first was collected, hence after the call.
    """
    path = access.path("queues", vhost, name)
    deadline = time.monotonic() + TICK_PATIENCE_SECONDS
    seen: list[int] = []
    while time.monotonic() < deadline:
        try:
            answer = access.management.get(path)
        except NotFoundError:
            return None
        reductions = answer.get("reductions")
        if reductions is not None and reductions not in seen:
            seen.append(reductions)
        if len(seen) > 2:
            ready, unacknowledged = answer["messages_ready"], answer["messages_unacknowledged"]
            return Contents(
                kind=queue_type(answer),
                ready=ready,
                unacknowledged=unacknowledged,
                consumers=answer["consumers"],
                dead_letters=max(0, answer["messages"] - ready - unacknowledged),
            )
        time.sleep(0.25)
    raise BrokerError(
        access.management.endpoint,
        f"the broker publishes no statistics of queue {name!r}, so whether it is empty is not "
        "known; make an AMQP address reachable (rabbit-topology:broker.hosts)",
    )
