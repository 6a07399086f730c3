"""
What a killed client leaves in the broker itself.
"""

from __future__ import annotations

from tests.integration.stacks import Stack, held, management, wanted

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
