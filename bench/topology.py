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
        "exchanges": {f"exchange-{name}": {"type": "direct"} for name in names},
        "queues": {f"queue-{name}": {"type": QUEUE_TYPE} for name in names},
        "bindings": [
            {"source": f"exchange-{name}", "queue": f"queue-{name}", "routing_key": f"key-{name}"}
            for name in names
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
            "publishes": [{"exchange": exchange, "routing_key": one["routing_key"]}],
            "consumes": [one["queue"]],
        }
        for number, (exchange, one) in enumerate(pairs)
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
                "type": one["type"],
                "durable": True,
                "auto_delete": False,
                "internal": False,
                "arguments": {},
            }
            for name, one in config["exchanges"].items()
        ],
        "queues": [
            {
                "name": name,
                "vhost": VHOST,
                "durable": True,
                "auto_delete": False,
                "arguments": {"x-queue-type": one["type"]},
            }
            for name, one in config["queues"].items()
        ],
        "bindings": [
            {
                "source": binding["source"],
                "vhost": VHOST,
                "destination": binding["queue"],
                "destination_type": "queue",
                "routing_key": binding["routing_key"],
                "arguments": {},
            }
            for binding in config["bindings"]
        ],
    }
