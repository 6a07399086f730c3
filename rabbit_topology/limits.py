"""
What a change of settings would drop at once from the queues that it touches.

A lower limit takes effect on what a queue holds already. That loses messages, unless they are
dead-lettered or the queue refuses new ones instead.

Source: "Queue Length Limit", "Time-To-Live and Expiration", "Streams", RabbitMQ documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from rabbit_topology import contents
from rabbit_topology.access import Access
from rabbit_topology.names import PREFIX

LIMITS = {"max-length", "max-length-bytes", "message-ttl", "expires", "max-age"}
"""The settings that take messages away."""


def dropped(
    access: Access, vhost: str, policy: Mapping[str, Any], *, operator: bool
) -> Iterator[tuple[str, str]]:
    """Yield the queues from which a policy, once written, would drop messages, and the reason.

    Args:
        access: The broker.
        vhost: Its vhost.
        policy: The policy as it will be: ``pattern``, ``applyTo``, ``definition``.
        operator: It is an operator policy.
    """
    definition = policy["definition"]
    limited = LIMITS & definition.keys()
    if not limited or policy["applyTo"] == "exchanges":
        return
    for queue, found in contents.survey(access, vhost).items():
        if found.empty or not re.search(policy["pattern"], queue):
            continue
        now = access.effective_policy(vhost, queue, "queues", operator=operator)
        for key in sorted(limited):
            before, after = _number(now.get(key)), _number(definition[key])
            if before is not None and after is not None and before <= after:
                continue
            said = f"{key}: {now.get(key, 'none')} -> {definition[key]}"
            if reason := _reason(access, vhost, queue, key, after, definition, found):
                yield queue, f"{said}: {reason}"


def leaving(
    access: Access, vhost: str, old: Mapping[str, Any], new: Mapping[str, Any] | None
) -> Iterator[str]:
    """Yield the queues or exchanges of a vhost that a policy applies to and will no longer."""
    kind = "exchanges" if old["applyTo"] == "exchanges" else "queues"
    for it in access.management.get(f"{access.path(kind, vhost)}?disable_stats=true"):
        name = it["name"]
        if not name or name.startswith(PREFIX) or not re.search(old["pattern"], name):
            continue
        if new is None or not re.search(new["pattern"], name):
            yield name


def _reason(
    access: Access,
    vhost: str,
    queue: str,
    key: str,
    limit: float | None,
    definition: Mapping[str, Any],
    found: contents.Contents,
) -> str | None:
    kept = "dead-letter-exchange" in definition
    match key:
        case "max-length" | "max-length-bytes":
            if kept or str(definition.get("overflow", "")).startswith("reject-publish"):
                return None
            unit = "messages" if key == "max-length" else "bytes"
            held = found.ready if key == "max-length" else _bytes(access, vhost, queue)
            if limit is None or held is None or held > limit:
                many = "an unknown number of" if held is None else f"{held:,}"
                return f"it holds {many} {unit}, the oldest would be dropped"
            return None
        case "message-ttl":
            return None if kept else f"of its {found.ready:,} messages the old ones would expire"
        case "expires":
            return f"unused for so long, it would go with its {found.ready:,} messages"
        case _:
            return "what is older would be dropped"


def _bytes(access: Access, vhost: str, queue: str) -> int | None:
    described = access.management.get(access.path("queues", vhost, queue))
    held: int | None = described.get("message_bytes_ready")
    return held


def _number(value: object) -> float | None:
    """Return a setting as a number to compare: ``max-age`` is text such as 3600s."""
    text = str(value)
    found = re.fullmatch(r"(-?\d+(\.\d+)?)s?", text)
    return float(found[1]) if found else None
