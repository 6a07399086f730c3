"""
In which order the hooks of one stack do things, with the broker mocked.
"""

from __future__ import annotations

import asyncio

from rabbit_topology import Topology, safety
from rabbit_topology.inputs import route
from tests.test_component import args

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
    hooks = made[0]._guards["v"]
    handover = mocker.patch.object(safety.Safety, "_handover").return_value

    def run(coroutine):
        asyncio.get_event_loop().run_until_complete(coroutine)

    # Two exchanges are replaced side by side, and the queue stays.
    for source in ("one", "two"):
        run(hooks._shadow(route(inputs(source))))
    assert [call.args[1] for call in handover.shadow.call_args_list] == [None, None]
    run(hooks.after(inputs("one")))
    handover.give_back.assert_not_called()
    run(hooks.after(inputs("two")))
    handover.give_back.assert_called_once_with()
