"""
Files with secrets: what others see of them, at each moment.
"""

from __future__ import annotations

import os
import stat

import pytest

from rabbit_topology import TopologyError, private_files


def mode(file):
    return stat.S_IMODE(file.stat().st_mode)


@pytest.fixture(params=[0o022, 0o000, 0o777])
def any_umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


def test_a_new_file_and_one_that_is_there_end_with_mode_600(tmp_path, any_umask):
    file = tmp_path / "new"
    private_files.write(file, "one\n")
    assert (file.read_text(), mode(file)) == ("one\n", 0o600)
    file.chmod(0o644)
    private_files.write(file, "two ü\r\n")
    assert (file.read_bytes(), mode(file)) == ("two ü\r\n".encode(), 0o600)
    assert [one.name for one in tmp_path.iterdir()] == ["new"]


def test_at_no_moment_can_others_read_what_is_being_written(tmp_path, monkeypatch):
    file = tmp_path / "secret"
    file.write_text("old")
    file.chmod(0o644)
    seen = []
    synchronise = os.fsync

    def looking(descriptor):
        seen.extend((one.name, mode(one), one.read_text()) for one in tmp_path.iterdir())
        synchronise(descriptor)

    monkeypatch.setattr(os, "fsync", looking)
    private_files.write(file, "hunter2")
    texts = {name: (bits, text) for name, bits, text in seen}
    assert texts.pop("secret") == (0o644, "old")  # whole, until the new one has its place
    assert [*texts.values()] == [(0o600, "hunter2")]


def test_a_failure_leaves_what_was_there_and_nothing_beside_it(tmp_path, monkeypatch):
    file = tmp_path / "secret"
    file.write_text("old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TopologyError, match=r"secret: No space left on device$"):
        private_files.write(file, "hunter2")
    assert file.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize("target", ["there", "absent"])
def test_a_link_is_refused_and_what_it_leads_to_stays(tmp_path, target):
    (tmp_path / "there").write_text("theirs")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / target)
    with pytest.raises(TopologyError, match="symbolic link"):
        private_files.write(link, "hunter2")
    assert (tmp_path / "there").read_text() == "theirs"
    assert not (tmp_path / "absent").exists()
    assert link.is_symlink()


def test_a_link_that_comes_while_it_is_written_is_not_followed(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    file = tmp_path / "secret"
    monkeypatch.setattr(os, "fsync", lambda _: file.symlink_to(victim))
    private_files.write(file, "hunter2")
    assert victim.read_text() == "theirs"
    assert not file.is_symlink()
    assert (file.read_text(), mode(file)) == ("hunter2", 0o600)


def test_what_is_no_file_is_refused(tmp_path):
    for name in (tmp_path, tmp_path / "absent" / "file"):
        with pytest.raises(TopologyError, match=str(name)) as error:
            private_files.write(name, "hunter2")
        assert "hunter2" not in str(error.value)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TopologyError, match="no plain file"):
        private_files.write(tmp_path / "pipe", "hunter2")
