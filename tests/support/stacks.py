"""
A stack of the real program, deployed with the real engine, on a broker of the test's own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import quote

import pika
import yaml
from pika.adapters.blocking_connection import BlockingChannel

from rabbit_topology.broker.access import Access
from rabbit_topology.broker.management import Management
from rabbit_topology.compiler.urls import parse_host
from tests.support.repository import ROOT
from toolchain.broker import Broker
from toolchain.dev import backend_url

TIMEOUT_SECONDS = 300
PATIENCE_SECONDS = 60


class EngineFailedError(AssertionError):
    """`pulumi` ended with an error; the text is all that it printed."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one `pulumi` command did."""

    text: str
    """All that it printed, errors included."""
    output: str
    """What it printed to standard output."""
    status: int

    @property
    def changes(self) -> dict[str, int]:
        """Resources by what happened to them: created, updated, replaced, deleted, unchanged.

        For a preview by what would: create, update, replace, delete, unchanged.
        """
        tail = self.text.rpartition("Resources:")[2]
        counts = re.findall(r"(\d+) (?:to )?([a-z]+)(?: |$)", tail, re.MULTILINE)
        return {what: int(count) for count, what in counts}


class Stack:
    """One stack with a file backend, a config and a program folder of its own."""

    def __init__(
        self,
        folder: Path,
        env: Mapping[str, str],
        broker: Broker,
        name: str = "test",
        program: Path = ROOT,
        timeout: float = TIMEOUT_SECONDS,
    ):
        self.folder = folder
        self.timeout = timeout
        self.broker = broker
        self.name = name
        self.state = folder / "state"
        self.state.mkdir(parents=True, exist_ok=True)
        self.env = {
            **os.environ,
            "PULUMI_PYTHON_CMD": sys.executable,
            **env,
            "PULUMI_BACKEND_URL": backend_url(self.state),
            "PULUMI_CONFIG_PASSPHRASE": "test",
        }
        for part in ("__main__.py", "Pulumi.yaml", "rabbit_topology"):
            whole = (ROOT if part == "rabbit_topology" else program) / part
            if not (folder / part).exists():
                (folder / part).symlink_to(whole)
        self.config_file = folder / f"Pulumi.{name}.yaml"
        self.pulumi("stack", "init", name, "--no-select")
        self._salt = yaml.safe_load(self.config_file.read_text())

    def configure(
        self,
        topology: Any,
        broker: Mapping[str, Any] | None = None,
        safety: Mapping[str, Any] | None = None,
        seed: str | None = None,
        **provider: Any,
    ) -> None:
        """Write the config: the topology, and the provider's settings over the broker's own.

        What is None is left out.
        """
        settings = {
            "rabbitmq:endpoint": self.broker.endpoint,
            "rabbitmq:username": self.broker.username,
            "rabbitmq:password": self.broker.password,
            "rabbit-topology:broker": {"hosts": list(self.broker.hosts), **(broker or {})},
            "rabbit-topology:safety": safety,
            "rabbit-topology:seed": seed,
            "rabbit-topology:topology": topology,
            **{f"rabbitmq:{key}": value for key, value in provider.items()},
        }
        self.write_config({key: value for key, value in settings.items() if value is not None})

    def configure_base(self, file: str = "topology.yaml") -> None:
        """Write a config whose topology is a file in the stack's folder, as `adopt` writes one."""
        self.configure(None, broker={})
        config = yaml.safe_load(self.config_file.read_text())["config"]
        self.write_config({**config, "rabbit-topology:base": file})

    def write_config(self, settings: Mapping[str, Any]) -> None:
        """Write the config as it is given."""
        self.config_file.write_text(yaml.safe_dump({**self._salt, "config": dict(settings)}))

    def encrypted(self, secret: str) -> dict[str, str]:
        """Return a secret as a config value of this stack: ``{"secure": ...}``."""
        self.pulumi("config", "set", "--secret", "scratch", secret, "--stack", self.name)
        config = yaml.safe_load(self.config_file.read_text())["config"]
        result: dict[str, str] = config["rabbit-topology:scratch"]
        return result

    def pulumi(self, *arguments: str, check: bool = True) -> Result:
        """Run one command to its end.

        Raises:
            EngineFailedError: It failed, and ``check`` is set.
        """
        ended = subprocess.run(
            ["pulumi", *arguments, "--non-interactive", "--color", "never"],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=self.timeout,
            check=False,
        )
        text = ended.stdout + ended.stderr
        if check and ended.returncode:
            raise EngineFailedError(text)
        return Result(text=text, output=ended.stdout, status=ended.returncode)

    def up(self, *flags: str, check: bool = True) -> Result:
        return self.pulumi(
            "up", "--yes", "--skip-preview", "--stack", self.name, *flags, check=check
        )

    def preview(self, *flags: str, check: bool = True) -> Result:
        return self.pulumi("preview", "--stack", self.name, *flags, check=check)

    def plan(self, *flags: str) -> dict[str, Any]:
        """Return `pulumi preview --json`: ``steps`` and ``changeSummary``."""
        result: dict[str, Any] = json.loads(self.preview("--json", *flags).output)
        return result

    def destroy(self, *flags: str, check: bool = True) -> Result:
        return self.pulumi(
            *("destroy", "--yes", "--skip-preview", "--run-program", "--stack", self.name, *flags),
            check=check,
        )

    def outputs(self) -> dict[str, Any]:
        """Return the stack's outputs, secrets in plain."""
        text = self.pulumi(
            "stack", "output", "--json", "--show-secrets", "--stack", self.name
        ).output
        result: dict[str, Any] = json.loads(text)
        return result


def command(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the package in a stack's folder, with its broker in the environment."""
    broker = stack.broker
    reached = {
        "RABBITMQ_ENDPOINT": broker.endpoint,
        "RABBITMQ_USERNAME": broker.username,
        "RABBITMQ_PASSWORD": broker.password,
    }
    return subprocess.run(
        [sys.executable, "-m", "rabbit_topology", *arguments],
        cwd=stack.folder,
        env={**stack.env, **reached, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def start_once(**options: Any) -> Iterator[Callable[[str], Broker]]:
    """Lend a function that starts a broker by version, once; all are stopped at the end."""
    running: dict[str, Broker] = {}
    with ExitStack() as stack:

        def start(version: str) -> Broker:
            if version not in running:
                started = Broker.start(version=version, report=print, **options)
                running[version] = stack.enter_context(started)
            return running[version]

        yield start


def management(broker: Broker) -> Management:
    return Management(endpoint=broker.endpoint, username=broker.username, password=broker.password)


def access_to(broker: Broker) -> Access:
    """Return both ways to a broker, as the program has them."""
    hosts = [parse_host(host, tls=False) for host in broker.hosts]
    return Access(management=management(broker), addresses=hosts)


def connect(
    broker: Broker, vhost: str, node: int = 0, name: str = "test"
) -> pika.BlockingConnection:
    """Open AMQP as the administrator."""
    parameters = pika.URLParameters(
        f"amqp://guest:guest@{broker.hosts[node]}/{quote(vhost, safe='')}"
    )
    parameters.client_properties = {"connection_name": name}
    return pika.BlockingConnection(parameters)


def definitions(broker: Broker) -> dict[str, list[str]]:
    """Return all that a broker holds: lists in one order, entries as JSON, so types count."""
    everything = management(broker).get("/definitions")
    result = {
        kind: sorted(json.dumps(entry, sort_keys=True) for entry in entries)
        for kind, entries in everything.items()
        if isinstance(entries, list)
    }
    assert {"vhosts", "users", "policies", "queues", "exchanges", "bindings"} <= result.keys()
    return result


def held(broker: Broker, vhost: str) -> dict[str, Any]:
    """Return what a broker lists of a vhost, without what every vhost has.

    ``exchanges`` and ``queues`` by name, ``bindings`` sorted; arguments as JSON, so that
    their types count.
    """
    here = quote(vhost, safe="")
    api = management(broker)
    exchanges = {one["name"]: one for one in api.get(f"/exchanges/{here}")}
    assert exchanges[""], "the default exchange is always listed"
    return {
        "exchanges": {
            name: _fields(one, "type", "durable", "auto_delete", "internal", "arguments")
            for name, one in exchanges.items()
            if name and not name.startswith("amq.")
        },
        "queues": {
            one["name"]: _fields(one, "type", "durable", "auto_delete", "exclusive", "arguments")
            for one in api.get(f"/queues/{here}")
        },
        "bindings": sorted(
            (
                _fields(
                    one, "source", "destination_type", "destination", "routing_key", "arguments"
                )
                for one in api.get(f"/bindings/{here}")
                if one["source"]  # every queue is bound to the default exchange
            ),
            key=_as_json,
        ),
    }


def wanted(topology: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a broker should hold for a config, in the shape of `held`."""
    return {
        "exchanges": {
            name: {
                "type": one.get("type", "direct"),
                "durable": one.get("durable", True),
                "auto_delete": one.get("auto_delete", False),
                "internal": False,
                "arguments": _as_json(one.get("arguments", {})),
            }
            for name, one in topology["exchanges"].items()
        },
        "queues": {
            name: {
                "type": one.get("type", "quorum"),
                "durable": one.get("durable", True),
                "auto_delete": one.get("auto_delete", False),
                "exclusive": False,
                "arguments": _as_json(
                    {"x-queue-type": one.get("type", "quorum"), **one.get("arguments", {})}
                ),
            }
            for name, one in topology["queues"].items()
        },
        "bindings": sorted(_wanted_bindings(topology), key=_as_json),
    }


def _wanted_bindings(topology: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for binding in topology["bindings"]:
        for key in binding.get("routing_keys", [binding.get("routing_key", "")]):
            yield {
                "source": binding["source"],
                "destination_type": "queue" if "queue" in binding else "exchange",
                "destination": binding.get("queue", binding.get("exchange")),
                "routing_key": key,
                "arguments": _as_json(binding.get("arguments", {})),
            }


def _fields(one: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: _as_json(one[name]) if name == "arguments" else one[name] for name in names}


def _as_json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def fill(channel: BlockingChannel, queue: str, count: int) -> None:
    """Put numbered messages into a queue; confirmed, so all of them are in it."""
    channel.confirm_delivery()
    for number in range(count):
        channel.basic_publish(
            "", queue, str(number).encode(), pika.BasicProperties(delivery_mode=2), mandatory=True
        )


def drain(channel: BlockingChannel, queue: str) -> list[tuple[int, bool]]:
    """Take all out of a queue: each message's number, and whether it was delivered before."""
    taken = []
    while True:
        method, _, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            return taken
        taken.append((int(body), method.redelivered))


def untouched(count: int) -> list[tuple[int, bool]]:
    """Return what `drain` takes out of a queue that nobody touched since `fill`."""
    return [(number, False) for number in range(count)]


def wait_for(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: It still does not after so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(0.02)


@contextmanager
def publishing(
    broker: Broker, vhost: str, exchange: str, key: str, path: str, statistic: str
) -> Iterator[None]:
    """Publish all the time; go on once the statistic of a queue or exchange knows of it."""
    ended = Event()

    def publish() -> None:
        with connect(broker, vhost) as connection:
            channel = connection.channel()
            while not ended.wait(0.01):
                channel.basic_publish(exchange, key, b"x")

    def known() -> object:
        statistics = management(broker).get(path).get("message_stats", {})
        return statistics.get(f"{statistic}_details", {}).get("rate")

    with ThreadPoolExecutor() as threads:
        published = threads.submit(publish)
        try:
            wait_for(known, "the broker knows what is published")
            yield
        finally:
            ended.set()
        published.result()


def read_stream(channel: BlockingChannel, stream: str, count: int) -> list[int]:
    """Return the numbers of a stream's first messages, in order; they stay where they are."""
    channel.basic_qos(prefetch_count=count)
    result = []
    messages = channel.consume(
        stream, arguments={"x-stream-offset": "first"}, inactivity_timeout=PATIENCE_SECONDS
    )
    for method, _, body in messages:
        assert method is not None, f"{stream} has only {len(result)} of {count} messages"
        result.append(int(body))
        channel.basic_ack(method.delivery_tag)
        if len(result) == count:
            break
    channel.cancel()
    return result
