"""
Which policy applies to a queue or exchange, as the broker would say.
"""

from __future__ import annotations

import pytest

from rabbit_topology.access import Access
from rabbit_topology.management import Management
from rabbit_topology.model import QueueType


def policy(name, apply_to, priority, pattern="^q$"):
    return {
        "name": name,
        "apply-to": apply_to,
        "priority": priority,
        "pattern": pattern,
        "definition": {"name": name},
    }


POLICIES = [
    policy("everything", "all", 0),
    policy("queues", "queues", 1),
    policy("classic", "classic_queues", 2),
    policy("streams", "streams", 3),
    policy("exchanges", "exchanges", 4),
    policy("others", "all", 5, pattern="^other$"),
]


@pytest.fixture
def access(mocker):
    mocker.patch.object(Management, "get", return_value=POLICIES)
    management = Management(endpoint="http://mq.example:15672", username="u", password="p")
    return Access(management=management, addresses=[])


@pytest.mark.parametrize(
    ("apply_to", "kind", "expected"),
    [
        ("queues", QueueType.CLASSIC, "classic"),
        ("queues", QueueType.QUORUM, "queues"),
        ("queues", QueueType.STREAM, "streams"),
        ("queues", None, "streams"),
        ("exchanges", None, "exchanges"),
    ],
)
def test_a_policy_for_queues_of_another_type_does_not_apply(access, apply_to, kind, expected):
    assert access.effective_policy("v", "q", apply_to, kind=kind) == {"name": expected}
