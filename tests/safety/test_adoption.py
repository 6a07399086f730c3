"""
A broker with thousands of objects and live traffic is adopted, and then changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from tests.safety.messages import Publication
from tests.safety.results import Results
from tests.safety.scenarios import Outcome, Scale
from tests.safety.traffic import Consumption, Traffic, amqp_urls
from tests.support.stacks import Stack, command, definitions, management
from tests.support.versions import VERSIONS
from toolchain import engine
from toolchain.broker import Broker

LIVE = 8
"""So many queues have traffic, all by one exchange."""


def made_by_others(vhost: str, objects: int) -> dict[str, Any]:
    """Return definitions of so many objects: queues without a type, exchanges, bindings, users."""
    queues = objects * 3 // 10
    exchanges, users, policies = objects // 50, objects // 100, 5
    bindings = objects - queues - exchanges - 2 * users - policies
    lasting = {"vhost": vhost, "durable": True, "auto_delete": False, "arguments": {}}
    return {
        "vhosts": [{"name": vhost}],
        "queues": [{**lasting, "name": f"q{number}"} for number in range(queues)],
        "exchanges": [
            {**lasting, "name": f"e{number}", "type": "topic"} for number in range(exchanges)
        ],
        "bindings": [
            {
                "vhost": vhost,
                "source": f"e{number % exchanges}" if number >= LIVE else "e0",
                "destination": f"q{number % queues}",
                "destination_type": "queue",
                "routing_key": "live" if number < LIVE else f"key.{number}",
                "arguments": {},
            }
            for number in range(bindings)
        ],
        "users": [
            {
                "name": f"{vhost}-{number}",
                "password_hash": "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR",
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": ["monitoring"],
            }
            for number in range(users)
        ],
        "permissions": [
            {
                "user": f"{vhost}-{number}",
                "vhost": vhost,
                "configure": "",
                "write": "^e",
                "read": "^q",
            }
            for number in range(users)
        ],
        "policies": [
            {
                "vhost": vhost,
                "name": f"p{number}",
                "pattern": f"^q{number}9$",
                "apply-to": "queues",
                "priority": 1,
                "definition": {"max-length": 1_000_000 + number},
            }
            for number in range(policies)
        ],
    }


def connections(broker: Broker, vhost: str) -> set[str]:
    """Return the connections to a vhost by their ports, which a client that comes back changes."""
    listed = management(broker).get(f"/vhosts/{quote(vhost, safe='')}/connections")
    return {one["name"] for one in listed}


@pytest.mark.safety
@pytest.mark.parametrize("version", VERSIONS)
def test_a_broker_with_live_traffic_is_adopted_and_then_changed(
    version: str,
    start_broker: Callable[[str], Broker],
    engine_env: dict[str, str],
    tmp_path: Path,
    vhost: str,
    scale: Scale,
    results: Results,
) -> None:
    broker = start_broker(version)
    # As `make up` does: with so many objects the engine's own way to save its state takes minutes.
    stack = Stack(tmp_path / "stack", {**engine_env, **engine.QUICK}, broker, timeout=1200)
    management(broker).request("POST", "/definitions", made_by_others(vhost, scale.objects))
    before = definitions(broker)
    live = [f"q{number}" for number in range(LIVE)]
    publication = Publication(exchange="e0", queues=live, routing_key="live")
    urls = amqp_urls(broker.hosts, vhost)
    consumptions = [Consumption(queue=queue) for queue in live]
    ledger, rate = tmp_path / "ledger", scale.rate / LIVE
    with Traffic(ledger, urls, [publication], consumptions, rate=rate) as traffic:
        traffic.flow()
        time.sleep(6)  # until the broker's statistics know the connections
        connected = connections(broker, vhost)
        begun = time.monotonic()
        adopted = command(stack, "adopt", "--vhost", vhost)
        assert adopted.returncode == 0, adopted.stdout + adopted.stderr
        read_seconds = time.monotonic() - begun
        stack.configure_base()
        begun = time.monotonic()
        stack.up()
        up_seconds = time.monotonic() - begun
        stack.preview("--expect-no-changes")
        assert definitions(broker) == before
        assert connected
        assert connected <= connections(broker, vhost)

        # And then one of its queues is changed as any of the stack's own.
        file = stack.folder / "topology.yaml"
        topology = yaml.safe_load(file.read_text())
        topology["queues"]["q0"] = {"type": "quorum"}
        file.write_text(yaml.safe_dump(topology))
        stack.up()
        traffic.flow()
        report = traffic.finish()
    name = (
        f"{scale.objects:,} objects adopted (read and proven in {read_seconds:.0f} s), then a "
        "classic queue becomes a quorum queue"
    )
    results.change(broker.version, name, Outcome(report=report, up_seconds=up_seconds))
    assert report.sound
