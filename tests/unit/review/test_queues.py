"""
What becomes of each queue, and how that is said.
"""

from __future__ import annotations

import pytest

from rabbit_topology.review import preview, queues, statements
from rabbit_topology.review.queues import Fate
from tests.support import previews
from tests.support.previews import raised, said, step

HELD = "20 ready, 1 unacknowledged, 0 consumers"
LOST = f"would lose 21 messages in queue q ({HELD}): it is gone; `pulumi up` will refuse"
REPLACED = f"queue q is replaced (durable: True -> False); kept through it: {HELD}"
DISCARDED = f"queue q is deleted with all it holds ({HELD}): on_delete is discard"
UNREACHABLE = "whether queue topology/v/queue/q can be changed is not known: no answer"


def rows(*steps, notes=(), settings=()):
    read = preview.parse(previews.preview(*steps, notes=notes), "p")
    return queues.rows(read, statements.read(read.notes), dict(settings))


def one(*steps, **more):
    (row,) = rows(*steps, **more)
    return row


CASES = {
    "new": (step("create", "queue", "q"), [], Fate.NEW, "new", "", ""),
    "adopted": (
        step("create", "queue", "q"),
        [said("info", "adopts 3 objects, which are there as they are declared")],
        Fate.NEW,
        "new, or adopted as it is there",
        "",
        "",
    ),
    "empty": (
        step("delete", "queue", "q", hook="queue"),
        [],
        Fate.DELETED,
        "deleted: empty and unused",
        "none",
        "",
    ),
    "refused": (
        step("delete", "queue", "q", hook="queue"),
        [said("warning", LOST)],
        Fate.REFUSED,
        "refused: it is gone",
        HELD,
        "stays as it is",
    ),
    "discarded": (
        step("delete", "queue", "q", hook="discarded-queue"),
        [said("info", DISCARDED)],
        Fate.DISCARDED,
        "deleted with all it holds",
        HELD,
        "lost, as on_delete says",
    ),
    "to be discarded, and empty": (
        step("delete", "queue", "q", hook="discarded-queue"),
        [],
        Fate.DELETED,
        "deleted: empty and unused",
        "none",
        "",
    ),
    "retained": (
        step("delete", "queue", "q", hook="retained-queue"),
        [],
        Fate.STAYS,
        "left on the broker, no longer managed",
        "",
        "stays with all it holds",
    ),
    "of a component that stays": (
        step("delete", "queue", "q", hook="staying-queue"),
        [],
        Fate.STAYS,
        "left on the broker, no longer managed",
        "",
        "stays with all it holds",
    ),
    "retained for another": (
        step("delete", "queue", "q", hook="kept-queue"),
        [said("info", "queue q stays on the broker, with the queue that is to be retained")],
        Fate.STAYS,
        "left on the broker, no longer managed",
        "",
        "stays with all it holds",
    ),
    "replaced": (
        step("replace", "queue", "q", hook="queue"),
        [said("info", REPLACED)],
        Fate.REPLACED,
        "replaced: durable: True -> False",
        HELD,
        "moved aside and back; some 10 s",
    ),
    "replaced, and refused": (
        step("replace", "queue", "q", hook="queue"),
        [
            said("info", REPLACED),
            said("warning", "queue q cannot be replaced: too large; `pulumi up` will refuse"),
        ],
        Fate.REFUSED,
        "refused: queue q cannot be replaced: too large",
        HELD,
        "stays as it is",
    ),
    "nothing looks after": (
        step("delete", "queue", "q"),
        [],
        Fate.UNKNOWN,
        "would be deleted",
        "not known",
        "",
    ),
    "replaced, and nothing looks after": (
        step("replace", "queue", "q"),
        [],
        Fate.UNKNOWN,
        "would be replaced",
        "not known",
        "",
    ),
    "the broker is away": (
        step("delete", "queue", "q", hook="queue"),
        [said("warning", UNREACHABLE)],
        Fate.UNKNOWN,
        "would be deleted",
        "not known",
        "",
    ),
    "all is refused": (
        step("delete", "queue", "q", hook="queue"),
        [said("warning", "these are two brokers; `pulumi up` will refuse")],
        Fate.UNKNOWN,
        "would be deleted",
        "not known",
        "",
    ),
    "what is said is not understood": (
        step("delete", "queue", "q", hook="discarded-queue"),
        [said("info", "queue q is deleted with 5 messages")],
        Fate.UNKNOWN,
        "would be deleted",
        "not known",
        "",
    ),
    "the preview ended before": (
        step("delete", "queue", "q", hook="queue"),
        [raised("would lose 1 messages in another place; `pulumi up` will refuse")],
        Fate.UNKNOWN,
        "would be deleted",
        "not known",
        "",
    ),
    "updated": (
        step("update", "queue", "q", hook="queue"),
        [],
        Fate.CHANGED,
        "update, in place",
        "",
        "stays where it is",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_becomes_of_a_queue(name):
    made, notes, fate, what, now, kept = CASES[name]
    row = one(made, notes=notes)
    assert (row.name, row.vhost) == ("q", "v")
    assert (row.fate, row.what, row.now, row.kept) == (fate, what, now, kept)


def test_a_queue_without_a_step_is_named_all_the_same():
    text = (
        "would lose messages, `pulumi up` will refuse:\n"
        "  - queue q: max-length: none -> 10: it holds 50 messages, the oldest 40 would go"
    )
    row = one(notes=[said("warning", text)], settings={("v", "q"): ["max-length was not set"]})
    assert (row.fate, row.now) == (Fate.REFUSED, "50 messages")
    assert row.what.endswith("the oldest 40 would go")


def test_settings_that_change_in_place():
    changes = {("v", "q"): ["max-length was 5, now 6"], ("v", "r"): ["message-ttl was 1, now 2"]}
    replaced, changed = rows(
        step("replace", "queue", "q", hook="queue"),
        notes=[said("info", REPLACED)],
        settings=changes,
    )
    assert replaced.what == "replaced: durable: True -> False; max-length was 5, now 6"
    assert (changed.name, changed.fate) == ("r", Fate.CHANGED)
    assert changed.what == "changed in place: message-ttl was 1, now 2"


def test_the_worst_comes_first():
    made = rows(
        step("create", "queue", "new"),
        step("delete", "queue", "r", hook="queue"),
        step("delete", "queue", "q", hook="queue"),
        notes=[said("warning", LOST)],
    )
    assert [(row.name, row.fate) for row in made] == [
        ("q", Fate.REFUSED),
        ("r", Fate.DELETED),
        ("new", Fate.NEW),
    ]
    assert list(queues.counted(made)) == [(Fate.REFUSED, 1), (Fate.DELETED, 1), (Fate.NEW, 1)]


def test_queues_of_one_name_in_two_vhosts():
    both = [step("delete", "queue", "q", vhost, hook="queue") for vhost in ("v", "w")]
    doubted = rows(*both, notes=[said("warning", LOST)])
    assert all(row.what.endswith("the preview does not tell)") for row in doubted)
    sure = rows(*both, notes=[said("warning", LOST)] * 2)
    assert [row.what for row in sure] == ["refused: it is gone"] * 2


def test_a_new_queue_has_nothing_to_do_with_one_of_its_name_elsewhere():
    made = rows(
        step("create", "queue", "q", "w"),
        step("delete", "queue", "q", "v", hook="queue"),
        notes=[said("warning", LOST)],
    )
    assert [(row.vhost, row.fate) for row in made] == [("v", Fate.REFUSED), ("w", Fate.NEW)]


@pytest.mark.parametrize(
    ("messages", "said_"),
    [(0, "some 10 s"), (1204, "some 10 s"), (100_000, "some 50 s"), (1_000_000, "some 7 min")],
)
def test_how_long_a_replacement_takes(messages, said_):
    assert queues.seconds(messages) == said_
