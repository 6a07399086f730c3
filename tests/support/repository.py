"""
Files of a test in a git repository of their own.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def commit(folder):
    """Make a folder a repository, with all that is in it in a first commit on `main`."""
    for arguments in (
        ["init", "-q", "-b", "main"],
        ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "first"],
    ):
        subprocess.run(["git", *arguments], cwd=folder, check=True)


def with_examples(folder):
    """Return a folder with the examples, as `commit` leaves it."""
    shutil.copytree(ROOT / "examples", folder / "examples")
    commit(folder)
    return folder


def change(file, changes):
    """Replace texts in a file, each of which has to be there."""
    text = file.read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
