from __future__ import annotations

from toolchain import consumer, golang
from toolchain.golang import Build, Go


def test_the_example_is_compiled_in_a_copy(monkeypatch, tmp_path):
    commands = []
    monkeypatch.setattr(
        golang, "run", lambda command, *_, cwd, env: commands.append((command, cwd))
    )
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    consumer._build(Build(Go("go", "go1.26.6"), tmp_path, temporary, print))
    ((command, folder),) = commands
    assert folder == temporary / "go"
    assert {"go.mod", "main.go"} <= {file.name for file in folder.iterdir()}
    assert "-mod=mod" in command
    assert command[command.index("-o") + 1] == str(tmp_path / "consumer")
