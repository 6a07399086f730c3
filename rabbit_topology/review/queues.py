"""
What becomes of each queue: by the steps of a preview, and by what was said about them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from math import ceil

from rabbit_topology.review.preview import Preview, Step
from rabbit_topology.review.statements import Held, Says, Statement, Told

_SECONDS_AT_LEAST = 10.0
_SECONDS_FOR_EACH = 0.0004
"""A replacement took 4 to 21 s with few messages, and 28 to 39 s with 100,000: safety results."""

_STAYING = "staying-"
"""What hooks' names begin with where the whole component stays."""

_HOLDS = re.compile(r"(?:it holds|go with its) ([\d,]+ (?:messages|bytes))")
"""What a refused change of settings says of a queue."""

_NOT_ASKED = "not known"
_EMPTY = "none"


class Fate(Enum):
    """What becomes of a queue; the worst first."""

    REFUSED = "refused"
    DISCARDED = "discarded"
    UNKNOWN = "unknown"
    REPLACED = "replaced"
    DELETED = "deleted"
    STAYS = "left on the broker"
    CHANGED = "changed"
    NEW = "new"


_ORDER = list(Fate)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One queue."""

    name: str
    vhost: str
    """Empty: the preview does not tell in which."""
    fate: Fate
    what: str
    """What happens to it, in words."""
    held: Held | None = None
    """What it holds now; None: not known, or nothing."""
    now: str = ""
    """What it holds now, in words."""
    kept: str = ""
    """What becomes of that, in words."""


def rows(
    preview: Preview,
    statements: Sequence[Statement],
    settings: Mapping[tuple[str, str], Sequence[str]],
) -> list[Row]:
    """Return what becomes of each queue that does not stay as it is, the worst first.

    Args:
        preview: The preview.
        statements: What was said in it.
        settings: By vhost and queue that both configs have: settings that change in place.
    """
    told = _told(statements)
    looked = not any(map(_is_unseeing, statements))
    adopts = any(one.says is Says.ADOPTS for one in statements)
    steps = [step for step in preview.steps if step.kind == "queue"]
    known = [_row(step, told.get(step.name, []), looked=looked, adopts=adopts) for step in steps]
    known = [_doubted(row) if _is_shared(row, steps, told) else row for row in known]
    named = {row.name for row in known}
    known += [_spoken("", name, those) for name, those in told.items() if name not in named]
    seen = {(row.vhost, row.name) for row in known}
    for (vhost, name), changes in settings.items():
        at = ("", name) if ("", name) in seen else (vhost, name)
        if at in seen:
            known = [_with(row, changes) if (row.vhost, row.name) == at else row for row in known]
        else:
            known.append(_changed(vhost, name, changes))
    return sorted(known, key=lambda row: (_ORDER.index(row.fate), row.vhost, row.name))


def seconds(messages: int) -> str:
    """Return about how long a replacement takes, as it was measured, in words."""
    value = _SECONDS_AT_LEAST + messages * _SECONDS_FOR_EACH
    return f"some {round(value, -1):.0f} s" if value < 90 else f"some {ceil(value / 60):,} min"


def _is_unseeing(statement: Statement) -> bool:
    """Return whether after this not every queue was looked at."""
    whole = statement.says is Says.REFUSED and not statement.objects
    return whole or statement.ended or statement.says in (Says.UNKNOWN, Says.UNCLEAR)


def _told(statements: Iterable[Statement]) -> dict[str, list[tuple[Says, Told]]]:
    """Return what was said about queues, by name."""
    told: dict[str, list[tuple[Says, Told]]] = {}
    for statement in statements:
        for one in statement.objects:
            if one.kind == "queue":
                told.setdefault(one.name, []).append((statement.says, one))
    return told


def _row(step: Step, told: list[tuple[Says, Told]], *, looked: bool, adopts: bool) -> Row:
    # Of a queue that is only new nothing is said but what other vhosts have of its name.
    if told and step.op != "create":
        return _spoken(step.vhost, step.name, told)
    return _by_op(step, looked=looked, adopts=adopts)


def _is_shared(
    row: Row, steps: Sequence[Step], told: Mapping[str, list[tuple[Says, Told]]]
) -> bool:
    """Return whether fewer queues of a name were spoken of than vhosts would change one."""
    alike = [step for step in steps if step.name == row.name and step.op != "create"]
    return row.fate is not Fate.NEW and 0 < len(told.get(row.name, ())) < len(alike)


def _doubted(row: Row) -> Row:
    doubt = "in this vhost or another that has such a queue: the preview does not tell"
    return replace(row, what=f"{row.what} ({doubt})")


def _by_op(step: Step, *, looked: bool, adopts: bool) -> Row:
    new = partial(Row, name=step.name, vhost=step.vhost)
    match step.op:
        case "create":
            what = "new, or adopted as it is there" if adopts else "new"
            return new(fate=Fate.NEW, what=what)
        case "delete":
            return _deleted(step, new, looked=looked)
        case "replace" if not step.hooks or not looked:
            return new(fate=Fate.UNKNOWN, what="would be replaced", now=_NOT_ASKED)
        case "replace":
            return new(fate=Fate.REPLACED, what="replaced", now=_NOT_ASKED, kept=_moved(None))
        case _:
            return new(fate=Fate.CHANGED, what=f"{step.op}, in place", kept="stays where it is")


def _deleted(step: Step, new: Callable[..., Row], *, looked: bool) -> Row:
    stays = any(one.startswith(_STAYING) for one in step.hooks) or "retained-queue" in step.hooks
    if stays:
        what = "left on the broker, no longer managed"
        return new(fate=Fate.STAYS, what=what, kept="stays with all it holds")
    if not step.hooks or not looked:
        return new(fate=Fate.UNKNOWN, what="would be deleted", now=_NOT_ASKED)
    return new(fate=Fate.DELETED, what="deleted: empty and unused", now=_EMPTY)


def _spoken(vhost: str, name: str, told: list[tuple[Says, Told]]) -> Row:
    """Return what becomes of a queue about which something was said; the worst counts."""
    held = next((one.held for _, one in told if one.held), None)
    reasons = (_HOLDS.search(one.reason) for _, one in told)
    now = held.text if held else next((one[1] for one in reasons if one), "")
    by_saying = dict(reversed(told))  # the first of each meaning
    if (one := by_saying.get(Says.REFUSED)) is not None:
        fate, kept = Fate.REFUSED, "stays as it is"
        what = f"refused: {one.reason or 'it is in use'}"
    elif (one := by_saying.get(Says.DISCARDED)) is not None:
        fate, kept = Fate.DISCARDED, "lost, as on_delete says"
        what = f"settings change: {one.reason}" if one.reason else "deleted with all it holds"
    elif (one := by_saying.get(Says.REPLACED)) is not None:
        fate, what, kept = Fate.REPLACED, f"replaced: {one.reason}", _moved(held)
        now = now or "it is not there"
    else:
        fate, what = Fate.STAYS, "left on the broker, no longer managed"
        kept = "stays with all it holds"
    return Row(name=name, vhost=vhost, fate=fate, what=what, held=held, now=now, kept=kept)


def _moved(held: Held | None) -> str:
    if held is not None and not held.messages:
        return f"nothing to move; {seconds(0)}"
    return f"moved aside and back{f'; {seconds(held.messages)}' if held else ''}"


def _with(row: Row, changes: Sequence[str]) -> Row:
    if row.fate in (Fate.REFUSED, Fate.DISCARDED):
        return row  # that says more than the change itself
    return replace(row, what="; ".join((row.what, *changes)))


def _changed(vhost: str, name: str, changes: Sequence[str]) -> Row:
    return Row(
        name=name,
        vhost=vhost,
        fate=Fate.CHANGED,
        what=f"changed in place: {'; '.join(changes)}",
        kept="stays where it is",
    )


def counted(known: Iterable[Row]) -> Iterator[tuple[Fate, int]]:
    """Yield how many queues have which fate, the worst first."""
    fates = [row.fate for row in known]
    yield from ((fate, fates.count(fate)) for fate in Fate if fate in fates)
