"""
A whole replay: the real client and all that asks the broker, with a stand-in for the broker.
"""

from __future__ import annotations

from typing import Any

import pytest
from pika import spec

from rabbit_topology.broker import access as access_module
from rabbit_topology.broker.access import Access
from rabbit_topology.broker.management import Management, NotFoundError
from rabbit_topology.broker.verbatim import read
from rabbit_topology.compiler.urls import parse_host
from rabbit_topology.messages import delivery_limit
from rabbit_topology.messages.replay import Job, replay
from rabbit_topology.replays.ledger import Left, Mode
from rabbit_topology.replays.message import REPLAYS
from rabbit_topology.replays.request import Request
from rabbit_topology.replays.selection import Selection
from tests.support import amqp_double
from tests.support.amqp_double import AmqpDouble

QUEUES = ("work", "work.dead-letter")


def dead(number: int, reason: str = "rejected", key: str = "key") -> tuple[bytes, bytes]:
    death = {"queue": "work", "reason": reason, "routing-keys": [key]}
    given = spec.BasicProperties(message_id=str(number), headers={"x-death": [death]})
    return b"".join(given.encode()), str(number).encode()


class Api(Management):
    """A management API with two quorum queues, and the policies that are written."""

    written: dict[str, Any]
    asked: list[tuple[str, str]]
    stated: str

    def request(self, method: str, path: str, body: object = None) -> Any:
        path = path.partition("?")[0]
        self.asked.append((method, path))
        kind, _, rest = path.lstrip("/").partition("/")
        name = rest.partition("/")[2]
        if method == "PUT":
            self.written[name] = body
        elif method == "DELETE":
            self.written.pop(name, None)
        return self._answer(kind, name) if method == "GET" else None

    def _answer(self, kind: str, name: str) -> Any:
        match kind, name:
            case "overview", _:
                return {"rabbitmq_version": self.stated}
            case "nodes", _:
                return []
            case "queues", name if name in QUEUES:
                counts = {"messages": 0, "messages_ready": 0, "message_bytes": 0}
                applied = next(iter(self.written), None)
                return {"name": name, "type": "quorum", "policy": applied, **counts}
            case "queues", listing if listing.endswith("/bindings"):
                return [{"source": "work.dead-letter"}]
            case "exchanges", "":
                return {"items": []}
            case "exchanges", _:
                return {}  # each mark is seen
            case "policies", name if name in self.written:
                return {"name": name, **self.written[name]}
            case "policies", "":
                return [{"name": name, **policy} for name, policy in self.written.items()]
            case "operator-policies", _:
                return []
        raise NotFoundError("e", name)


@pytest.fixture
def double() -> AmqpDouble:
    reasons = ["rejected", "expired", "rejected", "expired", "rejected"]
    return AmqpDouble([dead(number, reason) for number, reason in enumerate(reasons)])


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    monkeypatch.setattr(delivery_limit, "_SETTLED_SECONDS", 0.0)
    monkeypatch.setattr(access_module._HeldLock, "_keep", lambda _self: None)
    api = Api(endpoint="http://127.0.0.1:1", username="admin", password="secret")
    vars(api).update(written={}, asked=[], stated="4.3.6")
    return api


def run(double: AmqpDouble, api: Api, request: Request) -> Any:
    address = parse_host(f"127.0.0.1:{double.port}", tls=False)
    access = Access(management=api, addresses=[address])
    job = Job(
        access=access,
        vhost="v",
        queue="work.dead-letter",
        request=request,
        report=lambda _line: None,
    )
    ledger = replay(job)
    assert ledger.adds_up
    return ledger


def test_all_go_back_and_nothing_is_left_behind(double, api):
    ledger = run(double, api, Request())
    assert ledger.is_complete
    assert [(exchange, key, body) for exchange, key, _, body in double.published] == [
        ("rabbit-topology.replay.work", "key", str(number).encode()) for number in range(5)
    ]
    assert {read(raw)["headers"][REPLAYS] for _, _, raw, _ in double.published} == {1}
    assert not double.messages
    policy = f"/policies/v/{delivery_limit.policy_name('work.dead-letter')}"
    methods = [method for method, path in api.asked if path == policy]
    assert methods == ["GET", "PUT", "PUT", "DELETE"]
    assert ("DELETE", "/exchanges/v/rabbit-topology.replay.work") in api.asked
    assert api.written == {}


@pytest.mark.parametrize(
    ("version", "nacks", "lifted"), [("3.10.8", 0, False), ("4.0.5", 0, True), ("4.3.6", 1, True)]
)
def test_what_is_not_chosen_is_given_back_in_order(double, api, version, nacks, lifted):
    api.stated = version
    ledger = run(double, api, Request(selection=Selection(reasons=("rejected",))))
    assert [body for _, body in double.messages] == [b"1", b"3"]
    assert ledger.left == {Left.NOT_SELECTED: 2}
    sent = [method for _, method in double.sent if isinstance(method, spec.Basic.Nack)]
    assert [(one.delivery_tag, one.multiple, one.requeue) for one in sent] == [
        (0, True, True)
    ] * nacks
    assert any(path.startswith("/policies/v/") for _, path in api.asked) is lifted
    assert api.written == {}
    assert not any(isinstance(method, spec.Basic.Reject) for _, method in double.sent)


def test_a_dry_run_publishes_nothing_and_gives_back_all(double, api):
    ledger = run(double, api, Request(mode=Mode.DRY_RUN))
    assert ledger.replayed.total() == 5
    assert double.published == []
    assert [body for _, body in double.messages] == [b"0", b"1", b"2", b"3", b"4"]
    assert api.written == {}


def test_a_connection_that_breaks_keeps_the_limit_lifted_and_every_message(double, api):
    double.messages.insert(2, dead(9, key=amqp_double.LOST))
    ledger = run(double, api, Request())
    assert ledger.failed is not None
    assert [body for _, _, _, body in double.published] == [b"0", b"1"]
    assert [body for _, body in double.messages] == [b"9", b"2", b"3", b"4"]
    assert list(api.written) == [delivery_limit.policy_name("work.dead-letter")]
    assert "stays and lifts" in ledger.notes[-1]
