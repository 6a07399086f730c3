"""What is compared: each tool can build the topology, look whether it is so, and destroy it."""

from __future__ import annotations

import json
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import httpx
import yaml

from bench.measure import FailedError, Measured, run
from bench.topology import VHOST, definitions, with_services
from toolchain import terraform
from toolchain.broker import Broker
from toolchain.terraform import Terraform

ROOT = Path(__file__).parent.parent
PROGRAMS = Path(__file__).parent / "programs"

SEED = "a seed for passwords that protect nothing"
_STACK = "bench"


class Step(StrEnum):
    """What is measured, in this order, starting on an empty broker."""

    FIRST = "first up"
    UNCHANGED = "preview, no change"
    ADDED = "one queue added, up"
    DESTROY = "destroy"


class Session(ABC):
    """One tool at work on one broker of its own, in a folder of its own."""

    def __init__(self, folder: Path, broker: Broker, limit: float) -> None:
        self.folder = folder
        self.broker = broker
        self.limit = limit

    def measure(self, step: Step, config: Mapping[str, Any]) -> Measured:
        """Measure a step towards `config`, and check that it did what it should.

        Raises FailedError if it did not, or took longer than the limit.
        """
        self.write(config)
        measured = self.run(step)
        held = _held(self.broker)
        if step is Step.DESTROY:
            wanted = None
        else:
            wanted = tuple(len(config[kind]) for kind in ("exchanges", "queues", "bindings"))
        if held != wanted:
            raise FailedError(f"{step} left {held} on the broker, not {wanted}")
        return measured

    @abstractmethod
    def write(self, config: Mapping[str, Any]) -> None:
        """Write what is to be deployed where the tool looks for it."""

    @abstractmethod
    def run(self, step: Step) -> Measured:
        """Run the tool."""


class Tool(ABC):
    """A way to build a topology. `name` is what the tables call it."""

    name: str
    about: str
    """One line for those who read the tables."""
    largest: int | None = None
    """No larger topologies than that are measured with it."""
    smallest: int = 0
    """No smaller ones either."""

    @abstractmethod
    def session(self, folder: Path, broker: Broker, limit: float) -> Session:
        """Prepare it, outside of what is measured."""


@dataclass(frozen=True, kw_only=True)
class PulumiTool(Tool):
    """One of our Pulumi programs, run by the engine. `env`: variables besides its own."""

    name: str
    about: str
    program: str
    engine_env: Mapping[str, str] = field(repr=False)
    env: Mapping[str, str] = field(default_factory=dict)
    largest: int | None = None
    smallest: int = 0
    services: int = 0
    """So many services on top of the topology."""

    def session(self, folder: Path, broker: Broker, limit: float) -> Session:
        """Make a stack with a file backend."""
        return _PulumiSession(self, folder, broker, limit)


class _PulumiSession(Session):
    def __init__(self, tool: PulumiTool, folder: Path, broker: Broker, limit: float) -> None:
        super().__init__(folder, broker, limit)
        self._hooks = tool.program != "plain"
        self._services = tool.services
        state = folder / "state"
        state.mkdir()
        self._env = {
            **os.environ,
            "PULUMI_PYTHON_CMD": sys.executable,
            **tool.engine_env,
            **tool.env,
            "PULUMI_BACKEND_URL": f"file://{state}",
            "PULUMI_CONFIG_PASSPHRASE": "bench",
            # The programs are links into the clone: nothing is compiled anew for each run.
            "PYTHONPATH": str(ROOT),
        }
        # Set on some build machines, it has every run compile the program anew.
        self._env.pop("PYTHONDONTWRITEBYTECODE", None)
        (folder / "__main__.py").symlink_to(PROGRAMS / f"{tool.program}.py")
        (folder / "Pulumi.yaml").symlink_to(ROOT / "Pulumi.yaml")
        self._pulumi("stack", "init", _STACK, "--no-select")
        file = folder / f"Pulumi.{_STACK}.yaml"
        settings = yaml.safe_load(file.read_text())
        settings["config"] = {
            "rabbitmq:endpoint": broker.endpoint,
            "rabbitmq:username": broker.username,
            "rabbitmq:password": broker.password,
            "rabbit-topology:broker": {"hosts": list(broker.hosts)},
            "rabbit-topology:seed": SEED,
        }
        file.write_text(yaml.safe_dump(settings))

    def write(self, config: Mapping[str, Any]) -> None:
        config = with_services(dict(config), self._services)
        (self.folder / "topology.json").write_text(json.dumps(config))

    def run(self, step: Step) -> Measured:
        now = ("--yes", "--skip-preview", "--stack", _STACK)
        match step:
            case Step.FIRST | Step.ADDED:
                return self._pulumi("up", *now)
            case Step.UNCHANGED:
                measured = self._pulumi("preview", "--stack", _STACK)
                if " to " in measured.output.rpartition("Resources:")[2]:
                    raise FailedError(f"a change where there is none:\n{measured.output[-2000:]}")
                return measured
            case Step.DESTROY:
                return self._pulumi("destroy", *now, *(["--run-program"] * self._hooks))

    def _pulumi(self, *arguments: str) -> Measured:
        return run(
            ["pulumi", *arguments, "--non-interactive", "--color", "never"],
            cwd=self.folder,
            env=self._env,
            limit=self.limit,
        )


@dataclass(frozen=True, kw_only=True)
class TerraformTool(Tool):
    """Terraform with the provider that ours uses too."""

    terraform: Terraform
    name: str = "Terraform"
    about: str = "Terraform with the same provider, as it comes"

    def session(self, folder: Path, broker: Broker, limit: float) -> Session:
        """Make a working directory, with the provider taken from the cache."""
        return _TerraformSession(self.terraform, folder, broker, limit)


class _TerraformSession(Session):
    def __init__(self, one: Terraform, folder: Path, broker: Broker, limit: float) -> None:
        super().__init__(folder, broker, limit)
        self._command = one.command
        self._env = {**os.environ, **one.environment(folder)}
        self._provider = {
            "terraform": {
                "required_providers": {
                    "rabbitmq": {"source": terraform.SOURCE, "version": one.provider}
                }
            },
            "provider": {
                "rabbitmq": {
                    "endpoint": broker.endpoint,
                    "username": broker.username,
                    "password": broker.password,
                }
            },
        }
        self._write(self._provider)
        self._terraform("init")

    def write(self, config: Mapping[str, Any]) -> None:
        # One block each: with `for_each` every binding would make Terraform look at all queues.
        vhost = "${rabbitmq_vhost.it.name}"
        resources = {
            "rabbitmq_vhost": {"it": {"name": config["vhost"]}},
            "rabbitmq_exchange": {
                name: {
                    "name": name,
                    "vhost": vhost,
                    "settings": {"type": one["type"], "durable": True},
                }
                for name, one in config["exchanges"].items()
            },
            "rabbitmq_queue": {
                name: {
                    "name": name,
                    "vhost": vhost,
                    "settings": {"durable": True, "arguments": {"x-queue-type": one["type"]}},
                }
                for name, one in config["queues"].items()
            },
            "rabbitmq_binding": {
                f"{binding['source']}-{binding['queue']}": {
                    "vhost": vhost,
                    "source": f"${{rabbitmq_exchange.{binding['source']}.name}}",
                    "destination": f"${{rabbitmq_queue.{binding['queue']}.name}}",
                    "destination_type": "queue",
                    "routing_key": binding["routing_key"],
                }
                for binding in config["bindings"]
            },
        }
        self._write({**self._provider, "resource": resources})

    def run(self, step: Step) -> Measured:
        match step:
            case Step.FIRST | Step.ADDED:
                return self._terraform("apply", "-auto-approve")
            case Step.UNCHANGED:
                return self._terraform("plan", "-detailed-exitcode")  # 2 if there is a change
            case Step.DESTROY:
                return self._terraform("destroy", "-auto-approve")

    def _write(self, content: Mapping[str, Any]) -> None:
        (self.folder / "main.tf.json").write_text(json.dumps(content))

    def _terraform(self, command: str, *arguments: str) -> Measured:
        return run(
            [self._command, command, "-input=false", "-no-color", *arguments],
            cwd=self.folder,
            env=self._env,
            limit=self.limit,
        )


class FloorTool(Tool):
    """The broker alone: all definitions in one request."""

    name = "floor"
    about = "the broker alone: `POST /api/definitions`, `GET` of them, `DELETE` of the vhost"

    def session(self, folder: Path, broker: Broker, limit: float) -> Session:
        """Open a connection."""
        return _FloorSession(folder, broker, limit)


class _FloorSession(Session):
    def __init__(self, folder: Path, broker: Broker, limit: float) -> None:
        super().__init__(folder, broker, limit)
        self._http = client(broker, limit)
        self._content: dict[str, Any] = {}

    def write(self, config: Mapping[str, Any]) -> None:
        self._content = definitions(dict(config))

    def run(self, step: Step) -> Measured:
        started = time.monotonic()
        match step:
            case Step.FIRST | Step.ADDED:
                answer = self._http.post("/api/definitions", json=self._content)
            case Step.UNCHANGED:
                answer = self._http.get(f"/api/definitions/{VHOST}")
            case Step.DESTROY:
                answer = self._http.delete(f"/api/vhosts/{VHOST}")
        seconds = time.monotonic() - started
        if answer.is_error:
            raise FailedError(f"{step}: {answer.status_code}: {answer.text[:1000]}")
        return Measured(seconds=seconds, peak_bytes=None)


def client(broker: Broker, seconds: float) -> httpx.Client:
    """Return a client of a broker's management API that waits that long for an answer."""
    return httpx.Client(
        base_url=broker.endpoint, auth=(broker.username, broker.password), timeout=seconds
    )


def _held(broker: Broker) -> tuple[int, ...] | None:
    """Return the number of exchanges, queues and bindings in the vhost; None if it is gone."""
    with client(broker, seconds=60) as http:
        if http.get(f"/api/vhosts/{VHOST}").status_code == httpx.codes.NOT_FOUND:
            return None
        result = http.get(f"/api/definitions/{VHOST}").raise_for_status().json()
    return tuple(len(result[kind]) for kind in ("exchanges", "queues", "bindings"))
