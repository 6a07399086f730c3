"""
Shovels and federation: what they take, where it goes on, and what is not known from here.
"""

from __future__ import annotations

import json
from random import Random

import pytest

from rabbit_topology.commands import sources
from rabbit_topology.lint.reading import read
from rabbit_topology.model import Reason
from rabbit_topology.routing import expectations, headers, reports, text, text_sets
from rabbit_topology.routing.across import Across
from rabbit_topology.routing.changes import stacks
from rabbit_topology.routing.lives import End
from rabbit_topology.routing.messages import Messages
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.publication import publish
from rabbit_topology.routing.reach import Reach
from tests.support import random_links, random_routes

SHOP = {
    "exchanges": {"orders": {"type": "topic"}, "plain": {}},
    "queues": {"orders": {"dead_letter": True}, "kept": {}},
    "bindings": [
        {"source": "orders", "queue": "orders", "routing_key": "order.*"},
        {"source": "plain", "queue": "kept", "routing_key": "k"},
    ],
    "services": {"shop": {"publishes": [{"exchange": "orders", "routing_key": "order.new"}]}},
}
ARCHIVE = {
    "exchanges": {"orders": {"type": "topic"}, "old": {"type": "topic"}},
    "queues": {"archive": {}, "copy": {}, "eu": {}},
    "bindings": [
        {"source": "orders", "queue": "copy", "routing_key": "order.#"},
        {"source": "old", "queue": "eu", "routing_key": "order.eu"},
    ],
}


def shovel(**more):
    """Return a shovel from queue orders of shop to queue archive of archive."""
    if "source_exchange" not in more:
        more.setdefault("source_queue", "orders")
    if "destination_exchange" not in more and "destination_address" not in more:
        more.setdefault("destination_queue", "archive")
    return {"source_uri": "amqp:///shop", "destination_uri": "amqp:///archive", **more}


def config(shop=None, archive=None):
    return {"vhosts": {"shop": {**SHOP, **(shop or {})}, "archive": {**ARCHIVE, **(archive or {})}}}


def networks(shop=None, archive=None, version="4.0", hosts=()):
    broker = {"version": version, **({"hosts": [*hosts]} if hosts else {})}
    return Network.every(read(config(shop, archive), broker))


def moved(shop=None, **more):
    return networks({**(shop or {}), "shovels": {"mover": shovel(**more)}})


def sent(vhosts, exchange="orders", routing_key="order.new", vhost="shop", **more):
    return publish(vhosts[vhost], exchange, routing_key, **more)


def flat(shown):
    """Return a tree as one line of words."""
    return " ".join(word for word in shown.split() if word.strip("│├└─"))


class TestShovels:
    def test_one_takes_from_a_queue_into_a_queue_of_another_vhost(self):
        message = sent(moved())
        assert message.routed.reaches == {"orders"}
        assert message.beyond == {"archive of vhost archive": True}
        shown = flat(text.trace(message))
        assert (
            "shovel mover takes it to queue archive of vhost archive, "
            "topology.vhosts.shop.shovels.mover" in shown
        )
        assert "gets into orders, by links into archive of vhost archive" in shown
        assert "then, in archive of vhost archive" in shown

    def test_one_publishes_with_its_key_or_the_messages_own(self):
        own = moved(destination_exchange="old")
        assert sent(own, routing_key="order.eu").beyond == {"eu of vhost archive": True}
        lost = sent(own)
        assert lost.beyond == {}
        assert "no binding takes it" in text.trace(lost)
        fixed = moved(destination_exchange="old", destination_exchange_key="order.eu")
        assert sent(fixed).beyond == {"eu of vhost archive": True}
        assert 'exchange old of vhost archive with "order.eu"' in flat(text.trace(sent(fixed)))

    def test_without_an_exchange_each_goes_to_the_one_of_its_own_name(self):
        there = {
            "source_uri": "amqp:///shop",
            "source_queue": "orders",
            "destination_uri": "amqp:///archive",
        }
        vhosts = networks({"shovels": {"mover": there}})
        assert sent(vhosts).beyond == {"copy of vhost archive": True}
        assert sent(vhosts, "", "orders").beyond == {}, "no queue orders is in archive"

    @pytest.mark.parametrize("source", ["orders", "plain"])  # a topic and a direct exchange
    def test_without_a_key_its_own_queue_is_bound_by_its_name(self, source):
        assert sent(moved(source_exchange=source), source, "").beyond == {}

    def test_without_a_key_a_fanout_exchange_gives_it_all(self):
        all_ = {"exchanges": {**SHOP["exchanges"], "all": {"type": "fanout"}}}
        vhosts = moved(all_, source_exchange="all")
        assert sent(vhosts, "all").beyond == {"archive of vhost archive": True}

    def test_one_has_a_queue_of_its_own_at_an_exchange(self):
        vhosts = moved(source_exchange="orders", source_exchange_key="order.eu")
        assert sent(vhosts).beyond == {}
        assert sent(vhosts, routing_key="order.eu").beyond == {"archive of vhost archive": True}
        only = networks(
            {
                "exchanges": {"orders": {"type": "topic", "alternate": "plain"}, "plain": {}},
                "bindings": [{"source": "plain", "queue": "kept", "routing_key": "other.eu"}],
                "shovels": {"mover": shovel(source_exchange="orders", source_exchange_key="*.eu")},
            }
        )
        message = sent(only, routing_key="other.eu")
        assert not message.dropped
        assert message.routed.may_reach == frozenset(), "its own queue takes it: no alternate does"
        assert Reach(only["shop"]).to("kept")["plain"]
        assert not Reach(only["shop"]).to("kept")["orders"], "all that kept takes is taken before"
        assert sent(only, routing_key="none").dropped

    def test_headers_and_copies_go_along_and_count_again(self):
        vhosts = moved(destination_add_forward_headers=True, destination_add_timestamp_header=True)
        message = sent(vhosts, headers={"CC": ["copy"], "n": 1})
        (passage,) = message.passages
        onward = passage.onward.message
        assert onward.routing_keys == ("archive", "copy")
        assert onward.headers["n"] == 1
        assert {"x-shovelled", "x-shovelled-timestamp"} <= onward.headers.keys()
        assert message.beyond == {"archive of vhost archive": True, "copy of vhost archive": True}

    def test_a_local_one_puts_it_into_the_queue_alone(self):
        local = {"source_protocol": "local", "destination_protocol": "local"}
        uris = {"source_uri": "amqp://u@elsewhere/shop", "destination_uri": "amqp://u@e/archive"}
        message = sent(moved(**local, **uris), headers={"CC": ["copy"]})
        assert message.beyond == {"archive of vhost archive": True}
        named = moved(destination_exchange="orders", **local)
        (passage,) = sent(named, headers={"BCC": ["order.b"]}).passages
        assert passage.onward.message.routing_keys == ("order.new", "order.b")

    def test_who_else_takes_from_the_queue_makes_it_uncertain(self):
        services = {"worker": {"consumes": ["orders"]}}
        message = sent(moved({"services": services}))
        assert message.beyond == {"archive of vhost archive": False}
        assert "service worker takes messages from there too" in text.trace(message)
        assert "may take it" in text.trace(message)
        two = networks({"shovels": {"a": shovel(), "b": shovel(destination_queue="copy")}})
        assert set(sent(two).beyond.values()) == {False}
        ending = sent(moved(source_delete_after="10"))
        assert ending.beyond == {"archive of vhost archive": False}

    def test_one_reads_a_stream_and_leaves_it_there(self):
        queues = {"orders": {"type": "stream"}, "kept": {}}
        message = sent(moved({"queues": queues}))
        assert message.beyond == {"archive of vhost archive": True}
        assert "shovel mover copies it" in text.trace(message)
        assert [*message.ends("orders", Reason.REJECTED)] == [
            (End.STAYS, "orders", 0),
            (End.STAYS, "archive of vhost archive", 0),
        ]

    def test_dead_letters_are_followed_over_links(self):
        vhosts = networks({"shovels": {"mover": shovel(source_queue="orders.dead-letter")}})
        message = sent(vhosts)
        assert message.beyond == {}
        assert [*message.ends("orders", Reason.REJECTED)] == [
            (End.STAYS, "archive of vhost archive", 0)
        ]
        shown = flat(text.trace(message))
        assert "at once in orders.dead-letter shovel mover takes it" in shown

    def test_round_and_round_is_said(self):
        back = {
            "source_uri": "amqp:///archive",
            "source_queue": "archive",
            "destination_uri": "amqp:///shop",
            "destination_queue": "orders",
        }
        vhosts = networks({"shovels": {"mover": shovel(), "back": back}})
        message = sent(vhosts)
        assert "and so on, without end" in text.trace(message)
        assert (End.ENDLESS, "archive of vhost archive", 0) in [
            *message.ends("orders", Reason.MAXLEN)
        ] or (End.ENDLESS, "orders", 0) in [*message.ends("orders", Reason.MAXLEN)]

    @pytest.mark.parametrize(
        ("more", "hosts", "reason"),
        [
            ({"destination_uri": "amqp://u:p@elsewhere/archive"}, (), "another broker"),
            ({"destination_uri": "amqp://u:p@b:5673/archive"}, ["b"], "another broker"),
            ({"destination_uri": "amqp:///gone"}, (), "vhost gone is not in the config"),
            ({"destination_uri": "[secret]"}, (), "its URI is encrypted"),
            ({"destination_queue": "new"}, (), "queue new is not declared in vhost archive"),
            (
                {"destination_protocol": "amqp10", "destination_address": "/queues/archive"},
                (),
                "it puts messages by AMQP 1.0",
            ),
        ],
    )
    def test_what_is_not_known_is_said(self, more, hosts, reason):
        vhosts = networks({"shovels": {"mover": shovel(**more)}}, hosts=hosts)
        message = sent(vhosts)
        shown = flat(text.trace(message))
        assert "not known from here: " in shown
        assert reason in shown
        assert "u:p" not in shown
        assert message.beyond == {}

    @pytest.mark.parametrize(
        ("uri", "hosts"),
        [
            ("amqp://u:p@b/archive", ["b"]),
            ("amqp://u:p@B:5672/archive", ["b:5672"]),
            ("amqp://u:p@127.0.0.1/archive", ()),
            ("amqp://u:p@localhost:5679/archive", ["[::1]:5679"]),
        ],
    )
    def test_a_host_may_be_this_broker(self, uri, hosts):
        vhosts = networks({"shovels": {"mover": shovel(destination_uri=uri)}}, hosts=hosts)
        assert sent(vhosts).beyond == {"archive of vhost archive": True}

    def test_deaths_are_believed_before_4_0_only(self):
        deaths = {}
        for version in ("3.13", "4.0"):
            vhosts = networks(
                {"shovels": {"mover": shovel(source_queue="orders.dead-letter")}}, version=version
            )
            life = sent(vhosts).follow("orders", Reason.REJECTED).death.then[0]
            (passage,) = sent(vhosts).taken(life.queue, life.message, life.at)
            deaths[version] = passage.onward.message.deaths
        assert deaths == {"3.13": (("orders", Reason.REJECTED),), "4.0": ()}


def federated(definition=None, apply_to="exchanges", pattern="^orders$", **upstream):
    return {
        "federation_upstreams": {"up": {"uri": "amqp:///shop", **upstream}},
        "policies": {
            "fed": {
                "pattern": pattern,
                "apply_to": apply_to,
                "definition": definition or {"federation-upstream": "up"},
            }
        },
    }


class TestFederation:
    @pytest.mark.parametrize(
        "definition",
        [
            {"federation-upstream": "up"},
            {"federation-upstream-set": "all"},
            {"federation-upstream-pattern": "^u"},
        ],
    )
    def test_what_the_bindings_ask_for_is_published_there_too(self, definition):
        vhosts = networks(archive=federated(definition))
        assert sent(vhosts).beyond == {"copy of vhost archive": True}
        assert sent(vhosts, routing_key="other").dropped
        assert not sent(vhosts, routing_key="order.a.b").dropped, "the link has a queue for it"
        assert '<- "order.#", topology.vhosts.archive.bindings[0]' in flat(text.trace(sent(vhosts)))

    def test_a_set_that_is_not_known_is_said(self):
        vhosts = networks(archive=federated({"federation-upstream-set": "some"}))
        report = reports.of_queue(Reach(vhosts["archive"]), "copy")
        assert "no upstream set some is declared" in flat(text_sets.queue(report))

    def test_another_exchange_and_one_that_the_link_declares(self):
        vhosts = networks(archive=federated(exchange="plain"))
        assert sent(vhosts, "plain", "order.x").beyond == {}, "there the key is no pattern"
        assert sent(vhosts, "plain", "order.#").beyond == {"copy of vhost archive": True}
        vhosts = networks(archive=federated(exchange="made"))
        assert sent(vhosts, "made", "order.x").beyond == {"copy of vhost archive": True}

    def test_links_pass_bindings_and_messages_on_as_far_as_max_hops(self):
        def chain(hops):
            third = {
                "exchanges": {"orders": {"type": "topic"}},
                "queues": {"last": {}},
                "bindings": [{"source": "orders", "queue": "last", "routing_key": "order.eu"}],
                **federated(uri="amqp:///archive", max_hops=hops),
            }
            whole = config(archive={**federated(), "bindings": []})
            whole["vhosts"]["third"] = third
            return Network.every(read(whole, {"version": "4.0"}))

        assert sent(chain(2), routing_key="order.eu").beyond == {"last of vhost third": True}
        assert sent(chain(1), routing_key="order.eu").beyond == {}
        assert sent(chain(1), routing_key="order.eu", vhost="archive").beyond == {
            "last of vhost third": True
        }
        for hops, exchanges in ((2, {"shop", "archive"}), (1, {"archive"})):
            vhosts = chain(hops)
            leading = Across(Reach(vhosts["third"])).to("last")
            assert {vhost for vhost, name in leading if name == "orders"} == {"third", *exchanges}

    def test_a_message_that_has_come_over_more_links_is_another_one(self):
        """A shovel brings back what federation took: as often as `max_hops` allows."""
        back = shovel(
            source_uri="amqp:///archive",
            source_exchange="orders",
            source_exchange_key="#",
            destination_uri="amqp:///shop",
            destination_exchange="orders",
        )
        shown = {
            hops: flat(
                text.trace(sent(networks({"shovels": {"back": back}}, federated(max_hops=hops))))
            )
            for hops in (1, 3)
        }
        times = {hops: one.count("quorum queue copy of") for hops, one in shown.items()}
        assert times == {1: 1, 3: 3}

    def test_a_message_does_not_come_back(self):
        both = networks(
            {
                "federation_upstreams": {"back": {"uri": "amqp:///archive", "max_hops": 5}},
                "policies": {
                    "fed": {
                        "pattern": "^orders$",
                        "apply_to": "exchanges",
                        "definition": {"federation-upstream": "back"},
                    }
                },
            },
            federated(max_hops=5),
        )
        message = sent(both)
        assert message.beyond == {"copy of vhost archive": True}
        assert "does not take it: it was in vhost shop before" in flat(text.trace(message))

    def test_consumers_of_a_federated_queue_may_get_what_is_in_the_other(self):
        vhosts = networks(archive=federated(apply_to="queues", pattern="^copy$", queue="orders"))
        message = sent(vhosts, headers={"CC": ["archive"]})
        assert message.beyond == {"copy of vhost archive": False}
        shown = flat(text.trace(message))
        assert "federation upstream up may take it to queue copy of vhost archive" in shown
        assert "as long as consumers of queue copy of vhost archive take more" in shown


class TestAllMessages:
    def test_reach_says_what_links_bring(self):
        vhosts = moved(destination_exchange="orders")
        shown = flat(text_sets.queue(reports.of_queue(Reach(vhosts["archive"]), "copy")))
        assert "by shovel mover out of queue orders of vhost shop" in shown
        assert "from exchange orders of vhost shop order.*" in shown
        by = 'by exchange orders of vhost shop with "order.new"'
        assert f"service shop of vhost shop, for example {by}" in shown
        can = reports.of_publisher(Reach(vhosts["shop"]), "shop")
        assert can.beyond == {"copy of vhost archive": {"orders": "order.new"}}
        assert "can reach queue copy of vhost archive by links" in flat(text_sets.publisher(can))

    def test_dead_letters_that_a_link_takes_are_reached_later(self):
        vhosts = networks({"shovels": {"mover": shovel(source_queue="orders.dead-letter")}})
        report = reports.of_queue(Reach(vhosts["archive"]), "archive")
        assert [brought.dead_letters for brought in report.links] == [["orders of vhost shop"]]
        can = reports.of_publisher(Reach(vhosts["shop"]), "shop")
        assert can.later == ["archive of vhost archive", "orders.dead-letter"]

    def test_diff_compares_what_links_bring(self):
        before = read(config(), {"version": "4.0"})
        now = read(config({"shovels": {"mover": shovel()}}), {"version": "4.0"})
        compared = stacks(before, now)
        gained = compared["archive"].changes
        assert [(one.exchange, one.queue, one.gained) for one in gained] == [
            ("orders of vhost shop", "archive", True),
            (" of vhost shop", "archive", True),
        ]
        shown = flat(text_sets.changes("archive", compared["archive"]))
        assert "order.* on exchange orders of vhost shop now reaches archive" in shown
        assert 'example "order.x"; beside orders of vhost shop' in shown
        assert "shovel mover is new: it takes from queue orders of vhost shop" in shown
        assert "service shop of vhost shop can now reach queue archive" in shown
        assert not any(stacks(now, now).values())

    def test_what_a_link_does_is_compared_where_it_leads_away(self):
        def away(host):
            there = shovel(destination_uri=f"amqp://u:p@{host}/archive")
            return read(config({"shovels": {"mover": there}}), {"version": "4.0"})

        assert not any(stacks(away("a"), away("b")).values()), "where to is not known of either"
        compared = stacks(read(config()), away("a"))["shop"]
        assert "to where is not known" in flat(text_sets.changes("shop", compared))


def test_links_of_a_broker_are_followed_from_its_definitions(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    shovel_there = {
        "src-uri": "amqp:///shop",
        "src-queue": "orders",
        "dest-uri": ["amqp:///archive"],
        "dest-exchange": "old",
        "dest-exchange-key": "order.eu",
        "src-delete-after": 10,
    }
    upstream = {"uri": "amqp:///shop", "max-hops": 2, "exchange": "orders"}
    queues = [("shop", "orders"), ("archive", "eu")]
    file = tmp_path / "broker.json"
    document = {
        "rabbitmq_version": "4.0.5",
        "vhosts": [{"name": "shop"}, {"name": "archive"}],
        "exchanges": [
            {"vhost": vhost, "name": name, "type": "topic", "durable": True}
            for vhost, name in (("shop", "orders"), ("archive", "old"))
        ],
        "queues": [
            {"vhost": vhost, "name": name, "durable": True, "type": "classic"}
            for vhost, name in queues
        ],
        "bindings": [
            {
                "vhost": vhost,
                "source": source,
                "destination": queue,
                "destination_type": "queue",
                "routing_key": "order.*",
            }
            for (vhost, queue), source in zip(queues, ("orders", "old"), strict=True)
        ],
        "policies": [
            {
                "vhost": "archive",
                "name": "fed",
                "pattern": "^old$",
                "apply-to": "exchanges",
                "definition": {"federation-upstream": "up"},
            }
        ],
        "parameters": [
            {"vhost": "shop", "component": "shovel", "name": "mover", "value": shovel_there},
            {
                "vhost": "archive",
                "component": "federation-upstream",
                "name": "up",
                "value": upstream,
            },
        ],
    }
    file.write_text(json.dumps(document))
    network = sources.vhost(sources.load(file), "shop")
    message = publish(network, "orders", "order.new")
    assert message.beyond == {"eu of vhost archive": True}
    shown = flat(text.trace(message))
    assert "shovel mover may take it to exchange old of vhost archive" in shown
    assert "federation upstream up takes it to exchange old of vhost archive" in shown


def expected(*expect, shop=None, archive=None):
    stack = read(config(shop, archive), {"version": "4.0"}, expect=[*expect])
    stack.check()
    return [failure.problem.path for failure in expectations.check(stack)]


MOVER = {"shovels": {"mover": shovel()}}
ORDER = {"exchange": "orders", "routing_key": "order.new"}
ORDERS = {"exchange": "orders", "routing_key": "order.*"}
THERE = "archive of vhost archive"


@pytest.mark.parametrize(
    ("expect", "held"),
    [
        ({"publish": ORDER, "reaches": ["orders", THERE]}, True),
        ({"publish": ORDERS, "reaches": ["orders", THERE]}, True),
        ({"publish": ORDER, "reaches": ["copy of vhost archive"]}, False),
        ({"publish": ORDERS, "reaches": ["copy of vhost archive"]}, False),
        ({"publish": ORDER, "misses": [THERE]}, False),
        ({"publish": ORDERS, "misses": [THERE]}, False),
        ({"publish": ORDERS, "misses": ["copy of vhost archive"]}, True),
        ({"publish": ORDER, "reaches_only": ["orders"]}, False),
        ({"publish": ORDERS, "reaches_only": ["orders"]}, False),
        ({"publish": ORDERS, "reaches_only": ["orders", THERE]}, True),
        ({"publish": ORDER, "dropped": "never"}, True),
        ({"publish": ORDER, "ends_in": [THERE], "when": "expired"}, True),
        ({"publish": ORDER, "ends_in": ["orders"], "when": "expired"}, False),
        ({"queue": "archive", "only_from": []}, False),
        ({"queue": "archive", "only_from": ["orders of vhost shop"]}, True),
        ({"queue": "archive", "only_services": []}, False),
        ({"queue": "archive", "only_services": ["shop of vhost shop"]}, True),
    ],
)
def test_expectations_count_what_links_do(expect, held):
    expect = {**expect, "vhost": "archive" if "queue" in expect else "shop"}
    assert (expected(expect, shop=MOVER) == []) == held


def test_what_a_link_loses_is_dropped():
    lost = {"publish": {"exchange": "orders", "routing_key": "x.eu"}, "dropped": "never"}
    every = {"publish": {"exchange": "orders", "routing_key": "x.#"}, "dropped": "never"}
    to = shovel(source_exchange="orders", source_exchange_key="x.#", destination_exchange="old")
    for one, broken in ((lost, True), (every, True)):
        failed = expected({**one, "vhost": "shop"}, shop={"shovels": {"m": to}})
        assert bool(failed) == broken
    kept = {**to, "destination_exchange_key": "order.eu"}
    for one in (lost, every):
        assert expected({**one, "vhost": "shop"}, shop={"shovels": {"m": kept}}) == []


@pytest.mark.parametrize("first", range(0, 60, 6))
def test_what_links_bring_is_what_gets_there(first):
    assert sum(map(compare, range(first, first + 6))) > 0, "no message took a link"


def compare(seed):
    """Compare the sets with single messages; return how often links brought one to a queue."""
    random = Random(seed)
    whole = random_links.config(random)
    vhosts = Network.every(read(whole, {"version": "4.0"}))
    leading = {
        (vhost, queue): Across(Reach(network)).to(queue)
        for vhost, network in vhosts.items()
        for queue in network.queues
    }
    brought = 0
    for _ in range(40):
        vhost = random.choice([*vhosts])
        one = random_routes.message(random, whole["vhosts"][vhost])
        for name in ("CC", "BCC"):  # sets are of messages with one routing key
            one["headers"].pop(name, None)
        published = publish(vhosts[vhost], **one)
        given = {name: headers.value(value) for name, value in one["headers"].items()}
        for (there, queue), messages in leading.items():
            name = queue if there == vhost else f"{queue} of vhost {there}"
            arrives = queue in published.routed.may_reach and there == vhost
            arrives |= name in published.beyond
            taken = messages.get((vhost, one["exchange"]), Messages()).with_headers(given)
            assert (one["routing_key"] in taken) == arrives, (seed, one, name)
            brought += name in published.beyond
    return brought
