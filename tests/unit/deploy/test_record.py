"""
What a program may do with queues that are in the state and that nothing guards yet.
"""

from __future__ import annotations

from typing import Any

import pulumi
import pytest

from rabbit_topology.deploy import unfinished
from rabbit_topology.deploy.record import Record
from rabbit_topology.lint.reading import parse
from rabbit_topology.model import SafetySettings

URN = "urn:pulumi:dev::project::rabbit_topology:index:Topology"
QUORUM = {"durable": True, "autoDelete": False, "arguments": {"x-queue-type": "quorum"}}
SORTED = {
    "durable": True,
    "autoDelete": False,
    "argumentsJson": '{"x-queue-type":"classic","x-max-priority":3}',
}


def queue(name: str, settings: dict[str, Any], vhost: str = "v", component: str = "t") -> Any:
    urn = f"{URN}$rabbitmq:index/queue:Queue::{component}/{vhost}/{name}"
    outputs = {"name": name, "vhost": vhost, "settings": settings}
    return urn, {"type": "rabbitmq:index/queue:Queue", "outputs": outputs}


def vhost(name: str) -> Any:
    urn = f"{URN}$rabbitmq:index/vHost:VHost::t/{name}"
    return urn, {"type": "rabbitmq:index/vHost:VHost", "outputs": {"name": name}}


def finished(outputs: dict[str, Any], component: str = "t") -> Any:
    return f"{URN}::{component}", {
        "type": "rabbit_topology:index:Topology",
        "outputs": outputs,
    }


ONE = {"vhost": "v", "queue_urls": {"q": "amqp://"}}
SEVERAL = {"vhosts": {"v": ONE, "w": {"vhost": "w", "queue_urls": {}}}}


@pytest.fixture
def check(deploy, monkeypatch):
    """Return the error that a program with these queues gets, None if it may go on."""

    def run(state: list[Any], queues: dict[str, Any], vhost: str = "v") -> str | None:
        answer: list[str | None] = []
        monkeypatch.setattr(Record, "_resources", lambda _: dict(state))
        topology, *_ = parse({"vhost": vhost, "queues": queues})

        def program() -> None:
            try:
                unfinished.check(Record(), "t", [topology], SafetySettings())
            except pulumi.RunError as error:
                answer.append(str(error))

        deploy(program)
        return answer[0] if answer else None

    return run


def test_what_was_imported_may_stay_as_it_is(check):
    state = [queue("q", QUORUM), queue("s", SORTED), vhost("v")]
    assert check(state, {"q": {}, "s": {"type": "classic", "max_priority": 3}}) is None


@pytest.mark.parametrize("outputs", [{}, {"vhost": "v", "queue_urls": {}}, {"vhosts": {}}])
def test_it_may_neither_go_nor_change(check, outputs):
    state = [queue("q", QUORUM), finished(outputs), finished(ONE, "other")]
    assert "queue q of vhost v would be deleted" in check(state, {})
    assert "queue q of vhost v would be replaced (x-queue-type: quorum -> classic)" in check(
        state, {"q": {"type": "classic"}}
    )
    assert "would be replaced" in check([queue("q", SORTED)], {"q": {"type": "classic"}})


@pytest.mark.parametrize("outputs", [ONE, SEVERAL])
def test_what_an_update_has_ended_well_with_is_guarded_by_its_hooks(check, outputs):
    state = [queue("q", QUORUM), vhost("v"), finished(outputs)]
    assert check(state, {}) is None
    assert check(state, {"q": {"type": "classic"}}) is None
    assert check(state, {}, vhost="elsewhere") is None


def test_a_queue_whose_removal_was_refused_is_guarded_as_before(check):
    left = finished({"vhost": "v", "queue_urls": {}, "leaving": {"v": ["q"], "w": []}})
    assert check([queue("q", QUORUM), left, vhost("w")], {}) is None


def test_what_leaves_is_kept_among_the_outputs_as_long_as_the_stack_has_it(monkeypatch, deploy):
    state = dict([queue("q", QUORUM), queue("new", QUORUM), vhost("v"), finished(ONE)])
    monkeypatch.setattr(Record, "_resources", lambda _: state)
    left: list[Any] = []

    def program() -> None:
        record = Record()
        left.extend(record.leaving("t", one) for one in ({"v": {"q"}}, {"v": set()}, {}))
        state.clear()
        left.append(record.leaving("t", {}))

    deploy(program)
    assert left == [{}, {"v": ["q"]}, {"v": ["q"]}, {}]


def test_queues_of_other_components_are_theirs(check):
    assert (
        check([queue("q", QUORUM, component="tt"), queue("q", QUORUM, component="x")], {}) is None
    )


def test_a_vhost_may_not_go_either(check):
    assert "vhost v would be deleted" in check([vhost("v")], {}, vhost="elsewhere")


def test_a_stack_without_anything_may_do_what_it_likes(check):
    assert check([], {"q": {}}) is None
