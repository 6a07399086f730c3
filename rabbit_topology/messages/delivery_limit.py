"""
Taking messages from a quorum queue without its delivery limit dropping any of them.

A quorum queue counts how often a message was given back, and drops it, or dead-letters it, when
that is more often than its limit. So whoever takes messages and is killed brings each of them
nearer to that, and the last one loses them. While messages are taken, a policy lifts the limit;
where it cannot, none is taken.

- Before RabbitMQ 4.0 there is no limit by default, from 4.0 on it is 20.
- Before 4.3 whatever was given back counts; from 4.3 on what was rejected with `basic.reject`, and
  what a channel held that closed, but not what `basic.nack` gives back.
- A channel that closes gives back to the front of the queue, in order, behind what was given back
  before. `basic.nack` does so from 4.0 on where there is a limit; without one it puts messages at
  the end of the queue, and before 4.0 it mixes up those that are given back together.

So messages are given back by closing the channel, but from 4.3 on, with a limit, by `basic.nack`.
From 4.3 on the count goes with a message that is dead-lettered: one that was given up in one queue
is beyond the limit of the next, and lost at the first channel that closes with it.
Source: "Quorum Queues", RabbitMQ documentation; `rabbit_fifo` of 3.10.8, 4.0.5 and 4.3.6.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rabbit_topology.broker.access import Access
from rabbit_topology.compiler import effective
from rabbit_topology.compiler.effective import Live, Rules
from rabbit_topology.compiler.names import own_name
from rabbit_topology.errors import BrokerError, TopologyError, reason
from rabbit_topology.messages.queue import BrokerQueue
from rabbit_topology.messages.state import QueueState
from rabbit_topology.model import NO_DELIVERY_LIMIT, QueueType

KEY = "delivery-limit"
DEFAULT = 20
_LIMITED_FROM = (4, 0)
"""From this version on there is a limit by default, and -1 is none."""

_NACK_IS_FREE_FROM = (4, 3)

_DELAYS = "delayed-retry-"
"""Settings that would delay what is given back."""

_APPLIED_SECONDS = 10.0
_BACK_SECONDS, _BRIEFLY_SECONDS = 15.0, 2.0
_POLL_SECONDS = 0.05
_SETTLED_SECONDS = 1.0
"""A channel that has closed may give back its messages a moment later."""

_FIRST = 2**31
"""A priority that is above all others, in what is only computed."""


@dataclass(kw_only=True)
class Taking:
    """How messages may be taken from a queue, and what has to be known at the end."""

    limit: int | None = None
    """The limit that is lifted meanwhile; None: there is none."""
    nack: bool = False
    """They are given back by `basic.nack`, before the channel closes."""
    leftover: bool = False
    """A run that was killed had lifted it already."""
    highest: int = 0
    """How often a message that stays was given back, at most."""
    all_seen: bool = False
    """Every message of the queue was looked at."""
    back: bool = True
    """Nothing was taken, or what was taken and stays is back in the queue."""
    kept: list[str] = field(default_factory=list)
    """Why the policy stays."""

    def saw(self, deliveries: int) -> None:
        """Note a message that stays, with how often it was given back before."""
        self.highest = max(self.highest, deliveries + (not self.nack))

    def reason_to_keep(self) -> str | None:
        """Return why the limit has to stay lifted, None if nothing would be dropped by it."""
        if self.limit is None:
            return None
        if not self.back:
            return "it is not certain that all that was taken is back in the queue"
        # A run that counts nothing, and follows none that was killed, leaves all as it was.
        if self.highest >= self.limit and (self.leftover or not self.nack):
            return f"a message in it was given back {self.highest:,} times"
        if self.leftover and not self.all_seen:
            return "a run that was killed may have left messages that this one has not looked at"
        return None


def limits(access: Access, state: QueueState, rules: list[Rules]) -> set[int | None]:
    """Return the delivery limits that a queue may have; None is no limit."""
    if state.type is not QueueType.QUORUM:
        return {None}
    newest = access.management.newest_version
    limited = not newest or newest >= _LIMITED_FROM
    stated: set[int | None] = set()
    for one in rules:
        for outcome in one.possible(state.target, state.arguments):
            limit = outcome.get(KEY, DEFAULT if limited else None)
            stated.add(None if limit is None or (limited and int(limit) < 0) else int(limit))
    return stated


def policy_name(queue: str) -> str:
    """Return the name of the policy that lifts a queue's limit."""
    return own_name("replay", queue)


@contextmanager
def lifted(access: Access, vhost: str, state: QueueState) -> Iterator[Taking]:
    """Have a queue drop nothing for having been given back too often.

    Raises:
        TopologyError: An argument or an operator policy sets a limit, which no policy lifts.
        BrokerError: The broker does not apply the policy.
    """
    policy = policy_name(state.name)
    leftover = any(one["name"] == policy for one in access.policies(vhost))
    policies = access.live(vhost, but=policy)
    operators = access.live(vhost, operator=True)
    known = limits(access, state, effective.rules(policies, operators, access.like))
    stated = [limit for limit in known if limit is not None]
    if not stated:
        yield Taking()
        if leftover:
            access.delete_policy(vhost, policy)
        return
    applied = access.applied(vhost, state.target, but=policy)
    definition = {key: one for key, one in applied.items() if not key.startswith(_DELAYS)}
    definition[KEY] = NO_DELIVERY_LIMIT
    ours = Live(pattern="", apply_to="queues", priority=_FIRST, definition=definition)
    with_ours = effective.rules({**policies, policy: ours}, operators, access.like)
    if any(one is not None and one < NO_DELIVERY_LIMIT for one in limits(access, state, with_ours)):
        raise TopologyError(_refusal(state.name, min(stated)))
    access.override_policy(vhost, policy, state.name, "queues", definition)
    _wait_until_applied(access, vhost, state.name, policy)
    taking = Taking(
        limit=min(stated),
        nack=access.management.version >= _NACK_IS_FREE_FROM,
        leftover=leftover,
    )
    try:
        yield taking
    finally:
        _put_back(access, vhost, policy, taking)


def _put_back(access: Access, vhost: str, policy: str, taking: Taking) -> None:
    """Have the limit apply again, where nothing would be dropped by it."""
    kept = taking.reason_to_keep()
    if kept is None:
        try:
            access.delete_policy(vhost, policy)
        except BrokerError as error:
            kept = reason(error)
    if kept is not None:
        taking.kept.append(
            f"policy {policy} stays and lifts the delivery limit of {taking.limit}: {kept}; the "
            "next replay of this queue removes it where that is safe"
        )


def wait_until_back(queue: BrokerQueue, ready: int, held: int, *, certain: bool) -> bool:
    """Return whether ``held`` messages came back to a queue that had ``ready`` just before.

    It may look as if they did not where others take them. ``certain``: something hangs on it, so
    it is waited for longer, and a little more for what only looks like them.
    """
    deadline = time.monotonic() + (_BACK_SECONDS if certain else _BRIEFLY_SECONDS)
    while queue.ready() < ready + held:
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    if certain:
        time.sleep(_SETTLED_SECONDS)
    return True


def _wait_until_applied(access: Access, vhost: str, queue: str, policy: str) -> None:
    deadline = time.monotonic() + _APPLIED_SECONDS
    path = access.path("queues", vhost, queue)
    while access.management.get(path).get("policy") != policy:
        if time.monotonic() > deadline:
            raise BrokerError(
                access.management.endpoint,
                f"queue {queue}: the broker does not apply the policy {policy}, which keeps "
                "messages from being dropped while they are taken; nothing was taken",
            )
        time.sleep(_POLL_SECONDS)


def _refusal(queue: str, limit: int) -> str:
    return (
        f"refused, since messages could be lost: queue {queue} gives up what is given back to it "
        f"more than {limit} times, and an argument (x-delivery-limit) or an operator policy says "
        "so, which nothing lifts meanwhile. Each run that is killed counts, on some versions each "
        "look. Have a consumer take its messages, or state the limit in a policy instead"
    )
