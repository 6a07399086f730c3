"""
A review reads what a real preview says: what is refused, lost, kept, or not known.

The texts are the program's, and the form is the engine's: both are met here as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from rabbit_topology.lint.reading import read
from rabbit_topology.review import comment, preview
from rabbit_topology.review.queues import Fate, Row
from rabbit_topology.review.statements import Says
from rabbit_topology.review.verdict import Outcome, Review, review
from tests.integration.test_foresight import CASES, filled_in
from tests.support.stacks import Stack, connect, fill
from toolchain.ports import free_ports

MESSAGES = 20
HELD = f"{MESSAGES} ready, 0 unacknowledged, 0 consumers"


def reviewed(stack: Stack, before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> Review:
    seen = stack.preview("--json", check=False)
    parsed = preview.parse(seen.output, "preview.json")
    assert parsed.stack == stack.name
    made = review(stack.name, parsed, read(before) if before else None, read(now))
    text = comment.write(made)
    assert text.startswith(f"### {made.verdict}\n") or made.outcome is Outcome.FAILED
    return made


def rows(made: Review) -> dict[str, Row]:
    return {row.name: row for row in made.queues}


REFUSED = {
    "quorum with messages leaves the config": ["queue q"],
    "a queue with a consumer leaves the config": ["queue q"],
    "a stream with messages is replaced": ["queue q"],
    "a queue is dead-lettered to by its name": ["queue q"],
    "an exchange is dead-lettered to": ["exchange e"],
    "an operator policy could drop what is held": ["queue q"],
    "the vhost takes no further queue": ["queue q"],
    "max-length: none -> 10 by a setting": ["queue q"],
    "a limit by an operator policy": ["queue q"],
    "settings change with the exchange that they name": ["queue b"],
    "the vhost is renamed, and somebody else has a queue in it": ["vhost {vhost}"],
    "the user may not open the vhost": [],
}
"""What is refused, as `test_foresight` has it, and what the review says it is about."""


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_preview_refuses_is_refused_in_the_review(
    one_stack: Stack, vhost: str, name: str
) -> None:
    case = CASES[name]
    before = {"vhost": vhost, **case.before}
    now = {"vhost": vhost, **filled_in(case.after, vhost=vhost)}
    one_stack.configure(before)
    one_stack.up()
    with connect(one_stack.broker, vhost) as connection:
        for queue in case.filled:
            fill(connection.channel(), queue, MESSAGES)
    with case.meanwhile(one_stack, vhost):
        for severity in ("warn", "error"):
            one_stack.configure(now, safety={"preview": severity, **case.safety})
            made = reviewed(one_stack, before, now)
            said = [one.note.text for one in made.statements]
            assert made.outcome is Outcome.REFUSED, said
            about = {
                f"{one.kind} {one.name}"
                for statement in made.saying(Says.REFUSED)
                for one in statement.objects
            }
            wanted = {title.format(vhost=vhost) for title in REFUSED[name]}
            # What a preview that fails comes to say is its first refusal.
            assert (about <= wanted) if severity == "error" else (wanted <= about), said
            assert any(one.ended for one in made.statements) is (severity == "error"), said
            assert not [text for text in said if 'File "' in text]
        one_stack.configure(before)


def topology(vhost: str, **queues: Any) -> dict[str, Any]:
    return {
        "vhost": vhost,
        "exchanges": {"e": {}},
        "queues": queues,
        "bindings": [{"source": "e", "queue": name, "routing_key": name} for name in queues],
    }


def test_what_becomes_of_queues_that_a_preview_lets_through(stack: Stack, vhost: str) -> None:
    before = topology(
        vhost,
        moved={"type": "classic"},
        limited={"max_length": 1000, "on_delete": "discard"},
        lost={"on_delete": "discard"},
        spare={"on_delete": "discard"},
        empty={},
        stays={"on_delete": "retain"},
        same={},
    )
    now = topology(
        vhost,
        moved={"type": "quorum"},
        limited={"max_length": 5, "on_delete": "discard"},
        same={},
        new={"max_length": 5},
    )
    stack.configure(before)
    stack.up()
    with connect(stack.broker, vhost) as connection:
        for queue in ("moved", "limited", "lost", "stays", "same"):
            fill(connection.channel(), queue, MESSAGES)
    stack.configure(now)
    made = reviewed(stack, before, now)
    assert made.outcome is Outcome.DISCARDS, [one.note.text for one in made.statements]
    assert made.verdict == f"Discards {MESSAGES + MESSAGES - 5} messages, as on_delete says"
    by_name = rows(made)
    assert {name: row.fate for name, row in by_name.items()} == {
        "moved": Fate.REPLACED,
        "limited": Fate.DISCARDED,
        "lost": Fate.DISCARDED,
        "spare": Fate.DELETED,
        "empty": Fate.DELETED,
        "stays": Fate.STAYS,
        "new": Fate.NEW,
    }
    assert by_name["moved"].now == by_name["lost"].now == HELD
    assert {row.vhost for name, row in by_name.items() if name != "limited"} == {vhost}
    assert made.vhosts is not None
    assert made.vhosts[0].dropped == 4  # what lost, spare, empty and stays got


def test_without_a_change_nothing_changes(one_stack: Stack, vhost: str) -> None:
    config = topology(vhost, q={})
    one_stack.configure(config)
    one_stack.up()
    made = reviewed(one_stack, config, config)
    assert (made.outcome, made.verdict) == (Outcome.LOSES_NOTHING, "Changes nothing")
    assert made.queues == []


def test_a_broker_that_cannot_be_asked_is_not_known(one_stack: Stack, vhost: str) -> None:
    (port,) = free_ports(1)
    config = topology(vhost, q={})
    one_stack.configure(config, endpoint=f"http://127.0.0.1:{port}")
    made = reviewed(one_stack, None, config)
    assert made.outcome is Outcome.NOT_KNOWN, [one.note.text for one in made.statements]


def test_a_config_that_is_wrong_fails(one_stack: Stack, vhost: str) -> None:
    one_stack.configure({**topology(vhost, q={"type": "quorun"})})
    seen = preview.parse(one_stack.preview("--json", check=False).output, "preview.json")
    made = review(one_stack.name, seen, None, read(topology(vhost, q={})))
    assert made.outcome is Outcome.FAILED
    assert "1 problem in the config" in made.verdict
