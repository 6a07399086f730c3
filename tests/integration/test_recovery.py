"""
What a killed client leaves in the broker itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rabbit_topology.broker.access import LOCK_QUEUE
from rabbit_topology.errors import BrokerError
from rabbit_topology.messages import deletion
from rabbit_topology.messages.queue import BrokerQueue
from rabbit_topology.model import OnDelete, Queue, QueueType, Topology
from rabbit_topology.safety import recovery
from rabbit_topology.safety.queue_replacement import QueueReplacement
from tests.support.stacks import (
    Stack,
    access_to,
    connect,
    fill,
    held,
    management,
    wait_for,
    wanted,
)
from tests.support.versions import VERSIONS
from toolchain.broker import Broker

NOTE = "exchange-delete-in-progress"


def test_an_exchange_whose_deletion_was_cut_short_is_declared_again(
    stack: Stack, vhost: str
) -> None:
    topology = {
        "vhost": vhost,
        "exchanges": {"gone": {}, "elsewhere": {}},
        "queues": {},
        "bindings": [],
    }
    api = management(stack.broker)
    # As a client leaves it that is killed while the broker deletes for it.
    api.request("PUT", f"/vhosts/{vhost}")
    for name in ("gone", "of others"):
        value = {"component": NOTE, "vhost": vhost, "name": name, "value": True}
        api.request("PUT", f"/parameters/{NOTE}/{vhost}/{name}", value)
    api.request("PUT", f"/exchanges/{vhost}/gone", {"type": "direct", "durable": True})
    assert held(stack.broker, vhost)["exchanges"] == {}, "the broker no longer does what it did"

    stack.configure(topology)
    first = stack.up()
    assert "exchange gone: ending the deletion that a killed run began" in first.text
    assert held(stack.broker, vhost) == wanted(topology)
    assert [one["name"] for one in api.get(f"/parameters/{NOTE}/{vhost}")] == ["of others"]
    assert "ending the deletion" not in stack.up("--expect-no-changes").text


@pytest.mark.parametrize("version", VERSIONS)
def test_a_quorum_queue_whose_deletion_was_cut_short_is_deleted(
    start_broker: Callable[[str], Broker], vhost: str, version: str
) -> None:
    broker = start_broker(version)
    api, access = management(broker), access_to(broker)
    api.request("PUT", f"/vhosts/{vhost}")
    with connect(broker, vhost) as connection:
        for name in ("gone", "works"):
            arguments = {"x-queue-type": "quorum"}
            connection.channel().queue_declare(name, durable=True, arguments=arguments)
            mark = {"type": "fanout", "arguments": {"rabbit-topology-name": name}}
            api.request("PUT", f"/exchanges/{vhost}/{deletion.deleting(name)}", mark)
    # As a client leaves it that is killed while the broker deletes for it.
    member = f"{{'{vhost}_gone', node()}}"
    broker.ctl("eval", f"ra:force_delete_server(quorum_queues, {member}).")

    reports: list[str] = []
    topology = Topology(vhost=vhost)
    assert recovery.complete(access, topology, reports.append) == []
    assert reports == ["queue gone: ending the deletion that a killed run began; it was empty"]
    assert held(broker, vhost)["queues"].keys() == {"works", LOCK_QUEUE}
    assert held(broker, vhost)["exchanges"] == {}


LOWERED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a length": ({}, {"arguments": {"x-max-length": 3}}),
    "a length that was higher": (
        {"arguments": {"x-max-length": 100}},
        {"arguments": {"x-max-length": 3}},
    ),
    "bytes": ({}, {"arguments": {"x-max-length-bytes": 10}}),
    "a setting, by a policy": ({}, {"max_length": 3}),
    "a time to live": ({}, {"arguments": {"x-message-ttl": 600_000}}),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("what", LOWERED)
def test_what_waits_is_not_let_into_a_queue_that_a_later_config_has_smaller(
    start_broker: Callable[[str], Broker],
    vhost: str,
    version: str,
    what: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rabbit_topology.messages.inflow.AWAY_SECONDS", 2.0)
    broker = start_broker(version)
    before, after = LOWERED[what]
    old, new = Queue(type=QueueType.CLASSIC, **before), Queue(type=QueueType.QUORUM, **after)
    management(broker).request("PUT", f"/vhosts/{vhost}")
    with connect(broker, vhost) as connection:
        channel = connection.channel()
        channel.queue_declare("q", **old.declaration())
        channel.exchange_declare("e", durable=True)
        channel.queue_bind("q", "e", "k")
        fill(channel, "q", 5)
        access = access_to(broker)
        begun = old.model_copy(update={"type": QueueType.QUORUM})
        QueueReplacement(access=access, vhost=vhost, name="q", new=begun, report=print).take_over()
        for _ in range(5):  # what comes while the queue is away
            channel.basic_publish("e", "k", b"12345", mandatory=True)

        topology = Topology(vhost=vhost, queues={"q": new})
        with pytest.raises(BrokerError, match=r"a run that was killed.*it holds"):
            recovery.complete(access, topology, print)
        assert not access.exists("queues", vhost, "q")
        allowed = new.model_copy(update={"on_delete": OnDelete.DISCARD})
        unchanged = old.model_copy(update={"type": QueueType.QUORUM})
        again = allowed if what == "a length" else unchanged
        recovery.complete(access, topology.model_copy(update={"queues": {"q": again}}), print)
        left = 3 if what == "a length" else 10
        wait_for(lambda: BrokerQueue(access, vhost, "q").ready() == left, f"{left} messages")
