"""What the benchmark says of its measurements, and how it measures; nothing is benchmarked here."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from unittest.mock import MagicMock, Mock

import pytest

from bench import compare, page
from bench.goals import goals
from bench.measure import FailedError, Measured, run
from bench.results import Results
from bench.tools import FloorTool, PulumiTool, Session, Step
from bench.topology import definitions, topology, with_one_more, with_services
from rabbit_topology.lint.reading import parse
from rabbit_topology.services import permissions
from toolchain.broker import Broker


def results(**seconds: float) -> Results:
    """Three rounds of each tool on 1,000 resources: the steps take as many seconds."""
    found = Results(machine="2 cores", date="today", programs=dict.fromkeys(seconds, "a tool"))
    for round_ in (0.5, 1, 20):
        for tool, taken in seconds.items():
            for step in Step:
                measured = Measured(seconds=taken * round_, peak_bytes=int(taken) << 20)
                found.add(tool, 1000, step, measured)
    return found


@pytest.mark.parametrize("size", [100, 1000, 10_000])
def test_a_topology_has_its_size_with_the_vhost(size: int) -> None:
    config = topology(size)
    model = parse(config)[0]
    declared = 1 + len(model.exchanges) + len(model.queues) + len(list(model.routes()))
    assert declared == size
    assert len(parse(with_one_more(config))[0].queues) == len(model.queues) + 1


def test_services_are_so_many_and_each_has_topic_permissions() -> None:
    model = parse(with_services(topology(1000), 200))[0]
    assert len(model.services) == 200
    for it in model.services.values():
        assert permissions.topic_permissions(model, it)
        assert permissions.permissions(model, it)
    assert with_services(topology(12), 0) == {**topology(12), "services": {}}


def test_the_floor_builds_what_the_config_says() -> None:
    config = topology(12)
    model = parse(config)[0]
    whole = definitions(config)
    assert {it["name"]: it["arguments"] for it in whole["queues"]} == {
        name: it.declared_arguments() for name, it in model.queues.items()
    }
    assert {(it["source"], it["destination"], it["routing_key"]) for it in whole["bindings"]} == {
        (it.source, it.destination, it.routing_key) for it in model.routes()
    }


def test_a_goal_goes_by_medians_and_says_whether_it_is_met() -> None:
    found = {it.text: it for it in goals(results(ours=3, Terraform=10))}
    first = found["1,000 resources, first up: ours / Terraform"]
    assert (first.measured, first.verdict) == (pytest.approx(0.3), "met")
    destroyed = found["1,000 resources, destroy: ours / Terraform"]
    assert (destroyed.measured, destroyed.verdict) == (pytest.approx(0.3), "**not met**")
    assert found["100 resources, first up: ours / Terraform"].verdict == "not measured"


def test_the_page_has_every_figure_and_survives_being_kept(tmp_path: Path) -> None:
    found = results(ours=3, Terraform=12.34)
    found.left_out["plain Pulumi, 3,000"] = "would take about 26 min"
    found.policies = [{"queues": 1000, "policies": 10, "seconds": 0.0125, "all_seconds": 0.125}]
    found.rules = {"1000": 0.0123}
    found.save(tmp_path / "kept.json")
    text = page.render(Results.load(tmp_path / "kept.json"))
    assert text == page.render(found)
    assert "| 1,000 | 3.00 | 12.3 |" in text
    assert "| 1,000 | 3 | 12 |" in text
    assert "| 1,000 | 10 | 12 | 0.12 |" in text
    assert "| 1,000 | 0.012 |" in text
    assert "- plain Pulumi, 3,000: would take about 26 min" in text
    assert "Medians of 3 runs, the tools" in text
    found.add("slow", 3000, Step.FIRST, Measured(seconds=400, peak_bytes=None))
    found.programs["slow"] = "a tool"
    assert "Medians of 3 runs, but slow at 3,000 (1), the tools" in page.render(found)


def test_every_round_begins_with_another_tool_and_small_ones_stay_small() -> None:
    small = PulumiTool(name="small", about="", program="plain", engine_env={}, largest=100)
    floor = FloorTool()
    order = [(size, it.name) for size, it in compare.runs([floor, small], [1000, 100], 2)]
    assert order == [
        (100, "floor"),
        (100, "small"),
        (100, "small"),
        (100, "floor"),
        (1000, "floor"),
        (1000, "floor"),
    ]


def test_what_a_run_will_take_is_told_from_its_growth() -> None:
    found = Results()
    assert compare.expectation(found, "ours", 100) is None
    found.add("ours", 100, Step.FIRST, Measured(seconds=2, peak_bytes=None))
    assert compare.expectation(found, "ours", 1000) == pytest.approx(200)
    found.add("ours", 1000, Step.FIRST, Measured(seconds=20, peak_bytes=None))
    assert compare.expectation(found, "ours", 10_000) == pytest.approx(200)


def test_what_takes_long_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    class Once(FloorTool):
        def session(self, folder: Path, broker: Broker, limit: float) -> Session:
            return Mock(**{"measure.return_value": Measured(seconds=100, peak_bytes=None)})

    monkeypatch.setattr(Broker, "start", MagicMock())
    for once, runs in ((300, 1), (400, 2)):  # four steps of 100 s each
        found = Results()
        for _ in range(2):
            compare.measure(
                Once(), 100, "4.0", once=once, limit=1000, results=found, report=lambda _: None
            )
        assert found.repeats() == {("floor", 100): runs}


def test_the_memory_of_a_whole_tree_is_measured(tmp_path: Path) -> None:
    mebibytes = 64
    child = f"import time; held = b'x' * ({mebibytes} << 20); time.sleep(0.5)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    found = run([sys.executable, "-c", parent], cwd=tmp_path, env=os.environ, limit=30)
    assert found.peak_bytes
    assert mebibytes << 20 < found.peak_bytes < 3 * mebibytes << 20
    assert found.seconds > 0.5


def test_a_command_that_fails_or_takes_too_long_is_no_measurement(tmp_path: Path) -> None:
    failing = [sys.executable, "-c", "print('why'); raise SystemExit(3)"]
    with pytest.raises(FailedError, match=r"failed \(3\):\nwhy"):
        run(failing, cwd=tmp_path, env=os.environ, limit=30)
    started = time.monotonic()
    with pytest.raises(FailedError, match="takes more than 0 s"):
        run(["sleep", "60"], cwd=tmp_path, env=os.environ, limit=0.1)
    assert time.monotonic() - started < 10
