"""
A review as JSON, for other programs.
"""

from __future__ import annotations

from typing import Any

from rabbit_topology.config.words import without_secrets
from rabbit_topology.review.comment import marker
from rabbit_topology.review.configs import VhostChange
from rabbit_topology.review.queues import Row
from rabbit_topology.review.statements import Says, Statement
from rabbit_topology.review.verdict import Review, lost
from rabbit_topology.routing import as_json as routes

_Json = dict[str, Any]


def write(review: Review) -> _Json:
    """Return ``{stack, outcome, verdict, marker, lost, queues, vhosts, said, steps, counts}``."""
    loss = lost(review.statements) if review.saying(Says.DISCARDED) else None
    document = {
        "stack": review.stack,
        "outcome": review.outcome.value,
        "verdict": review.verdict,
        "marker": marker(review.stack),
        "lost": loss and {"messages": loss.messages, "exact": loss.exact},
        "queues": [_queue(row) for row in review.queues],
        "vhosts": None if review.vhosts is None else [_vhost(one) for one in review.vhosts],
        "said": [_statement(one) for one in review.statements],
        "steps": [
            {"op": step.op, "kind": step.kind, "vhost": step.vhost, "name": step.name}
            for step in review.preview.steps
        ],
        "counts": dict(review.preview.counts),
    }
    known: _Json = without_secrets(document)
    return known


def _queue(row: Row) -> _Json:
    held = row.held
    return {
        "queue": row.name,
        "vhost": row.vhost or None,
        "fate": row.fate.name.lower(),
        "what": row.what,
        "messages": held.messages if held else None,
        "consumers": held.consumers if held else None,
        "now": row.now,
        "kept": row.kept,
    }


def _vhost(one: VhostChange) -> _Json:
    return {
        "vhost": one.vhost,
        "new": one.new,
        "gone": one.gone,
        "dropped": one.dropped,
        "routes": routes.changes(one.routes),
        "widened": [
            {
                "user": wider.user,
                "right": wider.right,
                "before": wider.before or None,
                "now": wider.now,
                "gains": list(wider.gains),
                "certain": wider.certain,
            }
            for wider in one.widened
        ],
        "picture": one.picture or None,
        "left_out": one.left_out or None,
    }


def _statement(one: Statement) -> _Json:
    return {
        "says": one.says.value,
        "severity": one.note.severity,
        "text": one.note.text,
        "objects": [
            {"kind": told.kind, "name": told.name, "reason": told.reason or None}
            for told in one.objects
        ],
    }
