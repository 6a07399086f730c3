"""
A broker that lacks something a safe change needs: it is refused, and all is as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rabbit_topology.compiler.urls import Address
from tests.support.stacks import (
    Result,
    Stack,
    connect,
    drain,
    fill,
    held,
    management,
    untouched,
    wanted,
)
from tests.support.versions import VERSIONS
from toolchain.broker import Broker
from toolchain.ports import free_ports

CLASSIC, QUORUM = {"type": "classic"}, {"type": "quorum"}
MESSAGES = 3


def topology(vhost: str, queues: dict[str, Any]) -> dict[str, Any]:
    return {
        "vhost": vhost,
        "exchanges": {"e": {}},
        "queues": queues,
        "bindings": [{"source": "e", "queue": name, "routing_key": name} for name in queues],
    }


def deployed(stack: Stack, vhost: str) -> dict[str, Any]:
    """Deploy a classic queue with messages; return its config."""
    config = topology(vhost, {"q": CLASSIC})
    stack.configure(config)
    stack.up()
    with connect(stack.broker, vhost) as connection:
        fill(connection.channel(), "q", MESSAGES)
    return config


def refused(stack: Stack, vhost: str, **settings: Any) -> Result:
    """Have that queue replaced; check that it fails and that the broker is as it was."""
    before = held(stack.broker, vhost)
    stack.configure(topology(vhost, {"q": QUORUM}), **settings)
    result = stack.up(check=False)
    assert result.status != 0, result.text
    assert held(stack.broker, vhost) == before
    with connect(stack.broker, vhost) as connection:
        assert drain(connection.channel(), "q") == untouched(MESSAGES)
    return result


# Without the shovel plugin


@pytest.fixture(scope="module")
def without_shovel() -> Iterator[Broker]:
    plugins = ("rabbitmq_management",)
    with Broker.start(version="4.0", plugins=plugins, report=print) as broker:
        yield broker


def test_without_the_shovel_plugin_no_queue_is_replaced(
    tmp_path: Path, engine_env: dict[str, str], without_shovel: Broker, vhost: str
) -> None:
    stack = Stack(tmp_path, engine_env, without_shovel)
    before = deployed(stack, vhost)
    result = refused(stack, vhost)
    assert "lacks the plugin" in result.text
    assert "rabbitmq-plugins enable rabbitmq_shovel" in result.text
    assert "rabbitmq-plugins enable rabbitmq_shovel" in stack.preview().text

    # An exchange moves no messages. That nothing else is done shows that nothing had been begun.
    changed = {**before, "exchanges": {"e": {"type": "topic"}}}
    stack.configure(changed)
    assert stack.up().changes == {"replaced": 2, "unchanged": 4}
    assert held(stack.broker, vhost) == wanted(changed)


# Operator policies


def test_no_queue_is_replaced_where_an_operator_policy_could_drop_what_is_held(
    one_stack: Stack, vhost: str
) -> None:
    before = deployed(one_stack, vhost)
    management(one_stack.broker).request(
        "PUT",
        f"/operator-policies/{vhost}/limits",
        {"pattern": "", "definition": {"max-length": 100}, "apply-to": "queues"},
    )
    result = refused(one_stack, vhost)
    assert "an operator policy applies to the queue 'rabbit-topology.holding.q'" in result.text
    assert "and sets max-length: it could drop" in result.text
    one_stack.configure(before)
    one_stack.up("--expect-no-changes")


# Only the management API can be reached


@pytest.fixture
def nowhere() -> Address:
    (port,) = free_ports(1)
    return Address("127.0.0.1", port)


HOLDING = {
    "classic-ready": CLASSIC,
    "classic-unacknowledged": CLASSIC,
    "quorum-ready": QUORUM,
    "quorum-unacknowledged": QUORUM,
}
EMPTY = {"classic-empty": CLASSIC, "quorum-empty": QUORUM, "stream-empty": {"type": "stream"}}


def test_over_the_management_api_alone_only_a_classic_queue_is_known_to_be_empty(
    tmp_path: Path,
    engine_env: dict[str, str],
    start_broker: Callable[[str], Broker],
    vhost: str,
    nowhere: Address,
) -> None:
    def check(version: str, broker: Broker) -> None:
        stack = Stack(tmp_path / version, engine_env, broker)
        stack.configure(topology(vhost, {**HOLDING, **EMPTY}))
        stack.up()
        with connect(broker, vhost) as connection:
            channel = connection.channel()
            for name in HOLDING:
                fill(channel, name, MESSAGES)
                if name.endswith("unacknowledged"):
                    # Not by a consumer, which would be in the way of a removal by itself.
                    for _ in range(MESSAGES):
                        channel.basic_get(name)
            before = held(broker, vhost)
            stack.configure(topology(vhost, {}), broker={"hosts": [str(nowhere)]})
            # Otherwise the first queue that is refused would hide what happens to the others.
            result = stack.up("--continue-on-error", check=False)
            assert result.status != 0
            for name in HOLDING:
                ready = MESSAGES if name.endswith("ready") else 0
                said = f"queue {name} holds {ready} ready, {MESSAGES - ready} unacknowledged"
                assert said in result.text
            assert "'quorum-empty' is empty as far as the management API knows" in result.text
            assert "stream 'stream-empty' can be read over AMQP only" in result.text
            assert f"no AMQP address of the broker answers here: {nowhere}" in result.text
            # What stays keeps its bindings.
            del before["queues"]["classic-empty"]
            before["bindings"] = [
                binding
                for binding in before["bindings"]
                if binding["destination"] != "classic-empty"
            ]
            assert held(broker, vhost) == before

    brokers = {version: start_broker(version) for version in VERSIONS}
    with ThreadPoolExecutor() as threads:  # each waits for the broker's statistics
        list(threads.map(check, brokers.keys(), brokers.values()))


def test_over_the_management_api_alone_no_vhost_goes_with_what_others_keep_in_it(
    one_stack: Stack, vhost: str, nowhere: Address
) -> None:
    one_stack.configure(topology(vhost, {}), broker={"hosts": [str(nowhere)]})
    one_stack.up()
    with connect(one_stack.broker, vhost) as connection:
        channel = connection.channel()
        channel.queue_declare("theirs", durable=True, arguments={"x-queue-type": "quorum"})
        fill(channel, "theirs", MESSAGES)
        # Messages that the statistics do not know yet.
        one_stack.configure({"vhost": "/"}, broker={"hosts": [str(nowhere)]})
        assert one_stack.up(check=False).status != 0
        assert drain(channel, "theirs") == untouched(MESSAGES)


def test_over_the_management_api_alone_no_queue_is_replaced(
    one_stack: Stack, vhost: str, nowhere: Address
) -> None:
    before = deployed(one_stack, vhost)
    result = refused(one_stack, vhost, broker={"hosts": [str(nowhere)]})
    assert f"no AMQP address of the broker answers here: {nowhere}" in result.text
    one_stack.configure(before)
    one_stack.up("--expect-no-changes")
