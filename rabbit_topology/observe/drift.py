"""
What drift is: where a broker is not as a config says, object by object and field by field.

Values only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How an object of the broker stands to the config."""

    CHANGED = "changed"
    """It is there, and is not as it is declared."""
    OVERRULED = "overruled"
    """It is as it is declared, and a policy that is not has something else apply to it."""
    MISSING = "missing"
    """It is declared, and not there."""
    UNMANAGED = "unmanaged"
    """It is there, and not declared."""


class Action(StrEnum):
    """What can be done about it."""

    REMAKE = "remake"
    """The broker is made what the config says."""
    REMOVE = "remove"
    """What is not declared goes."""
    ADOPT = "adopt"
    """The config says what is there."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One field that is not as it is declared."""

    field: str
    change: str
    """``100 -> 200``: what is there, and what is declared; ``another`` for what is not shown."""

    def __str__(self) -> str:
        return f"{self.field}: {self.change}"


@dataclass(frozen=True, kw_only=True)
class Mend:
    """One way to end a drift: a command, or what to write in the config."""

    action: Action
    do: str


@dataclass(frozen=True, kw_only=True)
class Drift:
    """One object that is not as a config says."""

    state: State
    title: str
    """What it is: ``queue orders``."""
    vhost: str
    """Empty for what is in none."""
    path: str
    """Where the config says so, or would."""
    differences: Sequence[Difference] = ()
    mends: Sequence[Mend] = ()
    ignored: str | None = None
    """Why it is left out, in the words of the one who did so."""

    @property
    def place(self) -> str:
        """What it is, and where: ``queue orders of vhost shop``."""
        return f"{self.title} of vhost {self.vhost}" if self.vhost else self.title


@dataclass(frozen=True, kw_only=True)
class Report:
    """A broker beside a config."""

    endpoint: str
    version: str | None
    equal: int
    """So many objects are as they are declared, bindings among them."""
    drifts: Sequence[Drift]
    unchecked: Sequence[str] = ()
    """What could not be compared: one sentence each."""
    others: Mapping[str, int]
    """By vhost that the stack shares with others: so many objects are theirs."""
    unused: Sequence[str] = ()
    """What is said to be ignored, and is not there: one line each."""

    @property
    def open(self) -> list[Drift]:
        """What is not ignored."""
        return [one for one in self.drifts if one.ignored is None]

    def counts(self) -> dict[str, int]:
        """Return how many there are of each state, and how many are ignored."""
        counted = Counter("ignored" if one.ignored else str(one.state) for one in self.drifts)
        return {name: counted[name] for name in (*State, "ignored")}

    def summary(self) -> str:
        """Return what there is, in words."""
        stated = [f"{count:,} {name}" for name, count in self.counts().items() if count]
        objects = "1 object is as it is" if self.equal == 1 else f"{self.equal:,} objects are as"
        whole = f"{objects} declared"
        return f"{whole}; {', '.join(stated)}" if stated else f"no drift: {whole}"
