from __future__ import annotations

from pathlib import Path

from rabbit_topology.commands import files


def test_a_file_is_named_from_the_working_directory_on(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert files.name_of(tmp_path / "a" / "b.yaml") == "a/b.yaml"
    assert files.name_of(Path("b.yaml")) == "b.yaml"
    assert files.name_of(Path("/elsewhere/b.yaml")) == "/elsewhere/b.yaml"


def test_json_is_written_for_people_too():
    assert files.as_json({"größe": [1]}) == '{\n  "größe": [\n    1\n  ]\n}\n'
