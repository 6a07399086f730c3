"""
`make up` and `make down` in a copy of the project, on ports of the test's own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pika
import pytest
import yaml

from tests.support.repository import ROOT
from tests.support.stacks import drain, fill, untouched
from toolchain import detached
from toolchain.broker import Broker, answers
from toolchain.ports import free_ports, is_free

VHOST, QUEUE = "ai-dev", "inference.requests"


@dataclass(frozen=True, kw_only=True)
class Clone:
    """A copy of the working tree, with a virtual environment that needs no installation."""

    folder: Path
    amqp_port: int
    management_port: int
    env: dict[str, str]

    @property
    def state(self) -> Path:
        return self.folder / ".local" / "broker"

    @property
    def unfinished(self) -> Path:
        return self.folder / ".local" / "unfinished"

    def run(self, *command: str) -> str:
        """Run a command in the copy and return what it prints; it must succeed."""
        ended = subprocess.run(
            command,
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout
        return ended.stdout

    def connect(self) -> pika.BlockingConnection:
        url = f"amqp://guest:guest@127.0.0.1:{self.amqp_port}/{VHOST}"
        return pika.BlockingConnection(pika.URLParameters(url))


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    folder = tmp_path / "clone"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    environment = folder / ".venv"
    environment.mkdir()
    for part in Path(sys.prefix).iterdir():
        (environment / part.name).symlink_to(part)
    ready = environment / ".ready"
    ready.unlink(missing_ok=True)
    ready.touch()

    amqp, management = free_ports(2)
    file = folder / "Pulumi.dev.yaml"
    settings: dict[str, Any] = yaml.safe_load(file.read_text())
    settings["config"]["rabbitmq:endpoint"] = f"http://localhost:{management}"
    settings["config"]["rabbit-topology:broker"]["hosts"] = [f"localhost:{amqp}"]
    file.write_text(yaml.safe_dump(settings))
    one = Clone(
        folder=folder,
        amqp_port=amqp,
        management_port=management,
        env={key: item for key, item in os.environ.items() if not key.startswith("PULUMI_")},
    )
    try:
        yield one
    finally:
        one.run(sys.executable, "-m", "toolchain.broker", "stop", "--state", str(one.state))


def assert_proven(printed: str) -> None:
    assert f"delivered  inference -[inference.request]-> queue {QUEUE}" in printed
    assert "1 of 1 bindings deliver" in printed


def test_make_up_deploys_and_proves_keeps_messages_when_repeated_and_make_down_leaves_nothing(
    clone: Clone,
) -> None:
    first = clone.run("make", "up")
    assert "installing" not in first
    assert "starting a local one" in first
    assert "+ 6 created" in first
    assert_proven(first)
    assert f"queue {QUEUE}: amqp://localhost:{clone.amqp_port}/{VHOST}" in first
    record = detached.read(clone.state)
    assert record
    assert detached.is_running(record)

    with clone.connect() as connection:
        channel = connection.channel()
        fill(channel, QUEUE, 5)
        again = clone.run("make", "up")
        assert "starting a local one" not in again
        assert "Resources:\n    6 unchanged\n" in again
        assert_proven(again)
        assert drain(channel, QUEUE) == untouched(5)

        # As a run leaves it that was killed while it deleted: the state still has the binding.
        channel.queue_unbind(QUEUE, "inference", "inference.request")
        clone.unfinished.touch()
        after = clone.run("make", "up")
        assert "an earlier run was killed" in after
        assert_proven(after)
        assert not clone.unfinished.exists()

    clone.run("make", "down")
    assert not detached.is_running(record)
    assert is_free(clone.amqp_port)
    assert is_free(clone.management_port)
    assert not clone.state.exists()


def test_make_up_uses_an_engine_and_a_broker_that_are_there_and_make_down_leaves_them(
    clone: Clone, engine_env: dict[str, str]
) -> None:
    clone.env.update({key: one for key, one in engine_env.items() if key != "PULUMI_PYTHON_CMD"})
    ports = (clone.amqp_port, clone.management_port)
    with Broker.start(version="4.0", ports=ports) as broker:
        printed = clone.run("make", "up")
        assert f"RabbitMQ {broker.version} answers at http://localhost:{ports[1]}" in printed
        assert_proven(printed)
        assert not clone.state.exists()

        clone.run("make", "down")
        assert answers(broker.endpoint, broker.username, broker.password) == broker.version
        assert VHOST not in broker.ctl("list_vhosts", "--quiet")
