"""
More resources at once than the event loop has threads.
"""

from __future__ import annotations

from typing import Any

from tests.support.stacks import Stack, connect

QUEUES = 40


def topology(vhost: str, kind: str, routing: str) -> dict[str, Any]:
    names = [f"q{number}" for number in range(QUEUES)]
    return {
        "vhost": vhost,
        "exchanges": {"e": {"type": routing}},
        "queues": {name: {"type": kind} for name in names},
        "bindings": [{"source": "e", "queue": name, "routing_key": "k"} for name in names],
    }


def test_forty_queues_and_their_exchange_are_replaced_in_one_update(
    one_stack: Stack, vhost: str
) -> None:
    one_stack.configure(topology(vhost, "classic", "direct"))
    one_stack.up()
    with connect(one_stack.broker, vhost) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("e", "k", b"kept", mandatory=True)
    one_stack.configure(topology(vhost, "quorum", "topic"))
    assert one_stack.up().changes["replaced"] == 2 * QUEUES + 1
    with connect(one_stack.broker, vhost) as connection:
        channel = connection.channel()
        bodies = [channel.basic_get(f"q{n}", auto_ack=True)[2] for n in range(QUEUES)]
    assert bodies == [b"kept"] * QUEUES
