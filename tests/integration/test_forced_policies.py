"""
A policy that is forced to be replaced leaves nothing without its settings, and is not refused.
"""

from __future__ import annotations

from tests.integration.test_forced import MESSAGES, small, state_of, urns
from tests.support.stacks import Stack, connect, fill, management


def test_a_policy_over_a_queue_that_holds_messages_is_replaced(one_stack: Stack, vhost: str):
    stack, topology = one_stack, small(vhost)
    limited = {"type": "classic", "max_length": 10, "message_ttl": "1h", "dead_letter": True}
    topology["queues"]["q"] = limited
    topology["operator_policies"] = {"cap": {"pattern": "^q$", "definition": {"max-length": 700}}}
    stack.configure(topology)
    stack.up()
    with connect(stack.broker, vhost) as connection:
        fill(connection.channel(), "q", MESSAGES)
    before = state_of(stack, vhost)
    for urn in urns(stack, "policy") + urns(stack, "operatorPolicy"):
        stack.pulumi("state", "taint", urn, "--yes", "--stack", stack.name)
    assert "refuse" not in stack.preview().text
    assert stack.up().changes["replaced"] == 2
    assert state_of(stack, vhost) == before
    assert set(stack.up("--refresh").changes) == {"unchanged"}
    assert management(stack.broker).get(f"/queues/{vhost}/q")["messages"] == MESSAGES
