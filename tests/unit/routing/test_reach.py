"""
All messages at once say what one message after the other says.
"""

from __future__ import annotations

from random import Random

import pytest

from rabbit_topology.lint.reading import read
from rabbit_topology.routing import headers
from rabbit_topology.routing.messages import EVERY_MESSAGE, Messages
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.publication import publish
from rabbit_topology.routing.reach import Reach
from rabbit_topology.routing.redundant import redundant
from tests.support import random_routes


def network(topology, version="4.0"):
    (one,) = Network.every(read({"vhost": "v", **topology}, {"version": version})).values()
    return one


def member(messages, one, network):
    given = {
        name: headers.value(value, numbers_alike=network.numbers_alike)
        for name, value in one["headers"].items()
    }
    return one["routing_key"] in messages.with_headers(given)


@pytest.mark.parametrize("version", ["3.10", "4.0"])
@pytest.mark.parametrize("seed", range(40))
def test_what_leads_to_a_queue_is_what_gets_there(seed, version):
    random = Random(seed)
    topology = random_routes.topology(random)
    vhost = network(topology, version)
    reach = Reach(vhost)
    tried = 0
    for _ in range(60):
        one = random_routes.message(random, topology)
        for name in ("CC", "BCC"):  # sets are of messages with one routing key
            one["headers"].pop(name, None)
        if not one["exchange"]:
            continue
        routed = publish(vhost, **one).routed
        tried += 1
        for queue in vhost.queues:
            leading = reach.to(queue).get(one["exchange"], Messages())
            assert member(leading, one, vhost) == (queue in routed.reaches), (one, queue)
        assert member(reach.lost(one["exchange"]), one, vhost) == routed.dropped, one
    assert tried > 20


@pytest.mark.parametrize("seed", range(40))
def test_examples_are_in_one_set_and_not_in_the_other(seed):
    random = Random(seed)
    vhost = network(random_routes.topology(random))
    reach = Reach(vhost)
    for queue in vhost.queues:
        for exchange, leading in reach.to(queue).items():
            assert leading.simplified() <= leading <= leading.simplified()
            for messages, expected in ((leading, True), (EVERY_MESSAGE - leading, False)):
                example = messages.example()
                if example is not None:
                    routed = publish(vhost, exchange, *example).routed
                    assert (queue in routed.reaches) == expected, (exchange, example)


@pytest.mark.parametrize("seed", range(30))
def test_without_a_binding_that_adds_nothing_all_goes_where_it_went(seed):
    random = Random(seed)
    topology = random_routes.topology(random)
    vhost = network(topology)
    needless = {step.path for step in redundant(Reach(vhost))}
    kept = [
        binding
        for number, binding in enumerate(topology["bindings"])
        if f"topology.bindings[{number}]" not in needless
    ]
    assert len(kept) + len(needless) == len(topology["bindings"])
    other = network({**topology, "bindings": kept})
    one, two = Reach(vhost), Reach(other)
    for queue in vhost.queues:
        for exchange in vhost.shapes:
            before = one.to(queue).get(exchange, Messages())
            now = two.to(queue).get(exchange, Messages())
            assert before <= now <= before
    assert not list(redundant(two))


def bound(*binding_keys, kind="topic"):
    return {
        "exchanges": {"e": {"type": kind}},
        "queues": {"q": {}},
        "bindings": [{"source": "e", "queue": "q", "routing_key": key} for key in binding_keys],
    }


def test_a_binding_that_others_cover_together_adds_nothing():
    # Neither `` nor `*.#` takes all that `#` takes, both together do.
    vhost = network(bound("", "#", "*.#"))
    assert [step.path for step in redundant(Reach(vhost))] == [
        "topology.bindings[0]",
        "topology.bindings[2]",
    ]


def test_of_two_that_take_the_same_the_later_adds_nothing():
    vhost = network(bound("#.*", "*.#"))
    assert [step.path for step in redundant(Reach(vhost))] == ["topology.bindings[1]"]


def test_a_choice_is_not_certain():
    topology = {
        "exchanges": {"h": {"type": "x-consistent-hash"}, "p": {"type": "x-own"}},
        "queues": {"a": {}, "b": {}},
        "bindings": [
            {"source": "h", "queue": "a", "routing_key": "1"},
            {"source": "h", "queue": "b", "routing_key": "1"},
            {"source": "p", "queue": "a", "routing_key": "k"},
        ],
    }
    vhost = network(topology)
    reach = Reach(vhost)
    assert reach.to("a").keys() == {"h", "p"}
    assert not reach.to("a", certain=True)
    routed = publish(vhost, "h", "x").routed
    assert (routed.reaches, routed.may_reach) == (set(), {"a", "b"})
    assert routed.certainly_routed
    assert not reach.lost("h")
    unknown = publish(vhost, "p", "x").routed
    assert (unknown.certainly_routed, unknown.dropped, unknown.unknown) == (False, False, True)


def test_ten_thousand_bindings_are_asked_about_in_as_many_steps(steps_of_search):
    topology = {
        "exchanges": {"e": {"type": "topic"}},
        "queues": {f"q{number}": {} for number in range(1000)},
        "bindings": [
            {"source": "e", "queue": f"q{number // 10}", "routing_key": f"a.{number}.#.*"}
            for number in range(10_000)
        ],
    }
    vhost = network(topology)
    reach = Reach(vhost)
    assert sum(len(reach.to(queue)["e"].cases) for queue in vhost.queues) == 10_000
    assert not list(redundant(reach))
    assert sum(steps_of_search) < 30 * 10_000
