"""
The topology files that stacks share: `rabbit-topology:base`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any

from rabbit_topology.config import yaml_files
from rabbit_topology.config.merge import merge
from rabbit_topology.config.words import show
from rabbit_topology.errors import ConfigError, Problem, path

_PROJECT_FILES = ("Pulumi.yaml", "Pulumi.yml")


def project_folder(start: Path | None = None) -> Path:
    """Return the project's folder: the closest one upwards that has a `Pulumi.yaml`.

    Without one, for example in a program of the Automation API, the folder to start from.
    """
    here = start or Path.cwd()
    folders = (here, *here.parents)
    return next(
        (folder for folder in folders if any((folder / name).is_file() for name in _PROJECT_FILES)),
        here,
    )


def topology(names: object, own: object, folder: Path) -> object:
    """Return a stack's whole topology: its bases, in their order, and what it says itself.

    Args:
        names: The value of `rabbit-topology:base`: a file name, a list of them, or None.
        own: The value of `rabbit-topology:topology`; None is nothing of its own.
        folder: What the names are relative to.

    Raises:
        ConfigError: A base cannot be read, or is not a topology's mapping.
    """
    return merged(read(names, folder), own)


def merged(bases: list[yaml_files.Document], own: object) -> object:
    """Return what the bases and the stack say together; later ones win, the stack's own at last."""
    values = [base.value for base in bases]
    return reduce(merge, values if own is None and values else [*values, own])


def read(names: object, folder: Path) -> list[yaml_files.Document]:
    """Read the base files.

    Raises:
        ConfigError: With one problem for each that is missing, is not YAML, or is not a mapping.
    """
    problems: list[Problem] = []
    documents: list[yaml_files.Document] = []
    for where, name in _names(names):
        if not isinstance(name, str) or not name:
            problems.append(
                Problem(
                    path=where,
                    value=show(name),
                    rule="this is the name of a YAML file, or a list of names",
                    fix='write for example "topology.yaml"',
                )
            )
            continue
        try:
            document = yaml_files.read(folder / name, name)
        except yaml_files.YamlError as error:
            missing = not (folder / name).exists()
            problems.append(
                Problem(
                    path=where,
                    value=show(name),
                    rule=f"{error}" if missing else f"it is not YAML: {error}",
                    fix=f"names are relative to {folder}" if missing else "correct the file",
                )
            )
            continue
        problems += _shape(where, name, document.value)
        documents.append(document)
    if problems:
        raise ConfigError(problems)
    return documents


def _names(names: object) -> Iterator[tuple[str, object]]:
    if isinstance(names, list):
        yield from ((path("base", index), name) for index, name in enumerate(names))
    elif names is not None:
        yield "base", names


def _shape(where: str, name: str, value: Any) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield Problem(
            path=where,
            value=show(name),
            rule="the file does not hold a mapping",
            fix="write in it what stands under rabbit-topology:topology, for example queues:",
        )
    elif secret := next(_secrets(value, ()), None):
        yield Problem(
            path=where,
            value=show(name),
            rule=f"it holds an encrypted value at {path('topology', *secret)}, which only the "
            "stack that it was made for can read",
            fix="write it under rabbit-topology:topology in that stack's own file",
        )


def _secrets(value: Any, here: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if yaml_files.is_secret(value):
        yield here
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _secrets(inner, (*here, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _secrets(inner, (*here, index))
