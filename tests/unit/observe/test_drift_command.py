"""
The command `drift`: what it asks, what it prints in each form, and how it ends.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from bench import drift as bench
from rabbit_topology.commands import app as program
from rabbit_topology.lint.reading import read
from rabbit_topology.services import credentials
from tests.support.exports import export, hashed
from tests.support.recorded import Recorded, recorded

SHOP: dict[str, Any] = {
    "vhost": "shop",
    "exchanges": {"orders": {"type": "topic"}},
    "queues": {"orders": {"max_length": 100}, "jobs": {"type": "classic"}},
    "bindings": [{"source": "orders", "queue": "orders", "routing_key": "order.*"}],
    "services": {"billing": {"consumes": ["orders"]}},
}
SEED = "a seed that is long enough"


def password(name: str, _user: object) -> str:
    return credentials.derive(SEED, "prod", name, 1)


def deployed() -> dict[str, Any]:
    stack = read(SHOP)
    stack.check()
    return export(stack, password)


@pytest.fixture
def broker(monkeypatch) -> Iterator[Recorded]:
    answers = {
        "/definitions": deployed(),
        "/vhosts": [{"name": "shop", "tracing": False}],
        "/overview": {"rabbitmq_version": "4.3.6", "default_queue_type": "classic"},
    }
    with recorded(answers) as one:
        monkeypatch.setenv("RABBITMQ_ENDPOINT", one.endpoint)
        monkeypatch.setenv("RABBITMQ_USERNAME", "admin")
        monkeypatch.setenv("RABBITMQ_PASSWORD", "secret")
        yield one


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Pulumi.yaml").write_text("name: x\nruntime: python\n")
    configure(tmp_path)
    return tmp_path


def configure(folder: Path, topology: dict[str, Any] = SHOP, **other: Any) -> None:
    keys = {f"rabbit-topology:{key}": value for key, value in other.items()}
    config = {"rabbit-topology:topology": topology, **keys}
    (folder / "Pulumi.prod.yaml").write_text(yaml.safe_dump({"config": config}, sort_keys=False))


@pytest.fixture
def run(project, broker) -> Callable[..., Result]:
    return lambda *arguments: CliRunner().invoke(program.app, ["drift", *arguments])


def change(broker: Recorded) -> None:
    """Do by hand what somebody may do by hand."""
    held = broker.answers["/definitions"]
    held["queues"] = [one for one in held["queues"] if one["name"] != "jobs"]
    held["permissions"][0]["write"] = ".*"
    plain = {"vhost": "shop", "durable": True, "auto_delete": False}
    held["queues"].append({**plain, "name": "a|b", "arguments": {"x-queue-type": "stream"}})


def test_the_same_ends_with_0(run):
    ended = run()
    assert ended.exit_code == 0, ended.output
    assert "no drift: 8 objects are as declared" in ended.output
    assert "not compared: passwords of shop.billing" in ended.output


def test_drift_ends_with_2_and_names_each_object_with_what_mends_it(run, broker):
    change(broker)
    ended = run()
    assert ended.exit_code == 2
    text = ended.output
    assert "  permissions shop.billing of vhost shop\n" in text
    assert '      write: ".*" -> "^$"\n      remake: pulumi up --refresh\n' in text
    assert "  queue jobs of vhost shop\n      remake: pulumi up --refresh\n" in text
    assert 'adopt: topology.queues["a|b"]: {type: stream}' in text
    assert text.splitlines()[-1].endswith("1 changed, 1 missing, 1 unmanaged")


def test_an_error_ends_with_1(run, broker, monkeypatch):
    broker.answers.clear()
    assert run().exit_code == 1


@pytest.mark.parametrize("wrong", [["--nonsense"], ["--unmanaged", "some"], ["surplus"]])
def test_wrong_options_are_an_error_and_no_drift(run, wrong):
    assert run(*wrong).exit_code == 1


def test_no_broker_is_an_error_that_says_what_is_missing(run, monkeypatch):
    monkeypatch.delenv("RABBITMQ_PASSWORD")
    ended = run()
    assert ended.exit_code == 1
    assert "RABBITMQ_PASSWORD" in str(ended.exception)
    assert "--secrets" in str(ended.exception)


def test_what_the_config_says_of_the_broker_counts_before_the_environment(
    project, run, broker, monkeypatch
):
    config = yaml.safe_load((project / "Pulumi.prod.yaml").read_text())
    config["config"]["rabbitmq:endpoint"] = broker.endpoint
    (project / "Pulumi.prod.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("RABBITMQ_ENDPOINT", "http://localhost:1")
    assert run().exit_code == 0


def test_a_seed_in_plain_text_has_passwords_compared(project, run, broker):
    configure(project, seed=SEED)
    assert "not compared" not in run().output
    broker.answers["/definitions"]["users"][0]["password_hash"] = hashed("guessed")
    ended = run()
    assert ended.exit_code == 2
    assert "password: another" in ended.output
    assert "raise topology.services.billing.rotation" in ended.output


def test_secrets_are_decrypted_by_the_pulumi_command(project, run, broker, monkeypatch, tmp_path):
    configure(project, seed={"secure": "v1:xyz"})
    plain = {
        "rabbit-topology:topology": {"objectValue": SHOP},
        "rabbit-topology:seed": {"value": SEED, "secret": True},
        "rabbitmq:password": {"value": "secret", "secret": True},
    }
    command = tmp_path / "bin" / "pulumi"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\necho \"$@\" > asked\ncat <<'E'\n{json.dumps(plain)}\nE\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:/usr/bin:/bin")
    monkeypatch.delenv("RABBITMQ_PASSWORD")
    broker.answers["/definitions"]["users"][0]["password_hash"] = hashed("guessed")
    ended = run("--secrets")
    assert ended.exit_code == 2, ended.output
    assert "password: another" in ended.output
    assert SEED not in ended.output
    assert (project / "asked").read_text() == "config --json --show-secrets --stack prod\n"


def test_an_export_stands_for_the_broker(run, broker, project):
    change(broker)
    (project / "export.json").write_text(json.dumps(broker.answers["/definitions"]))
    ended = run("--definitions", "export.json")
    assert ended.exit_code == 2
    assert broker.asked == []


class TestRequests:
    def test_two_where_it_is_asked_for_the_first_time(self, run, broker):
        run()
        assert broker.asked == ["/definitions", "/vhosts"]

    def test_one_where_nothing_has_changed_since(self, run, broker):
        broker.etags["/definitions"] = '"1-4C-49F0276"'
        change(broker)
        first = run("--since", "last.json", "--format", "json")
        broker.asked.clear()
        second = run("--since", "last.json", "--format", "json")
        assert broker.asked == ["/definitions"]
        assert (second.exit_code, second.output) == (2, first.output)

    def test_all_where_the_broker_has_changed(self, run, broker):
        broker.etags["/definitions"] = '"1"'
        assert run("--since", "last.json").exit_code == 0
        broker.etags["/definitions"] = '"2"'
        change(broker)
        assert run("--since", "last.json").exit_code == 2

    @pytest.mark.parametrize("what", ["topology", "seed", "ignore", "unmanaged"])
    def test_all_where_something_else_is_asked(self, run, broker, project, what):
        broker.etags["/definitions"] = '"1"'
        change(broker)
        (project / "ignore.yaml").write_text("ignore: [{object: queue jobs, reason: soon}]")
        before = run("--since", "last.json").output
        arguments = []
        match what:
            case "topology":
                configure(project, {**SHOP, "queues": {"orders": {"max_length": 200}}})
            case "seed":
                configure(project, seed="another seed that is long enough")
            case "ignore":
                arguments = ["--ignore", "ignore.yaml"]
            case "unmanaged":
                arguments = ["--unmanaged", "none"]
        assert run("--since", "last.json", *arguments).output != before

    def test_a_broker_without_etags_is_asked_each_time(self, run, broker, project):
        run("--since", "last.json")
        run("--since", "last.json")
        assert broker.asked == ["/definitions", "/vhosts"] * 2
        assert not (project / "last.json").exists()

    def test_what_is_remembered_is_its_owner_s_and_has_no_secret(self, run, broker, project):
        configure(project, seed=SEED)
        broker.etags["/definitions"] = '"1"'
        broker.answers["/definitions"]["users"][0]["password_hash"] = hashed("guessed")
        run("--since", "last.json")
        file = project / "last.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        text = file.read_text()
        for secret in (SEED, password("shop.billing", None), hashed("guessed")):
            assert secret not in text

    def test_a_file_that_is_no_memory_is_written_anew(self, run, broker, project):
        broker.etags["/definitions"] = '"1"'
        (project / "last.json").write_text("{}")
        assert run("--since", "last.json").exit_code == 0
        assert json.loads((project / "last.json").read_text())["etag"] == '"1"'

    def test_definitions_that_are_no_json_are_read_list_by_list(self, run, broker):
        held = broker.answers["/definitions"]
        broker.answers |= {
            "/definitions": '{"rabbit_version": undefined}',
            "/whoami": {"tags": ["administrator"]},
            "/vhost-limits": [],
            "/operator-policies": [],
            "/global-parameters": [],
            "/consumers": [],
            "/topic-permissions": held["topic_permissions"],
            **{
                f"/{key}": held[key]
                for key in (
                    *("vhosts", "users", "permissions", "policies"),
                    *("queues", "exchanges", "bindings", "parameters"),
                )
            },
        }
        ended = run()
        assert ended.exit_code == 0, ended.output
        assert "no drift" in ended.output

    def test_a_default_queue_type_that_is_the_broker_s_is_no_drift(self, run, broker):
        vhost = broker.answers["/definitions"]["vhosts"][0]
        vhost["metadata"]["default_queue_type"] = "quorum"
        broker.answers["/overview"]["default_queue_type"] = "quorum"
        assert run().exit_code == 0
        broker.answers["/overview"]["default_queue_type"] = "classic"
        assert 'default_queue_type: "quorum" -> none' in run().output

    def test_tracing_is_not_in_the_definitions_and_compared(self, run, broker):
        broker.answers["/vhosts"][0]["tracing"] = True
        assert "tracing: true -> false" in run().output


class TestForms:
    def test_json(self, run, broker):
        change(broker)
        said = json.loads(run("--format", "json").output)
        assert said["drifted"] is True
        assert said["version"] == "4.3.6"
        assert said["counts"] == {
            "changed": 1,
            "overruled": 0,
            "missing": 1,
            "unmanaged": 1,
            "ignored": 0,
        }
        first = said["drifts"][0]
        assert first["object"] == "permissions shop.billing"
        assert first["path"] == "topology.services.billing"
        assert first["differences"] == [{"field": "write", "change": '".*" -> "^$"'}]
        assert first["ignore"] == {
            "object": "permissions shop.billing",
            "vhost": "shop",
            "reason": "",
        }

    def test_sarif_points_at_the_line_of_the_config(self, run, broker, project):
        change(broker)
        (project / "ignore.yaml").write_text("ignore: [{object: queue a|b, reason: a trial}]")
        said = json.loads(run("--format", "sarif", "--ignore", "ignore.yaml").output)
        (one,) = said["runs"]
        results = {each["ruleId"]: each for each in one["results"]}
        lines = (project / "Pulumi.prod.yaml").read_text().splitlines()
        place = results["drift-missing"]["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == "Pulumi.prod.yaml"
        assert "jobs:" in lines[place["region"]["startLine"] - 1]
        assert results["drift-missing"]["level"] == "error"
        assert results["drift-unmanaged"]["suppressions"][0]["justification"] == "a trial"
        assert [rule["id"] for rule in one["tool"]["driver"]["rules"]] == [
            "drift-changed",
            "drift-overruled",
            "drift-missing",
            "drift-unmanaged",
        ]

    def test_what_a_base_says_is_located_there(self, run, broker, project):
        change(broker)
        (project / "topology.yaml").write_text(yaml.safe_dump(SHOP))
        config = {"config": {"rabbit-topology:base": "topology.yaml"}}
        (project / "Pulumi.prod.yaml").write_text(yaml.safe_dump(config))
        said = json.loads(run("--format", "sarif").output)
        files = {
            result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
            for result in said["runs"][0]["results"]
        }
        assert files == {"topology.yaml"}
        said = json.loads(run("--file", "topology.yaml", "--format", "sarif").output)
        assert len(said["runs"][0]["results"]) == 3

    def test_github(self, run, broker):
        change(broker)
        lines = run("--format", "github").output.splitlines()
        assert lines[0].startswith("::warning file=Pulumi.prod.yaml,line=")
        assert "title=permissions shop.billing of vhost shop::" in lines[0]
        assert lines[1].startswith("::error ")
        assert lines[2].startswith("::notice ")
        assert lines[-1].endswith("1 changed, 1 missing, 1 unmanaged")

    def test_github_shows_ten_of_a_kind(self, run, broker):
        held = broker.answers["/definitions"]
        plain = {"vhost": "shop", "durable": True, "auto_delete": False, "arguments": {}}
        held["queues"] += ({**plain, "name": f"own:{number}"} for number in range(20))
        lines = run("--format", "github").output.splitlines()
        assert sum(line.startswith("::notice") for line in lines) == 10
        assert "title=queue own%3A0 of vhost shop::" in lines[0]

    def test_markdown(self, run, broker):
        change(broker)
        text = run("--format", "markdown").output
        assert text.startswith("### Drift of prod: 1 changed, 1 missing, 1 unmanaged\n")
        (row,) = (line for line in text.splitlines() if line.startswith("| unmanaged"))
        assert row.count("|") == 5  # a pipe in a name is none of the table's
        assert "- 6 objects are as they are declared" in text

    def test_markdown_fits_a_comment(self, run, broker):
        held = broker.answers["/definitions"]
        plain = {"vhost": "shop", "durable": True, "auto_delete": False, "arguments": {}}
        held["queues"] += ({**plain, "name": f"own.{number}"} for number in range(2000))
        text = run("--format", "markdown").output
        assert len(text) < 65_536
        assert " more\n" in text


def test_the_benchmark_compares_as_many_objects_as_it_says():
    spent, report = bench.measure(300)
    assert report.equal == 300 + 1
    assert set(spent) == {"read and check the config", "read the definitions", "compare"}
