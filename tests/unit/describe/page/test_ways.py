"""
The rules in the page's script against those of `routing.trace`, on topologies of chance.
"""

from __future__ import annotations

import itertools
from random import Random

import pytest

from rabbit_topology.describe import looks
from rabbit_topology.describe.page import ways
from rabbit_topology.routing.message import Message
from rabbit_topology.routing.network import DEFAULT_EXCHANGE, Kind
from rabbit_topology.routing.trace import route
from tests.support import page, random_routes

ODD_TYPES = ("x-consistent-hash", "x-random", "x-recent-history", "x-of-a-plugin")
SERVICES = {
    "declarer": {"declares": ["q9*", "reply", "*"]},
    "binder": {"declares": ["mine"], "binds": ["amq.topic"]},
}
TOPOLOGIES = 200
MESSAGES = 12


def odd(random, config):
    """Make some exchanges such that what they do is not certain, and some that others declare."""
    for exchange in config["exchanges"].values():
        if random.random() < 0.25:
            exchange["type"] = random.choice(ODD_TYPES)
        if random.random() < 0.1:
            exchange["alternate"] = "of-others"
    for binding in config["bindings"]:
        if random.random() < 0.1 and "exchange" in binding:
            binding["exchange"] = "of-others"
        if random.random() < 0.05 and "queue" in binding:
            binding["queue"] = "queue-of-others"
    config["services"] = {**SERVICES, "binder": {**SERVICES["binder"], "binds": ["e0"]}}
    return config


def document(one):
    return ways.document(one, lambda kind, name: f"{kind}/{name}")


def followed(one, exchange, key, given=None):
    return route(
        one, exchange, Message(exchange=exchange, routing_keys=(key,), headers=given or {})
    )


def as_script(hop):
    """Return a hop of Python's as the script has it."""
    return {
        "kind": hop.kind,
        "name": hop.name,
        "type": hop.type,
        "path": hop.step.path if hop.step else None,
        "certain": hop.certain,
        "seen": hop.seen,
        "notes": list(hop.notes),
        "hops": [as_script(inner) for inner in hop.hops],
    }


def as_python(hop):
    """Return a hop of the script's with what Python's has."""
    kept = {key: hop[key] for key in ("kind", "name", "type", "certain", "seen", "notes")}
    path = (hop.get("way") or {}).get("path")
    return {**kept, "path": path, "hops": [as_python(inner) for inner in hop["hops"]]}


def asks_headers(hop):
    return bool(hop.get("byHeaders")) or any(map(asks_headers, hop["hops"]))


def agrees(one, said, exchange, key, random):
    """Assert that both say the same; return whether headers had a part in it."""
    ours = followed(one, exchange, key)
    if not asks_headers(said["root"]):
        assert as_python(said["root"]) == as_script(ours.root)
        assert said["reaches"] == sorted(ours.reaches)
        assert said["mayReach"] == sorted(ours.may_reach)
        assert (said["dropped"], said["unknown"]) == (ours.dropped, ours.unknown)
        return False
    for _ in range(4):
        given = random_routes.headers(random, random_routes.SENT_VALUES)
        ours = followed(one, exchange, key, given)
        assert set(said["reaches"]) <= ours.reaches
        assert ours.may_reach <= set(said["mayReach"])
        assert not said["dropped"] or ours.dropped
    return True


@pytest.mark.parametrize("strange", [False, True])
def test_the_script_says_what_python_says(strange):
    exact = by_headers = reached = 0
    for seed in range(TOPOLOGIES):
        random = Random(seed)
        config = random_routes.topology(random)
        one = page.unchecked(odd(random, config) if strange else config)
        says = page.script(document(one))
        for _ in range(MESSAGES):
            message = random_routes.message(random, config)
            exchange, key = message["exchange"], message["routing_key"]
            said = says(exchange, key)
            if agrees(one, said, exchange, key, random):
                by_headers += 1
            else:
                exact += 1
                reached += bool(said["mayReach"])
    assert exact > TOPOLOGIES * MESSAGES / 3
    assert by_headers > 100
    assert reached > 300


def test_keys_of_direct_reply_to_and_of_queues_that_services_declare():
    one = page.unchecked({"vhost": "v", "queues": {"q": {}}, "services": SERVICES})
    says = page.script(document(one))
    keys = ("q", "q9.x", "reply", "reply.", "amq.rabbitmq.reply-to.x", "amq.gen-x", "nobody", "")
    for key in keys:
        said = says(DEFAULT_EXCHANGE, key)
        assert not agrees(one, said, DEFAULT_EXCHANGE, key, Random(0))


def test_a_direct_exchange_a_cycle_and_an_alternate_by_hand():
    one = page.unchecked(
        {
            "vhost": "v",
            "exchanges": {
                "a": {"type": "fanout"},
                "b": {"type": "topic", "alternate": "c"},
                "c": {"type": "direct"},
            },
            "queues": {"q": {}, "r": {}},
            "bindings": [
                {"source": "a", "exchange": "b"},
                {"source": "b", "exchange": "a", "routing_key": "x.#"},
                {"source": "b", "queue": "q", "routing_key": "x.*"},
                {"source": "c", "queue": "r", "routing_key": "y"},
            ],
        }
    )
    says = page.script(document(one))
    reaches = {key: says("a", key)["reaches"] for key in ("x", "x.1", "y", "z")}
    assert reaches == {"x": [], "x.1": ["q"], "y": ["r"], "z": []}
    assert says("a", "z")["dropped"]
    # `x` goes round for ever: the binding takes it, so the alternate exchange does not.
    assert says("a", "x")["dropped"]


def test_the_bug_of_4_3_0():
    config = {
        "vhost": "v",
        "exchanges": {"a": {"type": "topic"}, "b": {"type": "topic"}},
        "queues": {"q": {}},
        "bindings": [{"source": "b", "queue": "q", "routing_key": ""}],
    }
    for patch, reaches in (("4.3.0", ["q"]), ("4.3.1", [])):
        one = page.unchecked(config, patch)
        said = page.script(document(one))("a", "")
        assert said["reaches"] == reaches == sorted(followed(one, "a", "").reaches)


def test_names_that_javascript_knows_are_names_like_any_other():
    names = ("__proto__", "constructor", "toString", "5")
    config = {
        "vhost": "v",
        "exchanges": {name: {"type": "direct"} for name in names},
        "queues": {name: {} for name in names},
        "bindings": [{"source": name, "queue": name, "routing_key": name} for name in names],
    }
    one = page.unchecked(config)
    says = page.script(document(one))
    for exchange in (*names, "hasOwnProperty", ""):
        for key in (*names, "valueOf"):
            said = says(exchange, key)
            assert said["reaches"] == sorted(followed(one, exchange, key).reaches)


def test_only_what_a_service_can_reach_is_in_the_data_for_its_page():
    one = page.unchecked(
        {
            "vhost": "v",
            "exchanges": {"a": {"alternate": "b"}, "b": {"type": "fanout"}, "secret": {}},
            "queues": {"q": {}, "hidden": {}},
            "bindings": [
                {"source": "b", "queue": "q"},
                {"source": "secret", "queue": "hidden"},
            ],
        }
    )
    data = ways.document(one, lambda kind, name: None, start=["a"])
    assert data["start"] == ["a"]
    assert [exchange["name"] for exchange in data["exchanges"]] == ["a", "b"]
    assert [queue["name"] for queue in data["queues"]] == ["q"]
    assert page.script(data)("a", "k")["reaches"] == ["q"]


def test_a_long_chain_is_followed_to_its_end():
    names = [f"e{number}" for number in range(200)]
    one = page.unchecked(
        {
            "vhost": "v",
            "exchanges": {name: {"type": "fanout"} for name in names},
            "queues": {"q": {}},
            "bindings": [
                *(
                    {"source": source, "exchange": target}
                    for source, target in itertools.pairwise(names)
                ),
                {"source": names[-1], "queue": "q"},
            ],
        }
    )
    assert one.kind("e0") is Kind.FANOUT
    assert page.script(document(one))("e0", "")["reaches"] == ["q"]


def test_what_cannot_be_seen_is_escaped_as_python_does():
    for text in (
        "plain text",
        "tab\tline\r\n",
        "\x00\x7f\xa0\xad",
        "a\u202eb\u200b\u2028",
        "\U000e0001🐇é",
    ):
        assert page.visible(text) == looks.visible(text)
