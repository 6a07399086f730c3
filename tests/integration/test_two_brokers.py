"""
All ways lead to one broker, or nothing is deleted, replaced or limited.

Two real brokers have the same vhost with the same queue. What one holds says nothing about the
other, whichever of AMQP, management API and provider leads astray.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rabbit_topology.broker import marker
from tests.support.stacks import (
    ROOT,
    Stack,
    access_to,
    connect,
    drain,
    fill,
    management,
    untouched,
    wait_for,
)
from toolchain.broker import Broker

MESSAGES = 100

PROGRAM = """
import pulumi
import pulumi_rabbitmq as rabbitmq
from rabbit_topology import Access, Topology, TopologyArgs, parse

config = pulumi.Config()
stated = config.get_object("provider")
options = pulumi.ResourceOptions(
    provider=rabbitmq.Provider("stated", **stated) if stated else None
)
topology, *_ = parse(config.require_object("topology"))
access = Access.connect(**config.require_object("access"))
Topology("own", TopologyArgs(topology=topology, access=access), options)
"""

MARK = """
import sys, time
import pika
from rabbit_topology.broker import marker

with marker.over_amqp(pika.BlockingConnection(pika.URLParameters(sys.argv[1]))):
    print("made", flush=True)
    time.sleep(300)
"""

CHANGES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "removed": lambda _: {},
    "replaced": lambda queue: {**queue, "type": "quorum"},
    "limited": lambda queue: {**queue, "max_length": 1},
}


def topology(vhost: str, queue: dict[str, Any]) -> dict[str, Any]:
    queues = {"other": {"type": "classic"}, **({"q": queue} if queue else {})}
    bindings = [{"source": "e", "queue": name, "routing_key": name} for name in queues]
    return {"vhost": vhost, "exchanges": {"e": {}}, "queues": queues, "bindings": bindings}


QUEUE = {"type": "classic"}


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Broker]:
    with Broker.start(version="4.0", report=print) as broker:
        yield broker


@pytest.fixture
def twin(elsewhere: Broker, vhost: str) -> Iterator[Broker]:
    """Another broker with the same vhost and the same queue, of which nobody takes care."""
    api = management(elsewhere)
    api.request("PUT", f"/vhosts/{vhost}", {})
    api.request("PUT", f"/queues/{vhost}/q", {"durable": True})
    yield elsewhere
    api.request("DELETE", f"/vhosts/{vhost}")


@pytest.fixture
def own(tmp_path: Path, engine_env: dict[str, str], start_broker) -> Stack:
    program = tmp_path / "program"
    program.mkdir()
    (program / "__main__.py").write_text(PROGRAM)
    (program / "Pulumi.yaml").write_text("name: own\nruntime: python\n")
    return Stack(tmp_path / "stack", engine_env, start_broker("4.0"), program=program)


def reach(broker: Broker) -> dict[str, str]:
    return {key: getattr(broker, key) for key in ("endpoint", "username", "password")}


def put(broker: Broker, vhost: str) -> None:
    with connect(broker, vhost) as connection:
        fill(connection.channel(), "q", MESSAGES)


def check_refused(stack: Stack, broker: Broker, vhost: str, *, destroyed: bool = False) -> None:
    """Check that preview and update both say so, and that the queue has all of its messages."""
    before = definition(broker, vhost)
    seen = stack.preview("--diff", check=False).text if not destroyed else "are two brokers"
    assert "are two brokers" in seen
    ended = (stack.destroy if destroyed else stack.up)(check=False)
    assert ended.status != 0, ended.text
    assert "are two brokers" in ended.text, ended.text
    assert "Traceback" not in ended.text
    assert "guest:guest" not in ended.text
    assert definition(broker, vhost) == before
    with connect(broker, vhost) as connection:
        held = connection.channel().queue_declare("q", passive=True).method
        assert held.message_count == MESSAGES


def definition(broker: Broker, vhost: str) -> Any:
    return management(broker).get(f"/queues/{vhost}/q")["arguments"]


def test_amqp_of_another_broker(one_stack: Stack, twin: Broker, vhost: str) -> None:
    here = one_stack.broker
    one_stack.configure(topology(vhost, QUEUE))
    one_stack.up()
    put(here, vhost)
    astray = {"hosts": list(twin.hosts)}
    for change in CHANGES.values():
        one_stack.configure(topology(vhost, change(QUEUE)), broker=astray)
        check_refused(one_stack, here, vhost)
    assert twin.hosts[0] in one_stack.preview(check=False).text
    one_stack.configure(topology(vhost, QUEUE), broker=astray)
    check_refused(one_stack, here, vhost, destroyed=True)
    one_stack.configure(topology(vhost, {}), broker=astray, safety={"preview": "error"})
    assert one_stack.preview(check=False).status != 0
    one_stack.configure(topology(vhost, QUEUE))
    assert set(one_stack.up().changes) == {"unchanged"}


def test_the_management_api_of_another_broker(one_stack: Stack, twin: Broker, vhost: str) -> None:
    here = one_stack.broker
    one_stack.configure(topology(vhost, QUEUE))
    one_stack.up()
    put(twin, vhost)
    for change in ("removed", "limited"):
        one_stack.configure(topology(vhost, CHANGES[change](QUEUE)), endpoint=twin.endpoint)
        check_refused(one_stack, twin, vhost)
    with connect(here, vhost) as connection:
        assert drain(connection.channel(), "q") == []


def test_a_vhost_that_only_one_of_the_two_has(
    one_stack: Stack, elsewhere: Broker, vhost: str
) -> None:
    one_stack.configure(topology(vhost, QUEUE))
    one_stack.up()
    put(one_stack.broker, vhost)
    one_stack.configure(topology(vhost, {}), broker={"hosts": list(elsewhere.hosts)})
    check_refused(one_stack, one_stack.broker, vhost)
    assert "set_permissions" not in one_stack.up(check=False).text


@pytest.mark.parametrize("explicit", [True, False], ids=["explicit", "default"])
def test_a_program_whose_provider_is_of_another_broker(
    own: Stack, twin: Broker, vhost: str, *, explicit: bool
) -> None:
    here = own.broker

    def configure(queue: dict[str, Any], known: Broker) -> None:
        provider = reach(here)
        own.write_config(
            {
                "own:topology": topology(vhost, queue),
                "own:access": {**reach(known), "hosts": list(known.hosts)},
                **(
                    {"own:provider": provider}
                    if explicit
                    else {f"rabbitmq:{key}": value for key, value in provider.items()}
                ),
            }
        )

    configure(QUEUE, here)
    own.up()
    put(here, vhost)
    for change in CHANGES.values():
        configure(change(QUEUE), twin)
        check_refused(own, here, vhost)
        # What is of nobody's business on the other broker stays as well.
        assert definition(twin, vhost) is not None
    configure(QUEUE, twin)
    check_refused(own, here, vhost, destroyed=True)
    configure(CHANGES["replaced"](QUEUE), here)
    assert f"moved {MESSAGES} messages out of queue q" in own.up().text
    with connect(here, vhost) as connection:
        assert drain(connection.channel(), "q") == untouched(MESSAGES)
    configure(CHANGES["removed"](QUEUE), here)
    assert own.up().changes["deleted"] == 2
    own.destroy()
    left = {exchange["name"] for exchange in management(here).get("/exchanges")}
    assert not any(marker.is_marker(name) for name in left)


def test_the_last_resource_of_the_default_vhost_goes(own: Stack) -> None:
    """The engine has no provider of this program's then, unless it is told to start it."""
    provider = {f"rabbitmq:{key}": value for key, value in reach(own.broker).items()}
    access = {"own:access": {**reach(own.broker), "hosts": list(own.broker.hosts)}, **provider}
    nothing: dict[str, Any] = {"vhost": "/", "exchanges": {}, "queues": {}, "bindings": []}
    own.write_config({"own:topology": {**nothing, "queues": {"last": QUEUE}}, **access})
    own.up()
    own.write_config({"own:topology": nothing, **access})
    assert "are two brokers" not in own.preview().text
    assert own.up().changes["deleted"] >= 1


def test_two_names_of_one_broker(one_stack: Stack, vhost: str) -> None:
    broker = one_stack.broker
    ports = [host.rpartition(":")[2] for host in broker.hosts]
    one_stack.configure(
        topology(vhost, QUEUE), broker={"hosts": [f"localhost:{port}" for port in ports]}
    )
    one_stack.up()
    put(broker, vhost)
    quorum = CHANGES["replaced"](QUEUE)
    one_stack.configure(
        topology(vhost, quorum), endpoint=broker.endpoint.replace("127.0.0.1", "localhost")
    )
    assert f"moved {MESSAGES} messages out of queue q" in one_stack.up().text
    with connect(broker, vhost) as connection:
        assert drain(connection.channel(), "q") == untouched(MESSAGES)
    one_stack.destroy()


def test_an_address_that_does_not_answer_is_named_at_the_first_update(
    one_stack: Stack, vhost: str
) -> None:
    hosts = ["127.0.0.1:1", "no-such-host.invalid"]
    one_stack.configure(topology(vhost, QUEUE), broker={"hosts": hosts})
    for text in (one_stack.preview().text, one_stack.up().text):
        assert "127.0.0.1:1 ([Errno 111] Connection refused)" in text
        assert "no-such-host.invalid:5672" in text
        assert "until one answers" in text
    one_stack.configure(
        topology(vhost, QUEUE), broker={"hosts": ["127.0.0.1:1", *one_stack.broker.hosts]}
    )
    text = one_stack.up().text
    assert "127.0.0.1:1 ([Errno 111] Connection refused)" in text
    assert one_stack.broker.hosts[0] not in text.partition("cannot be used")[2].partition(")")[0]
    one_stack.destroy()


def test_a_mark_goes_with_its_connection_and_is_swept_otherwise(
    one_stack: Stack, vhost: str
) -> None:
    broker = one_stack.broker
    one_stack.configure(topology(vhost, QUEUE))
    one_stack.up()
    api = management(broker)

    def marks() -> list[str]:
        return [
            one["name"]
            for one in api.get(f"/exchanges/{vhost}?disable_stats=true")
            if marker.is_marker(one["name"])
        ]

    command = [sys.executable, "-c", MARK, f"amqp://guest:guest@{broker.hosts[0]}/{vhost}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as marking:
        assert marking.stdout.readline()
        assert len(marks()) == 1
        one_stack.up()
        assert len(marks()) == 1  # the mark of a run that is at work
        marking.kill()
    wait_for(lambda: not marks(), "the mark has gone with its connection")
    left = marker.over_management(access_to(broker), vhost)
    left.__enter__()
    assert len(marks()) == 1
    assert "left" not in one_stack.preview().text
    assert "an earlier run left" not in one_stack.up().text
    assert marks() == []
    one_stack.destroy()
