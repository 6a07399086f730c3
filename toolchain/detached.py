"""A broker that outlives the command which starts it, found again through its state folder.

The folder holds `broker.json` (what runs and where) and a record of every process, written by
the process itself: `stop` needs only the latter, so it also ends what a crash left half-started.
"""

import contextlib
import json
from pathlib import Path
from typing import Any

from toolchain import container, debian, lock
from toolchain import state as layout
from toolchain.broker import Broker
from toolchain.errors import BrokerError
from toolchain.ports import free_ports
from toolchain.process import Process
from toolchain.server import Server, from_debian, from_path

# Debian's stable release: a broker that holds a developer's work should not move under them, as
# sid does. 4.x in Docker is the like of it.
_DEBIAN_VERSION = "4.0"
_DOCKER_VERSION = "4"

Record = dict[str, Any]


def start(
    state: Path,
    report: debian.Report,
    *,
    version: str | None = None,
    nodes: int = 1,
    ports: tuple[int, int] | None = None,
    source: str = "auto",
) -> Record:
    """Start a broker in the state folder, unless it runs already; return its record when ready.

    source: path (the user's own RabbitMQ), docker, debian (packages in the cache), or auto: the
    first of these that is there, or debian if a `version` is asked for.
    ports: AMQP and management port of the first node; the last ones again or free ones if None.

    After a crash or a restart of the machine the data is still there. The record's keys: source,
    wanted, nodes, version, endpoint, hosts, username, password, ports (AMQP and management), and
    processes (name, pid, start in clock ticks after boot) or container (its name).
    Raises BrokerError.
    """
    state = state.absolute()
    with _locked(state, report):
        record = read(state)
        if record and is_running(record):
            report(f"already running: {describe(record)}")
            return record
        source, server = _choose(source, version, nodes, report)
        wanted = {"source": source, "wanted": version, "nodes": nodes}
        again = record is not None and wanted.items() <= record.items()
        _end(state, keep=again)
        if again and record and not ports:
            ports = tuple(record["ports"])
        if source == "docker":
            result = _start_container(state, version or _DOCKER_VERSION, ports, report)
        else:
            result = _start_processes(state, server, nodes, ports, report, keep=again)
        record = {**wanted, **result}
        _write(state, record)
        report(f"started: {describe(record)}")
        return record


def stop(state: Path, report: debian.Report, *, keep: bool = False) -> None:
    """End what `start` started in the state folder, and only that, and remove its data.

    keep: leave the data for the next start. Raises BrokerError if Docker fails.
    """
    state = state.absolute()
    if not state.exists():
        report(f"nothing to stop: {state} does not exist")
        return
    with _locked(state, report):
        count = _end(state, keep)
        report(f"stopped {count} process{'' if count == 1 else 'es'} of {state}")
        if not keep:
            (state / "broker.json").unlink(missing_ok=True)
            (state / "lock").unlink()
    with contextlib.suppress(OSError):
        # It may hold what is not ours.
        state.rmdir()


def read(state: Path) -> Record | None:
    """Return the record of the state folder; None if there is none or it is damaged."""
    try:
        record = json.loads((state / "broker.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def is_running(record: Record) -> bool:
    """Return whether all that the record names runs."""
    if record.get("container"):
        return container.running(record["container"])
    return all(Process(one["pid"], one["start"]).alive() for one in record["processes"])


def describe(record: Record) -> str:
    """Return the record in a line: version, source, management URL and AMQP hosts."""
    hosts = ", ".join(record["hosts"])
    return f"RabbitMQ {record['version']} ({record['source']}), {record['endpoint']}, AMQP {hosts}"


def _choose(
    source: str, version: str | None, nodes: int, report: debian.Report
) -> tuple[str, Server | None]:
    if source == "path" or (source == "auto" and version is None):
        if server := from_path():
            return "path", server
        if source == "path":
            raise BrokerError("no rabbitmq-server with its erl and epmd on PATH")
    if source == "docker" or (source == "auto" and version is None and nodes == 1):
        if nodes > 1:
            raise BrokerError("a cluster cannot be had from Docker: use --source debian")
        if container.available():
            return "docker", None
        if source == "docker":
            raise BrokerError("no Docker engine answers")
    return "debian", from_debian(version or _DEBIAN_VERSION, report)


def _start_processes(
    state: Path,
    server: Server | None,
    nodes: int,
    ports: tuple[int, int] | None,
    report: debian.Report,
    *,
    keep: bool,
) -> Record:
    broker = Broker.start(
        nodes=nodes,
        state=state,
        report=report,
        ports=ports,
        keep=keep,
        detached=True,
        server=server,
    )
    broker.release()
    return {
        "version": broker.version,
        "endpoint": broker.endpoint,
        "hosts": broker.hosts,
        "username": broker.username,
        "password": broker.password,
        "ports": [broker.nodes[0].amqp_port, broker.nodes[0].management_port],
        "processes": [
            {"name": name, "pid": one.pid, "start": one.start}
            for name, one in broker.processes.items()
        ],
    }


def _start_container(
    state: Path, version: str, ports: tuple[int, int] | None, report: debian.Report
) -> Record:
    if ports is None:
        amqp, management = free_ports(2)
        ports = (amqp, management)
    name = container.name(state)
    # Before it exists, so that `stop` finds one that was half-started.
    (state / "container").write_text(name)
    report(f"Docker: RabbitMQ {version}, to be downloaded if it is not there")
    return {
        "version": container.start(name, version, ports),
        "endpoint": f"http://127.0.0.1:{ports[1]}",
        "hosts": [f"127.0.0.1:{ports[0]}"],
        "username": "guest",
        "password": "guest",
        "ports": list(ports),
        "container": name,
    }


def _end(state: Path, keep: bool) -> int:
    """End what the folder's records name; how many processes and containers that were."""
    count = layout.end(state, grace=10 if keep else 0)
    if keep:
        return count
    layout.remove(state)
    if (state / "container").exists():
        container.remove((state / "container").read_text())
        (state / "container").unlink()
        count += 1
    return count


def _write(state: Path, record: Record) -> None:
    new = state / "broker.json.new"
    new.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    new.replace(state / "broker.json")


def _locked(state: Path, report: debian.Report) -> contextlib.AbstractContextManager[None]:
    return lock.exclusive(state / "lock", lambda: report(f"waiting for another use of {state}"))
