"""
What a picture shows: nodes, edges, groups; parts of it, smaller ones, and two compared.
"""

from __future__ import annotations

import pytest

from rabbit_topology.describe import changes, focus, fold
from rabbit_topology.describe.graph import Change, EdgeKind, Key, NodeKind
from rabbit_topology.errors import TopologyError
from tests.support.pictures import graph, many


def exchange(name):
    return Key(kind="exchange", name=name)


def queue(name):
    return Key(kind="queue", name=name)


def service(name):
    return Key(kind="service", name=name)


def edges(picture, kind=None):
    return {
        (edge.source.name, edge.target.name): edge.labels
        for edge in picture.edges
        if kind in (None, edge.kind)
    }


def test_several_keys_between_two_nodes_are_on_one_edge():
    picture = graph(
        exchanges={"e": {"type": "topic"}},
        queues={"q": {}},
        bindings=[
            {"source": "e", "queue": "q", "routing_keys": ["a.*", ""]},
            {"source": "e", "queue": "q", "routing_key": "b.#"},
        ],
    )
    assert edges(picture) == {("e", "q"): ("a.*", '""', "b.#")}


def test_bindings_say_what_their_exchange_looks_at():
    picture = graph(
        exchanges={
            "f": {"type": "fanout"},
            "h": {"type": "headers"},
            "c": {"type": "x-consistent-hash"},
            "d": {},
        },
        queues={"q": {}},
        bindings=[
            {"source": "f", "queue": "q", "routing_key": "ignored"},
            {"source": "h", "queue": "q", "arguments": {"x-match": "any", "a": 1, "b": "x"}},
            {"source": "h", "queue": "q", "arguments": {"x-match": "all", "a": True}},
            {"source": "c", "queue": "q", "routing_key": "2"},
            {"source": "d", "exchange": "f", "routing_key": "k"},
        ],
    )
    assert edges(picture) == {
        ("f", "q"): (),
        ("h", "q"): ("any of a=1, b=x", "a=true"),
        ("c", "q"): ("weight 2",),
        ("d", "f"): ("k",),
    }


def test_a_retry_is_a_group_with_edges_of_its_own():
    picture = graph(queues={"jobs": {"retry": {"delays": ["5s", "1m"]}}})
    assert edges(picture, EdgeKind.RETRY) == {
        ("jobs.retry.1", "jobs.retry.back"): ("after 5s as jobs.retry.2",),
        ("jobs.retry.2", "jobs.retry.back"): ("after 1m as jobs.retry.3",),
        ("jobs.retry.back", "jobs"): (),
    }
    assert edges(picture, EdgeKind.DEAD_LETTER) == {("jobs", "jobs.retry"): ("dead letters",)}
    assert edges(picture, EdgeKind.ALTERNATE) == {
        ("jobs.retry", "jobs.retry.step"): ("unroutable",),
        ("jobs.retry.step", "jobs.retry.1"): ("unroutable",),
    }
    assert picture.groups == {queue("jobs"): "jobs: retry"}
    assert {node.group for node in picture.nodes.values()} == {queue("jobs")}
    assert not picture.nodes[queue("jobs")].made
    assert picture.nodes[queue("jobs.parking-lot")].made


def test_all_patterns_of_an_exchange_are_one_group():
    picture = graph(
        exchanges={"e": {"unroutable": True, "delays": ["30s"]}},
        super_streams={"s": {"partitions": 2}},
    )
    assert picture.groups == {
        exchange("e"): "e: unroutable, delays",
        exchange("s"): "s: super stream",
    }
    assert edges(picture, EdgeKind.RETRY) == {("e.delay.30s", "e"): ("after 30s",)}
    streams = [key.name for key, node in picture.nodes.items() if node.kind is NodeKind.STREAM]
    assert streams == ["s-0", "s-1"]


def test_dead_letters_by_name_go_into_the_queue():
    picture = graph(
        queues={
            "q": {
                "arguments": {
                    "x-dead-letter-exchange": "",
                    "x-dead-letter-routing-key": "dead",
                }
            },
            "dead": {},
            "r": {"dead_letter": {"exchange": "amq.topic", "routing_key": "x"}},
        }
    )
    assert edges(picture) == {
        ("q", "dead"): ("dead letters",),
        ("r", "amq.topic"): ("dead letters as x",),
    }
    assert picture.nodes[exchange("amq.topic")].type == "topic exchange"
    assert exchange("amq.fanout") not in picture.nodes


def test_a_queue_says_what_policies_come_to():
    picture = graph(
        queues={
            "orders": {"max_length": 10000, "message_ttl": "1h"},
            "log": {"type": "stream", "max_age": "7d", "max_length_bytes": "10GiB"},
            "old": {
                "type": "classic",
                "durable": False,
                "max_priority": 5,
                "arguments": {"x-expires": 60000},
            },
        },
        policies={
            "limits": {
                "pattern": "^orders$",
                "apply_to": "queues",
                "definition": {"delivery-limit": 7},
            }
        },
        operator_policies={
            "max": {"pattern": "^or", "apply_to": "queues", "definition": {"max-length": 500}}
        },
    )
    notes = {key.name: set(node.notes) for key, node in picture.nodes.items()}
    assert notes == {
        "orders": {"at most 500 messages", "TTL 1h", "delivery limit 7"},
        "log": {"kept for 7d", "at most 10 GiB"},
        "old": {"not durable", "priorities 0 to 5", "expires when unused for 1m"},
    }


def test_services_are_at_the_rim():
    picture = graph(
        exchanges={"e": {"type": "topic"}, "f": {"type": "topic"}},
        queues={"q": {}},
        services={
            "s": {
                "publishes": [
                    {"exchange": "e", "routing_key": "a.*"},
                    {"exchange": "e", "routing_key": "b"},
                    {"exchange": "f", "routing_key": "a"},
                    "f",
                ],
                "consumes": ["q"],
                "replies": True,
                "declares": ["amq.gen-*"],
                "binds": ["e"],
            }
        },
    )
    assert edges(picture, EdgeKind.PUBLISHES) == {("s", "e"): ("a.*", "b"), ("s", "f"): ()}
    assert edges(picture, EdgeKind.CONSUMES) == {
        ("q", "s"): (),
        ("e", "s"): ("by queues of its own",),
    }
    assert picture.nodes[service("s")].notes == ("replies to requests", "declares amq.gen-*")


CHAIN = {
    "exchanges": {"a": {"type": "fanout"}, "b": {"type": "fanout"}},
    "queues": {"c": {}, "other": {}},
    "bindings": [
        {"source": "a", "exchange": "b"},
        {"source": "b", "queue": "c"},
        {"source": "a", "queue": "other"},
    ],
    "services": {"p": {"publishes": ["a"]}, "s": {"consumes": ["c"]}},
}


def test_focus_is_what_leads_to_an_object_and_where_it_leads():
    picture = focus.focused(graph(**CHAIN), "c", 2)
    assert {key.name for key in picture.nodes} == {"a", "b", "c", "s"}
    assert picture.nodes[exchange("a")].notes == ("2 more not shown",)
    assert picture.nodes[exchange("b")].notes == ()
    assert {key.name for key in focus.focused(graph(**CHAIN), "c", 3).nodes} == {
        *"abcs",
        "p",
    }
    assert {key.name for key in focus.focused(graph(**CHAIN), "p", 1).nodes} == {"p", "a"}
    assert {key.name for key in focus.focused(graph(**CHAIN), "s", 0).nodes} == {"s"}


def test_focus_on_nothing_says_what_there_is():
    with pytest.raises(TopologyError, match='did you mean "other"'):
        focus.focused(graph(**CHAIN), "othr", 1)


def test_folding_keeps_what_is_written():
    topology = {
        "exchanges": {"e": {"type": "topic", "unroutable": True}},
        "queues": {"q": {"retry": {"delays": ["5s"]}}},
        "bindings": [{"source": "e", "queue": "q", "routing_key": "k"}],
        "services": {"operator": {"consumes": ["q.parking-lot", "e.unroutable"]}},
    }
    picture = fold.folded(graph(**topology))
    assert set(picture.nodes) == {exchange("e"), queue("q"), service("operator")}
    assert edges(picture) == {
        ("e", "q"): ("k",),
        ("q", "operator"): ("q.parking-lot",),
        ("e", "operator"): ("e.unroutable",),
    }
    assert picture.nodes[queue("q")].notes[-1] == "with retry: 4 exchanges, 2 queues"
    assert picture.groups == {}


def test_300_objects_are_folded_to_what_is_written():
    topology = many(300)
    whole = graph(**topology)
    assert len(whole.nodes) > 250
    picture = fold.folded(whole)
    written = (*topology["exchanges"], *topology["queues"], *topology["services"])
    assert {key.name for key in picture.nodes} == set(written)


def test_a_comparison_marks_what_came_what_went_and_what_changed():
    before = graph(
        exchanges={"e": {"type": "topic"}, "gone": {}},
        queues={"q": {"max_length": 1}, "same": {}},
        bindings=[
            {"source": "e", "queue": "q", "routing_keys": ["a", "b"]},
            {"source": "e", "queue": "same", "routing_key": "s"},
            {"source": "gone", "queue": "q", "routing_key": "g"},
        ],
    )
    now = graph(
        exchanges={"e": {"type": "direct"}},
        queues={"q": {"max_length": 2}, "same": {}, "new": {}},
        bindings=[
            {"source": "e", "queue": "q", "routing_keys": ["a", "c"]},
            {"source": "e", "queue": "same", "routing_key": "s"},
            {"source": "e", "queue": "new", "routing_key": "n"},
        ],
    )
    picture = changes.compared(before, now)
    assert picture.is_comparison
    assert {key.name: node.change for key, node in picture.nodes.items()} == {
        "e": Change.CHANGED,
        "q": Change.CHANGED,
        "same": Change.SAME,
        "new": Change.ADDED,
        "gone": Change.REMOVED,
    }
    assert picture.nodes[exchange("e")].type == "topic exchange -> direct exchange"
    assert picture.nodes[queue("q")].notes == ("+ at most 2 messages", "- at most 1 messages")
    assert picture.nodes[queue("new")].type == "quorum queue, added"
    assert edges(picture) == {
        ("e", "q"): ("a", "+ c", "- b"),
        ("e", "same"): ("s",),
        ("e", "new"): ("+ n",),
        ("gone", "q"): ("- g",),
    }
    assert not changes.compared(now, now).is_comparison


def test_a_pattern_that_went_is_still_in_its_group():
    with_retry, without = ({"retry": {"delays": ["5s"]}}, {})
    picture = changes.compared(graph(queues={"q": with_retry}), graph(queues={"q": without}))
    assert {node.group for node in picture.nodes.values()} == {queue("q")}
    folded = fold.folded(picture)
    assert folded.nodes[queue("q")].change is Change.CHANGED
    assert (
        fold.folded(changes.compared(graph(queues={"q": {}}), graph(queues={"q": {}})))
        .nodes[queue("q")]
        .change
        is Change.SAME
    )


def test_what_is_folded_into_an_object_can_be_all_that_changed_of_it():
    delays = [{"retry": {"delays": [delay]}} for delay in ("5s", "1m")]
    before, now = (graph(queues={"q": one}) for one in delays)
    picture = changes.compared(before, now)
    assert picture.nodes[queue("q")].change is Change.SAME
    assert fold.folded(picture).nodes[queue("q")].change is Change.CHANGED


def test_passwords_in_arguments_are_not_shown():
    uri = "amqp://user:hunter2@host.example"
    picture = graph(
        exchanges={"h": {"type": "headers"}},
        queues={"q": {"arguments": {"x-from": uri, "x-deep": {"password": "hunter2"}}}},
        bindings=[{"source": "h", "queue": "q", "arguments": {"from": uri}}],
    )
    text = str(picture)
    assert "hunter2" not in text
    assert text.count("[not shown]") == 3
    assert "host.example" in text
