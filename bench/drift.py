"""
How long `drift` takes on many objects: the CPU time of one process, without the broker's own.

``python -m bench.drift [OBJECTS]`` prints it, part by part. A third are queues, a third exchanges,
a third bindings; of the queues each second one has settings, which become policies.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from rabbit_topology.adopt import definitions
from rabbit_topology.commands import sources
from rabbit_topology.observe import comparison
from rabbit_topology.observe.drift import Report

OBJECTS = 10_000
VHOST = "many"


def topology(objects: int) -> dict[str, Any]:
    """Return a topology of so many queues, exchanges and bindings together."""
    names = [f"orders.{number}" for number in range(objects // 3)]
    settings: tuple[dict[str, Any], ...] = ({}, {"message_ttl": "1h"}, {}, {"max_length": 9000})
    return {
        "vhost": VHOST,
        "exchanges": {name: {"type": "topic"} for name in names},
        "queues": {name: settings[at % len(settings)] for at, name in enumerate(names)},
        "bindings": [{"source": name, "queue": name, "routing_key": "order.#"} for name in names],
    }


def exported(objects: int) -> dict[str, Any]:
    """Return what a broker exports on which this is deployed, as text would give it."""
    plain = {"vhost": VHOST, "durable": True, "auto_delete": False}
    names = [f"orders.{number}" for number in range(objects // 3)]
    quorum = {"x-queue-type": "quorum"}
    return {
        "rabbitmq_version": "4.3.6",
        "vhosts": [{"name": VHOST, "metadata": {"description": "", "tags": []}}],
        "queues": [{**plain, "name": name, "arguments": quorum} for name in names],
        "exchanges": [
            {**plain, "name": name, "type": "topic", "internal": False, "arguments": {}}
            for name in names
        ],
        "bindings": [
            {
                "vhost": VHOST,
                "source": name,
                "destination": name,
                "destination_type": "queue",
                "routing_key": "order.#",
                "arguments": {},
            }
            for name in names
        ],
        "users": [],
        "permissions": [],
        "topic_permissions": [],
        "parameters": [],
        "policies": [],
    }


def measure(objects: int = OBJECTS) -> tuple[dict[str, float], Report]:
    """Return the CPU seconds of each part, and the report.

    The policies that settings make are not there: each is told, and the rest is as declared.
    """
    spent: dict[str, float] = {}

    @contextmanager
    def timed(part: str) -> Iterator[None]:
        begin = time.process_time()
        yield
        spent[part] = time.process_time() - begin

    with TemporaryDirectory() as folder:
        file = Path(folder) / "topology.yaml"
        file.write_text(yaml.safe_dump(topology(objects)), encoding="utf-8")
        answer = json.dumps(exported(objects))
        with timed("read and check the config"):
            stack = sources.load(file)
    with timed("read the definitions"):
        had = definitions.parse(json.loads(answer), "http://broker")
    with timed("compare"):
        report = comparison.compare(
            stack, had, lambda _name, _user: None, endpoint="http://broker", username="admin"
        )
    return spent, report


def main() -> None:
    """Print the CPU seconds of each part."""
    objects = int(sys.argv[1]) if len(sys.argv) > 1 else OBJECTS
    spent, report = measure(objects)
    for part, seconds in spent.items():
        print(f"{seconds:6.2f} s  {part}")
    print(f"{sum(spent.values()):6.2f} s  {objects:,} objects: {report.summary()}")


if __name__ == "__main__":
    main()
