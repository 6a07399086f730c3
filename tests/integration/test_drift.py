"""
What was changed on the broker by hand: `pulumi up --refresh` undoes it, however it is run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import pika
import pytest

from rabbit_topology.broker.management import Management
from tests.integration.test_everything import SEED, everything
from tests.support.stacks import Stack, connect, definitions, management, wait_for
from toolchain import engine
from toolchain.broker import Broker


def change_everything(api: Management, vhost: str) -> None:
    """Change or delete one of each kind; make two anew of another type."""
    ops = api.get(f"/users/{vhost}-ops")
    api.request("PUT", f"/users/{vhost}-ops", {**ops, "tags": "administrator"})
    api.request("DELETE", f"/users/{vhost}.worker")  # and all that it may do
    policy = {"pattern": "^other$", "apply-to": "queues", "definition": {"max-length": 8}}
    api.request("PUT", f"/policies/{vhost}/foreign", {**policy, "priority": 4})
    api.request("PUT", f"/operator-policies/{vhost}/cap", {**policy, "priority": 0})
    access = {"configure": "x", "write": "", "read": ""}
    api.request("PUT", f"/permissions/{vhost}/{vhost}.gateway", access)
    topic = {"exchange": "orders", "write": "x", "read": "x"}
    api.request("PUT", f"/topic-permissions/{vhost}/{vhost}-ops", topic)
    api.request("DELETE", f"/parameters/shovel/{vhost}/mover")
    api.request("DELETE", f"/parameters/federation-upstream/{vhost}/far")
    api.request("DELETE", f"/exchanges/{vhost}/rpc")
    api.request("DELETE", f"/queues/{vhost}/sorted")
    api.request("DELETE", f"/queues/{vhost}/log")
    api.request("DELETE", f"/exchanges/{vhost}/fan")
    api.request("PUT", f"/exchanges/{vhost}/fan", {"type": "topic", "durable": True})
    api.request("DELETE", f"/queues/{vhost}/limited")
    other = {"x-queue-type": "classic", "x-max-priority": 3}
    api.request("PUT", f"/queues/{vhost}/limited", {"durable": True, "arguments": other})
    (binding,) = api.get(f"/bindings/{vhost}/e/orders/q/orders")
    api.request("DELETE", f"/bindings/{vhost}/e/orders/q/orders/{binding['properties_key']}")


def but_hashes(broker: Broker) -> dict[str, list[str]]:
    """Return all that a broker holds but password hashes: with each salt there is another."""
    result = definitions(broker)
    users = [json.loads(user) for user in result["users"]]
    return {**result, "users": [json.dumps({**user, "password_hash": ""}) for user in users]}


@pytest.mark.parametrize("settings", [{}, engine.QUICK], ids=["as it comes", "as make up"])
def test_a_refresh_undoes_what_was_changed_by_hand(
    stack: Stack, vhost: str, settings: Mapping[str, str]
) -> None:
    stack.env.update(settings)
    stack.configure(everything(vhost, stack.broker.hosts[0]), seed=SEED)
    stack.up()
    before = but_hashes(stack.broker)
    change_everything(management(stack.broker), vhost)
    assert but_hashes(stack.broker) != before
    stack.up("--refresh")
    assert but_hashes(stack.broker) == before
    for url in stack.outputs()["service_urls"].values():
        pika.BlockingConnection(pika.URLParameters(url)).close()
    stack.up("--refresh", "--expect-no-changes")


def test_what_the_broker_has_deleted_by_itself_is_named(stack: Stack, vhost: str) -> None:
    topology = {
        "vhost": vhost,
        "exchanges": {"e": {}, "unbound": {"auto_delete": True}},
        "queues": {
            "q": {},
            "unread": {"type": "classic", "auto_delete": True},
            "unused": {"expires": "20s", "on_delete": "discard"},
            "old": {"arguments": {"x-expires": 20_000}, "on_delete": "discard"},
        },
        "bindings": [{"source": "unbound", "queue": "q", "routing_key": "k"}],
    }
    stack.configure(topology)
    stack.up()
    with connect(stack.broker, vhost) as connection:
        channel = connection.channel()
        for queue in ("unread", "unused", "old"):
            channel.basic_consume(queue, lambda *_: None)
        connection.process_data_events(0.2)
        assert "has deleted by itself" not in stack.preview().text  # all of it is there
    api = management(stack.broker)
    api.request("DELETE", f"/bindings/{vhost}/e/unbound/q/q/k")
    left = {"q"}
    wait_for(lambda: {one["name"] for one in api.get(f"/queues/{vhost}")} == left, "to expire")
    topology["bindings"] = [*topology["bindings"], {"source": "unbound", "queue": "q"}]
    stack.configure(topology)
    seen = stack.preview().text
    for title in ("exchange unbound", "queue unread", "queue unused", "queue old"):
        assert f"{title} of vhost {vhost}" in seen, seen
    stack.up("--refresh")
    seen = stack.preview().text
    for title in ("exchange unbound", "queue unread"):  # the others may have expired again
        assert f"{title} of vhost {vhost}" not in seen, seen
    assert len(api.get(f"/exchanges/{vhost}/unbound/bindings/source")) == 2
    stack.destroy()
