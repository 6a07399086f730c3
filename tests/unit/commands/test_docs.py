"""
``docs``: which configs the page is of, and where it is written.
"""

from __future__ import annotations

import json
import re
import shlex
import sys

import pytest
from typer.testing import CliRunner

from rabbit_topology.commands.app import app
from rabbit_topology.describe import page as package
from rabbit_topology.errors import ConfigError, TopologyError
from tests.support import page
from tests.support.pictures import EXAMPLES, ROOT

HOW_TO = (ROOT / "docs" / "how-to" / "hand-out-a-page.md").read_text()
DEFINITIONS = {
    "rabbitmq_version": "4.0.5",
    "users": [{"name": "app", "password_hash": "aHVudGVyMg==", "tags": []}],
    "vhosts": [{"name": "shop"}],
    "permissions": [
        {"user": "app", "vhost": "shop", "configure": "^$", "write": "^orders$", "read": ".*"}
    ],
    "exchanges": [{"name": "orders", "vhost": "shop", "type": "topic", "durable": True}],
    "queues": [
        {
            "name": "new",
            "vhost": "shop",
            "durable": True,
            "arguments": {"x-queue-type": "quorum", "x-max-length": 10},
        }
    ],
    "bindings": [
        {
            "source": "orders",
            "vhost": "shop",
            "destination": "new",
            "destination_type": "queue",
            "routing_key": "a.#",
            "arguments": {},
        }
    ],
    "policies": [
        {
            "name": "ttl",
            "vhost": "shop",
            "pattern": "",
            "apply-to": "queues",
            "priority": 0,
            "definition": {"message-ttl": 60000},
        }
    ],
    "parameters": [
        {
            "name": "move",
            "vhost": "shop",
            "component": "shovel",
            "value": {"src-uri": "amqp://u:hunter2@h", "dest-uri": "amqp://"},
        }
    ],
}


def run(line):
    result = CliRunner().invoke(app, ["docs", *shlex.split(line)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with two stacks, of which one has secrets."""
    (tmp_path / "Pulumi.yaml").write_text("name: p\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text(
        "config:\n"
        "  rabbit-topology:topology:\n"
        "    {vhost: a, queues: {q: {}}, services: {s: {consumes: [q]}}}\n"
    )
    (tmp_path / "Pulumi.prod.yaml").write_text(
        "config:\n"
        "  rabbit-topology:seed: {secure: v1:abc}\n"
        "  rabbit-topology:broker: {version: '4.0'}\n"
        "  rabbit-topology:topology:\n"
        "    vhost: b\n"
        "    queues: {q: {}, r: {}}\n"
        "    users: {u: {password: {secure: v1:hunter2}}}\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cards(text):
    return {one.attrs["id"] for one in page.parsed(text).query("article")}


def test_every_stack_of_the_project_or_one(project):
    every = run("")
    assert {"dev/a/queue/q", "dev/a/service/s", "prod/b/queue/q", "prod/b/user/u"} < cards(every)
    assert "hunter2" not in every
    assert "v1:abc" not in every
    one = run("--stack prod")
    assert {"queue/q", "queue/r", "user/u"} < cards(one)
    assert "4.3 is assumed" not in one
    assert cards(run("--vhost a")) == cards(run("Pulumi.dev.yaml"))
    with pytest.raises(TopologyError, match="did you mean"):
        run("--stack prodd")
    with pytest.raises(TopologyError, match='"c" is not a vhost here'):
        run("--vhost c")


def test_a_page_for_one_service(project):
    assert cards(run("--service s")) == {"queue/q", "service/s"}
    with pytest.raises(TopologyError, match='"t" is not a service here'):
        run("--service t")


def test_it_is_written_to_a_file(project):
    assert run("-o page.html") == ""
    assert (project / "page.html").read_text(encoding="utf-8") == run("")
    with pytest.raises(TopologyError, match="nowhere"):
        run("-o nowhere/page.html")


def test_what_is_no_topology_has_no_page(project):
    (project / "Pulumi.dev.yaml").write_text(
        "config: {rabbit-topology:topology: {vhost: v, queues: {q: {type: quorun}}}}"
    )
    with pytest.raises(ConfigError, match="quorun"):
        run("")


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_each_example_has_a_page(file):
    assert cards(run(str(file)))


def test_a_brokers_definitions_have_no_config(tmp_path):
    file = tmp_path / "broker.json"
    file.write_text(json.dumps(DEFINITIONS))
    text = run(str(file))
    document = page.parsed(text)
    new = page.card(document, "queue/new")
    assert "max-length 10 its argument x-max-length" in new
    assert "message-ttl 1m (60,000 ms) policy ttl" in new
    assert "type quorum so the broker has it" in new
    assert "user app: consume and purge" in new
    assert "topology." not in re.sub(r"<script>.*", "", text, flags=re.DOTALL)
    assert "Shovels and federation upstreams move" in document.query("main")[0].to_text()
    assert "hunter2" not in text
    assert "aHVudGVyMg" not in text
    (data,) = page.data(document)
    assert page.script(data)("orders", "a.b")["reaches"] == ["new"]


def test_without_its_packages_it_says_what_to_install(monkeypatch):
    monkeypatch.delattr(package, "html", raising=False)
    monkeypatch.delitem(sys.modules, "rabbit_topology.describe.page.html", raising=False)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(TopologyError, match=r"docs .* -r requirements-pictures\.txt"):
        run(str(EXAMPLES[0]))
    needed = (ROOT / "requirements-pictures.txt").read_text()
    assert "Jinja2" in needed
    assert "MarkupSafe" in needed


def test_the_how_to_shows_what_a_page_says():
    config = page.config(
        {
            "vhost": "v",
            "queues": {"jobs": {"max_length": 10_000}},
            "operator_policies": {"cap": {"pattern": "", "definition": {"max-length": 1000}}},
        }
    )
    shown = " ".join(line.removeprefix("> ") for line in HOW_TO.splitlines() if line[:2] == "> ")
    assert shown in page.card(page.parsed(page.written(config)), "queue/jobs")


def test_the_how_to_has_commands_that_there_are():
    lines = re.findall(
        r"^\$ python -m rabbit_topology docs (.*?)(?:\s+#.*)?$", HOW_TO, re.MULTILINE
    )
    assert len(lines) == 5
    options = set(re.findall(r"--?[a-z]+", CliRunner().invoke(app, ["docs", "--help"]).output))
    for line in lines:
        assert {word for word in shlex.split(line) if word.startswith("-")} <= options
