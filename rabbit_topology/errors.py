"""
Every error that this package raises on purpose.

    TopologyError
    ├── ConfigError     the config is not a topology; carries every problem found
    ├── BrokerError     the broker cannot be reached, or refuses; carries the endpoint
    └── ProofError      a binding does not deliver; carries every failure found
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

_PLAIN_KEY = re.compile(r"[\w-]+")


def path(*parts: str | int) -> str:
    """Return a config path as ``pulumi config set --path`` takes it: ``queues["a.b"].type``."""
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(part, ensure_ascii=False)}]"
    return text


_PART = re.compile(r'\["((?:[^"\\]|\\.)*)"\]|\[(\d+)\]|([^.\[]+)')


def parts(where: str) -> list[str | int]:
    """Return what `path` was given: the keys and indexes of a config path."""
    return [
        int(index) if index else plain or json.loads(f'"{quoted}"')
        for quoted, index, plain in _PART.findall(where)
    ]


def reason(error: BaseException) -> str:
    """Return what an error says; its kind, where it says nothing."""
    return str(error).strip() or type(error).__name__


class TopologyError(Exception):
    """Base of all errors of this package."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong with a config, in the words of the one who wrote it."""

    path: str
    """Where, as a config path: ``topology.queues.orders.type``, see `path`."""
    value: str
    """What stands there, as JSON; never a secret."""
    rule: str
    """What should hold."""
    fix: str
    """What to do about it."""

    def __str__(self) -> str:
        return f"{self.path}: {self.value}: {self.rule}; {self.fix}"


class ConfigError(TopologyError):
    """The config is not a topology. ``problems`` holds everything found, in config order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = "1 problem" if count == 1 else f"{count} problems"
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"{head} in the config, nothing was changed:\n{lines}")


class BrokerError(TopologyError):
    """The broker cannot be reached, or refuses. ``endpoint`` is its management URL."""

    def __init__(self, endpoint: str, message: str) -> None:
        self.endpoint = endpoint
        super().__init__(message)


class ProofError(TopologyError):
    """A binding does not deliver. ``failures`` holds one line per binding or URL that failed."""

    def __init__(self, failures: Sequence[str]) -> None:
        self.failures = tuple(failures)
        super().__init__("not proven:\n" + "\n".join(f"  - {line}" for line in self.failures))
