"""
What a change of a policy would take from queues: by what applies to a queue in the end.
"""

from __future__ import annotations

from typing import Any

import pytest

from rabbit_topology.broker.access import Access
from rabbit_topology.broker.management import NotFoundError
from rabbit_topology.messages.contents import Contents
from rabbit_topology.messages.queue import BrokerQueue
from rabbit_topology.model import QueueType
from rabbit_topology.safety import limits

SOME = Contents(kind=QueueType.QUORUM, ready=50, unacknowledged=0, consumers=0)


class Broker:
    """Answers GET requests from plain data, as far as limits ask."""

    endpoint = "http://fake"

    def __init__(self, *, queues, policies, operator_policies, version=(4, 0, 5)):
        self.version = version
        self.queues = {queue["name"]: queue for queue in queues}
        self.policies = {"policies": policies, "operator-policies": operator_policies}

    def get(self, path: str) -> Any:
        kind, vhost, *rest = path.partition("?")[0].strip("/").split("/")
        if vhost != "v":
            raise NotFoundError(self.endpoint, path)
        if kind in self.policies:
            named = [one for one in self.policies[kind] if one.get("name") in rest]
            if rest and not named:
                raise NotFoundError(self.endpoint, path)
            return named[0] if rest else self.policies[kind]
        if kind == "queues":
            return self.queues[rest[0]] if rest else list(self.queues.values())
        assert (kind, rest[1:]) == ("exchanges", ["bindings", "source"])
        return [{"source": "leads-on"}] if rest[0] == "leads-on" else []


def policy(name="p", *, pattern="^q$", priority=100, apply_to="queues", **definition):
    return {
        "name": name,
        "pattern": pattern,
        "apply-to": apply_to,
        "priority": priority,
        "definition": {key.replace("_", "-"): value for key, value in definition.items()},
    }


class Clock:
    """Time that passes while somebody sleeps."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(limits, "time", clock)
    return clock


@pytest.fixture
def lost(monkeypatch, clock):
    """Return what a change of a policy would take from queues, by queue."""

    def run(
        new,
        *,
        name="p",
        kind="quorum",
        arguments=None,
        holds=SOME,
        policies=(),
        operator_policies=(),
        operator=False,
        vhost="v",
        version=(4, 0, 5),
        patience=limits.STATISTICS_SECONDS,
        row=dict,
        **described,
    ):
        queues = [
            row({"name": one, "type": kind, "arguments": arguments or {}, **described})
            for one in ("q", "other", "rabbit-topology.holding.q")
        ]
        broker = Broker(
            queues=queues,
            policies=list(policies),
            operator_policies=list(operator_policies),
            version=version,
        )
        monkeypatch.setattr(BrokerQueue, "quick", lambda *_: holds)
        monkeypatch.setattr(BrokerQueue, "read", lambda *_: holds)
        monkeypatch.setattr(BrokerQueue, "ready", lambda *_: holds.ready)
        access = Access(management=broker, addresses=[])
        return dict(limits.dropped(access, vhost, name, new, operator=operator, patience=patience))

    return run


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        (
            {"max_length": 10},
            "max-length: none -> 10: it holds 50 messages, the oldest 40 would go",
        ),
        (
            {"message_ttl": 1000},
            "message-ttl: none -> 1,000: it holds 50 messages, what is older would be lost",
        ),
        (
            {"expires": 1000},
            "expires: none -> 1,000: unused for so long, it would go with its 50 messages",
        ),
    ],
)
def test_a_limit_on_what_a_queue_holds_is_named_with_numbers(lost, definition, reason):
    assert lost(policy(**definition)) == {"q": reason}
    as_text = policy(**{key: str(value) for key, value in definition.items()})
    assert lost(as_text) == {"q": reason}, "the provider is given numbers as text"
    assert (
        lost(
            policy(**definition),
            holds=Contents(kind=QueueType.QUORUM, ready=0, unacknowledged=0, consumers=1),
        )
        == {}
    )


def test_a_stream_loses_what_is_older_and_no_dead_lettering_helps_it(lost):
    result = lost(policy(max_age="3600s"), kind="stream")
    assert result == {"q": "max-age: none -> 3,600: it holds messages, what is older would be lost"}
    assert (
        "how many bytes it holds is not known"
        in lost(policy(max_length_bytes=10), kind="stream")["q"]
    )
    kept = {"dead_letter_exchange": "leads-on", "overflow": "reject-publish"}
    off = policy(max_age="3600s", max_length_bytes=10, **kept)
    assert lost(off, kind="stream") == {}, "with these keys it does not apply to a stream"
    assert lost(policy(max_age="1h"), kind="stream", policies=[policy(max_age="3600s")]) == {}
    assert lost(policy(max_age="8D"), kind="stream", policies=[policy(max_age="7D")]) == {}
    assert lost(policy(max_age="6D"), kind="stream", policies=[policy(max_age="7D")])


@pytest.mark.parametrize(
    "definition",
    [
        {"max_length": 50},
        {"max_length": 10, "overflow": "reject-publish"},
        {"max_length": 10, "dead_letter_exchange": "leads-on"},
        {"message_ttl": 1, "dead_letter_exchange": "leads-on"},
        {"delivery_limit": 1, "consumer_timeout": 1, "dead_letter_exchange": "nowhere"},
    ],
)
def test_what_takes_nothing_is_good(lost, definition):
    assert lost(policy(**definition)) == {}


def test_only_classic_queues_refuse_and_dead_letter_what_is_too_much(lost):
    new = policy(max_length=10, overflow="reject-publish-dlx")
    assert lost(new, kind="classic") == {}
    assert lost(new).keys() == {"q"}, "to a quorum queue it is drop-head"


@pytest.mark.parametrize(
    "definition",
    [
        {"max_length": 10, "dead_letter_exchange": "nowhere"},
        {"message_ttl": 1, "overflow": "reject-publish"},
        {"expires": 1, "dead_letter_exchange": "leads-on"},
    ],
)
def test_what_does_not_keep_messages_is_no_excuse(lost, definition):
    assert lost(policy(**definition)).keys() == {"q"}


def test_a_higher_limit_than_before_takes_nothing(lost):
    before = policy(max_length=49, message_ttl=10, expires=10)
    assert lost(policy(max_length=49, message_ttl=20, expires=20), policies=[before]) == {}


def test_a_lower_limit_elsewhere_is_what_counts(lost):
    lower = {"message_ttl": 5}
    new = policy(message_ttl=10)
    assert lost(new, policies=[policy("operators", **lower)]) == {}
    assert lost(new, operator_policies=[policy("theirs", **lower)]) == {}
    assert lost(new, arguments={"x-message-ttl": 5}) == {}
    before = policy(message_ttl=20)
    assert lost(new, policies=[before], arguments={"x-message-ttl": 5}) == {}
    assert lost(new, policies=[before], arguments={"x-message-ttl": 15}).keys() == {"q"}
    assert lost(new, arguments={"x-message-ttl": 11}).keys() == {"q"}
    assert lost(new, operator_policies=[policy("theirs", message_ttl=11)]).keys() == {"q"}


def test_operator_policies_are_looked_at_the_same_way(lost):
    new = policy(max_length=10)
    assert lost(new, operator=True).keys() == {"q"}
    refusing = policy("settings", overflow="reject-publish")
    assert lost(new, operator=True, policies=[refusing]) == {}
    assert lost(new, operator=True, operator_policies=[policy(max_length=9)]) == {}


def test_a_policy_that_another_one_hides_changes_nothing(lost):
    above = policy("above", priority=101, max_length_bytes=5)
    assert lost(policy(max_length=10), policies=[above]) == {}


def test_what_comes_out_from_under_a_policy_is_looked_at(lost):
    hidden = policy("hidden", priority=1, max_length=10)
    above = policy(overflow="reject-publish")
    assert lost(None, policies=[hidden, above]).keys() == {"q"}, "deleted"
    assert lost(policy(pattern="^x$"), policies=[hidden, above]).keys() == {"q"}, "led elsewhere"
    assert lost(policy(priority=0), policies=[hidden, above]).keys() == {"q"}, "ranked lower"


def test_of_policies_that_tie_any_may_apply(lost):
    other = policy("other", overflow="drop-head")
    assert lost(policy(max_length=10), policies=[other]).keys() == {"q"}
    strict = policy("strict", max_length=10)
    assert lost(None, policies=[policy(), strict]).keys() == {"q"}
    elsewhere = policy("new", pattern="^x$", max_length=1)
    assert lost(elsewhere, policies=[other, strict], name="new") == {}, "it was so before"


def test_a_policy_that_the_type_switches_off_hides_nothing_and_takes_nothing(lost):
    above = policy("above", priority=200, queue_mode="lazy", overflow="reject-publish")
    assert lost(policy(max_length=10), policies=[above]).keys() == {"q"}
    assert lost(policy(max_length=10), policies=[above], kind="classic") == {}
    assert lost(policy(max_length=10, queue_mode="lazy")) == {}
    assert lost(policy(max_length=10, queue_mode="lazy"), kind="classic").keys() == {"q"}
    rid = policy(max_length=10)
    assert lost(rid, policies=[policy(max_length=10, queue_mode="lazy")]).keys() == {"q"}


def test_between_versions_that_are_known_the_worst_counts(lost):
    """A quorum queue of 3.10 goes by its policy's `expires`, of 4.0 by the lower one."""
    new, before = policy(expires=20), policy(expires=30)
    for version, expected in (((4, 0, 5), {}), ((3, 10, 8), {"q"}), ((3, 12, 1), {"q"})):
        said = lost(new, policies=[before], arguments={"x-expires": 10}, version=version)
        assert said.keys() == set(expected)
    unknown = lost(new, policies=[before], arguments={"x-expires": 10}, version=())
    assert unknown.keys() == {"q"}


def test_of_streams_the_policy_counts_even_where_it_allows_more(lost):
    allowed = {"x-max-age": "1h"}
    assert lost(policy(max_age="2h"), kind="stream", arguments=allowed) == {}
    assert lost(policy(max_age="50m"), kind="stream", arguments=allowed).keys() == {"q"}
    above = policy(max_age="2h")
    assert lost(None, kind="stream", arguments=allowed, policies=[above]).keys() == {"q"}


def test_policies_for_other_types_or_kinds_do_not_count(lost):
    for apply_to in ("exchanges", "streams", "classic_queues"):
        assert lost(policy(apply_to=apply_to, max_length=10)) == {}
    for apply_to in ("all", "quorum_queues"):
        assert lost(policy(apply_to=apply_to, max_length=10)).keys() == {"q"}
    shown = policy("streams", priority=200, apply_to="streams", overflow="reject-publish")
    assert lost(policy(max_length=10), policies=[shown]).keys() == {"q"}


def test_arguments_win_over_policies_but_for_what_a_quorum_queue_does_when_full(lost):
    drops = {"x-overflow": "drop-head"}
    refuses = policy(max_length=10, overflow="reject-publish")
    assert lost(refuses, arguments=drops) == {}
    assert lost(refuses, arguments=drops, kind="classic").keys() == {"q"}
    keeps = {"x-dead-letter-exchange": "leads-on"}
    assert lost(policy(max_length=10, dead_letter_exchange="nowhere"), arguments=keeps) == {}


def test_a_queue_that_refused_can_hold_more_than_it_may_once_it_drops(lost):
    refused = policy(max_length=49, overflow="reject-publish")
    assert lost(policy(max_length=49), policies=[refused]) == {
        "q": "max-length: 49 -> 49: it holds 50 messages, the oldest 1 would go"
    }
    assert lost(policy(max_length=49), policies=[policy(max_length=49, priority=99)]) == {}


def test_what_expires_and_was_kept_is_lost_without_dead_lettering(lost):
    kept = policy(message_ttl=9, dead_letter_exchange="leads-on")
    assert lost(policy(message_ttl=9), policies=[kept]).keys() == {"q"}


@pytest.mark.parametrize("counted", [{"dead_letters": 3}, {"dead_letters": 1, "unknown": 2}])
def test_what_waits_for_a_dead_letter_target_is_not_forgotten(lost, counted):
    waits = policy(
        overflow="reject-publish",
        dead_letter_exchange="leads-on",
        dead_letter_strategy="at-least-once",
    )
    waiting = Contents(kind=QueueType.QUORUM, ready=0, unacknowledged=0, consumers=0, **counted)
    for new in (
        None,
        policy(),
        policy(overflow="drop-head", dead_letter_exchange="leads-on"),
        policy(overflow="reject-publish", dead_letter_exchange="leads-on"),
    ):
        result = lost(new, policies=[waits], holds=waiting)
        assert "3 messages still wait for their dead-letter target" in result["q"]
        assert lost(new, policies=[waits]) == {}
    elsewhere = policy(**{**waits["definition"], "dead-letter-exchange": "other"})
    assert lost(elsewhere, policies=[waits], holds=waiting) == {}


def test_bytes_are_believed_only_where_they_count_as_many_messages(lost):
    new = policy(max_length_bytes=10)
    counted = lost(new, messages_ready=50, message_bytes_ready=60)
    assert counted == {
        "q": "max-length-bytes: none -> 10: it holds 60 bytes, the oldest 50 would go"
    }
    assert lost(new, messages_ready=50, message_bytes_ready=10) == {}
    for stale in ({}, {"messages_ready": 49, "message_bytes_ready": 10}):
        assert "how many bytes it holds is not known" in lost(new, **stale)["q"]


@pytest.mark.parametrize("patience", [0.0, limits.STATISTICS_SECONDS])
def test_bytes_are_collected_apart_from_messages(lost, clock, patience):
    """Two looks must agree between which bytes are collected."""

    class Row(dict):
        def get(self, key, default=None):
            late = key == "message_bytes_ready" and clock.now > 5
            return 60 if late else super().get(key, default)

    row = {"messages": 50, "messages_ready": 50, "message_bytes_ready": 0}
    told = lost(policy(max_length_bytes=10), row=Row, patience=patience, **row)
    assert "it holds 60 bytes" in told["q"]


def test_a_preview_takes_bytes_as_they_are_unless_nothing_is_counted_yet(lost):
    new = policy(max_length_bytes=10)
    stale = {"messages": 49, "messages_ready": 49, "message_bytes_ready": 10}
    assert lost(new, patience=0.0, **stale) == {}
    for nothing in ({}, {"messages": 0, "messages_ready": 0, "message_bytes_ready": 0}):
        assert "how many bytes it holds is not known" in lost(new, patience=0.0, **nothing)["q"]


def test_a_pattern_that_python_cannot_read_may_match(lost):
    assert lost(policy(pattern="(?|q", max_length=10)).keys() == {"q", "other"}


def test_a_vhost_that_is_not_there_holds_nothing(lost):
    assert lost(policy(max_length=0), vhost="w") == {}


def test_a_policy_in_the_brokers_words():
    definition = {"a": "1", "b": "1s"}
    inputs = {"pattern": "^q$", "applyTo": "queues", "priority": 7.0, "definition": definition}
    assert limits.policy("p", inputs) == {
        "name": "p",
        "pattern": "^q$",
        "apply-to": "queues",
        "priority": 7,
        "definition": {"a": 1, "b": "1s"},
    }


def test_who_leaves_a_policy():
    broker = Broker(
        queues=[{"name": one} for one in ("a", "b", "c", "rabbit-topology.holding.a")],
        policies=[],
        operator_policies=[],
    )
    access = Access(management=broker, addresses=[])
    old = {"pattern": "a|b", "applyTo": "queues"}
    assert list(limits.leaving(access, "v", old, {"pattern": "^(b|c)$"})) == ["a"]
    assert list(limits.leaving(access, "v", old, None)) == ["a", "b"]
    assert list(limits.leaving(access, "gone", old, None)) == []
