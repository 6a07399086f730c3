"""
What a change of a policy would take from the queues that it touches.

A lower limit takes effect on what a queue holds already. That loses messages, unless they are
dead-lettered or the queue refuses new ones instead. What counts is what applies in the end: of a
queue's policies the one with the highest priority, and of it, the operator policy and the queue's
arguments the lowest number.

Source: "Policies", "Queue Length Limit", "Time-To-Live and Expiration", "Quorum Queues", "Streams",
RabbitMQ documentation.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import inf
from typing import Any

from rabbit_topology import contents
from rabbit_topology.access import Access, matches
from rabbit_topology.management import NotFoundError
from rabbit_topology.model import QueueType
from rabbit_topology.names import PREFIX

LENGTHS = ("max-length", "max-length-bytes")
TIMES = ("message-ttl", "expires", "max-age")

_SECONDS = {"Y": 31_536_000, "M": 2_592_000, "D": 86_400, "h": 3600, "m": 60, "s": 1, "": 1}
"""Of the units of ``max-age``."""

_STATISTICS_SECONDS = 15.0
"""How long the statistics may take to count what the queue itself counts."""


def policy(name: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a policy as the broker lists it, from what the provider is given."""
    return {
        "name": name,
        "pattern": inputs["pattern"],
        "apply-to": inputs["applyTo"],
        "priority": int(inputs["priority"]),
        "definition": {
            key: int(value) if re.fullmatch(r"[+-]?[0-9]+", str(value)) else value
            for key, value in inputs["definition"].items()
        },
    }


def leads_on(access: Access, vhost: str, definition: Mapping[str, Any]) -> bool:
    """Tell whether what a policy sends to other exchanges can arrive anywhere."""
    return all(
        _is_bound(access, vhost, str(definition[key]))
        for key in ("dead-letter-exchange", "alternate-exchange")
        if key in definition
    )


def dropped(
    access: Access,
    vhost: str,
    name: str,
    new: Mapping[str, Any] | None,
    *,
    operator: bool,
    patience: float = _STATISTICS_SECONDS,
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
        written = access.policies(vhost, operator=operator)
        others = access.policies(vhost, operator=not operator)
        queues = access.management.get(f"{access.path('queues', vhost)}?disable_stats=true")
    except NotFoundError:  # the vhost is yet to be made
        return
    changed = [it for it in written if it["name"] != name] + ([dict(new)] if new else [])
    for queue in queues:
        if queue["name"].startswith(PREFIX) or queue.get("exclusive"):
            continue
        before, after = (_effective(queue, those, others) for those in (written, changed))
        if before == after:
            continue
        reasons = [
            reason
            for old, new_one in product(before, after)
            for reason in _reasons(access, vhost, queue, old, new_one, patience)
        ]
        yield from ((queue["name"], reason) for reason in dict.fromkeys(reasons))


def leaving(
    access: Access, vhost: str, old: Mapping[str, Any], new: Mapping[str, Any] | None
) -> Iterator[str]:
    """Yield the queues or exchanges of a vhost that a policy applies to and will no longer."""
    kind = "exchanges" if old["applyTo"] == "exchanges" else "queues"
    try:
        listed = access.management.get(f"{access.path(kind, vhost)}?disable_stats=true")
    except NotFoundError:
        return
    for it in listed:
        name = it["name"]
        if not name or name.startswith(PREFIX) or not matches(old["pattern"], name):
            continue
        if new is None or not matches(new["pattern"], name):
            yield name


def _effective(
    queue: Mapping[str, Any],
    policies: Sequence[Mapping[str, Any]],
    others: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Return what applies to a queue; several, where policies tie: any of them may."""
    arguments = {key.removeprefix("x-"): it for key, it in queue.get("arguments", {}).items()}
    kind = contents.queue_type(queue)
    return [
        _merged(kind, arguments, definitions)
        for definitions in product(*(_first(kind, queue["name"], it) for it in (policies, others)))
    ]


def _first(
    kind: QueueType, name: str, policies: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    matching = [
        it
        for it in policies
        if it["apply-to"] in ("all", "queues", f"{kind}_queues", f"{kind}s")
        and matches(it["pattern"], name)
    ]
    highest = max((it["priority"] for it in matching), default=0)
    return [it["definition"] for it in matching if it["priority"] == highest] or [{}]


def _merged(
    kind: QueueType, arguments: Mapping[str, Any], definitions: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for each in (*definitions, arguments):
        merged |= each
    for each in definitions:
        if kind is QueueType.QUORUM and "overflow" in each:
            merged["overflow"] = each["overflow"]  # of all others the argument comes first
    for key in (*LENGTHS, *TIMES):
        given = [_number(each[key]) for each in (*definitions, arguments) if key in each]
        if given:
            merged[key] = min(given)
    return merged


def _reasons(
    access: Access,
    vhost: str,
    queue: Mapping[str, Any],
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    patience: float,
) -> Iterator[str]:
    stream = contents.queue_type(queue) is QueueType.STREAM
    kept, was_kept = (
        not stream and "dead-letter-exchange" in it and leads_on(access, vhost, it)
        for it in (after, before)
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
    forgets = _waits(before) and not _waits(after)
    if not lowered and not forgets:
        return
    name = queue["name"]
    found = (contents.read if forgets and patience else contents.quick)(access, vhost, name)
    if found is None or found.empty:
        return
    if forgets and found.dead_letters:
        yield (
            f"dead-letter-strategy: at-least-once -> {after.get('dead-letter-strategy', 'none')}: "
            f"{found.dead_letters:,} messages still wait for their dead-letter target to take "
            "them, the broker would delete those"
        )
    for key in sorted(lowered):
        held: int | None = found.ready
        if key == "max-length-bytes":
            held = None if stream else _bytes(access, vhost, name, patience)
        if reason := _reason(key, after[key], held, found):
            yield f"{key}: {_shown(before.get(key))} -> {_shown(after[key])}: {reason}"


def _reason(key: str, limit: float, held: int | None, found: contents.Contents) -> str | None:
    match key:
        case "max-length" | "max-length-bytes":
            unit = "messages" if key == "max-length" else "bytes"
            if held is None:
                return f"how many {unit} it holds is not known, the oldest could be dropped"
            if held > limit:
                return f"it holds {held:,} {unit}, the oldest {held - int(limit):,} would go"
            return None
        case "message-ttl":
            many = found.ready + found.unacknowledged
            return f"it holds {many:,} messages, what is older would be lost"
        case "expires":
            return f"unused for so long, it would go with its {found.ready:,} messages"
        case _:
            return "it holds messages, what is older would be lost"


def _is_bound(access: Access, vhost: str, exchange: str) -> bool:
    return bool(access.bindings("exchanges", vhost, exchange, "source"))


def _refuses(settings: Mapping[str, Any]) -> bool:
    return str(settings.get("overflow", "")).startswith("reject-publish")


def _waits(settings: Mapping[str, Any]) -> bool:
    """Tell whether messages stay until their dead-letter target has confirmed them."""
    return bool(
        settings.get("dead-letter-strategy") == "at-least-once"
        and settings.get("overflow") == "reject-publish"
        and settings.get("dead-letter-exchange")
    )


def _bytes(access: Access, vhost: str, queue: str, patience: float) -> int | None:
    """Return the bytes that wait in a queue; None if that is not known.

    They stand in the statistics alone, which lag: those are believed that count as many messages
    as the queue itself does.
    """
    deadline = time.monotonic() + patience
    while True:
        described = access.management.get(access.path("queues", vhost, queue))
        held: int | None = described.get("message_bytes_ready")
        if not patience or (
            held is not None
            and described.get("messages_ready") == contents.ready(access, vhost, queue)
        ):
            return held
        if time.monotonic() > deadline:
            return None
        time.sleep(0.25)


def _number(value: object) -> float:
    """Return a limit as a number to compare: ``max-age`` is text such as 3600s or 7D."""
    found = re.fullmatch(r"(-?\d+(?:\.\d+)?)([YMDhms]?)", str(value))
    return float(found[1]) * _SECONDS[found[2]] if found else inf


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:,.0f}"
