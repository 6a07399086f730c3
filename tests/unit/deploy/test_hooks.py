"""
In which order the hooks of one stack do things, with the broker mocked.
"""

from __future__ import annotations

import asyncio

import pulumi
import pytest

from rabbit_topology import Topology
from rabbit_topology.deploy import hooks
from rabbit_topology.deploy.guard import VhostGuard
from tests.unit.deploy.test_component import args

TOPOLOGY = {
    "vhost": "v",
    "exchanges": {"one": {}, "two": {}},
    "queues": {"q": {}},
    "bindings": [{"source": "one", "queue": "q"}, {"source": "two", "queue": "q"}],
}


def inputs(source):
    return {"source": source, "destination": "q", "destinationType": "queue", "vhost": "v"}


def test_a_second_way_into_a_queue_stays_until_all_its_bindings_are_made_again(deploy, mocker):
    made = []
    deploy(lambda: made.append(Topology("it", args(TOPOLOGY))))
    guard = made[0]._guard("v", mocker.Mock())

    async def is_registering(kind, _vhost, _key):
        return kind == "binding"

    mocker.patch.object(guard.children, "is_registering", is_registering)
    replacement = mocker.patch.object(VhostGuard, "_replacement").return_value

    def run(coroutine):
        asyncio.get_event_loop().run_until_complete(coroutine)

    # Two exchanges are replaced side by side, and the queue stays.
    for source in ("one", "two"):
        run(guard.before_free_binding(inputs(source)))
    assert [call.kwargs for call in replacement.divert.call_args_list] == [{"replaced": False}] * 2
    run(guard.after(inputs("one")))
    replacement.restore.assert_not_called()
    run(guard.after(inputs("two")))
    replacement.restore.assert_called_once_with()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("expected non-nil error with nil state during Create of urn:m", True),
        ("Error 400 from RabbitMQ: Validation failed", False),
    ],
)
def test_a_shovel_that_ends_before_it_is_read_back_is_told_what_to_do(mocker, error, said):
    warn = mocker.patch.object(pulumi, "warn")
    args_ = pulumi.ErrorHookArgs(urn="urn:m", id="", name="v/m", type="t", errors=[error])
    assert asyncio.run(hooks._shovel_ended(args_)) is False
    assert warn.called is said
    if said:
        assert "it has ended by itself, as `source_delete_after` says" in warn.call_args[0][0]
