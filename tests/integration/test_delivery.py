"""
Messages go where AMQP says, through the exported URLs; and the proof of it proves no less.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import aio_pika
import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from yarl import URL

from rabbit_topology import ProofError, parse, proof
from rabbit_topology.broker.management import NotFoundError
from tests.support.stacks import (
    Result,
    Stack,
    connect,
    definitions,
    drain,
    fill,
    management,
    read_stream,
    untouched,
    wait_for,
)
from tests.support.versions import VERSIONS
from toolchain.broker import Broker
from toolchain.ports import free_ports

VHOST = "delivery/ü 100%"
TOPOLOGY: dict[str, Any] = {
    "vhost": VHOST,
    "exchanges": {
        "direct": {},
        "fanout": {"type": "fanout"},
        "topic": {"type": "topic"},
        "headers": {"type": "headers"},
        "inner": {"type": "topic"},
    },
    "queues": {
        "a": {"type": "quorum"},
        "b": {"type": "classic"},
        "priority": {"type": "classic", "arguments": {"x-max-priority": 5}},
        "log": {"type": "stream"},
    },
    "bindings": [
        {"source": "direct", "queue": "a", "routing_keys": ["", "one", "two/ü"]},
        {"source": "direct", "queue": "b", "routing_key": "one"},
        {"source": "fanout", "queue": "a"},
        {"source": "fanout", "queue": "b", "routing_key": "ignored"},
        {"source": "topic", "queue": "a", "routing_key": "order.*.eu"},
        {"source": "topic", "queue": "b", "routing_key": "order.#"},
        {"source": "headers", "queue": "a", "arguments": {"x-match": "all", "n": 5, "s": "x"}},
        {"source": "headers", "queue": "b", "arguments": {"x-match": "any", "n": 5, "t": True}},
        {"source": "direct", "exchange": "inner", "routing_key": "deep.er"},
        {"source": "inner", "queue": "a", "routing_key": "deep.*"},
        {"source": "amq.topic", "queue": "priority", "routing_key": "#"},
        {"source": "direct", "queue": "log", "routing_key": "logged"},
    ],
}
KILLED = """
import os, signal
from pika.adapters.blocking_connection import BlockingChannel
BlockingChannel.basic_get = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
from rabbit_topology.commands.app import main
main()
"""
"""The command line, killed when its first message is about to be taken out again."""

BINDINGS = 14
IN = f"vhost {TOPOLOGY['vhost']}: "


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """The stack, and what it exported with several hosts."""

    stack: Stack
    outputs: dict[str, Any]

    @property
    def broker(self) -> Broker:
        return self.stack.broker

    def prove(self, **changed: Any) -> list[proof.Delivery]:
        reported: list[proof.Delivery] = []
        urls = {key: self.outputs[key] for key in proof.Outputs.__dataclass_fields__}
        proven = proof.prove(
            parse(TOPOLOGY)[0],
            replace(proof.Outputs(**urls), **changed),
            management(self.broker),
            report=reported.append,
        )
        assert reported == proven
        return proven

    def with_credentials(self, url: str) -> str:
        return str(URL(url).with_user(self.broker.username).with_password(self.broker.password))


@pytest.fixture(scope="module", params=VERSIONS)
def deployed(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    engine_env: dict[str, str],
    start_broker: Callable[[str], Broker],
) -> Deployed:
    stack = Stack(tmp_path_factory.mktemp("stack"), engine_env, start_broker(request.param))
    port = stack.broker.hosts[0].rpartition(":")[2]
    stack.configure(TOPOLOGY, broker={"hosts": [f"127.0.0.1:{port}", f"localhost:{port}"]})
    stack.up()
    return Deployed(stack=stack, outputs=stack.outputs())


@pytest.fixture
def admin(deployed: Deployed) -> Iterator[BlockingChannel]:
    """A channel of an administrator's, and empty queues when the test is over."""
    with connect(deployed.broker, VHOST) as connection:
        channel = connection.channel()
        yield channel
        cleaner = connection.channel()
        for queue in ("a", "b", "priority"):
            drain(cleaner, queue)


@pytest.fixture
def broken(deployed: Deployed) -> Iterator[Callable[[str, str], None]]:
    """Delete things of the vhost behind the stack's back; they are back after the test."""
    api = management(deployed.broker)
    saved = api.get("/definitions")
    deleted: list[str] = []

    def delete(kind: str, path: str) -> None:
        deleted.append(f"/{kind}/{quote(VHOST, safe='')}/{path}")
        api.request("DELETE", deleted[-1])

    yield delete
    for path in deleted:
        with suppress(NotFoundError):  # a test may have put another thing in its place
            api.request("DELETE", path)
    api.request("POST", "/definitions", saved)


def test_every_exported_url_opens_in_pika_and_in_aio_pika(deployed: Deployed) -> None:
    exported = deployed.outputs
    connection_urls = exported["connection_url"]
    plain = [
        url
        for kind in ("exchange_urls", "queue_urls")
        for urls in exported[kind].values()
        for url in urls
    ]
    assert exported["exchange_urls"].keys() == TOPOLOGY["exchanges"].keys()
    assert exported["queue_urls"].keys() == TOPOLOGY["queues"].keys()
    assert [URL(url).host for url in connection_urls] == ["127.0.0.1", "localhost"]
    assert {URL(url).user for url in plain} == {None}
    assert {deployed.with_credentials(url) for url in plain} == set(connection_urls)

    async def open_in_aio_pika(url: str) -> None:
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue("a", passive=True)
            assert queue.name == "a"

    for url in connection_urls:
        with pika.BlockingConnection(pika.URLParameters(url)) as connection:
            assert connection.channel().queue_declare("a", passive=True).method.queue == "a"
        asyncio.run(open_in_aio_pika(url))


@pytest.mark.parametrize(
    ("exchange", "key", "headers", "reached"),
    [
        ("direct", "", {}, "a"),
        ("direct", "one", {}, "ab"),
        ("direct", "two/ü", {}, "a"),
        ("direct", "two", {}, ""),
        ("direct", "#", {}, ""),
        ("fanout", "anything", {}, "ab"),
        ("topic", "order.new.eu", {}, "ab"),
        ("topic", "order.new.us", {}, "b"),
        ("topic", "order", {}, "b"),
        ("topic", "orders", {}, ""),
        ("headers", "", {"n": 5, "s": "x"}, "ab"),
        ("headers", "", {"n": 5, "s": "y"}, "b"),
        ("headers", "", {"t": True}, "b"),
        ("headers", "", {"s": "x"}, ""),
        ("headers", "", {"n": "5", "t": "true"}, ""),
        ("direct", "deep.er", {}, "a"),
        ("inner", "deep.est", {}, "a"),
        ("inner", "other", {}, ""),
    ],
)
def test_a_message_goes_where_amqp_says(
    deployed: Deployed, exchange: str, key: str, headers: dict[str, Any], reached: str
) -> None:
    with ExitStack() as opened:

        def channel(url: str) -> BlockingChannel:
            parameters = pika.URLParameters(deployed.with_credentials(url))
            return opened.enter_context(pika.BlockingConnection(parameters)).channel()

        publisher = channel(deployed.outputs["exchange_urls"][exchange][0])
        publisher.confirm_delivery()
        properties = pika.BasicProperties(headers=headers, delivery_mode=2)
        publisher.basic_publish(exchange, key, b"0", properties)
        for queue in ("a", "b"):
            consumer = channel(deployed.outputs["queue_urls"][queue][1])
            assert drain(consumer, queue) == untouched(1 if queue in reached else 0), queue


def test_the_proof_covers_every_binding_and_leaves_the_broker_as_it_was(
    deployed: Deployed,
) -> None:
    before = definitions(deployed.broker)
    proven = deployed.prove()
    assert [one.route for one in proven] == list(parse(TOPOLOGY)[0].routes())
    assert len(proven) == BINDINGS
    wait_for(lambda: definitions(deployed.broker) == before, "nothing of the proof is left")


def test_the_proof_touches_no_message_of_others(deployed: Deployed, admin: BlockingChannel) -> None:
    for queue in ("a", "priority", "log"):
        fill(admin, queue, 5)

    proven = deployed.prove()

    assert len(proven) == BINDINGS
    for queue in ("a", "priority"):
        assert drain(admin, queue) == untouched(5), queue
    assert read_stream(admin, "log", 5) == list(range(5))


def test_the_proof_sends_nothing_to_a_consumer_of_others(
    deployed: Deployed, admin: BlockingChannel
) -> None:
    received: list[bytes] = []
    for queue in ("a", "b"):
        admin.basic_consume(queue, lambda *message: received.append(message[-1]), auto_ack=True)

    proven = deployed.prove()

    assert len(proven) == BINDINGS
    for queue in ("a", "b"):
        # Whatever was sent to the consumer stands before this answer.
        assert admin.queue_declare(queue, passive=True).method.consumer_count == 1
    admin.connection.process_data_events()
    assert received == []


def test_a_proof_that_is_killed_leaves_no_message_and_no_copy(deployed: Deployed) -> None:
    before = definitions(deployed.broker)
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, "prove", "--stack", deployed.stack.name],
        cwd=deployed.stack.folder,
        env=deployed.stack.env,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    wait_for(lambda: definitions(deployed.broker) == before, "nothing of the proof is left")
    with connect(deployed.broker, VHOST) as connection:
        for queue in ("a", "b", "priority"):
            state = connection.channel().queue_declare(queue, passive=True).method
            assert state.message_count == 0, queue


@pytest.mark.parametrize("in_use", [False, True])
def test_the_proof_fails_for_a_binding_that_is_gone_and_only_for_that(
    deployed: Deployed,
    admin: BlockingChannel,
    broken: Callable[[str, str], None],
    in_use: bool,
) -> None:
    if in_use:
        fill(admin, "a", 5)
    broken("bindings", "e/topic/q/a/order.%2A.eu")
    with pytest.raises(ProofError) as caught:
        deployed.prove()
    assert caught.value.failures == (
        f"{IN}topic -[order.*.eu]-> queue a: the broker does not have this binding",
    )
    if in_use:
        assert drain(admin, "a") == untouched(5)


def test_the_proof_fails_for_the_bindings_of_a_queue_that_is_gone(
    deployed: Deployed, broken: Callable[[str, str], None]
) -> None:
    broken("queues", "b")
    with pytest.raises(ProofError) as caught:
        deployed.prove()
    assert caught.value.failures[0] == f"{IN}queue b: the broker does not have it"
    assert len(caught.value.failures) == 1 + 4
    assert all("-> queue b: " in line for line in caught.value.failures[1:])


def test_the_proof_fails_for_a_binding_that_is_there_but_does_not_deliver(
    deployed: Deployed, admin: BlockingChannel, broken: Callable[[str, str], None]
) -> None:
    broken("exchanges", "topic")
    admin.exchange_declare("topic", "direct", durable=True)
    admin.queue_bind("a", "topic", "order.*.eu")
    admin.queue_bind("b", "topic", "order.#")
    with pytest.raises(ProofError) as caught:
        deployed.prove()
    assert caught.value.failures == (
        f"{IN}topic -[order.*.eu]-> queue a: a message that matches it did not arrive",
        f"{IN}topic -[order.#]-> queue b: a message that matches it did not arrive",
    )


def test_the_proof_fails_for_a_url_that_does_not_open(deployed: Deployed) -> None:
    (port,) = free_ports(1)
    wrong = str(URL(deployed.outputs["queue_urls"]["a"][0]).with_port(port))
    with pytest.raises(ProofError) as caught:
        deployed.prove(queue_urls={**deployed.outputs["queue_urls"], "a": wrong})
    (failure,) = caught.value.failures
    assert f"127.0.0.1:{port}/" in failure
    assert "does not open" in failure


def command(stack: Stack) -> Result:
    ended = subprocess.run(
        [sys.executable, "-m", "rabbit_topology", "prove", "--stack", stack.name],
        cwd=stack.folder,
        env=stack.env,
        capture_output=True,
        text=True,
        check=False,
    )
    return Result(text=ended.stdout + ended.stderr, output=ended.stdout, status=ended.returncode)


def test_the_prove_command_prints_a_line_per_binding_and_fails_with_the_reason(
    deployed: Deployed, broken: Callable[[str, str], None]
) -> None:
    good = command(deployed.stack)
    assert good.status == 0, good.text
    lines = good.output.splitlines()
    assert lines[0] == "  delivered  direct -[]-> queue a"
    assert "  delivered  fanout -[]-> queue a" in lines
    queues = len(TOPOLOGY["queues"])
    answering = f"{queues} of {queues} queues answer"
    assert lines[-2] == f"{answering}, {BINDINGS} of {BINDINGS} bindings deliver"
    assert lines[-1] == "by messages through copies: none was put into a queue of the stack"
    assert len(lines) == BINDINGS + 2

    broken("bindings", "e/fanout/q/a/~")
    bad = command(deployed.stack)
    assert bad.status == 1
    assert "fanout -[]-> queue a: the broker does not have this binding" in bad.text
    assert "Traceback" not in bad.text
    assert "bindings deliver" not in bad.output


def test_a_queue_with_a_single_active_consumer_is_proven_and_stays_empty(
    one_stack: Stack, vhost: str
) -> None:
    one_stack.configure(
        {
            "vhost": vhost,
            "exchanges": {"e": {}},
            "queues": {"q": {"type": "quorum", "single_active_consumer": True}},
            "bindings": [{"source": "e", "queue": "q", "routing_key": "k"}],
        }
    )
    one_stack.up()
    proven = command(one_stack)
    assert proven.status == 0, proven.text
    with connect(one_stack.broker, vhost) as connection:
        state = connection.channel().queue_declare("q", passive=True).method
        assert state.message_count == 0
    management(one_stack.broker).request("DELETE", f"/queues/{vhost}/q")
    gone = command(one_stack)
    assert gone.status == 1
    assert "queue q: the broker does not have it" in gone.text
