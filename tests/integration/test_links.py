"""
Shovels and federation upstreams: what they let go of, and what goes with them.

On brokers with their default statistics, unless a test says otherwise.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.stacks import PATIENCE_SECONDS, Stack, connect, management, wait_for

STATISTICS_SECONDS = 20


def uri(stack: Stack, vhost: str) -> str:
    return f"amqp://guest:guest@{stack.broker.hosts[0]}/{quote(vhost, safe='')}"


def shovelled(stack: Stack, vhost: str, **queues: Any) -> dict[str, Any]:
    """Return the topology of a stack whose shovel takes from queue a, with a service beside it."""
    return {
        "vhost": vhost,
        "exchanges": {"e": {"type": "topic"}},
        "queues": {"a": {}, "b": {}, **queues},
        "bindings": [{"source": "e", "queue": "a", "routing_key": "x.#"}],
        "services": {"pub": {"publishes": [{"exchange": "e", "routing_key": "x.*"}]}},
        "shovels": {
            "m": {
                "source_uri": uri(stack, vhost),
                "source_queue": "a",
                "destination_uri": uri(stack, vhost),
                "destination_queue": "b",
            }
        },
    }


def queues_of(stack: Stack, vhost: str) -> set[str]:
    return {one["name"] for one in management(stack.broker).get(f"/queues/{vhost}")}


def exchanges_of(stack: Stack, vhost: str) -> set[str]:
    return {one["name"] for one in management(stack.broker).get(f"/exchanges/{vhost}")}


def shovels_of(stack: Stack, vhost: str) -> set[str]:
    return {one["name"] for one in management(stack.broker).get(f"/parameters/shovel/{vhost}")}


def ready(stack: Stack, vhost: str, queue: str) -> int:
    with connect(stack.broker, vhost) as connection:
        state = connection.channel().queue_declare(queue, passive=True)
        count: int = state.method.message_count
        return count


def vhosts_of(stack: Stack) -> set[str]:
    return {one["name"] for one in management(stack.broker).get("/vhosts")}


@contextmanager
def publishing(stack: Stack, vhost: str, exchange: str, key: str) -> Iterator[list[int]]:
    """Publish numbered messages all the while; yield those that the broker has confirmed."""
    ended = Event()
    confirmed: list[int] = []

    def publish() -> None:
        with connect(stack.broker, vhost) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            number = 0
            while not ended.wait(0.004):
                channel.basic_publish(exchange, key, str(number).encode())
                confirmed.append(number)
                number += 1

    thread = Thread(target=publish)
    thread.start()
    try:
        yield confirmed
    finally:
        ended.set()
        thread.join()


def received(stack: Stack, vhost: str, queue: str) -> set[int]:
    taken = set()
    with connect(stack.broker, vhost) as connection:
        channel = connection.channel()
        while True:
            method, _, body = channel.basic_get(queue, auto_ack=True)
            if method is None:
                return taken
            taken.add(int(body))


def test_a_stack_with_a_shovel_is_destroyed(default_stack: Stack, vhost: str) -> None:
    stack = default_stack
    stack.configure(shovelled(stack, vhost), seed="0123456789abcdef0123456789abcdef")
    stack.up()
    stack.destroy()
    assert vhost not in vhosts_of(stack)


def test_a_refused_destroy_leaves_the_shovel(one_default_stack: Stack, vhost: str) -> None:
    stack = one_default_stack
    stack.configure(shovelled(stack, vhost), seed="0123456789abcdef0123456789abcdef")
    stack.up()
    with connect(stack.broker, vhost) as connection:
        connection.channel().basic_consume("a", lambda *_: None)
        connection.process_data_events(0.2)
        refused = stack.destroy(check=False)
    assert refused.status != 0
    assert "queue a holds 0 ready, 0 unacknowledged, 1 consumer" in refused.text
    assert shovels_of(stack, vhost) == {"m"}
    assert "deleted" not in refused.changes


def test_a_consumer_is_not_taken_for_a_shovel_that_reads_elsewhere(
    one_default_stack: Stack, vhost: str
) -> None:
    stack, other = one_default_stack, f"{vhost}-other"
    topology = shovelled(stack, vhost)
    topology["shovels"]["m"]["source_uri"] = uri(stack, other)
    topology |= {"services": {}}
    elsewhere = {"vhost": other, "queues": {"a": {"on_delete": "discard"}}}
    stack.configure({"vhosts": {vhost: without_vhost(topology), other: without_vhost(elsewhere)}})
    stack.up()
    with connect(stack.broker, vhost) as connection:
        connection.channel().basic_consume("a", lambda *_: None)
        connection.process_data_events(0.2)
        refused = stack.destroy(check=False)
    assert f"queue a in vhost {vhost} holds 0 ready, 0 unacknowledged, 1 consumer" in refused.text
    assert queues_of(stack, vhost) == {"a", "b"}
    stack.destroy()
    assert not {vhost, other} & vhosts_of(stack)


def without_vhost(topology: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in topology.items() if key != "vhost"}


def test_a_queue_leaves_together_with_its_shovel(default_stack: Stack, vhost: str) -> None:
    stack = default_stack
    before = shovelled(stack, vhost) | {"services": {}}
    stack.configure(before)
    stack.up()
    after = before | {"queues": {"b": {}}, "bindings": [], "shovels": {}}
    stack.configure(after, safety={"preview": "error"})
    stack.preview()
    stack.up()
    assert queues_of(stack, vhost) == {"b"}


@pytest.mark.parametrize("way", ["removed", "destroyed", "changed"])
def test_a_shovel_that_has_ended_by_itself_goes_like_any_other(
    stack: Stack, vhost: str, way: str
) -> None:
    before = shovelled(stack, vhost) | {"services": {}}
    before["shovels"]["m"]["source_delete_after"] = "3"
    stack.configure(before)
    stack.up()
    with connect(stack.broker, vhost) as connection:
        for _ in range(3):
            connection.channel().basic_publish("e", "x.1", b"")
    wait_for(lambda: shovels_of(stack, vhost) == set(), "the shovel has ended")
    with connect(stack.broker, vhost) as connection:
        connection.channel().queue_purge("b")
    if way == "destroyed":
        stack.destroy()
        assert vhost not in vhosts_of(stack)
        return
    changed = {**before["shovels"]["m"], "source_delete_after": "never"}
    stack.configure(before | {"shovels": {"m": changed} if way == "changed" else {}})
    stack.up()
    assert shovels_of(stack, vhost) == ({"m"} if way == "changed" else set())
    stack.up("--expect-no-changes")


@pytest.mark.parametrize("way", ["destroyed", "removed"])
def test_what_was_in_a_vhost_that_was_deleted_by_hand_goes(
    stack: Stack, vhost: str, way: str
) -> None:
    long = "q" * 255
    before = shovelled(stack, vhost, **{long: {"type": "classic"}}) | {"services": {}}
    stack.configure(before)
    stack.up()
    management(stack.broker).request("DELETE", f"/vhosts/{vhost}")
    if way == "destroyed":
        stack.destroy()
        return
    stack.configure(before | {"shovels": {}, "bindings": [], "queues": {"b": {}}})
    stack.up()
    again = stack.up("--refresh")
    assert again.changes["created"]
    stack.up("--expect-no-changes")


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_queue_with_a_long_name_that_was_deleted_by_hand_goes(
    stack: Stack, vhost: str, kind: str
) -> None:
    topology: dict[str, Any] = {"vhost": vhost, "queues": {"q" * 255: {"type": kind}, "p": {}}}
    stack.configure(topology)
    stack.up()
    management(stack.broker).request("DELETE", f"/queues/{vhost}/{'q' * 255}")
    del topology["queues"]["q" * 255]
    stack.configure(topology)
    stack.up()


def test_a_shovel_of_a_queue_changes_and_nothing_is_lost(stack: Stack, vhost: str) -> None:
    before = shovelled(stack, vhost) | {"services": {}}
    stack.configure(before)
    stack.up()
    with publishing(stack, vhost, "e", "x.1") as confirmed:
        wait_for(lambda: len(confirmed) > 100, "messages are published")
        before["shovels"]["m"]["reconnect_delay"] = 2
        stack.configure(before, safety={"preview": "error"})
        stack.preview()
        assert stack.up().changes["replaced"] == 1
        count = len(confirmed)
        wait_for(lambda: len(confirmed) > count + 100, "more messages are published")
    wait_for(lambda: ready(stack, vhost, "a") == 0, "the shovel has taken all")
    time.sleep(1)
    lost = set(confirmed) - received(stack, vhost, "b")
    assert not lost


def of_exchange(stack: Stack, vhost: str, **more: Any) -> dict[str, Any]:
    """Return a topology with a shovel whose source is an exchange."""
    return {
        "vhost": vhost,
        "exchanges": {"e": {"type": "topic"}},
        "queues": {"b": {}},
        "shovels": {
            "m": {
                "source_uri": uri(stack, vhost),
                "source_exchange": "e",
                "source_exchange_key": "x.#",
                "destination_uri": uri(stack, vhost),
                "destination_queue": "b",
                **more,
            }
        },
    }


def test_a_shovel_of_an_exchange_is_not_changed(stack: Stack, vhost: str) -> None:
    stack.configure(of_exchange(stack, vhost))
    stack.up()
    stack.configure(of_exchange(stack, vhost, reconnect_delay=2), safety={"preview": "error"})
    with publishing(stack, vhost, "e", "x.1") as confirmed:
        wait_for(lambda: len(confirmed) > 100, "messages are published")
        seen = stack.preview(check=False)
        assert seen.status != 0
        assert "shovel m takes from exchange e by way of a queue of its own" in seen.text
        refused = stack.up(check=False)
        assert refused.status != 0
        assert "link_queues: accept" in refused.text
    time.sleep(1)
    assert not set(confirmed) - received(stack, vhost, "b")


def test_the_ways_on_of_a_shovel_of_an_exchange_work(one_stack: Stack, vhost: str) -> None:
    stack = one_stack
    first = of_exchange(stack, vhost)
    stack.configure(first)
    stack.up()
    second = {**first["shovels"]["m"], "source_queue": "s"}
    del second["source_exchange"], second["source_exchange_key"]
    both = first | {
        "queues": {"b": {}, "s": {}},
        "bindings": [{"source": "e", "queue": "s", "routing_key": "x.#"}],
        "shovels": {**first["shovels"], "m2": second},
    }
    with publishing(stack, vhost, "e", "x.1") as confirmed:
        stack.configure(both)
        stack.up()
        stack.configure(both | {"shovels": {"m2": second}}, safety={"preview": "error"})
        stack.preview()
        stack.up()
        count = len(confirmed)
        wait_for(lambda: len(confirmed) > count + 50, "more messages are published")
    wait_for(lambda: ready(stack, vhost, "s") == 0, "the second shovel has taken all")
    time.sleep(1)
    assert shovels_of(stack, vhost) == {"m2"}
    assert not set(confirmed) - received(stack, vhost, "b")

    stack.configure(of_exchange(stack, vhost, reconnect_delay=2), safety={"link_queues": "accept"})
    stack.up()
    stack.configure(of_exchange(stack, vhost, reconnect_delay=3), safety={"link_queues": "accept"})
    assert stack.up().changes["replaced"] == 1


@contextmanager
def stoppable(address: str) -> Iterator[tuple[str, Event]]:
    """Lead to a broker by an address that takes everything in, and stops passing it on.

    A full queue would do for a shovel to get stuck, but what that refuses the shovel takes again
    at once: thousands of times per second, until it is deleted.
    """
    host, port = address.rsplit(":", 1)
    stopped = Event()

    def copy(source: socket.socket, target: socket.socket, *, may_stop: bool) -> None:
        with source, target, suppress(OSError):
            while data := source.recv(65536):
                while may_stop and stopped.is_set():
                    time.sleep(0.05)
                target.sendall(data)

    def accept(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = server.accept()
                broker = socket.create_connection((host, int(port)))
                for source, target, may_stop in ((client, broker, True), (broker, client, False)):
                    Thread(
                        target=copy,
                        args=(source, target),
                        kwargs={"may_stop": may_stop},
                        daemon=True,
                    ).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        Thread(target=accept, args=(server,), daemon=True).start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}", stopped
        finally:
            stopped.clear()
            server.shutdown(socket.SHUT_RDWR)


def test_a_shovel_whose_own_queue_holds_messages_is_not_removed(
    default_stack: Stack, vhost: str
) -> None:
    stack = default_stack
    own = stack.broker.hosts[0]
    with stoppable(own) as (address, stopped):
        to = uri(stack, vhost).replace(own, address) + "?heartbeat=0"
        topology = of_exchange(stack, vhost, destination_uri=to)
        stack.configure(topology)
        stack.up()
        bindings = f"/exchanges/{vhost}/e/bindings/source"
        wait_for(lambda: management(stack.broker).get(bindings), "its own queue is bound")
        with connect(stack.broker, vhost) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.basic_publish("e", "x.1", b"0")
            wait_for(lambda: ready(stack, vhost, "b") == 1, "it runs")
            stopped.set()
            for _ in range(6):
                channel.basic_publish("e", "x.1", b"1")
        stack.configure(topology | {"shovels": {}}, safety={"preview": "error"})
        for seen in (stack.preview(check=False), stack.up(check=False), stack.destroy(check=False)):
            assert seen.status != 0
            assert "holds 6 messages" in seen.text
        assert shovels_of(stack, vhost) == {"m"}
        stopped.clear()  # it says goodbye to both its ends
        management(stack.broker).request("DELETE", f"/parameters/shovel/{vhost}/m")


# Federation.


def federated(stack: Stack, vhost: str, source: str, **upstream: Any) -> dict[str, Any]:
    """Return a vhost with exchange e that is federated from ``source``."""
    definition = {"uri": f"amqp://{source}:one@{stack.broker.hosts[0]}/{source}", **upstream}
    return {
        "vhost": vhost,
        "exchanges": {"e": {"type": "topic"}},
        "queues": {"q": {}},
        "bindings": [{"source": "e", "queue": "q", "routing_key": "#"}],
        "policies": {
            "federate": {
                "pattern": "^e$",
                "apply_to": "exchanges",
                "definition": {"federation-upstream": "up"},
            }
        },
        "federation_upstreams": {"up": definition},
    }


@pytest.fixture
def source(stack: Stack, vhost: str) -> Iterator[str]:
    """A vhost upstream that somebody else keeps, and a user of the same name that links use."""
    name, api = f"{vhost}-upstream", management(stack.broker)
    api.request("PUT", f"/vhosts/{name}", {})
    api.request("PUT", f"/users/{name}", {"password": "one", "tags": ""})
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    for user in ("guest", name):
        api.request("PUT", f"/permissions/{name}/{user}", everything)
    api.request("PUT", f"/exchanges/{name}/e", {"type": "topic", "durable": True})
    yield name
    api.request("DELETE", f"/vhosts/{name}")
    api.request("DELETE", f"/users/{name}")


def links_of(stack: Stack, vhost: str) -> list[str]:
    return [one["status"] for one in management(stack.broker).get(f"/federation-links/{vhost}")]


def arrived(stack: Stack, vhost: str, confirmed: list[int]) -> set[int]:
    deadline, taken = time.monotonic() + PATIENCE_SECONDS, set[int]()
    while set(confirmed) - taken and time.monotonic() < deadline:
        taken |= received(stack, vhost, "q")
        time.sleep(0.1)
    return taken


def deploy_federated(stack: Stack, vhost: str, source: str, **upstream: Any) -> None:
    stack.configure(federated(stack, vhost, source, **upstream))
    stack.up()
    wait_for(lambda: links_of(stack, vhost) == ["running"], "the link runs")


@pytest.mark.parametrize("change", ["field", "removed", "policy", "exchange"])
def test_what_would_stop_a_running_link_is_refused(
    stack: Stack, vhost: str, source: str, change: str
) -> None:
    deploy_federated(stack, vhost, source, prefetch_count=1)
    after = federated(stack, vhost, source, prefetch_count=200 if change == "field" else 1)
    if change == "removed":
        after |= {"federation_upstreams": {}}
    if change == "policy":
        after["policies"]["federate"]["priority"] = 7
    if change == "exchange":
        after["exchanges"]["e"]["auto_delete"] = True
    stack.configure(after, safety={"preview": "error"})
    with publishing(stack, source, "e", "k") as confirmed:
        wait_for(lambda: len(confirmed) > 50, "there is a backlog")
        seen = stack.preview(check=False)
        refused = stack.up(check=False)
    for result in (seen, refused):
        assert result.status != 0
        assert "stops the running link of upstream up" in result.text
        assert "the buffer of exchange e holds" in result.text
    assert not [one for one in exchanges_of(stack, vhost) if one.startswith("rabbit-topology")]
    assert not set(confirmed) - arrived(stack, vhost, confirmed)


def test_a_link_without_a_connection_keeps_its_buffer_when_its_upstream_changes(
    stack: Stack, vhost: str, source: str
) -> None:
    deploy_federated(stack, vhost, source, prefetch_count=1)
    api = management(stack.broker)
    with publishing(stack, source, "e", "k") as confirmed:
        api.request("PUT", f"/users/{source}", {"password": "two", "tags": ""})
        wait_for(lambda: close_connections(stack, source), "its connection is closed")
        wait_for(lambda: links_of(stack, vhost) == ["error"], "the link has ended")
        changed = federated(stack, vhost, source, prefetch_count=200)
        changed["federation_upstreams"]["up"]["uri"] = (
            f"amqp://{source}:two@{stack.broker.hosts[0]}/{source}"
        )
        stack.configure(changed, safety={"preview": "error"})
        stack.preview()
        stack.up()
        wait_for(lambda: links_of(stack, vhost) == ["running"], "the link runs again")
    assert not set(confirmed) - arrived(stack, vhost, confirmed)


def close_connections(stack: Stack, user: str) -> int:
    api, count = management(stack.broker), 0
    for one in api.get("/connections"):
        if one.get("user") == user:
            api.request("DELETE", f"/connections/{quote(one['name'], safe='')}")
            count += 1
    return count


def test_a_federated_queue_has_no_buffer_and_its_upstream_changes(
    stack: Stack, vhost: str, source: str
) -> None:
    api = management(stack.broker)
    body = {"durable": True, "arguments": {"x-queue-type": "quorum"}}
    api.request("PUT", f"/queues/{source}/q", body)
    topology = federated(stack, vhost, source, prefetch_count=10)
    policy = topology["policies"]["federate"]
    policy |= {"pattern": "^q$", "apply_to": "queues"}
    stack.configure(topology)
    stack.up()
    with (
        publishing(stack, source, "", "q") as confirmed,
        connect(stack.broker, vhost) as connection,
    ):
        taken: set[int] = set()
        channel = connection.channel()

        def take(_channel: Any, method: Any, _properties: Any, payload: bytes) -> None:
            taken.add(int(payload))
            channel.basic_ack(method.delivery_tag)

        channel.basic_consume("q", take)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not taken and time.monotonic() < deadline:
            connection.process_data_events(0.1)
        assert taken, "the queue is federated"
        topology["federation_upstreams"]["up"]["prefetch_count"] = 200
        stack.configure(topology, safety={"preview": "error"})
        stack.preview()
        assert stack.up().changes["updated"] == 1
        count = len(confirmed)
        while len(confirmed) < count + 200:
            connection.process_data_events(0.1)
        assert max(taken) > 0
        channel.close()
    lost = set(confirmed) - taken - received(stack, vhost, "q") - received(stack, source, "q")
    assert not lost


def test_a_stack_with_a_federated_exchange_is_destroyed_when_its_buffer_is_empty(
    one_stack: Stack, vhost: str
) -> None:
    stack, upstream = one_stack, f"{vhost}-upstream"
    topology = without_vhost(federated(stack, vhost, upstream))
    topology["federation_upstreams"]["up"]["uri"] = uri(stack, upstream)
    other = {"exchanges": {"e": {"type": "topic"}}}
    stack.configure({"vhosts": {vhost: topology, upstream: other}})
    stack.up()
    wait_for(lambda: links_of(stack, vhost) == ["running"], "the link runs")
    stack.destroy()
    assert not {vhost, upstream} & vhosts_of(stack)


# What others keep in the stack's vhost.


def test_what_others_keep_in_a_vhost_is_looked_at_before_anything_goes(
    default_stack: Stack, vhost: str
) -> None:
    stack = default_stack
    topology = shovelled(stack, vhost) | {"services": {}}
    stack.configure(topology, safety={"preview": "error"})
    stack.up()
    with connect(stack.broker, vhost) as connection:
        connection.channel().queue_declare("theirs", durable=True)
    before = management(stack.broker).get(f"/bindings/{vhost}")
    seen = stack.pulumi(
        *("destroy", "--preview-only", "--run-program", "--stack", stack.name), check=False
    )
    assert seen.status != 0
    refused = stack.destroy(check=False)
    for result in (seen, refused):
        assert "queue theirs" in result.text
        assert "does not manage" in result.text
    assert "deleted" not in refused.changes
    assert shovels_of(stack, vhost) == {"m"}
    assert management(stack.broker).get(f"/bindings/{vhost}") == before
    with connect(stack.broker, vhost) as connection:
        connection.channel().queue_delete("theirs")
    stack.destroy()
    assert vhost not in vhosts_of(stack)


def test_what_others_keep_in_a_vhost_that_leaves_the_config_is_looked_at_first(
    one_default_stack: Stack, vhost: str
) -> None:
    stack, other = one_default_stack, f"{vhost}-other"
    inside = without_vhost(shovelled(stack, vhost) | {"services": {}, "shovels": {}})
    stack.configure({"vhosts": {vhost: inside, other: inside}})
    stack.up()
    with connect(stack.broker, vhost) as connection:
        connection.channel().queue_declare("theirs", durable=True)
    before = management(stack.broker).get(f"/bindings/{vhost}")
    stack.configure({"vhosts": {other: inside}}, safety={"preview": "error"})
    for result in (stack.preview(check=False), stack.up(check=False)):
        assert result.status != 0
        assert "  - queue theirs" in result.text
        assert "  - queue a" not in result.text
    assert management(stack.broker).get(f"/bindings/{vhost}") == before
    with connect(stack.broker, vhost) as connection:
        connection.channel().queue_delete("theirs")
    stack.preview()
    stack.up()
    assert vhost not in vhosts_of(stack)


def test_an_exclusive_queue_does_not_keep_a_vhost(one_default_stack: Stack, vhost: str) -> None:
    stack = one_default_stack
    stack.configure({"vhost": vhost, "queues": {"q": {}}})
    stack.up()
    # Not closed: the broker has done so, with the vhost.
    connect(stack.broker, vhost).channel().queue_declare("", exclusive=True)
    stack.destroy()
    assert vhost not in vhosts_of(stack)
