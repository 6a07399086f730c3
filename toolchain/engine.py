"""A Pulumi engine: the `pulumi` on PATH, else one built from Go modules into the user's cache.

    eval "$(python -m toolchain.engine)"   ensure it and set a shell's environment
    python -m toolchain.engine --clean     delete every engine that this module has built

See README.md in this folder for what is built, from which versions, and how long it takes.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import sys
from pathlib import Path

from toolchain import golang
from toolchain.golang import Build, BuildError, Report

__all__ = ["MINIMUM", "QUICK", "EngineError", "clean", "ensure"]

MINIMUM = (3, 245, 0)
"""The oldest CLI that will do: error hooks, which came with 3.219, are called from here on."""

QUICK = {
    # The state is saved once, at the end: see docs/checkpoints.md.
    "PULUMI_EXPERIMENTAL": "1",
    "PULUMI_SKIP_CHECKPOINTS": "1",
    # A resource that is asked for as it was before is not compared at all. What was changed on the
    # broker is found by `--refresh`, as ever: that writes it down as what was asked for.
    "PULUMI_ENABLE_LEGACY_DIFF": "1",
    # The provider compares the others side by side; else one after the other, and all wait.
    "PULUMI_PARALLEL_DIFF": "1",
    # Engine and provider collect garbage less often: time for memory, which they need little of.
    "GOGC": "400",
}
"""Variables that make runs of this program faster."""

_FORMAT = 2  # Raise it when the same modules are built or laid out in another way.
_HERE = Path(__file__).parent
_MODULES = ("cli", "language-host", "plugin")
_CLI = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
_SDK = "github.com/pulumi/pulumi/sdk/v3"
_INSTALL = "https://www.pulumi.com/docs/install/"


class EngineError(Exception):
    """The engine could not be built; the text holds the last output and what to do."""


def _to_stderr(line: str) -> None:
    print(f"engine: {line}", file=sys.stderr, flush=True)


def ensure(report: Report = _to_stderr) -> dict[str, str]:
    """Return the environment variables to add to `os.environ` for running `pulumi`.

    Empty where the `pulumi` on PATH is at least `MINIMUM`. Otherwise an engine is built, once, into
    `$XDG_CACHE_HOME` (or ~/.cache)/rabbit-topology, and the variables are PATH, PULUMI_HOME,
    PULUMI_PYTHON_CMD (this interpreter, which RABBIT_TOPOLOGY_PYTHON names, behind a script that
    makes it start sooner) and PULUMI_SKIP_UPDATE_CHECK.

    `report` gets lines of progress. Raises EngineError.
    """
    if _found_on_path(report):
        return {}
    try:
        entry = golang.entry("engine", _key, _folders(), _build, report)
    except BuildError as error:
        needed = ".".join(map(str, MINIMUM))
        raise EngineError(
            f"{error}\nOr install Pulumi, {needed} or newer, and none is built: {_INSTALL}"
        ) from None
    return {
        "PATH": f"{entry / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PULUMI_HOME": str(entry / "home"),
        "PULUMI_PYTHON_CMD": str(_HERE / "python" / "python"),
        "RABBIT_TOPOLOGY_PYTHON": sys.executable,
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }


def clean(report: Report = _to_stderr) -> None:
    """Delete every engine that `ensure` has built, waiting for a build that is under way."""
    golang.clean("engine", report)


def _folders() -> list[Path]:
    return [_HERE / module for module in _MODULES]


def _found_on_path(report: Report) -> bool:
    path = shutil.which("pulumi")
    if path is None:
        return False
    text = golang.output([path, "version"], PULUMI_SKIP_UPDATE_CHECK="true")
    if golang.version(text) >= MINIMUM:
        return True
    needed = ".".join(map(str, MINIMUM))
    report(f"{path} is {text or 'of an unknown version'}; {needed} or newer is needed")
    return False


def _key(go_version: str) -> str:
    """Return 16 hex digits that differ whenever the engine would."""
    return golang.digest(go_version, _FORMAT, _folders())


def _build(build: Build) -> None:
    build.report("building a Pulumi engine; the first time takes some minutes")
    _, pinned = (_HERE / "cli" / "go.mod").read_text().split("pulumi/pkg/v3 ")
    cli_version = pinned.split()[0]
    binaries, home = build.target / "bin", build.target / "home"
    cli, host = binaries / "pulumi", binaries / "pulumi-language-python"
    plugin = build.temporary / "pulumi-resource-rabbitmq"
    version = f" -X {_SDK}/go/common/version.Version={cli_version}"
    builds = (
        ("language-host", f"{_SDK}/python/cmd/{host.name}", host, ""),
        ("plugin", ".", plugin, ""),
        ("cli", _CLI, cli, version),
    )
    for number, (module, package, binary, flags) in enumerate(builds, 1):
        label = f"compiling {binary.name}, {number} of {len(builds)}"
        build.compile(_HERE / module, package, binary, label, flags)
    # The host starts programs through a script, which must lie beside it. The script of the
    # CLI's release fits today's SDK; the host's own shows a traceback where a hook refuses.
    sdk = golang.run(
        [build.go.command, "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", _SDK],
        "adding the language host's script",
        build.report,
        cwd=_HERE / "cli",
        env=build.env,
    ).splitlines()[-1]
    script = shutil.copy(Path(sdk, "python", "cmd", "pulumi-language-python-exec"), binaries)
    Path(script).chmod(0o755)

    # Installed and not on PATH: a plugin that is on PATH makes every run print a warning.
    install = [str(cli), "plugin", "install", "resource", "rabbitmq"]
    golang.run(
        [*install, golang.output([str(plugin), "-version"]), "--file", str(plugin)],
        "installing the provider plugin",
        build.report,
        env={"PULUMI_HOME": str(home), "PULUMI_SKIP_UPDATE_CHECK": "true"},
    )
    # A debug log that nobody asked for, for Pulumi's support, is written where this folder can be
    # made. It takes a third of the engine's time.
    shutil.rmtree(home / "logs", ignore_errors=True)
    (home / "logs").touch()


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
