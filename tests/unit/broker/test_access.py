"""
What an access knows of a broker's policies.
"""

from __future__ import annotations

import pytest

from rabbit_topology.broker.access import Access
from rabbit_topology.broker.management import Management
from rabbit_topology.compiler.effective import Target
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
