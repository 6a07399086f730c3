"""
Whether a queue's delivery limit can drop what is taken from it, and how it is lifted meanwhile.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rabbit_topology.compiler import effective
from rabbit_topology.errors import BrokerError, TopologyError
from rabbit_topology.messages import delivery_limit
from rabbit_topology.messages.delivery_limit import (
    KEY,
    NO_DELIVERY_LIMIT,
    Taking,
    lifted,
    policy_name,
)
from rabbit_topology.messages.state import QueueState

NAME = policy_name("dead")


class Broker:
    """A broker with a queue ``dead``, and the policies that are written."""

    def __init__(
        self,
        version: tuple[int, ...],
        policies: dict[str, dict[str, Any]] | None = None,
        operators: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        self.management = SimpleNamespace(version=version, newest_version=version, endpoint="e")
        self.management.get = lambda _path: {"policy": self.applying}
        self.like = ((3, 10) if version < (4, 0) else version[:2],)
        self.written = {name: self._policy(one) for name, one in (policies or {}).items()}
        self.operators = {name: self._policy(one) for name, one in (operators or {}).items()}
        self.deaf = False
        self.fails = False

    @staticmethod
    def _policy(definition: dict[str, Any], priority: int = 0) -> dict[str, Any]:
        return {
            "pattern": "^dead$",
            "apply-to": "queues",
            "priority": priority,
            "definition": definition,
        }

    @property
    def applying(self) -> str | None:
        ranked = sorted(self.written, key=lambda name: -self.written[name]["priority"])
        return ranked[0] if ranked else None

    def policies(self, _vhost: str) -> list[dict[str, Any]]:
        return [{"name": name, **one} for name, one in self.written.items()]

    def live(self, vhost: str, *, operator: bool = False, but: str = "") -> Any:
        if operator:
            listed = [{"name": name, **one} for name, one in self.operators.items()]
        else:
            listed = [one for one in self.policies(vhost) if one["name"] != but]
        return effective.live(listed)

    def applied(self, vhost: str, target: Any, *, but: str = "") -> dict[str, Any]:
        index = effective.Index(self.live(vhost, but=but), self.like)
        return dict(index.definition(index.applying(target)[0]))

    def override_policy(
        self, _vhost: str, policy: str, name: str, apply_to: str, definition: dict[str, Any]
    ) -> None:
        assert (name, apply_to) == ("dead", "queues")
        if not self.deaf:
            self.written[policy] = self._policy(definition, 10**9)

    def delete_policy(self, _vhost: str, name: str) -> None:
        if self.fails:
            raise BrokerError("e", "not now")
        self.written.pop(name, None)

    def path(self, *parts: str) -> str:
        return "/".join(parts)


def queue(kind: str = "quorum", **arguments: Any) -> QueueState:
    return QueueState({"name": "dead", "type": kind, "arguments": arguments})


@pytest.mark.parametrize(
    ("version", "state", "policy"),
    [
        ((3, 10, 8), queue(), {}),
        ((4, 0, 5), queue("classic"), {}),
        ((4, 0, 5), queue(), {KEY: -1}),
        ((4, 3, 6), queue(**{"x-delivery-limit": -1}), {}),
    ],
)
def test_without_a_limit_there_is_no_policy(version, state, policy):
    broker = Broker(version, {"theirs": policy})
    with lifted(broker, "v", state) as taking:
        assert taking.limit is None
        assert not taking.nack
        assert list(broker.written) == ["theirs"]
    assert list(broker.written) == ["theirs"]


@pytest.mark.parametrize(
    ("version", "policy", "limit", "nack"),
    [
        ((3, 10, 8), {KEY: 3}, 3, False),
        ((4, 0, 5), {}, 20, False),
        ((4, 0, 5), {KEY: 3}, 3, False),
        ((4, 3, 6), {}, 20, True),
        ((), {}, 20, False),
    ],
)
def test_a_limit_is_lifted_meanwhile_and_all_else_that_applies_stays(version, policy, limit, nack):
    theirs = {"message-ttl": 5000, "delayed-retry-type": "all", **policy}
    broker = Broker(version, {"theirs": theirs})
    broker.like = broker.like if version else ((3, 10), (4, 0), (4, 3))
    with lifted(broker, "v", queue()) as taking:
        assert (taking.limit, taking.nack) == (limit, nack)
        ours = broker.written[NAME]["definition"]
        assert ours[KEY] == NO_DELIVERY_LIMIT
        assert not any(key.startswith("delayed-retry") for key in ours)
        taking.all_seen = True
    assert broker.written.keys() == {"theirs"}
    assert taking.kept == []


def test_what_a_policy_sets_is_copied():
    broker = Broker((4, 0, 5), {"theirs": {"message-ttl": 5000}})
    with lifted(broker, "v", queue()):
        assert broker.written[NAME]["definition"] == {"message-ttl": 5000, KEY: NO_DELIVERY_LIMIT}


@pytest.mark.parametrize("version", [(3, 10, 8), (4, 0, 5), (4, 3, 6)])
@pytest.mark.parametrize(
    ("arguments", "operators"),
    [({"x-delivery-limit": 5}, {}), ({}, {"cap": {KEY: 5}})],
    ids=["argument", "operator policy"],
)
def test_where_no_policy_lifts_it_nothing_is_taken(version, arguments, operators):
    broker = Broker(version, operators=operators)
    broker.written = {"theirs": broker._policy({KEY: 7})}
    with (
        pytest.raises(TopologyError, match=r"messages could be lost.*more than 5 times"),
        lifted(broker, "v", queue(**arguments)),
    ):
        pass
    assert broker.written.keys() == {"theirs"}


def test_a_policy_that_does_not_come_to_apply_ends_it(monkeypatch):
    monkeypatch.setattr(delivery_limit, "_APPLIED_SECONDS", 0.01)
    broker = Broker((4, 0, 5))
    broker.deaf = True
    with pytest.raises(BrokerError, match="nothing was taken"), lifted(broker, "v", queue()):
        pass


@pytest.mark.parametrize(
    ("taking", "why"),
    [
        (Taking(limit=20, all_seen=True), None),
        (Taking(limit=20, back=False), "not certain"),
        (Taking(limit=20, highest=19), None),
        (Taking(limit=20, highest=20), "given back 20 times"),
        (Taking(limit=20, highest=20, nack=True), None),
        (Taking(limit=20, highest=20, nack=True, leftover=True), "given back 20 times"),
        (Taking(limit=20, leftover=True), "not looked at"),
        (Taking(limit=20, leftover=True, all_seen=True), None),
        (Taking(limit=None, back=False), None),
    ],
)
def test_the_limit_stays_lifted_where_it_could_drop_a_message(taking, why):
    reason = taking.reason_to_keep()
    assert (reason is None) if why is None else (why in reason)


@pytest.mark.parametrize(("nack", "highest"), [(False, 4), (True, 3)])
def test_to_give_back_counts_once_more_but_for_a_nack_that_is_free(nack, highest):
    taking = Taking(limit=20, nack=nack)
    for deliveries in (3, 1):
        taking.saw(deliveries)
    assert taking.highest == highest


def test_what_breaks_off_keeps_the_limit_lifted_and_the_next_run_puts_it_back():
    broker = Broker((4, 0, 5))
    with pytest.raises(ZeroDivisionError), lifted(broker, "v", queue()) as taking:
        taking.back = False
        raise ZeroDivisionError
    assert broker.written.keys() == {NAME}
    assert "not certain" in taking.kept[0]
    with lifted(broker, "v", queue()) as taking:
        assert (taking.limit, taking.leftover) == (20, True)
    assert broker.written.keys() == {NAME}  # it looked at nothing
    with lifted(broker, "v", queue()) as taking:
        taking.all_seen = True
    assert broker.written == {}


def test_what_a_killed_run_left_goes_where_there_is_no_limit_any_more():
    broker = Broker((4, 0, 5))
    with lifted(broker, "v", queue()) as taking:
        taking.back = False
    with lifted(broker, "v", queue(**{"x-delivery-limit": -1})) as taking:
        assert taking.limit is None
    assert broker.written == {}


def test_a_policy_that_cannot_be_deleted_is_told():
    broker = Broker((4, 0, 5))
    broker.fails = True
    with lifted(broker, "v", queue()) as taking:
        pass
    assert "not now" in taking.kept[0]


def test_what_comes_back_is_waited_for(monkeypatch):
    monkeypatch.setattr(delivery_limit, "_SETTLED_SECONDS", 0.0)
    monkeypatch.setattr(delivery_limit, "_BACK_SECONDS", 0.5)
    monkeypatch.setattr(delivery_limit, "_BRIEFLY_SECONDS", 0.1)
    for certain in (True, False):
        counts = iter([4, 4, 6])
        queue_ = SimpleNamespace(ready=lambda counts=counts: next(counts, 6))
        assert delivery_limit.wait_until_back(queue_, 4, 2, certain=certain)
        queue_ = SimpleNamespace(ready=lambda: 5)
        assert not delivery_limit.wait_until_back(queue_, 4, 2, certain=certain)
