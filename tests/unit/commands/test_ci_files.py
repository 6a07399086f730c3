"""
The pipelines among the examples: their shape, and that all that they run can be run.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess

import pytest
import typer
import yaml

from rabbit_topology.commands.app import app
from tests.support import ci_files, previews
from tests.support.previews import said, step
from tests.support.repository import ROOT, commit
from tests.support.stand_ins import StandIns

SHELLS = {"github": ci_files.github(), "gitlab": ci_files.gitlab()}
COMMANDS = [
    pytest.param(line, id=f"{host}: {shell.job}: {line.split()[0]}")
    for host, shells in SHELLS.items()
    for shell, line in ci_files.commands(shells)
]
WANTED = ["lint", "test", "review", "drift"]
EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}")


def parsed(line):
    """Have the command line parse its words, and do nothing."""
    name, *words = shlex.split(line)
    group = typer.main.get_command(app)
    command = group.get_command(group.make_context("rabbit-topology", [name]), name)
    assert command is not None, name
    return command.make_context(name, words)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_line_can_be_parsed(line):
    assert parsed(line).params


def test_a_command_line_that_cannot_be_parsed_would_be_noticed():
    for line in ("review --nonsense", "lint --format nothing", "review a b"):
        with pytest.raises(Exception, match=r"No such option|is not one of|unexpected extra"):
            parsed(line)
    with pytest.raises(AssertionError, match="nonsense"):
        parsed("nonsense --stack x")


@pytest.mark.parametrize("host", SHELLS)
def test_each_pipeline_does_all_of_it_in_this_order(host):
    lines = [line.split()[0] for _, line in ci_files.commands(SHELLS[host])]
    assert lines == WANTED
    everything = "\n".join(shell.lines for shell in SHELLS[host])
    places = [
        everything.index(text)
        for text in (
            "lint ",
            "test ",
            "pulumi preview --json",
            "review ",
            "pulumi up --yes",
            "drift",
        )
    ]
    assert places == sorted(places)


@pytest.mark.parametrize("shell", [*SHELLS["github"], *SHELLS["gitlab"]], ids=lambda one: one.name)
def test_what_a_shell_runs_is_a_script(shell):
    ended = subprocess.run(
        ["bash", "-n"], input=shell.lines, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    # What a pull request says of itself would be run: it comes through the environment alone.
    assert not EXPRESSION.search(shell.lines)


def test_a_job_on_github_has_what_it_needs_and_no_more():
    whole = ci_files.read(ci_files.GITHUB)
    events = whole[True]  # YAML takes `on` for a truth value; GitHub does not
    assert set(events) == {"pull_request", "push", "schedule", "workflow_dispatch"}
    assert events["push"] == {"branches": ["main"]}
    assert re.fullmatch(r"\d+ \d+ \* \* \*", events["schedule"][0]["cron"])
    jobs = whole["jobs"]
    assert list(jobs) == ["check", "review", "deploy", "drift"]
    assert whole["permissions"] == {"contents": "read"}
    own = {name: job["permissions"] for name, job in jobs.items() if "permissions" in job}
    assert own == {"review": {"contents": "read", "pull-requests": "write"}}
    assert {name: job.get("needs") for name, job in jobs.items()} == {
        "check": None,
        "review": "check",
        "deploy": "check",
        "drift": None,
    }
    assert "head.repo.full_name == github.repository" in jobs["review"]["if"]
    for name, job in jobs.items():
        assert job["runs-on"] == "ubuntu-latest"
        assert job["if"].startswith("github.event_name == ")
        uses = [step["uses"] for step in job["steps"] if "uses" in step]
        assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", one) for one in uses), name
        assert uses[0] == "actions/checkout@v4"
        assert all(("uses" in step) != ("run" in step) for step in job["steps"])


def test_secrets_on_github_are_where_they_are_needed():
    env = {
        (shell.job, shell.name): EXPRESSION.findall(" ".join(shell.env.values()))
        for shell in SHELLS["github"]
        if shell.env
    }
    assert {at: [one.strip() for one in those] for at, those in env.items()} == {
        ("review", "preview"): ["secrets.PULUMI_ACCESS_TOKEN"],
        ("review", "comment"): ["github.token", "github.event.pull_request.number"],
        ("review", "verdict"): ["steps.review.outputs.status"],
        ("deploy", "deploy"): ["secrets.PULUMI_ACCESS_TOKEN"],
        ("drift", "drift"): ["secrets.RABBITMQ_PASSWORD"],
    }
    # The config of the base is read from git, which needs more than the last commit.
    jobs = ci_files.read(ci_files.GITHUB)["jobs"]
    assert jobs["review"]["steps"][0]["with"] == {"fetch-depth": 0}
    assert [shell.id for shell in SHELLS["github"] if shell.id] == ["review"]


def test_a_job_on_gitlab_has_what_it_needs():
    whole = ci_files.read(ci_files.GITLAB)
    jobs = {name: ci_files.extended(whole, name) for name in whole["stages"]}
    assert [one["stage"] for one in jobs.values()] == list(jobs)
    assert {one.job for one in SHELLS["gitlab"]} == set(jobs)
    assert whole["variables"]["GIT_DEPTH"] == "0"
    for job in jobs.values():
        assert all(rule["if"].startswith("$CI_PIPELINE_SOURCE == ") for rule in job["rules"])
        assert "pip install -r requirements.txt" in job["before_script"]
        assert all(isinstance(line, str) for line in (*job["before_script"], *job["script"]))
    ours = "$CI_MERGE_REQUEST_SOURCE_PROJECT_ID == $CI_PROJECT_ID"
    assert ours in jobs["review"]["rules"][0]["if"]
    assert jobs["drift"]["allow_failure"] == {"exit_codes": 2}
    assert "allow_failure" not in jobs["review"]


def test_the_page_leads_to_both():
    page = (ROOT / "docs" / "how-to" / "review-changes.md").read_text()
    for host in SHELLS:
        assert f"(../../examples/ci/{host}.yml)" in page


CONFIG = yaml.safe_dump(
    {"config": {"rabbit-topology:topology": {"vhost": "v", "queues": {"q": {}, "r": {}}}}}
)
REFUSED = previews.preview(
    step("delete", "queue", "r", hook="queue"),
    notes=[said("warning", "would lose it; `pulumi up` will refuse")],
    stack="prod",
)
SAFE = previews.preview(step("create", "queue", "s"), stack="prod")
ENV = {
    "PATH": os.environ["PATH"],
    "HOME": os.environ.get("HOME", "/"),
    "STACK": "prod",
    "GITHUB_REPOSITORY": "acme/orders",
    "GITHUB_BASE_REF": "main",
    "CI_API_V4_URL": "https://gitlab.example.com/api/v4",
    "CI_PROJECT_ID": "5",
    "CI_MERGE_REQUEST_IID": "7",
    "CI_MERGE_REQUEST_DIFF_BASE_SHA": "main",
    "GITLAB_TOKEN": "token of the project",
}
KNOWN = {
    "secrets.PULUMI_ACCESS_TOKEN": "unused",
    "github.token": "token",
    "github.event.pull_request.number": "7",
}
HOW = {"github": ("-e",), "gitlab": ("-eo", "pipefail")}


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "Pulumi.yaml").write_text("name: p\nruntime: python\n")
    (folder / "Pulumi.prod.yaml").write_text(CONFIG)
    commit(folder)
    git = ["git", "-C", str(folder), "update-ref", "refs/remotes/origin/main", "HEAD"]
    subprocess.run(git, check=True)
    return folder


def reviewed(host, repository, tmp_path, preview, status=0):
    """Run the job that reviews; return how it ended, its summary, and who was called."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    programs = StandIns.make(folder, preview, status)
    summary = tmp_path / "summary.md"
    env = {**ENV, "GITHUB_STEP_SUMMARY": str(summary)}
    for shell in (one for one in SHELLS[host] if one.job == "review"):
        ended = programs.run(shell, repository, env, KNOWN, *HOW[host])
        if ended.returncode:
            break
    text = summary.read_text() if summary.exists() else ""
    return ended, shell.name, text, programs


@pytest.mark.parametrize("host", SHELLS)
def test_a_review_comments_and_replaces_its_comment(host, repository, tmp_path):
    ended, last, summary, programs = reviewed(host, repository, tmp_path, REFUSED)
    assert ended.returncode == 2, ended.stderr
    assert last == {"github": "verdict", "gitlab": "review"}[host]
    assert list(programs.comments) == ["1"]
    assert programs.comments["1"].startswith("### Would be refused\n")
    (repository / "Pulumi.prod.yaml").write_text(CONFIG.replace("r: {}", "r: {}\n      s: {}"))
    ended, last, again, programs = reviewed(host, repository, tmp_path, SAFE)
    assert ended.returncode == 0, ended.stderr
    assert list(programs.comments) == ["1"]
    assert programs.comments["1"].startswith("### Loses nothing\n")
    if host == "github":
        assert again == summary + programs.comments["1"]
        assert any("repos/acme/orders/issues/7/comments" in call for call in programs.calls)
        assert any("repos/acme/orders/issues/comments/1" in call for call in programs.calls)
    else:
        assert any("/projects/5/merge_requests/7/notes/1" in call[-1] for call in programs.calls)


@pytest.mark.parametrize("host", SHELLS)
def test_a_preview_that_fails_is_told_as_well(host, repository, tmp_path):
    failed = previews.preview(notes=[said("error", "no such stack")], stack="prod")
    ended, _, _, programs = reviewed(host, repository, tmp_path, failed, status=255)
    assert ended.returncode == 1
    assert programs.comments["1"].startswith("### The preview failed: no such stack\n")


@pytest.mark.parametrize("host", SHELLS)
def test_without_any_preview_the_job_says_what_is_wrong(host, repository, tmp_path):
    ended, last, _, programs = reviewed(host, repository, tmp_path, "", status=255)
    assert ended.returncode == 1
    assert last == "review"
    assert "preview.json: it is empty, and no preview" in ended.stderr
    assert programs.comments == {}
