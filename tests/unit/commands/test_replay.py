"""
``replay``: what the options ask for, and what it ends with.
"""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest
from typer.testing import CliRunner

from rabbit_topology.commands import replay as command
from rabbit_topology.commands.app import app
from rabbit_topology.errors import TopologyError
from rabbit_topology.messages.replay import Job
from rabbit_topology.replays.destination import Destination, Target
from rabbit_topology.replays.ledger import Ledger, Left, Mode
from rabbit_topology.replays.message import Message
from rabbit_topology.replays.peek import Peeked
from rabbit_topology.replays.selection import Header

STACK = """\
config:
  rabbitmq:endpoint: http://rabbit.example:15672
  rabbitmq:username: admin
  rabbitmq:password: hunter2
  rabbit-topology:broker: {hosts: ["rabbit.example:5673"]}
  rabbit-topology:topology: {vhost: shop, queues: {work: {dead_letter: true}}}
"""


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> list[Job]:
    """Note what would be replayed; all of it goes well."""
    noted: list[Job] = []

    def replay(job: Job) -> Ledger:
        noted.append(job)
        ledger = Ledger(queue=job.queue, mode=job.request.mode, ready=1, taken=1)
        ledger.replay(Destination(queue="work"), replays=0, expires=False)
        job.show(Peeked(number=1, message=Message(), reason=None, destination="\x1b[2J"))
        return ledger

    monkeypatch.setattr(command, "replay_all", replay)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Pulumi.dev.yaml").write_text(STACK)
    for variable in ("ENDPOINT", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"RABBITMQ_{variable}", raising=False)
    return noted


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["replay", "work.dead-letter", *arguments])


FILE = ("--file", "Pulumi.dev.yaml")


def test_a_stack_says_which_broker_and_which_vhost(jobs):
    result = run(*FILE)
    assert result.exit_code == 0, result.output
    (job,) = jobs
    assert (job.vhost, job.queue) == ("shop", "work.dead-letter")
    assert str(job.access.addresses[0]) == "rabbit.example:5673"
    assert job.access.management.username == "admin"
    assert job.request.mode is Mode.REPLAY
    assert "replayed to queue work: 1" in result.output
    assert "hunter2" not in result.output


def test_a_broker_without_a_config_needs_a_vhost(jobs, monkeypatch):
    for variable, value in (("ENDPOINT", "http://r:1"), ("USERNAME", "u"), ("PASSWORD", "p")):
        monkeypatch.setenv(f"RABBITMQ_{variable}", value)
    assert run("--live", "--vhost", "v", "--host", "r:2").exit_code == 0
    assert (jobs[0].vhost, str(jobs[0].access.addresses[0])) == ("v", "r:2")
    with pytest.raises(TopologyError, match="--vhost"):
        raise run("--live").exception


def test_the_options_are_what_is_asked_for(jobs):
    options = "--to x/k --limit 5 --rate 2.5 --header a=1 --header b --reason expired --hold 9"
    run(*FILE, *options.split(), "--routing-key", "a.*", "--older-than", "1m", "--newer-than", "1h")
    request = jobs[0].request
    assert request.target == Target(exchange="x", routing_key="k")
    assert (request.limit, request.rate, request.hold) == (5, 2.5, 9)
    chosen = request.selection
    assert chosen.headers == (Header(name="a", value="1"), Header(name="b"))
    assert chosen.reasons == ("expired",)
    assert len(chosen.routing_keys) == 1
    assert (chosen.older_ms, chosen.newer_ms) == (60_000, 3_600_000)


@pytest.mark.parametrize(
    ("option", "mode", "limit"), [("--peek", Mode.PEEK, 10), ("--dry-run", Mode.DRY_RUN, None)]
)
def test_to_look_is_no_replay(jobs, option, mode, limit):
    run(*FILE, option)
    assert (jobs[0].request.mode, jobs[0].request.limit) == (mode, limit)
    run(*FILE, option, "--limit", "3")
    assert jobs[1].request.limit == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--rate", "0"), "more than 0"),
        (("--rate", "inf"), "more than 0"),
        (("--rate", "nan"), "more than 0"),
        (("--peek", "--dry-run"), "one of the two"),
        (("--host", "h"), "--live"),
        (("--to", "/k"), "name an exchange"),
        (("--older-than", "soon"), "--older-than soon"),
        (("--vhost", "other"), '"other" is not a vhost of the stack; known are: '),
    ],
)
def test_what_cannot_be_asked_for_is_an_error_and_nothing_is_taken(jobs, options, said):
    error = run(*FILE, *options).exception
    assert isinstance(error, TopologyError)
    assert said in str(error)
    assert jobs == []


def test_wrong_use_is_an_error_like_any_other(jobs):
    assert run(*FILE, "--limit", "0").exit_code == 1
    assert jobs == []


@pytest.mark.parametrize(
    ("option", "left", "failed", "status"),
    [
        ((), None, None, 0),
        ((), Left.NOT_SELECTED, None, 0),
        ((), Left.RETURNED, None, 2),
        ((), Left.RETURNED, "the connection broke", 1),
        (("--dry-run",), Left.NO_ORIGIN, None, 0),
        (("--dry-run",), None, "the connection broke", 1),
    ],
)
def test_what_it_ends_with(jobs, monkeypatch, option, left, failed, status):
    ledger = Ledger(queue="q", failed=failed)
    if left:
        ledger.leave(left)
    monkeypatch.setattr(command, "replay_all", lambda _job: ledger)
    assert run(*FILE, *option).exit_code == status


def test_as_json_with_what_was_looked_at(jobs):
    answer = json.loads(run(*FILE, "--peek", "--format", "json").stdout)
    assert answer["mode"] == "peek"
    assert [one["number"] for one in answer["messages"]] == [1]
    assert "messages" not in json.loads(run(*FILE, "--format", "json").stdout)


def test_what_a_message_says_moves_no_cursor(jobs):
    output = run(*FILE, "--peek").output
    assert "\x1b" not in output
    assert "stays" in output


def test_the_first_interrupt_asks_and_the_second_one_ends(jobs, monkeypatch):
    seen = []

    def replay(job: Job) -> Ledger:
        seen.append(job.stopping())
        os.kill(os.getpid(), signal.SIGINT)
        seen.append(job.stopping())
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        return Ledger(queue="q")

    monkeypatch.setattr(command, "replay_all", replay)
    before = signal.getsignal(signal.SIGINT)
    run(*FILE)
    assert seen == [False, True]
    assert signal.getsignal(signal.SIGINT) is before
