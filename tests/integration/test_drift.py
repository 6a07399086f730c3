"""
What was changed on the broker by hand: `pulumi up --refresh` undoes it, however it is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest

from rabbit_topology.management import Management
from tests.integration.stacks import Stack, definitions, management
from tests.integration.test_everything import SEED, everything
from toolchain import engine


def change_everything(api: Management, vhost: str) -> None:
    """Change or delete one of each kind; of exchanges and queues also what cannot be changed."""
    v = quote(vhost, safe="")
    policy = {"pattern": "^other$", "apply-to": "queues", "definition": {"max-length": 8}}
    api.request("PUT", f"/policies/{v}/foreign", {**policy, "priority": 4})
    api.request("PUT", f"/operator-policies/{v}/cap", {**policy, "priority": 0})
    api.request("PUT", f"/permissions/{v}/{v}.gateway", {"configure": "x", "write": "", "read": ""})
    topic = {"exchange": "orders", "write": "x", "read": "x"}
    api.request("PUT", f"/topic-permissions/{v}/{v}-ops", topic)
    api.request("DELETE", f"/parameters/shovel/{v}/mover")
    api.request("DELETE", f"/exchanges/{v}/rpc")
    api.request("DELETE", f"/queues/{v}/sorted")
    api.request("DELETE", f"/queues/{v}/log")
    api.request("DELETE", f"/exchanges/{v}/fan")
    api.request("PUT", f"/exchanges/{v}/fan", {"type": "topic", "durable": True})
    api.request("DELETE", f"/queues/{v}/limited")
    other = {"x-queue-type": "classic", "x-max-priority": 3}
    api.request("PUT", f"/queues/{v}/limited", {"durable": True, "arguments": other})
    (binding,) = api.get(f"/bindings/{v}/e/orders/q/orders")
    api.request("DELETE", f"/bindings/{v}/e/orders/q/orders/{binding['properties_key']}")


@pytest.mark.parametrize("settings", [{}, engine.QUICK], ids=["as it comes", "as make up"])
def test_a_refresh_undoes_what_was_changed_by_hand(
    stack: Stack, vhost: str, settings: Mapping[str, str]
) -> None:
    stack.env.update(settings)
    topology: dict[str, Any] = everything(vhost, stack.broker.hosts[0])
    stack.configure(topology, seed=SEED)
    stack.up()
    before = definitions(stack.broker)
    change_everything(management(stack.broker), vhost)
    assert definitions(stack.broker) != before
    stack.up("--refresh")
    assert definitions(stack.broker) == before
    stack.up("--refresh", "--expect-no-changes")
