"""
What of a drift is meant to be so, each with a reason.

They are in a file of their own: ``ignore: [{object: queue tmp.*, reason: …}]``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rabbit_topology.config import yaml_files
from rabbit_topology.errors import TopologyError
from rabbit_topology.errors import path as config_path
from rabbit_topology.observe.drift import Drift


class Ignored(BaseModel):
    """An object that may be otherwise than it is declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    object: Annotated[str, Field(min_length=1)]
    """What it is, as the report names it: `queue orders`; `*` stands for any text."""
    vhost: str | None = None
    """Its vhost; default: any."""
    fields: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Only these fields of it; default: all."""
    reason: Annotated[str, Field(min_length=1)]
    """Why it is right as it is, for those who read it later."""

    def meets(self, one: Drift) -> bool:
        """Return whether an object is meant."""
        pattern = ".*".join(map(re.escape, self.object.split("*")))
        in_vhost = self.vhost is None or self.vhost == one.vhost
        return in_vhost and re.fullmatch(pattern, one.title, re.DOTALL) is not None


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    ignore: tuple[Ignored, ...]


def read(file: Path) -> tuple[Ignored, ...]:
    """Read what is ignored.

    Raises:
        TopologyError: The file is not there, or says something else.
    """
    try:
        document = yaml_files.read(file, str(file))
        stated = _File.model_validate_json(json.dumps(document.value))
    except yaml_files.YamlError as error:
        raise TopologyError(f"{file}: {error}") from None
    except ValidationError as error:
        lines = (
            f"  - {config_path(*detail['loc']) or 'the file'}: {detail['msg']}"
            for detail in error.errors(include_url=False)
        )
        raise TopologyError(
            f"{file}: it is to say `ignore: [{{object: queue NAME, reason: …}}]`\n"
            + "\n".join(lines)
        ) from None
    return stated.ignore


def applied(
    drifts: Iterable[Drift], ignored: Sequence[Ignored]
) -> tuple[list[Drift], tuple[str, ...]]:
    """Return drifts with what is ignored marked so, and the entries that ignore nothing.

    Where only some fields of an object are ignored, the others stay, and these are a drift of
    their own.
    """
    used: set[int] = set()
    said: list[Drift] = []
    for one in drifts:
        rest = one
        for number, entry in enumerate(ignored):
            if rest.ignored is not None or not entry.meets(rest):
                continue
            if entry.fields is None:
                rest = replace(rest, ignored=entry.reason)
                used.add(number)
                continue
            meant = tuple(each for each in rest.differences if each.field in entry.fields)
            others = tuple(each for each in rest.differences if each.field not in entry.fields)
            if not meant:
                continue
            used.add(number)
            left_out = replace(rest, differences=meant, ignored=entry.reason)
            if others:
                said.append(left_out)
                rest = replace(rest, differences=others)
            else:
                rest = left_out
        said.append(rest)
    unused = (one for number, one in enumerate(ignored) if number not in used)
    return said, tuple(f"{one.object}: {one.reason}" for one in unused)
