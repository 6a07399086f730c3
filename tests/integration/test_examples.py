"""
Each example is deployed, used as its services would use it, left alone, and taken away.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pika
import pytest
import yaml
from pika.adapters.blocking_connection import BlockingChannel

from rabbit_topology import parse_stack
from rabbit_topology.model import Topology
from tests.safety import settled
from tests.support.stacks import PATIENCE_SECONDS, ROOT, Stack, definitions
from toolchain.broker import Broker

SEED = "a seed of the tests"
FILES = sorted((ROOT / "examples").glob("*.yaml"))


def _vhosts(path: Path) -> dict[str, Any]:
    written = yaml.safe_load(path.read_text())
    return written.get("vhosts") or {written.pop("vhost"): written}


@pytest.fixture
def outputs(stack: Stack) -> Iterator[dict[str, Any]]:
    """Deploy all of them at once, a vhost or two each; afterwards nothing is left."""
    before = definitions(stack.broker)
    vhosts = {name: one for path in FILES for name, one in _vhosts(path).items()}
    stack.configure({"vhosts": vhosts}, seed=SEED)
    stack.up()
    again = stack.up("--expect-no-changes", "--refresh")
    assert set(again.changes) == {"unchanged"}, again.text
    for name, vhost in vhosts.items():
        settled.check_broker(stack.broker, {"vhost": name, **vhost})
    yield stack.outputs()["vhosts"]
    # Streams hold what was published: nothing at all is deleted before the config says so.
    kept = definitions(stack.broker)
    refused = stack.destroy(check=False)
    assert refused.status != 0
    assert "queue audit in vhost events holds " in refused.text
    assert definitions(stack.broker) == kept
    for vhost in vhosts.values():
        for queue in (*vhost.get("queues", {}).values(), *vhost.get("super_streams", {}).values()):
            if queue.get("type") == "stream" or "partitions" in queue:
                queue["on_delete"] = "discard"
    stack.configure({"vhosts": vhosts}, seed=SEED)
    stack.up()
    stack.destroy()
    assert definitions(stack.broker) == before


@contextmanager
def _as_service(outputs: dict[str, Any], vhost: str, service: str) -> Iterator[BlockingChannel]:
    url = outputs[vhost]["service_urls"][service]
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_qos(prefetch_count=1)
        yield channel


def _get(channel: BlockingChannel, queue: str) -> tuple[Any, Any, bytes]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        method, properties, body = channel.basic_get(queue)
        if method is not None:
            return method, properties, body
        time.sleep(0.05)
    raise AssertionError(f"nothing arrives in {queue}")


def _read(channel: BlockingChannel, stream: str, count: int) -> list[bytes]:
    bodies = []
    for method, _, body in channel.consume(
        stream, arguments={"x-stream-offset": "first"}, inactivity_timeout=PATIENCE_SECONDS
    ):
        assert method is not None, f"{len(bodies)} of {count} in {stream}"
        channel.basic_ack(method.delivery_tag)
        bodies.append(body)
        if len(bodies) == count:
            break
    channel.cancel()
    return bodies


def test_the_examples_do_what_they_say(outputs: dict[str, Any]):
    for exercise in (_seed, _inference, _event_bus, _rpc, _streams, _two_vhosts):
        exercise(outputs)


def _seed(outputs: dict[str, Any]) -> None:
    parameters = pika.URLParameters(outputs["seed"]["connection_url"])
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.basic_publish("inference", "inference.request", b"hello")
        method, _, body = _get(channel, "inference.requests")
        channel.basic_ack(method.delivery_tag)
    assert body == b"hello"


def _inference(outputs: dict[str, Any]) -> None:
    with (
        _as_service(outputs, "inference", "gateway") as gateway,
        _as_service(outputs, "inference", "worker") as worker,
        _as_service(outputs, "inference", "operator") as operator,
    ):
        for body, priority in ((b"later", 0), (b"urgent", 5)):
            properties = pika.BasicProperties(priority=priority)
            gateway.basic_publish("inference", "inference.request", body, properties)
        method, _, body = _get(worker, "inference.requests")
        assert body == b"urgent"
        worker.basic_publish("inference", "inference.result", b"done")
        worker.basic_ack(method.delivery_tag)
        method, _, body = _get(gateway, "inference.results")
        gateway.basic_ack(method.delivery_tag)
        assert body == b"done"
        # What the worker rejects comes back after the first delay.
        method, _, body = _get(worker, "inference.requests")
        worker.basic_reject(method.delivery_tag, requeue=False)
        rejected = time.monotonic()
        method, properties, body = _get(worker, "inference.requests")
        assert time.monotonic() - rejected > 4.5
        assert (body, method.routing_key) == (b"later", "inference.requests.retry.2")
        assert properties.headers["x-first-death-queue"] == "inference.requests"
        worker.basic_ack(method.delivery_tag)
        method, *_ = operator.basic_get("inference.requests.parking-lot")
        assert method is None


def _event_bus(outputs: dict[str, Any]) -> None:
    with (
        _as_service(outputs, "events", "shop") as shop,
        _as_service(outputs, "events", "billing") as billing,
        _as_service(outputs, "events", "shipping") as shipping,
        _as_service(outputs, "events", "auditor") as auditor,
    ):
        shop.basic_publish("events", "order.placed", b"order 1")
        method, _, body = _get(billing, "billing")
        assert body == b"order 1"
        billing.basic_publish("events", "invoice.paid.eu", b"invoice 1")
        billing.basic_ack(method.delivery_tag)
        method, _, body = _get(shipping, "shipping")
        shipping.basic_ack(method.delivery_tag)
        assert body == b"invoice 1"
        assert _read(auditor, "audit", 2) == [b"order 1", b"invoice 1"]


def _rpc(outputs: dict[str, Any]) -> None:
    replies: list[bytes] = []
    with (
        _as_service(outputs, "rpc", "client") as client,
        _as_service(outputs, "rpc", "server") as server,
    ):
        client.basic_consume(
            "amq.rabbitmq.reply-to", lambda *one: replies.append(one[3]), auto_ack=True
        )
        properties = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to")
        client.basic_publish("rpc", "calculate", b"20 + 22", properties)
        method, asked, _ = _get(server, "calculate")
        server.basic_publish("", asked.reply_to, b"42")
        server.basic_ack(method.delivery_tag)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not replies and time.monotonic() < deadline:
            client.connection.process_data_events(0.1)
    assert replies == [b"42"]


def _streams(outputs: dict[str, Any]) -> None:
    with (
        _as_service(outputs, "streams", "sensor") as sensor,
        _as_service(outputs, "streams", "dashboard") as dashboard,
        _as_service(outputs, "streams", "web") as web,
        _as_service(outputs, "streams", "counter") as counter,
    ):
        sensor.basic_publish("readings", "", b"21 degrees")
        for _ in range(2):  # reading takes nothing out
            assert _read(dashboard, "readings", 1) == [b"21 degrees"]
        for partition in range(3):
            web.basic_publish("clicks", str(partition), f"click {partition}".encode())
        for partition in range(3):
            assert _read(counter, f"clicks-{partition}", 1) == [f"click {partition}".encode()]


def _two_vhosts(outputs: dict[str, Any]) -> None:
    with (
        _as_service(outputs, "tenant-a", "scheduler") as scheduler,
        _as_service(outputs, "tenant-a", "runner") as runner,
        _as_service(outputs, "tenant-b", "runner") as other,
    ):
        published = time.monotonic()
        scheduler.basic_publish("jobs.delay.1s", "job", b"in a second")
        method, _, body = next(runner.consume("jobs", inactivity_timeout=PATIENCE_SECONDS))
        assert body == b"in a second"
        assert method.routing_key == "job"
        runner.basic_ack(method.delivery_tag)
        runner.cancel()
        assert time.monotonic() - published > 0.9
        assert other.basic_get("jobs")[0] is None


def test_every_example_is_exercised():
    exercised = {"event_bus", "inference", "rpc", "seed", "streams", "two_vhosts"}
    assert {path.stem for path in FILES} == exercised
    for path in FILES:
        topologies = parse_stack(yaml.safe_load(path.read_text()))[0]
        assert isinstance(topologies, Topology) or all(topologies)


def test_one_program_for_two_brokers(
    tmp_path: Path, engine_env: dict[str, str], start_broker: Callable[[str], Broker]
):
    brokers = {"east": start_broker("4.0"), "west": start_broker("newest")}
    example = ROOT / "examples" / "two_brokers"
    stack = Stack(tmp_path, engine_env, brokers["east"], program=example)
    stack.write_config(
        {
            f"two-brokers:{region}": {
                "endpoint": broker.endpoint,
                "username": broker.username,
                "password": broker.password,
                "hosts": list(broker.hosts),
            }
            for region, broker in brokers.items()
        }
    )
    before = {region: definitions(broker) for region, broker in brokers.items()}
    stack.up()
    assert set(stack.up("--expect-no-changes", "--refresh").changes) == {"unchanged"}
    for region, broker in brokers.items():
        result = stack.outputs()[region]
        assert broker.hosts[0] in result["connection_url"]
        with pika.BlockingConnection(pika.URLParameters(result["connection_url"])) as connection:
            channel = connection.channel()
            channel.basic_publish("orders", "order.new", region.encode())
    # What one broker holds keeps its queue there, and the other's is not asked.
    refused = stack.destroy(check=False)
    assert refused.status != 0
    assert "queue orders.new holds 1 ready" in refused.text
    for region in brokers:
        result = stack.outputs()[region]
        with pika.BlockingConnection(pika.URLParameters(result["connection_url"])) as connection:
            method, _, body = _get(channel := connection.channel(), "orders.new")
            channel.basic_ack(method.delivery_tag)
            assert body == region.encode()
    stack.destroy()
    assert {region: definitions(broker) for region, broker in brokers.items()} == before
