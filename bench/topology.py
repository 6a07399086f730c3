"""The topology that every tool builds: as many exchanges as queues as bindings, plus the vhost."""

from __future__ import annotations

from typing import Any

VHOST = "bench"
QUEUE_TYPE = "classic"
"""Quorum queues would measure the broker: each is a Raft group of its own."""


def topology(size: int) -> dict[str, Any]:
    """Return a config of about `size` resources, as `rabbit-topology:topology` takes it."""
    names = [f"{number:05}" for number in range(size // 3)]
    return {
        "vhost": VHOST,
        "exchanges": {f"exchange-{it}": {"type": "direct"} for it in names},
        "queues": {f"queue-{it}": {"type": QUEUE_TYPE} for it in names},
        "bindings": [
            {"source": f"exchange-{it}", "queue": f"queue-{it}", "routing_key": f"key-{it}"}
            for it in names
        ],
    }


def with_services(config: dict[str, Any], count: int) -> dict[str, Any]:
    """Return the same with so many services, each with a user and three resources.

    Each publishes to an exchange of its own, by one routing key, and consumes one queue. Those
    exchanges are topic exchanges, so that there are topic permissions as well.
    """
    pairs = list(zip(config["exchanges"], config["bindings"], strict=True))[:count]
    topics = {exchange: {"type": "topic"} for exchange, _ in pairs}
    services = {
        f"service-{number:05}": {
            "publishes": [{"exchange": exchange, "routing_key": it["routing_key"]}],
            "consumes": [it["queue"]],
        }
        for number, (exchange, it) in enumerate(pairs)
    }
    return {**config, "exchanges": {**config["exchanges"], **topics}, "services": services}


def with_one_more(config: dict[str, Any]) -> dict[str, Any]:
    """Return the same with one queue added."""
    return {**config, "queues": {**config["queues"], "queue-added": {"type": QUEUE_TYPE}}}


def definitions(config: dict[str, Any]) -> dict[str, Any]:
    """Return the same as the broker's own definitions, as `POST /api/definitions` takes them."""
    return {
        "vhosts": [{"name": VHOST}],
        # Who makes a vhost through the API may use it; who imports one has to say so.
        "permissions": [
            {"user": "guest", "vhost": VHOST, "configure": ".*", "write": ".*", "read": ".*"}
        ],
        "exchanges": [
            {
                "name": name,
                "vhost": VHOST,
                "type": it["type"],
                "durable": True,
                "auto_delete": False,
                "internal": False,
                "arguments": {},
            }
            for name, it in config["exchanges"].items()
        ],
        "queues": [
            {
                "name": name,
                "vhost": VHOST,
                "durable": True,
                "auto_delete": False,
                "arguments": {"x-queue-type": it["type"]},
            }
            for name, it in config["queues"].items()
        ],
        "bindings": [
            {
                "source": it["source"],
                "vhost": VHOST,
                "destination": it["queue"],
                "destination_type": "queue",
                "routing_key": it["routing_key"],
                "arguments": {},
            }
            for it in config["bindings"]
        ],
    }
