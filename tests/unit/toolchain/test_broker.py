"""The local broker tool without a network and without RabbitMQ: fake programs stand in for both."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.repository import ROOT
from toolchain import apt, commands, container, debian, detached, lock, process, state
from toolchain.broker import BrokerError, answers
from toolchain.node import PLUGINS, Node
from toolchain.ports import free_ports, is_free
from toolchain.process import Process
from toolchain.server import Server, from_debian, from_path


@pytest.fixture
def reported() -> list[str]:
    return []


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Put a shell script on PATH; each appends its arguments to the file `calls`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def add(name: str, body: str) -> None:
        script = folder / name
        script.write_text(f'#!/bin/sh\necho "$0 $*" >> {tmp_path}/calls\n{body}\n')
        script.chmod(0o755)

    return add


# The machine's apt sources


def test_one_line_sources() -> None:
    text = """\
        # deb http://commented.example/debian bookworm main
        deb http://mirror.example/debian bookworm main contrib  # a comment
        deb [arch=amd64 signed-by=/keys/debian-archive.gpg] http://b.example/x/ bookworm main
        deb-src http://mirror.example/debian bookworm main
        deb cdrom:[Debian_12]/debian bookworm main
        deb http://mirror.example/debian-security bookworm-security main
        deb [signed-by=/keys/other.gpg] https://third.example/apt bookworm main
        deb https://third.example/linux/debian bookworm stable
    """
    assert [one.uri for one in apt.parse_lines(text) if one.is_debian] == [
        "http://mirror.example/debian",
        "http://b.example/x/",
    ]
    assert [one.signed_by for one in apt.parse_lines(text)][:2] == [
        None,
        "/keys/debian-archive.gpg",
    ]


def test_deb822_sources() -> None:
    text = textwrap.dedent("""\
        # the main archive
        Types: deb deb-src
        # an older address
        URIs: http://one.example/debian http://two.example/debian
        Suites: bookworm bookworm-updates
        Components: main
        Signed-By: /keys/debian-archive-keyring.gpg

        Types: deb
        URIs: http://off.example/debian
        Suites: bookworm
        Components: main
        Enabled: no

        Types: deb
        URIs: http://inline.example/debian
        Suites: bookworm
        Components: main
        Signed-By:
         -----BEGIN PGP PUBLIC KEY BLOCK-----
         .
         -----END PGP PUBLIC KEY BLOCK-----

        Types: deb
        URIs: https://third.example/node_20.x
        Suites: nodistro
        Components: main
    """)
    result = [one for one in apt.parse_deb822(text) if one.is_debian]
    assert [(one.uri, one.suite, one.signed_by) for one in result] == [
        ("http://one.example/debian", "bookworm", "/keys/debian-archive-keyring.gpg"),
        ("http://two.example/debian", "bookworm", "/keys/debian-archive-keyring.gpg"),
        ("http://inline.example/debian", "bookworm", None),
    ]


def test_mirror_prefers_debians_own_key(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://plain.example/debian bookworm main\n")
    (tmp_path / "sources.list.d" / "x.sources").write_text(
        "Types: deb\nURIs: http://keyed.example/d\nSuites: bookworm\nComponents: main\n"
        "Signed-By: /keys/debian-archive-keyring.gpg\n"
    )
    (tmp_path / "sources.list.d" / "y.list.off").write_text("deb http://no.example/debian b main\n")
    assert apt.mirror(tmp_path).uri == "http://keyed.example/d"


def test_no_mirror(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="no Debian mirror"):
        apt.mirror(tmp_path)


# Building a prefix


def test_apt_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrokerError, match="need apt"):
        debian.ensure("trixie", print)


def test_apts_last_lines_are_passed_on(
    programs: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    reported: list[str],
) -> None:
    programs("dpkg", "echo amd64")
    programs("dpkg-deb", "")
    programs("apt-get", "echo Ign:1; echo 'E: Could not resolve the mirror' >&2; exit 100")
    source = apt.Source(uri="http://m.example/debian", suite="bookworm", components=("main",))
    monkeypatch.setattr(apt, "mirror", lambda: source)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(BrokerError, match="E: Could not resolve the mirror"):
        debian.ensure("trixie", reported.append)
    assert reported == ["RabbitMQ of Debian trixie: reading the package list (0 s)"]
    assert [path.suffix for path in debian.cache().iterdir()] == [".lock"], "nothing half-built"


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Replace the real build, which then only notes the suite and writes a file."""
    built: list[str] = []

    def build(suite: str, prefix: Path, _report: debian.Report) -> None:
        assert not (prefix / "half").exists() or not (prefix / "complete").exists()
        time.sleep(0.05)
        built.append(suite)
        prefix.mkdir(parents=True, exist_ok=True)
        (prefix / "complete").touch()

    monkeypatch.setattr(debian, "_build", build)
    monkeypatch.setattr(debian, "architecture", lambda: "amd64")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return built


def test_builds_at_once_build_once(builds: list[str], reported: list[str]) -> None:
    with ThreadPoolExecutor(4) as pool:
        prefixes = list(pool.map(lambda _: debian.ensure("trixie", reported.append), range(4)))
    assert builds == ["trixie"]
    assert len(set(prefixes)) == 1
    assert any("waiting" in line for line in reported)


def test_an_interrupted_build_is_done_again(builds: list[str]) -> None:
    prefix = debian.ensure("trixie", print)
    (prefix / "complete").unlink()
    assert debian.ensure("trixie", print) == prefix
    assert builds == ["trixie", "trixie"]


def test_sid_is_newest_for_a_week(
    builds: list[str], monkeypatch: pytest.MonkeyPatch, reported: list[str]
) -> None:
    week = 7 * 24 * 3600
    monkeypatch.setattr("time.time", lambda: 100.5 * week)
    first = debian.ensure("sid", print)
    assert debian.ensure("sid", print) == first
    monkeypatch.setattr("time.time", lambda: 101.5 * week)
    second = debian.ensure("sid", print)
    assert second != first
    assert not first.exists(), "last week's is removed"

    def fail(*_: object) -> None:
        raise BrokerError("no network")

    monkeypatch.setattr(debian, "_build", fail)
    monkeypatch.setattr("time.time", lambda: 102.5 * week)
    assert debian.ensure("sid", reported.append) == second
    assert "no network" in reported[-1]


def test_clean_leaves_what_is_in_use(builds: list[str]) -> None:
    used, unused = debian.ensure("trixie", print), debian.ensure("bookworm", print)
    with debian.hold(used):
        with pytest.raises(BrokerError, match=used.name):
            debian.clean(print)
        assert used.exists()
        assert not unused.exists()
    debian.clean(print)
    assert list(debian.cache().iterdir()) == []


def test_a_removed_lock_guards_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with lock.exclusive(path):
        waiter = ThreadPoolExecutor(1).submit(lambda: lock.exclusive(path).__enter__())
        time.sleep(0.05)
        path.unlink()
    waiter.result(timeout=5)
    assert path.exists(), "whoever waited took a new one"


def test_unknown_version() -> None:
    with pytest.raises(BrokerError, match=r"no RabbitMQ '2\.0'.*there is 3\.10, 4\.0"):
        from_debian("2.0", print)


def test_server_on_path(programs: Callable[[str, str], None], tmp_path: Path) -> None:
    assert from_path() is None
    for name in ("rabbitmq-server", "erl", "epmd", "rabbitmq-env"):
        programs(name, "")
    result = from_path()
    assert result is not None
    assert (result.scripts, result.epmd) == (tmp_path / "bin", tmp_path / "bin" / "epmd")


# Processes


def wait_until(condition: Callable[[], bool], seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Process]:
    started = sleep(tmp_path, with_parent=True)
    yield started
    process.stop([started], grace=0)


def sleep(folder: Path, *, with_parent: bool) -> Process:
    return process.spawn(
        ["sleep", "60"],
        record=folder / "epmd.pid",
        output=folder / "epmd.output",
        environment=dict(os.environ),
        with_parent=with_parent,
    )


def test_a_process_is_its_pid_and_its_start(sleeper: Process) -> None:
    recycled = Process(sleeper.pid, sleeper.start - 1)
    assert not recycled.alive()
    recycled.signal(signal.SIGKILL)
    process.stop([recycled])
    assert sleeper.alive()
    process.stop([sleeper])
    assert not sleeper.alive()


def test_stop_kills_what_does_not_end(tmp_path: Path) -> None:
    deaf = process.spawn(
        ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"],
        record=tmp_path / "pid",
        output=tmp_path / "output",
        environment=dict(os.environ),
        with_parent=True,
    )
    assert wait_until(lambda: "deaf" in (tmp_path / "output").read_text())
    process.stop([deaf], grace=0.1)
    assert not deaf.alive()


def test_a_command_that_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="sleep does not start"):
        process.spawn(
            ["sleep", "60"],
            # Its folder is not there, so that the program ends before it is recorded.
            record=tmp_path / "none" / "pid",
            output=tmp_path / "output",
            environment={},
            with_parent=False,
        )


def test_it_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(sleep, tmp_path, with_parent=True).result()
    assert not wait_until(lambda: not started.alive(), seconds=0.2)
    process.stop([started], grace=0)


@pytest.mark.parametrize("with_parent", [True, False])
def test_the_parent_is_killed(tmp_path: Path, *, with_parent: bool) -> None:
    program = f"""
import time
from pathlib import Path
from tests.unit.toolchain.test_broker import sleep
sleep(Path({str(tmp_path)!r}), with_parent={with_parent})
print(flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE)
    with parent:
        assert parent.stdout
        parent.stdout.readline()
        started = Process.read(tmp_path / "epmd.pid")
        parent.kill()
    assert started is not None
    assert wait_until(lambda: not started.alive(), seconds=2 if with_parent else 0.2) == with_parent
    assert state.end(tmp_path, grace=0) == (0 if with_parent else 1)
    assert not started.alive()


# A node's ports, configuration and environment


def test_free_ports() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not is_free(server.getsockname()[1])
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert not set(ports) & set(free_ports(20, taken=ports))


def test_given_ports_are_kept() -> None:
    assert commands._ports(None, None) is None
    assert commands._ports(5672, 15672) == (5672, 15672)
    amqp, management = commands._ports(5672, None) or (0, 0)
    assert amqp == 5672
    assert management not in {0, 5672}


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(
        name="rabbit1@localhost",
        folder=tmp_path / "rabbit1",
        amqp_port=1,
        management_port=2,
        distribution_port=3,
    )


def test_configuration(node: Node) -> None:
    names = ["rabbit1@localhost", "rabbit2@localhost"]
    lines = node.configuration(names, {"disk_free_limit.absolute": "1GB"}).splitlines()
    assert "listeners.tcp.local = 127.0.0.1:1" in lines
    assert "management.tcp.ip = 127.0.0.1" in lines
    assert "management.tcp.port = 2" in lines
    assert "cluster_formation.classic_config.nodes.2 = rabbit2@localhost" in lines
    assert [line for line in lines if line.startswith("disk")] == ["disk_free_limit.absolute = 1GB"]
    assert not any("cluster" in line for line in node.configuration(names[:1], {}).splitlines())


def test_nothing_of_the_users_leaks_into_a_node(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RABBITMQ_NODENAME", "theirs")
    monkeypatch.setenv("ERL_LIBS", "/theirs")
    server = Server(scripts=tmp_path / "s/sbin", path="/bin", epmd=tmp_path / "epmd")
    environment = node.environment(server, tmp_path / "home", epmd_port=4)
    assert environment["RABBITMQ_NODENAME"] == "rabbit1@localhost"
    assert "ERL_LIBS" not in environment
    paths = [value for value in environment.values() if value.startswith("/")]
    assert [path for path in paths if not path.startswith(str(tmp_path))] == ["/bin"]


def test_the_first_error_is_told(node: Node) -> None:
    assert node.complaint() == ""
    node.log.parent.mkdir(parents=True)
    node.log.write_text("\n".join(["[info] 1", "[error] cause", *["[error] more"] * 50]))
    node.output.write_text("\n".join(["banner"] * 50 + ["last"]))
    assert node.complaint(count=2).splitlines() == [
        "banner",
        "last",
        "[error] cause",
        "[error] more",
    ]


# A detached broker's state folder


def write_record(folder: Path, **more: object) -> None:
    record = {
        "source": "debian",
        "wanted": None,
        "nodes": 1,
        "version": "4.0.5",
        "endpoint": "http://127.0.0.1:2",
        "hosts": ["127.0.0.1:1"],
        "processes": [],
        "ports": [1, 2],
    }
    (folder / "broker.json").write_text(json.dumps(record | more))


def test_a_running_broker_is_found_again(
    tmp_path: Path, sleeper: Process, reported: list[str]
) -> None:
    write_record(tmp_path, processes=[{"name": "x", "pid": sleeper.pid, "start": sleeper.start}])
    record = detached.start(tmp_path, reported.append)
    assert record["endpoint"] == "http://127.0.0.1:2"
    assert reported == [
        "already running: RabbitMQ 4.0.5 (debian), http://127.0.0.1:2, AMQP 127.0.0.1:1"
    ]
    assert commands.main(["status", "--state", str(tmp_path)]) == 0


def test_a_stale_record_ends_no_other_process(tmp_path: Path, sleeper: Process) -> None:
    stale = {"name": "x", "pid": sleeper.pid, "start": sleeper.start - 1}
    write_record(tmp_path, processes=[stale])
    (tmp_path / "epmd.pid").write_text(f"{stale['pid']} {stale['start']}\n")
    assert commands.main(["status", "--state", str(tmp_path)]) == 3
    assert commands.main(["stop", "--state", str(tmp_path)]) == 0
    assert sleeper.alive()


def test_stop_ends_a_half_start_and_removes_only_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    (folder / "rabbit1").mkdir(parents=True)
    (folder / "home").mkdir()
    (folder / "notes.txt").touch()
    started = sleep(folder, with_parent=False)
    assert not (folder / "broker.json").exists()
    assert commands.main(["stop", "--state", str(folder)]) == 0
    assert not started.alive()
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_a_damaged_record_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "broker.json").write_text('{"source": ')
    assert detached.read(tmp_path) is None
    assert detached.read(tmp_path / "none") is None


# Which source


def debians(version: str, _report: debian.Report) -> Server:
    return Server(scripts=Path(version), path="", epmd=Path("epmd"))


def test_a_version_asks_for_debians_packages(
    programs: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("rabbitmq-server", "erl", "epmd", "rabbitmq-env"):
        programs(name, "")
    programs("docker", "echo 27.0")
    monkeypatch.setattr(detached, "from_debian", debians)
    choose = detached._choose
    assert choose("auto", "4.0", 1, print) == ("debian", debians("4.0", print))
    assert choose("auto", None, 1, print) == ("path", from_path())
    assert choose("docker", None, 1, print) == ("docker", None)
    with pytest.raises(BrokerError, match="cluster"):
        choose("docker", None, 3, print)


def test_docker_then_debians_stable(
    programs: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detached, "from_debian", debians)
    programs("docker", "echo 27.0")
    assert detached._choose("auto", None, 1, print) == ("docker", None)
    programs("docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    assert detached._choose("auto", None, 1, print) == ("debian", debians("4.0", print))
    with pytest.raises(BrokerError, match="no Docker engine"):
        detached._choose("docker", None, 1, print)


def test_a_docker_engine_that_hangs(programs: Callable[[str, str], None]) -> None:
    programs("docker", "exec sleep 5")
    assert not container.available(timeout=0.1)


# Docker


def test_docker_run() -> None:
    assert container.run_command("name", "4", (5672, 15672)) == [
        "run",
        "--detach",
        "--name=name",
        "--hostname=rabbit",
        "--publish=127.0.0.1:5672:5672",
        "--publish=127.0.0.1:15672:15672",
        "rabbitmq:4-management",
    ]


def test_docker_start_and_stop(
    programs: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    programs("docker", 'case "$1" in start) exit 1;; inspect) echo true;; *) echo 27.0;; esac')
    monkeypatch.setattr(container, "ready", lambda *_: "4.1.0")
    folder = tmp_path / "state"
    record = detached.start(folder, print, source="docker", ports=(5672, 15672))
    name = container.name(folder)
    assert (record["version"], record["endpoint"], record["container"]) == (
        "4.1.0",
        "http://127.0.0.1:15672",
        name,
    )
    assert detached.start(folder, print) == record, "it runs already"
    detached.stop(folder, print)
    assert not folder.exists()
    calls = [line.split(" ", 1)[1] for line in (tmp_path / "calls").read_text().splitlines()]
    assert [call for call in calls if not call.startswith(("info", "inspect"))] == [
        f"start {name}",
        " ".join(container.run_command(name, "4", (5672, 15672))),
        f"exec {name} rabbitmq-plugins enable --quiet {' '.join(PLUGINS)}",
        f"rm --force --volumes {name}",
    ]


def test_a_container_that_dies(
    programs: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    programs(
        "docker",
        'case "$1" in info) echo 27.0;; inspect) echo false;; logs) echo "BOOT FAILED";; esac',
    )
    monkeypatch.setattr(container, "ready", lambda *_: None)
    with pytest.raises(BrokerError, match="BOOT FAILED"):
        detached.start(tmp_path, print, source="docker")
    detached.stop(tmp_path, print)
    assert "rm --force" in (tmp_path / "calls").read_text()


# Whether a broker answers


@contextlib.contextmanager
def answering(status: int, body: str) -> Iterator[str]:
    """Serve one answer to everything at the URL that is yielded."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    # It must not be asked for an address of this machine.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with answering(200, '{"rabbitmq_version": "4.1.2"}') as endpoint:
        assert answers(endpoint, "guest", "guest") == "4.1.2"
        assert answers(f"{endpoint}/", "guest", "guest") == "4.1.2"
    assert answers(endpoint, "guest", "guest") is None, "nobody listens any more"


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, "{}", "refuses user 'guest'"),
        (500, "{}", "answers with status 500"),
        (200, "<html>", "not a RabbitMQ management API"),
        (200, "[]", "not a RabbitMQ management API"),
        (200, "{}", "not a RabbitMQ management API"),
    ],
)
def test_something_else_answers(status: int, body: str, words: str) -> None:
    with answering(status, body) as endpoint, pytest.raises(BrokerError, match=words):
        answers(endpoint, "guest", "secret")


def test_something_silent_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert answers(endpoint, "guest", "guest", timeout=0.1) is None
