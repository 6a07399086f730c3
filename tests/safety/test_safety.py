"""
Messages while a topology changes, on every version: none is lost, and what would lose is refused.

The tests that carry the marker `integration` as well are the fast selection.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import Timer
from typing import Any, NamedTuple

import pytest

from tests.safety import scenarios, settled
from tests.safety.killing import (
    Moment,
    Run,
    exchange_boundaries,
    kill_points,
    moments,
    queue_boundaries,
)
from tests.safety.pairs import covering, in_turn
from tests.safety.results import Results
from tests.safety.scenarios import FULL, Load, Scale, changes, config, traffic
from tests.safety.traffic import Publication
from tests.support.stacks import Stack, connect
from tests.support.versions import VERSIONS
from toolchain import engine
from toolchain.broker import Broker

pytestmark = pytest.mark.safety
fast = pytest.mark.integration

SEED = 20_251_124
"""Of all random moments; with the version it gives each its own."""

STATISTICS_SECONDS = 12
"""In so long the broker's statistics know a rate."""

TRIES = 6
"""A step may be over before it is seen; then the run ends by itself, and the next one is tried."""

NAMES = tuple(changes("", FULL))
FAST_ON_4_0 = {
    "exchange direct to topic",
    "many ways in",
    "at rest, classic to quorum",
    "no bindings",
}
UNORDERED = {"no bindings", "many ways in"}


def selected(version: str, name: str) -> Any:
    is_fast = name == "classic to quorum" or (version == "4.0" and name in FAST_ON_4_0)
    return pytest.param(version, name, id=f"{version}-{name}", marks=[fast] if is_fast else [])


RANDOM_KILLS = tuple(f"at random, {number}" for number in range(1, FULL.random_kills + 1))
NEEDS_MESSAGES = {"drained queue declared", "messages moved", "messages moved back"}
"""Moments that come only if the queue holds messages, so that nobody may consume it."""


class Kill(NamedTuple):
    """A run that is killed, on a version."""

    version: str
    moment: str
    undone: bool
    """It is the change back that is killed."""
    consumed: bool
    """There are consumers; else messages pile up."""


def in_pairs(names: Sequence[str]) -> dict[str, list[Kill]]:
    """Return by version what is killed: at every moment on every version, the rest in pairs."""

    def allowed(case: Sequence[Any]) -> bool:
        kill = Kill(*case)
        return not (kill.consumed and kill.moment in NEEDS_MESSAGES)

    cases = covering(VERSIONS, names, (True, False), (True, False), allowed=allowed)
    chosen = [Kill(*case) for case in cases]
    return {version: [kill for kill in chosen if kill.version == version] for version in VERSIONS}


QUEUE_KILLS = in_pairs([*queue_boundaries("", "", ""), *RANDOM_KILLS])
RENAME_KILLS = {
    version: [
        Kill(version, moment, undone=bool(number % 2), consumed=False)
        for number, moment in enumerate([*queue_boundaries("", "", "")])
        if number % len(VERSIONS) == at
    ]
    for at, version in enumerate(VERSIONS)
}
"""Each moment once: a queue that is renamed takes the steps of one that is replaced."""
EXCHANGE_KILLS = in_pairs([*exchange_boundaries("", "")])

versions = pytest.mark.parametrize(
    "version",
    [pytest.param(version, marks=[fast] if version == "4.0" else []) for version in VERSIONS],
)


@pytest.fixture
def make_stack(
    tmp_path: Path, engine_env: dict[str, str], start_broker: Callable[[str], Broker]
) -> Callable[..., Stack]:
    def make(version: str, folder: str = "stack", broker: Broker | None = None) -> Stack:
        return Stack(tmp_path / folder, engine_env, broker or start_broker(version))

    return make


# Changes under traffic.


@pytest.mark.parametrize(
    ("version", "name"), [selected(version, name) for version in VERSIONS for name in NAMES]
)
def test_a_change_loses_nothing(
    version: str,
    name: str,
    make_stack: Callable[..., Stack],
    tmp_path: Path,
    vhost: str,
    scale: Scale,
    results: Results,
) -> None:
    stack = make_stack(version)
    change = changes(vhost, scale)[name]
    outcome = scenarios.deploy(stack, change, tmp_path / "ledger", scale.rate)
    results.change(stack.broker.version, name, outcome, by_name=change.by_name)
    allowed = scale.rate * scenarios.BY_NAME_SECONDS if change.by_name else 0
    assert outcome.report.lost <= allowed
    assert not outcome.report.altered
    for queue, messages in change.arrived.items():
        assert outcome.report.by_queue[queue] == messages


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("classic to quorum", marks=fast),
        "exchange direct to topic",
        "exchange in the middle",
        "many ways in",
        "many queues",
    ],
)
def test_nor_does_it_with_the_settings_that_make_up_uses(
    name: str,
    make_stack: Callable[..., Stack],
    tmp_path: Path,
    vhost: str,
    scale: Scale,
    results: Results,
) -> None:
    stack = make_stack("4.0")
    stack.env.update(engine.QUICK)
    outcome = scenarios.deploy(stack, changes(vhost, scale)[name], tmp_path / "ledger", scale.rate)
    results.change(stack.broker.version, f"{name}, as `make up` runs it", outcome)
    assert outcome.report.sound


@versions
def test_replacements_in_a_row_lose_nothing(
    version: str,
    make_stack: Callable[..., Stack],
    tmp_path: Path,
    vhost: str,
    scale: Scale,
    results: Results,
) -> None:
    stack = make_stack(version)
    change = changes(vhost, scale)["classic to quorum"]
    outcome = scenarios.deploy_in_turn(
        stack, change, tmp_path / "ledger", scale.top_rate, scale.replacements
    )
    results.change(stack.broker.version, "classic to quorum and back", outcome)
    assert outcome.report.sound
    assert outcome.report.rate >= scale.minimum_rate


def test_replacements_on_a_cluster_lose_nothing_when_a_node_is_killed(
    cluster: Callable[[], Broker],
    make_stack: Callable[..., Stack],
    tmp_path: Path,
    vhost: str,
    scale: Scale,
    results: Results,
) -> None:
    broker = cluster()
    stack = make_stack("", broker=broker)
    change = changes(vhost, scale)["classic to quorum"]
    middle, node = scale.replacements // 2, 2

    def come_back() -> None:
        if not broker.nodes[node].alive():
            broker.restart(node)

    def before_turn(turn: int) -> None:
        if turn == middle:
            Timer(3, broker.kill, [node]).start()
        elif turn == middle + 1:
            come_back()

    outcome = scenarios.deploy_in_turn(
        *(stack, change, tmp_path / "ledger", scale.top_rate, scale.replacements),
        before_turn=before_turn,
        after_failure=lambda _turn: come_back(),
    )
    name = "classic to quorum and back, a node killed during one of them"
    results.change(f"{broker.version}, 3 nodes", name, outcome)
    come_back()
    assert outcome.report.sound


@versions
def test_a_second_run_under_traffic_changes_nothing(
    version: str,
    make_stack: Callable[..., Stack],
    tmp_path: Path,
    vhost: str,
    scale: Scale,
    results: Results,
) -> None:
    stack = make_stack(version)
    change = changes(vhost, scale)["many ways in"]
    stack.configure(change.before)
    stack.up()
    with traffic(tmp_path / "ledger", stack.broker, change, scale.rate) as flowing:
        flowing.flow(200)
        begin = time.monotonic()
        assert set(stack.up().changes) == {"unchanged"}
        seconds = time.monotonic() - begin
        assert set(stack.up("--refresh").changes) == {"unchanged"}
        flowing.flow(200)
        report = flowing.finish()
    settled.check(stack, change.before)
    outcome = scenarios.Outcome(report=report, up_seconds=seconds)
    results.change(stack.broker.version, "second run", outcome)
    assert report.sound
    assert (report.twice, report.out_of_order, report.returned) == (0, 0, 0)


@versions
def test_two_runs_at_once_lose_nothing(
    version: str,
    make_stack: Callable[..., Stack],
    tmp_path: Path,
    vhost: str,
    scale: Scale,
    results: Results,
) -> None:
    first, second = make_stack(version, "first"), make_stack(version, "second")
    change = changes(vhost, scale)["classic to quorum"]
    for stack in (first, second):
        stack.configure(change.before)
        stack.up()
    with traffic(tmp_path / "ledger", first.broker, change, scale.rate) as flowing:
        flowing.flow(200)
        begin = time.monotonic()
        for stack in (first, second):
            stack.configure(change.after)
        runs = [Run(first), Run(second)]
        statuses = [run.wait() for run in runs]
        seconds = time.monotonic() - begin
        for run, status in zip(runs, statuses, strict=True):
            if status:
                assert "another run is changing this vhost right now" in run.text, run.text
        for stack in (first, second):
            scenarios.up_until_done(stack)
        flowing.flow(200)
        report = flowing.finish()
    refused = sum(map(bool, statuses))
    outcome = scenarios.Outcome(
        report=report, up_seconds=seconds, notes=f"{refused} of 2 runs stopped by the other"
    )
    results.change(first.broker.version, "two runs at once", outcome)
    assert report.sound
    settled.check(first, change.after)
    settled.check(second, change.after)
    assert refused < 2


# Killed.


def _duration(stack: Stack, change: scenarios.Change) -> float:
    """Return the seconds that an undisturbed replacement takes; afterwards it is undone."""
    _, seconds = scenarios.timed_up(stack, change.after)
    scenarios.timed_up(stack, change.before)
    return seconds


def _deployed(stack: Stack, change: scenarios.Change) -> tuple[Stack, scenarios.Change]:
    """Deploy what a change begins with."""
    stack.configure(change.before)
    stack.up()
    return stack, change


@versions
def test_a_killed_run_is_completed_by_the_next(
    version: str,
    make_stack: Callable[..., Stack],
    tmp_path: Path,
    vhost: str,
    scale: Scale,
    results: Results,
) -> None:
    name = "classic to quorum"
    stack, change = _deployed(make_stack(version), changes(vhost, scale)[name])
    seed = f"{SEED} run {version}"
    print(f"\nseed: {seed}")
    points = moments(kill_points(scale.random_kills, seed, _duration(stack, change)))
    at_random = dict(zip(RANDOM_KILLS, points, strict=False))
    wanted = None if scale.every_boundary else {"publishers led to the holding queue", *at_random}

    def boundary(name: str, wanted: dict[str, Any]) -> Moment:
        if name in at_random:
            return at_random[name]
        result = queue_boundaries("q", "e", wanted["queues"]["q"]["type"])
        return Moment(name=name, condition=result[name])

    kills = [kill for kill in QUEUE_KILLS[version] if wanted is None or kill.moment in wanted]
    _kill_runs(stack, name, change, kills, boundary, tmp_path, scale, results)


@versions
def test_a_killed_run_of_an_exchange_is_completed_by_the_next(
    version: str,
    make_stack: Callable[..., Stack],
    tmp_path: Path,
    vhost: str,
    scale: Scale,
    results: Results,
) -> None:
    name = "exchange direct to topic"
    stack, change = _deployed(make_stack(version), changes(vhost, scale)[name])

    def boundary(name: str, wanted: dict[str, Any]) -> Moment:
        result = exchange_boundaries("e", wanted["exchanges"]["e"]["type"])
        return Moment(name=name, condition=result[name])

    kills = EXCHANGE_KILLS[version]
    if not scale.every_boundary:
        kills = [kill for kill in kills if kill.moment == "exchange deleted"]
    _kill_runs(stack, name, change, kills, boundary, tmp_path, scale, results)


@versions
def test_a_killed_run_that_renames_a_queue_is_completed_by_the_next(
    version: str,
    make_stack: Callable[..., Stack],
    tmp_path: Path,
    vhost: str,
    scale: Scale,
    results: Results,
) -> None:
    name = "renamed"
    stack, change = _deployed(make_stack(version), changes(vhost, scale)[name])

    def boundary(name: str, wanted: dict[str, Any]) -> Moment:
        ((successor, queue),) = wanted["queues"].items()
        former = queue["renamed_from"]
        result = queue_boundaries(former, "e", queue["type"], successor)
        return Moment(name=name, condition=result[name])

    kills = RENAME_KILLS[version] if scale.every_boundary else RENAME_KILLS[version][:1]
    _kill_runs(stack, name, change, kills, boundary, tmp_path, scale, results)


def _kill_runs(
    stack: Stack,
    name: str,
    change: scenarios.Change,
    kills: Sequence[Kill],
    boundary: Callable[[str, dict[str, Any]], Moment],
    folder: Path,
    scale: Scale,
    results: Results,
) -> None:
    """Kill one run for each, and check each on its own; the first config is deployed."""
    problems, ledgers = [], count(1)
    deployed = change.before
    for kill in in_turn(kills, lambda kill: kill.undone):
        wanted, other = change.after, change.before
        if kill.undone:
            wanted, other = other, wanted
        what = f"{name}{', undone' * kill.undone}{', no consumers' * (not kill.consumed)}"
        moment = boundary(kill.moment, wanted)
        # A time that a run did not last for says nothing that another try would change.
        for _ in range(TRIES if moment.condition else 1):
            if deployed is not other:
                scenarios.timed_up(stack, other)
            ledger = folder / f"ledger-{next(ledgers)}"
            outcome, struck = scenarios.kill_and_complete(
                *(stack, change, wanted, moment, ledger, scale.kill_rate), consumed=kill.consumed
            )
            deployed = wanted
            results.kill(stack.broker.version, what, moment.name, outcome, struck=struck)
            if not outcome.report.sound:
                problems.append(f"{what}, {moment.name}: {outcome.report}")
            if struck:
                break
        else:
            if moment.condition and scale.every_boundary:
                problems.append(f"{what}, {moment.name}: over each time before it was seen")
    assert problems == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_killed_broker_loses_nothing(
    version: str,
    engine_env: dict[str, str],
    tmp_path: Path,
    vhost: str,
    scale: Scale,
    results: Results,
) -> None:
    with Broker.start(version=version, report=print) as broker:
        stack = Stack(tmp_path / "stack", engine_env, broker)
        _kill_nodes(stack, [0], version, tmp_path, vhost, scale, results)


def test_a_killed_node_loses_nothing(
    cluster: Callable[[], Broker],
    make_stack: Callable[..., Stack],
    tmp_path: Path,
    vhost: str,
    scale: Scale,
    results: Results,
) -> None:
    stack = make_stack("", broker=cluster())
    _kill_nodes(stack, [0, 1, 2], "3 nodes", tmp_path, vhost, scale, results)


def _kill_nodes(
    stack: Stack,
    nodes: list[int],
    label: str,
    folder: Path,
    vhost: str,
    scale: Scale,
    results: Results,
) -> None:
    broker = stack.broker
    change = changes(vhost, scale)["classic to quorum"]
    stack.configure(change.before)
    stack.up()
    seed = f"{SEED} node {label}"
    print(f"\nseed: {seed}")
    chosen = random.Random(seed)
    # At first when a single node has not written down yet that there is a new queue.
    young = "return exchange bound"
    bound = Moment(name=young, condition=queue_boundaries("q", "e", "quorum")[young])
    points = moments(kill_points(scale.broker_kills, seed, _duration(stack, change)))
    problems = []
    for number, moment in enumerate([bound, *points]):
        wanted = change.before if number % 2 else change.after
        node = chosen.choice(nodes)

        def strike(run: Run, node: int = node) -> None:
            broker.kill(node)
            time.sleep(1)
            broker.restart(node)

        outcome, struck = scenarios.kill_and_complete(
            *(stack, change, wanted, moment, folder / f"ledger-{number}", scale.kill_rate),
            consumed=True,
            victim=strike,
        )
        what = f"node {node + 1} of {len(broker.nodes)}"
        version = f"{broker.version}, {len(nodes)} node{'s' if len(nodes) > 1 else ''}"
        results.kill(version, what, moment.name, outcome, struck=struck)
        if not outcome.report.sound:
            problems.append(f"{what}, {moment.name}: {outcome.report}")
    assert problems == []


# Refused, and the other way round.


def _orders(vhost: str, queues: dict[str, Any]) -> dict[str, Any]:
    return config(vhost, {**queues, "stays": {"type": "classic"}})


def _removed(vhost: str, queue: dict[str, Any]) -> dict[str, Any]:
    return _orders(vhost, {})


def _renamed(vhost: str, queue: dict[str, Any]) -> dict[str, Any]:
    return _orders(vhost, {"new-orders": queue})


def _vhost_renamed(vhost: str, queue: dict[str, Any]) -> dict[str, Any]:
    return _orders(f"{vhost}-renamed", {"orders": queue})


WAYS = {"removed": _removed, "renamed": _renamed, "vhost renamed": _vhost_renamed}


def _run(stack: Stack, way: str, wanted: dict[str, Any] | None) -> Any:
    if wanted is None:
        return stack.destroy(check=False)
    stack.configure(wanted)
    return stack.up(check=False)


def _deletions() -> list[Any]:
    """Return every type of queue and every way to delete it on 4.0, in pairs on the others."""
    kinds, ways = ("classic", "quorum"), (*WAYS, "destroyed")
    whole = [("4.0", kind, way) for kind in kinds for way in ways]
    return [
        pytest.param(*case, id="-".join(case), marks=[fast] if case in whole else [])
        for case in covering(VERSIONS, kinds, ways, given=whole)
    ]


@pytest.mark.parametrize(("version", "kind", "way"), _deletions())
def test_what_holds_messages_is_deleted_only_if_it_may_be(
    version: str,
    kind: str,
    way: str,
    make_stack: Callable[..., Stack],
    vhost: str,
    results: Results,
) -> None:
    stack = make_stack(version)
    before = _orders(vhost, {"orders": {"type": kind}})
    stack.configure(before)
    stack.up()
    wanted = WAYS[way](vhost, {"type": kind}) if way in WAYS else None
    with Load(broker=stack.broker, vhost=vhost, queue="orders", ready=1200, held=4) as load:
        if wanted:
            stack.configure(wanted)
            preview = stack.preview(check=False)
            assert "would lose 1,204 messages in queue orders" in preview.text
        begin = time.monotonic()
        result = _run(stack, way, wanted)
        seconds = time.monotonic() - begin
        assert result.status != 0, result.text
        said = re.search(r"queue orders holds .*", result.text)
        assert said, result.text
        assert said[0].strip() == f"queue orders holds {load.numbers}"
        # What stands beside it may be there, or gone, by now: a rename creates first.
        settled.check_kept(stack.broker, before, "orders")
        assert load.count() == 1204
    results.refusal(
        stack.broker.version, f"{kind} queue {way}", f"refused in {seconds:.1f} s: {said[0]}"
    )
    stack.configure(before)
    stack.up()

    # The same with `discard`, which has to be deployed first.
    discard = _orders(vhost, {"orders": {"type": kind, "on_delete": "discard"}})
    stack.configure(discard)
    stack.up()
    wanted = WAYS[way](vhost, {"type": kind, "on_delete": "discard"}) if way in WAYS else None
    result = _run(stack, way, wanted)
    assert result.status == 0, result.text
    assert "orders" not in settled.queues(stack.broker, vhost)
    results.refusal(
        stack.broker.version, f"{kind} queue {way}, on_delete: discard", "deleted, 1,204 messages"
    )
    if wanted:
        settled.check(stack, wanted)


@versions
def test_a_queue_with_a_consumer_and_no_messages_is_not_deleted(
    version: str, make_stack: Callable[..., Stack], vhost: str, results: Results
) -> None:
    stack = make_stack(version)
    before = _orders(vhost, {"orders": {"type": "quorum"}})
    stack.configure(before)
    stack.up()
    with connect(stack.broker, vhost) as connection:
        channel = connection.channel()
        tag = channel.basic_consume("orders", lambda *_: None)
        result = _run(stack, "removed", _orders(vhost, {}))
        assert result.status != 0
        assert "queue orders holds 0 ready, 0 unacknowledged, 1 consumer" in result.text
        settled.check_broker(stack.broker, before)
        channel.basic_cancel(tag)
        begin = time.monotonic()
        stack.up()
        results.refusal(
            *(stack.broker.version, "empty queue with a consumer"),
            f"refused; when it was gone, deleted in {time.monotonic() - begin:.1f} s",
        )
    settled.check(stack, _orders(vhost, {}))


@pytest.mark.parametrize("bound", [False, True])
@versions
def test_a_queue_that_is_published_to_by_its_name_is_not_replaced(
    version: str,
    bound: bool,
    make_stack: Callable[..., Stack],
    tmp_path: Path,
    vhost: str,
    scale: Scale,
    results: Results,
) -> None:
    stack = make_stack(version)
    # Bound, it gets messages both ways.
    change = changes(vhost, scale)["classic to quorum" if bound else "no bindings"]
    by_name = Publication(exchange="", routing_key="q", queues=["q"])
    change = replace(change, publications=[by_name, *(change.publications if bound else ())])
    stack.configure(change.before)
    stack.up()
    with traffic(tmp_path / "ledger", stack.broker, change, scale.rate) as flowing:
        flowing.flow(int(scale.rate * STATISTICS_SECONDS), seconds=4 * STATISTICS_SECONDS)
        stack.configure(change.after)
        refusal = "messages/s are published to it by its name"
        preview = stack.preview().text
        if not bound:
            assert refusal in preview
            assert "`pulumi up` will refuse" in preview
        result = stack.up(check=False)
        assert result.status != 0, result.text
        assert refusal in result.text
        assert "published_by_name: accept" in result.text
        report = flowing.finish(patience=20)
    assert report.sound
    assert report.returned == 0, "the queue was never away"
    settled.check_broker(stack.broker, change.before)
    _, seconds = scenarios.timed_up(stack, change.after)
    settled.check(stack, change.after)
    results.refusal(
        *(stack.broker.version, f"queue {'also ' * bound}published to by its name, replaced"),
        f"refused; when its publishers had stopped, replaced in {seconds:.1f} s",
    )


@versions
def test_a_vhost_that_leaves_the_config_stays_with_its_messages(
    version: str, make_stack: Callable[..., Stack], vhost: str, results: Results
) -> None:
    stack = make_stack(version)
    before = config(vhost, {"orders": {"type": "quorum"}})
    stack.configure(before)
    stack.up()
    with Load(broker=stack.broker, vhost=vhost, queue="orders", ready=10, held=0) as load:
        # A queue that the stack does not know holds messages as well.
        with connect(stack.broker, vhost) as connection:
            channel = connection.channel()
            channel.queue_declare("foreign", durable=True)
            channel.basic_publish("", "foreign", b"one")
        stack.configure(config("/", {}, {}, []))
        result = stack.up(check=False)
        assert result.status != 0, result.text
        # Said before anything of the vhost is deleted, whatever its own queues hold.
        assert "with what the stack does not manage:\n" in result.text
        assert "- queue foreign" in result.text
        assert load.count() == 10
        assert set(settled.queues(stack.broker, vhost)) == {"orders", "foreign"}
    results.refusal(stack.broker.version, "vhost removed", "refused: queue foreign is kept")


@versions
def test_a_retained_queue_stays_with_its_messages(
    version: str, make_stack: Callable[..., Stack], vhost: str, results: Results
) -> None:
    stack = make_stack(version)
    stack.configure(_orders(vhost, {"orders": {"type": "quorum", "on_delete": "retain"}}))
    stack.up()
    with Load(broker=stack.broker, vhost=vhost, queue="orders", ready=100, held=0) as load:
        stack.configure(_orders(vhost, {}))
        stack.up()
        assert load.count() == 100
        # It is no longer the stack's, but would go with the vhost.
        assert "queue orders holds 100 ready" in stack.destroy(check=False).text
        assert load.count() == 100
    results.refusal(stack.broker.version, "queue removed, on_delete: retain", "stays, 100 messages")


def test_nothing_is_deleted_when_the_broker_does_not_answer(
    engine_env: dict[str, str], tmp_path: Path, vhost: str, results: Results
) -> None:
    with Broker.start(version="4.0", report=print) as broker:
        stack = Stack(tmp_path / "stack", engine_env, broker)
        before = _orders(vhost, {"orders": {"type": "quorum"}})
        stack.configure(before)
        stack.up()
        with Load(broker=broker, vhost=vhost, queue="orders", ready=50, held=0) as load:
            time.sleep(2)  # a node that is killed right after a declaration forgets the queue
            broker.kill(0)
            for wanted in (_orders(vhost, {}), None):
                result = _run(stack, "", wanted)
                assert result.status != 0
            broker.restart(0)
            assert load.count() == 50
        stack.configure(before)
        settled.check(stack, before)
        results.refusal(broker.version, "queue removed, broker away", "refused: nothing changed")


@versions
def test_a_queue_that_fills_up_while_it_is_removed_is_not_deleted_with_messages(
    version: str,
    make_stack: Callable[..., Stack],
    tmp_path: Path,
    vhost: str,
    scale: Scale,
    results: Results,
) -> None:
    """Publishers without a pause, consumers that keep up: empty at most moments."""
    stack = make_stack(version)
    change = changes(vhost, scale)["quorum to classic"]
    stack.configure(change.before)
    stack.up()
    with traffic(tmp_path / "ledger", stack.broker, change, scale.rate) as flowing:
        flowing.flow(200)
        begin = time.monotonic()
        result = _run(stack, "removed", config(vhost, {}))
        seconds = time.monotonic() - begin
        assert result.status != 0, result.text
        assert re.search(r"queue q holds .* 1 consumer\b", result.text), result.text
        stack.configure(change.before)
        stack.up()
        flowing.flow(200)
        report = flowing.finish()
    outcome = scenarios.Outcome(report=report, up_seconds=seconds, notes="refused")
    results.change(stack.broker.version, "queue removed under traffic", outcome)
    assert report.sound
    assert report.returned == 0, "its bindings stay, too"
