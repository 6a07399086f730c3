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
    result = Results(machine="2 cores", date="today", programs=dict.fromkeys(seconds, "a tool"))
    for round_ in (0.5, 1, 20):
        for tool, taken in seconds.items():
            for step in Step:
                measured = Measured(seconds=taken * round_, peak_bytes=int(taken) << 20)
                result.add(tool, 1000, step, measured)
    return result


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
    for service in model.services.values():
        assert permissions.topic_permissions(model, service)
        assert permissions.permissions(model, service)
    assert with_services(topology(12), 0) == {**topology(12), "services": {}}


def test_the_floor_builds_what_the_config_says() -> None:
    config = topology(12)
    model = parse(config)[0]
    whole = definitions(config)
    assert {queue["name"]: queue["arguments"] for queue in whole["queues"]} == {
        name: one.declared_arguments() for name, one in model.queues.items()
    }
    assert {
        (binding["source"], binding["destination"], binding["routing_key"])
        for binding in whole["bindings"]
    } == {(route.source, route.destination, route.routing_key) for route in model.routes()}


def test_a_goal_goes_by_medians_and_says_whether_it_is_met() -> None:
    result = {goal.text: goal for goal in goals(results(ours=3, Terraform=10))}
    first = result["1,000 resources, first up: ours / Terraform"]
    assert (first.measured, first.verdict) == (pytest.approx(0.3), "met")
    destroyed = result["1,000 resources, destroy: ours / Terraform"]
    assert (destroyed.measured, destroyed.verdict) == (pytest.approx(0.3), "**not met**")
    assert result["100 resources, first up: ours / Terraform"].verdict == "not measured"


def test_the_page_has_every_figure_and_survives_being_kept(tmp_path: Path) -> None:
    result = results(ours=3, Terraform=12.34)
    result.left_out["plain Pulumi, 3,000"] = "would take about 26 min"
    result.policies = [{"queues": 1000, "policies": 10, "seconds": 0.0125, "all_seconds": 0.125}]
    result.rules = {"1000": 0.0123}
    result.save(tmp_path / "kept.json")
    text = page.render(Results.load(tmp_path / "kept.json"))
    assert text == page.render(result)
    assert "| 1,000 | 3.00 | 12.3 |" in text
    assert "| 1,000 | 3 | 12 |" in text
    assert "| 1,000 | 10 | 12 | 0.12 |" in text
    assert "| 1,000 | 0.012 |" in text
    assert "- plain Pulumi, 3,000: would take about 26 min" in text
    assert "Medians of 3 runs, the tools" in text
    result.add("slow", 3000, Step.FIRST, Measured(seconds=400, peak_bytes=None))
    result.programs["slow"] = "a tool"
    assert "Medians of 3 runs, but slow at 3,000 (1), the tools" in page.render(result)


def test_every_round_begins_with_another_tool_and_small_ones_stay_small() -> None:
    small = PulumiTool(name="small", about="", program="plain", engine_env={}, largest=100)
    floor = FloorTool()
    order = [(size, one.name) for size, one in compare.runs([floor, small], [1000, 100], 2)]
    assert order == [
        (100, "floor"),
        (100, "small"),
        (100, "small"),
        (100, "floor"),
        (1000, "floor"),
        (1000, "floor"),
    ]


def test_what_a_run_will_take_is_told_from_its_growth() -> None:
    result = Results()
    assert compare.expectation(result, "ours", 100) is None
    result.add("ours", 100, Step.FIRST, Measured(seconds=2, peak_bytes=None))
    assert compare.expectation(result, "ours", 1000) == pytest.approx(200)
    result.add("ours", 1000, Step.FIRST, Measured(seconds=20, peak_bytes=None))
    assert compare.expectation(result, "ours", 10_000) == pytest.approx(200)


def test_what_takes_long_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    class Once(FloorTool):
        def session(self, folder: Path, broker: Broker, limit: float) -> Session:
            return Mock(**{"measure.return_value": Measured(seconds=100, peak_bytes=None)})

    monkeypatch.setattr(Broker, "start", MagicMock())
    for once, runs in ((300, 1), (400, 2)):  # four steps of 100 s each
        result = Results()
        for _ in range(2):
            compare.measure(
                Once(), 100, "4.0", once=once, limit=1000, results=result, report=lambda _: None
            )
        assert result.repeats() == {("floor", 100): runs}


def test_the_memory_of_a_whole_tree_is_measured(tmp_path: Path) -> None:
    mebibytes = 64
    child = f"import time; held = b'x' * ({mebibytes} << 20); time.sleep(0.5)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    result = run([sys.executable, "-c", parent], cwd=tmp_path, env=os.environ, limit=30)
    assert result.peak_bytes
    assert mebibytes << 20 < result.peak_bytes < 3 * mebibytes << 20
    assert result.seconds > 0.5


def test_a_command_that_fails_or_takes_too_long_is_no_measurement(tmp_path: Path) -> None:
    failing = [sys.executable, "-c", "print('why'); raise SystemExit(3)"]
    with pytest.raises(FailedError, match=r"failed \(3\):\nwhy"):
        run(failing, cwd=tmp_path, env=os.environ, limit=30)
    started = time.monotonic()
    with pytest.raises(FailedError, match="takes more than 0 s"):
        run(["sleep", "60"], cwd=tmp_path, env=os.environ, limit=0.1)
    assert time.monotonic() - started < 10
