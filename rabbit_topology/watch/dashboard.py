"""
A Grafana dashboard for the queues of a stack: a row for each service and for each kind of queue.

Source: "Dashboard JSON model", Grafana documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from rabbit_topology.watch import metrics, promql
from rabbit_topology.watch.queues import Purpose, Watched

SCHEMA_VERSION = 42
"""Grafana's from version 12.1 on; newer ones bring it up to theirs, older ones read it as well."""

_WIDTH = 24
_HEIGHT = 8
_DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}

_ROWS = {
    Purpose.PARKED: ("Parking lots", "What was tried in vain and waits for somebody to look at it"),
    Purpose.DEAD: ("Dead letters", "What other queues dead-letter"),
    Purpose.UNROUTABLE: ("Unroutable messages", "What no binding took"),
    Purpose.WAITING: ("Retries and delays", "Messages that go on by themselves after a time"),
    Purpose.WORK: ("Queues", "All that consumers take from"),
    Purpose.STREAM: ("Streams", "Messages that they keep"),
}
"""By what queues are for: the title of their row, and what it shows."""


@dataclass(frozen=True, kw_only=True)
class ServiceView:
    """A service, and the queues that it has to do with."""

    vhost: str
    name: str
    consumes: tuple[str, ...]
    reaches: tuple[str, ...]
    """Those that its messages can get into."""


@dataclass(frozen=True, kw_only=True)
class _Panel:
    """A panel before it has a place."""

    type: str
    title: str
    description: str
    expressions: Sequence[str]
    legend: str = "{{queue}}"
    unit: str = "short"
    steps: Sequence[Mapping[str, Any]] = ({"color": "green", "value": None},)
    """Thresholds of its colour."""
    size: tuple[int, int] = (8, _HEIGHT)


@dataclass(kw_only=True)
class _Page:
    """Panels, set out from left to right and from the top down."""

    panels: list[dict[str, Any]] = field(default_factory=list)
    top: int = 0

    def row(self, title: str, panels: Iterable[_Panel]) -> None:
        """Add a row, if there is anything in it."""
        shown = list(panels)
        if not shown:
            return
        self._add({"type": "row", "title": title, "collapsed": False, "panels": []}, 0, _WIDTH, 1)
        self.top += 1
        left, height = 0, 0
        for panel in shown:
            width, tall = panel.size
            if left + width > _WIDTH:
                left, self.top, height = 0, self.top + height, 0
            self._add(_as_json(panel), left, width, tall)
            left, height = left + width, max(height, tall)
        self.top += height

    def _add(self, panel: dict[str, Any], left: int, width: int, height: int) -> None:
        place = {"x": left, "y": self.top, "w": width, "h": height}
        self.panels.append({"id": len(self.panels) + 1, "gridPos": place, **panel})


def document(
    stack: str, job: str, watched: Sequence[Watched], services: Sequence[ServiceView]
) -> dict[str, Any]:
    """Return the dashboard as Grafana imports it."""
    page, writer = _Page(), _Writer(job, watched)
    page.row("At a glance", writer.glance())
    for service in services:
        where = f" of vhost {service.vhost}" if writer.several else ""
        page.row(f"Service {service.name}{where}", writer.service(service))
    for purpose, (title, shown) in _ROWS.items():
        page.row(title, writer.purpose(purpose, shown))
    page.row("Limits", writer.limits())
    return {
        "uid": f"rabbit-topology-{sha256(stack.encode()).hexdigest()[:12]}",
        "title": f"RabbitMQ: {stack}",
        "tags": ["rabbitmq", "rabbit-topology"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_DATA_SOURCES]},
        "annotations": {"list": []},
        "links": [],
        "panels": page.panels,
    }


_DATA_SOURCES = {
    "name": "datasource",
    "label": "Data source",
    "type": "datasource",
    "query": "prometheus",
    "current": {},
    "options": [],
    "refresh": 1,
    "regex": "",
    "hide": 0,
    "multi": False,
    "includeAll": False,
}


class _Writer:
    """Writes the panels of a stack."""

    def __init__(self, job: str, watched: Sequence[Watched]) -> None:
        self._job, self._watched = job, watched
        self.several = len({queue.vhost for queue in watched}) > 1
        self._legend = "{{vhost}}: {{queue}}" if self.several else "{{queue}}"

    def glance(self) -> Iterator[_Panel]:
        """Yield numbers that should be 0."""
        for purpose in (Purpose.PARKED, Purpose.DEAD, Purpose.UNROUTABLE):
            chosen = [queue for queue in self._watched if queue.purpose is purpose]
            if chosen:
                title, shown = _ROWS[purpose]
                held = " or ".join(self._series(metrics.MESSAGES, chosen))
                yield _number(title, shown, f"sum({held})")
        needing = [queue for queue in self._watched if queue.needs_consumer]
        if needing:
            series = " or ".join(self._series(metrics.CONSUMERS, needing))
            without = f"count({promql.by_queue(series)} == 0) or vector(0)"
            yield _number("Without a consumer", "Queues that a service should consume", without)

    def service(self, service: ServiceView) -> Iterator[_Panel]:
        """Yield what one service consumes, and where its messages wait."""
        if service.consumes:
            for title, shown, metric in (
                ("Ready", "Messages that wait for it", metrics.READY),
                ("In its hands", "Delivered, and not acknowledged yet", metrics.UNACKED),
                ("Consumers", "How many it has on each queue", metrics.CONSUMERS),
            ):
                yield self._lines(title, shown, metric, service.vhost, service.consumes)
        if service.reaches:
            shown = "Messages in the queues that its own can get into"
            where = service.vhost, service.reaches
            yield self._lines("Where its messages wait", shown, metrics.READY, *where)

    def purpose(self, purpose: Purpose, shown: str) -> Iterator[_Panel]:
        """Yield what all queues of a kind hold."""
        chosen = [queue for queue in self._watched if queue.purpose is purpose]
        if not chosen:
            return
        wide = (_WIDTH if purpose is not Purpose.WORK else _WIDTH // 2, _HEIGHT)
        metric = metrics.READY if purpose is Purpose.WORK else metrics.MESSAGES
        yield self._of("Messages", shown, metric, chosen, size=wide)
        if purpose is Purpose.WORK:
            yield self._of("Consumers", "Of each queue", metrics.CONSUMERS, chosen, size=wide)

    def limits(self) -> Iterator[_Panel]:
        """Yield how full the queues are that have a limit."""
        limited: dict[tuple[str, str, int], list[str]] = {}
        for queue in self._watched:
            for metric, limit in (
                (metrics.READY, queue.max_length),
                (metrics.READY_BYTES, queue.max_bytes),
            ):
                if limit:
                    limited.setdefault((queue.vhost, metric, limit), []).append(queue.name)
        if limited:
            yield _Panel(
                type="timeseries",
                title="How full",
                description="Ready messages, or their bytes, as a part of what a queue may hold",
                expressions=[
                    f"{promql.by_queue(promql.selector(metric, self._job, vhost, names))} / {limit}"
                    for (vhost, metric, limit), names in limited.items()
                ],
                legend=self._legend,
                unit="percentunit",
                size=(_WIDTH, _HEIGHT),
            )

    def _lines(
        self, title: str, shown: str, metric: str, vhost: str, queues: Sequence[str]
    ) -> _Panel:
        expression = promql.by_queue(promql.selector(metric, self._job, vhost, queues))
        return _Panel(type="timeseries", title=title, description=shown, expressions=[expression])

    def _of(
        self, title: str, shown: str, metric: str, chosen: list[Watched], size: tuple[int, int]
    ) -> _Panel:
        return _Panel(
            type="timeseries",
            title=title,
            description=shown,
            expressions=[promql.by_queue(series) for series in self._series(metric, chosen)],
            legend=self._legend,
            size=size,
        )

    def _series(self, metric: str, chosen: Iterable[Watched]) -> list[str]:
        """Return the series of queues, one selector for each vhost."""
        by_vhost: dict[str, list[str]] = {}
        for queue in chosen:
            by_vhost.setdefault(queue.vhost, []).append(queue.name)
        return [
            promql.selector(metric, self._job, vhost, names) for vhost, names in by_vhost.items()
        ]


def _number(title: str, shown: str, expression: str) -> _Panel:
    return _Panel(
        type="stat",
        title=title,
        description=shown,
        expressions=[expression],
        legend="",
        steps=({"color": "green", "value": None}, {"color": "red", "value": 1}),
        size=(6, 4),
    )


def _as_json(panel: _Panel) -> dict[str, Any]:
    return {
        "type": panel.type,
        "title": panel.title,
        "description": panel.description,
        "datasource": _DATA_SOURCE,
        "targets": [
            {
                "refId": f"A{number}",
                "datasource": _DATA_SOURCE,
                "expr": expression,
                "legendFormat": panel.legend,
                "range": panel.type == "timeseries",
                "instant": panel.type == "stat",
            }
            for number, expression in enumerate(panel.expressions)
        ],
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": list(panel.steps)},
            },
            "overrides": [],
        },
        "options": _OPTIONS[panel.type],
    }


_OPTIONS = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "background",
        "graphMode": "none",
    },
}
