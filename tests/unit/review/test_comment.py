"""
The comment: the verdict first, nothing in it that Markdown takes for anything else, and no secrets.
"""

from __future__ import annotations

import html
import json
import re

import pytest
from markdown_it import MarkdownIt  # which rich brings

from rabbit_topology.lint.reading import read
from rabbit_topology.review import as_json, comment, preview
from rabbit_topology.review.verdict import Outcome, review
from tests.support import previews
from tests.support.previews import raised, said, step

HELD = "20 ready, 1 unacknowledged, 0 consumers"
CONFIG = {"vhost": "v", "exchanges": {"e": {}}, "queues": {"q": {}}}


def lost(name="q", held=HELD):
    text = f"would lose 21 messages in queue {name} ({held}): it is gone; `pulumi up` will refuse"
    return said("warning", text)


def discarded(name, ready, consumers=0):
    held = f"{ready:,} ready, 0 unacknowledged, {consumers:,} consumers"
    return said("info", f"queue {name} is deleted with all it holds ({held}): on_delete is discard")


def limited(*lines):
    text = "".join(f"\n  - queue {line}" for line in lines)
    return said("warning", f"loses messages, as `on_delete: discard` allows:{text}")


def made(*steps, notes=(), before=None, now=None, counts=None, stack="test"):
    seen = preview.parse(previews.preview(*steps, notes=notes, counts=counts), "p")
    return review(stack, seen, read(before) if before else None, read(now or CONFIG))


def gone(name="q", hook="queue"):
    return step("delete", "queue", name, hook=hook)


VERDICTS = {
    "Loses nothing": ([step("create", "queue", "q")], [], Outcome.LOSES_NOTHING),
    "Changes nothing": ([], [], Outcome.LOSES_NOTHING),
    "Would be refused: 1 queue": ([gone()], [lost()], Outcome.REFUSED),
    "Would be refused: 2 queues": ([gone(), gone("r")], [lost(), lost("r")], Outcome.REFUSED),
    "Would be refused: 3 queues": (
        [gone()],  # two of one name, and one twice for different reasons
        [
            *(lost(), lost(), lost("r")),
            said("warning", "queue r cannot be replaced: why; `pulumi up` will refuse"),
        ],
        Outcome.REFUSED,
    ),
    "Would be refused: 1 queue, 1 exchange and 2 more": (
        [gone()],
        [
            lost(),
            said(
                "warning", "exchange e cannot be replaced without loss: x; `pulumi up` will refuse"
            ),
            *[said("warning", f"nobody knows {n}; `pulumi up` will refuse") for n in range(2)],
        ],
        Outcome.REFUSED,
    ),
    "Would be refused: 1 queue or more": (
        [gone()],
        [
            raised("would lose messages, `pulumi up` will refuse:\n  - queue q: max-length: 5"),
            said("error", "preview failed"),
        ],
        Outcome.REFUSED,
    ),
    "Would be refused": (
        [gone()],
        [said("warning", "refused, since it is so; `pulumi up` will refuse")],
        Outcome.REFUSED,
    ),
    "Discards 1,204 messages, as on_delete says": (
        [gone(hook="discarded-queue"), gone("r", "discarded-queue")],
        [discarded("q", 1200), discarded("r", 4)],
        Outcome.DISCARDS,
    ),
    "Discards 2 messages, as on_delete says": (
        [gone(hook="discarded-queue")] * 2,
        [discarded("q", 1), discarded("q", 1)],  # in two vhosts
        Outcome.DISCARDS,
    ),
    "Discards 1 message, as on_delete says": (
        [gone(hook="discarded-queue")],
        [discarded("q", 1)],
        Outcome.DISCARDS,
    ),
    "Discards 41 messages, as on_delete says": (
        [step("update", "policy", "p")],
        [  # the same queue by two policies, and another
            limited("q: max-length: none -> 1: it holds 41 messages, the oldest 40 would go"),
            limited("q: max-length: none -> 1: it holds 41 messages, the oldest 40 would go"),
            limited("r: max-length: none -> 1: it holds 2 messages, the oldest 1 would go"),
        ],
        Outcome.DISCARDS,
    ),
    "Discards up to 41 messages, as on_delete says": (
        [step("update", "policy", "p")],
        [limited("q: message-ttl: none -> 1: it holds 41 messages, what is older would be lost")],
        Outcome.DISCARDS,
    ),
    "Discards messages, as on_delete says": (
        [step("update", "policy", "p"), gone("r", "discarded-queue")],
        [
            limited("q: max-age: none -> 1: it holds messages, what is older would be lost"),
            discarded("r", 5),
        ],
        Outcome.DISCARDS,
    ),
    "Deletes 1 queue in use, as on_delete says": (
        [gone(hook="discarded-queue")],
        [discarded("q", 0, 2)],
        Outcome.DISCARDS,
    ),
    "Not known: the broker could not be asked": (
        [gone()],
        [said("warning", "no answer; this preview goes by the stack's state alone")],
        Outcome.NOT_KNOWN,
    ),
    "Not known: the preview tells of a loss in words that are new": (
        [gone(hook="discarded-queue")],
        [said("info", "queue q is deleted with 5 messages: on_delete is discard")],
        Outcome.NOT_KNOWN,
    ),
    "Not known: nothing looks after 1 queue yet": (
        [step("delete", "queue", "q")],
        [],
        Outcome.NOT_KNOWN,
    ),
    "The preview failed: it is not a topology": (
        [],
        [said("error", "it is not a topology\nat all")],
        Outcome.FAILED,
    ),
}


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_first_line_is_the_verdict(verdict):
    steps, notes, outcome = VERDICTS[verdict]
    seen = made(*steps, notes=notes)
    assert (seen.verdict, seen.outcome) == (verdict, outcome)
    first, empty, marker, *_ = comment.write(seen).splitlines()
    assert (first, empty, marker) == (f"### {verdict}", "", "<!-- rabbit-topology review test -->")


def test_a_preview_that_says_nothing_has_failed():
    seen = review("s", preview.parse("{}", "p"), None, read(CONFIG))
    assert (seen.verdict, seen.outcome) == ("The preview failed: it says nothing", Outcome.FAILED)


def test_a_broker_that_cannot_be_asked_is_no_matter_where_nothing_changes():
    note = said("warning", "no answer; this preview goes by the stack's state alone")
    assert made(notes=[note]).outcome is Outcome.LOSES_NOTHING


def test_a_refusal_does_not_hide_what_is_discarded():
    text = comment.write(made(gone(), gone("r"), notes=[lost(), discarded("r", 7)]))
    assert text.startswith("### Would be refused: 1 queue\n")
    assert "**discards 7 messages, as on_delete says**" in text


def test_what_is_refused_and_is_no_queue_says_why():
    notes = [
        said(
            "warning",
            "exchange e cannot be replaced without loss: it is so; `pulumi up` will refuse",
        ),
        said("warning", "refused, since it is so\nWays on; `pulumi up` will refuse"),
    ]
    text = comment.write(made(step("replace", "exchange", "e"), notes=notes))
    assert "- refused, exchange e: exchange e cannot be replaced without loss: it is so\n" in text
    assert "- refused: refused, since it is so\n" in text


def test_the_parts_that_configs_tell():
    before = {
        **CONFIG,
        "queues": {"q": {"max_length": 5}, "r": {}},
        "bindings": [
            {"source": "e", "queue": "r", "routing_key": "k"},
            {"source": "e", "queue": "q", "routing_key": "k"},
            {"source": "e", "queue": "q", "routing_key": "l"},
        ],
        "services": {"s": {"consumes": ["q"]}},
    }
    now = {
        **before,
        "bindings": [before["bindings"][1], {"source": "e", "queue": "r", "routing_key": "l"}],
        "services": {"s": {"consumes": ["q", "r"]}},
    }
    text = comment.write(made(step("create", "binding", "x"), before=before, now=now))
    lines = text.splitlines()
    routes = lines[lines.index("**Where messages go**") + 2 :]
    assert routes[0].startswith("- ")
    assert any("no longer reaches r, for example" in line for line in routes)
    assert (
        "| <code>v.s</code> | read | <code>^(q)$</code> | <code>^(q&#124;r)$</code> | r |" in text
    )
    assert "```mermaid\nflowchart LR\n" in text
    assert "1 right further than before" in text


def test_what_is_dropped_comes_first_and_stands_out():
    before = {
        **CONFIG,
        "queues": {"q": {}, "r": {}},
        "bindings": [{"source": "e", "queue": "q", "routing_key": "k"}],
    }
    now = {**before, "bindings": [{"source": "e", "queue": "r", "routing_key": "other"}]}
    lines = comment.write(made(before=before, now=now)).splitlines()
    first = lines[lines.index("**Where messages go**") + 2]
    assert first == ('- k on exchange e no longer reaches q, for example "k"; **now dropped**')
    assert "**1 now dropped**" in lines[3]


def test_without_a_config_before_it_says_so():
    text = comment.write(made(step("create", "queue", "q")))
    assert "routes and permissions are not compared: there is no config before" in text
    assert "mermaid" not in text


def test_vhosts_are_named_where_there_are_several():
    text = comment.write(made(step("create", "queue", "q", "v"), step("create", "queue", "q", "w")))
    assert "| <code>q</code> of vhost v | new |" in text
    assert "of vhost" not in comment.write(made(step("create", "queue", "q", "v")))


NASTY = "a|b <script>`@admin` [x](http://y) *z*\n| --- |"


def test_nothing_in_it_is_taken_for_markdown():
    seen = made(gone(NASTY), notes=[lost(NASTY), said("error", f"{NASTY}</details>")])
    text = comment.write(seen)
    assert seen.queues[0].name == NASTY
    assert "<script>" not in text
    assert "@admin" not in text
    assert "](http" not in text
    assert text.count("</details>") == text.count("<details>") == 2
    rows = [line for line in text.splitlines() if line.startswith("| <code>")]
    assert [line.count("|") for line in rows] == [5]


def test_secrets_are_in_none_of_it():
    config = {
        **CONFIG,
        "users": {"u": {"password": "hunter2", "permissions": {"read": ".*"}}},
        "shovels": {
            "m": {
                "source_uri": "amqp://x:hunter2@far",
                "source_queue": "a",
                "destination_uri": "amqp://",
                "destination_queue": "q",
            }
        },
    }
    shovel = step("create", "shovel", "m", info={"sourceUri": "amqp://x:hunter2@far"})
    notes = [
        said("warning", "shovel m reads amqp://x:hunter2@far/%2f; `pulumi up` will refuse"),
        said("error", "cannot reach https://admin:hunter2@mq:15671"),
    ]
    assert "hunter2" not in made(notes=notes[1:]).verdict
    seen = made(shovel, notes=notes, before=CONFIG, now=config)
    for text in (comment.write(seen), json.dumps(as_json.write(seen))):
        assert "hunter2" not in text
        assert "[not shown]" in text or "&#91;not shown&#93;" in text


@pytest.mark.parametrize("many", [400, 5000])
def test_it_is_cut_to_what_a_comment_takes_and_says_so(many):
    names = [f"queue-with-a-long-name|{n:05}" for n in range(many)]
    steps = [gone(name) for name in names]
    config = {"vhost": "v", "queues": {name: {} for name in names[:300]}}
    seen = made(*steps, notes=[lost(name) for name in names], before=CONFIG, now=config)
    text = comment.write(seen)
    assert len(text) <= comment.LIMIT
    assert text.startswith(f"### Would be refused: {many:,} queues\n")
    assert comment.marker("test") in text
    cut = [int(one.replace(",", "")) for one in re.findall(r"\*cut here, ([\d,]+) more", text)]
    assert cut
    assert all(0 < one <= many for one in cut)
    assert text.count("<details>") == text.count("</details>")
    table = [line for line in text.partition("<details>")[0].splitlines() if "</code> |" in line]
    assert len(table) == 15


def test_long_texts_are_cut_one_by_one():
    text = comment.write(
        made(gone("q" * 255), notes=[lost("q" * 255), said("error", "|" * 100_000)])
    )
    assert len(text) <= comment.LIMIT
    assert text.startswith("### Would be refused: 1 queue\n")


def test_all_of_it_is_there_for_programs():
    document = as_json.write(made(gone(), notes=[lost(), discarded("r", 7)], before=CONFIG))
    assert document["outcome"] == "refused"
    assert document["lost"] == {"messages": 7, "exact": True}
    assert [(row["queue"], row["fate"], row["messages"]) for row in document["queues"]] == [
        ("q", "refused", 21),
        ("r", "discarded", 7),
    ]
    assert document["vhosts"][0]["routes"]["changes"] == []
    assert document["marker"] == "<!-- rabbit-topology review test -->"
    assert [one["says"] for one in document["said"]] == ["refused", "discarded"]


def test_the_marker_is_a_comment_whatever_a_stack_is_called():
    assert comment.marker("a-->b\n") == "<!-- rabbit-topology review a--_b_ -->"


def rendered(text):
    """Return the comment as a code host shows it: HTML."""
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(text)


def test_a_code_host_shows_it_as_it_is_meant():
    before = {**CONFIG, "queues": {"q": {}, "r": {}}, "services": {"s": {"consumes": ["r"]}}}
    now = {**before, "queues": {"q": {}}, "services": {"s": {"consumes": ["q"]}}}
    seen = made(gone(NASTY), gone(), notes=[lost(NASTY), lost()], before=before, now=now)
    shown = rendered(comment.write(seen))
    assert shown.startswith("<h3>Would be refused: 2 queues</h3>\n<!-- rabbit-topology review test")
    cells = [
        html.unescape(re.sub("<[^>]+>", "", cell))
        for cell in re.findall(r"<td[^>]*>(.*?)</td>", shown, re.DOTALL)
    ]
    assert cells[:8] == [
        *(NASTY.replace("\n", r"\n"), "refused: it is gone", HELD, "stays as it is"),
        *("q", "refused: it is gone", HELD, "stays as it is"),
    ]
    assert cells[8:] == ["v.s", "read", "^(r)$", "^(q)$", "q"]
    assert shown.count("<table>") == 2
    assert '<code class="language-mermaid">flowchart LR\n' in shown
    assert shown.count("<details>") == shown.count("</details>") == 2
    assert "<li>warning: would lose 21 messages in queue" in shown
    # What stands behind the marker is a paragraph, and no part of it.
    assert "<p>Stack <code>test</code>: queues: 2 refused;" in shown
