"""
What docs/routing.md shows is what the commands print, and what it expects holds.
"""

from __future__ import annotations

import re
import shlex

import pytest
import yaml
from typer.testing import CliRunner

from rabbit_topology.commands.app import app
from rabbit_topology.lint.reading import read
from rabbit_topology.routing import expectations
from tests.support.repository import ROOT, change, with_examples

PAGE = (ROOT / "docs" / "routing.md").read_text()
CHANGED = {
    'routing_keys: ["order.placed", "order.cancelled"]': 'routing_key: "order.*"',
    '"invoice.paid.#"': '"invoice.paid.*"',
}
PROMPT = "$ python -m rabbit_topology "


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def commands():
    """Yield each command and what the page says that it prints."""
    for block in blocks("console"):
        for command in block.split(PROMPT)[1:]:
            line, _, printed = command.partition("\n")
            yield line, printed


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """The examples in a repository of their own, changed as the page says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return with_examples(tmp_path)


def test_the_page_shows_what_the_commands_print(repository):
    shown = list(commands())
    assert {line.split()[0] for line, _ in shown} == {"trace", "reach", "diff"}
    for line, printed in shown:
        if line.startswith("diff"):
            change(repository / "examples" / "event_bus.yaml", CHANGED)
        result = CliRunner().invoke(app, shlex.split(line))
        assert result.output == printed, line


def test_the_readme_shows_a_part_of_the_page():
    section = (ROOT / "README.md").read_text().partition("## Where messages go\n")[2]
    (shown,) = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    assert shown in PAGE


def test_what_the_page_expects_of_the_event_bus_holds():
    (block,) = blocks("yaml")
    expected = yaml.safe_load(block)["rabbit-topology:expect"]
    of_events = [one for one in expected if one.get("publish", {}).get("exchange") != "jobs"]
    assert len(of_events) == len(expected) - 1
    topology = yaml.safe_load((ROOT / "examples" / "event_bus.yaml").read_text())
    stack = read(topology, expect=of_events)
    assert not stack.errors
    assert expectations.check(stack) == []


def test_the_page_has_the_test_that_it_shows(monkeypatch):
    (block,) = blocks("python")
    monkeypatch.chdir(ROOT)
    space: dict[str, object] = {}
    exec(compile(block, "routing.md", "exec"), space)
    space["test_orders_are_billed_and_kept"]()
