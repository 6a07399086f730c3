"""What is kept of each part of the safety tests, and the page that is made from it."""

from __future__ import annotations

import _thread
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.safety import __main__ as command_line
from tests.safety import measured, page
from tests.safety.commits import DECIDES, Repository
from tests.safety.ledger import Mark, Report, Writer, gaps
from tests.safety.measured import Measured, Row, Run, Session
from tests.safety.parts import BY_NAME, PARTS, Part
from tests.safety.results import CHANGES, KILLED, REFUSED, SAVED, Results
from tests.safety.runner import Runner, command
from tests.safety.scenarios import Outcome
from tests.support.repository import ROOT

COMMIT = "0123456789abcdef"

REPORT = Report(seconds=9.5, rate=998.4, confirmed=9489, delivered=9489, lost=0, twice=17)


def run(part: str, **changes: Any) -> Run:
    known = Run(
        part=part,
        command=f"make safety PART={part}",
        commit=COMMIT,
        changed=False,
        began="2026-11-25T12:34:56+00:00",
        seconds=750,
        status=0,
        python="3.11.7",
        cores=2,
    )
    return replace(known, **changes)


def change(**changes: Any) -> Row:
    row = Row(
        table=CHANGES,
        version="4.0.5",
        cells=("classic to quorum", "8.3"),
        figures=REPORT.numbers,
    )
    return replace(row, **changes)


def whole() -> dict[str, Measured | None]:
    """Every part, measured and passed."""
    return {
        part.name: Measured(
            run=run(part.name), session=Session(tests={"test_a": "passed"}, rows=[change()])
        )
        for part in PARTS
    }


def nothing_changed(_commit: str) -> list[str]:
    return []


# The page.


def test_the_page_names_the_commit_of_each_part() -> None:
    parts = whole()
    parts["kills"] = replace(parts["kills"], run=run("kills", commit="f" * 40, changed=True))
    text = page.text(parts, nothing_changed)
    lines = {name: line for line in text.splitlines() for name in parts if f"| {name} |" in line}
    assert [*lines] == [part.name for part in PARTS]
    assert "| `0123456789` | 25 November 2026, 12:34 UTC | 12.5 | nothing |" in lines["changes"]
    assert "| `ffffffffff` with uncommitted changes |" in lines["kills"]
    assert "1 of 1 passed" in lines["rows"]
    assert "4.0.5; 3.11.7; 2" in lines["rows"]
    assert "After each of them the next `pulumi up` completed it" in text
    assert "Failed" not in text
    assert "measured before" not in text


def test_the_page_adds_up_all_parts_and_keeps_what_was_published_by_name_apart() -> None:
    parts = whole()
    lossy = {**REPORT.numbers, "lost": 6}
    parts["kills"].session.rows[:] = [
        change(table=KILLED, struck=True, cells=("classic to quorum", "after 1 s", "6.7")),
        change(by_name=True, figures=lossy),
    ]
    text = page.text(parts, nothing_changed)
    count = len(PARTS) + 1
    assert f"**{count * 9489:,} messages confirmed, 0 lost, 0 altered, {count * 17}" in text
    assert "runs and brokers killed on the way: 1." in text
    assert "with 6 lost" in text
    assert "| 4.0.5 | classic to quorum | after 1 s | 6.7 | 9,489 | 998 | 9,489 | 0 | 17 |" in text


def test_a_part_that_is_older_than_what_decides_is_named_so() -> None:
    parts = whole()
    parts["brokers"] = replace(parts["brokers"], run=run("brokers", commit="old"))
    text = page.text(parts, lambda one: ["rabbit_topology/hooks.py"] if one == "old" else [])
    assert (
        "- *brokers*: measured before the last change of what decides about messages: "
        "`rabbit_topology/hooks.py`."
    ) in text
    assert text.count("measured before") == 1


def test_a_commit_that_is_not_known_is_named_so() -> None:
    text = page.text(whole(), lambda _commit: None)
    assert text.count("its age is not known either") == len(PARTS)


def test_failures_are_named_and_nothing_is_said_of_what_they_would_have_shown() -> None:
    parts = whole()
    parts["kills"] = Measured(
        run=run("kills", status=1),
        session=Session(tests={"test_a": "passed", "test_b[4.0]": "failed"}, rows=[change()]),
    )
    text = page.text(parts, nothing_changed)
    assert "**Not every test passed, in kills**" in text
    assert "- *kills*: `test_b[4.0]` failed" in text
    assert "**1 of 2 passed**" in text
    assert "nothing was left behind" not in text


@pytest.mark.parametrize(
    ("session", "status", "said"),
    [
        (
            Session(tests={"test_a": "passed", "test_b": "", "test_c": ""}, begun="test_b"),
            -9,
            "broke off during `test_b`, with status -9; not run to the end: `test_b`, `test_c`",
        ),
        (Session(), 4, "broke off, with status 4; not run to the end: all of it"),
        (Session(tests={"test_a": "skipped"}), 0, "`test_a` was skipped"),
        (Session(tests={"test_a": "passed"}), 3, "ended with status 3 after its tests"),
    ],
)
def test_what_broke_off_or_was_skipped_is_not_taken_for_passed(
    session: Session, status: int, said: str
) -> None:
    part = Measured(run=run("kills", status=status), session=session)
    assert not part.sound
    text = page.text({**whole(), "kills": part}, nothing_changed)
    assert said in text
    assert "**Not every test passed, in kills**" in text


def test_a_part_that_was_not_measured_is_named() -> None:
    text = page.text({**whole(), "rows": None}, nothing_changed)
    assert "**Not measured: rows.**" in text
    assert "nothing was left behind" not in text


def test_every_table_has_its_head_and_rows_as_wide() -> None:
    parts = whole()
    parts["refusals"].session.rows[:] = [
        Row(table=REFUSED, version="4.0.5", cells=("queue removed", "refused"))
    ]
    parts["checkpoints"].session.rows[:] = [
        Row(table=SAVED, version="4.0.5", cells=("up killed",), struck=True)
    ]
    sections = page.text(parts, nothing_changed).split("\n## ")[1:]
    assert [section.partition("\n")[0] for section in sections] == [
        *("Parts", CHANGES, KILLED, SAVED, REFUSED)
    ]
    for section in sections:
        rows = [line for line in section.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1, section
    assert "Nothing." in sections[2]


# What is kept.


def test_what_results_take_comes_back_from_the_kept_file(tmp_path: Path) -> None:
    results = Results()
    results.path = tmp_path / "session.jsonl"
    outcome = Outcome(report=REPORT, up_seconds=8.34, notes="2 leftovers")
    results.change("4.0.5", "durable", outcome)
    results.kill("4.0.5, 1 node", "node 1 of 1", "after 1.24 s", outcome, struck=False)
    results.refusal("4.0.5", "vhost removed", "refused: naïve ☕ holds 10 ready")
    results.saved("4.0.5", "up killed", struck=True)
    for line in (
        {"selected": ["test_a", "test_b", "test_c"]},
        {"began": "test_a"},
        {"test": "test_a", "became": "passed", "seconds": 2.0},
        {"began": "test_b"},
        # Its broker did not stop: passed, then failed; and the other way round.
        {"test": "test_b", "became": "failed", "seconds": 2.0},
        {"test": "test_b", "became": "passed", "seconds": 2.0},
    ):
        measured.add(results.path, **line)
    measured.keep(run("kills", status=1, beside=("rows",)), results.path, tmp_path / "kept")
    kept = measured.load("kills", tmp_path / "kept")
    assert kept.run == run("kills", status=1, beside=("rows",))
    assert kept.session.tests == {"test_a": "passed", "test_b": "failed", "test_c": ""}
    assert (kept.session.failed, kept.session.missing) == (["test_b"], ["test_c"])
    assert kept.session.begun == "test_b"
    assert kept.session.versions == ["4.0.5"]
    assert [(row.table, row.cells) for row in kept.session.rows] == [
        (CHANGES, ("durable, 2 leftovers", "8.3")),
        (KILLED, ("node 1 of 1", "after 1.24 s (the run had ended), 2 leftovers", "8.3")),
        (REFUSED, ("vhost removed", "refused: naïve ☕ holds 10 ready")),
        (SAVED, ("up killed",)),
    ]
    assert kept.session.rows[0].figures == REPORT.numbers


def test_a_line_that_was_not_written_to_its_end_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    measured.add(path, began="test_a")
    with path.open("a") as file:
        file.write('{"test": "test_a", "bec')
    assert [*measured.lines(path)] == [{"began": "test_a"}]


def test_a_session_of_tests_writes_how_each_ended(tmp_path: Path) -> None:
    """The conftest's hooks, on tests that need neither engine nor broker."""
    folder, data = tmp_path / "tests" / "safety", tmp_path / "data.jsonl"
    folder.mkdir(parents=True)
    (folder / "test_small.py").write_text(
        "import pytest\n"
        "pytestmark = pytest.mark.safety\n"
        "@pytest.fixture\n"
        "def broken():\n"
        "    yield\n"
        "    raise OSError\n"
        f"def {PARTS[0].tests[0]}(): pass\n"
        f"def {PARTS[1].tests[0]}(broken): pass\n"
        f"def {PARTS[1].tests[1]}(): assert False\n"
        "def not_a_test(): pass\n"
    )
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", str(folder), "-q", "-m", "safety"),
            *("-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path)),
            *("-p", "no:cacheprovider", "-p", "tests.safety.conftest"),
            *(f"--safety-part={PARTS[1].name}", f"--safety-data={data}"),
        ],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    session = measured.session(measured.lines(data))
    first, second = PARTS[1].tests[:2]
    assert session.tests == {
        f"test_small.py::{first}": "failed",
        f"test_small.py::{second}": "failed",
    }


# Commits.


@pytest.fixture
def clone(tmp_path: Path) -> Callable[..., str]:
    """Writes files, commits them, and returns the commit."""

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init", "--quiet")

    def commit(**files: str) -> str:
        for name, content in files.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        git("add", "--all")
        git("commit", "--quiet", "--message", "a")
        return git("rev-parse", "HEAD")

    return commit


def test_what_changed_since_a_commit_counts_only_what_decides(
    tmp_path: Path, clone: Callable[..., str]
) -> None:
    repository = Repository(tmp_path)
    first = clone(rabbit_topology__hooks="1", rabbit_topology__other="1")
    assert repository.head() == first
    assert repository.changed_since(first) == []
    clone(**{"docs__page": "1", "rabbit_topology__lint__advice_queues.py": "1"})
    assert repository.changed_since(first) == []
    clone(rabbit_topology__hooks="2")
    assert repository.changed_since(first) == ["rabbit_topology/hooks"]
    assert repository.changed_since("f" * 40) is None
    assert repository.changed_since("") is None


def test_uncommitted_changes_count_where_they_matter(
    tmp_path: Path, clone: Callable[..., str]
) -> None:
    clone(rabbit_topology__hooks="1", docs__page="1")
    repository = Repository(tmp_path)
    (tmp_path / "docs" / "page").write_text("2")
    assert not repository.changed()
    (tmp_path / "rabbit_topology" / "new").write_text("1")
    assert repository.changed()


def test_without_a_clone_nothing_is_known(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    assert (repository.head(), repository.changed()) == ("", False)
    assert repository.changed_since(COMMIT) is None


def test_what_decides_is_there() -> None:
    named = [path for path in DECIDES if not path.startswith(":")]
    assert [path for path in named if not (ROOT / path).exists()] == []


# Running them.

ONE = Part(name="one", about="", tests=())
TWO = Part(name="two", about="", tests=())
LONE = Part(name="lone", about="", tests=(), alone=True)


def runner(folder: Path, scripts: dict[str, str], said: list[str], **settings: Any) -> Runner:
    """Return one whose parts are Python scripts; they get the file to write as ``data``."""

    def script(part: Part, data: Path) -> Sequence[str]:
        head = "import json, os, pathlib, time\ndef add(**line):\n"
        head += f"    open({str(data)!r}, 'a').write(json.dumps(line) + chr(10))\n"
        return [sys.executable, "-u", "-c", head + scripts[part.name]]

    return Runner(
        folder, say=said.append, command=script, repository=Repository(folder), **settings
    )


PASSES = "add(selected=['a'])\nadd(test='a', became='passed')\nprint('hello')\n"


def test_a_part_alone_has_nothing_beside_it_and_others_run_side_by_side(tmp_path: Path) -> None:
    said: list[str] = []
    # Each waits for the other: one after the other they would never end.
    meet = (
        "here = pathlib.Path({folder!r}); (here / '{me}').touch()\n"
        "end = time.monotonic() + 20\n"
        "while not (here / '{other}').exists(): assert time.monotonic() < end; time.sleep(0.01)\n"
    )
    scripts = {
        "lone": PASSES,
        "one": PASSES + meet.format(folder=str(tmp_path), me="1", other="2"),
        "two": PASSES + meet.format(folder=str(tmp_path), me="2", other="1"),
    }
    kept = tmp_path / "kept"
    assert runner(kept, scripts, said).run([ONE, TWO, LONE]) == []
    assert measured.load("lone", kept).run.beside == ()
    assert measured.load("one", kept).run.beside == ("two",)
    assert measured.load("two", kept).run.beside == ("one",)
    assert said[0] == "lone | begins, beside nothing"
    assert "one | hello" in said


def test_a_part_that_fails_is_kept_as_failed_and_ends_no_other(tmp_path: Path) -> None:
    said: list[str] = []
    scripts = {
        "one": "add(selected=['a', 'b'])\nadd(began='a')\nos.kill(os.getpid(), 9)\n",
        "two": "time.sleep(0.5)\n" + PASSES,
        "lone": "raise SystemExit(4)\n",
    }
    assert runner(tmp_path, scripts, said).run([ONE, TWO, LONE]) == ["lone", "one"]
    one = measured.load("one", tmp_path)
    assert (one.run.status, one.session.missing, one.sound) == (-9, ["a", "b"], False)
    assert not measured.load("lone", tmp_path).sound
    assert measured.load("two", tmp_path).sound


def test_what_a_part_leaves_behind_is_killed_and_nothing_else(tmp_path: Path) -> None:
    said: list[str] = []
    leave = (
        "import subprocess, sys\n"
        "left = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],"
        " start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "print('left', left.pid)\n"
    )
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(sleep, start_new_session=True) as foreign:
        runner(tmp_path, {"one": PASSES + leave}, said).run([ONE])
        (line,) = (line for line in said if "left" in line)
        status = Path("/proc") / line.split()[-1] / "status"
        # Its parent has ended: whoever inherited it may not have taken note of its end yet.
        assert not status.exists() or "State:\tZ" in status.read_text()
        assert foreign.poll() is None
        foreign.kill()


def test_an_interrupt_ends_what_runs_and_keeps_what_was_measured_before(tmp_path: Path) -> None:
    said: list[str] = []
    scripts = dict.fromkeys(("one", "two"), "time.sleep(3); print('up'); time.sleep(60)\n")
    measured.keep(run("one"), tmp_path / "nothing", tmp_path)
    before = (tmp_path / "one.jsonl").read_text()
    running = runner(tmp_path, scripts, said)
    processes: list[subprocess.Popen[str]] = []

    def interrupted(line: str) -> None:
        if "up" in line and len(running._running) == 2 and not processes:
            processes.extend(one.process for one in running._running)
            _thread.interrupt_main()

    running._say = interrupted
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        running.run([ONE, TWO])
    assert time.monotonic() - begin < 30
    assert [process.poll() is not None for process in processes] == [True, True]
    assert (tmp_path / "one.jsonl").read_text() == before
    assert not (tmp_path / "two.jsonl").exists()


def test_a_part_is_run_on_the_full_scale_by_its_name() -> None:
    arguments = command(BY_NAME["kills"], Path("/data"))
    assert {"--safety-scale=full", "--safety-part=kills", "--safety-data=/data"} <= {*arguments}


def test_the_command_line_takes_parts_and_hands_the_rest_to_pytest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    handed: list[Any] = []
    monkeypatch.setattr(command_line.pytest, "main", lambda one: handed.append(one) or 0)
    assert command_line.main(["--part", "kills", "-k", "4.0"]) == 0
    assert handed[0][-3:] == ["--safety-part=kills", "-k", "4.0"]

    monkeypatch.setattr(command_line.signal, "signal", lambda *_: None)
    monkeypatch.setattr(command_line.engine, "ensure", lambda _: None)
    monkeypatch.setattr(command_line.page, "write", lambda: handed.append("page"))
    monkeypatch.setattr(
        command_line,
        "Runner",
        lambda **_: type("R", (), {"run": lambda _, them: [one.name for one in them]})(),
    )
    assert command_line.main(["--part=rows", "--part=kills"]) == 1
    assert handed[1:] == ["page"]
    assert command_line.main(["--page"]) == 0
    assert handed[1:] == ["page"] * 2
    with pytest.raises(SystemExit):
        command_line.main(["--part", "nothing"])


def test_each_span_of_time_has_its_own_longest_gap_at_any_one_queue(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "delivered-1.bin")
    for queue, times in enumerate([(1.0, 1.1, 1.2, 2.4, 2.5, 2.9), (1.0, 1.5, 2.0, 2.5)]):
        for number, seconds in enumerate(times):
            writer.add(Mark.NONE, 0, number, seconds, bytes(8), queue=queue)
    writer.flush()
    assert gaps(tmp_path, [(1.0, 2.0), (2.0, 3.0)]) == pytest.approx([0.8, 0.5])
