"""
What the broker left half done, as its lists show it.
"""

from __future__ import annotations

from urllib.parse import unquote

import pytest

from rabbit_topology.broker.access import NEUTRAL, Access, LockedError
from rabbit_topology.broker.management import Management, NotFoundError
from rabbit_topology.model import PREDECLARED_EXCHANGES
from rabbit_topology.safety import half_done

OWN = ["", *PREDECLARED_EXCHANGES]


class Lists:
    """A management API that only has lists, and notes what is asked of it."""

    def __init__(self, mocker, version=(4, 0, 5)):
        self.lists = {
            "/exchanges/v": [{"name": name} for name in OWN],
            "/queues/v": [],
            "/policies/v": [],
            "/operator-policies/v": [],
            "/vhosts/v": {"cluster_state": {"rabbit@a": "running"}},
            "/vhosts/v/permissions": [{"user": "u"}],
            "/parameters": [{"vhost": "other", "name": "s"}],
        }
        self.asked = []
        self.bodies = []
        mocker.patch.object(Management, "get", side_effect=self._get)
        mocker.patch.object(Management, "request", side_effect=self._request)
        mocker.patch.object(Management, "version", version)
        mocker.patch.object(half_done, "time")
        management = Management(endpoint="http://mq.example:15672", username="u", password="p")
        self.access = Access(management=management, addresses=[])
        self.reports = []

    def _get(self, path):
        listed = self.lists.get(path.partition("?")[0])
        if listed is None:
            raise NotFoundError("http://mq.example:15672", path)
        return listed

    def _request(self, method, path, body=None):
        if method != "PUT" or "(?#" not in body["pattern"]:
            self.asked.append(f"{method} {unquote(path)}")
            self.bodies += [body] if body else []
        if method == "DELETE" and path.startswith("/policies"):
            for row in self.lists["/queues/v"]:
                row["policy"] = "p"

    def finish(self):
        half_done.finish_policies(self.access, "v", self.reports.append)
        return self.asked

    def remove(self):
        half_done.remove_vhost(self.access, "v", self.reports.append)
        return self.asked


@pytest.fixture
def broker(mocker):
    return Lists(mocker)


AGAIN = ["PUT /policies/v/rabbit-topology.again", "DELETE /policies/v/rabbit-topology.again"]
POLICY = {"name": "p", "pattern": "^q", "apply-to": "queues", "priority": 0, "definition": {}}


def test_what_is_applied_as_it_is_listed_is_left_alone(broker):
    broker.lists["/policies/v"] = [POLICY]
    broker.lists["/queues/v"] = [{"name": "q", "policy": "p"}, {"name": "other", "policy": ""}]
    assert broker.finish() == []


@pytest.mark.parametrize("policy", [None, "", "another"])
def test_what_is_not_applied_is_worked_out_again_and_said(broker, policy):
    broker.lists["/policies/v"] = [POLICY]
    broker.lists["/queues/v"] = [{"name": "q", "policy": policy}]
    assert broker.finish() == AGAIN
    assert "queue q" in broker.reports[0]


def test_what_nothing_mends_is_not_said_to_be_mended(broker):
    broker.lists["/exchanges/v"] += [{"name": "e", "policy": "gone"}]
    assert broker.finish() == AGAIN
    assert broker.reports == []


def test_the_default_exchange_is_not_looked_at(broker):
    broker.lists["/exchanges/v"] = [{"name": "", "policy": "gone"}]
    assert broker.finish() == []


def test_which_operator_policies_apply_no_list_says_before_4_3(broker):
    broker.lists["/operator-policies/v"] = [{**POLICY, "name": "o"}]
    broker.lists["/queues/v"] = [{"name": "q"}]
    assert broker.finish() == []


def test_nothing_is_written_while_another_run_is_at_work(broker, mocker):
    broker.lists["/policies/v"] = [POLICY]
    broker.lists["/queues/v"] = [{"name": "q"}]
    busy = LockedError("http://mq.example:15672", "another run")
    mocker.patch.object(Access, "lock", side_effect=busy)
    assert broker.finish() == []


def test_what_a_killed_run_left_of_this_goes(broker):
    broker.lists["/policies/v"] = [{**POLICY, "name": "rabbit-topology.again.0", "pattern": "^x$"}]
    assert {*broker.finish()} == {*AGAIN, "DELETE /policies/v/rabbit-topology.again.0"}
    assert broker.reports == []


def test_queues_are_told_again_what_the_broker_says_that_applies(broker):
    def policy(name, priority, **definition):
        return {**POLICY, "name": name, "priority": priority, "definition": definition}

    broker.lists["/policies/v"] = [
        # Whether it applies cannot be told here; the broker says that it does not.
        {**policy("tmp", 10, **{"max-length": 1}), "pattern": "^[[:alpha:]]+-tmp$"},
        policy("p", 5, **{"message-ttl": 7}),
    ]
    rows = [("a", "p"), ("b", ""), ("c", "p"), ("other", "p")]
    broker.lists["/queues/v"] = [{"name": name, "policy": policy} for name, policy in rows]
    half_done.apply_again(broker.access, "v", {"a", "b", "c"})
    written = {body["pattern"]: body["definition"] for body in broker.bodies}
    assert written == {"^a$|^c$": {"message-ttl": 7}, "^b$": NEUTRAL}
    assert len(broker.asked) == 4


def test_an_operator_policy_that_is_not_applied_is_seen_where_it_is_listed(mocker):
    broker = Lists(mocker, (4, 3, 6))
    broker.lists["/operator-policies/v"] = [{**POLICY, "name": "o"}]
    broker.lists["/queues/v"] = [{"name": "q", "operator_policy": ""}]
    assert broker.finish() == AGAIN


def test_a_vhost_that_is_not_there_has_no_policies(broker):
    broker.lists.clear()
    assert broker.finish() == broker.remove() == []


@pytest.mark.parametrize(
    "half",
    [
        {"/exchanges/v": [{"name": name} for name in OWN[:-1]]},
        {"/exchanges/v": []},
        {"/vhosts/v": {"cluster_state": {"rabbit@a": "stopped"}}},
    ],
)
@pytest.mark.parametrize(
    ("more", "goes"),
    [
        ({}, True),
        ({"/queues/v": [{"name": "q"}]}, False),
        ({"/exchanges/v": [{"name": "e"}]}, False),
        ({"/policies/v": [POLICY]}, False),
        ({"/operator-policies/v": [POLICY]}, False),
        ({"/vhosts/v/permissions": [{"user": "another"}]}, False),
        ({"/parameters": [{"vhost": "v", "name": "s"}]}, False),
    ],
)
def test_a_vhost_goes_that_is_half_made_and_empty(broker, half, more, goes):
    broker.lists.update(half)
    for kind, rows in more.items():
        broker.lists[kind] = broker.lists[kind] + rows
    assert broker.remove() == (["DELETE /vhosts/v"] if goes else [])
    assert bool(broker.reports) == goes


@pytest.mark.parametrize("state", [{"rabbit@a": "running", "rabbit@b": "stopped"}, {}])
def test_a_vhost_that_is_whole_stays(broker, state):
    broker.lists["/vhosts/v"] = {"cluster_state": state}
    broker.lists["/exchanges/v"] += [{"name": "amq.rabbitmq.trace"}]
    assert broker.remove() == []
