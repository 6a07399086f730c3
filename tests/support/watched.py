"""
A topology with all that is watched, for tests of rules and of dashboards.
"""

from __future__ import annotations

from typing import Any

from rabbit_topology.lint.reading import read
from rabbit_topology.routing.network import Network
from rabbit_topology.watch import build, rules
from rabbit_topology.watch.queues import Watched
from rabbit_topology.watch.rules import Rule, Source

ODD = 'a.b|c "d" \\ {{x}} $__interval [[y]] ü€😀'
"""A name with what regular expressions, PromQL, templates and Grafana each take for their own."""

EVERYTHING: dict[str, Any] = {
    "vhost": "shop",
    "exchanges": {
        "orders": {"type": "topic", "unroutable": True, "delays": ["10m"]},
        "rest": {"type": "fanout"},
        "dead": {"type": "fanout"},
        "events": {"alternate": "rest"},
    },
    "queues": {
        "new": {"retry": {"delays": ["5s", "1m"]}},
        "paid": {"dead_letter": True, "max_length": 1000},
        "jobs": {"type": "classic", "max_length": 50, "dead_letter": {"exchange": "dead"}},
        "blobs": {"max_length_bytes": "1MB"},
        "full": {"max_length": 10, "overflow": "reject-publish"},
        "died": {},
        "left": {},
        "log": {"type": "stream", "max_length_bytes": "1GB"},
        ODD: {"type": "classic"},
    },
    "bindings": [
        {"source": "orders", "queue": "new", "routing_key": "order.new"},
        {"source": "orders", "queue": "paid", "routing_key": "order.paid"},
        {"source": "events", "queue": "jobs", "routing_key": "job"},
        {"source": "rest", "queue": "left"},
        {"source": "dead", "queue": "died"},
        {"source": "events", "queue": ODD, "routing_key": "odd"},
    ],
    "services": {
        "gateway": {"publishes": [{"exchange": "orders", "routing_key": "order.*"}]},
        "billing": {"consumes": ["new", "paid", "log"]},
        "audit": {"consumes": ["paid"]},
        "odd {{service}}": {"consumes": [ODD], "publishes": ["events"]},
    },
}

SOURCE = Source(stack="prod", job="rabbitmq-prod", choice=("--stack", "prod"))


def networks(topology: Any) -> list[Network]:
    return [*Network.every(read(topology)).values()]


def watched(topology: Any = EVERYTHING) -> list[Watched]:
    return build.watched(networks(topology))


def written(topology: Any = EVERYTHING, source: Source = SOURCE) -> list[Rule]:
    """Return the rules of a topology that is one vhost."""
    return rules.rules(source, watched(topology))
