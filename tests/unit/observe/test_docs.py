"""
The commands that the pages show are commands that there are, with options that they have.
"""

from __future__ import annotations

import re
import shlex

import pytest
import yaml
from typer.testing import CliRunner

from rabbit_topology.commands.app import app
from tests.support.repository import ROOT

PAGES = ("docs/how-to/see-and-compare.md", "docs/how-to/ci.md")
COMMANDS = sorted(
    {
        line.partition("#")[0].partition(">>")[0].partition(" > ")[0].strip()
        for page in PAGES
        for line in re.findall(r"rabbit_topology ((?:status|drift)\b.*)", (ROOT / page).read_text())
    }
)


def test_there_are_some():
    assert len(COMMANDS) >= 4


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_has_the_options_that_are_shown(line):
    ended = CliRunner().invoke(app, [*shlex.split(line), "--help"])
    assert ended.exit_code == 0, ended.output


def test_an_option_that_is_not_there_would_be_noticed():
    assert CliRunner().invoke(app, ["drift", "--nonsense", "--help"]).exit_code != 0


@pytest.mark.parametrize("page", PAGES)
def test_what_is_shown_as_yaml_is_yaml(page):
    for block in re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(), re.DOTALL):
        assert yaml.safe_load(block)
