"""
The ways to a broker that the provider knows: this program takes the same ones.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.stacks import Stack, connect, drain, fill, untouched
from toolchain.broker import Broker

MESSAGES = 100
NOWHERE = "http://broker.invalid:15672"
"""A name that only the proxy knows."""


def topology(vhost: str, kind: str) -> dict[str, Any]:
    return {
        "vhost": vhost,
        "exchanges": {"e": {}},
        "queues": {"q": {"type": kind}},
        "bindings": [{"source": "e", "queue": "q", "routing_key": "k"}],
    }


@pytest.fixture
def changes() -> list[Callable[[str, bytes], bytes]]:
    """What a proxy makes of answers; each gets a path and what the broker has answered."""
    return []


@pytest.fixture
def proxy(
    one_stack: Stack, changes: list[Callable[[str, bytes], bytes]]
) -> Iterator[tuple[str, list[str]]]:
    """A proxy that leads every request to the broker, and the methods that it has seen."""
    target = urlsplit(one_stack.broker.endpoint)
    seen: list[str] = []

    class Forward(BaseHTTPRequestHandler):
        def forward(self) -> None:
            asked = urlsplit(self.path)
            assert asked.netloc == urlsplit(NOWHERE).netloc
            seen.append(self.command)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            connection = http.client.HTTPConnection(target.hostname, target.port)
            path = f"{asked.path}?{asked.query}" if asked.query else asked.path
            # Not compressed, so that it can be changed.
            headers = {**self.headers, "Accept-Encoding": "identity"}
            connection.request(self.command, path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            for change in changes:
                content = change(asked.path, content)
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            if answer.status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = forward  # noqa: N815 - the server's names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Forward) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()


def check_replacement(stack: Stack, vhost: str, configure) -> None:
    """Deploy, replace a queue with messages, prove and destroy, each by the same ways."""
    configure("classic")
    stack.up()
    with connect(stack.broker, vhost) as connection:
        fill(connection.channel(), "q", MESSAGES)
    configure("quorum")
    assert f"moved {MESSAGES} messages out of queue q" in stack.up().text
    with connect(stack.broker, vhost) as connection:
        assert drain(connection.channel(), "q") == untouched(MESSAGES)
    proven = subprocess.run(
        [sys.executable, "-m", "rabbit_topology", "prove", "--stack", stack.name],
        cwd=stack.folder,
        env=stack.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert proven.returncode == 0, proven.stderr
    stack.destroy()


def test_a_broker_behind_the_proxy_of_the_config(one_stack: Stack, vhost: str, proxy) -> None:
    url, seen = proxy
    check_replacement(
        one_stack,
        vhost,
        lambda kind: one_stack.configure(topology(vhost, kind), endpoint=NOWHERE, proxy=url),
    )
    assert {"GET", "PUT", "POST", "DELETE"} <= set(seen)


def test_a_broker_behind_the_proxy_of_the_environment(one_stack: Stack, vhost: str, proxy) -> None:
    url, seen = proxy
    one_stack.env["HTTP_PROXY"] = url
    check_replacement(
        one_stack,
        vhost,
        lambda kind: one_stack.configure(topology(vhost, kind), endpoint=NOWHERE),
    )
    assert {"GET", "PUT", "POST", "DELETE"} <= set(seen)


def test_amqp_that_does_not_answer_beside_a_proxy(one_stack: Stack, vhost: str, proxy) -> None:
    url, _ = proxy
    one_stack.configure(
        topology(vhost, "classic"),
        broker={"hosts": ["127.0.0.1:1"]},
        endpoint=NOWHERE,
        proxy=url,
    )
    assert "AMQP does not go through the proxy" in one_stack.preview().text


def test_the_environment_says_what_the_config_does_not(one_stack: Stack, vhost: str) -> None:
    broker = one_stack.broker
    one_stack.env |= {
        "RABBITMQ_ENDPOINT": broker.endpoint,
        "RABBITMQ_USERNAME": broker.username,
        "RABBITMQ_PASSWORD": broker.password,
    }
    check_replacement(
        one_stack,
        vhost,
        lambda kind: one_stack.write_config(
            {
                "rabbit-topology:broker": {"hosts": list(broker.hosts)},
                "rabbit-topology:topology": topology(vhost, kind),
            }
        ),
    )


def test_endpoint_and_addresses_of_different_nodes_of_a_cluster(
    tmp_path: Path, engine_env: dict[str, str], vhost: str
) -> None:
    with Broker.start(version="newest", nodes=3, report=print) as cluster:
        stack = Stack(tmp_path, engine_env, cluster)
        hosts = list(reversed(cluster.hosts))
        check_replacement(
            stack,
            vhost,
            lambda kind: stack.configure(topology(vhost, kind), broker={"hosts": hosts}),
        )


def test_a_queue_with_a_consumer_that_the_broker_does_not_know_yet_is_read_back_later(
    one_stack: Stack, vhost: str, proxy, changes: list[Callable[[str, bytes], bytes]]
) -> None:
    unknown = iter(range(20))

    def with_consumer(path: str, content: bytes) -> bytes:
        if path != f"/api/queues/{vhost}/q" or not content.startswith(b"{"):
            return content
        if next(unknown, None) is None:
            return content
        consumer = {"consumer_tag": "new", "channel_details": [], "queue": {"name": "q"}}
        return json.dumps({**json.loads(content), "consumer_details": [consumer]}).encode()

    url, _ = proxy
    one_stack.configure(topology(vhost, "classic"), endpoint=NOWHERE, proxy=url)
    changes.append(with_consumer)
    one_stack.up()
    assert next(unknown, None) is None, "it was read again until the broker knew its consumer"
    one_stack.up("--expect-no-changes")
    unknown = iter(range(20))
    one_stack.up("--refresh", "--expect-no-changes")
    assert next(unknown, None) is None
    changes.clear()
    one_stack.destroy()
