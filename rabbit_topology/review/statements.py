"""
What the program's own texts in a preview mean: what is refused, what is lost, what is kept.

The texts are made in `safety` and `deploy`. Whatever an update would refuse ends with, or says,
``REFUSES``: that alone decides whether it is a refusal. Which objects it is about is read from its
words; where that fails the refusal stays one, with nothing named. A unit test has those who make
the texts make them, and reads them here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from rabbit_topology.review.preview import ERROR, WARNING, Note

REFUSES = "`pulumi up` will refuse"
"""What every text has that says what an update would refuse."""

_DISCARDS = "loses messages, as `on_delete: discard` allows:"
_NOT_KNOWN = (
    "can be changed is not known: ",
    "this preview goes by the stack's state alone",
    "what earlier runs have left is not known",
    "what was imported and never deployed is not noticed",
)
_ABOUT_LOSS = re.compile(
    r"\A(?:would lose |loses messages|queue .+ is deleted with )|on_delete is discard\Z", re.DOTALL
)
"""What a text looks like that tells of a loss: if nothing else is known of it, all may be lost."""

_ADOPTS = re.compile(r"\Aadopts ([\d,]+) objects?, which are there as they are declared")

_OTHERS = "delayed|not dead-lettered yet|in a state that this program does not know"
_HELD = (
    r"(?P<held>[\d,]+ ready, [\d,]+ unacknowledged, "
    rf"(?:[\d,]+ (?:{_OTHERS}), )*(?P<consumers>[\d,]+) consumers?)"
)
"""How a queue's contents are written."""

_LOST = re.compile(
    rf"would lose [\d,]+ messages in queue (?P<name>.+) \({_HELD}\): (?P<reason>.+); ", re.DOTALL
)
_DELETED = re.compile(
    rf"\Aqueue (?P<name>.+) is deleted with all it holds \({_HELD}\): on_delete is discard\Z",
    re.DOTALL,
)
_REPLACED = re.compile(
    r"\A(?P<kind>queue|exchange) (?P<name>.+?) is "
    r"(?:replaced \((?P<reason>.*)\)|(?P<renamed>renamed to .+)); "
    rf"(?:kept through it: (?:{_HELD}|None)|a stand-in routes meanwhile)\Z",
    re.DOTALL,
)
_STAYS = re.compile(
    r"\A(?P<kind>queue|exchange|binding) (?P<name>.+) stays on the broker, with the queue that is "
    r"to be retained\Z",
    re.DOTALL,
)
_KINDS = (
    "operator policy|policy|queue|stream|exchange|binding|vhost|topic permissions|permissions|user"
    "|shovel|federation upstream"
)
_LINE = re.compile(
    rf"^  - (?P<kind>{_KINDS}) (?P<name>.+?)"
    rf"(?: holds {_HELD}$|(?: of vhost .+?)? would be |(?: of vhost .+?)?: (?P<reason>.*)$)",
    re.MULTILINE,
)
"""One of several objects that a text lists."""

_CANNOT = re.compile(
    r"\A(?P<kind>queue|stream|exchange) (?P<name>.+?) (?:cannot be replaced|holds messages and )",
    re.DOTALL,
)
_MEANWHILE = re.compile(r"which is to hold messages of (?P<name>.+?) meanwhile", re.DOTALL)
_TOGETHER = re.compile(r"\Athe settings of (?P<names>.+) cannot change in one step", re.DOTALL)
_MOVED = re.compile(
    r"\Arefused: the (?P<kind>\w+) would be deleted that is in the config as another resource, "
    r".*?--target-dependents '[^']*::[^']*?(?P<name>[^'/]+)'",
    re.DOTALL,
)
_BEGINS = re.compile(rf"\A(?:refused, since )?(?P<kind>{_KINDS}) (?P<name>\S+?),? ")

_DROPS = re.compile(r"holds [\d,]+ messages, the oldest ([\d,]+) would go")
_WAITING = re.compile(r"([\d,]+) messages still wait for their dead-letter target")
_AT_MOST = re.compile(r"holds ([\d,]+) messages, what is older|would go with its ([\d,]+) messages")


class Says(StrEnum):
    """What a text means."""

    REFUSED = "refused"
    DISCARDED = "discarded"
    REPLACED = "replaced"
    STAYS = "stays"
    ADOPTS = "adopts"
    UNKNOWN = "unknown"
    """The broker could not be asked."""
    UNCLEAR = "unclear"
    """It may tell of a loss, and is not understood."""
    FAILED = "failed"
    """The preview did not come to its end."""
    WARNED = "warned"
    TOLD = "told"


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a queue holds."""

    messages: int
    consumers: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Loss:
    """How many messages would go."""

    messages: int | None
    """None: not known."""
    exact: bool = True
    """False: at most so many."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """One object that a text is about."""

    kind: str
    """`queue` for streams as well."""
    name: str
    held: Held | None = None
    reason: str = ""
    loss: Loss | None = None


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What one text of the preview means."""

    says: Says
    note: Note
    objects: tuple[Told, ...] = ()
    number: int = 0
    """With `ADOPTS`: how many objects."""

    @property
    def ended(self) -> bool:
        """Whether the preview ended with it, so that more may follow."""
        return self.note.severity == ERROR


def read(notes: Iterable[Note]) -> list[Statement]:
    """Return what the texts of a preview mean, in their order.

    An error ends the preview, and the engine may say it again. All else is said of one object, so
    the same text twice is of two.
    """
    known: list[Note] = []
    for note in notes:
        if note.text and not (note.severity == ERROR and note in known):
            known.append(note)
    return [_statement(note) for note in known]


def _statement(note: Note) -> Statement:
    text = note.text
    if REFUSES in text:
        return Statement(says=Says.REFUSED, note=note, objects=tuple(_refused(text)))
    if text.startswith(_DISCARDS):
        lost = tuple(
            Told(kind=one.kind, name=one.name, reason=one.reason, loss=loss(one.reason))
            for one in _listed(text)
        )
        return Statement(says=Says.DISCARDED, note=note, objects=lost)
    if matched := _DELETED.match(text):
        held = _held(matched)
        gone = Loss(messages=held.messages if held else None)
        told = Told(kind="queue", name=matched["name"], held=held, loss=gone)
        return Statement(says=Says.DISCARDED, note=note, objects=(told,))
    if matched := _REPLACED.match(text):
        told = Told(
            kind=matched["kind"],
            name=matched["name"],
            held=_held(matched),
            reason=matched["reason"] or matched["renamed"],
        )
        return Statement(says=Says.REPLACED, note=note, objects=(told,))
    if matched := _STAYS.match(text):
        told = Told(kind=matched["kind"], name=matched["name"])
        return Statement(says=Says.STAYS, note=note, objects=(told,))
    if note.severity == ERROR:
        return Statement(says=Says.FAILED, note=note)
    if note.severity == WARNING and any(part in text for part in _NOT_KNOWN):
        return Statement(says=Says.UNKNOWN, note=note)
    if _ABOUT_LOSS.search(text):
        return Statement(says=Says.UNCLEAR, note=note)
    if matched := _ADOPTS.match(text):
        return Statement(says=Says.ADOPTS, note=note, number=_number(matched[1]))
    return Statement(says=Says.WARNED if note.severity == WARNING else Says.TOLD, note=note)


def loss(reason: str) -> Loss:
    """Return how many messages a change of settings would take, by the reason that is given."""
    exact = [*map(_number, _DROPS.findall(reason)), *map(_number, _WAITING.findall(reason))]
    most = [_number(one or other) for one, other in _AT_MOST.findall(reason)]
    if not exact and not most:
        return Loss(messages=None)
    return Loss(messages=max(exact + most), exact=len(exact) == 1 and not most)


def _refused(text: str) -> Iterator[Told]:
    """Yield what a refusal is about, as far as its words tell."""
    if matched := _LOST.search(text):
        yield Told(
            kind="queue", name=matched["name"], held=_held(matched), reason=matched["reason"]
        )
        return
    listed = list(_listed(text))
    if listed:
        yield from listed
        return
    if matched := _MEANWHILE.search(text):
        yield Told(kind="queue", name=matched["name"], reason=_first(text))
    elif matched := _TOGETHER.match(text):
        for name in matched["names"].split(", "):
            yield Told(kind="queue", name=name, reason=_first(text))
    elif matched := _CANNOT.match(text) or _MOVED.match(text) or _BEGINS.match(text):
        yield Told(kind=_kind(matched["kind"]), name=matched["name"], reason=_first(text))


def _listed(text: str) -> Iterator[Told]:
    for matched in _LINE.finditer(text):
        line = matched[0].removeprefix("  - ")
        yield Told(
            kind=_kind(matched["kind"]),
            name=matched["name"],
            held=_held(matched),
            reason=matched["reason"] or ("" if matched["held"] else line),
        )


def _held(matched: re.Match[str]) -> Held | None:
    text = matched["held"]
    if text is None:
        return None
    *messages, consumers = map(_number, re.findall(r"[\d,]*\d", text))
    return Held(messages=sum(messages), consumers=consumers, text=text)


def _kind(kind: str) -> str:
    return "queue" if kind == "stream" else kind


def _first(text: str) -> str:
    """Return the first sentence of a refusal, without what every refusal says."""
    return text.partition("\n")[0].partition(f"; {REFUSES}")[0].partition(". ")[0]


def _number(text: str) -> int:
    return int(text.replace(",", ""))
