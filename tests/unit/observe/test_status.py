"""
The command `status`: what it reads, what it says one should look at, and that it fits.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner, Result

from rabbit_topology.broker.management import Management
from rabbit_topology.commands import app as program
from rabbit_topology.compiler import policies
from rabbit_topology.compiler.policies import Compiled
from rabbit_topology.lint.reading import read
from rabbit_topology.observe import looking, notices, status_reports
from rabbit_topology.observe.status import Status
from tests.support.recorded import Recorded, recorded

SHOP: dict[str, Any] = {
    "vhost": "shop",
    "exchanges": {"orders": {"type": "topic", "unroutable": True}},
    "queues": {
        "orders": {"retry": {"delays": ["5s"]}},
        "jobs": {"type": "classic", "dead_letter": True},
    },
    "bindings": [{"source": "orders", "queue": "orders", "routing_key": "order.*"}],
    "services": {"billing": {"consumes": ["orders"]}, "web": {"publishes": ["orders"]}},
}


def stats(**rates: float) -> dict[str, Any]:
    return {f"{key}_details": {"rate": rate} for key, rate in rates.items()}


def queue(name: str, type_: str = "quorum", **changes: Any) -> dict[str, Any]:
    """Return a queue as the management API lists it."""
    replicas = {"leader": "rabbit@a", "members": ["rabbit@a"], "online": ["rabbit@a"]}
    return {
        "vhost": "shop",
        "name": name,
        "type": type_,
        "node": "rabbit@a",
        **({} if type_ == "classic" else replicas),
        "durable": True,
        "auto_delete": False,
        "exclusive": False,
        "arguments": {"x-queue-type": type_},
        "state": "running",
        "messages": 0,
        "messages_ready": 0,
        "messages_unacknowledged": 0,
        "consumers": 1,
        "policy": None,
        "operator_policy": None,
        "effective_policy_definition": {},
        **changes,
    }


def exchange(name: str, **changes: Any) -> dict[str, Any]:
    plain = {"vhost": "shop", "name": name, "type": "topic", "arguments": {}, "durable": True}
    return {**plain, "internal": False, "auto_delete": False, **changes}


def answers() -> dict[str, Any]:
    """Return what a broker answers on which the config is deployed, and all is well."""
    stack = read(SHOP)
    stack.check()
    whole = stack.whole["topology"]
    compiled = policies.compile_all(whole)
    plain = {"vhost": "shop", "properties_key": "~"}
    return {
        "/overview": {"rabbitmq_version": "4.3.6", "cluster_name": "rabbit@a"},
        "/nodes": [{"name": "rabbit@a", "running": True, "mem_alarm": False, "partitions": []}],
        "/vhosts/shop": {"name": "shop", "message_stats": {}},
        "/vhosts/shop/connections": [
            {"vhost": "shop", "user": f"shop.{name}", "channels": 2, "peer_host": "10.0.0.1"}
            for name in ("billing", "web")
        ],
        "/policies/shop": [{"name": name, **one.body()} for name, one in compiled.items()],
        "/exchanges/shop": [
            exchange("", type="direct"),
            exchange("amq.topic"),
            *(
                exchange(name, type=one.type, policy=_policy(compiled, name, "exchanges"))
                for name, one in whole.exchanges.items()
            ),
        ],
        "/queues/shop": [
            queue(
                name,
                one.type.value,
                consumers=int(name in SHOP["queues"]),
                policy=_policy(compiled, name, "queues"),
                effective_policy_definition=one.settings(),
            )
            for name, one in whole.queues.items()
        ],
        "/consumers/shop": [{"queue": {"vhost": "shop", "name": name}} for name in SHOP["queues"]],
        "/bindings/shop": [
            {**plain, "destination_type": one.kind, **one.model_dump(exclude={"kind"})}
            for one in whole.routes()
        ],
    }


def _policy(compiled: dict[str, Compiled], member: str, kind: str) -> str | None:
    having = (
        name
        for name, one in compiled.items()
        if one.policy.apply_to == kind and member in one.members
    )
    return next(having, None)


@pytest.fixture
def broker(monkeypatch) -> Iterator[Recorded]:
    with recorded(answers()) as one:
        monkeypatch.setenv("RABBITMQ_ENDPOINT", one.endpoint)
        monkeypatch.setenv("RABBITMQ_USERNAME", "admin")
        monkeypatch.setenv("RABBITMQ_PASSWORD", "secret")
        yield one


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    config = {"config": {"rabbit-topology:topology": SHOP}}
    (tmp_path / "Pulumi.prod.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "Pulumi.yaml").write_text("name: x\nruntime: python\n")
    return tmp_path


@pytest.fixture
def run(project, broker, monkeypatch) -> Callable[..., Result]:
    monkeypatch.setenv("COLUMNS", "200")  # as wide as a line needs
    return lambda *arguments: CliRunner().invoke(program.app, ["status", *arguments])


def of(broker: Recorded, key: str, name: str) -> dict[str, Any]:
    """Return one object that the broker lists."""
    return next(one for one in broker.answers[f"/{key}/shop"] if one["name"] == name)


def said(ended: Result) -> list[str]:
    """Return what it says one should look at."""
    return [
        line
        for line in ended.output.splitlines()
        if line.startswith(("error: ", "warning: ", "note: "))
    ]


def test_all_is_well(run, broker):
    ended = run()
    assert ended.exit_code == 0, ended.output
    assert "nothing to look at" in ended.output
    assert ended.output.startswith("rabbit@a, RabbitMQ 4.3.6")


def ago(**time_: float) -> str:
    return (datetime.now(tz=UTC) - timedelta(**time_)).isoformat(timespec="milliseconds")


@pytest.mark.parametrize(
    ("name", "change", "line"),
    [
        (
            *("orders", {"consumers": 0, "idle_since": ago(hours=3.2), "messages_ready": 1204}),
            (
                "warning: queue orders of vhost shop: no consumer, unused for 3 h, and billing "
                "consumes it; 1,204 ready"
            ),
        ),
        (
            *("orders", {"consumers": 0}),
            "warning: queue orders of vhost shop: no consumer, and billing consumes it",
        ),
        (
            *("orders.parking-lot", {"messages_ready": 11, "messages_unacknowledged": 1}),
            "warning: queue orders.parking-lot of vhost shop: parking lot of orders holds 12",
        ),
        (
            *("jobs.dead-letter", {"messages_ready": 1}),
            "warning: queue jobs.dead-letter of vhost shop: holds 1 dead letter",
        ),
        (
            *("orders.unroutable", {"messages_ready": 3}),
            "warning: queue orders.unroutable of vhost shop: holds 3 messages that no binding took",
        ),
        (
            *("orders", {"members": ["a", "b", "c"], "online": ["a", "b"]}),
            "warning: queue orders of vhost shop: 2 of 3 replicas run, not on c",
        ),
        (
            *("orders", {"members": ["a", "b", "c"], "online": ["b"]}),
            "error: queue orders of vhost shop: 1 of 3 replicas run, not on a, c",
        ),
        ("jobs", {"state": "down"}, "error: queue jobs of vhost shop: it is down"),
        (
            "jobs",
            {
                "messages_ready": 90,
                "effective_policy_definition": {"max-length": 100, "overflow": "reject-publish"},
            },
            "warning: queue jobs of vhost shop: 90 of 100 that it may hold; beyond: reject-publish",
        ),
    ],
)
def test_what_somebody_should_look_at_stands_at_the_top(run, broker, name, change, line):
    of(broker, "queues", name).update(change)
    ended = run()
    assert said(ended) == [line]
    assert ended.exit_code == 2


def to(queue: str, **more: Any) -> dict[str, Any]:
    """Return settings that send dead letters to a queue by its name."""
    by_name = {"dead-letter-exchange": "", "dead-letter-routing-key": queue}
    return {"effective_policy_definition": {**by_name, **more}}


@pytest.mark.parametrize(
    ("jobs", "holding", "told"),
    [
        (to("jobs.dead"), {"messages_ready": 2}, True),
        (to("jobs.dead"), {"messages_ready": 2, "consumers": 1}, False),
        (to("jobs.dead"), {"messages_ready": 2, "vhost": "other"}, False),
        (to("elsewhere"), {"messages_ready": 2}, False),
        ({**to("jobs.dead", **{"message-ttl": 1000}), "consumers": 0}, {"messages_ready": 2}, True),
    ],
)
def test_dead_letters_that_go_to_a_queue_by_its_name(run, broker, jobs, holding, told):
    of(broker, "queues", "jobs").update(jobs)
    broker.answers["/queues/shop"].append(queue("jobs.dead", **{"consumers": 0, **holding}))
    if holding.get("consumers"):
        broker.answers["/consumers/shop"].append({"queue": {"vhost": "shop", "name": "jobs.dead"}})
    line = "warning: queue jobs.dead of vhost shop: holds 2 dead letters"
    assert said(run()) == ([line] if told else [])


def test_what_was_delayed_by_name_is_not_dead(run, broker):
    later = queue("later", consumers=0, **to("orders", **{"message-ttl": 1000}))
    broker.answers["/queues/shop"].append(later)
    broker.answers["/bindings/shop"] = []
    changed = {"consumers": 0, "messages_ready": 2, "effective_policy_definition": {}}
    of(broker, "queues", "orders").update(changed)
    assert said(run()) == [
        "warning: queue orders of vhost shop: no consumer, and billing consumes it; 2 ready"
    ]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("orders.retry.1", {"messages_ready": 40}),  # a ladder's: they go on by themselves
        ("orders", {"messages_ready": 40}),
        ("jobs.dead-letter", {"messages_ready": 4, "consumers": 1}),
        ("orders", {"consumers": None, "messages_ready": None}),  # not counted yet
        ("jobs", {"messages_ready": 89, "effective_policy_definition": {"max-length": 100}}),
    ],
)
def test_what_is_as_it_should_be_is_not_told(run, broker, name, change):
    of(broker, "queues", name).update(change)
    ended = run()
    assert (said(ended), ended.exit_code) == ([], 0)


def test_what_is_declared_and_not_there(run, broker):
    broker.answers["/queues/shop"].remove(of(broker, "queues", "jobs"))
    assert said(run()) == ["error: queue jobs of vhost shop: it is declared, and not there"]
    del broker.answers["/vhosts/shop"]
    lines = said(run())
    assert lines[0] == "error: vhost shop: it is not there"
    assert not any("queue" in line for line in lines)


def test_a_service_that_is_not_connected_or_may_not_publish(run, broker):
    _, web = broker.answers["/vhosts/shop/connections"]
    web["state"] = "blocked"
    broker.answers["/vhosts/shop/connections"] = [web]
    assert said(run()) == [
        "warning: service billing of vhost shop: it is not connected, as user shop.billing",
        "warning: service web of vhost shop: 1 connection may not publish now",
    ]


def test_a_service_of_which_some_have_not_reloaded_after_a_rotation(run, broker, project):
    billing, _ = broker.answers["/vhosts/shop/connections"]
    broker.answers["/vhosts/shop/connections"] += [{**billing, "user": "shop.billing.2"}]
    topology = copy.deepcopy(SHOP)
    topology["services"]["billing"] |= {"rotates": "user", "rotation": 3}
    config = {"config": {"rabbit-topology:topology": topology}}
    (project / "Pulumi.prod.yaml").write_text(yaml.safe_dump(config))
    told = "note: service billing of vhost shop: 2 connections use a user of before its rotation"
    assert said(run()) == [told]


def test_an_alarm_of_a_node(run, broker):
    broker.answers["/nodes"] = [
        {"name": "a", "running": True, "mem_alarm": True, "disk_free_alarm": True},
        {"name": "b", "running": False},
        {"name": "c", "running": True, "partitions": ["a"]},
    ]
    assert said(run()) == [
        "error: node a: memory is short: all publishers of the broker are blocked",
        "error: node a: disk is short: all publishers of the broker are blocked",
        "error: node b: it does not run",
        "error: node c: it does not see a",
    ]


def test_what_no_binding_took_is_told_by_vhost_and_by_exchange(run, broker):
    lost = {"drop_unroutable": 7, "return_unroutable": 2, **stats(drop_unroutable=1.5)}
    broker.answers["/vhosts/shop"]["message_stats"] = lost
    broker.answers["/exchanges/shop/orders"] = {
        "incoming": [{"stats": {"drop_unroutable": 5}}, {"stats": {"return_unroutable": 2}}]
    }
    of(broker, "exchanges", "orders")["message_stats"] = stats(publish_in=12.4)
    ended = run()
    line = "vhost shop: lost, since no binding took them: 7, 1.5 each second now"
    assert said(ended) == [f"warning: {line}"]
    row = next(
        line for line in ended.output.splitlines() if line.startswith("orders  ") and "12/s" in line
    )
    assert row.split()[:5] == ["orders", "topic", "12/s", "7", "orders.unroutable"]
    assert "unroutable: 7 lost, 2 returned" in ended.output


def test_each_vhost_that_is_asked_for_is_one_of_the_stack(run, broker):
    assert run("--vhost", "shop").exit_code == 0
    error = run("--vhost", "shop", "--vhost", "shpo").exception
    assert str(error) == '"shpo" is not a vhost of the stack; did you mean "shop"?'


def test_what_was_lost_once_is_a_note(run, broker):
    broker.answers["/vhosts/shop"]["message_stats"] = {"drop_unroutable": 7}
    ended = run()
    assert said(ended) == ["note: vhost shop: lost, since no binding took them: 7"]
    assert ended.exit_code == 0


def test_a_row_of_a_queue_says_all(run, broker):
    of(broker, "queues", "orders").update(
        messages_ready=1204,
        messages_unacknowledged=3,
        messages_delayed=5,
        messages_dlx=2,
        message_stats=stats(publish=120.4, deliver_get=3.04),
        operator_policy="cap",
        effective_policy_definition={"max-length": 5000, "dead-letter-exchange": "orders.retry"},
    )
    output = run().output
    (head,) = (line for line in output.splitlines() if line.startswith("queue "))
    assert head.split() == [
        *("queue", "type", "ready", "held", "delayed", "dead-lettering", "consumers"),
        *("in", "out", "policy", "settings", "leader"),
    ]
    row = next(line for line in output.splitlines() if line.startswith("orders   "))
    assert "1,204" in row
    for cell in ("quorum", " 3 ", " 5 ", " 2 ", "120/s", "3.0/s", "cap (operator)"):
        assert cell in row
    assert "max-length 5000" in row


def test_what_no_queue_has_is_no_column(run):
    head = next(line for line in run().output.splitlines() if line.startswith("queue "))
    assert "delayed" not in head
    assert "dead-lettering" not in head


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140, 200])
def test_the_tables_fit_the_terminal(run, broker, monkeypatch, width):
    long = "a-queue-with-quite-a-long-name-" * 3
    broker.answers["/queues/shop"].append(queue(long, messages_ready=1_000_000))
    monkeypatch.setenv("COLUMNS", str(width))
    tables = run().output.partition("\n\n")[2]
    assert max(map(len, tables.splitlines())) <= width
    assert "1,000,000" in tables
    assert ("leader" in tables) == (width >= 100)
    assert ("settings" in tables) == (width >= 200)


def test_names_with_brackets_are_shown_as_they_are(run, broker):
    broker.answers["/queues/shop"].append(queue("[red]odd[/red]"))
    assert "[red]odd[/red]" in run().output


def test_many_queues_are_not_all_shown(run, broker):
    broker.answers["/queues/shop"] += (
        queue(f"q{number}", messages_ready=number) for number in range(100)
    )
    short, whole = run().output, run("--all").output
    assert f"and {len(broker.answers['/queues/shop']) - 40} more: --all" in short
    assert "q99 " in short
    assert "q1 " not in short
    assert "q1 " in whole


def test_json_has_all(run, broker):
    of(broker, "queues", "orders.parking-lot")["messages_ready"] = 2
    ended = run("--json")
    assert ended.exit_code == 2
    whole = json.loads(ended.output)
    assert whole["well"] is False
    assert whole["notices"] == [
        {
            "severity": "warning",
            "vhost": "shop",
            "object": "queue orders.parking-lot",
            "message": "parking lot of orders holds 2",
        }
    ]
    by_name = {one["name"]: one for one in whole["queues"]}
    assert by_name["orders"]["settings"]["dead-letter-exchange"] == "orders.retry"
    assert by_name["orders"]["leader"] == "rabbit@a"
    assert [one["connections"] for one in whole["services"]] == [1, 1]
    datetime.fromisoformat(whole["time"])


def test_any_broker_without_a_config(run, broker, project):
    (project / "Pulumi.prod.yaml").unlink()
    broker.answers["/vhosts"] = [{"name": "shop"}]
    of(broker, "queues", "orders.parking-lot")["messages_ready"] = 2
    of(broker, "queues", "orders")["consumers"] = 0
    ended = run("--live")
    assert said(ended) == [
        "warning: queue orders.parking-lot of vhost shop: parking lot of orders holds 2"
    ]
    assert "shop.billing" in ended.output
    assert (
        run("--live", "--vhost", "shop").output.splitlines()[1:] == (ended.output.splitlines()[1:])
    )


def test_a_queue_is_listed_in_the_words_of_each_version(broker):
    """3.10 writes a list for no policy and times without a zone; 4.x writes ISO 8601."""
    of(broker, "queues", "jobs").update(
        effective_policy_definition=[], idle_since="2026-11-27 08:00:00", policy="", type="classic"
    )
    management = Management(endpoint=broker.endpoint, username="u", password="p")
    seen = looking.look(management, ["shop"], [])
    (jobs,) = (one for one in seen.queues if one.name == "jobs")
    assert jobs.idle_since == datetime(2026, 11, 27, 8, tzinfo=UTC)
    assert jobs.policy is None
    assert jobs.settings == {}


@pytest.mark.parametrize("version", ["3.10.8", "4.0.5", "4.3.6"])
def test_who_only_got_a_message_is_no_consumer(broker, version):
    """A quorum queue counts it as one."""
    broker.answers["/overview"]["rabbitmq_version"] = version
    of(broker, "queues", "orders")["consumers"] = 3
    management = Management(endpoint=broker.endpoint, username="u", password="p")
    seen = looking.look(management, ["shop"], [])
    assert {one.name: one.consumers for one in seen.queues}["orders"] == 1


def test_pages_are_all_read(broker, monkeypatch):
    pages = {
        1: {"items": [queue("a")], "page_count": 2, "total_count": 2},
        2: {"items": [queue("b")], "page_count": 2, "total_count": 2},
    }
    plain = Management.get

    def get(management: Management, path: str) -> Any:
        if path.startswith("/queues/shop?page="):
            return pages[int(path.removeprefix("/queues/shop?page=").partition("&")[0])]
        return plain(management, path)

    monkeypatch.setattr(Management, "get", get)
    management = Management(endpoint=broker.endpoint, username="u", password="p")
    assert [one.name for one in looking.look(management, ["shop"], []).queues] == ["a", "b"]


class TestWatch:
    def test_it_asks_again_until_ctrl_c(self, run, broker, monkeypatch):
        pauses: list[float] = []

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            of(broker, "queues", "orders.parking-lot")["messages_ready"] = 2
            if len(pauses) > 2:
                raise KeyboardInterrupt

        monkeypatch.setattr(time, "sleep", sleep)
        ended = run("--watch", "5s")
        assert ended.exit_code == 0
        assert pauses == [5.0, 5.0, 5.0]
        assert broker.asked.count("/overview") == 3
        assert "parking lot of orders holds 2" in ended.output

    def test_a_broker_that_is_away_for_a_moment_does_not_end_it(self, run, broker, monkeypatch):
        pauses: list[float] = []

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            broker.answers.pop("/overview", None)
            if len(pauses) > 1:
                raise KeyboardInterrupt

        monkeypatch.setattr(time, "sleep", sleep)
        ended = run("--watch", "5s")
        assert ended.exit_code == 0
        assert "has no /overview" in ended.output

    @pytest.mark.parametrize("wrong", [["5"], ["0s"], ["often"], ["5s", "--json"]])
    def test_what_cannot_be_watched_is_an_error(self, run, wrong):
        ended = run("--watch", *wrong)
        assert ended.exit_code == 1
        assert "--watch" in str(ended.exception)


def test_ten_thousand_queues_are_shown_in_time(broker):
    """So many rows are measured only as far as they are shown."""
    broker.answers["/queues/shop"] += (queue(f"q{number}") for number in range(5000))
    management = Management(endpoint=broker.endpoint, username="u", password="p")
    begin = time.process_time()
    seen = looking.look(management, ["shop"], [])
    status = Status(seen=seen, notices=notices.notices(seen, notices.Expected()))
    console = Console(width=100)
    console.begin_capture()
    console.print(status_reports.text(status, console))
    assert f"and {len(seen.queues) - 40:,} more" in console.end_capture()
    assert time.process_time() - begin < 10
