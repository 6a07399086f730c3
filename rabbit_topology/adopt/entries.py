"""
The entries of a definitions file: those that can be understood, and why others cannot.

A file is written by hand now and then. What nobody can understand is named and left out, and never
guessed. Source: "Definitions", RabbitMQ documentation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rabbit_topology.model import DEFAULT_VHOST

Entry = Mapping[str, Any]

_NAMED: Mapping[str, tuple[str, ...]] = {
    "vhosts": ("name",),
    "users": ("name",),
    "exchanges": ("name",),
    "queues": ("name",),
    "bindings": ("source", "destination"),
    "policies": ("name",),
    "operator_policies": ("name",),
    "permissions": ("user",),
    "topic_permissions": ("user", "exchange"),
    "parameters": ("component", "name"),
    "global_parameters": (),
}
"""The sections of a file, and the keys of an entry that have to be text."""

SECTIONS = (*_NAMED,)

_LISTS_OF_A_VHOST = ("tags", "limits")
"""Lists that are no sections: a file of one vhost says of it itself."""

_TEXT = ("vhost", "routing_key")
"""Keys that are text where they are there."""

_ENDS = ("queue", "exchange")

_DEEPEST = 50
"""So deep may values be nested; no broker's own export comes near."""


class Entries:
    """What stands in the sections of a file.

    Attributes:
        sections: By name, what can be understood; each object once.
        unclear: Where something stands that cannot, and why.
    """

    def __init__(self, held: Mapping[str, Any]) -> None:
        self.unclear: list[tuple[str, str]] = []
        self.sections = {section: self._section(held, section) for section in SECTIONS}
        self.unclear += (
            (key, "no definitions have a section of this name")
            for key, value in held.items()
            if isinstance(value, list) and value and key not in (*SECTIONS, *_LISTS_OF_A_VHOST)
        )

    def _section(self, held: Mapping[str, Any], section: str) -> list[Entry]:
        value = held.get(section)
        if value is None:
            return []
        if not isinstance(value, list):
            self.unclear.append((section, "it is not a list"))
            return []
        clear: list[tuple[str, Entry]] = []
        for index, one in enumerate(value):
            place = f"{section}[{index}]"
            if reason := _unclear(section, one):
                self.unclear.append((_called(place, one), reason))
            else:
                clear.append((place, one))
        return [*self._each_once(section, clear)]

    def _each_once(self, section: str, clear: list[tuple[str, Entry]]) -> Iterator[Entry]:
        """Yield what stands there once, or is the same each time.

        Of a vhost or a user the last entry counts: no more than the name is needed of them.
        """
        if section == "global_parameters":
            yield from (one for _, one in clear)
            return
        places: dict[tuple[str, ...], list[tuple[str, Entry]]] = {}
        for place, one in clear:
            places.setdefault(_identity(section, one), []).append((place, one))
        for same in places.values():
            first, *others = same
            if section in ("vhosts", "users", "bindings"):
                yield same[-1][1]
            elif all(one == first[1] for _, one in others):
                yield first[1]
            else:
                again = ", ".join(place for place, _ in others)
                reason = f"it stands in {again} as well, with other settings: only one can be there"
                self.unclear.append((_called(*first), reason))


def _identity(section: str, one: Entry) -> tuple[str, ...]:
    vhost = "" if section in ("vhosts", "users") else str(one.get("vhost", DEFAULT_VHOST))
    names = tuple(str(one[key]) for key in _NAMED[section])
    if section != "bindings":
        return (vhost, *names)
    arguments = json.dumps(one.get("arguments") or {}, sort_keys=True)
    kind = one.get("destination_type", "queue")
    return (vhost, *names, kind, one.get("routing_key", ""), arguments)


def _unclear(section: str, one: object) -> str | None:
    """Return why an entry cannot be understood; None: it can."""
    if not isinstance(one, dict):
        return "it is not a mapping"
    for key in _NAMED[section]:
        if not isinstance(one.get(key), str):
            return f"its {key} is not text" if key in one else f"it has no {key}"
    for key in _TEXT:
        if key in one and not isinstance(one[key], str):
            return f"its {key} is not text"
    if one.get("destination_type", "queue") not in _ENDS:
        return "its destination_type is neither queue nor exchange"
    arguments = one.get("arguments")
    if arguments and not isinstance(arguments, dict):  # an older broker has a list for none
        return "its arguments are not a mapping"
    return f"values in it are nested more than {_DEEPEST} deep" if _too_deep(one) else None


def _too_deep(one: object) -> bool:
    level: list[Any] = [one]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner += value.values()
            elif isinstance(value, list):
                inner += value
        level = inner
    return bool(level)


def _called(place: str, one: object) -> str:
    """Return a place with the name of what stands there: ``queues[3] (orders)``."""
    name = one.get("name") or one.get("user") if isinstance(one, dict) else None
    return f"{place} ({name})" if isinstance(name, str) else place
