"""
``review``: where it reads, where it writes, and how it ends.
"""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys

import pytest
import yaml
from typer.testing import CliRunner

from rabbit_topology.commands.app import app
from rabbit_topology.errors import ConfigError, TopologyError
from rabbit_topology.observe import markdown
from rabbit_topology.review import comment
from tests.support import previews
from tests.support.previews import said, step
from tests.support.repository import ROOT, commit

PAGE = (ROOT / "docs" / "how-to" / "review-changes.md").read_text()
TOPOLOGY = {
    "vhost": "shop",
    "exchanges": {"orders": {"type": "topic"}},
    "queues": {"orders": {"type": "classic"}, "old": {}},
    "bindings": [
        {"source": "orders", "queue": "orders", "routing_key": "order.*"},
        {"source": "orders", "queue": "old", "routing_key": "old"},
    ],
    "services": {"billing": {"consumes": ["orders"]}},
}
NOW = {
    **TOPOLOGY,
    "queues": {"orders": {}},
    "bindings": TOPOLOGY["bindings"][:1],
    "services": {"billing": {"consumes": ["orders"], "publishes": ["orders"]}},
}
HELD = "1,204 ready, 3 unacknowledged, 2 consumers"
REPLACED = f"queue orders is replaced (x-queue-type: classic -> quorum); kept through it: {HELD}"
SAFE = previews.preview(
    step("replace", "queue", "orders", "shop", hook="queue"),
    step("delete", "queue", "old", "shop", hook="queue"),
    notes=[said("info", REPLACED)],
    stack="prod",
)
REFUSED = previews.preview(
    step("replace", "queue", "orders", "shop", hook="queue"),
    step("delete", "queue", "old", "shop", hook="queue"),
    notes=[
        said("info", REPLACED),
        said(
            "warning",
            "would lose 20 messages in queue old (20 ready, 0 unacknowledged, 1 consumer): it is "
            "no longer in the config; `pulumi up` will refuse",
        ),
    ],
    stack="prod",
)


def config(topology, **more):
    return yaml.safe_dump({"config": {"rabbit-topology:topology": topology, **more}})


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one stack, in git as it was, and in its folder as it is to be."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Pulumi.yaml").write_text("name: p\nruntime: python\n")
    (tmp_path / "Pulumi.prod.yaml").write_text(config(TOPOLOGY))
    commit(tmp_path)
    (tmp_path / "Pulumi.prod.yaml").write_text(config(NOW))
    (tmp_path / "preview.json").write_text(SAFE)
    return tmp_path


def run(line, status=0, stdin=None):
    result = CliRunner().invoke(app, ["review", *shlex.split(line)], input=stdin)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result


def test_the_base_is_a_revision_of_git_or_a_file(project):
    text = run("--base git:main --preview preview.json").stdout
    assert text.startswith("### Loses nothing\n\n<!-- rabbit-topology review prod -->\n")
    assert "| <code>orders</code> | replaced: x-queue-type: classic -> quorum |" in text
    assert 'old on exchange orders no longer reaches old, for example "old"' in text
    (project / "base.yaml").write_text(yaml.safe_dump(TOPOLOGY))
    of_file = run("Pulumi.prod.yaml --base base.yaml --preview preview.json").stdout
    assert of_file == text
    assert (
        run("--stack prod --base git:main:Pulumi.prod.yaml --preview preview.json").stdout == text
    )


def test_the_preview_comes_through_a_pipe(project):
    piped = run("--base git:main", stdin=SAFE).stdout
    assert piped == run("--base git:main --preview preview.json").stdout
    assert run("--base git:main --preview -", stdin=SAFE).stdout == piped


@pytest.mark.parametrize(
    ("notes", "status"),
    [
        ([], 0),
        ([said("warning", "it is so; `pulumi up` will refuse")], 2),
        (
            [
                said(
                    "info", f"queue old is deleted with all it holds ({HELD}): on_delete is discard"
                )
            ],
            2,
        ),
        ([said("warning", "no answer; this preview goes by the stack's state alone")], 1),
        ([said("error", "preview failed")], 1),
    ],
)
def test_how_it_ends(project, notes, status):
    made = previews.preview(
        step("delete", "queue", "old", "shop", hook="queue"), notes=notes, stack="prod"
    )
    assert run("--base git:main", status, stdin=made).stdout.startswith("### ")


def test_a_file_gets_the_comment_and_the_terminal_the_verdict(project):
    result = run("--base git:main -o comment.md", 2, stdin=REFUSED)
    assert result.stdout == "Would be refused: 1 queue\n"
    written = (project / "comment.md").read_text(encoding="utf-8")
    assert written == run("--base git:main", 2, stdin=REFUSED).stdout
    with pytest.raises(TopologyError, match=r"no/comment\.md: No such file"):
        run("-o no/comment.md", stdin=REFUSED)


def test_programs_get_json(project):
    document = json.loads(run("--base git:main --format json --preview preview.json").stdout)
    assert document["stack"] == "prod"
    assert document["outcome"] == "loses-nothing"
    assert [row["fate"] for row in document["queues"]] == ["replaced", "deleted"]


def test_a_stack_that_was_not_there_before_is_compared_with_nothing(project):
    (project / "Pulumi.new.yaml").write_text(config(NOW))
    made = previews.preview(step("create", "queue", "orders", "shop"), stack="new")
    result = run("Pulumi.new.yaml --base git:main", stdin=made)
    assert "git:main does not have Pulumi.new.yaml" in result.stderr
    assert "there is no config before" in result.stdout
    with pytest.raises(TopologyError, match=r"git:nothing: .*invalid object name"):
        run("Pulumi.new.yaml --base git:nothing", stdin=made)
    with pytest.raises(TopologyError, match=r"other\.yaml"):
        run("Pulumi.new.yaml --base other.yaml", stdin=made)


def test_a_config_before_that_was_wrong_is_compared_with_nothing(project):
    (project / "base.yaml").write_text("{vhost: v, queues: {q: {type: quorun}}}")
    result = run("--base base.yaml --preview preview.json")
    assert "base.yaml: there is nothing to compare with: 1 problem" in result.stderr
    assert "there is no config before" in result.stdout


def test_a_preview_of_another_stack_is_an_error(project):
    other = previews.preview(step("create", "queue", "q"), stack="dev")
    with pytest.raises(TopologyError, match=r"the preview is of stack dev, and .* that of prod"):
        run("", stdin=other)


def test_a_topology_file_has_the_name_of_the_preview(project):
    (project / "topology.yaml").write_text(yaml.safe_dump(NOW))
    assert "review prod -->" in run("topology.yaml --preview preview.json").stdout


def test_what_cannot_be_read_is_named(project):
    with pytest.raises(TopologyError, match=r"nothing\.json: No such file"):
        run("--preview nothing.json")
    (project / "wide.json").write_text(SAFE, encoding="utf-16")
    with pytest.raises(TopologyError, match="not UTF-8"):
        run("--preview wide.json")
    (project / "marked.json").write_text(SAFE, encoding="utf-8-sig")
    assert run("--preview marked.json").stdout.startswith("### Loses nothing")
    (project / "Pulumi.prod.yaml").write_text(
        config({"vhost": "v", "queues": {"q": {"type": "x"}}})
    )
    with pytest.raises(ConfigError):
        run("--preview preview.json")


def test_wrong_use_is_an_error_like_any_other(project):
    assert CliRunner().invoke(app, ["review", "--nonsense"]).exit_code == 1
    with pytest.raises(TopologyError, match="name the config of the change"):
        run("live:", stdin=SAFE)


def test_a_terminal_is_not_waited_for(project):
    ours, theirs = pty.openpty()
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "rabbit_topology", "review"],
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert ended.returncode == 1
    assert "there is no preview" in ended.stderr


def test_the_page_shows_what_the_command_prints(project):
    (project / "preview.json").write_text(REFUSED)
    shown = re.search(r"```markdown\n(.*?)```\n", PAGE, re.DOTALL)[1]
    printed = run("--stack prod --base git:main --preview preview.json", 2).stdout
    assert printed.startswith(shown)


def test_the_page_says_where_a_comment_is_cut():
    assert f"cut to {comment.LIMIT:,} characters, of {markdown.COMMENT:,}" in PAGE


def test_the_page_has_options_that_there_are():
    lines = re.findall(r"rabbit_topology review\b(.*)", PAGE)
    assert len(lines) >= 3
    options = set(re.findall(r"--?[a-z]+", CliRunner().invoke(app, ["review", "--help"]).output))
    for line in lines:
        words = shlex.split(line.partition("#")[0].partition("||")[0].partition(" > ")[0])
        assert {word for word in words if word.startswith("-")} <= options, line
