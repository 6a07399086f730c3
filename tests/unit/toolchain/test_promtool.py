"""
`promtool`: the one on PATH, or what it is built from.
"""

from __future__ import annotations

from toolchain import golang, promtool
from toolchain.golang import Build, Go


def test_the_one_on_path_is_taken(monkeypatch):
    monkeypatch.setattr(promtool.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(golang, "entry", lambda *_: (_ for _ in ()).throw(AssertionError))
    assert promtool.ensure(print) == "/usr/bin/promtool"


def test_it_is_built_in_a_copy_and_without_the_clients_of_clouds(monkeypatch, tmp_path):
    commands = []
    monkeypatch.setattr(
        golang, "run", lambda command, *_, cwd, env: commands.append((command, cwd, env))
    )
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    promtool._build(Build(Go("go", "go1.26.6"), tmp_path, temporary, print))
    ((command, folder, _),) = commands
    assert folder == temporary / "promtool-cli"
    assert (folder / "go.mod").read_text().rstrip().rpartition(" v")[2][0].isdigit()
    assert command[-1] == "github.com/prometheus/prometheus/cmd/promtool"
    assert command[command.index("-tags") + 1] == "remove_all_sd"
    assert command[command.index("-o") + 1] == str(tmp_path / "promtool")


def test_without_tags_none_are_given(monkeypatch, tmp_path):
    commands = []
    monkeypatch.setattr(golang, "run", lambda command, *_, **__: commands.append(command))
    build = Build(Go("go", "go1.26.6"), tmp_path, tmp_path, print)
    build.compile(tmp_path, "x", tmp_path / "x", "compiling x")
    assert "-tags" not in commands[0]
