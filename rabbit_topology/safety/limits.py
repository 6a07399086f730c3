"""
What a change of a policy would take from the queues that it touches.

A lower limit takes effect on what a queue holds already. That loses messages, unless they are
dead-lettered or the queue refuses new ones instead. What counts is what applies in the end, which
`effective` works out; of all that it may be the worst counts.

Source: "Policies", "Queue Length Limit", "Time-To-Live and Expiration", "Quorum Queues", "Streams",
RabbitMQ documentation.
"""

from __future__ import annotations

import re
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from math import inf
from typing import Any

from rabbit_topology.broker.access import Access, NoAmqpError
from rabbit_topology.broker.management import NotFoundError
from rabbit_topology.broker.totals import Count
from rabbit_topology.compiler import effective, policies, regexes
from rabbit_topology.compiler.effective import Rules, Target
from rabbit_topology.compiler.names import PREFIX
from rabbit_topology.compiler.settings import Loss, keys
from rabbit_topology.messages.contents import Contents
from rabbit_topology.messages.queue import BrokerQueue, states
from rabbit_topology.messages.state import QueueState
from rabbit_topology.model import QueueType

LENGTHS = keys(loss=Loss.LENGTH)
TIMES = keys(loss=Loss.TIME)

_SECONDS = {"Y": 31_536_000, "M": 2_592_000, "D": 86_400, "h": 3600, "m": 60, "s": 1, "": 1}
"""Of the units of ``max-age``."""

_SIDE_BY_SIDE = 32
"""So many queues are asked at once: each may have to wait for the broker's statistics."""

STATISTICS_SECONDS = 30.0
"""How long the statistics may take to count what the queue itself counts."""

_ROUND_SECONDS = 5.5
"""In this time the management plugin collects each of its tables at least once, by default."""


def policy(name: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a policy as the broker lists it, from what the provider is given."""
    return {
        "name": name,
        "pattern": inputs["pattern"],
        "apply-to": inputs["applyTo"],
        "priority": int(inputs["priority"]),
        "definition": {key: policies.as_sent(value) for key, value in inputs["definition"].items()},
    }


def named(definition: Mapping[str, Any]) -> list[str]:
    """Return the exchanges that a policy sends messages on to."""
    keys_ = ("dead-letter-exchange", "alternate-exchange")
    return [str(definition[key]) for key in keys_ if key in definition]


def leads_on(
    access: Access, vhost: str, definition: Mapping[str, Any], bound: Container[str] = ()
) -> bool:
    """Return whether what a policy sends to other exchanges can arrive anywhere.

    ``bound`` are exchanges that will be bound to something in the end.
    """
    return all(
        exchange in bound or _is_bound(access, vhost, exchange) for exchange in named(definition)
    )


def dropped(
    access: Access,
    vhost: str,
    name: str,
    new: Mapping[str, Any] | None,
    *,
    operator: bool,
    patience: float = STATISTICS_SECONDS,
) -> Iterator[tuple[str, str]]:
    """Yield the queues that a change of a policy would take messages from, and the reason.

    Args:
        access: The broker.
        vhost: Its vhost.
        name: The policy's name.
        new: The policy as it will be, in the broker's words; None: it is deleted.
        operator: It is an operator policy.
        patience: How many seconds to wait for a number of bytes that can be trusted.
    """
    try:
        kept = {kind: access.live(vhost, operator=kind) for kind in (False, True)}
        states_ = states(access, vhost, "disable_stats=true")
    except NotFoundError:  # the vhost is yet to be made
        return
    changed = {key: policy for key, policy in kept[operator].items() if key != name}
    changed |= effective.live([new] if new else [])
    before, after = (
        effective.rules(sides[False], sides[True], access.like)
        for sides in (kept, {**kept, operator: changed})
    )

    def reasons(state: QueueState) -> list[str]:
        pairs = [
            (
                old.possible(state.target, state.arguments),
                next_.possible(state.target, state.arguments),
            )
            for old, next_ in zip(before, after, strict=True)
        ]
        return _taken(access, vhost, state.target, pairs, patience)

    touched = [state for name, state in states_.items() if not name.startswith(PREFIX)]
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as threads:
        for state, why in zip(touched, threads.map(reasons, touched), strict=True):
            yield from ((state.name, reason) for reason in why)


def replaced(
    access: Access,
    vhost: str,
    state: QueueState,
    new: tuple[str, QueueType, Mapping[str, Any]],
    rules: Sequence[Rules],
    bound: Container[str],
    patience: float = STATISTICS_SECONDS,
) -> list[str]:
    """Return why messages of a queue would go, when they come back into what replaces it.

    Args:
        access: The broker.
        vhost: Its vhost.
        state: The queue as it is.
        new: The name, the type and the arguments of what replaces it.
        rules: The policies that the vhost will have then, for each version as `Access.rules`.
        bound: The exchanges that will be bound to something then.
        patience: As for `dropped`.
    """
    name, type_, arguments = new
    target = replace(state.target, name=name, type=type_)
    pairs = [
        (
            old.possible(state.target, state.arguments),
            next_.possible(target, arguments),
        )
        for old, next_ in zip(access.rules(vhost), rules, strict=True)
    ]
    return _taken(
        *(access, vhost, target, pairs, patience), moved=True, queues=[state.name], bound=bound
    )


def returned(
    access: Access,
    vhost: str,
    target: Target,
    before: Mapping[str, Any],
    arguments: Mapping[str, Any],
    rules: Sequence[Rules],
    queues: Sequence[str],
    bound: Container[str],
) -> list[str]:
    """Return why messages would go that come out of other queues into one that is declared now.

    Args:
        access: The broker.
        vhost: Its vhost.
        target: The queue, of the type that it is declared with.
        before: What applied to the queue that they were published to, by the keys of policies.
        arguments: What the queue is declared with.
        rules: The policies that the vhost will have then, for each version as `Access.rules`.
        queues: Where they are now.
        bound: The exchanges that will be bound to something in the end.
    """
    pairs = [([before], one.possible(target, arguments)) for one in rules]
    return _taken(
        *(access, vhost, target, pairs, STATISTICS_SECONDS), moved=True, queues=queues, bound=bound
    )


def now(access: Access, vhost: str, state: QueueState) -> dict[str, Any]:
    """Return what applies to a queue in this state; what is not certain is left out."""
    outcomes = [
        outcome
        for rules in access.rules(vhost)
        for outcome in rules.possible(state.target, state.arguments)
    ]
    return {
        key: value
        for key, value in outcomes[0].items()
        if all(outcome.get(key) == value for outcome in outcomes)
    }


def leaving(
    access: Access, vhost: str, old: Mapping[str, Any], new: Mapping[str, Any] | None
) -> Iterator[str]:
    """Yield the queues or exchanges of a vhost that a policy applies to and will no longer."""
    kind = "exchanges" if old["applyTo"] == "exchanges" else "queues"
    try:
        listed = access.rows(kind, vhost)
    except NotFoundError:
        return
    for one in listed:
        name = one["name"]
        if not name or name.startswith(PREFIX) or not _may_match(old["pattern"], name):
            continue
        if new is None or not _may_match(new["pattern"], name):
            yield name


def _may_match(pattern: str, name: str) -> bool:
    return regexes.matches(pattern, name) is not False


def _taken(
    access: Access,
    vhost: str,
    target: Target,
    pairs: Iterable[tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]],
    patience: float,
    *,
    moved: bool = False,
    queues: Sequence[str] = (),
    bound: Container[str] = (),
) -> list[str]:
    """Return why messages of a queue would go, when what applies to it changes.

    Args:
        access: The broker.
        vhost: Its vhost.
        target: The queue, of the type that it then has.
        pairs: What may apply before, and after; any before can be followed by any after.
        patience: As for `dropped`.
        moved: It gives away what it holds, and its dead letters, before the change.
        queues: Where its messages are; none: in itself.
        bound: The exchanges that will be bound to something in the end.
    """
    waiting = queues or [target.name]
    reasons = [
        reason
        for before, after in pairs
        if before != after
        for old, new in product(before, after)
        for reason in _reasons(
            *(access, vhost, target, _numbered(old), _numbered(new), patience, waiting),
            moved=moved,
            bound=bound,
        )
    ]
    return list(dict.fromkeys(reasons))


def _numbered(settings: Mapping[str, Any]) -> dict[str, Any]:
    limits = {key: _number(settings[key]) for key in (*LENGTHS, *TIMES) if key in settings}
    return {**settings, **limits}


def _reasons(
    access: Access,
    vhost: str,
    target: Target,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    patience: float,
    queues: Sequence[str],
    *,
    moved: bool,
    bound: Container[str],
) -> Iterator[str]:
    stream = target.type is QueueType.STREAM
    kept, was_kept = (
        not stream and "dead-letter-exchange" in one and leads_on(access, vhost, one, later)
        for one, later in ((after, bound), (before, ()))
    )
    lowered = {
        key for key in (*LENGTHS, *TIMES) if key in after and after[key] < before.get(key, inf)
    }
    if "message-ttl" in after and was_kept and not kept:
        lowered.add("message-ttl")  # what would have been kept is lost from now on
    if _refuses(before):
        lowered |= {key for key in LENGTHS if key in after}  # it can hold some more than the limit
    if kept:
        lowered -= {*LENGTHS, "message-ttl"}
    if _refuses(after) and not stream:
        lowered -= set(LENGTHS)
    forgets = not moved and _waits(before) and not _waits(after)
    if not lowered and not forgets:
        return
    held_by = {
        name: _held(BrokerQueue(access, vhost, name), exact=bool(patience)) for name in queues
    }
    there = {name: one for name, one in held_by.items() if one and not one.empty}
    if not there:
        return
    total = Contents.together(list(there.values()))
    # Messages in a state that has no name here may be such.
    if forgets and (waiting := total.dead_letters + total.unknown):
        yield (
            f"dead-letter-strategy: at-least-once -> {after.get('dead-letter-strategy', 'none')}: "
            f"{waiting:,} messages still wait for their dead-letter target to take "
            "them, the broker would delete those"
        )
    for key in sorted(lowered):
        held: int | None = total.undelivered
        if key == "max-length-bytes":
            sizes = [
                None if stream else _bytes(BrokerQueue(access, vhost, name), one, patience)
                for name, one in there.items()
            ]
            held = None if None in sizes else sum(size or 0 for size in sizes)
        if reason := _reason(key, after[key], held, total):
            yield f"{key}: {_shown(before.get(key))} -> {_shown(after[key])}: {reason}"


def _held(queue: BrokerQueue, *, exact: bool) -> Contents | None:
    """Return what a queue holds; exactly, if it is to be and AMQP can be reached."""
    if exact:
        try:
            return queue.read()
        except NoAmqpError:
            pass  # the management API's numbers are all that there is
    return queue.quick()


def _reason(key: str, limit: float, held: int | None, total: Contents) -> str | None:
    match key:
        case "max-length" | "max-length-bytes":
            unit = "messages" if key == "max-length" else "bytes"
            if held is None:
                return f"how many {unit} it holds is not known, the oldest could be dropped"
            if held > limit:
                return f"it holds {held:,} {unit}, the oldest {held - int(limit):,} would go"
            return None
        case "message-ttl":
            return f"it holds {total.messages:,} messages, what is older would be lost"
        case "expires":
            return f"unused for so long, it would go with its {total.messages:,} messages"
        case _:
            return "it holds messages, what is older would be lost"


def _is_bound(access: Access, vhost: str, exchange: str) -> bool:
    return bool(access.bindings("exchanges", vhost, exchange, "source"))


def _refuses(settings: Mapping[str, Any]) -> bool:
    return str(settings.get("overflow", "")).startswith("reject-publish")


def _waits(settings: Mapping[str, Any]) -> bool:
    """Return whether messages stay until their dead-letter target has confirmed them."""
    return bool(
        settings.get("dead-letter-strategy") == "at-least-once"
        and settings.get("overflow") == "reject-publish"
        and settings.get("dead-letter-exchange")
    )


def _bytes(queue: BrokerQueue, held_now: Contents, patience: float) -> int | None:
    """Return the bytes that wait in a queue which holds ``held_now``; None if not known.

    They stand in the statistics alone, which lag: those are believed that count as many messages
    as the queue itself does, and at least as many that are neither ready nor held. Bytes and
    messages are collected apart from each other: two looks must agree between which all are
    collected once. Without patience the numbers are taken as they are, unless they say that
    messages have no bytes at all.
    Bytes of delayed messages are among the ready ones, those of dead letters are not.
    """
    deadline = time.monotonic() + (patience or STATISTICS_SECONDS)
    access, others = queue.access, held_now.undelivered - held_now.ready
    agreed: float | None = None
    while True:
        described = access.management.get(access.path("queues", queue.vhost, queue.name))
        held: int | None = described.get("message_bytes_ready")
        if held is not None:
            held += described.get("message_bytes_dlx") or 0
        ready, count = described.get("messages_ready"), Count.of(described)
        if not patience and (held or not held_now.undelivered):
            return held
        counted = count.messages - count.ready - count.unacknowledged if count else 0
        known = held is not None and counted >= others
        try:
            agrees = known and ready == queue.ready()
        except NoAmqpError:
            return None
        looked = time.monotonic()
        if agrees:
            agreed = agreed or looked
            if looked >= agreed + _ROUND_SECONDS:
                return held
        if looked > deadline:
            return None
        time.sleep(0.25)


def _number(value: object) -> float:
    """Return a limit as a number to compare: ``max-age`` is text such as 3600s or 7D."""
    number = re.fullmatch(r"(-?\d+(?:\.\d+)?)([YMDhms]?)", str(value))
    return float(number[1]) * _SECONDS[number[2]] if number else inf


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:,.0f}"
