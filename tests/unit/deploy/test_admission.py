"""
What a run says of a broker that does not have what the stack has made.
"""

from __future__ import annotations

from typing import Any

import pytest

from rabbit_topology import parse
from rabbit_topology.broker.access import Access
from rabbit_topology.broker.management import Management, NotFoundError
from rabbit_topology.deploy import admission
from rabbit_topology.model import SafetySettings

NAMES = {"vhost": "v", "exchanges": {"e": {"auto_delete": True}, "stays": {}}}


@pytest.fixture
def warnings(monkeypatch):
    def run(known: dict[tuple[str, str, str], Any], answers: dict[str, Any]) -> list[str]:
        def get(_self: Management, path: str) -> Any:
            if path not in answers:
                raise NotFoundError("http://fake", path)
            return answers[path]

        said: list[str] = []
        monkeypatch.setattr(Management, "get", get)
        monkeypatch.setattr("pulumi.warn", said.append)
        access = Access(
            management=Management(endpoint="http://fake", username="u", password="p"), addresses=[]
        )
        every = {("exchange", "v", name): {} for name in NAMES["exchanges"]}
        seen = admission._look({**every, **known}, parse(NAMES)[:1], access, None, "test")
        admission._say(seen, SafetySettings())
        return said

    return run


def answers(limits: dict[str, int], *exchanges: str) -> dict[str, Any]:
    there = [{"name": name, "type": "direct"} for name in exchanges]
    return {
        "/overview": {},
        "/vhosts/v": {},
        "/vhost-limits/v": [{"vhost": "v", "value": limits}] if limits else [],
        "/exchanges/v": there,
        "/queues/v?disable_stats=true": [],
        "/parameters": [],
    }


VHOST = ("vHost", "", "v")


@pytest.mark.parametrize("limits", [{}, {"max-queues": 9}])
def test_limits_that_were_cleared_by_hand_are_said(warnings, limits):
    known = {VHOST: {"name": "v", "maxQueues": "20"}}
    said = warnings(known, answers(limits, "e", "stays"))
    assert [text for text in said if "were cleared by hand" in text] == said
    assert bool(said) is not bool(limits)


def test_a_vhost_without_limits_needs_none(warnings):
    assert not warnings({VHOST: {"name": "v"}}, answers({}, "e", "stays"))


def test_what_the_broker_deletes_by_itself_is_named_and_nothing_else(warnings):
    (said,) = warnings({VHOST: {"name": "v"}}, answers({}))
    assert "exchange e of vhost v" in said
    assert "stays" not in said


def test_a_vhost_that_is_not_there_is_said_once(warnings):
    (said,) = warnings({VHOST: {"name": "v", "maxQueues": "20"}}, {"/overview": {}})
    assert "does not have" in said
