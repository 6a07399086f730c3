from __future__ import annotations

import pkgutil
from importlib import import_module

import pytest
from typer.main import get_command, get_group
from typer.testing import CliRunner

from rabbit_topology import commands
from rabbit_topology.commands.app import app


def own() -> dict[str, str]:
    """Return by each command that some module has, the help of the module's own application."""
    modules = [
        import_module(f"{commands.__name__}.{module.name}")
        for module in pkgutil.iter_modules(commands.__path__)
        if module.name != "app"
    ]
    groups = [get_group(module.app) for module in modules if hasattr(module, "app")]
    return {
        name: " ".join((command.help or "").partition("\n\n")[0].split())
        for group in groups
        for name, command in group.commands.items()
    }


def test_every_command_of_every_module_can_be_called():
    assert sorted(get_command(app).commands) == sorted(own())


def test_help_lists_every_command_with_its_help(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    shown = CliRunner().invoke(app, ["--help"]).output
    lines = [" ".join(line.strip("│ ").split()) for line in shown.splitlines()]
    assert {f"{name} {text}" for name, text in own().items()} <= set(lines)


@pytest.mark.parametrize(("typo", "name"), [("lnt", "lint"), ("dif", "diff"), ("statsu", "status")])
def test_a_mistyped_command_is_answered_with_those_like_it(typo, name):
    result = CliRunner().invoke(app, [typo])
    assert result.exit_code == 2
    assert f"No such command '{typo}'. Did you mean '{name}'" in result.output
