"""
Answers as JSON, for other programs: mappings and lists with plain values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rabbit_topology.config.words import without_secrets
from rabbit_topology.routing.changes import Changes
from rabbit_topology.routing.expectations import Failure
from rabbit_topology.routing.keys import Part
from rabbit_topology.routing.links import Place
from rabbit_topology.routing.lives import Death, Life
from rabbit_topology.routing.messages import Case, Messages
from rabbit_topology.routing.pattern import Pattern, as_binding_key
from rabbit_topology.routing.publication import Passage, Publication
from rabbit_topology.routing.reports import PublisherReport, QueueReport
from rabbit_topology.routing.steps import Step
from rabbit_topology.routing.trace import Hop

_Json = dict[str, Any]


def trace(publication: Publication) -> _Json:
    """Return what becomes of a message: where it goes, over links too, and what follows.

    ``{exchange, routing_keys, headers, reaches, may_reach, beyond, dropped, hops, links, then}``.
    """
    message, routed = publication.message, publication.routed
    return {
        "exchange": message.exchange,
        "routing_keys": list(message.routing_keys),
        "headers": dict(message.headers),
        "expiration": message.expiration,
        "reaches": sorted(routed.reaches),
        "may_reach": sorted(routed.may_reach - routed.reaches),
        "beyond": {name: publication.beyond[name] for name in sorted(publication.beyond)},
        "dropped": routed.dropped,
        "links": [_passage(passage) for passage in publication.passages],
        "hops": _hop(routed.root),
        "then": {
            name: {reason.value: _life(life) for reason, life in outcomes.items()}
            for name, outcomes in publication.later.items()
        },
    }


def _passage(passage: Passage) -> _Json:
    link = passage.link
    return {
        "link": link.title,
        "path": link.path,
        "from": _place(link.source),
        "queue": passage.queue,
        "to": _place(link.target),
        "at": passage.at,
        "certain": passage.certain,
        "copies": link.copies,
        "doubt": link.doubt or None,
        "unknown": link.unknown or None,
        "end": passage.end.value if passage.end is not None else None,
        "onward": trace(passage.onward) if passage.onward is not None else None,
    }


def _place(place: Place | None) -> _Json | None:
    if place is None:
        return None
    return {"vhost": place.vhost, "kind": place.kind, "name": place.name}


def queue(report: QueueReport) -> _Json:
    """Return ``{queue, exchanges, dead_letters, links, publishers}``."""
    return {
        "queue": report.queue,
        "exchanges": [
            {
                "exchange": name,
                "certain": leading.certain,
                "messages": messages(leading.messages),
                "bindings": [_step(step) for step in leading.steps],
            }
            for name, leading in report.exchanges.items()
        ],
        "dead_letters": [
            {"queue": name, "exchange": exchange, "routing_key": routing_key}
            for name, exchange, routing_key in report.dead_letters
        ],
        "links": [
            {
                "link": brought.link.title,
                "path": brought.link.path,
                "from": _place(brought.link.source),
                "doubt": brought.link.doubt or None,
                "unknown": brought.link.unknown or None,
                "exchanges": [
                    {
                        "exchange": name,
                        "certain": leading.certain,
                        "messages": messages(leading.messages),
                    }
                    for name, leading in brought.exchanges.items()
                ],
                "dead_letters": list(brought.dead_letters),
            }
            for brought in report.links
        ],
        "publishers": [
            {
                "name": who.name,
                "vhost": who.vhost,
                "kind": who.kind,
                "path": who.path,
                "examples": dict(examples),
            }
            for who, examples in report.publishers
        ],
    }


def publisher(report: PublisherReport) -> _Json:
    """Return ``{name, kind, path, exchanges, inexact, queues, beyond, later}``."""
    return {
        "name": report.publisher.name,
        "kind": report.publisher.kind,
        "path": report.publisher.path,
        "exchanges": {
            name: [str(part) for part in allowed.parts]
            for name, allowed in report.publisher.exchanges.items()
        },
        "inexact": sorted(report.publisher.inexact),
        "queues": [
            {"queue": name, "examples": dict(examples)} for name, examples in report.queues.items()
        ],
        "beyond": [
            {"queue": name, "examples": dict(examples)} for name, examples in report.beyond.items()
        ],
        "later": list(report.later),
    }


def changes(compared: Changes) -> _Json:
    """Return what is different, by its kind."""
    return {
        "changes": [
            {
                "exchange": change.exchange,
                "through": list(change.through),
                "queue": change.queue,
                "gained": change.gained,
                "messages": messages(change.messages),
                "example": {"routing_key": change.routing_key, "headers": dict(change.headers)},
                "before" if change.gained else "now": list(change.elsewhere),
            }
            for change in compared.changes
        ],
        "unreachable": list(compared.unreachable),
        "redundant": [_step(step) for step in compared.redundant],
        "further": [
            {
                "publisher": further.publisher.name,
                "kind": further.publisher.kind,
                "queue": further.queue,
                "new": further.new,
                "example": {
                    "exchange": further.exchange,
                    "routing_key": further.routing_key,
                    "headers": dict(further.headers),
                },
            }
            for further in compared.further
        ],
        "settings": [
            {
                "queue": setting.queue,
                "setting": setting.key,
                "before": setting.before,
                "now": setting.now,
            }
            for setting in compared.settings
        ],
        "links": [
            {"link": change.link, "before": change.before, "now": change.now}
            for change in compared.links
        ],
        "gone": list(compared.gone),
        "undecided": list(compared.undecided),
    }


def failures(failed: Sequence[Failure]) -> list[_Json]:
    """Return expectations that do not hold, each with the trace of a message that shows it."""
    return [
        {
            "path": failure.problem.path,
            "value": failure.problem.value,
            "message": failure.problem.rule,
            "fix": failure.problem.fix,
            "trace": trace(failure.publication) if failure.publication else None,
        }
        for failure in failed
    ]


def messages(leading: Messages) -> list[_Json]:
    """Return classes of messages: ``[{pattern, without, headers, example}]``."""
    return [_case(case) for case in leading.cases]


def _case(case: Case) -> _Json:
    example = case.example()
    return {
        "pattern": as_binding_key(case.part.pattern),
        "without": [as_binding_key(pattern) for pattern in _without(case.part)],
        "headers": str(case.box),
        "example": example and {"routing_key": example[0], "headers": example[1]},
    }


def _without(part: Part) -> Sequence[Pattern]:
    return part.without.all


def _hop(hop: Hop) -> _Json:
    return {
        "kind": hop.kind,
        "name": hop.name,
        "type": hop.type,
        "by": _step(hop.step) if hop.step else None,
        "certain": hop.certain,
        "seen": hop.seen,
        "after": hop.after,
        "stopped": hop.stopped or None,
        "notes": list(hop.notes),
        "hops": [_hop(inner) for inner in hop.hops],
    }


def _step(step: Step) -> _Json:
    return {
        "way": step.way.value,
        "source": step.source,
        "kind": step.kind,
        "destination": step.destination,
        "routing_key": step.routing_key,
        "arguments": without_secrets(step.arguments),
        "path": step.path,
    }


def _life(life: Life) -> _Json:
    return {
        "queue": life.queue,
        "at": life.at,
        "death": _death(life.death) if life.death else None,
        "end": life.end.value if life.end else None,
    }


def _death(death: Death) -> _Json:
    return {
        "reason": death.reason.value,
        "at": death.at,
        "count": death.count,
        "exchange": death.exchange,
        "routing_keys": list(death.routing_keys),
        "path": death.path,
        "cycles": list(death.cycles),
        "end": death.end.value if death.end else None,
        "then": [_life(life) for life in death.then],
    }
