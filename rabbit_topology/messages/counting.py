"""
When a live quorum queue counts its messages the next time: the best moment to cut it off.

While a queue has consumers, that it is empty is known from its own count alone, and it counts at an
interval, every 5 s by default. So publishers are led elsewhere shortly before: then consumers have
finished what they hold when it counts, and publishers are not held for a whole interval.

Source: "Quorum Queues" (``quorum_tick_interval``), RabbitMQ documentation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rabbit_topology import interrupt
from rabbit_topology.broker import totals
from rabbit_topology.broker.management import NotFoundError
from rabbit_topology.messages.queue import BrokerQueue
from rabbit_topology.messages.state import QueueState
from rabbit_topology.model import QueueType

LEAD_SECONDS = 0.6
"""How long before it counts a queue is cut off: some messages are still with consumers."""

_PATIENCE_SECONDS = 16.0
"""Some counts are the same as the last, and one of 0 says nothing when the next is 0 as well."""

_INTERVAL_SECONDS = 5.0
"""From one count to the next by default: taken for it where no shorter one is seen."""

_QUIET_SECONDS = 6.0
"""So long it is looked at where neither a rate nor a log tells whether anything comes in."""

_LOOK_SECONDS = 0.03
_LOG_SECONDS = 0.2


def wait(queue: BrokerQueue, report: Callable[[str], None]) -> None:
    """Return shortly before a queue counts its messages; at once if it need not, or is not live."""
    state = queue.state()
    if state is None or state.type is not QueueType.QUORUM:
        return
    if not queue.consumers():
        return
    if not queue.published()[1] and _is_quiet(queue):
        return
    report(f"queue {queue.name}: waiting until it counts its messages (every 5 s by default)")
    seen: list[float] = []
    started, last = time.monotonic(), _counts(state)
    quiet_until = started + _QUIET_SECONDS
    while (now := time.monotonic()) < started + _PATIENCE_SECONDS:
        interrupt.check()
        counts = _counts(queue.state())
        if counts != last:
            seen.append(now)
        elif not (any(counts) or seen) and now > quiet_until:
            if not queue.published()[1]:
                return
            quiet_until = now + _PATIENCE_SECONDS
        last = counts
        if any(counts) and (interval := _interval(seen, now)):
            left = interval - LEAD_SECONDS - (time.monotonic() - seen[-1]) % interval
            if left >= 0:
                time.sleep(left)
                return
        time.sleep(_LOOK_SECONDS)


def _is_quiet(queue: BrokerQueue) -> bool:
    """Return whether nothing comes in and nothing is taken: the statistics know no young queue.

    False as well where the broker does not tell.
    """
    try:
        before = _position(queue)
        time.sleep(_LOG_SECONDS)
        return before is not None and _position(queue) == before
    except NotFoundError:
        return True


def _interval(seen: Sequence[float], now: float) -> float | None:
    """Return the time from one count to the next, None if it is too early to tell."""
    if len(seen) > 1:
        return min(seen[-1] - seen[-2], _INTERVAL_SECONDS)
    return _INTERVAL_SECONDS if seen and now > seen[0] + _INTERVAL_SECONDS else None


def _position(queue: BrokerQueue) -> totals.Position | None:
    return totals.position(queue.access, queue.vhost, queue.name)


def _counts(state: QueueState | None) -> tuple[int, ...]:
    return (state.messages or 0, state.ready, state.unacknowledged) if state else (0, 0, 0)
