"""
The pipelines among the examples, each line of them run on a real engine and broker.

Only what speaks to the code host, and what installs, has a stand-in.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import ci_files
from tests.support.ci_files import Shell
from tests.support.repository import commit
from tests.support.stacks import Stack, connect, drain, fill, held, management
from tests.support.stand_ins import StandIns

SHELLS = {"github": ci_files.github(), "gitlab": ci_files.gitlab()}
HOW = {"github": ("-e",), "gitlab": ("-eo", "pipefail")}
MESSAGES = 20
TOKEN = "token of the project"


@dataclass(kw_only=True)
class Pipeline:
    """A pipeline of one code host in a stack's folder, which is a repository."""

    host: str
    stack: Stack
    programs: StandIns
    summary: Path

    def jobs(self, *names: str) -> list[subprocess.CompletedProcess[str]]:
        """Run jobs; return how each shell ended, the last of a job with whatever it is."""
        ended = []
        for name in names:
            shells = [one for one in SHELLS[self.host] if one.job == name]
            assert shells, name
            for shell in shells:
                ended.append(self._run(shell))
                if ended[-1].returncode:
                    return ended
        return ended

    def passed(self, *names: str) -> None:
        for one in self.jobs(*names):
            assert one.returncode == 0, one.stdout + one.stderr

    @property
    def comment(self) -> str:
        """The only comment of the pull request."""
        (text,) = self.programs.comments.values()
        return text

    def commit(self) -> None:
        """Have what the stack's file says now be the base of what comes."""
        folder = self.stack.folder
        git = ["git", "-C", str(folder)]
        if not (folder / ".git").exists():
            (folder / ".gitignore").write_text("*\n!Pulumi.*\n")
            commit(folder)
        else:
            who = ["-c", "user.name=t", "-c", "user.email=t@t"]
            subprocess.run([*git, *who, "commit", "-qam", "next"], check=True)
        subprocess.run([*git, "update-ref", "refs/remotes/origin/main", "HEAD"], check=True)

    def _run(self, shell: Shell) -> subprocess.CompletedProcess[str]:
        env = {
            **self.stack.env,
            "STACK": self.stack.name,
            "GITHUB_REPOSITORY": "acme/orders",
            "GITHUB_BASE_REF": "main",
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "CI_API_V4_URL": "https://gitlab.example.com/api/v4",
            "CI_PROJECT_ID": "5",
            "CI_MERGE_REQUEST_IID": "7",
            "CI_MERGE_REQUEST_DIFF_BASE_SHA": "origin/main",
            "GITLAB_TOKEN": TOKEN,
            "RABBITMQ_PASSWORD": self.stack.broker.password,
        }
        known = {
            "secrets.PULUMI_ACCESS_TOKEN": "unused: the backend is a folder",
            "secrets.RABBITMQ_PASSWORD": self.stack.broker.password,
            "github.token": "token",
            "github.event.pull_request.number": "7",
        }
        return self.programs.run(shell, self.stack.folder, env, known, *HOW[self.host])


@pytest.fixture
def pipeline(request: pytest.FixtureRequest, one_stack: Stack, tmp_path_factory: Any) -> Pipeline:
    folder = tmp_path_factory.mktemp("bin")
    return Pipeline(
        host=request.param,
        stack=one_stack,
        programs=StandIns.make(folder),
        summary=folder / "summary.md",
    )


def topology(vhost: str, **queues: Any) -> dict[str, Any]:
    return {
        "vhost": vhost,
        "exchanges": {"e": {"type": "topic"}},
        "queues": queues,
        "bindings": [{"source": "e", "queue": name, "routing_key": name} for name in queues],
    }


def expectation(queue: str) -> list[dict[str, Any]]:
    return [{"publish": {"exchange": "e", "routing_key": queue}, "reaches_only": [queue]}]


def configure(stack: Stack, whole: dict[str, Any], expect: list[dict[str, Any]]) -> None:
    stack.configure(whole)
    config = yaml.safe_load(stack.config_file.read_text())["config"]
    stack.write_config({**config, "rabbit-topology:expect": expect})


@pytest.mark.parametrize("pipeline", SHELLS, indirect=True)
def test_a_change_from_its_pull_request_to_the_night_after(pipeline: Pipeline, vhost: str) -> None:
    stack = pipeline.stack
    expect = expectation("q")
    configure(stack, topology(vhost, q={"type": "classic"}, r={}), expect)
    pipeline.commit()
    pipeline.passed("check", "deploy")
    assert set(held(stack.broker, vhost)["queues"]) == {"q", "r"}
    with connect(stack.broker, vhost) as connection:
        for queue in ("q", "r"):
            fill(connection.channel(), queue, MESSAGES)

    # A queue with messages leaves the config.
    configure(stack, topology(vhost, q={"type": "classic"}), expect)
    pipeline.passed("check")
    assert pipeline.jobs("review")[-1].returncode == 2
    refused = pipeline.comment
    assert refused.startswith("### Would be refused: 1 queue\n"), refused
    row = next(line for line in refused.splitlines() if line.startswith("| <code>r</code>"))
    assert f"{MESSAGES} ready, 0 unacknowledged, 0 consumers" in row
    assert 'no longer reaches r, for example "r"; **now dropped**' in refused
    assert stack.broker.password not in refused
    if pipeline.host == "github":
        assert pipeline.summary.read_text() == refused

    # The author thinks again: another queue becomes a quorum queue, and all is kept.
    configure(stack, topology(vhost, q={"type": "quorum"}, r={}), expect)
    for ended in pipeline.jobs("review"):
        assert ended.returncode == 0, ended.stdout + ended.stderr
    assert pipeline.comment.startswith("### Loses nothing\n"), pipeline.comment
    assert "replaced: x-queue-type: classic -> quorum" in pipeline.comment
    assert len(pipeline.programs.comments) == 1, "it replaces the one before"
    pipeline.commit()
    pipeline.passed("deploy", "drift")
    with connect(stack.broker, vhost) as connection:
        for queue in ("q", "r"):
            taken = [number for number, _ in drain(connection.channel(), queue)]
            assert taken == list(range(MESSAGES)), queue
    stack.up("--expect-no-changes")

    # Somebody changes the broker by hand.
    management(stack.broker).request("DELETE", f"/bindings/{vhost}/e/e/q/r/r")
    drifted = pipeline.jobs("drift")[-1]
    assert drifted.returncode == 2, drifted.stdout + drifted.stderr
    said = drifted.stdout if pipeline.host == "gitlab" else pipeline.summary.read_text()
    assert "missing" in said


@pytest.mark.parametrize("pipeline", ["github"], indirect=True)
def test_what_a_check_finds_ends_the_pipeline(pipeline: Pipeline, vhost: str) -> None:
    stack = pipeline.stack
    wrong = topology(vhost, q={})
    configure(stack, {**wrong, "queues": {"q": {"type": "quorun"}}}, [])
    ended = pipeline.jobs("check")
    assert ended[-1].returncode == 1
    assert "::error file=Pulumi.test.yaml" in ended[-1].stdout
    configure(stack, wrong, expectation("another"))
    ended = pipeline.jobs("check")
    assert ended[-1].returncode == 1
    assert "another" in ended[-1].stdout + ended[-1].stderr
    # A stack that is new in the change is compared with nothing, and reviewed all the same.
    folder = stack.folder
    (folder / ".gitignore").write_text("*\n!.gitignore\n")
    commit(folder)
    ref = ["git", "-C", str(folder), "update-ref", "refs/remotes/origin/main", "HEAD"]
    subprocess.run(ref, check=True)
    configure(stack, wrong, expectation("q"))
    pipeline.passed("check", "review")
    assert pipeline.comment.startswith("### Loses nothing\n"), pipeline.comment
    assert "there is no config before" in pipeline.comment
