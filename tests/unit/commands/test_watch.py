"""
``watch``: rules, scrape config and dashboard of the project's stacks, and where they are written.
"""

from __future__ import annotations

import json

import pytest
import yaml

from rabbit_topology.commands import app
from tests.support.watched import EVERYTHING

STACK = "Pulumi.orders-prod.yaml"


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "Pulumi.yaml").write_text("name: p\nruntime: python\n")
    configure(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RABBITMQ_ENDPOINT", raising=False)
    return tmp_path


def configure(folder, topology=EVERYTHING, **settings):
    config = {"rabbit-topology:topology": topology, **settings}
    (folder / STACK).write_text(yaml.safe_dump({"config": config}))


@pytest.fixture
def run(mocker, capsys):
    def run(*arguments):
        mocker.patch("sys.argv", ["rabbit_topology", "watch", *arguments])
        with pytest.raises(SystemExit) as ended:
            app.main()
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return run


def test_rules_name_the_stack_its_job_and_the_command(project, run):
    status, out, _ = run("rules")
    (group,) = yaml.safe_load(out)["groups"]
    assert status == 0
    assert group["name"] == "rabbit-topology orders-prod shop"
    for rule in group["rules"]:
        assert rule["labels"]["stack"] == "orders-prod"
        assert 'job="rabbitmq-orders-prod"' in rule["expr"]
        assert "status --stack orders-prod --vhost shop" in rule["annotations"]["runbook"]
    assert len(out.splitlines()) < 20 * len(group["rules"])  # no expression is folded
    again = run("rules", "--file", STACK, "--job", "mine")[1]
    assert again == out.replace("rabbitmq-orders-prod", "mine")


def test_scrape_asks_each_node_for_the_vhosts_of_the_stack(project, run):
    hosts = {"hosts": ["a.example", "b.example:5671", "[::1]:5673", "a.example:5674"]}
    configure(project, **{"rabbit-topology:broker": hosts})
    (job,) = yaml.safe_load(run("scrape")[1])["scrape_configs"]
    assert job == {
        "job_name": "rabbitmq-orders-prod",
        "metrics_path": "/metrics/detailed",
        "params": {"family": ["queue_coarse_metrics", "queue_metrics"], "vhost": ["shop"]},
        "static_configs": [{"targets": ["a.example:15692", "b.example:15692", "[::1]:15692"]}],
    }
    (job,) = yaml.safe_load(run("scrape", "--target", "x:1", "--target", "y:2")[1])[
        "scrape_configs"
    ]
    assert job["static_configs"] == [{"targets": ["x:1", "y:2"]}]


def test_without_hosts_the_metrics_are_where_the_endpoint_is(project, run):
    configure(project, **{"rabbitmq:endpoint": "https://rabbit.example:15671"})
    (job,) = yaml.safe_load(run("scrape")[1])["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["rabbit.example:15692"]}]
    configure(project)
    status, out, err = run("scrape")
    assert (status, out) == (1, "")
    assert "say --target host:15692" in err


def test_a_dashboard_is_written_to_a_file(project, run):
    status, out, _ = run("dashboard", "-o", "board.json")
    shown = json.loads((project / "board.json").read_text())
    assert (status, out) == (0, "")
    assert shown["title"] == "RabbitMQ: orders-prod"
    assert 'job="rabbitmq-orders-prod"' in shown["panels"][1]["targets"][0]["expr"]
    assert run("dashboard", "-o", str(project / "no" / "board.json"))[0] == 1


def test_one_vhost_is_chosen_and_an_unknown_one_is_an_error(project, run):
    one = {"queues": {"q": {}}}
    configure(project, {"vhosts": {"a": one, "b": one}})
    assert len(yaml.safe_load(run("rules")[1])["groups"]) == 2
    (group,) = yaml.safe_load(run("rules", "--vhost", "b")[1])["groups"]
    assert group["name"].endswith(" b")
    status, out, err = run("rules", "--vhost", "c")
    assert (status, out) == (1, "")
    assert '"c" is not a vhost of the stack' in err


def test_a_config_that_is_wrong_is_an_error(project, run):
    configure(project, {"vhost": "v", "queues": {"q": {"type": "quorun"}}})
    status, out, err = run("rules")
    assert (status, out) == (1, "")
    assert "quorun" in err
