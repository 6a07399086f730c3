"""
What a killed client leaves in the broker itself.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rabbit_topology import deletion, recovery
from rabbit_topology.access import LOCK_QUEUE
from rabbit_topology.model import Topology
from tests.integration.conftest import VERSIONS
from tests.integration.stacks import (
    Stack,
    access_to,
    connect,
    held,
    management,
    wanted,
)
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
    assert [it["name"] for it in api.get(f"/parameters/{NOTE}/{vhost}")] == ["of others"]
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
