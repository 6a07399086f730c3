"""
A broker that others have filled: `adopt`, `pulumi up`, and nothing on it has changed.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.clients import Consumer, Publisher
from tests.support.stacks import (
    Stack,
    command,
    connect,
    definitions,
    drain,
    fill,
    management,
    untouched,
    wait_for,
)
from toolchain.broker import Broker

TYPED = {"x-queue-type": "quorum"}


def seed(broker: Broker, vhost: str) -> None:
    """Fill a vhost by hand, and one beside it with settings of its own."""
    api = management(broker)

    def put(path: str, body: dict[str, Any]) -> None:
        api.request("PUT", path, body)

    other = f"{vhost}-b"
    put(f"/vhosts/{vhost}", {})
    put(f"/vhosts/{other}", {"description": "of others", "tags": "prod"})
    put(f"/vhost-limits/{other}/max-queues", {"value": 50})
    for name, where in (("app", vhost), ("DOMAIN%2Fsvc", other)):
        user = f"{vhost}-{name}"
        put(f"/users/{user}", {"password": "secret", "tags": "monitoring,prod"})
        put(f"/permissions/{where}/{user}", {"configure": "", "write": ".*", "read": "^(orders|b)"})
    durable: dict[str, Any] = {"durable": True, "auto_delete": False}
    for name, settings in (
        ("events", {"type": "topic"}),
        ("e", {"type": "direct"}),
        ("by-header", {"type": "headers", "arguments": {"alternate-exchange": "e"}}),
        ("inside", {"type": "fanout", "internal": True}),
        ("numbered", {"type": "direct", "arguments": {"x-number": 5}}),
    ):
        put(f"/exchanges/{vhost}/{name}", {**durable, **settings})
    topics = {"exchange": "events", "write": "^order", "read": ".*"}
    put(f"/topic-permissions/{vhost}/{vhost}-app", topics)
    with connect(broker, vhost) as connection:
        channel = connection.channel()
        channel.queue_declare("q", durable=True)
        arguments = {"x-message-ttl": 3_600_000, "x-dead-letter-exchange": "e", "x-max-priority": 4}
        channel.queue_declare("orders", durable=True, arguments=arguments)
        channel.queue_declare("log", durable=True, arguments={"x-queue-type": "stream"})
        channel.queue_declare("kept", durable=True, arguments=TYPED)
        fill(channel, "kept", 100)
        channel.queue_bind("q", "e", "k")
        channel.queue_bind("log", "inside", "k")
        for key in ("order.*", "#", ""):
            channel.queue_bind("orders", "events", key)
        channel.queue_bind("kept", "by-header", "", {"x-match": "all", "size": 5, "kind": "a"})
        channel.exchange_bind("e", "events", "to.e")
    by_api = {"routing_key": "", "arguments": {"x-match": "any", "size": 5, "kind": "b"}}
    api.request("POST", f"/bindings/{vhost}/e/by-header/q/kept", by_api)
    put(f"/queues/{other}/b", {**durable, "arguments": TYPED})
    everywhere = {"pattern": "^q", "apply-to": "queues", "definition": {"max-length": 100_000}}
    put(f"/policies/{vhost}/length%2Fall", {**everywhere, "priority": 3})
    put(f"/operator-policies/{vhost}/cap", {**everywhere, "definition": {"max-length": 90_000}})
    with_boolean = {"pattern": "^none$", "definition": {"queue-mode": "lazy"}}
    if broker.version.startswith("3."):
        put(f"/policies/{vhost}/lazy", with_boolean)


def adopt(stack: Stack, *arguments: str) -> str:
    """Adopt the stack's broker; return what is printed."""
    ended = command(stack, "adopt", *arguments)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture
def adopted(stack: Stack, vhost: str) -> Stack:
    seed(stack.broker, vhost)
    return stack


def test_a_broker_that_is_there_is_adopted_and_stays_as_it_is(adopted: Stack, vhost: str) -> None:
    broker = adopted.broker
    before = definitions(broker)
    with (
        Consumer(broker=broker, vhost=vhost) as consumer,
        Publisher(broker=broker, vhost=vhost) as publisher,
    ):
        wait_for(lambda: len(consumer.taken) > 100, "traffic")
        printed = adopt(adopted, "--vhost", vhost, "--vhost", f"{vhost}-b")
        adopted.configure_base()
        assert "objects, which are there as they are declared" in adopted.preview().text
        made = adopted.up()
        for key, value in definitions(broker).items():
            assert value == before[key], key
        adopted.up("--refresh", "--expect-no-changes")
        adopted.preview("--refresh", "--expect-no-changes")
        wait_for(lambda: set(publisher.confirmed[:-50]) <= set(consumer.taken), "all consumed")
        assert consumer.refused == publisher.refused == 0
    assert definitions(broker) == before, made.text
    for left in (
        "exchange inside",
        "exchange numbered",
        "binding inside -[k]-> log",
        "binding by-header -[]-> kept of vhost",
        f"vhost {vhost}-b: its settings stay as they are: description, tags, limits",
    ):
        assert left in printed

    # And then it is changed as anything of the stack's own.
    topology = adopted.folder / "topology.yaml"
    changed = topology.read_text().replace("    kept: {}\n", "    kept: {type: classic}\n")
    assert changed != topology.read_text()
    topology.write_text(changed)
    adopted.up()
    with connect(broker, vhost) as connection:
        assert drain(connection.channel(), "kept") == untouched(100)

    # Nor does it take away what was left alone.
    with connect(broker, vhost) as connection:
        for queue in ("q", "orders", "kept"):
            connection.channel().queue_purge(queue)
    refused = adopted.destroy(check=False)
    assert refused.status
    assert "exchange inside" in refused.text
    assert "exchange numbered" in refused.text


def test_lint_reads_a_broker_that_is_there(adopted: Stack, vhost: str) -> None:
    broker = adopted.broker
    with connect(broker, vhost) as connection:
        arguments = {"x-dead-letter-exchange": "nowhere"}
        connection.channel().queue_declare("dangling", durable=True, arguments=arguments)
    ended = command(adopted, "lint", "--live", "--format", "json")
    listed = json.loads(ended.stdout)
    paths = [one["path"] for one in listed["findings"] if "nowhere" in one["value"]]
    assert any("dangling" in path and vhost in path for path in paths), ended.stdout


def test_a_vhost_of_others_that_is_not_there_is_refused(stack: Stack, vhost: str) -> None:
    stack.configure({"vhost": vhost, "vhost_settings": {"exists": True}, "queues": {"q": {}}})
    assert "of which the config says that it exists" in stack.preview().text
    refused = stack.up(check=False)
    assert refused.status
    assert "of which the config says that it exists" in refused.text
    management(stack.broker).request("PUT", f"/vhosts/{vhost}", {})
    stack.up()
    stack.destroy()
    assert vhost in {one["name"] for one in management(stack.broker).get("/vhosts")}


def test_a_vhost_of_the_stack_that_is_to_be_of_others_stays(stack: Stack, vhost: str) -> None:
    topology: dict[str, Any] = {"vhost": vhost, "queues": {"q": {}}}
    stack.configure(topology)
    stack.up()
    given_up = {**topology, "vhost_settings": {"exists": True}}
    stack.configure(given_up)
    assert "`pulumi up` will refuse" in stack.preview().text
    refused = stack.up(check=False)
    assert refused.status
    assert "on_delete: retain" in refused.text
    stack.configure({**topology, "vhost_settings": {"on_delete": "retain"}})
    stack.up()
    stack.configure(given_up)
    stack.up()
    assert set(stack.up().changes) == {"unchanged"}
    with connect(stack.broker, vhost) as connection:
        connection.channel().queue_declare("q", passive=True)
    stack.destroy()
    assert vhost in {one["name"] for one in management(stack.broker).get("/vhosts")}
