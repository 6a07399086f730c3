"""
Exchanges that keep messages themselves: that type is a plugin's, which no test here has.
"""

from __future__ import annotations

from typing import Any

import pytest

from rabbit_topology.broker.access import Access
from rabbit_topology.broker.management import Management, NotFoundError
from rabbit_topology.errors import BrokerError
from rabbit_topology.messages import survey


@pytest.fixture
def check(monkeypatch):
    def run(described: dict[str, Any] | None) -> str | None:
        def get(_self: Management, path: str) -> dict[str, Any]:
            assert path == "/exchanges/v/e"
            if described is None:
                raise NotFoundError("http://fake", path)
            return described

        monkeypatch.setattr(Management, "get", get)
        management = Management(endpoint="http://fake", username="u", password="p")
        try:
            survey.check_exchange(Access(management=management, addresses=[]), "v", "e")
        except BrokerError as error:
            return str(error)
        return None

    return run


def test_delayed_messages_keep_their_exchange(check):
    said = check({"type": "x-delayed-message", "messages_delayed": 1204, "message_stats": {}})
    assert "exchange e keeps messages itself" in said
    assert "1,204 messages delayed" in said


@pytest.mark.parametrize(
    "described",
    [None, {"type": "direct"}, {"messages_delayed": 0}, {"message_stats": {"publish_in": 7}}],
)
def test_an_exchange_that_keeps_none_may_go(check, described):
    assert check(described) is None
