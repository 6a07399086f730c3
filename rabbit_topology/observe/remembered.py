"""
The last report of a run, so that one request is enough where nothing has changed since.

The file holds no password and no hash of one; a digest tells whether the config is the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from secrets import token_hex
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from rabbit_topology import private_files
from rabbit_topology.config.stack import Stack
from rabbit_topology.errors import TopologyError
from rabbit_topology.observe.drift import Report


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """What was seen at the end of a run."""

    etag: str
    salt: str
    digest: str
    """Of what was asked: the config, its passwords, and what was ignored."""
    report: Report


_ADAPTER: TypeAdapter[Remembered] = TypeAdapter(Remembered)


def read(file: Path) -> Remembered | None:
    """Return what a file remembers; None if there is none, or it is of another version.

    Raises:
        TopologyError: It cannot be read.
    """
    try:
        return _ADAPTER.validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        return None
    except OSError as error:
        raise TopologyError(f"{file}: {error.strerror}") from None


def write(file: Path, etag: str, asked: Iterable[object], report: Report) -> None:
    """Remember a report, in a file that only its owner can read.

    Raises:
        TopologyError: It cannot be written.
    """
    salt = token_hex(16)
    said = {"etag": etag, "salt": salt, "digest": digest(salt, asked), "report": asdict(report)}
    private_files.write(file, json.dumps(said, ensure_ascii=False))


def digest(salt: str, asked: Iterable[object]) -> str:
    """Return what is equal only where the same is asked."""
    whole = hashlib.sha256(salt.encode())
    for one in asked:
        whole.update(json.dumps(one, sort_keys=True, default=str).encode())
    return whole.hexdigest()


def asked(stack: Stack, passwords: Any, *options: object) -> list[object]:
    """Return all that a report depends on, but the broker."""
    topologies = {root: one.model_dump(mode="json") for root, one in stack.whole.items()}
    return [topologies, passwords, *map(str, options)]
