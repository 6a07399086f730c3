"""Which commit something was measured at, and what has changed since."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.repository import ROOT

DECIDES = (
    "__main__.py",
    "rabbit_topology",
    # These read a config and say something about it, or refuse it: nothing of it is deployed then.
    ":(exclude)rabbit_topology/lint",
    # Nothing that deploys imports these: contracts and a test say so.
    ":(exclude)rabbit_topology/commands",
    ":(exclude)rabbit_topology/adopt",
    ":(exclude)rabbit_topology/observe",
    ":(exclude)rabbit_topology/review",
    ":(exclude)rabbit_topology/describe",
    ":(exclude)rabbit_topology/routing",
    ":(exclude)rabbit_topology/handover",
    ":(exclude)rabbit_topology/watch",
    ":(exclude)rabbit_topology/replays",
    ":(exclude)rabbit_topology/messages/replay*.py",
    ":(exclude)rabbit_topology/messages/delivery_limit.py",
    ":(exclude)rabbit_topology/broker/transfer.py",
    ":(exclude)rabbit_topology/broker/verbatim.py",
    ":(exclude)rabbit_topology/services/environment.py",
    ":(exclude)rabbit_topology/services/labels.py",
    ":(exclude)rabbit_topology/services/stores.py",
    ":(exclude)rabbit_topology/private_files.py",
    ":(exclude)rabbit_topology/proof.py",
    ":(exclude)rabbit_topology/testing*",
    ":(exclude)rabbit_topology/__main__.py",
    ":(exclude)rabbit_topology/py.typed",  # no code
    # The engine, as it is built here, and the provider.
    "requirements-deploy.txt",
    "toolchain/engine.py",
    "toolchain/cli",
    "toolchain/language-host",
    "toolchain/plugin",
)
"""What decides about messages, as git's pathspecs."""

MATTERS = (*DECIDES, "tests/safety", "tests/support/stacks.py", "toolchain")
"""What a measurement depends on."""


@dataclass(frozen=True)
class Repository:
    """A clone, or a folder that is none: then nothing is known."""

    folder: Path = ROOT

    def head(self) -> str:
        """Return the commit that is checked out; empty where there is no clone."""
        return (self._git("rev-parse", "HEAD") or "").strip()

    def changed(self, paths: Sequence[str] = MATTERS) -> bool:
        """Return whether the files differ from the commit; new ones count."""
        return bool(self._git("status", "--porcelain", "--", *paths))

    def changed_since(self, commit: str, paths: Sequence[str] = DECIDES) -> list[str] | None:
        """Return the files that differ between a commit and the one that is checked out.

        None where this clone does not know the commit.
        """
        told = self._git("diff", "--name-only", commit, "HEAD", "--", *paths) if commit else None
        return None if told is None else told.splitlines()

    def _git(self, *arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=self.folder, capture_output=True, text=True, check=False
            )
        except FileNotFoundError:  # no git
            return None
        return None if done.returncode else done.stdout
