"""
Words and shapes that answers as text have in common.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from io import StringIO

from rich.console import Console
from rich.tree import Tree

from rabbit_topology.config.words import without_secrets
from rabbit_topology.routing.steps import Step, Way

WIDTH = 100

SHOWN = 8
"""Lines of one kind that are shown, and keys that are named."""


def binding(step: Step) -> str:
    """Return what a way on takes, and where the config says so."""
    match step.way:
        case Way.ALTERNATE:
            return f"no binding takes it: alternate exchange, {step.path}"
        case Way.NAME:
            return f"by its name, {step.path}"
        case Way.BUG:
            return f"RabbitMQ 4.3.0 mixes up bindings with the empty key (#16271), {step.path}"
        case _:
            taken = as_json(dict(step.arguments)) if step.condition else key(step.routing_key)
            return f"{taken}, {step.path}"


def limited(lines: list[str]) -> list[str]:
    """Return lines, those that are too many as a number."""
    if len(lines) <= SHOWN:
        return lines
    return [*lines[: SHOWN - 1], f"{len(lines) - SHOWN + 1:,} more"]


def rendered(tree: Tree, width: int) -> str:
    """Return a tree as text of some width."""
    out = StringIO()
    console = Console(file=out, width=width, no_color=True, highlight=False, force_terminal=False)
    console.print(tree)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def keys(routing_keys: Iterable[str]) -> str:
    """Return routing keys as they are shown."""
    return listed([key(one) for one in routing_keys])


def key(routing_key: str) -> str:
    """Return a routing key as it is shown."""
    return json.dumps(routing_key, ensure_ascii=False)


def as_json(value: object) -> str:
    """Return a value as JSON, without passwords."""
    return json.dumps(without_secrets(value), ensure_ascii=False)


def listed(names: Iterable[str]) -> str:
    """Return names in one line."""
    return ", ".join(names)


def ordinal(number: int) -> str:
    """Return a number as in `2nd`."""
    ends = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if number % 100 in (11, 12, 13) else ends.get(number % 10, 'th')}"
