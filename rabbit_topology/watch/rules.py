"""
Prometheus' alerting rules for the queues of a stack.

Queues that differ in nothing that an alert says share a rule. Names of the config stand in labels
and texts, which Prometheus reads as templates: braces in them are written so that they stay.
Source: "Alerting rules", "Template reference", Prometheus documentation.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from rabbit_topology.model import Overflow
from rabbit_topology.model.units import duration_text
from rabbit_topology.routing.purposes import NEARLY_FULL
from rabbit_topology.watch import metrics, promql
from rabbit_topology.watch.queues import Purpose, Watched

_SOON, _LATER = 60_000, 300_000
"""So long it has to be so, in milliseconds: what is a fact, and what a restart may cause."""
_GROWING = 900_000
"""Dead letters are compared with those so long ago."""
_STANDING = 300_000
"""In such a window something has to leave a queue where messages wait for a time."""

_PROGRAM = "python -m rabbit_topology"
_QUEUE = "{{ $labels.queue }}"
_COUNT = '{{ printf "%.0f" $value }}'


class Severity(StrEnum):
    """How soon somebody should look."""

    CRITICAL = "critical"
    """Now: messages are lost, or nobody takes them."""
    WARNING = "warning"
    """Today."""


class Alert(StrEnum):
    """What may be wrong."""

    MISSING = "RabbitMQMetricsMissing"
    PARKED = "RabbitMQParkingLotNotEmpty"
    GROWING = "RabbitMQDeadLettersGrowing"
    NO_CONSUMER = "RabbitMQNoConsumer"
    OVERDUE = "RabbitMQRetryOverdue"
    UNROUTABLE = "RabbitMQUnroutableMessages"
    FULL = "RabbitMQQueueNearlyFull"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One alerting rule."""

    alert: Alert
    vhost: str
    services: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    """Those that it is about; none: all of the vhost."""
    expression: str
    pending: int
    """Milliseconds for which it has to be so."""
    severity: Severity = Severity.WARNING
    further: Mapping[str, str] = field(default_factory=dict)
    """Further labels, where queues of the same services have different rules of a kind."""
    summary: str
    """A template."""
    runbook: str
    """A template: what to do."""

    def as_yaml(self, stack: str) -> dict[str, Any]:
        """Return it as Prometheus reads it; `vhost` and `queue` come from the series."""
        labels = {"severity": self.severity.value, "stack": literal(stack)}
        if self.services:
            labels["service"] = literal(", ".join(self.services))
        labels |= self.further
        return {
            "alert": self.alert.value,
            "expr": self.expression,
            "for": promql.duration(self.pending),
            "labels": labels,
            "annotations": {"summary": self.summary, "runbook": self.runbook},
        }


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the config is, and how its metrics are told apart."""

    stack: str
    job: str
    choice: tuple[str, ...]
    """The options by which commands are told the config: `--stack`, and its name."""

    def status(self, vhost: str) -> str:
        """Return the command that says what a vhost does now."""
        return f"{_PROGRAM} status {self._options(vhost)}"

    def replay(self, vhost: str) -> str:
        """Return the command, a template, that replays what the queue of an alert holds."""
        return f"{_PROGRAM} replay '{_QUEUE}' {literal(self._options(vhost))}"

    def _options(self, vhost: str) -> str:
        return shlex.join([*self.choice, "--vhost", vhost])


def document(source: Source, watched: Sequence[Watched]) -> dict[str, Any]:
    """Return a file of rules: a group for each vhost."""
    vhosts = dict.fromkeys(queue.vhost for queue in watched)
    return {
        "groups": [
            {
                "name": f"rabbit-topology {source.stack} {vhost}",
                "rules": [
                    rule.as_yaml(source.stack)
                    for rule in rules(source, [one for one in watched if one.vhost == vhost])
                ],
            }
            for vhost in vhosts
        ]
    }


def rules(source: Source, watched: Sequence[Watched]) -> list[Rule]:
    """Return the rules for the queues of one vhost."""
    if not watched:
        return []
    writer = _Writer(source, watched)
    return [
        writer.missing(),
        *writer.no_consumer(),
        *writer.parked(),
        *writer.growing(),
        *writer.overdue(),
        *writer.unroutable(),
        *writer.nearly_full(),
    ]


def literal(text: str) -> str:
    """Return a template that comes to a text, whatever is in it."""
    return re.sub(r"\{", '{{ "{" }}', text)


class _Writer:
    """Writes the rules of one vhost."""

    def __init__(self, source: Source, watched: Sequence[Watched]) -> None:
        self._source, self._watched = source, watched
        self._vhost = watched[0].vhost
        self._where = f"of vhost {literal(self._vhost)}"
        self._look = f"See with: {literal(source.status(self._vhost))}"

    def missing(self) -> Rule:
        """Notice that there are no metrics: all other rules are silent then."""
        series = promql.selector(metrics.MESSAGES, self._source.job, self._vhost)
        return Rule(
            alert=Alert.MISSING,
            vhost=self._vhost,
            expression=f"absent({series})",
            pending=_LATER,
            severity=Severity.CRITICAL,
            summary=f"there are no metrics of the queues {self._where}",
            runbook=(
                "Nothing else is noticed while this lasts. See that the nodes run, that the plugin "
                "rabbitmq_prometheus is enabled, and that Prometheus reaches each of them under "
                f"{metrics.PATH}, in the job {literal(self._source.job)}. {self._look}"
            ),
        )

    def no_consumer(self) -> Iterator[Rule]:
        """Leave streams out: the metrics do not have the consumers of their own protocol."""
        needing = (queue for queue in self._watched if queue.needs_consumer)
        for queues, first in _alike(needing, lambda queue: queue.consumers):
            who = literal(_listed(first.consumers))
            verb = "consumes" if len(first.consumers) == 1 else "consume"
            series = promql.by_queue(self._series(metrics.CONSUMERS, queues))
            yield self._rule(
                *(Alert.NO_CONSUMER, queues, replace(first, services=first.consumers)),
                expression=f"{series} == 0",
                pending=_LATER,
                severity=Severity.CRITICAL,
                summary=f"nobody consumes queue {_QUEUE} {self._where}, which {who} {verb}",
                runbook=(
                    f"Start {who}, or see in the log why nothing is consumed: a wrong password, no "
                    f"permission, an exception at the start. {self._look}"
                ),
            )

    def parked(self) -> Iterator[Rule]:
        """Notice what stays in a parking lot until somebody does something about it."""
        for queues, first in self._for(Purpose.PARKED):
            yield self._rule(
                *(Alert.PARKED, queues, first),
                expression=f"{promql.by_queue(self._series(metrics.MESSAGES, queues))} > 0",
                pending=_SOON,
                summary=f"parking lot {_QUEUE} {self._where} holds {_COUNT} messages",
                runbook=(
                    "These were tried as often as the config says, and rejected each time. Look at "
                    f"ten of them with: {self._source.replay(self._vhost)} --peek. Correct what "
                    "rejects them, and send them back for another round of retries with the same "
                    f"command without --peek. {self._look}"
                ),
            )

    def growing(self) -> Iterator[Rule]:
        """Notice that there are ever more dead letters: something goes wrong now."""
        for queues, first in self._for(Purpose.DEAD):
            held = promql.by_queue(self._series(metrics.MESSAGES, queues))
            before = promql.by_queue(
                f"{self._series(metrics.MESSAGES, queues)} offset {promql.duration(_GROWING)}"
            )
            yield self._rule(
                *(Alert.GROWING, queues, first),
                expression=f"{held} - {before} > 0",
                pending=_LATER,
                summary=(
                    f"queue {_QUEUE} {self._where} has {_COUNT} dead letters more than "
                    f"{duration_text(_GROWING)} ago"
                ),
                runbook=(
                    "Messages are rejected, expire, or are too many where they come from. Look at "
                    f"the x-death header of one: it names the queue and the reason. {self._look}"
                ),
            )

    def overdue(self) -> Iterator[Rule]:
        """Notice that nothing leaves a queue for longer than messages wait there."""
        waiting = (queue for queue in self._watched if queue.wait)
        for queues, first in _alike(waiting, lambda queue: (queue.services, queue.wait)):
            series = f"{self._series(metrics.MESSAGES, queues)}[{promql.duration(_STANDING)}]"
            # `resets` counts each decrease, of whatever it is asked about.
            standing = f"min_over_time({series}) > 0 unless resets({series}) > 0"
            time = duration_text(first.wait)
            yield self._rule(
                *(Alert.OVERDUE, queues, first),
                expression=promql.by_queue(standing, "max"),
                pending=first.wait + _STANDING,
                further={"wait": time},
                summary=(
                    f"messages in queue {_QUEUE} {self._where} should go on after {time}, and "
                    "nothing leaves it"
                ),
                runbook=(
                    "Where they go on to cannot take them: an exchange or a binding is gone, or a "
                    f"queue is full and refuses more. {_PROGRAM} drift "
                    f"{literal(shlex.join(self._source.choice))} says what is not as it is "
                    f"declared. {self._look}"
                ),
            )

    def unroutable(self) -> Iterator[Rule]:
        """Notice messages that no binding took: they were meant for somebody."""
        for queues, first in self._for(Purpose.UNROUTABLE):
            yield self._rule(
                *(Alert.UNROUTABLE, queues, first),
                expression=f"{promql.by_queue(self._series(metrics.MESSAGES, queues))} > 0",
                pending=_SOON,
                summary=(
                    f"queue {_QUEUE} {self._where} holds {_COUNT} messages that no binding took"
                ),
                runbook=(
                    "Who publishes them uses a routing key that nothing is bound with. Look at the "
                    "routing key of one: add the binding, or correct the key. What "
                    f"{_PROGRAM} trace says of the exchange and the key is what the broker does. "
                    f"{self._look}"
                ),
            )

    def nearly_full(self) -> Iterator[Rule]:
        """Notice that a queue drops or refuses messages soon."""
        for metric, unit, limit in (
            (metrics.READY, "messages", lambda queue: queue.max_length),
            (metrics.READY_BYTES, "bytes", lambda queue: queue.max_bytes),
        ):
            yield from self._nearly_full(metric, unit, limit)

    def _nearly_full(
        self, metric: str, unit: str, limit: Callable[[Watched], int]
    ) -> Iterator[Rule]:
        limited = (queue for queue in self._watched if limit(queue))
        for queues, first in _alike(
            limited, lambda queue: (queue.services, limit(queue), queue.overflow, queue.loses)
        ):
            held = promql.by_queue(self._series(metric, queues))
            yield self._rule(
                *(Alert.FULL, queues, first),
                expression=f"{held} >= {limit(first) * NEARLY_FULL:.12g}",
                pending=_SOON,
                severity=Severity.CRITICAL if first.loses else Severity.WARNING,
                further={
                    "limit": f"{limit(first)} {unit}",
                    "overflow": first.overflow.value,
                },
                summary=(
                    f"queue {_QUEUE} {self._where} holds {_COUNT} of {limit(first)} {unit}; "
                    f"those beyond are {_beyond(first)}"
                ),
                runbook=(
                    "Its consumers are slower than its publishers, or stand still: start more of "
                    "them, or see why. A higher limit is set in the config without a restart. "
                    f"{self._look}"
                ),
            )

    def _for(self, purpose: Purpose) -> Iterator[tuple[tuple[str, ...], Watched]]:
        chosen = (queue for queue in self._watched if queue.purpose is purpose)
        return _alike(chosen, lambda queue: queue.services)

    def _series(self, metric: str, queues: tuple[str, ...]) -> str:
        return promql.selector(metric, self._source.job, self._vhost, queues)

    def _rule(self, alert: Alert, queues: tuple[str, ...], first: Watched, **said: Any) -> Rule:
        return Rule(alert=alert, vhost=self._vhost, services=first.services, queues=queues, **said)


def _alike(
    watched: Iterable[Watched], key: Callable[[Watched], Hashable]
) -> Iterator[tuple[tuple[str, ...], Watched]]:
    """Yield queues that share a rule: their names, and one of them."""
    groups: dict[Hashable, list[Watched]] = {}
    for queue in watched:
        groups.setdefault(key(queue), []).append(queue)
    for same in groups.values():
        yield tuple(queue.name for queue in same), same[0]


def _listed(names: Sequence[str]) -> str:
    """Return names as a person lists them: ``a, b and c``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _beyond(watched: Watched) -> str:
    """Return what becomes of messages that a queue cannot hold."""
    match watched.overflow:
        case Overflow.DROP_HEAD:
            return "dead-lettered" if watched.dead_letters else "lost"
        case Overflow.REJECT_PUBLISH:
            return "refused"
        case Overflow.REJECT_PUBLISH_DLX:
            return "refused, and dead-lettered"
