"""
One message: the way it takes, and what becomes of it in queues.
"""

from __future__ import annotations

import pytest

from rabbit_topology.errors import TopologyError
from rabbit_topology.lint.reading import read
from rabbit_topology.model import Reason
from rabbit_topology.routing import lives, text
from rabbit_topology.routing.lives import End
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.publication import publish
from rabbit_topology.testing import load
from tests.support.repository import ROOT

EXAMPLES = ROOT / "examples"


def network(version="4.0", **topology):
    stack = read({"vhost": "v", **topology}, {"version": version} if version else None)
    return Network.every(stack)["v"]


def sent(vhost, exchange, routing_key="", **more):
    return publish(vhost, exchange, routing_key, **more)


def paths(publication):
    """Return the config path of each binding that was taken, by where it leads."""
    return {hop.name: hop.step.path for hop in publication.root.walk() if hop.step and not hop.seen}


def ends(publication, queue, reason):
    life = publication.follow(queue, reason)
    return [(end, last, at) for end, last, at in life.ends()]


class TestTheExamples:
    def test_events_go_where_they_should(self):
        events = load(EXAMPLES / "event_bus.yaml")
        assert events.publish("events", "order.placed").reaches == {"billing", "audit"}
        assert events.publish("events", "invoice.paid").reaches == {"shipping", "audit"}
        assert events.publish("events", "invoice.paid.eu").reaches == {"shipping", "audit"}
        assert events.publish("events", "invoice").reaches == {"audit"}
        assert events.publish("events").reaches == {"audit"}

    def test_a_request_is_tried_four_times_and_parked_after_11_minutes(self):
        inference = load(EXAMPLES / "inference.yaml")
        request = inference.publish("inference", "inference.request")
        assert request.reaches == {"inference.requests"}
        assert request.ends() == {"inference.requests.parking-lot": (5 + 60 + 600) * 1000}
        lost = inference.publish("inference", "inference.nothing")
        assert lost.reaches == {"inference.unroutable"}

    def test_a_result_expires_after_an_hour(self):
        inference = load(EXAMPLES / "inference.yaml")
        result = inference.publish("inference", "inference.result")
        assert result.ends("expired") == {"inference.results.dead-letter": 3_600_000}

    def test_what_is_delayed_comes_later(self):
        jobs = load(EXAMPLES / "two_vhosts.yaml", vhost="tenant-a")
        later = jobs.publish("jobs.delay.1s", "job")
        assert later.reaches == {"jobs.delay.1s"}
        assert later.ends("expired") == {"jobs": 1000}

    def test_a_super_stream_has_partitions(self):
        streams = load(EXAMPLES / "streams.yaml")
        assert streams.publish("clicks", "1").reaches == {"clicks-1"}
        assert streams.publish("clicks", "3").dropped
        assert streams.publish("readings", "any").reaches == {"readings"}

    def test_the_seed(self):
        seed = load(EXAMPLES / "seed.yaml")
        assert seed.publish("inference", "inference.request").reaches == {"inference.requests"}
        assert seed.publish("", "inference.requests").reaches == {"inference.requests"}
        rpc = load(EXAMPLES / "rpc.yaml")
        assert rpc.publish("rpc", "calculate").reaches == {"calculate"}


QUEUES = {"a": {"type": "classic"}, "b": {"type": "classic"}}


def test_every_hop_says_which_binding_took_it():
    vhost = network(
        exchanges={"e": {"type": "topic", "alternate": "f"}, "f": {"type": "fanout"}, "h": {}},
        queues={**QUEUES, "c": {"retry": {"delays": ["1s"]}}},
        bindings=[
            {"source": "e", "exchange": "h", "routing_keys": ["x.#", "k"]},
            {"source": "h", "queue": "a", "routing_key": "k"},
            {"source": "f", "queue": "b"},
        ],
    )
    assert paths(sent(vhost, "e", "k")) == {
        "h": "topology.bindings[0].routing_keys[1]",
        "a": "topology.bindings[1]",
    }
    assert paths(sent(vhost, "e", "other")) == {
        "f": "topology.exchanges.e.alternate",
        "b": "topology.bindings[2]",
    }
    assert sent(vhost, "e", "x.y").dropped, "what a binding takes is not for the alternate"
    assert paths(sent(vhost, "", "a")) == {"a": "topology.queues.a"}
    assert paths(sent(vhost, "c.retry.back")) == {"c": "topology.queues.c.retry"}


def test_an_exchange_is_visited_once_and_a_queue_gets_a_message_once():
    vhost = network(
        exchanges={name: {"type": "fanout"} for name in "ef"},
        queues=QUEUES,
        bindings=[
            {"source": "e", "exchange": "f"},
            {"source": "f", "exchange": "e"},
            {"source": "e", "queue": "a"},
            {"source": "f", "queue": "a", "routing_key": "other"},
        ],
    )
    publication = sent(vhost, "e")
    assert publication.routed.reaches == {"a"}
    hops = [(hop.name, hop.seen) for hop in publication.root.walk()]
    assert hops == [("e", False), ("f", False), ("e", True), ("a", False), ("a", True)]


def test_alternates_may_go_round():
    vhost = network(exchanges={"e": {"alternate": "f"}, "f": {"alternate": "e"}})
    assert sent(vhost, "e", "k").dropped


def test_copies_are_routed_like_the_message():
    vhost = network(
        exchanges={"e": {"alternate": "f"}, "f": {"type": "fanout"}},
        queues={**QUEUES, "c": {"type": "classic"}},
        bindings=[
            {"source": "e", "queue": "a", "routing_key": "a"},
            {"source": "e", "queue": "b", "routing_key": "b"},
            {"source": "f", "queue": "c"},
        ],
    )
    copied = {"CC": ["b"], "BCC": ["x"]}
    assert sent(vhost, "e", "a", headers=copied).routed.reaches == {"a", "b"}
    assert sent(vhost, "e", "none", headers=copied).routed.reaches == {"b"}, "one key is enough"
    assert sent(vhost, "e", "none", headers={"BCC": ["x"]}).routed.reaches == {"c"}
    assert sent(vhost, "", "a", headers=copied).routed.reaches == {"a", "b"}
    with pytest.raises(TopologyError, match="the header CC is a list of routing keys"):
        sent(vhost, "e", "a", headers={"CC": "b"})


def headers_network(version="4.0", **arguments):
    return network(
        version,
        exchanges={"e": {"type": "headers"}},
        queues=QUEUES,
        bindings=[{"source": "e", "queue": "a", "arguments": arguments}],
    )


@pytest.mark.parametrize(
    ("arguments", "given", "taken"),
    [
        ({"x-match": "all", "n": 1, "s": "x"}, {"n": 1, "s": "x", "more": 2}, True),
        ({"x-match": "all", "n": 1, "s": "x"}, {"n": 1}, False),
        ({"n": 1, "s": "x"}, {"n": 1}, False),
        ({"x-match": "any", "n": 1, "s": "x"}, {"n": 1}, True),
        ({"x-match": "any"}, {"n": 1}, False),
        ({"x-match": "all"}, {}, True),
        ({"n": 1}, {"n": "1"}, False),
        ({"n": 1}, {"n": True}, False),
        ({"n": "true"}, {"n": True}, False),
        ({"n": 1.0}, {"n": 1}, True),  # the provider sends 1.0 as 1
        ({"n": 1.5}, {"n": 1.5}, True),
        ({"x-match": "all", "x-n": 1}, {}, True),
        ({"x-match": "any", "x-n": 1}, {"x-n": 1}, False),
        ({"x-match": "all-with-x", "x-n": 1}, {}, False),
        ({"x-match": "all-with-x", "x-n": 1}, {"x-n": 1}, True),
        ({"x-match": "any-with-x", "x-n": 1, "m": 2}, {"x-n": 1}, True),
        ({"n": [1, "a"]}, {"n": [1, "a"]}, True),
        ({"n": [1, "a"]}, {"n": ["a", 1]}, False),
    ],
)
def test_headers_are_taken_with_their_types(arguments, given, taken):
    publication = sent(headers_network(**arguments), "e", headers=given)
    assert (publication.routed.reaches == {"a"}) is taken


def test_before_4_0_a_header_of_1_is_one_of_1_0():
    assert sent(headers_network("3.10", n=1), "e", headers={"n": 1.0}).routed.reaches == {"a"}
    assert sent(headers_network("4.0", n=1), "e", headers={"n": 1.0}).dropped


def test_4_3_0_mixes_up_empty_keys():
    topology = {
        "exchanges": {name: {"type": "topic"} for name in "ef"},
        "queues": QUEUES,
        "bindings": [
            {"source": "e", "queue": "a", "routing_key": "#"},
            {"source": "f", "queue": "b"},
        ],
    }
    for version, reached in (("4.3.0", "ab"), ("4.3.1", "a"), ("4.3", "a"), ("4.2.5", "a")):
        assert sent(network(version, **topology), "e").routed.reaches == set(reached), version
    assert sent(network("4.3.0", **topology), "e", "k").routed.reaches == {"a"}
    assert "#16271" in text.trace(sent(network("4.3.0", **topology), "e"))


def test_policies_give_alternates_to_the_brokers_own_exchanges_too():
    policy = {"pattern": "^amq.topic$", "definition": {"alternate-exchange": "e"}}
    vhost = network(
        exchanges={"e": {"type": "fanout"}},
        queues=QUEUES,
        bindings=[{"source": "e", "queue": "a"}],
        policies={"p": {**policy, "apply_to": "exchanges"}},
    )
    assert paths(sent(vhost, "amq.topic", "k")) == {
        "e": "topology.policies.p.definition.alternate-exchange",
        "a": "topology.bindings[0]",
    }


def test_what_others_declare_is_not_known_from_here():
    vhost = network(
        exchanges={"e": {"type": "topic"}},
        queues=QUEUES,
        services={"s": {"declares": ["mine.*"], "binds": ["e"]}},
    )
    publication = sent(vhost, "mine.events", "k")
    assert (publication.dropped, publication.routed.unknown) == (False, True)
    bound = sent(vhost, "e", "k")
    assert (bound.dropped, bound.routed.unknown) == (False, True)
    assert "service s may bind queues to it" in text.trace(bound)
    with pytest.raises(TopologyError, match='"f" is not an exchange of vhost v'):
        sent(vhost, "f")


def test_a_reply_goes_where_is_not_known_from_here():
    publication = sent(network(queues=QUEUES), "", "amq.rabbitmq.reply-to.g1h2.x")
    assert (publication.dropped, publication.routed.unknown) == (False, True)


def test_a_routing_key_that_is_too_long_is_refused_as_the_broker_does():
    with pytest.raises(TopologyError, match="at most 255 bytes"):
        sent(network(queues=QUEUES), "", "ü" * 128)


def test_what_follows_is_shown_of_eight_queues():
    names = [f"q{number}" for number in range(10)]
    vhost = network(
        exchanges={"e": {"type": "fanout"}},
        queues={name: {} for name in names},
        bindings=[{"source": "e", "queue": name} for name in names],
    )
    shown = text.trace(sent(vhost, "e"))
    assert shown.count("then, in q") == 8
    assert shown.endswith("and so on in 2 more: all with --format json")


def test_a_delayed_message_exchange_keeps_it_first_and_routes_by_its_type():
    vhost = network(
        exchanges={"d": {"type": "x-delayed-message", "arguments": {"x-delayed-type": "topic"}}},
        queues={"a": {"type": "classic", "message_ttl": "2s"}},
        bindings=[{"source": "d", "queue": "a", "routing_key": "k.#"}],
    )
    publication = sent(vhost, "d", "k.l", headers={"x-delay": 5000})
    assert publication.routed.delays == {"a": 5000}
    assert ends(publication, "a", Reason.EXPIRED) == [(End.DISCARDED, "a", 7000)]
    assert sent(vhost, "d", "l").dropped


def ring(first, second, **more):
    """Return two queues that dead-letter into each other."""
    return network(
        exchanges={"e": {}},
        queues={
            "a": {"type": "classic", "dead_letter": {"exchange": "e", "routing_key": "b"}, **first},
            "b": {
                "type": "classic",
                "dead_letter": {"exchange": "e", "routing_key": "a"},
                **second,
            },
        },
        bindings=[{"source": "e", "queue": name, "routing_key": name} for name in "ab"],
        **more,
    )


def test_a_cycle_without_a_rejection_ends_where_it_closes():
    vhost = ring({"message_ttl": "1s"}, {"message_ttl": "2s"})
    assert ends(sent(vhost, "e", "a"), "a", Reason.EXPIRED) == [(End.CYCLE, "b", 3000)]


def test_a_cycle_with_a_rejection_goes_on_for_ever():
    vhost = ring({}, {"message_ttl": "2s"})
    publication = sent(vhost, "e", "a")
    ((end, last, _),) = ends(publication, "a", Reason.REJECTED)
    assert (end, last) in {(End.ENDLESS, "a"), (End.ENDLESS, "b")}
    assert "and so on, without end" in text.trace(publication)


def chain(**leads_to):
    """Return queues with where their dead letters go to; those of one letter expire after 1 s."""
    return {
        name: {
            "type": "classic",
            "dead_letter": {"exchange": "e", "routing_key": leads_to[name]},
            **({"message_ttl": "1s"} if len(name) == 1 else {}),
        }
        for name in leads_to
    }


@pytest.mark.parametrize(
    ("queues", "before", "since"),
    [
        # Without a rejection from the queue on; RabbitMQ 3.10 puts an earlier one in between.
        (chain(start="a", a="b", b="a"), End.ENDLESS, End.CYCLE),
        # With a rejection in between, which RabbitMQ 3.10 puts behind the queue.
        (chain(start="a", a="middle", middle="b", b="a"), End.CYCLE, End.ENDLESS),
    ],
)
def test_before_rabbitmq_3_13_cycles_are_looked_for_in_a_list_out_of_order(queues, before, since):
    for version, expected in (("3.10", before), ("3.12", before), ("4.0", since), ("", since)):
        vhost = network(
            version,
            exchanges={"e": {}},
            queues=queues,
            bindings=[{"source": "e", "queue": name, "routing_key": name} for name in queues],
        )
        ((end, _, _),) = ends(sent(vhost, "e", "start"), "start", Reason.REJECTED)
        assert end is expected, version


def test_the_sooner_of_queue_and_message_counts_and_once_only():
    vhost = ring({"message_ttl": "5s"}, {})
    assert ends(sent(vhost, "e", "a", expiration=700), "a", Reason.EXPIRED) == [
        (End.STAYS, "b", 700)
    ]
    assert ends(sent(vhost, "e", "a", expiration=9000), "a", Reason.EXPIRED) == [
        (End.STAYS, "b", 5000)
    ]
    # What expires by itself does not do so again where it comes to.
    assert ends(sent(ring({}, {}), "e", "a", expiration=700), "a", Reason.EXPIRED) == [
        (End.STAYS, "b", 700)
    ]


def test_without_a_way_on_dead_letters_are_gone_or_kept():
    fast = {"dead_letter": {"exchange": "e", "routing_key": "nowhere"}}
    safe = {"strategy": "at-least-once", **fast["dead_letter"]}
    vhost = network(
        exchanges={"e": {}},
        queues={
            "fast": fast,
            "safe": {"dead_letter": safe, "overflow": "reject-publish"},
            "none": {},
            "full": {"max_length": 1, "overflow": "reject-publish"},
            "log": {"type": "stream"},
        },
    )
    for queue, reason, end in (
        ("fast", Reason.REJECTED, End.UNROUTED),
        ("safe", Reason.REJECTED, End.KEPT),
        ("none", Reason.REJECTED, End.DISCARDED),
        ("full", Reason.MAXLEN, End.REFUSED),
    ):
        assert ends(sent(vhost, "", queue), queue, reason) == [(end, queue, 0)], queue
    assert sent(vhost, "", "log").later == {"log": {}}


def test_a_delivery_limit_is_there_from_4_0_on_and_for_quorum_queues():
    for version, written, there in (
        ("3.10", {}, False),
        ("4.0", {}, True),
        ("4.0", {"delivery_limit": -1}, False),
        ("3.10", {"delivery_limit": 5}, True),
        ("4.0", {"type": "classic"}, False),
    ):
        vhost = network(version, queues={"q": written})
        assert (Reason.DELIVERY_LIMIT in sent(vhost, "", "q").reasons("q")) is there


def test_what_a_policy_sets_counts_and_is_named():
    definition = {"dead-letter-exchange": "", "dead-letter-routing-key": "b", "message-ttl": 100}
    vhost = network(
        queues=QUEUES,
        policies={"p": {"pattern": "^a$", "apply_to": "queues", "definition": definition}},
    )
    publication = sent(vhost, "", "a")
    assert ends(publication, "a", Reason.EXPIRED) == [(End.STAYS, "b", 100)]
    assert "topology.policies.p.definition" in text.trace(publication)


def test_what_becomes_of_it_is_bounded_and_says_so(monkeypatch):
    monkeypatch.setattr(lives, "MAX_DEATHS", 1)
    publication = sent(ring({"message_ttl": "1s"}, {"message_ttl": "1s"}), "e", "a")
    monkeypatch.setattr(lives, "MAX_QUEUES", 1)
    assert ends(publication, "a", Reason.EXPIRED) == [(End.CUT, "b", 1000)]
    assert "not followed further" in text.trace(publication)


def test_a_path_in_one_of_several_vhosts_is_told_as_it_stands():
    stack = read(
        {
            "vhosts": {
                "x": {
                    "exchanges": {"e": {}},
                    "queues": {"a": {}},
                    "bindings": [{"source": "e", "queue": "a"}],
                }
            }
        }
    )
    vhost = Network.every(stack)["x"]
    assert paths(sent(vhost, "e")) == {"a": "topology.vhosts.x.bindings[0]"}


def test_as_text_it_fits_the_terminal():
    inference = load(EXAMPLES / "inference.yaml").network
    shown = text.trace(publish(inference, "inference", "inference.request"), width=60)
    assert max(map(len, shown.splitlines())) <= 60
    assert "after 11m 5s in inference.requests.parking-lot" in shown
