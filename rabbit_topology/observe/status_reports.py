"""
A broker's state as tables that fit a terminal, and as JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from rabbit_topology.config.words import printable, show
from rabbit_topology.findings import Severity
from rabbit_topology.observe.notices import elapsed
from rabbit_topology.observe.status import (
    ExchangeStatus,
    QueueStatus,
    Seen,
    ServiceStatus,
    Status,
)

SHOWN = 40
"""So many rows of a table are shown, those with most to tell; --all shows all."""

_NAME, _LEAST_NAME = 40, 10
"""Characters of a name, where there is little room, and where there is hardly any."""

_BETWEEN = 2
"""Spaces between columns."""

_STYLES = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "none"}

_Row = TypeVar("_Row")


@dataclass(frozen=True, kw_only=True)
class _Column(Generic[_Row]):
    """One column of a table."""

    title: str
    cell: Callable[[_Row], str]
    number: bool = False
    spare: int = 0
    """Where there is no room it goes; the highest first, 0 never."""
    least: int = 0
    """Where there is no room it is cut to so many characters, before another one goes; 0: never."""
    optional: bool = False
    """It is left out where every cell says the same as an empty one."""


def _number(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"


def _some(count: int | None) -> str:
    return f"{count:,}" if count else ""


def _rate(rate: float) -> str:
    if not rate:
        return ""
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:,.1f}/s"


def _policies(one: QueueStatus) -> str:
    operator = f"{one.operator_policy} (operator)" if one.operator_policy else ""
    return ", ".join(name for name in (operator, one.policy) if name)


def _settings(one: QueueStatus) -> str:
    return ", ".join(f"{key} {_value(value)}" for key, value in one.settings.items())


def _value(value: object) -> str:
    return value if isinstance(value, str) else show(value)


def _queue_columns(seen: Seen) -> list[_Column[QueueStatus]]:
    def name(one: QueueStatus) -> str:
        return one.name if len(seen.vhosts) == 1 else f"{one.vhost} {one.name}"

    def consumers(one: QueueStatus) -> str:
        if one.consumers == 0 and one.idle_since is not None:
            return f"0 for {elapsed((seen.time - one.idle_since).total_seconds())}"
        return _number(one.consumers)

    def state(one: QueueStatus) -> str:
        return "" if one.state in ("running", "idle") else one.state

    return [
        _Column(title="queue", cell=name, least=_NAME),
        _Column(title="type", cell=lambda one: one.type, spare=1),
        _Column(title="state", cell=state, optional=True),
        _Column(title="ready", cell=lambda one: _number(one.ready), number=True),
        _Column(title="held", cell=lambda one: _number(one.held), number=True),
        _Column(title="delayed", cell=lambda one: _some(one.delayed), number=True, optional=True),
        _Column(
            title="dead-lettering",
            cell=lambda one: _some(one.dead_lettering),
            number=True,
            optional=True,
        ),
        _Column(title="consumers", cell=consumers, number=True),
        _Column(title="in", cell=lambda one: _rate(one.incoming), number=True, spare=2),
        _Column(title="out", cell=lambda one: _rate(one.outgoing), number=True, spare=2),
        _Column(title="policy", cell=_policies, spare=4, least=20, optional=True),
        _Column(title="settings", cell=_settings, spare=5, least=24, optional=True),
        _Column(title="leader", cell=lambda one: one.leader or "", spare=3, optional=True),
    ]


def _exchange_columns(seen: Seen) -> list[_Column[ExchangeStatus]]:
    def name(one: ExchangeStatus) -> str:
        own = one.name or "(default)"
        return own if len(seen.vhosts) == 1 else f"{one.vhost} {own}"

    return [
        _Column(title="exchange", cell=name, least=_NAME),
        _Column(title="type", cell=lambda one: one.type, spare=1),
        _Column(title="in", cell=lambda one: _rate(one.incoming), number=True),
        _Column(title="out", cell=lambda one: _rate(one.outgoing), number=True),
        _Column(title="unroutable", cell=lambda one: _some(one.unroutable), number=True),
        _Column(title="otherwise to", cell=lambda one: one.alternate or "", spare=3, optional=True),
        _Column(title="policy", cell=lambda one: one.policy or "", spare=4, optional=True),
    ]


_SERVICE_COLUMNS: list[_Column[ServiceStatus]] = [
    _Column(title="service", cell=lambda one: one.name, least=_NAME),
    _Column(title="user", cell=lambda one: one.user, spare=2),
    _Column(title="connections", cell=lambda one: _number(one.connections), number=True),
    _Column(title="channels", cell=lambda one: _number(one.channels), number=True, spare=1),
    _Column(title="blocked", cell=lambda one: _some(one.blocked), number=True, optional=True),
    _Column(title="from", cell=lambda one: ", ".join(one.hosts), spare=3, least=20),
]


def text(status: Status, console: Console, *, every: bool = False) -> RenderableType:
    """Return what a terminal shows: what to look at, then all there is, in tables that fit it.

    Args:
        status: The broker's.
        console: Where it is shown.
        every: All rows, and not only those with most to tell.
    """
    seen = status.seen
    head = f"{seen.cluster or seen.endpoint}, RabbitMQ {seen.version}, {seen.time:%H:%M:%S} UTC"
    parts: list[RenderableType] = [Text(head, style="bold")]
    parts += (Text(f"{one.severity}: {one}", style=_STYLES[one.severity]) for one in status.notices)
    if not status.notices:
        parts.append(Text("nothing to look at", style="green"))
    told = {one.object.partition(" ")[2] for one in status.notices}
    queues = sorted(seen.queues, key=lambda one: (one.name not in told, -_weight(one)))
    exchanges = sorted(
        (one for one in seen.exchanges if not _is_idle(one)), key=lambda one: -one.incoming
    )
    parts += _table(_queue_columns(seen), queues, console, every=every)
    parts += _table(_exchange_columns(seen), exchanges, console, every=every)
    parts += _table(_SERVICE_COLUMNS, seen.services, console, every=every)
    parts += (
        Text(
            f"vhost {one.name}: connections {one.connections:,}; unroutable: "
            f"{one.dropped:,} lost, {one.returned:,} returned"
        )
        for one in seen.vhosts
        if one.there
    )
    return Group(*parts)


def as_json(status: Status) -> dict[str, Any]:
    """Return all that there is, times in ISO 8601."""
    seen = asdict(status.seen)
    del seen["bindings"]
    return {
        "well": status.well,
        "notices": [
            {
                "severity": one.severity,
                "vhost": one.vhost,
                "object": one.object,
                "message": one.message,
            }
            for one in status.notices
        ],
        **_plain(seen),
    }


def _plain(value: Any) -> Any:
    match value:
        case Mapping():
            return {key: _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
    return value.isoformat() if hasattr(value, "isoformat") else value


def _weight(one: QueueStatus) -> float:
    return (one.ready or 0) + (one.held or 0) + one.delayed + one.incoming


def _is_idle(one: ExchangeStatus) -> bool:
    """Return whether it is the broker's own, and nobody uses it."""
    return (not one.name or one.name.startswith("amq.")) and not one.incoming


def _table(
    columns: Sequence[_Column[_Row]],
    rows: Sequence[_Row],
    console: Console,
    *,
    every: bool,
) -> Iterator[RenderableType]:
    if not rows:
        return
    shown = rows if every else rows[:SHOWN]
    kept = [one for one in columns if not one.optional or any(one.cell(row) for row in shown)]
    cells = {id(one): [printable(one.cell(row)) for row in shown] for one in kept}
    while True:
        widths = _widths(kept, cells, console.width)
        spare = max((one.spare for one in kept), default=0)
        if widths is not None or not spare:
            break
        kept = [one for one in kept if one.spare != spare]
    yield ""
    yield _rendered(kept, cells, widths or _narrow(kept, cells, console.width))
    if len(shown) < len(rows):
        yield Text(f"and {len(rows) - len(shown):,} more: --all")


def _widths(
    columns: Sequence[_Column[_Row]], cells: Mapping[int, list[str]], room: int
) -> list[int] | None:
    """Return how wide each column is, cut where it can be; None if there is no room for them."""
    widths = [max(map(cell_len, [one.title, *cells[id(one)]]), default=0) for one in columns]
    beyond = sum(widths) + _BETWEEN * (len(columns) - 1) - room
    for at in sorted(range(len(columns)), key=lambda at: -columns[at].spare):
        least = columns[at].least
        if beyond > 0 and least and widths[at] > least:
            cut = min(beyond, widths[at] - least)
            widths[at] -= cut
            beyond -= cut
    return None if beyond > 0 else widths


def _narrow(
    columns: Sequence[_Column[_Row]], cells: Mapping[int, list[str]], room: int
) -> list[int]:
    """Return widths where there is hardly any room: the name, which is first, is cut."""
    name, *others = (max(map(cell_len, [one.title, *cells[id(one)]]), default=0) for one in columns)
    left = room - sum(others) - _BETWEEN * len(others)
    return [max(_LEAST_NAME, min(name, left)), *others]


def _rendered(
    columns: Sequence[_Column[_Row]], cells: Mapping[int, list[str]], widths: Sequence[int]
) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, width in zip(columns, widths, strict=True):
        table.add_column(
            column.title,
            justify="right" if column.number else "left",
            width=width,
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in zip(*(cells[id(one)] for one in columns), strict=True):
        # Text, since names may have brackets, which rich would take for a style.
        table.add_row(*map(Text, row))
    return table
