"""
What was confirmed and what arrived: append-only files of fixed-size records, and their comparison.

Times are seconds of the system's monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from tests.safety.messages import Publication, priority

_RECORD = struct.Struct("<BBHIQd8s")
"""What (`Outcome` or `Mark`), queue's index, publisher, consumer, sequence, time, digest."""

SHOWN = 5
"""So many examples of each defect are named in a report."""


class Outcome(IntEnum):
    """What became of one attempt to publish a message."""

    CONFIRMED = 1
    RETURNED = 2
    """No queue took it (`mandatory`), though the exchange acknowledged it."""
    NACKED = 3
    UNCONFIRMED = 4
    """The channel or connection closed before the broker answered."""


class Mark(IntFlag):
    """What is notable about a delivery."""

    NONE = 0
    REDELIVERED = 1
    ALTERED = 2
    ADDED = 4
    """It gained headers that brokers add."""
    REROUTED = 8
    """Its exchange or routing key is not the one that it was published with."""


class Record(NamedTuple):
    """One line of a ledger, of a publisher or of a consumer."""

    what: int
    queue: int
    publisher: int
    consumer: int
    sequence: int
    seconds: float
    digest: bytes


class Writer:
    """Appends records to a file; what `flush` has written survives the end of the process."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._pending = bytearray()

    def add(
        self,
        what: int,
        publisher: int,
        sequence: int,
        seconds: float,
        digest: bytes,
        *,
        queue: int = 0,
        consumer: int = 0,
    ) -> None:
        self._pending += _RECORD.pack(what, queue, publisher, consumer, sequence, seconds, digest)

    def flush(self) -> None:
        if self._pending:
            self._file.write(self._pending)
            self._pending.clear()


def read(paths: Iterable[Path]) -> Iterator[Record]:
    """Yield the records of several files, one file after the other."""
    for path in paths:
        content = path.read_bytes()
        whole = len(content) - len(content) % _RECORD.size
        yield from map(Record._make, _RECORD.iter_unpack(content[:whole]))


def count(paths: Iterable[Path]) -> int:
    """Return the number of records without reading them."""
    return sum(path.stat().st_size for path in paths) // _RECORD.size


@dataclass(kw_only=True)
class Report:
    """The comparison of what was confirmed with what arrived.

    A message that must reach several queues counts once for each in everything about deliveries.
    """

    seconds: float
    """From the first message to the last confirm or delivery."""
    rate: float
    """Confirmed messages per second while publishers ran."""
    confirmed: int
    delivered: int
    """Different messages that arrived and were acknowledged, per queue."""
    lost: int
    """Confirmed, but not delivered at a queue that it must reach."""
    twice: int = 0
    """Deliveries of a message that had arrived before, which nothing explains."""
    redelivered: int = 0
    """The same, with the redelivered flag: the broker says that it may be a repeat."""
    republished: int = 0
    """The same, of messages whose publisher had to send them again."""
    out_of_order: int = 0
    """First deliveries of a message behind a later one of its publisher and priority, at one
    consumer."""
    altered: Counter[str] = field(default_factory=Counter)
    """Deliveries whose content is not what was published, by what differs."""
    added: Counter[str] = field(default_factory=Counter)
    """Deliveries with a header that brokers add, by header."""
    rerouted: int = 0
    """Deliveries with another exchange or routing key than the published one."""
    returned: int = 0
    """Attempts that no queue took; sent again until confirmed."""
    nacked: int = 0
    unconfirmed: int = 0
    """Attempts without an answer; sent again until confirmed."""
    longest_gap: float = 0.0
    """Seconds without any delivery at a queue while publishers ran."""
    longest_stall: float = 0.0
    """Seconds without any confirm while publishers ran."""
    by_queue: Mapping[str, int] = field(default_factory=dict)
    """`delivered` for each queue."""
    examples: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Some of the messages behind `lost`, `twice`, `out_of_order` and `altered`."""

    HEADINGS = (
        "confirmed", "messages/s", "delivered", "lost", "twice", "redelivered", "sent again",
        "out of order", "altered", "returned", "longest gap, s", "seconds",
    )  # fmt: skip

    @property
    def sound(self) -> bool:
        """Nothing was lost and nothing was altered."""
        return not self.lost and not self.altered

    @property
    def numbers(self) -> dict[str, float]:
        """The figures by their headings."""
        numbers = (
            self.confirmed,
            self.rate,
            self.delivered,
            self.lost,
            self.twice,
            self.redelivered,
            self.republished,
            self.out_of_order,
            self.altered.total(),
            self.returned,
            self.longest_gap,
            self.seconds,
        )
        return dict(zip(self.HEADINGS, numbers, strict=True))

    @property
    def figures(self) -> tuple[str, ...]:
        """The figures under `HEADINGS`, as text."""
        return written(self.numbers)

    def __str__(self) -> str:
        pairs = zip(self.HEADINGS, self.figures, strict=True)
        line = " · ".join(f"{figure} {heading}" for heading, figure in pairs)
        details = {**{f"altered {key}": n for key, n in self.altered.items()}}
        details |= {f"added {key}": n for key, n in self.added.items()}
        return line + "".join(f" · {n:,} {key}" for key, n in details.items())

    def table(self) -> str:
        """Return one figure a line, then examples of what went wrong."""
        rows = list(zip(self.HEADINGS, self.figures, strict=True))
        rows += [(f"altered: {what}", f"{n:,}") for what, n in self.altered.items()]
        rows += [(f"added: {what}", f"{n:,}") for what, n in self.added.items()]
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:<{width}}  {figure:>12}" for name, figure in rows]
        lines += [f"{what}: {one}" for what, result in self.examples.items() for one in result]
        return "\n".join(lines)


def written(numbers: Mapping[str, float]) -> tuple[str, ...]:
    """Return figures as text, by their headings: whole numbers but for rates and seconds."""
    formats = {"messages/s": ",.0f", "longest gap, s": ".2f", "seconds": ".1f"}
    return tuple(format(number, formats.get(name, ",")) for name, number in numbers.items())


def compare(folder: Path, queues: Sequence[str], publications: Sequence[Publication]) -> Report:
    """Compare all ledgers of a folder; ``queues`` are the names behind the consumers' indexes."""
    starts = [float(path.read_text()) for path in folder.glob("started-*")]
    start = min(starts, default=0.0)
    confirmed: dict[tuple[int, int], bytes] = {}
    attempts: Counter[int] = Counter()
    again: set[tuple[int, int]] = set()
    confirm_times: list[float] = []
    for record in read(sorted(folder.glob("published-*.bin"))):
        identity = record.publisher, record.sequence
        attempts[record.what] += 1
        if record.what == Outcome.CONFIRMED:
            confirmed[identity] = record.digest
            confirm_times.append(record.seconds)
        else:
            again.add(identity)

    index = {name: number for number, name in enumerate(queues)}
    wanted = [[index[name] for name in publication.queues] for publication in publications]
    share = len(publications)
    seen: set[tuple[int, int, int]] = set()
    highest: dict[tuple[int, int, int], int] = {}
    times: dict[int, list[float]] = {number: [] for number in index.values()}
    marks: Counter[int] = Counter()
    tally: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}

    def note(defect: str, queue: int, identity: tuple[int, int], more: str = "") -> None:
        tally[defect] += 1
        result = examples.setdefault(defect, [])
        if len(result) < SHOWN:
            result.append(f"{identity[0]}-{identity[1]} at {queues[queue]}{more}")

    unexplained = 0
    for record in read(sorted(folder.glob("delivered-*.bin"))):
        identity = record.publisher, record.sequence
        times[record.queue].append(record.seconds)
        for mark in Mark:
            marks[mark] += bool(record.what & mark)
        if (
            not record.what & Mark.ALTERED
            and confirmed.get(identity, record.digest) != record.digest
        ):
            unexplained += 1
        if (record.queue, *identity) in seen:
            if record.what & Mark.REDELIVERED:
                tally["redelivered"] += 1
            elif identity in again:
                tally["republished"] += 1
            else:
                note("twice", record.queue, identity, f", {record.seconds - start:.3f} s")
            continue
        seen.add((record.queue, *identity))
        if identity in again or record.what & Mark.REDELIVERED:
            continue
        line = record.consumer, record.publisher, priority(record.sequence, share)
        if record.sequence < highest.get(line, -1):
            note("out of order", record.queue, identity, f", behind {highest[line]}")
        else:
            highest[line] = record.sequence

    for publisher, sequence in confirmed:
        turn = sequence % share
        arrived = [one for one in wanted[turn] if (one, publisher, sequence) in seen]
        if not publications[turn].any_of:
            for queue in set(wanted[turn]).difference(arrived):
                note("lost", queue, (publisher, sequence))
        elif not arrived:
            note("lost", wanted[turn][0], (publisher, sequence))
        for queue in arrived[1:] if publications[turn].any_of else ():
            note("twice", queue, (publisher, sequence), " as well")

    altered, added = Counter[str](), Counter[str]()
    for path in sorted(folder.glob("details-*.jsonl")):
        for line in path.read_text().splitlines():
            detail: dict[str, Any] = json.loads(line)
            added.update(detail.get("added", {}))
            for what, values in detail.get("altered", {}).items():
                altered[what] += 1
                answer = examples.setdefault("altered", [])
                if len(answer) < SHOWN:
                    answer.append(f"{detail['message']}: {what}: {values[0]} became {values[1]}")
    if unexplained:
        altered["digest"] = unexplained

    last_confirm = max(confirm_times, default=start)
    arrivals = [max(result) for result in times.values() if result]
    return Report(
        seconds=max([last_confirm, *arrivals]) - start,
        rate=len(confirmed) / (last_confirm - start) if last_confirm > start else 0.0,
        confirmed=len(confirmed),
        delivered=len(seen),
        lost=tally["lost"],
        twice=tally["twice"],
        redelivered=tally["redelivered"],
        republished=tally["republished"],
        out_of_order=tally["out of order"],
        altered=altered,
        added=added,
        rerouted=marks[Mark.REROUTED],
        returned=attempts[Outcome.RETURNED],
        nacked=attempts[Outcome.NACKED],
        unconfirmed=attempts[Outcome.UNCONFIRMED],
        longest_gap=max((longest(result, start) for result in times.values()), default=0.0),
        longest_stall=longest(confirm_times, start),
        by_queue={queues[one]: n for one, n in Counter(one[0] for one in seen).items()},
        examples=examples,
    )


def gaps(folder: Path, spans: Sequence[tuple[float, float]]) -> list[float]:
    """Return for each span of time, from and to in seconds, its longest gap at any one queue."""
    times: dict[int, list[float]] = {}
    for record in read(sorted(folder.glob("delivered-*.bin"))):
        times.setdefault(record.queue, []).append(record.seconds)

    def gap(queue: Sequence[float], begin: float, end: float) -> float:
        return longest([*(at for at in queue if begin <= at < end), end], begin)

    return [max(gap(queue, *span) for queue in times.values()) for span in spans]


def longest(times: list[float], start: float) -> float:
    """Return the longest time, in seconds, between two of ``start`` and the given times."""
    ordered = sorted([start, *times])
    return max((b - a for a, b in pairwise(ordered)), default=0.0)
