"""
A review as a comment on a pull request: the verdict first, what matters next, all else folded.

It fits into what GitHub takes, and says where it is cut. Source: "Working with advanced
formatting", GitHub documentation.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from rabbit_topology.broker.inventory import title
from rabbit_topology.config.words import without_secrets
from rabbit_topology.observe import markdown
from rabbit_topology.review import queues
from rabbit_topology.review.permissions import Widening
from rabbit_topology.review.preview import ERROR, WARNING, Step
from rabbit_topology.review.queues import Row
from rabbit_topology.review.statements import Says, Statement
from rabbit_topology.review.verdict import Outcome, Review, count, discards
from rabbit_topology.services.permissions import NOTHING

LIMIT = markdown.COMMENT - 536
"""Characters of a whole comment at most: some room is left for who puts a line of theirs to it."""

_SHOWN = 15
"""Lines of a kind that are not folded."""

_NAMES = 8
"""Names of one list."""

_CELL = 400
"""Characters of one text at most; refusals in full are folded."""

_PART = 12_000
"""Characters of a part that is not folded."""

_SEVERITIES = {ERROR: 0, WARNING: 1}

_QUEUES = (
    "| queue | what happens | it holds now | what becomes of that |",
    "| --- | --- | --- | --- |",
)
_RIGHTS = ("| user | right | before | now | so also |", "| --- | --- | --- | --- | --- |")


def marker(stack: str) -> str:
    """Return the line, which nobody sees, by which a later comment finds this one."""
    return f"<!-- rabbit-topology review {re.sub(r'[^A-Za-z0-9._-]', '_', stack)} -->"


def write(review: Review) -> str:
    """Return the comment."""
    several = len({row.vhost for row in review.queues if row.vhost}) > 1
    rows = [_row(row, several=several) for row in review.queues]
    routes, rights = list(_routes(review)), list(_rights(review))
    failed = review.outcome is Outcome.FAILED  # that alone has words of others
    top = [
        f"### {_text(review.verdict) if failed else review.verdict}",
        "",
        marker(review.stack),
        _summary(review),
        *_part(list(_why(review)), ()),
        *_part(rows[:_SHOWN], _QUEUES),
        *_part(routes[:_SHOWN], ("**Where messages go**", "")),
        *_part(rights[:_SHOWN], ("**Permissions that go further**", "", *_RIGHTS)),
        *_pictures(review),
    ]
    folded: list[tuple[str, Sequence[str], list[str]]] = [
        (f"What the preview says: {count(len(review.statements), 'text')}", (), _notes(review)),
        (f"{count(len(rows[_SHOWN:]), 'further queue')}", _QUEUES, rows[_SHOWN:]),
        (f"{count(len(routes[_SHOWN:]), 'further difference')} in routes", (), routes[_SHOWN:]),
        (f"{count(len(rights[_SHOWN:]), 'further right')}", _RIGHTS, rights[_SHOWN:]),
        (f"{count(len(review.preview.steps), 'step')} of the engine", (), _steps(review)),
    ]
    text = "\n".join(top) + "\n"
    for name, head, lines in folded:
        if lines:
            text += _folded(name, head, lines, LIMIT - len(text))
    return text


def _summary(review: Review) -> str:
    fates = [f"{number:,} {fate.value}" for fate, number in queues.counted(review.queues)]
    parts = [f"queues: {', '.join(fates)}"] if fates else ["no queue changes"]
    parts += (
        f"{count(one.number, 'object')} on the broker adopted" for one in review.saying(Says.ADOPTS)
    )
    if review.outcome is not Outcome.DISCARDS and (gone := review.saying(Says.DISCARDED)):
        parts.append(f"**{discards(gone).lower()}**")
    if review.vhosts is None:
        parts.append("routes and permissions are not compared: there is no config before")
    else:
        routes = sum(len(one.lines) for one in review.vhosts)
        dropped = sum(one.dropped for one in review.vhosts)
        rights = sum(len(one.widened) for one in review.vhosts)
        so = f", **{dropped:,} now dropped**" if dropped else ""
        parts.append(f"{_differences(routes)} in where messages go{so}")
        parts += [f"{count(rights, 'right')} further than before"] if rights else []
    if any(one.ended for one in review.statements):
        parts.append("the preview ended there, so more may follow")
    return f"Stack {_code(review.stack)}: {'; '.join(parts)}."


def _differences(number: int) -> str:
    return count(number, "difference") if number else "no difference"


def _why(review: Review) -> Iterator[str]:
    """Yield why it is so, where the table of queues does not say it."""
    for one in review.saying(Says.REFUSED):
        others = [told for told in one.objects if told.kind != "queue"]
        for told in others:
            reason = told.reason or one.note.text.partition("\n")[0]
            yield f"- refused, {_text(title(told.kind, told.name))}: {_text(reason)}"
        if not one.objects:
            yield f"- refused: {_text(one.note.text.partition(chr(10))[0])}"
    for says in (Says.FAILED, Says.UNCLEAR, Says.UNKNOWN):
        yield from (f"- {_text(one.note.text)}" for one in review.saying(says))


def _row(row: Row, *, several: bool) -> str:
    where = f" of vhost {_text(row.vhost)}" if several and row.vhost else ""
    cells = (f"{_code(row.name)}{where}", *map(_text, (row.what, row.now, row.kept)))
    return f"| {' | '.join(cells)} |"


def _routes(review: Review) -> Iterator[str]:
    """Yield what goes elsewhere; what is dropped from now on stands out, and comes first."""
    vhosts = review.vhosts or ()
    lines = [
        f"- {f'vhost {_text(vhost.vhost)}: ' if len(vhosts) > 1 else ''}{_dropped(line)}"
        for vhost in vhosts
        for line in vhost.lines
    ]
    yield from sorted(lines, key=lambda line: not line.endswith("**"))


def _dropped(line: str) -> str:
    ending = "now dropped"
    if line.endswith(f"; {ending}"):
        return f"{_text(line.removesuffix(ending))}**{ending}**"
    return _text(line)


def _rights(review: Review) -> Iterator[str]:
    for vhost in review.vhosts or ():
        for one in vhost.widened:
            yield _right(one)


def _right(one: Widening) -> str:
    before = _code(one.before) if one.before not in ("", NOTHING) else "nothing"
    cells = (_code(one.user), _text(one.right), before, _code(one.now), _text(_gained(one)))
    return f"| {' | '.join(cells)} |"


def _gained(one: Widening) -> str:
    if one.is_everything:
        return "everything"
    if not one.certain:
        return "perhaps more: the two cannot be compared"
    more = len(one.gains) - _NAMES
    return ", ".join(one.gains[:_NAMES]) + (f" and {more:,} more" if more > 0 else "")


def _pictures(review: Review) -> Iterator[str]:
    room = 2 * _PART
    for vhost in review.vhosts or ():
        if vhost.picture and len(vhost.picture) < room:
            room -= len(vhost.picture)
            yield from ("", f"**What is different in vhost {_text(vhost.vhost)}**", "")
            yield from ("```mermaid", vhost.picture.rstrip("\n"), "```")
        elif vhost.picture or vhost.left_out:
            reason = vhost.left_out or "there is no room left for its picture"
            yield from ("", f"vhost {_text(vhost.vhost)}: {_text(reason)}")


def _notes(review: Review) -> list[str]:
    """Return all that the preview says, errors first."""

    def order(one: Statement) -> int:
        return _SEVERITIES.get(one.note.severity, len(_SEVERITIES))

    return [
        f"- {one.note.severity}: {_lines(one.note.text)}"
        for one in sorted(review.statements, key=order)
    ]


def _steps(review: Review) -> list[str]:
    counts = Counter((step.op, title(step.kind, "").strip()) for step in review.preview.steps)
    return [
        f"- {op}: {_text(', '.join(_named(review.preview.steps, op, kind)))}"
        if number <= _SHOWN
        else f"- {op}: {number:,} of kind {_text(kind)}"
        for (op, kind), number in counts.items()
    ]


def _named(steps: Sequence[Step], op: str, kind: str) -> Iterator[str]:
    for step in steps:
        if step.op == op and title(step.kind, "").strip() == kind:
            yield title(step.kind, step.name)


def _part(lines: list[str], head: Sequence[str]) -> list[str]:
    return ["", *head, *_cut(lines, _PART)] if lines else []


def _folded(name: str, head: Sequence[str], lines: list[str], room: int) -> str:
    begin = f"\n<details><summary>{_text(name)}</summary>\n\n" + "".join(f"{one}\n" for one in head)
    end = "\n</details>\n"
    kept = _cut(lines, room - len(begin) - len(end))
    return begin + "\n".join(kept) + "\n" + end if kept else ""


def _cut(lines: list[str], room: int) -> list[str]:
    """Return as many lines as there is room for, and how many more there are."""
    needed = [len(line) + 1 for line in lines]
    if sum(needed) < room:
        return lines
    room -= len(_said_of(len(lines))) + 3
    kept = 0
    while kept < len(lines) and needed[kept] <= room:
        room -= needed[kept]
        kept += 1
    return [*lines[:kept], "", _said_of(len(lines) - kept)] if room >= 0 else []


def _said_of(left: int) -> str:
    return f"*cut here, {left:,} more: all of them are in `--format json`*"


def _text(text: str) -> str:
    known = str(without_secrets(text))
    return markdown.cell(known if len(known) <= _CELL else f"{known[: _CELL - 1]}…")


def _code(text: str) -> str:
    return f"<code>{_text(text)}</code>"


def _lines(text: str) -> str:
    return "<br>".join(_whole(line) for line in text.splitlines())


def _whole(line: str) -> str:
    return markdown.cell(str(without_secrets(line)))
