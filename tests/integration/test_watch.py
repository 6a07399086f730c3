"""
Brokers have each metric that rules and dashboards ask for, and Prometheus' own tool takes them.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import yaml

from rabbit_topology.watch import build, dashboard, metrics, rules
from rabbit_topology.watch.queues import Purpose
from tests.support import promtool as unit_tests
from tests.support.stacks import connect, fill, management, wait_for
from tests.support.versions import VERSIONS
from tests.support.watched import EVERYTHING, ODD, SOURCE, networks, watched, written
from toolchain import promtool
from toolchain.broker import Broker
from toolchain.node import PLUGINS
from toolchain.ports import free_ports

VHOST = EVERYTHING["vhost"]
SECONDS = 60

Sample = tuple[str, frozenset[tuple[str, str]]]
"""The name of a metric, and its labels."""


class Scraped:
    """A broker with the plugin, asked as Prometheus would be told to ask it."""

    def __init__(self, broker: Broker, port: int) -> None:
        self.broker = broker
        (job,) = metrics.scrape("j", [f"127.0.0.1:{port}"], watched())["scrape_configs"]
        (target,) = job["static_configs"][0]["targets"]
        self._url = f"http://{target}{job['metrics_path']}"
        self._parameters = [
            (name, value) for name, values in job["params"].items() for value in values
        ]

    def samples(self) -> dict[Sample, float]:
        """Return what it answers now; fail if it says anything twice."""
        answer = httpx.get(self._url, params=self._parameters).raise_for_status()
        read = [_sample(line) for line in answer.text.splitlines() if line and line[0] != "#"]
        twice = [name for name, count in Counter(name for name, _ in read).items() if count > 1]
        assert not twice
        return dict(read)

    def reads(self, queue: str) -> bool:
        """Return whether a queue's label can be read: RabbitMQ 3.10 escapes nothing in it."""
        return not (self.broker.version.startswith("3.10.") and {*'"\\'} & {*queue})

    def value(self, metric: str, queue: str) -> float | None:
        """Return the value of a queue's metric, None if there is none."""
        return self.samples().get((metric, frozenset({("vhost", VHOST), ("queue", queue)})))


_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


def _sample(line: str) -> tuple[Sample, float]:
    """Read a line of the text format. Source: "Exposition formats", Prometheus documentation."""
    name, brace, rest = line.partition("{")
    if not brace:
        name, value = line.split()
        return (name, frozenset()), float(value)
    labels, _, value = rest.rpartition("}")
    pairs = {
        (key, re.sub(r"\\[\\\"n]", lambda escaped: _ESCAPED[escaped[0]], text))
        for key, text in _LABEL.findall(labels)
    }
    return (name, frozenset(pairs)), float(value.split()[0])


@pytest.fixture(scope="module", params=VERSIONS)
def scraped(request: pytest.FixtureRequest) -> Iterator[Scraped]:
    """A broker of its own with all queues of the topology, on each version in turn."""
    (port,) = free_ports(1)
    config = {
        "collect_statistics_interval": "1000",
        "prometheus.tcp.ip": "127.0.0.1",
        "prometheus.tcp.port": str(port),
    }
    with Broker.start(
        version=request.param,
        report=print,
        config=config,
        advanced={"quorum_tick_interval": 1000},
        plugins=(*PLUGINS, "rabbitmq_prometheus"),
    ) as broker:
        api = management(broker)
        api.request("PUT", f"/vhosts/{VHOST}", {})
        everything = dict.fromkeys(("configure", "write", "read"), ".*")
        api.request("PUT", f"/permissions/{VHOST}/{broker.username}", everything)
        (network,) = networks(EVERYTHING)
        for name, queue in network.queues.items():
            api.request("PUT", f"/queues/{VHOST}/{quote(name, safe='')}", queue.declaration())
        yield Scraped(broker, port)


def test_each_metric_and_label_of_each_rule_is_there(scraped: Scraped) -> None:
    def missing() -> list[tuple[str, str]]:
        there = scraped.samples()
        return [
            (metric, queue)
            for rule in written()
            for metric in re.findall(r"(rabbitmq_\w+)\{", rule.expression)
            for queue in rule.queues
            if scraped.reads(queue)
            if (metric, frozenset({("vhost", VHOST), ("queue", queue)})) not in there
        ]

    assert any(rule.queues == (ODD,) for rule in written())
    wait_until_none(missing)


def test_each_metric_of_the_dashboard_is_there_for_each_queue(scraped: Scraped) -> None:
    chosen = networks(EVERYTHING)
    shown = dashboard.document("s", "j", watched(), [*build.services(chosen)])
    queries = [target["expr"] for one in shown["panels"] for target in one.get("targets", ())]
    names = {name for query in queries for name in re.findall(r"(rabbitmq_\w+)\{", query)}
    assert names == set(metrics.FAMILIES)
    some = {
        metrics.READY_BYTES: {queue.name for queue in watched() if queue.max_bytes},
        # Which consumers of streams the broker counts differs: no rule depends on it.
        metrics.CONSUMERS: {q.name for q in watched() if q.purpose is not Purpose.STREAM},
    }

    def missing() -> list[tuple[str, str]]:
        there = {(name, dict(labels).get("queue")) for name, labels in scraped.samples()}
        return [
            (name, queue.name)
            for queue in watched()
            if scraped.reads(queue.name)
            for name in names
            if queue.name in some.get(name, {queue.name}) and (name, queue.name) not in there
        ]

    wait_until_none(missing)


def wait_until_none(missing: Callable[[], list[tuple[str, str]]]) -> None:
    try:
        wait_for(lambda: not missing(), "each metric is there", SECONDS)
    except AssertionError:
        raise AssertionError(f"missing: {missing()}") from None


def test_metrics_say_what_the_rules_take_them_for(scraped: Scraped) -> None:
    needed = [queue.name for queue in watched() if queue.needs_consumer]
    assert ODD in needed
    consumed = [queue for queue in needed if scraped.reads(queue)]
    taken = ODD if ODD in consumed else consumed[0]
    wait_for(
        lambda: all(scraped.value(metrics.CONSUMERS, queue) == 0 for queue in consumed),
        "queues without a consumer have the metric, and it is 0",
        SECONDS,
    )
    (parked,) = (queue.name for queue in watched() if queue.purpose is Purpose.PARKED)
    with connect(scraped.broker, VHOST) as connection:
        channel = connection.channel()
        for queue, count in ((parked, 3), ("jobs", 45), (taken, 2)):
            fill(channel, queue, count)
        channel.basic_qos(prefetch_count=1)
        channel.basic_consume(taken, lambda *_: None)
        connection.process_data_events(1)
        expected = {
            (metrics.MESSAGES, parked): 3,
            (metrics.READY, "jobs"): 45,
            (metrics.CONSUMERS, taken): 1,
            (metrics.READY, taken): 1,
            (metrics.UNACKED, taken): 1,
            (metrics.MESSAGES, taken): 2,
        }

        def seen() -> dict[tuple[str, str], float | None]:
            connection.process_data_events(0)
            return {which: scraped.value(*which) for which in expected}

        wait_for(lambda: seen() == expected, f"{expected}", SECONDS)
    fill_by_bytes(scraped, "blobs", 1000)


def fill_by_bytes(scraped: Scraped, queue: str, size: int) -> None:
    with connect(scraped.broker, VHOST) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for _ in range(10):
            channel.basic_publish("", queue, b"x" * size, mandatory=True)
    overhead = 200  # of a message, at most: some versions count more than its body
    wait_for(
        lambda: (
            10 * size <= (scraped.value(metrics.READY_BYTES, queue) or 0) <= 10 * (size + overhead)
        ),
        "the bytes of 10 messages",
        SECONDS,
    )


def test_what_cannot_go_on_from_a_retry_stays_among_the_messages(scraped: Scraped) -> None:
    """All messages are those that wait to be dead-lettered as well; the ready ones are not."""
    api = management(scraped.broker)
    arguments = {
        "x-queue-type": "quorum",
        "x-message-ttl": 100,
        "x-dead-letter-exchange": "is-not-there",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    api.request("PUT", f"/queues/{VHOST}/stuck", {"durable": True, "arguments": arguments})
    with connect(scraped.broker, VHOST) as connection:
        fill(connection.channel(), "stuck", 4)
    wait_for(
        lambda: (
            (scraped.value(metrics.READY, "stuck"), scraped.value(metrics.MESSAGES, "stuck"))
            == (0, 4)
        ),
        "4 messages that are not ready any more",
        SECONDS,
    )


@pytest.fixture(scope="module")
def tool() -> str:
    return promtool.ensure(print)


def run(tool: str, folder: Path, *arguments: str) -> str:
    ended = subprocess.run(
        [tool, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    said = ended.stdout + ended.stderr
    assert not ended.returncode, said
    return said


def test_prometheus_takes_the_rules_and_they_fire_as_they_should(tool: str, tmp_path: Path) -> None:
    every = watched()
    whole = rules.document(SOURCE, every)
    count = len(whole["groups"][0]["rules"])
    assert count > 12
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(whole, allow_unicode=True))
    checked = run(tool, tmp_path, "check", "rules", "rules.yaml")
    assert f"SUCCESS: {count} rules found" in checked
    assert "duplicate" not in checked
    tests = unit_tests.document(SOURCE, written(), "rules.yaml")
    assert len(tests["tests"]) >= 2 * count
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests, allow_unicode=True))
    run(tool, tmp_path, "test", "rules", "tests.yaml")
    # What is expected is looked at: with another queue's name it fails.
    first = next(one for one in tests["tests"] if one["alert_rule_test"][0]["exp_alerts"])
    first["alert_rule_test"][0]["exp_alerts"][0]["exp_labels"]["stack"] = "another"
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump({**tests, "tests": [first]}))
    with pytest.raises(AssertionError, match="another"):
        run(tool, tmp_path, "test", "rules", "tests.yaml")


def test_prometheus_takes_the_scrape_config(tool: str, tmp_path: Path) -> None:
    config = metrics.scrape("rabbitmq-prod", ["a.example:15692", "[::1]:15692"], watched())
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))
    run(tool, tmp_path, "check", "config", "prometheus.yaml")
