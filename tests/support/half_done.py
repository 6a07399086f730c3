"""
Requests whose client goes before they are answered, and a client that is killed: run as a module.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from random import Random
from threading import Thread
from urllib.parse import urlsplit

from rabbit_topology.broker.access import Access
from tests.support.repository import ROOT
from toolchain.broker import Broker

THREADS = 8
"""So many requests are on their way at once."""

SETTLED_SECONDS = 0.5
"""What the broker was just doing for a client that went, it has ended by then, or given up."""

Request = tuple[str, str, object]
"""Method, path and body."""


def cut_off(broker: Broker, requests: Sequence[Request], chosen: Random) -> None:
    """Ask, each time on a connection of its own, and close it at some time before the answer."""
    place = urlsplit(broker.endpoint)
    user = b64encode(f"{broker.username}:{broker.password}".encode()).decode()

    def ask(request: Request, part: float) -> None:
        method, path, body = request
        sent = json.dumps(body) if body is not None else ""
        with socket.create_connection((place.hostname, place.port)) as connection:
            lines = [
                f"{method} /api{path} HTTP/1.1",
                "Host: broker",
                f"Authorization: Basic {user}",
                "Content-Type: application/json",
                f"Content-Length: {len(sent)}",
            ]
            connection.sendall("\r\n".join([*lines, "", sent]).encode())
            connection.settimeout(part)
            try:
                connection.recv(1)
            except TimeoutError:
                return

    with ThreadPoolExecutor(THREADS) as threads:
        # From a time in which nothing is done to one in which almost everything is.
        parts = [chosen.uniform(0.0005, 0.03) for _ in requests]
        assert len([*threads.map(ask, requests, parts)]) == len(requests)
    time.sleep(SETTLED_SECONDS)


def kill_binding(broker: Broker, vhost: str, prefix: str, *, bound: bool, seconds: float) -> None:
    """Bind the queue ``q`` to ``topic`` by many keys, or unbind it from all, and be killed."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", __name__, broker.endpoint, broker.hosts[0], broker.username),
            *(broker.password, vhost, prefix, json.dumps(bound)),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    with process:
        try:
            assert process.stdout
            assert process.stdout.readline().startswith(b"began")
            time.sleep(seconds)
        finally:
            process.kill()
    time.sleep(SETTLED_SECONDS)


def main(*arguments: str) -> None:
    endpoint, host, username, password, vhost, prefix, bound = arguments
    access = Access.connect(endpoint=endpoint, username=username, password=password, hosts=[host])
    numbers = count()
    there = iter(access.bindings("exchanges", vhost, "topic", "source"))

    def ask() -> None:
        with access.channel(vhost):
            pass
        print("began", flush=True)
        if json.loads(bound):
            for number in numbers:
                access.bind(vhost, "topic", "q", "q", f"{prefix}.{number}", {"x": 1})
        for binding in there:
            access.unbind(vhost, binding)

    for _ in range(THREADS):
        Thread(target=ask).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
