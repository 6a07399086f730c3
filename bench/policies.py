"""What one policy costs: each PUT makes the broker look at every queue of the vhost.

Source: "Policies", RabbitMQ documentation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

import httpx

from bench.tools import client
from bench.topology import QUEUE_TYPE, VHOST
from toolchain.broker import Broker

_REQUEST_SECONDS = 600


def measure(
    version: str, queues: Sequence[int], distinct: Sequence[int], report: Callable[[str], None]
) -> list[dict[str, float]]:
    """Measure PUTs of policies over so many queues, with so many distinct policies.

    Each queue is matched by one policy. Returns rows of `queues`, `policies`, `seconds` (the median
    of one PUT) and `all_seconds` (all of them, one after the other).
    """
    rows = []
    for count in queues:
        with Broker.start(version=version) as broker, client(broker, _REQUEST_SECONDS) as http:
            _declare(http, count)
            for policies in distinct:
                report(f"{policies} policies over {count:,} queues")
                taken = [_put(http, number, policies) for number in range(policies)]
                rows.append(
                    {
                        "queues": count,
                        "policies": policies,
                        "seconds": median(taken),
                        "all_seconds": sum(taken),
                    }
                )
                for number in range(policies):
                    http.delete(f"/api/policies/{VHOST}/{number}").raise_for_status()
    return rows


def _declare(http: httpx.Client, count: int) -> None:
    named = [
        {
            # The last three digits choose the policy.
            "name": f"queue-{number:05}",
            "vhost": VHOST,
            "durable": True,
            "auto_delete": False,
            "arguments": {"x-queue-type": QUEUE_TYPE},
        }
        for number in range(count)
    ]
    content = {"vhosts": [{"name": VHOST}], "queues": named}
    http.post("/api/definitions", json=content).raise_for_status()


def _put(http: httpx.Client, number: int, policies: int) -> float:
    digits = len(str(policies)) - 1
    ending = f"{number:0{digits}}" if digits else ""
    body = {
        "pattern": f"^queue-.*{ending}$",
        "apply-to": "queues",
        "definition": {"max-length": 1000 + number},
        "priority": 1,
    }
    started = time.monotonic()
    http.put(f"/api/policies/{VHOST}/{number}", json=body).raise_for_status()
    return time.monotonic() - started
