"""The local broker tool with real brokers: what it starts, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.repository import ROOT
from toolchain import detached
from toolchain.broker import Broker, BrokerError, answers
from toolchain.ports import free_ports, is_free
from toolchain.server import from_debian

pytestmark = pytest.mark.integration


def processes_of(state: Path) -> dict[int, str]:
    """Return all processes whose environment names the folder, by pid: command line."""
    result = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.fsencode(f"{state}/") in (folder / "environ").read_bytes():
                result[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
    return result


def listening(pids: set[int]) -> set[tuple[str, int]]:
    """Return the address, in the kernel's hexadecimal notation, and port of every listener."""
    inodes = set()
    for pid in pids:
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            try:
                inodes.add(str(handle.readlink()).removeprefix("socket:[").rstrip("]"))
            except FileNotFoundError:
                continue
    result = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address, port = fields[1].split(":")
                result.add((address, int(port, 16)))
    return result


def test_a_port_that_is_taken_while_a_broker_starts_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen: list[list[int]] = []
    with ExitStack() as taken:

        def taken_at_first(count: int, taken_too: Collection[int] = (), **_: object) -> list[int]:
            chosen.append(free_ports(count, taken_too))
            if len(chosen) == 1:
                listener = taken.enter_context(socket.socket())
                listener.bind(("127.0.0.1", chosen[0][1]))  # AMQP's
                listener.listen()
            return chosen[-1]

        monkeypatch.setattr("toolchain.broker.free_ports", taken_at_first)
        said: list[str] = []
        with Broker.start(version="4.0", report=said.append) as broker:
            assert len(chosen) == 2
            assert broker.nodes[0].amqp_port == chosen[1][1]
    assert "a port was taken by somebody else meanwhile; trying others" in said


LOOPBACK = {"0100007F", "00000000000000000000000001000000"}


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def running_nodes(broker: Broker, asked: int) -> list[str]:
    request = urllib.request.Request(
        f"{broker.nodes[asked].endpoint}/api/nodes",
        headers={"Authorization": "Basic Z3Vlc3Q6Z3Vlc3Q="},
    )
    with urllib.request.urlopen(request) as response:
        return sorted(node["name"] for node in json.load(response) if node["running"])


def test_side_by_side_on_loopback_and_gone_after(tmp_path: Path) -> None:
    wanted = {"3.10": "3.10.", "4.0": "4.0.", "newest": "4."}

    def start(version: str) -> Broker:
        # Its own thread, which ends as soon as the broker is ready.
        return Broker.start(version, state=tmp_path / version)

    with ThreadPoolExecutor() as pool:
        brokers = dict(zip(wanted, pool.map(start, wanted), strict=True))
    ports = set()
    for version, broker in brokers.items():
        assert broker.version.startswith(wanted[version])
        assert answers(broker.endpoint, "guest", "guest") == broker.version
        result = listening(set(processes_of(broker.folder)))
        assert {address for address, _ in result} <= LOOPBACK
        node = broker.nodes[0]
        assert {port for _, port in result} > {node.amqp_port, node.management_port}
        assert len(result) == 5, "AMQP, management, distribution, and epmd at two addresses"
        ports |= {port for _, port in result}
    assert len(ports) == 4 * len(brokers)
    for broker in brokers.values():
        broker.stop()
    assert all(is_free(port) for port in ports)
    assert wait_until(lambda: not processes_of(tmp_path)), processes_of(tmp_path)
    assert not list(tmp_path.glob("*/*")), "the data is removed"


def test_nothing_lingers_when_the_parent_is_killed(tmp_path: Path) -> None:
    program = f"""
import time
from pathlib import Path
from toolchain.broker import Broker
with Broker.start("4.0", state=Path({str(tmp_path)!r})):
    print(flush=True)
    time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout
        parent.stdout.readline()
        started = processes_of(tmp_path)
        assert any("epmd" in command for command in started.values())
        assert any("beam" in command for command in started.values())
        parent.kill()
    assert wait_until(lambda: not processes_of(tmp_path)), processes_of(tmp_path)


def test_a_node_of_a_cluster_comes_back(tmp_path: Path) -> None:
    config = {"collect_statistics_interval": "1234"}
    with Broker.start("4.0", nodes=3, state=tmp_path, config=config) as broker:
        everyone = [node.name for node in broker.nodes]
        assert running_nodes(broker, asked=0) == everyone
        assert len(set(broker.hosts)) == 3
        assert {address for address, _ in listening(set(processes_of(tmp_path)))} <= LOOPBACK
        before = broker.nodes[0].pid
        broker.kill(0)
        assert not broker.nodes[0].alive()
        assert is_free(broker.nodes[0].amqp_port)
        assert wait_until(lambda: running_nodes(broker, asked=1) == everyone[1:])
        broker.restart(0)
        assert broker.nodes[0].pid != before
        assert running_nodes(broker, asked=0) == everyone
        output = broker.ctl("eval", "application:get_env(rabbit, collect_statistics_interval).")
        assert output.strip() == "{ok,1234}"


def run(*arguments: str | Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "toolchain.broker", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_detached(tmp_path: Path) -> None:
    state = tmp_path / "state"
    # The user's own RabbitMQ, for which the one in the cache stands in.
    server = from_debian("4.0", print)
    environment = {**os.environ, "PATH": f"{server.scripts}:{server.path}:{os.environ['PATH']}"}
    start = ("start", "--state", state)
    try:
        assert "RabbitMQ 4.0.5 (path)" in run(*start, environment=environment)
        record = detached.read(state) or {}
        assert answers(record["endpoint"], "guest", "guest") == record["version"]
        assert "already running" in run(*start)
        assert "running: RabbitMQ 4.0.5" in run("status", "--state", state)

        request = urllib.request.Request(
            f"{record['endpoint']}/api/vhosts/kept",
            method="PUT",
            headers={"Authorization": "Basic Z3Vlc3Q6Z3Vlc3Q="},
        )
        urllib.request.urlopen(request).close()
        os.kill(record["processes"][1]["pid"], signal.SIGKILL)
        assert "started" in run(*start, environment=environment)
        again = detached.read(state) or {}
        assert again["endpoint"] == record["endpoint"]
        request.method = "GET"
        urllib.request.urlopen(request).close()
    finally:
        assert "stopped 2 processes" in run("stop", "--state", state)
    assert wait_until(lambda: not processes_of(state)), processes_of(state)
    assert is_free(record["ports"][0])
    assert not state.exists()


def test_a_start_that_is_killed_can_be_stopped(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "toolchain.broker", "start", "--state", str(tmp_path / "s")]
    with subprocess.Popen([*command, "--source=debian"], cwd=ROOT) as start:
        assert wait_until(lambda: len(processes_of(tmp_path)) >= 2)
        start.kill()
    assert processes_of(tmp_path)
    run("stop", "--state", tmp_path / "s")
    assert wait_until(lambda: not processes_of(tmp_path)), processes_of(tmp_path)
    assert not (tmp_path / "s").exists()


def test_a_start_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=r"no\.such\.setting"):
        Broker.start("4.0", state=tmp_path, config={"no.such.setting": "1"})
    assert wait_until(lambda: not processes_of(tmp_path)), processes_of(tmp_path)
    assert not list(tmp_path.iterdir())
