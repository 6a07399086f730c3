"""
The metrics that are used: those that RabbitMQ 3.10 to 4.3 have alike, and how they are asked for.

Source: "Monitoring with Prometheus and Grafana" and "metrics-detailed", RabbitMQ documentation;
`prometheus_rabbitmq_core_metrics_collector` of 3.10, 4.0 and 4.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rabbit_topology.watch.queues import Watched

MESSAGES = "rabbitmq_detailed_queue_messages"
"""Ready, with consumers, and waiting to be dead-lettered."""
READY = "rabbitmq_detailed_queue_messages_ready"
UNACKED = "rabbitmq_detailed_queue_messages_unacked"
CONSUMERS = "rabbitmq_detailed_queue_consumers"
READY_BYTES = "rabbitmq_detailed_queue_messages_ready_bytes"

PATH = "/metrics/detailed"
PORT = 15692

_COARSE, _COUNT, _ALL = "queue_coarse_metrics", "queue_consumer_count", "queue_metrics"
FAMILIES: Mapping[str, Sequence[str]] = {
    MESSAGES: (_COARSE,),
    READY: (_COARSE,),
    UNACKED: (_COARSE,),
    CONSUMERS: (_COUNT, _ALL),
    READY_BYTES: (_ALL,),
}
"""By metric: the families that have it. `queue_metrics` has the consumers as well, so the two are
never asked for together: each of their values would come twice."""


def families(watched: Iterable[Watched]) -> list[str]:
    """Return the families that rules and dashboard need.

    The large one only where a queue has a limit in bytes: it has twenty values for each queue.
    """
    in_bytes = any(queue.max_bytes for queue in watched)
    return [_COARSE, _ALL if in_bytes else _COUNT]


def scrape(job: str, targets: Sequence[str], watched: Sequence[Watched]) -> dict[str, Any]:
    """Return the part of Prometheus' configuration that asks the nodes of a broker.

    Only for the vhosts of the stack: several stacks of one broker do not ask for the same twice.
    """
    return {
        "scrape_configs": [
            {
                "job_name": job,
                "metrics_path": PATH,
                "params": {
                    "family": families(watched),
                    "vhost": list(dict.fromkeys(queue.vhost for queue in watched)),
                },
                "static_configs": [{"targets": list(targets)}],
            }
        ]
    }
