"""
What `up` and `destroy` leave on the broker, and that a second run leaves it alone.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import pytest

from tests.support.stacks import (
    Stack,
    connect,
    definitions,
    drain,
    fill,
    held,
    management,
    read_stream,
    untouched,
    wanted,
)

MESSAGES = 100

ODD_NAMES = ("a b", "ü", "a:b::c", "100%", '"', "x" * 200)
ODD_KEYS = ("", "~", "a/b", "a%b", "a b", "ü", "#", "*", "::", "k" * 255)

ODD = {
    "vhost": "odd/vhost ü 100%",
    "exchanges": {
        "direct": {},
        "fanout": {"type": "fanout", "durable": False},
        "topic": {"type": "topic"},
        "headers": {"type": "headers"},
        **{f"exchange {name}": {"type": "fanout"} for name in ODD_NAMES},
    },
    "queues": {
        "quorum": {"type": "quorum"},
        "classic": {"type": "classic", "arguments": {"x-max-priority": 5}},
        "stream": {"type": "stream"},
        **{name: {} for name in ODD_NAMES},
    },
    "bindings": [
        {"source": "direct", "queue": "classic", "routing_keys": list(ODD_KEYS)},
        {"source": "topic", "queue": "stream", "routing_keys": list(ODD_KEYS)},
        {"source": "direct", "exchange": "topic", "routing_keys": list(ODD_KEYS)},
        {"source": "fanout", "exchange": "headers"},
        {"source": "amq.topic", "queue": "quorum", "routing_key": "logs.#"},
        {
            "source": "headers",
            "queue": "quorum",
            "arguments": {"x-match": "all", "text": "5", "number": 5, "truth": True},
        },
        {"source": "headers", "queue": "quorum", "arguments": {"x-match": "any", "number": 5}},
        *({"source": f"exchange {name}", "queue": name} for name in ODD_NAMES),
    ],
}


def with_transient_queue(topology: dict, stack: Stack) -> dict:
    """Add a queue that is not durable, which RabbitMQ refuses from 4.3 on."""
    changed = copy.deepcopy(topology)
    if tuple(map(int, stack.broker.version.split(".")[:2])) < (4, 3):
        changed["queues"]["transient"] = {"type": "classic", "durable": False}
        changed["bindings"].append({"source": "direct", "queue": "transient", "routing_key": "t"})
    return changed


def test_up_creates_exactly_the_config_a_second_run_changes_nothing_and_destroy_removes_all(
    stack: Stack,
) -> None:
    topology = with_transient_queue(ODD, stack)
    vhost = topology["vhost"]
    before = definitions(stack.broker)
    stack.configure(topology)

    created = stack.up().changes
    assert held(stack.broker, vhost) == wanted(topology)
    listed = {one["name"]: one for one in management(stack.broker).get("/vhosts")}
    assert vhost in listed
    assert {name: listed[vhost][name] for name in ("description", "tags", "tracing")} == {
        "description": "",
        "tags": [],
        "tracing": False,
    }
    assert len(listed) == len(before["vhosts"]) + 1

    with connect(stack.broker, vhost) as connection:
        channel = connection.channel()
        filled = [name for name in topology["queues"] if name != "stream"]
        for queue in filled:
            fill(channel, queue, MESSAGES)
        everything = {"unchanged": created["created"]}
        assert stack.up("--expect-no-changes").changes == everything
        assert stack.up("--refresh", "--expect-no-changes").changes == everything
        stack.preview("--refresh", "--expect-no-changes")
        assert held(stack.broker, vhost) == wanted(topology)
        for queue in filled:
            assert drain(channel, queue) == untouched(MESSAGES), queue

    assert stack.destroy().changes["deleted"] == created["created"]
    assert definitions(stack.broker) == before


def test_a_stack_in_the_default_vhost_leaves_it_as_it_was(stack: Stack) -> None:
    topology = {
        "vhost": "/",
        "exchanges": {"e": {"type": "topic"}},
        "queues": {"q": {}, "c": {"type": "classic"}},
        "bindings": [
            {"source": "e", "queue": "q", "routing_key": "a.*"},
            {"source": "amq.topic", "queue": "c", "routing_key": "#"},
        ],
    }
    before = definitions(stack.broker)
    assert held(stack.broker, "/") == wanted({"exchanges": {}, "queues": {}, "bindings": []})
    stack.configure(topology)
    stack.up()
    assert held(stack.broker, "/") == wanted(topology)
    stack.up("--refresh", "--expect-no-changes")
    stack.destroy()
    assert definitions(stack.broker) == before


# By the name of what is edited: how it was, how it is then (None: not there), and what the engine
# has to do about it.
EXCHANGES = {
    "type": ({"type": "direct"}, {"type": "topic"}, "replace"),
    "durable": ({}, {"durable": False}, "replace"),
    "auto-delete": ({}, {"auto_delete": True}, "replace"),
    "exchange-removed": ({}, None, "delete"),
    "exchange-added": (None, {"type": "fanout"}, "create"),
    "same": ({"type": "topic"}, {"type": "topic"}, "same"),
    "headers": ({"type": "headers"}, {"type": "headers"}, "same"),
}
QUEUES = {
    "kept": ({}, {}, "same"),
    "kept-stream": ({"type": "stream"}, {"type": "stream"}, "same"),
    "queue-type": ({"type": "classic"}, {"type": "quorum"}, "replace"),
    "queue-auto-delete": ({"type": "classic"}, {"type": "classic", "auto_delete": True}, "replace"),
    "queue-arguments": (
        {"type": "classic", "arguments": {"x-max-priority": 5}},
        {"type": "classic", "arguments": {"x-max-priority": 6}},
        "replace",
    ),
    "queue-removed": ({}, None, "delete"),
    "queue-added": (None, {}, "create"),
}
# A binding is what its fields say, so an edit of one is another binding.
BINDINGS_BEFORE = [
    {"source": "type", "queue": "kept", "routing_key": "follows-its-source"},
    {"source": "type", "exchange": "same", "routing_key": "follows-its-source"},
    {"source": "same", "exchange": "type", "routing_key": "follows-its-destination"},
    {"source": "durable", "queue": "kept-stream", "routing_key": "follows-its-source"},
    {"source": "auto-delete", "queue": "kept", "routing_key": "follows-its-source"},
    {"source": "same", "queue": "queue-type", "routing_key": "follows-its-queue"},
    {"source": "same", "queue": "queue-auto-delete", "routing_key": "follows-its-queue"},
    {"source": "same", "queue": "queue-arguments", "routing_keys": ["follows-1", "follows-2"]},
    {"source": "same", "queue": "kept", "routing_key": "stays"},
    {"source": "same", "queue": "kept", "routing_key": "changed-from"},
    {"source": "same", "queue": "kept", "routing_key": "removed"},
    {"source": "headers", "queue": "kept", "arguments": {"x-match": "all", "n": 1}},
]
BINDINGS_AFTER = [
    *BINDINGS_BEFORE[:9],
    {"source": "same", "queue": "kept", "routing_key": "changed-to"},
    {"source": "same", "queue": "kept", "routing_key": "added"},
    {"source": "headers", "queue": "kept", "arguments": {"x-match": "all", "n": 2}},
]
REPLACED_BINDINGS, KEPT_BINDINGS, CHANGED_BINDINGS = 9, 1, 3


def test_an_edit_of_each_field_does_what_the_preview_says(stack: Stack, vhost: str) -> None:
    before, after = (
        {
            "vhost": vhost,
            "exchanges": {name: one[at] for name, one in EXCHANGES.items() if one[at] is not None},
            "queues": {name: one[at] for name, one in QUEUES.items() if one[at] is not None},
            "bindings": bindings,
        }
        for at, bindings in enumerate((BINDINGS_BEFORE, BINDINGS_AFTER))
    )
    stack.configure(before)
    stack.up()
    assert held(stack.broker, vhost) == wanted(before)
    with connect(stack.broker, vhost) as connection:
        channel = connection.channel()
        fill(channel, "kept", MESSAGES)
        fill(channel, "kept-stream", MESSAGES)

        stack.configure(after)
        plan = stack.plan()
        operations = [(step["urn"].split("$")[-1], step["op"]) for step in plan["steps"]]
        for kind, edits in (("exchange:Exchange", EXCHANGES), ("queue:Queue", QUEUES)):
            steps = {
                urn.rpartition("/")[2]: operation
                for urn, operation in operations
                if urn.startswith(f"rabbitmq:index/{kind}::")
            }
            assert steps == {name: one[2] for name, one in edits.items() if name in steps}
            assert {name for name, one in edits.items() if one[2] != "same"} <= steps.keys()
        bindings = Counter(
            operation
            for urn, operation in operations
            if urn.startswith("rabbitmq:index/binding:Binding::")
        )
        assert bindings == {
            "replace": REPLACED_BINDINGS,
            "create": CHANGED_BINDINGS,
            "delete": CHANGED_BINDINGS,
        }
        assert held(stack.broker, vhost) == wanted(before), "a preview changes nothing"

        said = plan["changeSummary"]
        assert stack.up().changes == {
            "created": said["create"],
            "deleted": said["delete"],
            "replaced": said["replace"],
            "unchanged": said["same"],
        }
        assert held(stack.broker, vhost) == wanted(after)
        stack.up("--refresh", "--expect-no-changes")
        assert drain(channel, "kept") == untouched(MESSAGES)
        assert read_stream(channel, "kept-stream", MESSAGES) == list(range(MESSAGES))


@pytest.mark.parametrize("on_delete", ["refuse", "discard"])
def test_an_auto_delete_exchange_outlives_the_replacement_of_all_that_is_bound_to_it(
    stack: Stack, vhost: str, on_delete: str
) -> None:
    def topology(queue: str, exchange: str) -> dict[str, Any]:
        return {
            "vhost": vhost,
            "exchanges": {
                "one": {"auto_delete": True},
                "two": {"auto_delete": True},
                "e": {"type": exchange},
            },
            "queues": {"q": {"type": queue, "on_delete": on_delete}},
            "bindings": [
                {"source": "one", "queue": "q", "routing_key": "k"},
                {"source": "two", "exchange": "e", "routing_key": "k"},
            ],
        }

    stack.configure(topology("classic", "direct"))
    stack.up()
    with connect(stack.broker, vhost) as connection:
        channel = connection.channel()
        fill(channel, "q", MESSAGES)
        stack.configure(topology("quorum", "topic"))
        stack.up()
        assert held(stack.broker, vhost) == wanted(topology("quorum", "topic"))
        assert drain(channel, "q") == untouched(MESSAGES)
    stack.up("--refresh", "--expect-no-changes")
