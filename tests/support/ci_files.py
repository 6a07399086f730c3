"""
The pipelines among the examples, read as GitHub and GitLab do, as far as what they run goes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from tests.support.repository import ROOT

GITHUB, GITLAB = (ROOT / "examples" / "ci" / f"{host}.yml" for host in ("github", "gitlab"))

_COMMAND = re.compile(r"python -m rabbit_topology (.*)")
_END = re.compile(r"\s(?:\|\||>>|>|#)\s.*")


@dataclass(frozen=True, kw_only=True)
class Shell:
    """Lines that one shell runs, and what is in its environment beside the pipeline's own."""

    job: str
    name: str
    lines: str
    env: Mapping[str, str] = field(default_factory=dict)
    id: str = ""


def read(file) -> dict[str, Any]:
    value: dict[str, Any] = yaml.safe_load(file.read_text())
    return value


def github() -> list[Shell]:
    """Return what each step runs, in order; each has a shell of its own."""
    return [
        Shell(
            job=job,
            name=step["name"],
            lines=step["run"],
            env=step.get("env", {}),
            id=step.get("id", ""),
        )
        for job, described in read(GITHUB)["jobs"].items()
        for step in described["steps"]
        if "run" in step
    ]


def gitlab() -> list[Shell]:
    """Return what each job runs: its lines share a shell."""
    whole = read(GITLAB)
    return [
        Shell(
            job=job,
            name=job,
            lines="\n".join([*extended(whole, job).get("before_script", ()), *described["script"]]),
        )
        for job, described in whole.items()
        if isinstance(described, dict) and "script" in described
    ]


def extended(whole: Mapping[str, Any], job: str) -> dict[str, Any]:
    """Return a job with what it extends."""
    described = whole[job]
    template = whole[described["extends"]] if "extends" in described else {}
    return {**template, **described}


def commands(shells: list[Shell]) -> Iterator[tuple[Shell, str]]:
    """Yield the command lines of the package, without what follows them in the shell."""
    for shell in shells:
        for line in _COMMAND.findall(shell.lines):
            yield shell, _END.sub("", f"{line} ").strip()
