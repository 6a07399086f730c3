"""
Settings move between a queue's arguments and its policies, which replaces the queue.

What applies to it stays the same or is lower: the first goes through with all messages, whichever
of queue and policy the engine changes first, and the second is refused, in a preview as well.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest

from rabbit_topology.compiler.names import PREFIX
from rabbit_topology.messages.queue import BrokerQueue
from tests.support.stacks import Stack, access_to, connect, fill, held, management

TWO_VERSIONS = pytest.mark.parametrize("broker", ["3.10", "4.0"], indirect=True)
HOUR = 3_600_000
MESSAGES = 100

FOLDS: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "ttl": ({"x-message-ttl": HOUR}, {"message_ttl": "1h"}),
    "length": ({"x-max-length": 200}, {"max_length": 200}),
    "bytes": ({"x-max-length-bytes": 10**6}, {"max_length_bytes": 10**6}),
    "expires": ({"x-expires": HOUR}, {"expires": "1h"}),
    "letters": (
        {"x-dead-letter-exchange": "dlx", "x-dead-letter-routing-key": "k"},
        {"dead_letter": {"exchange": "dlx", "routing_key": "k"}},
    ),
    "late-letters": (
        {"x-dead-letter-exchange": "dlx", "x-message-ttl": HOUR},
        {"dead_letter": {"exchange": "dlx", "strategy": "at-most-once"}, "message_ttl": "1h"},
    ),
    "full": (
        {"x-overflow": "reject-publish", "x-max-length": MESSAGES},
        {"overflow": "reject-publish", "max_length": MESSAGES},
    ),
}
"""By name: arguments, and the settings that say the same."""


def topology(vhost: str, queues: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return a topology of queues that are bound, and of where dead letters go."""
    bindings = [{"source": "e", "queue": name, "routing_key": name} for name in queues]
    return {
        "vhost": vhost,
        "exchanges": {"e": {}, "dlx": {"type": "fanout"}},
        "queues": {**queues, "dead": {}},
        "bindings": [*bindings, {"source": "dlx", "queue": "dead"}],
    }


def put(stack: Stack, vhost: str, queues: Mapping[str, Any], count: int = MESSAGES) -> None:
    with connect(stack.broker, vhost) as connection:
        for name in queues:
            fill(connection.channel(), name, count)


def ready(stack: Stack, vhost: str, queues: Mapping[str, Any]) -> dict[str, int]:
    access = access_to(stack.broker)
    return {name: BrokerQueue(access, vhost, name).ready() for name in queues}


def goes_through(stack: Stack, vhost: str, queues: Mapping[str, Any]) -> None:
    """Check that a change of these queues, whose messages are there, is foreseen and works."""
    stack.configure(topology(vhost, queues), safety={"preview": "error"})
    preview = stack.preview()
    assert "would lose" not in preview.text
    assert preview.changes["replace"] >= len(queues)
    stack.up()
    assert ready(stack, vhost, queues) == dict.fromkeys(queues, MESSAGES)
    again = stack.up()
    assert again.changes.keys() == {"unchanged"}, again.text


@TWO_VERSIONS
def test_fourteen_queues_fold_an_argument_into_a_setting(stack: Stack, vhost: str) -> None:
    types = {f"q{number}": "classic" if number % 2 else "quorum" for number in range(14)}
    literal = {
        name: {"type": type_, "arguments": {"x-message-ttl": HOUR}} for name, type_ in types.items()
    }
    stack.configure(topology(vhost, literal))
    stack.up()
    put(stack, vhost, literal)
    folded = {name: {"type": type_, "message_ttl": "1h"} for name, type_ in types.items()}
    goes_through(stack, vhost, folded)
    assert sum(ready(stack, vhost, folded).values()) == 14 * MESSAGES


@TWO_VERSIONS
def test_every_setting_moves_both_ways(stack: Stack, vhost: str) -> None:
    types = ("classic", "quorum")
    literal = {
        f"{type_}.{name}": {"type": type_, "arguments": arguments}
        for name, (arguments, _) in FOLDS.items()
        for type_ in types
    }
    folded = {
        f"{type_}.{name}": {"type": type_, **copy.deepcopy(settings)}
        for name, (_, settings) in FOLDS.items()
        for type_ in types
    }
    folded["classic.late-letters"]["dead_letter"].pop("strategy")
    stack.configure(topology(vhost, literal))
    stack.up()
    put(stack, vhost, literal)
    goes_through(stack, vhost, folded)
    goes_through(stack, vhost, literal)


LOWERED: Mapping[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "length": ({}, {"arguments": {"x-max-length": 10}}, "the oldest 990 would go"),
    "ttl": ({}, {"arguments": {"x-message-ttl": 1000}}, "it holds 1,000 messages"),
    "classic": (
        {"type": "classic"},
        {"type": "classic", "arguments": {"x-expires": 3000}},
        "it would go with its 1,000 messages",
    ),
    "type": (
        {"type": "classic"},
        {"type": "quorum", "arguments": {"x-max-length": 10}},
        "the oldest 990 would go",
    ),
    "fold": (
        {"arguments": {"x-max-length": 2000}},
        {"max_length": 10},
        "max-length: 2,000 -> 10: it holds 1,000 messages, the oldest 990 would go",
    ),
    "unfold": (
        {"max_length": 2000},
        {"arguments": {"x-max-length": 10}},
        "max-length: 2,000 -> 10: it holds 1,000 messages, the oldest 990 would go",
    ),
}


@TWO_VERSIONS
def test_a_replacement_that_lowers_what_a_queue_may_hold_is_refused(
    stack: Stack, vhost: str
) -> None:
    before = {name: old for name, (old, *_) in LOWERED.items()}
    stack.configure(topology(vhost, before))
    stack.up()
    put(stack, vhost, before, 1000)
    there = held(stack.broker, vhost)
    for name, (_, new, reason) in LOWERED.items():
        changed = topology(vhost, {**before, name: new})
        stack.configure(changed)
        said = stack.preview().text
        assert "would lose messages, `pulumi up` will refuse" in said
        assert f"queue {name}: " in said
        assert reason in said
        stack.configure(changed, safety={"preview": "error"})
        assert stack.preview(check=False).status
        refused = stack.up(check=False)
        assert refused.status
        assert "refused, since messages would be lost: settings of queues change" in refused.text
        assert reason in refused.text
        assert ready(stack, vhost, before) == dict.fromkeys(before, 1000)
    stack.configure(topology(vhost, before))
    stack.up("--refresh")
    assert held(stack.broker, vhost) == there


def test_a_loss_that_is_wanted_is_allowed(one_stack: Stack, vhost: str) -> None:
    before: dict[str, Any] = {"q": {}}
    one_stack.configure(topology(vhost, before))
    one_stack.up()
    put(one_stack, vhost, before)
    lower = {"q": {"arguments": {"x-max-length": 10}, "on_delete": "discard"}}
    one_stack.configure(topology(vhost, lower))
    one_stack.up()
    assert ready(one_stack, vhost, lower)["q"] <= 10


@TWO_VERSIONS
def test_a_part_of_what_a_policy_says_moves_for_some_of_its_queues(
    stack: Stack, vhost: str
) -> None:
    """The policy changes in place, perhaps before the queues are replaced."""
    full = {"max_length": 2 * MESSAGES, "overflow": "reject-publish"}
    letters = {"dead_letter": {"exchange": "dlx", "strategy": "at-most-once"}}
    late = {"message_ttl": "1h", **letters}
    before = {
        **{f"full.{number}": full for number in range(4)},
        **{f"late.{number}": late for number in range(4)},
    }
    stack.configure(topology(vhost, before))
    stack.up()
    put(stack, vhost, before)
    moved = {
        "full.0": full,
        "full.1": {"max_length": 2 * MESSAGES, "arguments": {"x-overflow": "reject-publish"}},
        "full.2": {"overflow": "reject-publish", "arguments": {"x-max-length": 2 * MESSAGES}},
        "full.3": {"arguments": {"x-max-length": 2 * MESSAGES, "x-overflow": "reject-publish"}},
        "late.0": {"message_ttl": "1h", "arguments": {"x-dead-letter-exchange": "dlx"}},
        "late.1": {"message_ttl": "1h", "arguments": {"x-dead-letter-exchange": "dlx"}},
        "late.2": {**letters, "arguments": {"x-message-ttl": HOUR}},
        "late.3": {"arguments": {"x-message-ttl": HOUR, "x-dead-letter-exchange": "dlx"}},
    }
    stack.configure(topology(vhost, moved), safety={"preview": "error"})
    assert "would lose" not in stack.preview().text
    stack.up()
    assert ready(stack, vhost, moved) == dict.fromkeys(moved, MESSAGES)
    assert stack.up().changes.keys() == {"unchanged"}
    left = management(stack.broker).get(f"/policies/{vhost}")
    assert not [one["name"] for one in left if one["name"].startswith(PREFIX)]


def test_settings_that_were_held_for_a_replacement_nobody_wants_any_more_go(
    one_stack: Stack, vhost: str
) -> None:
    """A run that failed before the replacement leaves them; the config is then put back."""
    one_stack.configure(topology(vhost, {"q": {"message_ttl": "1h"}}))
    one_stack.up()
    api = management(one_stack.broker)
    held_settings = f"{PREFIX}settings.q"
    body = {"pattern": "^q$", "apply-to": "queues", "priority": 900}
    path = f"/policies/{vhost}/{held_settings}"
    api.request("PUT", path, {**body, "definition": {"message-ttl": HOUR}})
    api.request("PUT", f"/exchanges/{vhost}/{held_settings}", {"type": "fanout", "durable": True})
    assert held_settings in one_stack.preview().text
    said = one_stack.up()
    assert f"policy {held_settings}: removing it" in said.text
    assert "an earlier run left" not in said.text
    for kind in ("policies", "exchanges"):
        assert held_settings not in [one["name"] for one in api.get(f"/{kind}/{vhost}")]
