"""
Where each value comes from that applies to a queue or exchange in the end.
"""

from __future__ import annotations

from random import Random

import pytest

from rabbit_topology.compiler.policies import compile_all
from rabbit_topology.describe.page.origins import Origin, Origins
from tests.support import page
from tests.support.pictures import examples, many, network


def told(one, kind, name, **how):
    """Return by setting: its value, and the origins and names of what says so and otherwise."""
    origins = Origins(one, **how)
    settings = origins.queue(name) if kind == "queue" else origins.exchange(name)
    return {
        setting.key: (
            setting.value,
            [(source.origin.value, source.name) for source in setting.sources],
            [(source.origin.value, source.name, source.value) for source in setting.overruled],
        )
        for setting in settings
    }


def test_each_origin_is_named():
    one = network(
        exchanges={"dead": {}},
        queues={
            "own": {"max_length": 10, "max_priority": 3, "type": "classic"},
            "argued": {"arguments": {"x-max-length": 10}},
            "by-policy": {},
            "limited": {},
            "patterned": {"dead_letter": True},
        },
        policies={"p": {"pattern": "^by-policy$", "definition": {"max-length": 7}}},
        operator_policies={"o": {"pattern": "^limited$", "definition": {"max-length": 5}}},
    )
    assert told(one, "queue", "own")["max-length"] == (10, [("key", "max_length")], [])
    assert told(one, "queue", "own")["max-priority"] == (3, [("key", "max_priority")], [])
    argued = told(one, "queue", "argued")["max-length"]
    assert argued == (10, [("argument", "x-max-length")], [])
    assert told(one, "queue", "by-policy")["max-length"] == (7, [("policy", "p")], [])
    assert told(one, "queue", "limited")["max-length"] == (5, [("operator policy", "o")], [])
    patterned = told(one, "queue", "patterned")
    assert patterned["overflow"] == ("reject-publish", [("key", "dead_letter")], [])
    assert patterned["dead-letter-exchange"][1] == [("key", "dead_letter")]
    assert patterned["message-ttl"][1] == [("broker", "")]


def test_paths_and_what_the_broker_has():
    one = network(
        queues={
            "own": {"max_length": 10},
            "argued": {"arguments": {"x-max-length": 10}, "leader_locator": "balanced"},
            "retried": {"retry": {"delays": ["5s"]}},
        },
        policies={"p q": {"pattern": "^argued$", "definition": {"max-length": 70}}},
    )
    origins = Origins(one)
    own, argued, waiting = (
        {setting.key: setting for setting in origins.queue(name)}
        for name in ("own", "argued", "retried.retry.1")
    )
    (source,) = own["max-length"].sources
    assert source.path == "topology.queues.own.max_length"
    assert source.policy in compile_all(one.context.whole)
    (source,) = argued["max-length"].sources
    assert source.path == "topology.queues.argued.arguments.x-max-length"
    (other,) = argued["max-length"].overruled
    assert other.path == 'topology.policies["p q"].definition.max-length'
    (source,) = argued["queue-leader-locator"].sources
    assert source.argument == "x-queue-leader-locator"
    assert source.path == "topology.queues.argued.leader_locator"
    (source,) = waiting["message-ttl"].sources
    assert (source.origin, source.path) == (Origin.PATTERN, "topology.queues.retried.retry")
    assert source.policy in compile_all(one.context.whole)


def test_a_policy_is_merged_into_that_of_the_queues_own_keys():
    one = network(
        queues={"q": {"max_length": 5}, "r": {}},
        policies={"p": {"pattern": "", "definition": {"message-ttl": 9}}},
    )
    own, other = (
        {setting.key: setting.sources[0] for setting in Origins(one).queue(name)} for name in "qr"
    )
    made = own["max-length"].policy
    assert made in compile_all(one.context.whole)
    assert (own["message-ttl"].name, own["message-ttl"].policy) == ("p", made)
    assert (other["message-ttl"].name, other["message-ttl"].policy) == ("p", "")


@pytest.mark.parametrize(
    ("argument", "policy", "operator", "counts"),
    [
        (100, 5, None, 5),
        (5, 100, None, 5),
        (100, 50, 7, 7),
        (5, None, 7, 5),
        (None, 3, 7, 3),
        (None, "3", 7, 3),
    ],
)
def test_of_several_the_one_that_counts_and_the_others(argument, policy, operator, counts):
    stated = {"argument": argument, "policy": policy, "operator policy": operator}
    one = network(
        queues={
            "q": {
                "type": "classic",
                "arguments": {} if argument is None else {"x-max-length": argument},
            }
        },
        policies={} if policy is None else {"p": _for_all(policy)},
        operator_policies={} if operator is None else {"o": _for_all(operator)},
    )
    value, sources, overruled = told(one, "queue", "q")["max-length"]
    assert value == counts
    said = {origin: True for origin, _ in sources} | {origin: False for origin, *_ in overruled}
    assert said == {
        origin: int(given) == counts for origin, given in stated.items() if given is not None
    }


def _for_all(value):
    return {"pattern": "", "apply_to": "queues", "definition": {"max-length": value}}


def test_a_policy_that_the_queue_type_switches_off_is_a_surprise():
    one = network(
        queues={"q": {"type": "classic"}},
        policies={
            "p": {"pattern": "^q", "definition": {"delivery-limit": 3, "max-length": 9}},
        },
    )
    assert told(one, "queue", "q")["max-length"][1] == [("broker", "")]
    (doubt,) = Origins(one).doubts("queues", "q")
    assert doubt == "policy p matches and does not apply: delivery-limit is not for this type"


def test_two_policies_of_one_priority_are_a_doubt():
    policies = {name: {"pattern": "^q", "definition": {"max-length": 9}} for name in "ab"}
    one = page.unchecked({"vhost": "v", "queues": {"q": {}}, "policies": policies})
    (doubt,) = Origins(one).doubts("queues", "q")
    assert doubt == "which policy applies cannot be told from here, it may be: a, b"


def test_exchanges_and_those_of_the_broker():
    one = network(
        exchanges={"e": {"unroutable": True}, "f": {"alternate": "e"}, "g": {}},
        policies={
            "p": {
                "pattern": "^(amq|g)",
                "apply_to": "exchanges",
                "definition": {"alternate-exchange": "f"},
            }
        },
    )
    assert told(one, "exchange", "e")["alternate-exchange"][1] == [("key", "unroutable")]
    assert told(one, "exchange", "f")["alternate-exchange"] == ("e", [("key", "alternate")], [])
    for name in ("g", "amq.topic"):
        assert told(one, "exchange", name)["alternate-exchange"][:2] == ("f", [("policy", "p")])


def test_properties():
    one = network(queues={"q": {"durable": True}, "r": {"dead_letter": True}}, exchanges={"e": {}})
    origins = Origins(one)
    said = {
        (name, field): origins.property(kind, name, field).sources[0].origin
        for kind, name, field in (
            ("queues", "q", "durable"),
            ("queues", "q", "type"),
            ("queues", "r.dead-letter", "type"),
            ("exchanges", "e", "type"),
        )
    }
    assert list(said.values()) == [Origin.KEY, Origin.PROGRAM, Origin.PATTERN, Origin.PROGRAM]
    live = Origins(one, live=True).property("queues", "q", "type")
    assert live.sources[0].origin is Origin.DECLARED


def test_what_was_read_from_a_broker_stands_nowhere_in_a_config():
    one = network(
        queues={"q": {"max_priority": 3, "type": "classic", "arguments": {"x-expires": 5000}}},
        policies={"p": {"pattern": "", "definition": {"max-length": 9}}},
    )
    for setting in Origins(one, live=True).queue("q"):
        assert not [source.path for source in setting.sources if source.path]
    assert told(one, "queue", "q", live=True)["max-priority"][1] == [("argument", "x-max-priority")]


def test_defaults_depend_on_type_and_version():
    quorum = network(queues={"q": {"dead_letter": {"exchange": "amq.fanout"}}})
    told_ = told(quorum, "queue", "q")
    assert told_["delivery-limit"][0] == "20"
    assert told_["dead-letter-strategy"][0].startswith("at-most-once")
    stream = told(network(queues={"s": {"type": "stream"}}), "queue", "s")
    assert stream["max-age"][0] == "messages are kept for ever"
    assert "message-ttl" not in stream
    assert "max-age" not in told(
        network(queues={"s": {"type": "stream", "max_length_bytes": 5}}), "queue", "s"
    )


def chance(random):
    """Return a topology with settings of all origins, of which several meet."""
    keys = {
        "max-length": lambda: random.randrange(1, 9),
        "message-ttl": lambda: random.randrange(1, 9),
        "overflow": lambda: random.choice(("drop-head", "reject-publish")),
        "dead-letter-exchange": lambda: random.choice(("amq.fanout", "amq.topic")),
        "expires": lambda: random.randrange(60_000, 60_009),
        "delivery-limit": lambda: random.randrange(-1, 5),
    }

    def some():
        return {key: keys[key]() for key in random.sample([*keys], random.randrange(1, 4))}

    def policy():
        pattern = random.choice(("", "^q[01]", "^q2$", "3$"))
        return {"pattern": pattern, "priority": random.randrange(3), "definition": some()}

    queues = {}
    for number in range(5):
        type_ = random.choice(("classic", "quorum"))
        own = {"max_length": 5} if random.random() < 0.2 else {}
        arguments = {f"x-{key}": value for key, value in some().items()}
        if type_ == "classic":
            arguments.pop("x-delivery-limit", None)
        given = arguments if random.random() < 0.6 and not own else {}
        queues[f"q{number}"] = {"type": type_, **own, "arguments": given}
    return {
        "queues": queues,
        "policies": {f"p{number}": policy() for number in range(3)},
        "operator_policies": {f"o{number}": policy() for number in range(2)},
    }


def agrees(one):
    """Assert that what is said to apply is what `Context` says; return how many values."""
    count = 0
    for name, queue in one.queues.items():
        said = {
            setting.key: setting
            for setting in Origins(one).queue(name)
            if setting.sources[0].origin is not Origin.BROKER
        }
        own = {argument.removeprefix("x-") for argument in queue.own_arguments()}
        plain = {
            key: value for key, value in one.context.settings[name].items() if key != "queue-type"
        }
        assert {
            key: one_.value for key, one_ in said.items() if key not in own - plain.keys()
        } == plain
        count += len(plain)
    alternates = {
        name: setting.value
        for name in one.context.whole.exchanges
        for setting in Origins(one).exchange(name)
        if setting.key == "alternate-exchange"
    }
    assert alternates == one.context.alternates
    return count


def test_it_is_what_is_worked_out_elsewhere():
    count = sum(agrees(one) for _, _, one in examples()) + agrees(network(**many(100)))
    assert count > 50


def test_it_is_what_is_worked_out_elsewhere_by_chance():
    count = several = 0
    for seed in range(150):
        one = page.unchecked({"vhost": "v", **chance(Random(seed))})
        count += agrees(one)
        for name in one.queues:
            for setting in Origins(one).queue(name):
                several += bool(setting.overruled)
                assert setting.sources
    assert count > 1000
    assert several > 300
