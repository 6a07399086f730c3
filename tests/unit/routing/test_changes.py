"""
What two configs do differently with messages.
"""

from __future__ import annotations

from random import Random

import pytest

from rabbit_topology.errors import TopologyError
from rabbit_topology.lint.reading import read
from rabbit_topology.routing import changes, headers, text_sets, tree
from rabbit_topology.routing.messages import Messages
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.publication import publish
from tests.support import random_routes


def stack(topology):
    return read({"vhost": "v", **topology}, {"version": "4.0"})


def network(topology):
    (one,) = Network.every(stack(topology)).values()
    return one


def compared(old, new):
    return changes.compare(network(old), network(new))


ORDERS = {
    "exchanges": {"orders": {"type": "topic"}, "shop": {"type": "fanout"}},
    "queues": {"billing": {}, "audit": {}},
    "bindings": [
        {"source": "orders", "queue": "billing", "routing_key": "order.#"},
        {"source": "orders", "queue": "audit", "routing_key": "order.paid"},
        {"source": "shop", "exchange": "orders"},
    ],
}


def bindings(*all_but, plus=()):
    kept = [binding for number, binding in enumerate(ORDERS["bindings"]) if number not in all_but]
    return {**ORDERS, "bindings": [*kept, *plus]}


def bound(queue, key, source="orders"):
    return {"source": source, "queue": queue, "routing_key": key}


def test_nothing_is_different_from_itself():
    same = compared(ORDERS, ORDERS)
    assert not same
    assert text_sets.changes("v", same) == "vhost v: every message goes where it went"


def test_a_narrower_pattern_loses_the_others_with_an_example():
    (lost,) = compared(ORDERS, bindings(0, plus=[bound("billing", "order.*")])).changes
    assert (lost.exchange, lost.queue, lost.gained) == ("orders", "billing", False)
    assert lost.routing_key == "order"
    assert lost.through == ("shop",)
    assert lost.elsewhere == ()
    shown = text_sets.changes(
        "v", compared(ORDERS, bindings(0, plus=[bound("billing", "order.*")]))
    )
    assert shown.splitlines()[0] == "vhost v: 1 difference"
    assert " ".join(shown.split()).endswith(
        "order.# but not order.* on exchange orders (also from shop) no longer reaches billing, "
        'for example "order"; now dropped'
    )


def test_another_way_to_write_the_same_is_no_change():
    other = bindings(0, plus=[bound("billing", "order"), bound("billing", "order.*.#")])
    assert not compared(ORDERS, other).changes


def test_what_is_gained_says_where_it_went_before():
    (gained,) = compared(ORDERS, bindings(plus=[bound("audit", "order.*.eu")])).changes
    assert (gained.gained, gained.routing_key, gained.elsewhere) == (
        True,
        "order.x.eu",
        ("billing",),
    )


def test_a_queue_that_nothing_leads_to_is_named():
    result = compared(ORDERS, bindings(1))
    assert result.unreachable == ["audit"]
    assert [change.queue for change in result.changes] == ["audit"]


def test_a_binding_that_adds_nothing_is_named_if_it_is_new():
    result = compared(ORDERS, bindings(plus=[bound("billing", "order.new")]))
    assert [step.path for step in result.redundant] == ["topology.bindings[3]"]
    assert not result.changes
    again = bindings(plus=[bound("billing", "order.new")])
    assert not compared(again, again)


def test_an_exchange_that_is_gone_is_named_once():
    without = {
        **ORDERS,
        "exchanges": {"orders": {"type": "topic"}},
        "bindings": ORDERS["bindings"][:2],
    }
    result = compared(ORDERS, without)
    assert result.gone == ["shop"]
    assert not result.changes


def test_settings_that_decide_what_becomes_of_messages_are_compared():
    expiring = {**ORDERS, "queues": {"billing": {"message_ttl": "1m"}, "audit": {}}}
    (one,) = compared(ORDERS, expiring).settings
    assert (one.queue, one.key, one.before, one.now) == ("billing", "message-ttl", None, 60_000)


def test_services_that_can_reach_more_are_named():
    shop = {"services": {"shop": {"publishes": [{"exchange": "orders", "routing_key": "order.*"}]}}}
    wider = {"services": {"shop": {"publishes": ["orders"]}}}
    paid = bindings(1)
    result = compared({**paid, **shop}, {**ORDERS, **shop})
    assert [(further.publisher.name, further.queue, further.new) for further in result.further] == [
        ("shop", "audit", True)
    ]
    result = compared({**ORDERS, **shop}, {**ORDERS, **wider})
    assert [(further.queue, further.new, further.routing_key) for further in result.further] == [
        ("billing", False, "order")
    ]
    assert not compared({**ORDERS, **wider}, {**ORDERS, **shop}).further
    replying = {"services": {"shop": {**shop["services"]["shop"], "replies": True}}}
    by_name = compared({**ORDERS, **shop}, {**ORDERS, **replying}).further
    assert {(further.queue, further.exchange) for further in by_name} == {
        ("billing", ""),
        ("audit", ""),
    }


def test_headers_are_a_part_of_the_class():
    def taking(**arguments):
        return {
            "exchanges": {"e": {"type": "headers"}},
            "queues": {"q": {}},
            "bindings": [{"source": "e", "queue": "q", "arguments": arguments}],
        }

    old, new = taking(region="eu"), taking(region="eu", urgent=True)
    (lost,) = compared(old, new).changes
    assert lost.headers == {"region": "eu"}
    assert 'region = "eu", urgent other than true or none' in text_sets.changes(
        "v", compared(old, new), width=200
    )


@pytest.mark.parametrize("seed", range(40))
def test_a_message_changes_its_queues_exactly_if_it_is_in_a_class(seed):
    random = Random(seed)
    old = random_routes.topology(random)
    new = {**old, "bindings": list(old["bindings"])}
    for _ in range(3):
        new["bindings"].pop(random.randrange(len(new["bindings"])))
        if len(new["bindings"]) < 2:
            break
    if random.random() < 0.5:
        old, new = new, old
    before, now = network(old), network(new)
    result = changes.compare(before, now)
    classes: dict[tuple[str, str, bool], Messages] = {}
    for change in result.changes:
        for exchange in (change.exchange, *change.through):
            key = (exchange, change.queue, change.gained)
            classes[key] = classes.get(key, Messages()) | change.messages
    for change in result.changes:
        here, there = (now, before) if change.gained else (before, now)
        for vhost, there_too in ((here, True), (there, False)):
            routed = publish(vhost, change.exchange, change.routing_key, change.headers).routed
            assert (change.queue in routed.reaches) == there_too
    for _ in range(40):
        one = random_routes.message(random, old)
        for name in ("CC", "BCC"):
            one["headers"].pop(name, None)
        if not one["exchange"]:
            continue
        given = {name: headers.value(value) for name, value in one["headers"].items()}
        was, is_ = (publish(vhost, **one).routed.reaches for vhost in (before, now))
        for queue in before.queues:
            for gained, changed in ((False, was - is_), (True, is_ - was)):
                in_class = classes.get((one["exchange"], queue, gained), Messages())
                if queue in changed:
                    through = [
                        change for change in result.changes if one["exchange"] in change.through
                    ]
                    assert through or one["routing_key"] in in_class.with_headers(given)
                elif not any(one["exchange"] in change.through for change in result.changes):
                    assert one["routing_key"] not in in_class.with_headers(given)


def test_what_is_beyond_the_bounds_is_said(monkeypatch):
    monkeypatch.setattr(tree, "MAX_STEPS", 2)
    result = compared(ORDERS, bindings(0, plus=[bound("billing", "order.*")]))
    assert "queue billing" in result.undecided[0]
    assert "not decided: queue billing" in text_sets.changes("v", result)


def test_vhosts_are_compared_by_name_and_an_only_one_with_the_other():
    one, two = stack(ORDERS), read({"vhost": "w", **bindings(1)}, {"version": "4.0"})
    assert [*changes.stacks(one, two)] == ["w"]
    several = read({"vhosts": {"v": ORDERS, "w": ORDERS}})
    assert not any(changes.stacks(several, several).values())
    with pytest.raises(TopologyError, match="vhost w is in one of the two only"):
        changes.stacks(one, several)


def test_a_change_in_ten_thousand_bindings_is_found_in_as_many_steps(steps_of_search):
    def many(*changed):
        return {
            "exchanges": {"e": {"type": "topic", "alternate": "a"}, "a": {"type": "fanout"}},
            "queues": {f"q{number}": {} for number in range(100)},
            "bindings": [
                {"source": "a", "queue": "q0"},
                *(
                    bound(
                        f"q{number % 100}",
                        f"#.w{number}.{'x' if number in changed else '*'}.#",
                        "e",
                    )
                    for number in range(10_000)
                ),
            ],
        }

    result = compared(many(), many(1, 7))
    assert [(change.exchange, change.queue, change.gained) for change in result.changes] == [
        ("e", "q0", True),
        ("e", "q1", False),
        ("e", "q7", False),
    ]
    assert not result.undecided
    assert sum(steps_of_search) < 30 * 10_000
