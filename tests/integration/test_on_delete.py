"""
What `on_delete` says is about removal: what is replaced is kept, and what is retained stays whole.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.safety.traffic import Consumption, Publication, Traffic, amqp_urls
from tests.support.stacks import Stack, connect, drain, fill, held, management, wait_for

RATE = 200
MESSAGES = 20


def config(vhost: str, queue: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "vhost": vhost,
        "exchanges": {"front": {"type": "topic"}, "e": {}, **more.get("exchanges", {})},
        "queues": {"q": queue, "stays": {}, **more.get("queues", {})},
        "bindings": [
            {"source": "front", "exchange": "e", "routing_key": "k"},
            {"source": "e", "queue": "q", "routing_key": "k"},
            {"source": "e", "queue": "stays", "routing_key": "other"},
            *more.get("bindings", []),
        ],
    }


def only_stays(vhost: str) -> dict[str, Any]:
    return {"vhost": vhost, "exchanges": {}, "queues": {"stays": {}}, "bindings": []}


def under_traffic(stack: Stack, vhost: str, folder: Path, change: Callable[[], object]) -> None:
    """Change the stack while `q` is published to by way of `front`, and assert that all arrive."""
    with Traffic(
        folder / "traffic",
        amqp_urls(stack.broker.hosts, vhost),
        [Publication(exchange="front", routing_key="k", queues=("q",))],
        [Consumption(queue="q")],
        rate=RATE,
    ) as traffic:
        traffic.flow(200, 120)
        change()
        traffic.flow(200, 120)
        report = traffic.finish()
    assert report.confirmed > 0
    assert (report.lost, report.returned) == (0, 0), report


# Discard


@pytest.mark.parametrize(("old", "new"), [("classic", "quorum"), ("quorum", "classic")])
def test_a_queue_that_may_be_discarded_is_replaced_with_what_it_holds(
    stack: Stack, vhost: str, old: str, new: str
) -> None:
    discard = {"on_delete": "discard"}
    stack.configure(config(vhost, {"type": old, **discard}))
    stack.up()
    with connect(stack.broker, vhost) as connection:
        fill(connection.channel(), "q", MESSAGES)
    stack.configure(config(vhost, {"type": new, **discard}))
    assert f"kept through it: {MESSAGES} ready" in stack.preview().text
    stack.up()
    assert set(stack.up().changes) == {"unchanged"}
    with connect(stack.broker, vhost) as connection:
        assert [one[0] for one in drain(connection.channel(), "q")] == list(range(MESSAGES))
        fill(connection.channel(), "q", MESSAGES)
    stack.configure(only_stays(vhost))
    seen = stack.preview().text
    assert f"queue q is deleted with all it holds ({MESSAGES} ready" in seen
    stack.up()
    assert set(held(stack.broker, vhost)["queues"]) == {"stays"}


def test_a_queue_that_may_be_discarded_is_replaced_under_traffic(
    one_stack: Stack, vhost: str, tmp_path: Path
) -> None:
    one_stack.configure(config(vhost, {"type": "classic", "on_delete": "discard"}))
    one_stack.up()
    one_stack.configure(config(vhost, {"type": "quorum", "on_delete": "discard"}))
    under_traffic(one_stack, vhost, tmp_path, one_stack.up)


def test_a_stream_that_may_be_discarded_is_replaced_in_the_way_that_is_said(
    stack: Stack, vhost: str
) -> None:
    old = config(vhost, {"type": "stream", "on_delete": "discard"})
    new = config(vhost, {"type": "quorum", "on_delete": "discard"})
    stack.configure(old)
    stack.up()
    with connect(stack.broker, vhost) as connection:
        fill(connection.channel(), "q", MESSAGES)
    before = held(stack.broker, vhost)
    stack.configure(new)
    assert "take it out of the config" in stack.preview().text
    assert "stream q holds messages" in stack.up(check=False).text
    assert held(stack.broker, vhost) == before
    without = config(vhost, {"type": "quorum"})
    del without["queues"]["q"]
    without["bindings"] = [
        binding for binding in without["bindings"] if binding.get("queue") != "q"
    ]
    for step in (without, new):
        stack.configure(step)
        stack.up()
    assert set(stack.up().changes) == {"unchanged"}


# Retain

DEAD_LETTERS: list[dict[str, Any]] = [
    {"dead_letter": True},
    {"dead_letter": {"exchange": "dlx"}},
    {"type": "classic", "arguments": {"x-dead-letter-exchange": "dlx"}},
    {"type": "classic", "retry": {"delays": ["1s"]}},
]
MORE = {
    "exchanges": {"dlx": {"type": "fanout"}},
    "queues": {"dead": {"type": "classic"}},
    "bindings": [{"source": "dlx", "queue": "dead"}],
}


def reject_all(stack: Stack, vhost: str) -> None:
    with connect(stack.broker, vhost) as connection:
        channel = connection.channel()
        for _ in range(MESSAGES):
            method, _, _ = channel.basic_get("q")
            assert method
            channel.basic_reject(method.delivery_tag, requeue=False)


def count(stack: Stack, vhost: str, queue: str) -> int:
    with connect(stack.broker, vhost) as connection:
        return connection.channel().queue_declare(queue, passive=True).method.message_count


@pytest.mark.parametrize("way", ["removed", "destroyed"])
@pytest.mark.parametrize("dead_letter", DEAD_LETTERS, ids=str)
def test_a_retained_queue_keeps_its_ways_in_and_out(
    one_stack: Stack, vhost: str, dead_letter: dict[str, Any], way: str
) -> None:
    stack = one_stack
    stack.configure(config(vhost, {"on_delete": "retain", **dead_letter}, **MORE))
    stack.up()
    before = held(stack.broker, vhost)
    if way == "removed":
        stack.configure(only_stays(vhost))
        stack.up()
    else:
        stack.destroy()
    after = held(stack.broker, vhost)
    own = {name for name in before["queues"] if name.startswith("q")}
    if "dlx" in str(dead_letter):
        own |= {"dead"}
    assert own <= set(after["queues"])
    assert {"front", "e"} <= set(after["exchanges"])
    dropped = {"stays", *({"dead"} - own)}
    assert after["bindings"] == [
        binding for binding in before["bindings"] if binding["destination"] not in dropped
    ]
    with connect(stack.broker, vhost) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for number in range(MESSAGES):
            channel.basic_publish("front", "k", str(number).encode(), mandatory=True)
    reject_all(stack, vhost)
    if "retry" in dead_letter:
        wait_for(lambda: count(stack, vhost, "q") == MESSAGES, "they come back")
        reject_all(stack, vhost)
        target = "q.parking-lot"
    else:
        target = "dead" if "dead" in own else "q.dead-letter"
    wait_for(lambda: count(stack, vhost, target) == MESSAGES, "dead letters arrive")
    management(stack.broker).request("DELETE", f"/vhosts/{vhost}")


def test_a_retained_queue_that_leaves_under_traffic_loses_nothing(
    stack: Stack, vhost: str, tmp_path: Path
) -> None:
    stack.configure(config(vhost, {"on_delete": "retain", "dead_letter": True}))
    stack.up()
    stack.configure(only_stays(vhost))
    under_traffic(stack, vhost, tmp_path, stack.up)
    assert set(stack.up().changes) == {"unchanged"}


def test_what_leads_to_a_retained_queue_goes_when_it_is_taken_away_on_purpose(
    stack: Stack, vhost: str
) -> None:
    whole = config(
        vhost,
        {"on_delete": "retain", "dead_letter": {"exchange": "dlx"}},
        **{**MORE, "bindings": [*MORE["bindings"], {"source": "side", "queue": "q"}]},
    )
    whole["exchanges"]["side"] = {"alternate": "e"}
    stack.configure(whole)
    stack.up()
    less = {
        **whole,
        "exchanges": {"e": {}, "dlx": {"type": "fanout"}},
        "bindings": [binding for binding in whole["bindings"] if binding["source"] in ("e", "dlx")],
    }
    stack.configure(less)
    stack.up()
    now = held(stack.broker, vhost)
    assert set(now["exchanges"]) == {"e", "dlx"}
    assert sorted((binding["source"], binding["destination"]) for binding in now["bindings"]) == [
        ("dlx", "dead"),
        ("e", "q"),
        ("e", "stays"),
    ]
    names = {one["name"] for one in management(stack.broker).get(f"/policies/{vhost}")}
    assert names == {"rabbit-topology-queues.q"}
    # A binding alone, then the way for dead letters.
    none = {**less, "queues": {**less["queues"], "q": {"on_delete": "retain"}}}
    none["exchanges"] = {"e": {}}
    none["bindings"] = [binding for binding in less["bindings"] if binding.get("queue") == "stays"]
    stack.configure(none)
    stack.up()
    now = held(stack.broker, vhost)
    assert set(now["exchanges"]) == {"e"}
    assert set(now["queues"]) == {"q", "stays", "dead"}
    assert [(binding["source"], binding["destination"]) for binding in now["bindings"]] == [
        ("e", "stays")
    ]
    assert set(stack.up("--refresh").changes) == {"unchanged"}


def test_what_is_retained_is_replaced_like_anything_else(
    stack: Stack, vhost: str, tmp_path: Path
) -> None:
    stack.configure(config(vhost, {"on_delete": "retain", "type": "classic"}))
    stack.up()
    other = config(vhost, {"on_delete": "retain", "type": "quorum"})
    other["exchanges"] = {"front": {"type": "fanout"}, "e": {"type": "topic"}}
    stack.configure(other)
    under_traffic(stack, vhost, tmp_path, stack.up)
    now = held(stack.broker, vhost)
    assert {name: one["type"] for name, one in now["exchanges"].items()} == {
        "front": "fanout",
        "e": "topic",
    }
    assert now["queues"]["q"]["type"] == "quorum"
    assert len(now["bindings"]) == len(other["bindings"])
    assert set(stack.up("--refresh").changes) == {"unchanged"}
