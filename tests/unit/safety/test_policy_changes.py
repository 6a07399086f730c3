"""
What happens around a change of a policy: the verdict, and that no queue is without its settings.
"""

from __future__ import annotations

from typing import Any

import pytest

from rabbit_topology import parse
from rabbit_topology.broker.access import Access
from rabbit_topology.compiler import policies as compiled
from rabbit_topology.errors import TopologyError
from rabbit_topology.messages.contents import Contents
from rabbit_topology.messages.queue import BrokerQueue
from rabbit_topology.model import OnDelete, QueueType, SafetySettings
from rabbit_topology.safety.deletion import Deletions
from rabbit_topology.safety.policy_changes import PolicyChanges
from rabbit_topology.safety.run import Run
from tests.unit.safety.test_limits import Broker

PREFIX = "rabbit-topology-queues."
FILLED = Contents(kind=QueueType.QUORUM, ready=50, unacknowledged=0, consumers=0)


class Recorder(Broker):
    """Remembers what is written."""

    def __init__(self, queues: str, policies: list[dict[str, Any]]) -> None:
        super().__init__(
            queues=[
                {
                    "name": queue,
                    "type": "quorum",
                    "durable": True,
                    "auto_delete": False,
                    "arguments": {"x-queue-type": "quorum"},
                    "messages": 50,
                }
                for queue in queues
            ],
            policies=policies,
            operator_policies=[],
        )
        self.written: list[tuple[str, str]] = []
        self.bodies: list[Any] = []

    def request(self, method: str, path: str, body: Any = None) -> Any:
        if method == "PUT" and "(?#" in body.get("pattern", ""):
            return None  # the first of the two steps in which a policy is written
        self.bodies.append(body)
        self.written.append((method, path))
        return None if method != "GET" else self.get(path)


def changes(queues, policies=(), *, is_preview=False, replaced=(), tell=None):
    """Return who decides for a topology, and what is written to a broker with filled queues."""
    exchanges = {"leads-on": {}, "new": {}}
    topology = parse({"vhost": "v", "exchanges": exchanges, "queues": queues})[0]
    recorder = Recorder("abc", list(policies))
    access = Access(management=recorder, addresses=[])
    said = [].append
    run = Run(is_preview=is_preview, settings=SafetySettings(), report=said, warn=tell or said)
    deciding = PolicyChanges(
        access=access,
        topology=topology,
        run=run,
        kept=compiled.kept(topology),
        deletions=Deletions(access=access, topology=topology, run=run, leaving=list),
        replaced=set(replaced),
    )
    return deciding, recorder


@pytest.fixture
def change(monkeypatch):
    """Ask for a change of a policy, on a broker that holds queues with 50 messages each."""

    def run(queues, old, new, on_delete=OnDelete.REFUSE, *, policies=(), bodies=None, moving=()):
        monkeypatch.setattr(BrokerQueue, "quick", lambda *_: FILLED)
        monkeypatch.setattr(BrokerQueue, "read", lambda *_: FILLED)
        deciding, recorder = changes(queues, policies, replaced=moving)
        recorder.bodies = [] if bodies is None else bodies
        try:
            deciding.check_change(old, new, on_delete)
        except TopologyError as error:
            return recorder.written, str(error)
        return recorder.written, None

    return run


def inputs(name, members, **definition):
    policy = {"pattern": f"^({members})$", "applyTo": "queues", "priority": 100}
    return {
        "name": f"{PREFIX}{name}",
        "vhost": "v",
        "policy": {**policy, "definition": {k.replace("_", "-"): v for k, v in definition.items()}},
    }


def put(name):
    return "PUT", f"/policies/v/{PREFIX}{name}"


def test_a_queue_that_leaves_a_group_has_its_next_policy_first(change):
    queues = {"a": {"message_ttl": 1000}, "b": {"max_length": 90}, "c": {"max_length": 90}}
    old = inputs("a", "a|b|c", max_length="90")
    new = inputs("a", "a", max_length="90", overflow="reject-publish")
    assert change(queues, old, new) == ([put("b")], None)


def test_a_queue_that_is_about_to_be_replaced_keeps_what_it_has_until_then(change):
    """Its argument comes with its replacement, which the engine may make later."""
    queues = {
        "a": {"message_ttl": 1000, "arguments": {"x-dead-letter-exchange": "leads-on"}},
        "b": {"message_ttl": 1000, "dead_letter": {"exchange": "leads-on"}},
    }
    former = {"message-ttl": 1000, "dead-letter-exchange": "leads-on"}
    old = inputs("a", "a|b", message_ttl="1000", dead_letter_exchange="leads-on")
    new = inputs("a", "a", message_ttl="1000")
    there = {
        "name": f"{PREFIX}a",
        "pattern": "^(a|b)$",
        "apply-to": "queues",
        "priority": 100,
        "definition": former,
    }
    _, refused = change(queues, old, new, policies=[there])
    assert "queue a: message-ttl" in refused
    bodies: list[Any] = []
    written = change(queues, old, new, policies=[there], bodies=bodies, moving={"a"})
    mark, held = (
        ("PUT", f"/{kind}/v/rabbit-topology.settings.a") for kind in ("exchanges", "policies")
    )
    assert written == ([put("b"), mark, held], None)
    assert (bodies[2]["pattern"], bodies[2]["definition"]) == ("^a$", former)
    assert bodies[2]["priority"] > 100


def test_it_has_its_old_settings_until_its_new_target_leads_somewhere(change):
    queues = {
        "a": {"max_length": 90},
        "b": {"max_length": 90, "dead_letter": {"exchange": "new"}},
        "c": {"max_length": 90, "dead_letter": {"exchange": "leads-on"}},
    }
    old = inputs("a", "a|b|c", max_length="91", overflow="reject-publish")
    bodies: list[Any] = []
    written = change(queues, old, inputs("a", "a", max_length="90"), bodies=bodies)
    assert written == ([put("b"), put("c")], None)
    assert [(body["pattern"], body["definition"]) for body in bodies] == [
        ("^(b)$", {"max-length": 91, "overflow": "reject-publish"}),
        ("^(c)$", {"max-length": 90, "dead-letter-exchange": "leads-on"}),
    ]


def test_it_stays_where_its_next_policy_is_in_use_and_leads_nowhere_yet(change):
    queues = {one: {"dead_letter": {"exchange": "new"}} for one in ("a", "b")}
    there = {"pattern": "^(a)$", "apply-to": "queues", "priority": 100, "definition": {}}
    written, refused = change(
        {**queues, "c": {"max_length": 90}},
        inputs("b", "b|c", max_length="90"),
        {},
        policies=[{**there, "name": f"{PREFIX}a"}],
    )
    assert written == []
    assert "the settings of b cannot change in one step" in refused


def test_what_stays_in_its_policy_is_left_alone(change):
    queues = {"a": {"max_length": 90}, "b": {"max_length": 90}}
    assert change(queues, inputs("a", "a"), inputs("a", "a|b", max_length="90")) == ([], None)


def test_the_next_policy_is_not_written_if_it_would_lose_messages(change):
    queues = {"a": {"max_length": 90}, "b": {"max_length": 10}, "c": {"max_length": 90}}
    old = inputs("a", "a|b|c", max_length="90")
    written, refused = change(queues, old, inputs("a", "a|c", max_length="90"))
    assert written == []
    assert (
        "queue b: max-length: none -> 10: it holds 50 messages, the oldest 40 would go" in refused
    )
    assert "dead_letter: true" in refused


def test_what_may_be_discarded_may_also_be_dropped(change):
    limit = {"max_length": 10, "on_delete": "discard"}
    policy = inputs("a", "a", max_length="10")
    assert change({"a": limit}, {}, policy, OnDelete.DISCARD) == ([], None)
    assert change({"a": {"max_length": 10}}, {}, policy)[1]


def test_a_queue_that_goes_keeps_its_settings_as_long_as_it_holds_messages(change):
    old = inputs("a", "a|b", max_length="90")
    written, refused = change({"b": {"max_length": 90}}, old, {})
    assert written == []
    assert "it is no longer in the config\n  - queue a holds 50 ready" in refused


@pytest.mark.parametrize("on_delete", [OnDelete.RETAIN, OnDelete.DISCARD])
def test_a_queue_that_may_go_as_it_is_is_not_looked_at(change, on_delete):
    assert change({}, inputs("a", "a", max_length="90"), {}, on_delete) == ([], None)


def test_a_policy_that_stays_uncovers_nothing(change):
    below = {"pattern": "^c$", "apply-to": "all", "priority": 1, "definition": {"max-length": 1}}
    old = inputs("c", "c", overflow="reject-publish")
    own = {
        **below,
        "name": f"{PREFIX}c",
        "priority": 100,
        "definition": old["policy"]["definition"],
    }
    there = [{**below, "name": "below"}, own]
    assert change({}, old, {}, OnDelete.RETAIN, policies=there) == ([], None)


def test_a_retained_policy_goes_where_its_queue_joins_a_group(change):
    queues = {"a": {"max_length": 90}, "b": {"max_length": 90}}
    old = inputs("b", "b", max_length="90")
    assert change(queues, old, {}, OnDelete.RETAIN) == (
        [put("a"), ("DELETE", f"/policies/v/{PREFIX}b")],
        None,
    )


def test_a_policy_of_the_users_is_no_reason_to_ask_for_queues_of_others(change):
    old = {**inputs("", "a|b|c"), "name": "theirs"}
    assert change({"a": {"max_length": 90}}, old, {}) == ([put("a")], None)


def test_a_policy_of_the_users_is_not_deleted_where_what_is_below_would_drop(change):
    below = {"name": "below", "pattern": "^c$", "apply-to": "all", "priority": 1}
    old = {**inputs("", "a|b|c", overflow="reject-publish"), "name": "theirs"}
    there = [
        {**below, "definition": {"max-length": 1}},
        {**below, "name": "theirs", "priority": 2, "definition": {"overflow": "reject-publish"}},
    ]
    written, refused = change({}, old, {}, policies=there)
    assert written == []
    assert "queue c: max-length: none -> 1" in refused


def test_a_preview_only_says_so(monkeypatch):
    said = []
    monkeypatch.setattr(BrokerQueue, "read", lambda *_: FILLED)
    deciding, recorder = changes({"a": {"max_length": 10}}, is_preview=True, tell=said.append)
    deciding.check_change({}, inputs("a", "a", max_length="10"), OnDelete.REFUSE)
    (text,) = said
    assert "`pulumi up` will refuse:\n  - queue a: max-length: none -> 10" in text
    assert recorder.written == []
