"""
What is refused, in updates and in previews, and in which words.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rabbit_topology.broker.access import Access, LockedError
from rabbit_topology.compiler.urls import parse_host
from tests.support.stacks import Stack, connect, fill, management, publishing
from toolchain.broker import Broker

SEED = {"e": {}}


@pytest.fixture(params=["every second", "as they come"])
def one_stack(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    engine_env: dict[str, str],
    start_broker: Callable[[str], Broker],
    start_default_broker: Callable[[str], Broker],
) -> Stack:
    """A stack on one version, with quick statistics and with those that a broker has by default."""
    start = start_broker if request.param == "every second" else start_default_broker
    return Stack(tmp_path, engine_env, start("4.0"))


def topology(vhost: str, queues: dict[str, Any]) -> dict[str, Any]:
    return {
        "vhost": vhost,
        "exchanges": SEED,
        "queues": queues,
        "bindings": [{"source": "e", "queue": name, "routing_key": name} for name in queues],
    }


def put(stack: Stack, vhost: str, queue: str, count: int) -> None:
    with connect(stack.broker, vhost) as connection:
        fill(connection.channel(), queue, count)


def queues_of(stack: Stack, vhost: str) -> set[str]:
    return {one["name"] for one in management(stack.broker).get(f"/queues/{vhost}")}


@pytest.mark.parametrize("kind", ["classic", "quorum", "stream"])
def test_what_holds_messages_is_not_removed_and_keeps_its_bindings(
    stack: Stack, vhost: str, kind: str
) -> None:
    stack.configure(topology(vhost, {"q": {"type": kind}, "other": {}}))
    stack.up()
    put(stack, vhost, "q", 3)
    stack.configure(topology(vhost, {"other": {}}))

    seen = stack.preview()
    assert "would lose" in seen.text
    assert "queue q" in seen.text

    refused = stack.up(check=False)
    assert refused.status != 0
    assert "it is no longer in the config" in refused.text
    if kind != "stream":
        assert "queue q holds 3 ready, 0 unacknowledged, 0 consumers" in refused.text
    assert "on_delete: discard" in refused.text
    assert queues_of(stack, vhost) == {"q", "other"}
    bindings = management(stack.broker).get(f"/queues/{vhost}/q/bindings")
    assert [binding["source"] for binding in bindings if binding["source"]] == ["e"]


def test_messages_that_consumers_hold_count_exactly(stack: Stack, vhost: str) -> None:
    stack.configure(topology(vhost, {"c": {"type": "classic"}, "q": {}}))
    stack.up()
    put(stack, vhost, "c", 5)
    put(stack, vhost, "q", 5)
    stack.configure(topology(vhost, {}))
    with connect(stack.broker, vhost) as connection:
        for queue in ("c", "q"):
            channel = connection.channel()
            channel.basic_qos(prefetch_count=2)
            channel.basic_consume(queue, lambda *_: None)
        connection.process_data_events(0.5)
        text = stack.up(check=False).text
        assert "queue c holds 3 ready, 2 unacknowledged, 1 consumer" in text
        assert "queue q holds 3 ready, 2 unacknowledged, 1 consumer" in text


def test_an_empty_queue_with_a_consumer_stays(one_stack: Stack, vhost: str) -> None:
    one_stack.configure(topology(vhost, {"q": {}}))
    one_stack.up()
    one_stack.configure(topology(vhost, {}))
    with connect(one_stack.broker, vhost) as connection:
        channel = connection.channel()
        channel.basic_consume("q", lambda *_: None)
        connection.process_data_events(0.2)
        assert "0 ready, 0 unacknowledged, 1 consumer" in one_stack.up(check=False).text
        assert queues_of(one_stack, vhost) == {"q"}
    assert one_stack.up().changes["deleted"] == 2
    assert queues_of(one_stack, vhost) == set()


def test_a_destroy_is_refused_before_anything_is_deleted(one_stack: Stack, vhost: str) -> None:
    one_stack.configure(topology(vhost, {"q": {}, "other": {}}))
    one_stack.up()
    put(one_stack, vhost, "q", 1)
    before = management(one_stack.broker).get(f"/bindings/{vhost}")
    refused = one_stack.destroy(check=False)
    assert refused.status != 0
    assert "the stack is being destroyed" in refused.text
    assert management(one_stack.broker).get(f"/bindings/{vhost}") == before
    assert (
        "--run-program" in one_stack.pulumi("destroy", "--yes", "--stack", "test", check=False).text
    )

    with connect(one_stack.broker, vhost) as connection:
        connection.channel().queue_purge("q")
    one_stack.destroy()
    assert vhost not in {one["name"] for one in management(one_stack.broker).get("/vhosts")}


def test_a_vhost_is_not_deleted_with_what_others_keep_in_it(one_stack: Stack, vhost: str) -> None:
    one_stack.configure(topology(vhost, {"q": {}}))
    one_stack.up()
    with connect(one_stack.broker, vhost) as connection:
        connection.channel().queue_declare("theirs", durable=True)
    put(one_stack, vhost, "theirs", 2)
    refused = one_stack.destroy(check=False)
    assert "queue theirs holds 2 ready" in refused.text
    assert queues_of(one_stack, vhost) == {"q", "theirs"}


def test_discard_deletes_and_retain_leaves(stack: Stack, vhost: str) -> None:
    gone, left = {"on_delete": "discard"}, {"on_delete": "retain"}
    stack.configure(topology(vhost, {"gone": {}, "left": {}, "stays": {}}))
    stack.up()
    for queue in ("gone", "left"):
        put(stack, vhost, queue, 2)
    stack.configure(topology(vhost, {"gone": gone, "left": left, "stays": {}}))
    assert stack.up().changes == {"unchanged": 10}
    stack.configure(topology(vhost, {"stays": {}}))
    stack.up()
    assert queues_of(stack, vhost) == {"left", "stays"}
    with connect(stack.broker, vhost) as connection:
        state = connection.channel().queue_declare("left", passive=True)
    assert state.method.message_count == 2


def test_a_preview_fails_where_the_config_says_so(one_stack: Stack, vhost: str) -> None:
    one_stack.configure(topology(vhost, {"q": {}}))
    one_stack.up()
    put(one_stack, vhost, "q", 1204)
    one_stack.configure(topology(vhost, {}), safety={"preview": "error"})
    seen = one_stack.preview(check=False)
    assert seen.status != 0
    assert "would lose 1,204 messages in queue q" in seen.text


def test_a_preview_names_what_is_replaced_and_how_much_is_kept(
    one_stack: Stack, vhost: str
) -> None:
    one_stack.configure(topology(vhost, {"q": {"type": "classic"}}))
    one_stack.up()
    put(one_stack, vhost, "q", 7)
    one_stack.configure(topology(vhost, {"q": {}}))
    text = one_stack.preview().text
    assert "queue q is replaced (x-queue-type: classic -> quorum)" in text
    assert "7 ready" in text
    assert management(one_stack.broker).get(f"/queues/{vhost}/q")["arguments"] == {
        "x-queue-type": "classic"
    }


def test_a_preview_names_traffic_that_would_be_cut_off(one_stack: Stack, vhost: str) -> None:
    one_stack.configure(topology(vhost, {"q": {"on_delete": "discard"}, "other": {}}))
    one_stack.up()
    one_stack.configure(
        {"vhost": vhost, "exchanges": {}, "queues": {"q": {"on_delete": "discard"}, "other": {}}}
    )
    exchange = f"/exchanges/{vhost}/e"
    with publishing(one_stack.broker, vhost, "e", "q", exchange, "publish_in"):
        text = one_stack.preview().text
    assert "exchange e is removed while" in text
    assert "messages/s" in text


def test_nothing_is_deleted_when_the_broker_cannot_be_asked(one_stack: Stack, vhost: str) -> None:
    one_stack.configure(topology(vhost, {"q": {}, "other": {}}))
    one_stack.up()
    # AMQP out of reach, and statistics that never come: a queue that was declared just now.
    one_stack.configure(topology(vhost, {"other": {}}), broker={"hosts": ["127.0.0.1:1"]})
    put(one_stack, vhost, "q", 1)
    assert one_stack.up(check=False).status != 0
    assert queues_of(one_stack, vhost) == {"q", "other"}


def test_a_second_update_stops_while_one_is_at_work(stack: Stack, vhost: str) -> None:
    stack.configure(topology(vhost, {"q": {"type": "classic"}}))
    stack.up()
    other = Access(
        management=management(stack.broker),
        addresses=[parse_host(host, tls=False) for host in stack.broker.hosts],
    )
    other.lock(vhost)
    stack.configure(topology(vhost, {"q": {}}))
    refused = stack.up(check=False)
    assert "another run is changing this vhost" in refused.text
    assert management(stack.broker).get(f"/queues/{vhost}/q")["arguments"] == {
        "x-queue-type": "classic"
    }
    with pytest.raises(LockedError):
        Access(management=other.management, addresses=other.addresses).lock(vhost)
