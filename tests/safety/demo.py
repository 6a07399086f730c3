"""
A classic queue becomes a quorum queue under live traffic, and not one message is lost.

``python -m tests.safety.demo`` starts a broker of its own, deploys with the real engine, and ends
with 1 if a message was lost. ``--rate`` is in messages per second.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

from tests.safety import settled
from tests.safety.killing import Run
from tests.safety.traffic import Consumption, Publication, Traffic, amqp_urls
from tests.support.stacks import EngineFailedError, Stack
from toolchain import engine
from toolchain.broker import Broker

VHOST = "demo"
QUEUE = "orders"
CALM_SECONDS = 3
_TOLD = ("queue ", "moved ", "moving ", "+", "-", "~", "Duration", "warning", "error")


def topology(kind: str) -> dict[str, Any]:
    """Return a config of one exchange and one queue of the given type."""
    return {
        "vhost": VHOST,
        "exchanges": {"shop": {"type": "topic"}},
        "queues": {QUEUE: {"type": kind}},
        "bindings": [{"source": "shop", "queue": QUEUE, "routing_key": "order.*"}],
    }


def main(version: str, rate: float) -> int:
    """Run the demonstration and return the exit status."""
    begin = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - begin:5.1f} s  {text}", flush=True)

    env = engine.ensure(say)
    with (
        tempfile.TemporaryDirectory(prefix="rabbit-topology-demo-") as scratch,
        Broker.start(version=version, report=say) as broker,
    ):
        folder = Path(scratch)
        stack = Stack(folder / "stack", env, broker)
        stack.configure(topology("classic"))
        say(f"pulumi up: queue {QUEUE} is a classic queue")
        _up(stack, say)
        traffic = Traffic(
            folder / "ledger",
            amqp_urls(broker.hosts, VHOST),
            [Publication(exchange="shop", routing_key="order.new", queues=[QUEUE])],
            [Consumption(queue=QUEUE)],
            rate=rate,
        )
        with traffic, _Meter(traffic, say):
            traffic.flow()
            time.sleep(CALM_SECONDS)
            stack.configure(topology("quorum"))
            say(f"pulumi up: queue {QUEUE} becomes a quorum queue, while publishers publish")
            _up(stack, say)
            time.sleep(CALM_SECONDS)
            say("publishers stop, consumers take what is left")
            report = traffic.finish()
        kind = settled.queues(broker, VHOST)[QUEUE]["arguments"]["x-queue-type"]
        left = settled.leftovers(broker, VHOST)
    print(f"\n{report.table()}\n")
    print(f"queue {QUEUE} is now a {kind} queue; left behind by the change: {len(left)} objects")
    if report.sound and kind == "quorum" and not left:
        print(f"{report.confirmed:,} messages confirmed, 0 lost, 0 altered")
        return 0
    print(f"{report.lost:,} messages lost, {report.altered.total():,} altered; left: {left}")
    return 1


def _up(stack: Stack, say: Callable[[str], None]) -> None:
    """Run `pulumi up` and tell at once what it says."""
    lines: list[str] = []

    def tell(line: str) -> None:
        text = line.strip().removeprefix("info: ")
        lines.append(line)
        if text.startswith(_TOLD) and lines.count(line) == 1:
            say(f"  pulumi: {text}")

    if Run(stack, say=tell).wait():
        raise EngineFailedError("\n".join(lines))


class _Meter:
    """Tells once a second what the traffic did in that second."""

    def __init__(self, traffic: Traffic, say: Callable[[str], None]) -> None:
        self._traffic = traffic
        self._say = say
        self._ended = Event()
        self._thread = Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        confirmed, delivered, at = 0, 0, time.monotonic()
        while not self._ended.wait(1):
            now = time.monotonic()
            new_confirmed, new_delivered = self._traffic.confirmed, self._traffic.delivered
            self._say(
                f"{(new_confirmed - confirmed) / (now - at):7,.0f} confirmed/s "
                f"{(new_delivered - delivered) / (now - at):7,.0f} delivered/s "
                f"{new_confirmed:9,} confirmed {new_delivered:9,} delivered"
            )
            confirmed, delivered, at = new_confirmed, new_delivered, now


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make demo-safety", description=__doc__)
    parser.add_argument("--version", default="4.0", help="RabbitMQ's version: 3.10, 4.0, newest")
    parser.add_argument("--rate", type=float, default=3300, help="messages per second")
    options = parser.parse_args()
    sys.exit(main(options.version, options.rate))
