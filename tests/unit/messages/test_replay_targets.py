"""
The places that messages are replayed to: what stands in the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from rabbit_topology.broker.amqp import AMQPError
from rabbit_topology.broker.management import NotFoundError
from rabbit_topology.compiler import effective
from rabbit_topology.errors import BrokerError
from rabbit_topology.messages.replay_targets import targets
from rabbit_topology.replays.destination import Destination
from rabbit_topology.replays.ledger import Left

HELPERS = [{"name": "rabbit-topology.replay.old"}]


class Channel:
    """A channel that notes what is declared on it, and knows how many messages wait."""

    def __init__(self, ready: dict[str, int]) -> None:
        self.ready = ready
        self.made: list[tuple[str, ...]] = []
        self.refuses = False

    def exchange_declare(self, name: str, kind: str, *, auto_delete: bool) -> None:
        if self.refuses:
            raise AMQPError("refused")
        self.made.append((name, kind, str(auto_delete)))

    def queue_bind(self, queue: str, name: str) -> None:
        self.made.append((queue, name))

    def queue_declare(self, name: str, *, passive: bool) -> Any:
        assert passive
        return SimpleNamespace(
            method=SimpleNamespace(message_count=self.ready[name], consumer_count=0)
        )


class Broker:
    """A broker with exchanges and queues, as the management API lists them."""

    def __init__(self, **listed: dict[str, Any]) -> None:
        self.listed = {name.replace("__", "/"): one for name, one in listed.items()}
        self.management = SimpleNamespace(get=self._get, endpoint="e")
        self.channel_ = Channel({"work": 0})
        self.deleted: list[str] = []

    def _get(self, path: str) -> Any:
        if "use_regex" in path and path.startswith("exchanges"):
            return {"items": HELPERS}
        answer = self.listed.get(path.partition("?")[0])
        if answer is None:
            raise NotFoundError("e", path)
        return answer

    @contextmanager
    def channel(self, _vhost: str) -> Iterator[Channel]:
        yield self.channel_

    def rules(self, _vhost: str) -> Any:
        return effective.rules({}, {}, [(4, 0)])

    def path(self, kind: str, _vhost: str, *names: str) -> str:
        return "/".join((kind, *names))

    def request_if_there(self, method: str, kind: str, _vhost: str, name: str) -> None:
        assert (method, kind) == ("DELETE", "exchanges")
        self.deleted.append(name)


def queue(**arguments: Any) -> dict[str, Any]:
    named = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    row = {"name": "work", "type": "quorum", "messages": 0, "message_bytes": 60}
    return {**row, "arguments": named}


WORK = Destination(queue="work", routing_key="k")
ORDERS = Destination(exchange="orders", routing_key="k")


def test_what_is_not_there_takes_nothing():
    with targets(Broker(), "v") as places:
        assert places.obstacle(WORK, 1) == (Left.RETURNED, "there is no queue work")
        assert places.obstacle(ORDERS, 1) == (Left.RETURNED, "there is no exchange orders")


def test_an_exchange_is_published_to_with_the_key_unless_it_is_internal():
    broker = Broker(exchanges__orders={"internal": False}, exchanges__inner={"internal": True})
    with targets(broker, "v") as places:
        assert places.obstacle(ORDERS, 1) is None
        assert places.address(ORDERS) == ("orders", "k")
        inner = places.obstacle(Destination(exchange="inner"), 1)
        assert inner is not None
        assert inner[0] is Left.REFUSED


def test_a_queue_is_published_to_through_a_helper_that_goes_at_the_end():
    broker = Broker(queues__work=queue())
    with targets(broker, "v") as places:
        assert broker.deleted == ["rabbit-topology.replay.old"]  # of a run that was killed
        assert places.leftover
        assert places.obstacle(WORK, 1) is None
        for _ in range(2):
            assert places.address(WORK) == ("rabbit-topology.replay.work", "k")
        assert broker.channel_.made == [
            ("rabbit-topology.replay.work", "fanout", "True"),
            ("work", "rabbit-topology.replay.work"),
        ]
    assert broker.deleted == ["rabbit-topology.replay.old", "rabbit-topology.replay.work"]


def test_a_helper_that_the_broker_refuses_is_an_error_that_names_it():
    broker = Broker(queues__work=queue())
    broker.channel_.refuses = True
    with targets(broker, "v") as places, pytest.raises(BrokerError, match=r"queue work.*refused"):
        places.address(WORK)


@pytest.mark.parametrize(
    ("arguments", "ready", "fits"),
    [
        ({}, 10**6, True),
        ({"max_length": 3}, 2, True),
        ({"max_length": 3}, 3, False),
        ({"max_length": 3, "overflow": "drop-head"}, 3, False),
        ({"max_length": 3, "overflow": "reject-publish"}, 3, True),
    ],
)
def test_no_message_is_replayed_into_a_queue_that_would_drop_another_for_it(arguments, ready, fits):
    broker = Broker(queues__work=queue(**arguments))
    broker.channel_.ready["work"] = ready
    with targets(broker, "v") as places:
        obstacle = places.obstacle(WORK, 1)
    assert (obstacle is None) is fits
    if obstacle:
        assert obstacle[0] is Left.NO_ROOM


def test_the_same_with_bytes():
    broker = Broker(queues__work=queue(max_length_bytes=100))
    with targets(broker, "v") as places:
        assert places.obstacle(WORK, 40) is None
        places.sent(WORK, 30)
        assert places.obstacle(WORK, 10) is None
        full = places.obstacle(WORK, 11)
    assert full is not None
    assert full[0] is Left.NO_ROOM
