"""
`status` on real brokers: what it says is what is there, and what needs somebody is at the top.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pika
import pytest

from tests.integration.test_adopt import command
from tests.support.stacks import PATIENCE_SECONDS, Stack, connect, fill, wait_for

SEED = "a seed that is long enough"


def topology(vhost: str) -> dict[str, Any]:
    return {
        "vhost": vhost,
        "exchanges": {"orders": {"type": "topic", "unroutable": True}, "plain": {}},
        "queues": {
            "orders": {"retry": {"delays": ["1h"]}},
            "jobs": {"type": "classic", "max_length": 10, "overflow": "reject-publish"},
            "log": {"type": "stream"},
        },
        "bindings": [{"source": "orders", "queue": "orders", "routing_key": "order.*"}],
        "services": {
            "billing": {"consumes": ["orders"]},
            "web": {"publishes": [{"exchange": "orders", "routing_key": "order.*"}]},
        },
    }


@pytest.fixture
def deployed(stack: Stack, vhost: str) -> Stack:
    stack.configure(topology(vhost), seed=SEED)
    stack.up()
    return stack


def status(stack: Stack, *arguments: str) -> tuple[dict[str, Any], int]:
    """Return what `status` says as JSON, and its exit status."""
    ended = command(stack, "status", "--json", *arguments)
    assert ended.returncode in (0, 2), ended.stdout + ended.stderr
    said: dict[str, Any] = json.loads(ended.stdout)
    return said, ended.returncode


def until(stack: Stack, *messages: str) -> dict[str, Any]:
    """Return what `status` says once it has these notices: statistics lag behind."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        said, _ = status(stack)
        told = [f"{one['object']}: {one['message']}" for one in said["notices"]]
        missing = [one for one in messages if not any(line.startswith(one) for line in told)]
        if not missing:
            return said
        assert time.monotonic() < deadline, f"still not {missing}, but {told}"


def queues(said: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in said["queues"]}


def test_what_is_there_is_what_it_says(deployed, vhost):
    with connect(deployed.broker, vhost) as connection:
        channel = connection.channel()
        fill(channel, "orders", 5)
        fill(channel, "jobs", 10)
        fill(channel, "orders.parking-lot", 2)
        channel.basic_publish("orders", "nobody", b"x")  # to the queue of what is unroutable
        channel.basic_publish("plain", "nobody", b"x")  # lost
        for _ in range(2):
            channel.basic_get("orders")
        said = until(
            deployed,
            "queue orders: no consumer",
            "queue orders.parking-lot: parking lot of orders holds 2",
            "queue orders.unroutable: holds 1 message that no binding took",
            "queue jobs: 10 of 10 that it may hold; beyond: reject-publish",
            f"service billing: it is not connected, as user {vhost}.billing",
            f"service web: it is not connected, as user {vhost}.web",
            f"vhost {vhost}: lost, since no binding took them: 1",
        )
        wait_for(lambda: queues(status(deployed)[0])["orders"]["held"] == 2, "two are held")
    orders = queues(said)["orders"]
    assert orders["type"] == "quorum"
    assert orders["settings"]["dead-letter-exchange"] == "orders.retry"
    assert orders["policy"].startswith("rabbit-topology-queues.")
    assert orders["leader"].startswith("rabbit")
    assert orders["state"] == "running"
    assert queues(said)["jobs"]["settings"]["max-length"] == 10
    assert {one["name"]: one["alternate"] for one in said["exchanges"]}["orders"] == (
        "orders.unroutable"
    )
    assert [one["name"] for one in said["nodes"] if one["running"]]


def test_all_is_well_where_every_service_is_at_work(deployed):
    urls = deployed.outputs()["service_urls"]
    billing, web = (
        pika.BlockingConnection(pika.URLParameters(urls[name])) for name in ("billing", "web")
    )
    with billing, web:
        billing.channel().basic_consume("orders", lambda *_: None)
        web.channel()

        def well() -> bool:
            billing.process_data_events()
            web.process_data_events()
            return status(deployed)[1] == 0

        wait_for(well, "all is well")
        said, _ = status(deployed)
        services = {one["name"]: one for one in said["services"]}
        assert services["billing"]["connections"] == 1
        assert services["billing"]["channels"] == 1
        assert services["billing"]["hosts"] == ["127.0.0.1"]
        assert queues(said)["orders"]["consumers"] == 1


def test_dead_letters_that_wait_are_counted(deployed, vhost):
    """At least once: they stay in the queue until somebody takes them."""
    whole = topology(vhost)
    whole["policies"] = {
        "nowhere": {
            "pattern": "^stuck$",
            "definition": {
                "dead-letter-exchange": "is-not-there",
                "dead-letter-strategy": "at-least-once",
                "overflow": "reject-publish",
                "message-ttl": 100,
            },
        }
    }
    whole["queues"]["stuck"] = {"on_delete": "discard"}
    deployed.configure(whole, seed=SEED)
    deployed.up()
    with connect(deployed.broker, vhost) as connection:
        fill(connection.channel(), "stuck", 4)
    wait_for(
        lambda: queues(status(deployed)[0])["stuck"]["dead_lettering"] == 4,
        "four wait to be dead-lettered",
    )


def test_any_broker_and_a_vhost_that_is_gone(deployed, vhost):
    said, _ = status(deployed, "--live", "--vhost", vhost)
    assert {"orders", "jobs", "log"} <= queues(said).keys()
    text = command(deployed, "status", "--live").stdout
    assert text.splitlines()[0].endswith("UTC")
    said, ended = status(deployed, "--live", "--vhost", f"{vhost}-not")
    assert ended == 2
    assert said["notices"][0]["object"] == f"vhost {vhost}-not"
