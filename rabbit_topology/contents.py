"""
What a queue holds, exactly, at the moment of asking.

Which source is exact differs by queue type, and is written down in docs/exactness.md:

- ready: a passive declare over AMQP asks the queue's own process, classic and quorum;
- unacknowledged, classic: the management API asks the queue's process when it is told to leave
  the statistics out;
- unacknowledged, quorum: a passive declare counts every consumer that holds a message, cancelled
  ones and `basic.get` included: nobody there means nothing held. With consumers there, the
  queue's own tick tells, up to its interval later;
- dead-lettered at least once: messages that wait for their target are in no count but the
  queue's tick;
- streams: reading is not destructive, so a read from the first offset tells.

Source: "Queues", "Quorum Queues", "Streams", "HTTP API Reference", RabbitMQ documentation.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pika.exceptions import AMQPError, ChannelClosedByBroker

from rabbit_topology.access import Access, NoAmqpError
from rabbit_topology.errors import BrokerError
from rabbit_topology.management import NotFoundError
from rabbit_topology.model import TYPE_ARGUMENT, QueueType
from rabbit_topology.names import PREFIX

STREAM_PATIENCE_SECONDS = 1.5
"""How long a stream's first message may take to arrive before the stream counts as empty."""

_LEAVING_SECONDS = 1.0
"""How long a consumer that is going away may take, before the statistics are waited for."""

_TICK_SECONDS = 6.0
"""A quorum queue counts all that it holds every 5 s, unless the broker is told otherwise."""

TICK_PATIENCE_SECONDS = 60.0
"""How long two rounds of statistics may take, 10 s by default, before asking is given up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """The messages and consumers of one queue."""

    ready: int
    unacknowledged: int
    consumers: int
    dead_lettering: int = 0
    """Messages that stay until the dead-letter target has confirmed them, at least once."""

    @property
    def empty(self) -> bool:
        """No message is in it, neither waiting nor with a consumer."""
        return not (self.ready or self.unacknowledged or self.dead_lettering)

    @property
    def in_use(self) -> bool:
        """Deleting it would lose a message, or take a queue away from under a consumer."""
        return not self.empty or self.consumers > 0

    def __str__(self) -> str:
        waiting = f"{self.dead_lettering:,} being dead-lettered, " if self.dead_lettering else ""
        return (
            f"{self.ready:,} ready, {self.unacknowledged:,} unacknowledged, {waiting}"
            f"{self.consumers:,} consumer{'' if self.consumers == 1 else 's'}"
        )


def describe(access: Access, vhost: str, name: str) -> dict[str, Any] | None:
    """Return a queue as the management API knows it at this moment, None if it does not exist.

    Without statistics: for a classic queue the message counts then come from the queue itself.
    """
    query = "disable_stats=true&enable_queue_totals=true"
    try:
        found: dict[str, Any] = access.management.get(
            f"{access.path('queues', vhost, name)}?{query}"
        )
    except NotFoundError:
        return None
    if "messages" not in found:
        # 3.10 has the totals in listings only.
        pattern = quote(f"^{re.escape(name)}$", safe="")
        listed = access.management.get(
            f"{access.path('queues', vhost)}?{query}"
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


def read(access: Access, vhost: str, name: str) -> Contents | None:
    """Return what a queue holds, None if it does not exist.

    Exact, and immediate but for one case: messages that consumers of a quorum queue hold are
    known when the broker's statistics have gone round, and until then this waits.

    Raises:
        BrokerError: The broker cannot be asked, or its answer cannot be trusted.
    """
    described = describe(access, vhost, name)
    if described is None:
        return None
    kind = queue_type(described)
    try:
        declared = _declared(access, vhost, name)
        if declared is None:
            return None
        ready, consumers = declared
        if kind is QueueType.STREAM:
            held = ready or _first_of_stream(access, vhost, name)
            return Contents(ready=held, unacknowledged=0, consumers=consumers)
    except NoAmqpError:
        if kind is not QueueType.CLASSIC:
            return _by_statistics(access, vhost, name)
        listed = access.management.get(access.path("queues", vhost, name))
        ready, consumers = 0, listed.get("consumers") or 0
    if kind is QueueType.CLASSIC:
        return _classic(access, vhost, name, ready, consumers)
    if consumers == 0:
        waiting = 0
        if ready == 0 and dead_letters_at_least_once(access, vhost, described):
            time.sleep(_TICK_SECONDS)
            described = describe(access, vhost, name)
            if described is None:
                return None
            waiting = _dead_lettering(described)
        return Contents(ready=ready, unacknowledged=0, consumers=0, dead_lettering=waiting)
    settled = _by_statistics(access, vhost, name)
    return settled and Contents(
        ready=max(ready, settled.ready),
        unacknowledged=settled.unacknowledged,
        consumers=consumers,
        dead_lettering=settled.dead_lettering,
    )


def quick(access: Access, vhost: str, name: str) -> Contents | None:
    """Return what a queue holds without waiting for statistics: for previews, not for verdicts.

    The unacknowledged messages of a quorum queue with consumers may be some seconds old.
    """
    described = describe(access, vhost, name)
    if described is None:
        return None
    ready, unacknowledged = (
        described.get(key) or 0 for key in ("messages_ready", "messages_unacknowledged")
    )
    try:
        declared = _declared(access, vhost, name)
    except BrokerError:
        # The management API's numbers will do for a preview.
        return Contents(ready=ready, unacknowledged=unacknowledged, consumers=0)
    if declared is None:
        return None
    ready, consumers = declared
    waiting = _dead_lettering(described) if queue_type(described) is QueueType.QUORUM else 0
    if queue_type(described) is QueueType.STREAM:
        ready = ready or _first_of_stream(access, vhost, name)
    return Contents(
        ready=ready, unacknowledged=unacknowledged, consumers=consumers, dead_lettering=waiting
    )


def dead_letters_at_least_once(access: Access, vhost: str, described: Mapping[str, Any]) -> bool:
    """Tell whether a queue keeps what it dead-letters until the target has confirmed it."""
    key = "dead-letter-strategy"
    stated = described.get("arguments", {}).get(f"x-{key}")
    if stated is None and queue_type(described) is QueueType.QUORUM:
        stated = access.effective_policy(vhost, described["name"], "queues").get(key)
    return bool(stated == "at-least-once")


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


def _published(access: Access, path: str, key: str) -> tuple[int, float]:
    try:
        found = access.management.get(path).get("message_stats", {})
    except NotFoundError:
        return 0, 0.0
    return found.get(key, 0), found.get(f"{key}_details", {}).get("rate", 0.0)


def survey(access: Access, vhost: str) -> dict[str, Contents]:
    """Return what each queue of a vhost holds, helpers of unfinished runs left out.

    Whether one is in use is exact, as in `read`; the number of messages that consumers of a
    quorum queue hold may be some seconds old.
    """
    try:
        listed = access.management.get(
            f"{access.path('queues', vhost)}?disable_stats=true&enable_queue_totals=true"
        )
    except NotFoundError:
        return {}
    return {
        it["name"]: found
        for it in listed
        if not it["name"].startswith(PREFIX)
        and not it.get("exclusive")
        and (found := quick(access, vhost, it["name"]))
    }


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
    while True:
        described, declared = describe(access, vhost, name), _declared(access, vhost, name)
        if described is None or declared is None:
            return True
        ready, consumers = declared
        if ready:
            return False
        quorum = queue_type(described) is QueueType.QUORUM
        if not quorum and "messages" not in described:
            raise _not_answering(access, name)
        total = described.get("messages", 0)
        if total == 0:
            exact = not quorum or (
                consumers == 0 and not dead_letters_at_least_once(access, vhost, described)
            )
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


def _classic(access: Access, vhost: str, name: str, ready: int, consumers: int) -> Contents | None:
    # Asked after the passive declare: a message that a consumer gives back in between is then
    # seen in one of the two.
    described = describe(access, vhost, name)
    if described is None:
        return None
    if "messages" not in described:
        raise _not_answering(access, name)
    return Contents(
        ready=max(ready, described["messages_ready"]),
        unacknowledged=described["messages_unacknowledged"],
        consumers=consumers,
    )


def _dead_lettering(described: Mapping[str, Any]) -> int:
    total, *others = (
        described.get(key) or 0 for key in ("messages", "messages_ready", "messages_unacknowledged")
    )
    return max(0, total - sum(others))


def _not_answering(access: Access, name: str) -> BrokerError:
    return BrokerError(
        access.management.endpoint,
        f"queue {name!r} does not tell what it holds: its node may be down; nothing is deleted",
    )


def _first_of_stream(access: Access, vhost: str, name: str) -> int:
    """Return 1 if a stream has a message, else 0; its own counter lags by a second or two."""
    with access.channel(vhost) as channel:
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
            return Contents(
                ready=answer["messages_ready"],
                unacknowledged=answer["messages_unacknowledged"],
                consumers=answer["consumers"],
                dead_lettering=_dead_lettering(answer),
            )
        time.sleep(0.25)
    raise BrokerError(
        access.management.endpoint,
        f"the broker publishes no statistics of queue {name!r}, so whether it is empty is not "
        "known; make an AMQP address reachable (rabbit-topology:broker.hosts)",
    )
