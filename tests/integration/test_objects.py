"""
Every kind of object, and what others may do to it: deleted by hand, or used while it goes.
"""

from __future__ import annotations

from threading import Event, Thread

import pytest

from rabbit_topology.broker.management import NotFoundError
from tests.integration.test_everything import SEED, everything
from tests.support.stacks import Stack, connect, definitions, management


def delete_everything(stack: Stack, vhost: str) -> None:
    """Delete each object of a vhost by hand, but not the vhost."""
    api = management(stack.broker)
    for component in ("shovel", "federation-upstream"):
        for one in api.get(f"/parameters/{component}/{vhost}"):
            api.request("DELETE", f"/parameters/{component}/{vhost}/{one['name']}")
    for kind in ("policies", "operator-policies", "queues", "exchanges"):
        for one in api.get(f"/{kind}/{vhost}"):
            if one["name"] and not one["name"].startswith("amq."):
                api.request("DELETE", f"/{kind}/{vhost}/{one['name']}")
    for one in api.get("/users"):
        if one["name"].startswith(vhost):
            api.request("DELETE", f"/users/{one['name']}")


@pytest.mark.parametrize("way", ["destroyed", "removed"])
def test_whatever_was_deleted_by_hand_goes(stack: Stack, vhost: str, way: str) -> None:
    before = definitions(stack.broker)
    stack.configure(everything(vhost, stack.broker.hosts[0]), seed=SEED)
    stack.up()
    delete_everything(stack, vhost)
    if way == "removed":
        stack.configure({"vhost": vhost})
        stack.up()
        stack.up("--expect-no-changes", "--refresh")
    stack.destroy()
    assert definitions(stack.broker) == before


def test_a_destroy_that_is_refused_half_way_ends_once_it_can(stack: Stack, vhost: str) -> None:
    before = definitions(stack.broker)
    stack.configure(everything(vhost, stack.broker.hosts[0]), seed=SEED)
    stack.up()
    api, is_over = management(stack.broker), Event()

    def publish_once_it_has_begun() -> None:
        while not is_over.is_set():
            try:
                api.get(f"/parameters/shovel/{vhost}/mover")
            except NotFoundError:
                break
        with connect(stack.broker, vhost) as connection:
            connection.channel().basic_publish("", "sorted", b"late")

    publisher = Thread(target=publish_once_it_has_begun)
    publisher.start()
    refused = stack.destroy(check=False)
    is_over.set()
    publisher.join()
    assert refused.status
    assert "queue sorted holds 1 ready" in refused.text
    assert refused.changes["deleted"], "it was to be half-way"
    again = stack.destroy(check=False)
    assert again.status
    assert "queue sorted holds 1 ready" in again.text
    with connect(stack.broker, vhost) as connection:
        connection.channel().queue_purge("sorted")
    stack.destroy()
    assert definitions(stack.broker) == before
