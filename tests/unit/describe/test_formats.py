"""
Pictures as text: read back by Mermaid and by Graphviz themselves.
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from rabbit_topology.describe import build, dot, looks, mermaid, svg
from rabbit_topology.describe.graph import Edge, EdgeKind, Graph, Key, Node, NodeKind
from rabbit_topology.errors import TopologyError
from tests.support import mermaid as mermaid_itself
from tests.support.pictures import drawn, examples, graph, many

NASTY = [
    'say "hello"',
    "back\\slash\\",
    "a\\nb",
    "[(brackets)] {{and}} <b>tags</b>",
    "#35; #quot; # & &lt; &amp;",
    "ünïcödé 訂單 😀",
    "1. first",
    "12) x",
    "- item",
    "+ item",
    "> quote",
    "**bold** _em_ `code` ~x~",
    "snake_case_name",
    "style:#a;",
    "style x:<br/>#b;",
    "end",
    "subgraph",
    "fa:fa-car",
    "%%{init: {}}%%",
    "$$x^2$$",
    "https://example.com/a?b=c&d=e",
    "a|b|c",
    "click x href;",
    "-->",
    "x--o y",
    "<html>",
    "`markdown`",
    "line\nbreak\ttab \u202eright",
]


def by_hand(names):
    keys = [Key(kind="queue", name=name) for name in names]
    nodes = {
        key: Node(key=key, kind=NodeKind.QUEUE, type="queue", notes=(key.name,)) for key in keys
    }
    edges = tuple(
        Edge(source=key, target=other, kind=EdgeKind.BINDING, labels=(key.name, "x"))
        for key, other in pairwise(keys)
    )
    owner = keys[0]
    nodes[keys[1]] = Node(key=keys[1], kind=NodeKind.STREAM, type="s", group=owner, made=True)
    return Graph(vhost=names[0], nodes=nodes, edges=edges, groups={owner: names[0]})


def as_drawn(picture):
    """Return the text of nodes and edges as pictures should show them."""
    names = looks.names(picture)
    nodes = {names[key]: looks.node_lines(node) for key, node in picture.nodes.items()}
    edges = [
        (names[edge.source], names[edge.target], looks.edge_lines(edge)) for edge in picture.edges
    ]
    return nodes, edges


def read_by_mermaid(picture):
    result = mermaid_itself.read(mermaid.render(picture))
    nodes = {node["id"]: node["text"] for node in result["nodes"]}
    edges = [(edge["start"], edge["end"], edge["text"]) for edge in result["edges"]]
    return nodes, edges, [group["title"] for group in result["groups"]]


def test_mermaid_shows_nasty_names_as_they_are():
    picture = by_hand(NASTY)
    nodes, edges, groups = read_by_mermaid(picture)
    assert (nodes, edges) == as_drawn(picture)
    assert groups == [[NASTY[0]], [f"vhost {NASTY[0]}"]]


@pytest.mark.parametrize("name", ["1. first", "- item", "*a*", "_a_", "`a`", "a**b**", "+ b"])
def test_nothing_in_a_label_is_markdown(name):
    text = mermaid.escaped(name)
    assert not set("*`") & set(text)
    assert not text.startswith(("-", "+", "1.", "_"))


def test_graphviz_shows_nasty_names_as_they_are():
    picture = by_hand(NASTY)
    nodes, edges = drawn(dot.render(picture))
    expected_nodes, expected_edges = as_drawn(picture)
    assert nodes == expected_nodes
    assert sorted(edges) == sorted(expected_edges)


def test_what_cannot_be_seen_is_written_out():
    assert looks.visible("a\nb\u202ec\x00d é") == "a\\nb\\u202ec\\x00d é"


@pytest.mark.parametrize(
    "picture", [build.graph(one) for _, _, one in examples()], ids=lambda one: one.vhost
)
def test_every_example_is_drawn(picture):
    expected_nodes, expected_edges = as_drawn(picture)
    assert read_by_mermaid(picture)[:2] == (expected_nodes, expected_edges)
    nodes, edges = drawn(dot.render(picture))
    assert nodes == expected_nodes
    assert sorted(edges) == sorted(expected_edges)
    assert svg.render(dot.render(picture)).rstrip().endswith("</svg>")


def test_kinds_of_edges_look_different():
    picture = graph(
        exchanges={"e": {"unroutable": True}},
        queues={"q": {"retry": {"delays": ["5s"]}}},
        bindings=[{"source": "e", "queue": "q", "routing_key": "k"}],
        services={"s": {"publishes": ["e"]}},
    )
    result = mermaid_itself.read(mermaid.render(picture))["edges"]
    seen = {
        edge.kind: (shown["stroke"], tuple(shown["style"]))
        for edge, shown in zip(picture.edges, result, strict=True)
    }
    assert len(set(seen.values())) == len(seen) == 5


def test_what_comes_back_is_not_drawn_as_if_it_led_on():
    picture = graph(queues={"q": {"retry": {"delays": ["5s", "1m"]}}})
    back = [line for line in dot.render(picture).splitlines() if "constraint=false" in line]
    names = looks.names(picture)
    ends = [
        names[Key(kind=kind, name=name)]
        for kind, name in (("exchange", "q.retry.back"), ("queue", "q"))
    ]
    assert [line.split(" [")[0].strip() for line in back] == [" -> ".join(ends)]


def test_a_long_list_of_keys_is_cut():
    keys = [f"k{number}" for number in range(20)]
    edge = Edge(
        source=Key(kind="exchange", name="e"),
        target=Key(kind="queue", name="q"),
        kind=EdgeKind.BINDING,
        labels=tuple(keys),
    )
    assert looks.edge_lines(edge) == [*keys[:5], "and 15 more"]


def test_300_objects_are_drawn_in_seconds():
    picture = graph(**many(300))
    text = mermaid.render(picture)
    assert mermaid.too_large(picture, text) is None
    nodes, edges = drawn(dot.render(picture))
    assert len(nodes) == len(picture.nodes) > 250
    assert len(edges) == len(picture.edges)


def test_it_says_when_github_would_not_draw():
    picture = graph(**many(1200))
    assert "edges, and GitHub draws 500" in (mermaid.too_large(picture, "") or "")
    assert "characters" in (mermaid.too_large(Graph(vhost="v"), "x" * 60_000) or "")


def test_svg_of_no_dot_is_an_error_of_ours():
    with pytest.raises(TopologyError, match="Graphviz cannot draw it"):
        svg.render("digraph {")


SEED = """\
flowchart LR
    subgraph v["vhost seed"]
        exchange1{{"inference<br/>direct exchange"}}
        queue1[("inference.requests<br/>quorum queue")]
    end
    classDef box fill:none,stroke:#8c959f
    class v box
    exchange1 -- "inference.request" --> queue1
    classDef exchange fill:#fff3e0,stroke:#b35900,color:#111111
    class exchange1 exchange
    classDef queue fill:#e3f2fd,stroke:#1565c0,color:#111111
    class queue1 queue
"""

RPC = """\
flowchart LR
    service1(["client<br/>service"])
    service2(["server<br/>service<br/>replies to requests"])
    subgraph v["vhost rpc"]
        exchange1{{"rpc<br/>direct exchange"}}
        queue1[("calculate<br/>quorum queue<br/>TTL 30s")]
    end
    classDef box fill:none,stroke:#8c959f
    class v box
    exchange1 -- "calculate" --> queue1
    service1 -- "calculate" --> exchange1
    queue1 --> service2
    classDef exchange fill:#fff3e0,stroke:#b35900,color:#111111
    class exchange1 exchange
    classDef queue fill:#e3f2fd,stroke:#1565c0,color:#111111
    class queue1 queue
    classDef service fill:#f1f3f4,stroke:#5f6368,color:#111111
    class service1,service2 service
    linkStyle 1,2 stroke:#808080
"""


@pytest.mark.parametrize(("vhost", "text"), [("seed", SEED), ("rpc", RPC)])
def test_small_topologies_look_like_this(vhost, text):
    (picture,) = (build.graph(one) for _, _, one in examples() if one.vhost == vhost)
    assert mermaid.render(picture) == text
