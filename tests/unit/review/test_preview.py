"""
What the engine prints is read, with whatever stands around it; what is no preview is said to be so.
"""

from __future__ import annotations

import json

import pytest

from rabbit_topology.errors import TopologyError
from rabbit_topology.review import preview
from rabbit_topology.review.preview import Note, Step
from tests.support import previews


def test_steps_are_of_objects_on_a_broker():
    text = previews.preview(
        previews.step("delete", "queue", "a/b", "/", hook="discarded-queue"),
        previews.step("replace", "exchange", "e", hook="staying-exchange"),
        previews.step("create", "binding", "", source="e", destination="q"),
        previews.step("create", "permissions", "", user="web"),
        {"op": "create", "urn": "urn:pulumi:test::p::aws:s3/bucket:Bucket::b", "detailedDiff": {}},
    )
    read = preview.parse(text, "p.json")
    assert read.steps == [
        Step(
            op="delete", kind="queue", vhost="/", name="a/b", hooks=frozenset({"discarded-queue"})
        ),
        Step(
            op="replace",
            kind="exchange",
            vhost="v",
            name="e",
            hooks=frozenset({"staying-exchange"}),
        ),
        Step(op="create", kind="binding", vhost="v", name="e -> q", hooks=frozenset()),
        Step(op="create", kind="permissions", vhost="v", name="web", hooks=frozenset()),
    ]
    assert read.changes == 5


def test_the_stack_is_told_by_any_step():
    assert preview.parse(previews.preview(stack="orders-prod"), "p").stack == "orders-prod"


def test_what_was_said_has_its_severity_once():
    notes = [
        previews.said("warning", "one\n  - two"),
        previews.said("info", "three"),
        previews.said("error", "error: of its own"),
        {"prefix": "warning: ", "message": "four\n", "severity": "warning"},
        {"message": "what the program prints\n"},
    ]
    assert preview.parse(previews.preview(notes=notes), "p").notes == [
        Note(severity="warning", text="one\n  - two"),
        Note(severity="info", text="three"),
        Note(severity="error", text="error: of its own"),
        Note(severity="warning", text="four"),
        Note(severity="info", text="what the program prints"),
    ]


def test_lines_around_the_document_are_passed_over():
    document = previews.preview(notes=[previews.said("warning", "w")])
    text = f"{{not json\nLogging in\n{document}\nerror: preview failed\n"
    assert preview.parse(text, "p").notes[0].text == "w"


@pytest.mark.parametrize("raised", [previews.raised, previews.thrown])
def test_what_a_hook_raises_is_read_without_the_engines_words_and_a_traceback(raised):
    (note,) = preview.parse(previews.preview(notes=[raised("a\n  - b")]), "p").notes
    assert note == Note(severity="error", text="a\n  - b")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "p.json: it is empty, and no preview; run `pulumi preview --json"),
        ("Previewing update (dev)\n + create\n", "no preview is in it"),
        ("[1, 2]", "no preview is in it"),
        ('{"name": "pulumi"}', "no preview is in it"),
        ('{"sequence": 0, "timestamp": 1, "preludeEvent": {}}', "PULUMI_ENABLE_STREAMING_JSON"),
        ('{"steps": [{"op": "create"}]}', "not written as a preview is: KeyError"),
        ('{"steps": 5}', "not written as a preview is"),
        ('{"diagnostics": ["x"]}', "not written as a preview is"),
    ],
)
def test_what_is_no_preview(text, said):
    with pytest.raises(TopologyError) as caught:
        preview.parse(text, "p.json")
    assert said in str(caught.value)


def test_a_preview_of_nothing_is_one():
    assert not preview.parse("{}", "p").counts
    assert preview.parse(json.dumps({"changeSummary": {"same": 4}}), "p").changes == 0
