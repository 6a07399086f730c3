"""
In which order the hooks of one stack do things, with the broker mocked.
"""

from __future__ import annotations

import asyncio

import pulumi
import pytest

from rabbit_topology import Topology
from rabbit_topology.deploy import guard as safety
from rabbit_topology.deploy import hooks
from rabbit_topology.deploy.inputs import route
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
    guard = made[0]._guards["v"]
    handover = mocker.patch.object(safety.Safety, "_handover").return_value

    def run(coroutine):
        asyncio.get_event_loop().run_until_complete(coroutine)

    # Two exchanges are replaced side by side, and the queue stays.
    for source in ("one", "two"):
        run(guard._shadow(route(inputs(source))))
    assert [call.args[1] for call in handover.shadow.call_args_list] == [None, None]
    run(guard.after(inputs("one")))
    handover.give_back.assert_not_called()
    run(guard.after(inputs("two")))
    handover.give_back.assert_called_once_with()


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
