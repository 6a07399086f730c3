"""
The part of a comparison that is different.
"""

from __future__ import annotations

from rabbit_topology.describe import changes, part
from rabbit_topology.describe.graph import Change, Key
from tests.support import mermaid as reader
from tests.support.pictures import graph, many


def topology(**queues):
    return {
        "exchanges": {"e": {}, "other": {}},
        "queues": {"stays": {"max_length": 5}, "same": {}, **queues},
        "bindings": [
            {"source": "e", "queue": "stays", "routing_key": "k"},
            {"source": "other", "queue": "same", "routing_key": "k"},
        ],
    }


def names(shown):
    return {key.name for key in shown.nodes}


def test_nothing_is_shown_where_nothing_is_different():
    one = graph(**topology())
    assert not part.changed(changes.compared(one, one)).nodes


def test_what_is_different_is_shown_with_what_it_hangs_on():
    new = topology(new={})
    new["bindings"] += [
        {"source": "e", "queue": "new", "routing_key": "k"},
        {"source": "e", "queue": "stays", "routing_key": "l"},
    ]
    shown = part.changed(changes.compared(graph(**topology()), graph(**new)))
    assert names(shown) == {"e", "new", "stays"}
    stays = shown.nodes[Key(kind="queue", name="stays")]
    assert (stays.change, stays.notes) == (Change.SAME, ())
    assert [(edge.target.name, edge.change) for edge in shown.edges] == [
        ("stays", Change.CHANGED),
        ("new", Change.ADDED),
    ]
    from rabbit_topology.describe import mermaid

    assert len(reader.read(mermaid.render(shown))["nodes"]) == 3


def test_settings_that_change_are_shown():
    new = topology()
    new["queues"]["stays"] = {"max_length": 6}
    shown = part.changed(changes.compared(graph(**topology()), graph(**new)))
    assert names(shown) == {"stays"}
    (node,) = shown.nodes.values()
    assert node.notes == ("+ at most 6 messages", "- at most 5 messages")


def test_what_patterns_make_is_folded_where_that_is_much():
    compared = changes.compared(graph(), graph(**many(160)))
    shown = part.changed(compared)
    assert len(shown.nodes) < len(compared.nodes)
    assert not any(node.made for node in shown.nodes.values())
    few = part.changed(
        changes.compared(graph(), graph(queues={"q": {"retry": {"delays": ["1s"]}}}))
    )
    assert any(node.made for node in few.nodes.values())
