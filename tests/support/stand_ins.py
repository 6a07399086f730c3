"""
Programs that stand in for others in a pipeline: they record how they are called, and keep comments.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.ci_files import Shell
from tests.support.repository import ROOT

_BEGIN = f"""#!{sys.executable}
import json, pathlib, sys
here = pathlib.Path(__file__).parent
name, arguments = pathlib.Path(__file__).name, sys.argv[1:]
with (here / "calls.jsonl").open("a") as calls:
    calls.write(json.dumps([name, *arguments]) + "\\n")
kept = here / "comments.json"
comments = json.loads(kept.read_text()) if kept.exists() else {{}}

def after(*options, default=None):
    return next((arguments[at + 1] for at, one in enumerate(arguments) if one in options), default)

def write(method, path, text):
    if method == "POST":
        comments[str(len(comments) + 1)] = text
    else:
        known = path.rpartition("/")[2]
        assert known in comments, path
        comments[known] = text
    kept.write_text(json.dumps(comments))
"""

_GH = """
assert arguments[0] == "api", arguments
path = next(one for one in arguments if one.startswith("repos/"))
method = after("--method", default="GET")
if method == "GET":
    marker = after("--jq").partition('contains("')[2].partition('")')[0]
    assert marker.startswith("<!-- rabbit-topology review "), marker
    print(*(known for known, text in comments.items() if marker in text), sep="\\n")
else:
    field = after("--field")
    assert field.startswith("body=@"), field
    write(method, path, pathlib.Path(field.removeprefix("body=@")).read_text(encoding="utf-8"))
"""

_CURL = """
url = next(one for one in arguments if one.startswith("http"))
if not url.startswith("https://get.pulumi.com"):
    assert after("--header") == "PRIVATE-TOKEN: token of the project", arguments
    method = after("--request", default="GET")
    if method == "GET":
        print(json.dumps([{"id": int(one), "body": text} for one, text in comments.items()]))
    else:
        named = after("--data-urlencode")
        assert named.startswith("body@"), named
        write(method, url, pathlib.Path(named.removeprefix("body@")).read_text(encoding="utf-8"))
"""

_PULUMI = """
if arguments[:2] == ["preview", "--json"]:
    print((here / "preview.json").read_text())
    sys.exit(int((here / "status").read_text()))
"""


@dataclass(kw_only=True)
class StandIns:
    """A folder to be put before all others on PATH."""

    folder: Path
    outputs: dict[str, str] = field(default_factory=dict)
    """Of steps of GitHub, by ``id.name``."""

    @classmethod
    def make(cls, folder: Path, preview: str | None = None, status: int = 0) -> StandIns:
        """Write them.

        Args:
            folder: Where to.
            preview: What `pulumi preview` prints; None: there is the real one.
            status: How it ends.
        """
        programs = {"gh": _GH, "curl": _CURL, "pip": ""}
        if preview is not None:
            programs["pulumi"] = _PULUMI
            (folder / "preview.json").write_text(preview)
            (folder / "status").write_text(str(status))
        for name, body in programs.items():
            _write(folder / name, _BEGIN + body)
        _write(folder / "python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        return cls(folder=folder)

    @property
    def calls(self) -> list[list[str]]:
        """How they were called, but for `python`."""
        file = self.folder / "calls.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def comments(self) -> dict[str, str]:
        """What stands at the pull request, by number."""
        file = self.folder / "comments.json"
        known: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
        return known

    def run(
        self,
        shell: Shell,
        cwd: Path,
        env: Mapping[str, str],
        known: Mapping[str, str],
        *options: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run what one shell of a pipeline runs.

        Args:
            shell: The shell.
            cwd: The repository.
            env: The environment, with its PATH.
            known: What GitHub's expressions stand for.
            options: How the host starts `bash`.
        """
        own = {name: self._filled(value, known) for name, value in shell.env.items()}
        output = self.folder / "output"
        output.write_text("")
        ended = subprocess.run(
            ["bash", *options, "-c", shell.lines],
            cwd=cwd,
            env={
                **env,
                **own,
                "PATH": f"{self.folder}:{env['PATH']}",
                "PYTHONPATH": str(ROOT),
                "GITHUB_OUTPUT": str(output),
            },
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        lines = (line.partition("=") for line in output.read_text().splitlines())
        self.outputs |= {f"{shell.id}.{name}": value for name, _, value in lines}
        return ended

    def _filled(self, value: str, known: Mapping[str, str]) -> str:
        """Return the value of an expression, which stands alone."""
        if not value.startswith("${{"):
            return value
        name = value.removeprefix("${{").removesuffix("}}").strip()
        parts = name.split(".")
        if parts[0] == "steps":
            return self.outputs[f"{parts[1]}.{parts[3]}"]
        return known[name]


def _write(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o755)
