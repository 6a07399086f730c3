"""
What the broker does where nothing is set: of a queue, by its type and the broker's version.

Source: "Queues", "Quorum Queues", "Streams", "Consumers", "Dead Letter Exchanges", RabbitMQ
documentation; `consumer_timeouts.md` of RabbitMQ 4.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rabbit_topology.model import QueueType
from rabbit_topology.model.versions import Version

_LIMITED: Version = (4, 0)
"""From this version on a quorum queue has a delivery limit of its own."""
_QUORUM_ONLY: Version = (4, 3)
"""From this version on only quorum queues have a consumer timeout."""

_DEAD_LETTERS = "dead-letter-exchange"
_LENGTHS = frozenset({"max-length", "max-length-bytes"})


def of_queue(
    type_: QueueType, settings: Mapping[str, Any], version: Version
) -> Iterator[tuple[str, str]]:
    """Yield each setting that matters and is not set, with what the broker does then, in words.

    Args:
        type_: The queue's.
        settings: What is set.
        version: The version that the broker behaves like.
    """
    for key, words in _of_queue(type_, settings, version):
        if key not in settings:
            yield key, words


def _of_queue(
    type_: QueueType, settings: Mapping[str, Any], version: Version
) -> Iterator[tuple[str, str]]:
    if type_ is QueueType.STREAM:
        if not settings.keys() & {"max-age", "max-length-bytes"}:
            yield "max-age", "messages are kept for ever"
        yield "stream-max-segment-size-bytes", "500 MB"
        return
    quorum = type_ is QueueType.QUORUM
    if not settings.keys() & _LENGTHS:
        yield "max-length", "no limit"
    else:
        yield "overflow", "drop-head: the oldest messages go"
    yield "message-ttl", "messages do not expire, unless their publisher says so"
    yield _DEAD_LETTERS, "none: what is rejected or expires is gone"
    if quorum:
        yield "delivery-limit", "20" if version >= _LIMITED else "no limit"
        if _DEAD_LETTERS in settings:
            yield "dead-letter-strategy", "at-most-once: dead letters can be lost on the way"
    if quorum or version < _QUORUM_ONLY:
        yield "consumer-timeout", "30m, unless the broker's own configuration says otherwise"
