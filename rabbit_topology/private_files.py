"""
Files that only their owner can read: whole or not at all, and never through a symbolic link.

Source: "open" (`O_EXCL`), "rename", POSIX.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from rabbit_topology.errors import TopologyError

_MODE = 0o600


def write(file: Path, text: str) -> None:
    """Write a file of mode 600, in the place of what is there.

    The text stands in a new file beside it first, which has this mode from its first moment. It
    then takes the name: whoever reads it sees the old text or the new one, whatever happens.

    Raises:
        TopologyError: It cannot be written, or its name is that of a link or of no plain file.
    """
    try:
        if file.is_symlink():
            raise TopologyError(f"{file}: it is a symbolic link; name the file that it leads to")
        if file.exists() and not file.is_file():
            raise TopologyError(f"{file}: it is there, and is no plain file; name another one")
        _replace(file, text)
    except OSError as error:
        raise TopologyError(f"{file}: {error.strerror}") from None


def _replace(file: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(prefix=".rabbit-topology-", dir=file.parent)
    beside = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as written:
            os.fchmod(written.fileno(), _MODE)
            written.write(text)
            written.flush()
            os.fsync(written.fileno())
        # Of a link that has come meanwhile it takes the place, and does not follow it.
        beside.replace(file)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
