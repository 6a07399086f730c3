"""
What will apply to a queue that is replaced, and which policies have to be there before it is.
"""

from __future__ import annotations

import pytest

from rabbit_topology import parse
from rabbit_topology.broker.access import Access
from rabbit_topology.messages.contents import Contents
from rabbit_topology.messages.queue import BrokerQueue
from rabbit_topology.model import QueueType
from rabbit_topology.safety.planned import Planned
from tests.unit.safety.test_limits import Broker, policy

FILLED = Contents(kind=QueueType.QUORUM, ready=50, unacknowledged=0, consumers=0)
OURS = "rabbit-topology-queues.q"


class Described(Broker):
    """Answers of one queue as well."""

    def get(self, path):
        kind, _, *rest = path.partition("?")[0].strip("/").split("/")
        if kind == "queues" and rest and rest[0] not in self.queues:
            return {"items": []}
        return super().get(path)


@pytest.fixture
def planned(monkeypatch):
    """Return the plan of a topology with queue q, on a broker that has it with 50 messages."""

    def make(queue, *, arguments=None, live=(), operators=(), version=(4, 0, 5), **more):
        topology, *_ = parse(
            {"vhost": "v", "exchanges": {"leads-on": {}, "new": {}}, "queues": {"q": queue}, **more}
        )
        there = {
            "name": "q",
            "type": "quorum",
            "arguments": {"x-queue-type": "quorum", **(arguments or {})},
            "durable": True,
            "auto_delete": False,
            "messages": 50,
        }
        broker = Described(
            queues=[there],
            policies=list(live),
            operator_policies=list(operators),
            version=version,
        )
        monkeypatch.setattr(BrokerQueue, "read", lambda *_: FILLED)
        monkeypatch.setattr(BrokerQueue, "ready", lambda *_: FILLED.ready)
        plan = Planned(access=Access(management=broker, addresses=[]), topology=topology)
        return plan, topology.queues["q"]

    return make


def losses(planned, *args, **kwargs):
    plan, new = planned(*args, **kwargs)
    return plan.losses("q", new)


def missing(planned, *args, **kwargs):
    plan, new = planned(*args, **kwargs)
    return [(key, body["pattern"], body["definition"]) for _, key, body in plan.missing("q", new)]


@pytest.mark.parametrize(
    ("arguments", "queue"),
    [
        ({"x-max-length": 60}, {"max_length": 60}),
        ({"x-max-length": 10}, {"max_length": 10}),
        ({"x-message-ttl": 3_600_000}, {"message_ttl": "1h"}),
        ({"x-message-ttl": 1000}, {"message_ttl": "1h"}),
        ({}, {"max_length": 50}),
        ({}, {"arguments": {"x-max-length": 10, "x-dead-letter-exchange": "leads-on"}}),
        ({}, {"arguments": {"x-max-length": 10, "x-overflow": "reject-publish"}}),
        ({"x-max-length": 10}, {}),
    ],
)
def test_what_stays_the_same_or_rises_takes_nothing(planned, arguments, queue):
    assert losses(planned, queue, arguments=arguments) == []


@pytest.mark.parametrize(
    ("arguments", "queue", "reason"),
    [
        ({}, {"arguments": {"x-max-length": 10}}, "max-length: none -> 10: it holds 50 messages"),
        ({"x-max-length": 60}, {"max_length": 10}, "max-length: 60 -> 10: it holds 50 messages"),
        ({}, {"arguments": {"x-expires": 3000}}, "expires: none -> 3,000: unused for so long"),
        ({"x-message-ttl": 60_000}, {"message_ttl": "1s"}, "message-ttl: 60,000 -> 1,000"),
        ({}, {"type": "classic", "arguments": {"x-message-ttl": 5}}, "message-ttl: none -> 5"),
    ],
)
def test_what_is_lower_then_is_named_with_numbers(planned, arguments, queue, reason):
    (said,) = losses(planned, queue, arguments=arguments)
    assert said.startswith(reason)


def test_policies_of_others_stay_and_settings_that_nothing_makes_go(planned):
    theirs = policy("theirs", priority=1, max_length=10)
    former = policy("rabbit-topology-queues.a", max_length=60)
    lower = {"arguments": {"x-max-length": 60}}
    assert losses(planned, lower, live=[theirs, former]), "theirs applies when it has gone"
    assert losses(planned, lower, live=[former]) == []
    assert losses(planned, lower, operators=[policy("o", max_length=10)]) == []
    added = {"o": {"pattern": "^q$", "definition": {"max-length": 10}}}
    assert losses(planned, {}, operator_policies=added)
    assert losses(planned, {}, policies=added)


def test_a_policy_that_the_next_type_does_not_know_is_counted_no_more(planned):
    theirs = policy("theirs", max_length=60, delivery_limit=5)
    below = policy("below", priority=0, max_length=10)
    assert losses(planned, {"type": "classic"}, live=[theirs, below])
    assert losses(planned, {}, live=[theirs, below]) == []


def test_the_next_policy_is_written_before(planned):
    folded = {"message_ttl": "1h"}
    arguments = {"x-message-ttl": 3_600_000}
    written = [(OURS, "^(q)$", {"message-ttl": 3_600_000})]
    assert missing(planned, folded, arguments=arguments) == written
    there = policy(OURS, pattern="^(q)$", message_ttl=3_600_000)
    assert missing(planned, folded, arguments=arguments, live=[there]) == []
    other = policy(OURS, pattern="^(a|q)$", message_ttl=3_600_000)
    assert missing(planned, folded, arguments=arguments, live=[other]) == written


def test_policies_that_are_written_by_hand_are_as_well(planned):
    by_hand = {"pattern": "^q", "apply_to": "queues", "definition": {"expires": "3600000"}}
    for kind in ("policies", "operator_policies"):
        assert missing(planned, {}, **{kind: {"p": by_hand}}) == [
            ("p", "^q", {"expires": 3_600_000})
        ]


def test_what_another_policy_hides_is_not_written(planned):
    hidden = {"p": {"pattern": "^q", "apply_to": "queues", "definition": {"expires": 3_600_000}}}
    above = policy("above", priority=9, max_length=100)
    assert missing(planned, {}, live=[above], policies=hidden) == []


def test_as_long_as_its_target_leads_nowhere_it_has_what_it_had(planned):
    letters = {"dead_letter": {"exchange": "new", "routing_key": "k"}}
    assert missing(planned, letters, arguments={"x-max-priority": 3}) == []
    old = {"x-dead-letter-exchange": "leads-on", "x-message-ttl": 60_000}
    assert missing(planned, {**letters, "message_ttl": "1h"}, arguments=old) == [
        (OURS, "^(q)$", {"dead-letter-exchange": "leads-on", "message-ttl": 60_000})
    ]
    busy = policy(OURS, pattern="^(q)$", expires=5)
    assert missing(planned, letters, arguments=old, live=[busy]) == []
    shared = policy(OURS, pattern="^(q)$", dead_letter_exchange="leads-on")
    result = missing(
        planned, letters, arguments={"x-dead-letter-exchange": "leads-on"}, live=[shared]
    )
    assert result == [(OURS, "^(q)$", {"dead-letter-exchange": "leads-on"})]


def test_queues_that_are_yet_to_be_replaced_are_known_and_what_they_go_by(planned):
    there = policy("p", dead_letter_exchange="leads-on")
    moved = {"arguments": {"x-dead-letter-exchange": "leads-on"}}
    plan, _ = planned(moved, live=[there])
    assert plan.moving() == {"q": {"dead-letter-exchange": "leads-on"}}
    plan, _ = planned(moved, live=[there, policy("above", priority=200, expires=5)])
    assert plan.moving() == {"q": {"expires": 5}}
    plan, _ = planned(moved)
    assert plan.moving() == {"q": {}}
    plan, _ = planned(moved, live=[there], arguments=moved["arguments"])
    assert plan.moving() == {}, "it has been replaced"
    plan, _ = planned({}, live=[there])
    assert plan.moving() == {}, "it stays as it is"


def test_held_settings_are_needed_while_their_queue_is_to_be_replaced(planned):
    left = ["rabbit-topology.settings.q", "rabbit-topology.settings.gone", "rabbit-topology.x"]
    plan, _ = planned({"arguments": {"x-max-length": 60}})
    assert plan.held(left) == ({left[0]}, {left[1]})
    plan, _ = planned({})
    assert plan.held(left) == (set(), set(left[:2]))
    assert plan.held([]) == (set(), set())


def test_held_settings_are_not_counted_as_what_comes(planned):
    held = policy("rabbit-topology.settings.q", priority=300, max_length=60)
    lower = {"arguments": {"x-max-length": 10}}
    assert losses(planned, lower, live=[held])
    assert losses(planned, {"arguments": {"x-max-priority": 3}}, live=[held]) == []
    assert missing(planned, {"max_length": 60}, live=[held]) == [
        (OURS, "^(q)$", {"max-length": 60})
    ]
