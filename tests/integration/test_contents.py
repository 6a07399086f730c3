"""
What queues hold, asked all at once, and the channels that it is asked over.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pika
import pytest

from rabbit_topology.broker import amqp as pool
from rabbit_topology.broker import totals
from rabbit_topology.broker.access import Access
from rabbit_topology.compiler.names import own_name
from rabbit_topology.lint.reading import parse
from rabbit_topology.messages import deletion, survey
from rabbit_topology.messages.contents import Contents
from rabbit_topology.messages.queue import BrokerQueue, NoLeaderError
from rabbit_topology.model import QueueType
from rabbit_topology.safety import recovery
from tests.support.stacks import access_to, connect, fill, management, wait_for
from toolchain.broker import Broker

TYPES = ("classic", "quorum", "stream")
NOTHING = Contents(kind=QueueType.CLASSIC, ready=0, unacknowledged=0, consumers=0)


def test_a_survey_says_what_every_queue_holds(broker: Broker, vhost: str) -> None:
    admin, access = management(broker), access_to(broker)
    admin.request("PUT", f"/vhosts/{vhost}")
    with connect(broker, vhost) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for kind in TYPES:
            for what in ("empty", "full"):
                channel.queue_declare(
                    f"{kind} {what}", durable=True, arguments={"x-queue-type": kind}
                )
            channel.basic_publish("", f"{kind} full", b"it")
        for kind in ("classic", "quorum"):
            channel.basic_publish("", f"{kind} full", b"held by who is no consumer")
            channel.basic_get(f"{kind} full")
        alone = {"x-queue-type": "quorum", "x-single-active-consumer": True}
        channel.queue_declare("quorum alone", durable=True, arguments=alone)
        channel.queue_declare("of another connection", exclusive=True)
        channel.basic_consume("classic empty", lambda *_: None)

        surveyed = survey.survey(access, vhost)
        chosen = survey.survey(access, vhost, lambda name: name == "classic full")

    half = Contents(kind=QueueType.CLASSIC, ready=1, unacknowledged=1, consumers=0)
    assert surveyed == {
        "classic empty": replace(NOTHING, consumers=1),
        "classic full": half,
        "quorum empty": replace(NOTHING, kind=QueueType.QUORUM),
        "quorum alone": replace(NOTHING, kind=QueueType.QUORUM),
        # `basic.get` counts as a consumer there.
        "quorum full": replace(half, kind=QueueType.QUORUM, consumers=1),
        "stream empty": replace(NOTHING, kind=QueueType.STREAM),
        "stream full": replace(NOTHING, kind=QueueType.STREAM, ready=1),
    }
    assert chosen == {"classic full": half}


def test_a_quorum_queue_of_the_default_vhost_is_asked_by_its_total(broker: Broker) -> None:
    """RabbitMQ 3.10 answers otherwise there when it is asked where the log ends."""
    name, access = "asked by its total", access_to(broker)
    kept = {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "amq.fanout",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    with connect(broker, "/") as connection:
        channel = connection.channel()
        channel.queue_declare(name, durable=True, arguments=kept)
        try:
            assert BrokerQueue(access, "/", name).read() == replace(NOTHING, kind=QueueType.QUORUM)
            assert BrokerQueue(access, "/", name).is_empty()
        finally:
            channel.queue_delete(name)


@contextmanager
def _leaderless(version: str, vhost: str) -> Iterator[Access]:
    """Lend access to the one node left of three: queue `q`, with 5 messages, has no leader."""
    with Broker.start(version=version, nodes=3, report=print) as cluster:
        admin = management(cluster)
        admin.request("PUT", f"/vhosts/{vhost}")
        with connect(cluster, vhost) as connection:
            channel = connection.channel()
            channel.queue_declare("q", durable=True, arguments={"x-queue-type": "quorum"})
            fill(channel, "q", 5)
        leader = admin.get(f"/queues/{vhost}/q?disable_stats=true")["leader"]
        survivor = next(node for node in cluster.nodes if node.name != leader)
        access = Access.connect(
            endpoint=survivor.endpoint,
            username=cluster.username,
            password=cluster.password,
            hosts=[survivor.host],
        )
        with access.channel(vhost):
            pass  # that it is one broker is proven while there is a majority of nodes
        for node in cluster.nodes:
            if node is not survivor:
                os.kill(node.process.pid, signal.SIGKILL)
        wait_for(
            lambda: BrokerQueue(access, vhost, "q").declared() == (0, 0),
            "the broker says that the queue is empty",
        )
        yield access


def _is_not_taken_for_empty(access: Access, vhost: str) -> None:
    with pytest.raises(NoLeaderError, match="'q' does not answer"):
        BrokerQueue(access, vhost, "q").read()
    with pytest.raises(NoLeaderError):
        survey.survey(access, vhost)
    with pytest.raises(NoLeaderError):
        deletion.delete_empty(BrokerQueue(access, vhost, "q"), QueueType.QUORUM)
    assert access.exists("queues", vhost, "q")


def test_a_quorum_queue_without_a_leader_is_not_taken_for_empty(vhost: str) -> None:
    with _leaderless("4.0", vhost) as access:
        _is_not_taken_for_empty(access, vhost)
        with access.channel(vhost) as channel:
            # What a run has made that was killed while it emptied the queue.
            channel.exchange_declare(own_name("stand-in", "q"), "fanout", durable=True)
            channel.queue_declare(own_name("holding", "q"), durable=True)
        topology, *_ = parse({"vhost": vhost, "queues": {"q": {}}})
        with pytest.raises(NoLeaderError):
            recovery.complete(access, topology, print)
        assert access.exists("queues", vhost, "q")


def test_nor_where_its_total_is_asked_for(vhost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On 4.3, where most nodes have to be there to declare anything, nothing else can be tried."""
    monkeypatch.setattr(totals, "_LEADER_SECONDS", 5.0)
    with _leaderless("newest", vhost) as access:
        _is_not_taken_for_empty(access, vhost)


@pytest.fixture
def lent(start_broker: Callable[[str], Broker], vhost: str) -> Access:
    """Access to a vhost with queue `q`."""
    one_broker = start_broker("4.0")
    admin = management(one_broker)
    admin.request("PUT", f"/vhosts/{vhost}")
    admin.request("PUT", f"/queues/{vhost}/q", {"durable": True})
    return access_to(one_broker)


def _opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by a vhost's name with each connection that is opened."""
    opened: list[str] = []
    connect_ = Access._connect

    def spy(self: Access, vhost: str) -> pika.BlockingConnection:
        opened.append(vhost)
        return connect_(self, vhost)

    monkeypatch.setattr(Access, "_connect", spy)
    return opened


def test_a_channel_is_used_again(lent: Access, vhost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = _opened(monkeypatch)
    with lent.channel(vhost) as first:
        pass
    for _ in range(3):
        assert BrokerQueue(lent, vhost, "q").read() == NOTHING
    with lent.channel(vhost) as again:
        assert again is first
    assert opened == [vhost]


def test_one_that_was_closed_is_followed_by_another_on_its_connection(
    lent: Access, vhost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = _opened(monkeypatch)
    with lent.channel(vhost, closing=True) as first:
        pass
    assert first.is_closed
    with lent.channel(vhost) as again:
        assert again.is_open
    assert opened == [vhost]


@pytest.mark.parametrize("kind", ["quorum", "stream"])
def test_a_message_that_was_looked_at_is_given_back(lent: Access, vhost: str, kind: str) -> None:
    with lent.channel(vhost) as channel:
        channel.queue_declare("full", durable=True, arguments={"x-queue-type": kind})
        fill(channel, "full", 1)
    full = Contents(kind=QueueType(kind), ready=1, unacknowledged=0, consumers=0)
    for _ in range(2):
        if kind == "quorum":
            assert not BrokerQueue(lent, vhost, "full").is_empty()
        # It is given back when the queue hears that the channel is closed, a moment later.
        wait_for(lambda: BrokerQueue(lent, vhost, "full").read() == full, "it is ready again")


def test_one_that_was_idle_for_long_is_not(
    lent: Access, vhost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = _opened(monkeypatch)
    monkeypatch.setattr(pool, "_FRESH_SECONDS", 0.0)
    for _ in range(2):
        assert BrokerQueue(lent, vhost, "q").read() == NOTHING
    assert opened == [vhost, vhost]


def test_nor_one_on_which_something_failed(
    lent: Access, vhost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = _opened(monkeypatch)
    assert BrokerQueue(lent, vhost, "gone").read() is None
    assert BrokerQueue(lent, vhost, "q").read() == NOTHING
    assert opened == [vhost, vhost]


def test_nor_one_that_the_broker_has_closed(
    lent: Access, vhost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = _opened(monkeypatch)
    path = f"/vhosts/{vhost}/connections"
    with lent.channel(vhost):
        wait_for(lambda: lent.management.get(path), "the connection is known")
    for one in lent.management.get(path):
        lent.management.request("DELETE", f"/connections/{one['name'].replace(' ', '%20')}")
    assert BrokerQueue(lent, vhost, "q").read() == NOTHING
    assert opened == [vhost, vhost]
