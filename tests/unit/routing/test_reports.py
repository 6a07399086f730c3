"""
Who may publish what, and which queues dead letters come to.
"""

from __future__ import annotations

import pytest

from rabbit_topology.errors import TopologyError
from rabbit_topology.lint.reading import read
from rabbit_topology.routing import reports
from rabbit_topology.routing.dead_letters import DeadLetters
from rabbit_topology.routing.keys import EVERYTHING, Keys
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.pattern import of_topic
from rabbit_topology.routing.publishers import publishers
from rabbit_topology.routing.reach import Reach


def reach(**topology):
    (one,) = Network.every(read({"vhost": "v", **topology}, {"version": "4.0"})).values()
    return Reach(one)


ORDERS = {
    "exchanges": {"topic": {"type": "topic"}, "direct": {}},
    "queues": {"a": {}, "b": {}},
    "bindings": [
        {"source": "topic", "queue": "a", "routing_key": "order.*"},
        {"source": "direct", "queue": "b", "routing_key": "k"},
    ],
}


def allowed(**who):
    return {
        publisher.name: publisher.exchanges
        for publisher in publishers(reach(**ORDERS, **who).network)
    }


def test_keys_are_looked_at_on_topic_exchanges_only():
    entries = [{"exchange": name, "routing_key": "order.new"} for name in ("topic", "direct")]
    assert allowed(services={"s": {"publishes": entries}}) == {
        "s": {
            "topic": Keys.taken([of_topic("order.new")]),
            "direct": EVERYTHING,
        }
    }


def test_what_a_service_declares_it_may_publish_to_and_replies_go_by_name():
    assert allowed(services={"s": {"declares": ["topic"]}, "r": {"replies": True}, "n": {}}) == {
        "s": {"topic": EVERYTHING},
        "r": {"": EVERYTHING},
    }


def test_users_may_what_their_expressions_say():
    users = {
        "all": {"permissions": {"write": ".*"}},
        "some": {
            "permissions": {"write": "^(topic|direct)$"},
            "topic_permissions": {"topic": {"write": "^order"}},
        },
        "none": {
            "permissions": {"write": "^topic$"},
            "topic_permissions": {"topic": {"write": "^$"}},
        },
    }
    who = allowed(users=users)
    assert who["all"].keys() >= {"topic", "direct", "amq.topic", ""}
    assert who["some"].keys() == {"topic", "direct"}
    assert "none" not in who
    everyone = {
        publisher.name: publisher for publisher in publishers(reach(**ORDERS, users=users).network)
    }
    assert everyone["some"].inexact == {"topic"}


def test_a_name_that_nobody_has_and_one_that_may_nothing():
    known = reach(**ORDERS, services={"s": {"consumes": ["a"]}})
    with pytest.raises(TopologyError, match='"t" is not a service or user of vhost v'):
        reports.of_publisher(known, "t")
    with pytest.raises(TopologyError, match="s may not publish anything"):
        reports.of_publisher(known, "s")


def dying(**more):
    return DeadLetters(
        reach(
            exchanges={"e": {"type": "topic"}, "dlx": {"type": "topic"}},
            queues={
                "first": {"dead_letter": {"exchange": "dlx"}},
                "second": {"dead_letter": {"exchange": "dlx", "routing_key": "third"}},
                "third": {},
                "fourth": {},
                **more,
            },
            bindings=[
                {"source": "e", "queue": "first", "routing_key": "order.#"},
                {"source": "dlx", "queue": "second", "routing_key": "order.new"},
                {"source": "dlx", "queue": "third", "routing_key": "third"},
                {"source": "dlx", "queue": "fourth", "routing_key": "invoice"},
                {"source": "dlx", "queue": "fourth", "routing_key": "second"},
            ],
        )
    )


def test_dead_letters_go_on_with_the_keys_with_which_they_came():
    ways = dying()
    assert ways.between("first", "second").example() == ("order.new", {})
    assert not ways.between("first", "fourth"), "no invoice comes into the first"
    assert list(ways.sources("third")) == [("second", "dlx", "third")]
    assert list(ways.sources("second")) == [("first", "dlx", None)]
    assert ways.onward(["first"]) == {"second", "third"}


def test_where_dead_letters_come_in_any_key_may_come():
    # Into fifth come dead letters: with which keys is not pursued, so it may be an invoice.
    fed = {
        "fifth": {"dead_letter": {"exchange": "dlx"}},
        "sixth": {
            "arguments": {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "fifth"}
        },
    }
    ways = dying(**fed)
    assert ways.between("fifth", "fourth")
    assert list(ways.sources("fifth")) == [("sixth", "", "fifth")]
