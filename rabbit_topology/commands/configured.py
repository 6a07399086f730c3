"""
A stack's config, and the broker that it is for, read with no engine.

What is encrypted is decrypted by the `pulumi` command, where that is asked for. Source: "pulumi
config", Pulumi documentation.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rabbit_topology import model
from rabbit_topology.broker.management import Management
from rabbit_topology.commands import brokers, deployed, sources
from rabbit_topology.config import base, provider_settings, yaml_files
from rabbit_topology.config.stack import OTHER_KEYS, Stack
from rabbit_topology.errors import TopologyError
from rabbit_topology.lint.files import HIDDEN, PREFIX
from rabbit_topology.lint.reading import read as read_plain
from rabbit_topology.services import credentials


@dataclass(frozen=True, kw_only=True)
class Configured:
    """A config, and how to reach its broker."""

    file: Path
    stack: Stack
    reached: Mapping[str, Any]
    """The arguments of `Management` that config and environment have."""
    seed: str | None = None
    """What passwords are derived from; None: there is none, or it is not decrypted."""

    @property
    def name(self) -> str:
        """The stack's name."""
        return self.file.stem.removeprefix("Pulumi.")

    @property
    def management(self) -> Management:
        """The broker's management API.

        Raises:
            TopologyError: Neither config nor environment say how to reach it.
        """
        for setting in provider_settings.NEEDED:
            if setting.argument not in self.reached:
                raise TopologyError(
                    f"{setting.path}: {self.file} does not say it in plain text, and "
                    f"{setting.variable} is not set in this environment; --secrets decrypts the "
                    "stack's secrets"
                )
        return Management(**self.reached)

    def password_of(self, user: str, described: model.Service | model.User) -> str | None:
        """Return the password of a user, None if it is not known here."""
        if described.password is not None:
            return None if described.password == HIDDEN else described.password
        if self.seed is None:
            return None
        return credentials.derive(self.seed, self.name, user, described.rotation)

    def passwords(self) -> list[tuple[str, str | None]]:
        """Return all passwords that are known here, by the names in the config: secrets."""
        return [
            (f"{whole.vhost} {kind} {name}", self.password_of(name, described))
            for whole in self.stack.whole.values()
            for kind, those in (("service", whole.services), ("user", whole.users))
            for name, described in those.items()
        ]


def read(file: Path | None, stack: str | None, *, secrets: bool = False) -> Configured:
    """Read a stack's file, or a topology file that stacks share.

    Args:
        file: The file; default: the stack's.
        stack: The stack's name; default: the project's only one.
        secrets: Decrypt what is encrypted, with the `pulumi` command.

    Raises:
        TopologyError: It cannot be read or decrypted.
        ConfigError: It is not a topology.
    """
    where = sources.file(file, stack)
    if brokers.is_meant(where):
        raise TopologyError(f"{where}: name a config, to compare with the broker")
    if secrets:
        return _decrypted(where)
    settings = _settings(where)

    def get(key: str) -> Any:
        value = settings.get(f"{provider_settings.NAMESPACE}:{key}")
        return None if yaml_files.is_secret(value) else value

    seed = settings.get(f"{PREFIX}seed")
    return Configured(
        file=where,
        stack=sources.load(where),
        reached=provider_settings.read(get, os.environ),
        seed=seed if isinstance(seed, str) else None,
    )


def _settings(where: Path) -> Mapping[str, Any]:
    try:
        value = yaml_files.read(where, str(where)).value
    except yaml_files.YamlError as error:
        raise TopologyError(f"{where}: {error}") from None
    settings = value.get("config") if isinstance(value, dict) else None
    return settings if isinstance(settings, dict) else {}


def _decrypted(where: Path) -> Configured:
    if not where.name.startswith("Pulumi."):
        raise TopologyError(f"{where}: only a stack has secrets: leave --secrets out")
    name = where.stem.removeprefix("Pulumi.")
    value: Callable[[str], Any] = deployed.config(name)
    whole = base.topology(value(f"{PREFIX}base"), value(f"{PREFIX}topology"), where.parent)
    stack = read_plain(whole, **{key: value(f"{PREFIX}{key}") for key in OTHER_KEYS})
    stack.check(secret=True)
    reached = provider_settings.read(
        lambda key: value(f"{provider_settings.NAMESPACE}:{key}"), os.environ
    )
    return Configured(file=where, stack=stack, reached=reached, seed=value(f"{PREFIX}seed"))
