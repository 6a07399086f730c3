"""
The services and users of a deployed stack, to choose those that are handed over.

Pure. The URLs are secrets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from rabbit_topology.config.words import show, suggest, vhost_among
from rabbit_topology.errors import TopologyError


class Kind(StrEnum):
    """Whom a password is for."""

    SERVICE = "service"
    USER = "user"


@dataclass(frozen=True, kw_only=True)
class Account:
    """A service or user in one vhost."""

    kind: Kind
    vhost: str
    name: str
    """In the config."""
    urls: tuple[str, ...]
    """What it opens the vhost with, one for each host: secrets."""

    @property
    def complete(self) -> bool:
        """Whether its password is known."""
        return bool(urlsplit(self.urls[0]).password)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def of_vhost(accounts: Iterable[Account], vhost: str | None, known: Iterable[str]) -> list[Account]:
    """Return the accounts of one vhost, or all without one.

    Raises:
        TopologyError: The stack has no such vhost.
    """
    if vhost is None:
        return list(accounts)
    chosen = vhost_among([*known], vhost)
    return [account for account in accounts if account.vhost == chosen]


def named(accounts: Sequence[Account], kind: Kind, name: str) -> Account:
    """Return the account of a service or user.

    Raises:
        TopologyError: There is none of this name, or several vhosts have one.
    """
    alike = [account for account in accounts if account.kind is kind]
    match [account for account in alike if account.name == name]:
        case [only]:
            return only
        case []:
            names = {account.name for account in alike}
            raise TopologyError(
                f"{show(name)} is not a {kind} of the stack; {suggest(name, names)}"
            )
        case several:
            raise TopologyError(
                f"{show(name)} is a {kind} of several vhosts: say --vhost and one of "
                f"{', '.join(account.vhost for account in several)}"
            )


def titles(accounts: Sequence[Account]) -> list[str]:
    """Return what each of several accounts is called where it is handed over: no two alike.

    That is its name; where several have it, with the vhost before it, and with `user` before that
    of a user of a service's name.
    """
    services = {(one.vhost, one.name) for one in accounts if one.kind is Kind.SERVICE}
    mine = [
        f"user/{one.name}"
        if one.kind is Kind.USER and (one.vhost, one.name) in services
        else one.name
        for one in accounts
    ]
    counts = Counter(mine)
    return [
        f"{account.vhost}/{title}" if counts[title] > 1 else title
        for account, title in zip(accounts, mine, strict=True)
    ]
