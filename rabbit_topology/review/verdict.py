"""
A whole review: what a preview and two configs come to, in one line and in all its parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from rabbit_topology.config.stack import Stack
from rabbit_topology.config.words import without_secrets
from rabbit_topology.review import configs, statements
from rabbit_topology.review import queues as of_queues
from rabbit_topology.review.configs import VhostChange
from rabbit_topology.review.preview import Preview
from rabbit_topology.review.queues import Fate, Row
from rabbit_topology.review.statements import Loss, Says, Statement

_SHOWN = 160
"""Characters of an error that the verdict shows."""


class Outcome(StrEnum):
    """What a change comes to for the messages that there are."""

    LOSES_NOTHING = "loses-nothing"
    REFUSED = "refused"
    DISCARDS = "discards"
    NOT_KNOWN = "not-known"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Review:
    """All that is to be said about a change."""

    stack: str
    outcome: Outcome
    verdict: str
    """The outcome in one line."""
    preview: Preview
    statements: Sequence[Statement]
    queues: Sequence[Row]
    vhosts: Sequence[VhostChange] | None
    """What the configs do differently; None: there is no config to compare with."""

    def saying(self, says: Says) -> list[Statement]:
        """Return the statements of one meaning."""
        return [one for one in self.statements if one.says is says]


def review(stack: str, preview: Preview, before: Stack | None, now: Stack) -> Review:
    """Return what a change comes to.

    Args:
        stack: The stack's name.
        preview: A preview of the change.
        before: The config before; None: there is none to compare with.
        now: The config with the change.
    """
    said = statements.read(preview.notes)
    vhosts = configs.compare(before, now) if before is not None else None
    rows = of_queues.rows(preview, said, configs.settings(vhosts or ()))
    outcome, verdict = _verdict(preview, said, rows)
    return Review(
        stack=stack,
        outcome=outcome,
        verdict=verdict,
        preview=preview,
        statements=said,
        queues=rows,
        vhosts=vhosts,
    )


def lost(said: Sequence[Statement]) -> Loss:
    """Return how many messages go, as `on_delete` says.

    Several policies may take from the same queue: it counts once.
    """
    by_settings: dict[str, Loss] = {}
    losses: list[Loss] = []
    for statement in said:
        for one in statement.objects if statement.says is Says.DISCARDED else ():
            loss = one.loss or Loss(messages=None)
            if one.held is not None:
                losses.append(loss)
                continue
            known = by_settings.get(one.name)
            more = known is None or (loss.messages or 0) > (known.messages or 0)
            by_settings[one.name] = loss if known is None or more else known
    losses += by_settings.values()
    if any(loss.messages is None for loss in losses):
        return Loss(messages=None)
    total = sum(loss.messages or 0 for loss in losses)
    return Loss(messages=total, exact=all(loss.exact for loss in losses))


def _verdict(
    preview: Preview, said: Sequence[Statement], rows: Sequence[Row]
) -> tuple[Outcome, str]:
    if refused := [one for one in said if one.says is Says.REFUSED]:
        return Outcome.REFUSED, _refused(refused)
    if failed := [one for one in said if one.says is Says.FAILED]:
        return Outcome.FAILED, f"The preview failed: {_short(failed[0])}"
    if not (preview.notes or preview.steps or preview.counts):
        return Outcome.FAILED, "The preview failed: it says nothing"
    if discarded := [one for one in said if one.says is Says.DISCARDED]:
        return Outcome.DISCARDS, discards(discarded)
    if not preview.changes:
        return Outcome.LOSES_NOTHING, "Changes nothing"
    if any(one.says is Says.UNCLEAR for one in said):
        return Outcome.NOT_KNOWN, "Not known: the preview tells of a loss in words that are new"
    if any(one.says is Says.UNKNOWN for one in said):
        return Outcome.NOT_KNOWN, "Not known: the broker could not be asked"
    if unguarded := sum(row.fate is Fate.UNKNOWN for row in rows):
        return Outcome.NOT_KNOWN, f"Not known: nothing looks after {count(unguarded, 'queue')} yet"
    return Outcome.LOSES_NOTHING, "Loses nothing"


def _refused(refused: Sequence[Statement]) -> str:
    named: Counter[tuple[str, str]] = Counter()
    for statement in refused:
        # One may be refused for several reasons; one of the same name elsewhere is another.
        times = Counter((one.kind, one.name) for one in statement.objects)
        own = Counter({key: named[key] + 1 for key in times} if _is_of_one(statement) else times)
        named |= own
    by_kind: Counter[str] = Counter()
    for (kind, _), number in named.items():
        by_kind[kind] += number
    parts = [count(number, kind) for kind, number in by_kind.items()]
    unnamed = sum(not statement.objects for statement in refused)
    if unnamed and parts:
        parts.append(f"{unnamed:,} more")
    more = " or more" if any(one.ended for one in refused) else ""
    return f"Would be refused: {_listed(parts)}{more}" if parts else "Would be refused"


def _is_of_one(statement: Statement) -> bool:
    """Return whether a refusal is the one that each queue which goes gets for itself."""
    return len(statement.objects) == 1 and statement.objects[0].held is not None


def discards(discarded: Sequence[Statement]) -> str:
    """Return what goes as `on_delete` says, in a line."""
    loss = lost(discarded)
    if loss.messages is None:
        return "Discards messages, as on_delete says"
    if not loss.messages:
        queues = sum(len(one.objects) for one in discarded)
        return f"Deletes {count(queues, 'queue')} in use, as on_delete says"
    most = "" if loss.exact else "up to "
    return f"Discards {most}{count(loss.messages, 'message')}, as on_delete says"


def count(number: int, noun: str) -> str:
    """Return a number of things in words: ``2 queues``."""
    if number == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else noun if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {plural}"


def _listed(parts: Sequence[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def _short(failed: Statement) -> str:
    line = str(without_secrets(failed.note.text.partition("\n")[0]))
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
