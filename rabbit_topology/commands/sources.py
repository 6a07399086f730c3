"""
Where the configs stand that are asked about: files, stacks, revisions of git, and brokers.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rabbit_topology.commands import brokers
from rabbit_topology.config import base, yaml_files
from rabbit_topology.config.stack import Stack
from rabbit_topology.config.words import vhost_among
from rabbit_topology.errors import TopologyError
from rabbit_topology.lint.files import KEYS, PREFIX, read_open, stack_files
from rabbit_topology.routing.network import Network

GIT = "git:"


def file(named: Path | None = None, stack: str | None = None, *, live: bool = False) -> Path:
    """Return the file that is meant: as named, by stack, or the only one of the project.

    A broker that is meant has the name `brokers.LIVE`.

    Raises:
        TopologyError: There is none, or more than one.
    """
    if live:
        return Path(brokers.LIVE)
    if named is not None:
        return named
    files = stack_files(base.project_folder(), [stack] if stack else [])
    if len(files) > 1:
        known = ", ".join(one.stem.removeprefix("Pulumi.") for one in files)
        raise TopologyError(f"there are several stacks: say --stack and one of {known}")
    return files[0]


def load(where: Path) -> Stack:
    """Read a stack's file, a topology file that stacks share, a definitions file, or a broker.

    Secrets are not decrypted: nothing that is asked here depends on them. Of a broker all that a
    config can say is read.

    Raises:
        TopologyError: It cannot be read.
        ConfigError: It is not a topology.
    """
    if brokers.is_meant(where):
        return brokers.stack(where)
    try:
        document = yaml_files.read(where, str(where))
    except yaml_files.YamlError as error:
        raise TopologyError(f"{where}: {error}") from None
    value = document.value if isinstance(document.value, dict) else {}
    config = value.get("config")
    if not isinstance(config, dict):
        stack = read_open(value, {})
    else:
        if yaml_files.is_secret(config.get(f"{PREFIX}topology")):
            raise TopologyError(
                f"{where}: its topology is encrypted as a whole: encrypt only secrets"
            )
        own = {key: config.get(f"{PREFIX}{key}") for key in KEYS}
        whole = base.merged(base.read(own["base"], where.parent), own["topology"])
        stack = read_open(whole, own)
    stack.check()
    return stack


def pair(old: str, new: str) -> tuple[Stack, Stack]:
    """Read two configs: files, stacks by name, or ``git:REV``, which is the other one at that time.

    ``git:REV:FILE`` is any file at that time.

    Raises:
        TopologyError: One of them cannot be read.
        ConfigError: One of them is not a topology.
    """
    files = (name for name in (new, old) if not name.startswith(GIT) and name != brokers.LIVE)
    plain = next(files, None)
    here = _named(plain) if plain is not None else None
    return _either(old, here), _either(new, here)


def is_there(name: str, other: str) -> bool:
    """Return whether a revision of git has the file that `pair` would read there.

    True for all that is no ``git:REV``: whether that is there is known when it is read. Where the
    revision itself is not there either, as well.
    """
    if not name.startswith(GIT):
        return True
    revision, _, there = name.removeprefix(GIT).partition(":")
    where = Path(there) if there else _named(other)
    folder = where.resolve().parent
    commit = f"{revision}^{{commit}}"
    is_known = _succeeds(folder, "rev-parse", "--quiet", "--verify", commit)
    return not is_known or _succeeds(folder, "cat-file", "-e", f"{revision}:./{where.name}")


def vhost(stack: Stack, name: str | None = None) -> Network:
    """Return a vhost of a stack, the only one by default.

    Raises:
        TopologyError: There is none of this name, or no name is given and there are several.
    """
    networks = Network.every(stack)
    return networks[vhost_among([*networks], name)]


def _named(name: str) -> Path:
    """Return the file of a name that is one, or a stack's."""
    plain = Path(name)
    is_file = name == brokers.LIVE or plain.suffix or plain.exists()
    return plain if is_file else file(stack=name)


def _either(name: str, other: Path | None) -> Stack:
    if not name.startswith(GIT):
        return load(_named(name))
    revision, _, there = name.removeprefix(GIT).partition(":")
    if there:
        return _at(revision, Path(there))
    return _at(revision, other if other is not None else file())


def _at(revision: str, where: Path) -> Stack:
    """Read a file as it is in a revision, with the bases that it names there."""
    with TemporaryDirectory() as folder:
        copy = Path(folder) / where.name
        copy.write_bytes(_show(revision, where))
        for name in _bases(copy):
            target = Path(folder) / name
            if not target.resolve().is_relative_to(Path(folder).resolve()):
                raise TopologyError(
                    f"{name}: a base beside or below its stack can be read from git"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_show(revision, where.parent / name))
        return load(copy)


def _bases(where: Path) -> list[str]:
    try:
        value = yaml_files.read(where, str(where)).value
    except yaml_files.YamlError as error:
        raise TopologyError(f"{where.name}: {error}") from None
    config: Mapping[str, Any] = value.get("config") or {} if isinstance(value, dict) else {}
    names = config.get(f"{PREFIX}base")
    listed = names if isinstance(names, list) else [names]
    return [name for name in listed if isinstance(name, str)]


def _succeeds(folder: Path, *arguments: str) -> bool:
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _show(revision: str, where: Path) -> bytes:
    folder = where.resolve().parent
    command = ["git", "-C", str(folder), "show", f"{revision}:./{where.name}"]
    try:
        ended = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        raise TopologyError("there is no `git` on PATH") from None
    if ended.returncode:
        message = ended.stderr.decode(errors="replace").strip()
        raise TopologyError(f"{GIT}{revision}: {message}")
    return ended.stdout
