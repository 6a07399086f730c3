"""
What an access knows of a broker's policies, and which way a binding is made.
"""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from pika.exceptions import (
    ChannelClosedByBroker,
    StreamLostError,
    UnsupportedAMQPFieldException,
)

from rabbit_topology.broker.access import Access, NoAmqpError
from rabbit_topology.broker.management import Management, NotFoundError
from rabbit_topology.broker.marker import TwoBrokersError
from rabbit_topology.compiler.effective import Target
from rabbit_topology.errors import BrokerError
from rabbit_topology.model import QueueType


@pytest.fixture
def access(mocker):
    listed = {
        "/policies/v": [
            {
                "name": name,
                "pattern": "^q$",
                "apply-to": "all",
                "priority": priority,
                "definition": {"max-length": priority},
            }
            for name, priority in (("p", 1), ("helper", 2))
        ],
        "/operator-policies/v": [
            {
                "name": "o",
                "pattern": "q",
                "apply-to": "queues",
                "priority": 0,
                "definition": {"expires": 5},
            }
        ],
    }
    mocker.patch.object(Management, "get", side_effect=lambda path: listed[path])
    mocker.patch.object(Management, "version", (4, 1, 2))
    management = Management(endpoint="http://mq.example:15672", username="u", password="p")
    return Access(management=management, addresses=[])


def test_the_rules_of_a_vhost_come_once_for_each_version_that_it_may_be_like(access):
    target = Target(kind="queues", name="q", type=QueueType.QUORUM)
    rules = access.rules("v")
    assert [one.like for one in rules] == [(4, 0), (4, 3)]
    for one in rules:
        assert one.possible(target, {}) == [{"max-length": 2, "expires": 5}]


def test_policies_can_be_had_without_a_helper(access):
    assert list(access.live("v")) == ["p", "helper"]
    assert list(access.live("v", but="helper")) == ["p"]
    assert list(access.live("v", operator=True)) == ["o"]


def test_a_version_that_is_not_known_may_be_any(access, mocker):
    mocker.patch.object(Management, "version", ())
    assert access.like == ((3, 10), (4, 0), (4, 3))


class Channel:
    """A channel that notes what is bound over it, or fails."""

    def __init__(self, failure=None):
        self.failure = failure
        self.asked = []

    def __getattr__(self, name):
        def ask(*arguments):
            if self.failure:
                raise self.failure
            self.asked.append((name, *arguments))

        return ask


@pytest.fixture
def over_management(mocker):
    return mocker.patch.object(Management, "request")


def lend(mocker, access, channel):
    mocker.patch.object(type(access), "channel", lambda *_: nullcontext(channel))


BINDING = ("v", "s", "q", "d", "k", {"x": 1})


def test_what_is_bound_over_amqp_is_not_bound_again(access, mocker, over_management):
    channel = Channel()
    lend(mocker, access, channel)
    access.bind(*BINDING)
    access.bind("v", "s", "e", "d", "k", {})
    assert channel.asked == [
        ("queue_bind", "d", "s", "k", {"x": 1}),
        ("exchange_bind", "d", "s", "k", {}),
    ]
    over_management.assert_not_called()


@pytest.mark.parametrize(
    "failure",
    [
        NoAmqpError("http://mq.example:15672", "no answer"),
        BrokerError("http://mq.example:15672", "refuses the user over AMQP"),
        ChannelClosedByBroker(404, "no exchange here yet"),
        StreamLostError("the node stops"),
        UnsupportedAMQPFieldException([], 1.5),
    ],
)
def test_what_amqp_cannot_bind_the_management_api_does(access, mocker, over_management, failure):
    lend(mocker, access, Channel(failure))
    access.bind(*BINDING)
    body = {"routing_key": "k", "arguments": {"x": 1}}
    over_management.assert_called_once_with("POST", "/bindings/v/e/s/q/d", body)


def test_where_amqp_does_not_answer_it_is_not_asked_for_each_binding(
    access, mocker, over_management
):
    channel = Channel(NoAmqpError("http://mq.example:15672", "no answer"))
    lend(mocker, access, channel)
    access.bind(*BINDING)
    channel.failure = None
    access.bind(*BINDING)
    assert channel.asked == []
    assert over_management.call_count == 2


@pytest.mark.parametrize("pattern", ["^a$", r"^\Qa.b", r"^\Qa\E$", ""])
def test_a_policy_is_written_in_two_steps_that_mean_the_same(
    access, mocker, over_management, pattern
):
    body = {"pattern": pattern, "definition": {"expires": 5}, "apply-to": "queues", "priority": 0}
    mocker.patch.object(Management, "get", side_effect=NotFoundError("http://mq.example:15672", ""))
    access.write_policy("v", "p", body)
    draft, whole = (call.args[2] for call in over_management.call_args_list)
    assert whole == body
    assert draft != body
    assert access.without_draft({"name": "p", **draft}) == {"name": "p", **body}


def test_a_policy_that_is_there_is_not_written(access, mocker, over_management):
    body = {"pattern": "^a$", "definition": {}, "apply-to": "queues", "priority": 0}
    mocker.patch.object(Management, "get", return_value={"name": "p", "vhost": "v", **body})
    access.write_policy("v", "p", body)
    over_management.assert_not_called()


def test_nothing_is_bound_on_another_broker(access, mocker, over_management):
    ways = ("the management API", "AMQP")
    failure = TwoBrokersError("http://mq.example:15672", ways, "v", "mend that")
    lend(mocker, access, Channel(failure))
    with pytest.raises(TwoBrokersError):
        access.bind(*BINDING)
    over_management.assert_not_called()


def test_what_the_broker_refuses_is_not_tried_in_another_way(access, mocker, over_management):
    lend(mocker, access, Channel(ChannelClosedByBroker(403, "not allowed")))
    with pytest.raises(ChannelClosedByBroker):
        access.bind(*BINDING)
    over_management.assert_not_called()


@pytest.mark.parametrize("failure", [None, ChannelClosedByBroker(404, "gone")])
@pytest.mark.parametrize(("kind", "short"), [("queue", "q"), ("exchange", "e")])
def test_a_binding_is_removed_in_both_ways(access, mocker, over_management, failure, kind, short):
    channel = Channel(failure)
    lend(mocker, access, channel)
    binding = {
        "source": "s",
        "destination_type": kind,
        "destination": "d",
        "routing_key": "k",
        "properties_key": "k~1",
        "arguments": {"x": 1},
    }
    access.unbind("v", binding)
    asked = [(f"{kind}_unbind", "d", "s", "k", {"x": 1})]
    assert channel.asked == ([] if failure else asked)
    over_management.assert_called_once_with("DELETE", f"/bindings/v/e/s/{short}/d/k~1", None)
