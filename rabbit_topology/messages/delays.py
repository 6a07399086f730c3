"""
Whether a queue can be emptied that delays messages: nothing moves those before they are due.

A quorum queue of RabbitMQ 4.3 and newer delays what consumers give back: as its settings say
(``delayed-retry-type``), or as a consumer says (AMQP 1.0, ``x-opt-delivery-time``), whatever the
settings. Source: "Quorum Queues", RabbitMQ documentation.
"""

from __future__ import annotations

import time

from rabbit_topology.broker.totals import Count

_SLACK_SECONDS = 30.0
"""How long after they are due messages may take to be delivered, and to be counted as such."""


def refusal(queue: str, count: Count, patience: float) -> str | None:
    """Return why a queue cannot be emptied within ``patience`` seconds, None if it can.

    What a consumer delays has no bound: another message may be given back at any time.
    """
    if not count.delayed:
        return None
    longest = count.longest_delay
    if longest is not None and longest <= patience and longest_wait(count) <= patience:
        return None
    if longest is None:
        why = "none of its settings bounds for how long: consumers say so (x-opt-delivery-time)"
    elif longest <= patience:
        why = "longer than its settings say: consumers said so (x-opt-delivery-time)"
    else:
        why = f"for up to {longest:,.0f} s, as its settings say"
    last = f", the last of them is due in {longest_wait(count):,.0f} s" if count.due else ""
    return (
        f"queue {queue} cannot be replaced now: it delays {count.delayed:,} messages{last}. "
        f"Nothing can move them before, and they are waited for up to {patience:,.0f} s only "
        f"({why}). Run again when they are due and consumers have taken them; or declare the new "
        "queue under another name; or, to lose them, set `on_delete: discard` on it, run "
        "`pulumi up`, and change it then"
    )


def longest_wait(count: Count) -> float:
    """Return how many seconds it takes until what a queue delays is due, 0 if that is not known."""
    if count.due is None:
        return count.longest_delay or 0.0
    return max(0.0, count.due - time.time())


class Deadline:
    """By when a queue's delayed messages are gone, unless more and more are delayed."""

    def __init__(self) -> None:
        self._ends: float | None = None

    def passed(self, count: Count) -> bool:
        """Return whether a queue still delays messages that were due long ago."""
        if not count.delayed:
            return False
        now = time.monotonic()
        if self._ends is None:
            self._ends = now + longest_wait(count) + _SLACK_SECONDS
        return now > self._ends
