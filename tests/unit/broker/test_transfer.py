"""
Taking and publishing with the real client: what it sends, and in which order.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

from rabbit_topology.broker.transfer import Outcome, Transfer, opened
from tests.support import amqp_double
from tests.support.amqp_double import AmqpDouble
from tests.unit.broker.test_verbatim import HEADERS, properties

WHOLE = properties(*HEADERS)
PATIENCE = 10.0


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def double() -> AmqpDouble:
    return AmqpDouble([(WHOLE, str(number).encode()) for number in range(5)])


@pytest.fixture
def transfer(double: AmqpDouble) -> Iterator[Transfer]:
    """A transfer on a connection to the stand-in."""

    @contextmanager
    def channel(_vhost: str, *, closing: bool) -> Iterator[BlockingChannel]:
        assert closing
        where = pika.ConnectionParameters("127.0.0.1", double.port)
        connection = pika.BlockingConnection(where)
        yield connection.channel()
        if connection.is_open:
            connection.close()

    access: Any = SimpleNamespace(channel=channel, management=SimpleNamespace(endpoint="e"))
    with opened(access, "v", "errors") as lent:
        yield lent


def test_messages_are_delivered_once_as_they_are_up_to_a_bound(double, transfer):
    transfer.begin(3)
    got = [transfer.next(PATIENCE) for _ in range(3)]
    assert [one.body for one in got] == [b"0", b"1", b"2"]
    assert {one.properties.raw for one in got} == {WHOLE}
    assert (got[0].exchange, got[0].routing_key) == ("dlx", "key")
    assert transfer.next(0.05) is None
    assert transfer.delivered == 3
    transfer.acknowledge(got[1])
    assert transfer.next(PATIENCE).body == b"3"
    assert double.names(1).count("Ack") == 1


def test_what_becomes_of_each_publication_is_known(double, transfer):
    transfer.begin(1)
    outcomes = [
        transfer.publish("x", key, WHOLE, b"body")
        for key in (
            "first",
            amqp_double.RETURNED,
            amqp_double.REFUSED,
            amqp_double.NO_EXCHANGE,
            "last",
        )
    ]
    assert [outcome for outcome, _ in outcomes] == [
        Outcome.CONFIRMED,
        Outcome.RETURNED,
        Outcome.REFUSED,
        Outcome.REFUSED,
        Outcome.CONFIRMED,
    ]
    assert [said for _, said in outcomes[1:4:2]] == ["NO_ROUTE", "NOT_FOUND"]
    assert double.published == [("x", "first", WHOLE, b"body"), ("x", "last", WHOLE, b"body")]
    # A refusal that closes a channel leaves alone what was taken.
    assert transfer.next(PATIENCE).body == b"0"


def test_a_connection_that_breaks_is_an_error_and_no_outcome(transfer):
    transfer.begin(2)
    with pytest.raises(AMQPError):
        transfer.publish("x", amqp_double.LOST, WHOLE, b"body")


@pytest.mark.parametrize(
    ("nack", "sent"), [(False, ["Cancel", "Close"]), (True, ["Cancel", "Nack", "Close"])]
)
def test_all_is_given_back_at_once_and_nothing_is_rejected_one_by_one(double, transfer, nack, sent):
    transfer.begin(4)
    taken = transfer.next(PATIENCE)
    transfer.acknowledge(taken)
    # These are on their way, and the client has not handed them on: it would reject each.
    wait_for(lambda: not double.messages)  # the last one, since one was acknowledged
    assert transfer.give_back(nack=nack)
    assert double.names(1)[-len(sent) :] == sent
    assert [body for _, body in double.messages] == [b"1", b"2", b"3", b"4"]
    assert "Reject" not in double.names(1)
    if nack:
        (last,) = [method for _, method in double.sent if type(method).__name__ == "Nack"]
        assert (last.delivery_tag, last.multiple, last.requeue) == (0, True, True)
    assert not transfer.give_back(nack=nack)  # once more changes nothing
    assert double.names(1)[-len(sent) :] == sent


def test_time_passes_and_messages_come_meanwhile(transfer):
    transfer.begin(5)
    began = time.monotonic()
    transfer.pause(0.3)
    assert time.monotonic() - began >= 0.3
    assert transfer.waiting == 5
    assert began <= transfer.oldest <= time.monotonic()
    while transfer.waiting:
        transfer.next(0)
    assert transfer.oldest is None
