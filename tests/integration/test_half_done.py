"""
What the broker leaves half done when its client goes: none of ours, or the next run mends it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from random import Random
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from rabbit_topology.broker.access import Access
from rabbit_topology.broker.management import NotFoundError
from rabbit_topology.compiler.names import own_name
from rabbit_topology.messages import shovel
from rabbit_topology.model import PREDECLARED_EXCHANGES
from rabbit_topology.safety import half_done
from tests.safety.killing import Run
from tests.support.half_done import cut_off, kill_binding
from tests.support.stacks import Stack, access_to, connect, wait_for
from toolchain.broker import Broker

SEED = "half done"
NAMES = [*map(str, range(24))]
LENGTH = 2


@pytest.fixture
def access(broker: Broker, vhost: str) -> Iterator[Access]:
    access = access_to(broker)
    request = access.management.request
    request("PUT", access.path("vhosts", vhost), {})
    request("PUT", access.path("exchanges", vhost, "topic"), {"type": "topic"})
    request("PUT", access.path("queues", vhost, "q"), {"durable": True})
    yield access
    for one in access.management.get("/vhosts"):
        if one["name"].startswith(f"{vhost}."):
            access.request_if_there("DELETE", "vhosts", one["name"])


def leads(channel: BlockingChannel, exchange: str, key: str) -> bool:
    try:
        channel.basic_publish(exchange, key, b"", mandatory=True)
    except pika.exceptions.UnroutableError:
        return False
    return True


def keys(access: Access, vhost: str) -> set[str]:
    return {one["routing_key"] for one in access.bindings("exchanges", vhost, "topic", "source")}


def test_a_binding_is_made_and_removed_whole_or_not_at_all(
    broker: Broker, vhost: str, access: Access
) -> None:
    chosen = Random(SEED)
    with connect(broker, vhost) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        wrong, made, removed = [], 0, 0
        for prefix in map(str, range(6)):
            kill_binding(broker, vhost, prefix, bound=True, seconds=chosen.uniform(0.1, 0.3))
            listed = keys(access, vhost)
            made += len(listed)
            wrong += [key for key in listed if not leads(channel, "topic", key)]
            kill_binding(broker, vhost, prefix, bound=False, seconds=chosen.uniform(0, 0.1))
            rest = keys(access, vhost)
            removed += len(listed - rest)
            wrong += [key for key in listed if leads(channel, "topic", key) != (key in rest)]
        print(f"RabbitMQ {broker.version}: {made} made, {removed} removed")
        assert wrong == []
        assert made
        assert removed


def applied(channel: BlockingChannel) -> set[str]:
    """Return the queues that keep no more than `LENGTH` messages, as their policies say."""
    held = {}
    for name in NAMES:
        channel.queue_purge(name)
        for _ in range(LENGTH + 1):
            channel.basic_publish("", name, b"")
        held[name] = channel.queue_declare(name, passive=True).method.message_count
    assert {*held.values()} <= {LENGTH, LENGTH + 1}
    return {name for name, count in held.items() if count == LENGTH}


def settle(listed: Callable[[], object]) -> None:
    seen = [None, listed()]
    while seen[-1] != seen[-2]:  # a busy broker is still at it
        time.sleep(1)
        seen.append(listed())


@pytest.mark.parametrize("kind", ["policies", "operator-policies"])
def test_a_policy_is_written_and_deleted_whole_by_the_next_run(
    broker: Broker, vhost: str, access: Access, kind: str
) -> None:
    chosen = Random(SEED)
    operator = kind == "operator-policies"
    bodies = {
        name: {
            "pattern": f"^{name}$",
            "definition": {"max-length": LENGTH},
            "apply-to": "queues",
            "priority": 0,
        }
        for name in NAMES
    }
    for name in NAMES:
        access.management.request("PUT", access.path("queues", vhost, name), {"durable": True})
    with connect(broker, vhost) as connection:
        channel = connection.channel()
        channel.confirm_delivery()

        def ask(method: str, asked: Mapping[str, object]) -> None:
            requests = [
                (method, access.path(kind, vhost, name), body) for name, body in asked.items()
            ]
            cut_off(broker, requests, chosen)
            settle(lambda: access.policies(vhost, operator=operator))
            told = f"{len(access.policies(vhost, operator=operator))} listed"
            told = f"{told}, {len(applied(channel))} applied of {len(asked)}"
            print(f"RabbitMQ {broker.version}: {kind}, {method}: {told}")

        # Killed in the first step, or in the second.
        ask("PUT", {name: {**body, "pattern": f"^{name}$(?#)"} for name, body in bodies.items()})
        for name in NAMES[::2]:
            access.write_policy(vhost, name, bodies[name], operator=operator)
        half = {name: {**bodies[name], "pattern": f"^{name}$(?#)"} for name in NAMES[::2]}
        for name, body in half.items():
            access.management.request("PUT", access.path(kind, vhost, name), body)
        ask("PUT", {name: bodies[name] for name in half})
        for name in NAMES:
            access.write_policy(vhost, name, bodies[name], operator=operator)
        assert applied(channel) == {*NAMES}
        ask("DELETE", dict.fromkeys(NAMES))
        for name in NAMES:
            if not access.delete_policy(vhost, name, operator=operator):
                half_done.apply_again(access, vhost, [name])
        assert applied(channel) == set()
    assert access.policies(vhost) == access.policies(vhost, operator=True) == []


def test_what_the_lists_of_policies_and_queues_tell_otherwise_is_mended(
    broker: Broker, vhost: str, access: Access
) -> None:
    for name in NAMES:
        access.declare("exchanges", vhost, name, {"type": "fanout"})
        body = {"pattern": f"^{name}$", "definition": {"alternate-exchange": "topic"}}
        access.declare("policies", vhost, name, {**body, "apply-to": "exchanges"})

    def differ() -> set[str]:
        rows = access.management.get(f"{access.path('exchanges', vhost)}?disable_stats=true")
        told = {row["name"] for row in rows if row.get("policy")}
        return told ^ {one["name"] for one in access.policies(vhost)}

    cut_off(
        broker,
        [("DELETE", access.path("policies", vhost, name), None) for name in NAMES],
        Random(SEED),
    )
    settle(lambda: access.policies(vhost))
    before, reports = differ(), list[str]()
    print(f"RabbitMQ {broker.version}: {len(before)} of {len(NAMES)} half deleted")
    half_done.finish_policies(access, vhost, reports.append)
    assert differ() == set()
    assert bool(reports) == bool(before)
    half_done.finish_policies(access, vhost, pytest.fail)
    assert {one["name"] for one in access.policies(vhost)} <= {*NAMES}


def whole(access: Access, vhost: str) -> bool:
    described = access.management.get(access.path("vhosts", vhost))
    exchanges = {one["name"] for one in access.management.get(access.path("exchanges", vhost))}
    running = "running" in described.get("cluster_state", {"": "running"}).values()
    return running and exchanges >= {"", *PREDECLARED_EXCHANGES}


def test_a_vhost_that_is_half_made_is_made_anew(broker: Broker, vhost: str, access: Access) -> None:
    asked = [("PUT", access.path("vhosts", f"{vhost}.{name}"), {}) for name in NAMES]
    cut_off(broker, asked, Random(SEED))
    made = [
        one["name"]
        for one in access.management.get("/vhosts")
        if one["name"].startswith(f"{vhost}.")
    ]
    assert made
    half = 0
    for name in made:
        was_whole = whole(access, name)
        half += not was_whole
        reports: list[str] = []
        half_done.remove_vhost(access, name, reports.append)
        assert bool(reports) != was_whole
        access.management.request("PUT", access.path("vhosts", name), {})
        assert whole(access, name)
    print(f"RabbitMQ {broker.version}: {half} of {len(made)} vhosts were half made")


def test_a_vhost_with_anything_in_it_stays(vhost: str, access: Access) -> None:
    half_done.remove_vhost(access, vhost, pytest.fail)
    half_done.remove_vhost(access, f"{vhost}.missing", pytest.fail)
    assert access.has_vhost(vhost)


def test_a_shovel_that_runs_and_is_not_listed_ends(
    broker: Broker, vhost: str, access: Access
) -> None:
    ways = {"src-protocol": "amqp091", "dest-protocol": "amqp091", "dest-queue": "q"}
    ways |= {"src-uri": f"amqp:///{vhost}", "dest-uri": f"amqp:///{vhost}"}
    sources = [f"s{name}" for name in NAMES[:16]]
    asked = []
    for source in sources:
        access.management.request("PUT", access.path("queues", vhost, source), {"durable": True})
        path = access.path("parameters/shovel", vhost, own_name("move", source))
        access.management.request("PUT", path, {"value": {**ways, "src-queue": source}})
        asked.append(("DELETE", path, None))

    def consumed() -> set[str]:
        with connect(broker, vhost) as connection:
            channel = connection.channel()
            declared = {one: channel.queue_declare(one, passive=True) for one in sources}
        return {one for one, answer in declared.items() if answer.method.consumer_count}

    wait_for(lambda: consumed() == {*sources}, "all shovels run")
    cut_off(broker, asked, Random(SEED))
    there = access.management.get(f"/parameters/shovel/{vhost}")
    listed = {one["value"]["src-queue"] for one in there}
    ran = consumed()
    print(f"RabbitMQ {broker.version}: {len(listed)} listed, {len(ran)} run of {len(sources)}")
    assert len(listed) < len(sources)
    shovel.end_unlisted(access, vhost, sources)
    wait_for(lambda: not consumed() - listed, "what is not listed does not run")
    assert access.management.get(f"/parameters/shovel/{vhost}") == there


def test_each_binding_leads_after_an_update_was_killed(stack: Stack, vhost: str) -> None:
    chosen = Random(f"{SEED} {stack.broker.version}")
    count = 40
    topology: dict[str, Any] = {
        "vhost": vhost,
        "exchanges": {"e": {"type": "topic"}},
        "queues": {"q": {}},
    }
    bindings = [{"source": "e", "queue": "q", "routing_key": f"k.{one}"} for one in range(count)]
    stack.configure(topology)
    stack.up()
    stack.configure({**topology, "bindings": bindings})
    run = Run(stack)

    def made() -> int:
        with suppress(NotFoundError):
            return len(access_to(stack.broker).bindings("exchanges", vhost, "e", "source"))
        return 0

    some = chosen.randrange(1, count)
    wait_for(lambda: made() >= some or run.ended, "some bindings are made")
    run.kill()
    stack.pulumi("cancel", "--yes", "--stack", stack.name)
    stack.up()
    with connect(stack.broker, vhost) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        wanted = [one["routing_key"] for one in bindings]
        assert [key for key in wanted if not leads(channel, "e", key)] == []
        channel.queue_purge("q")
        stack.configure(topology)
        stack.up()
        assert [key for key in wanted if leads(channel, "e", key)] == []
