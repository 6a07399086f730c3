"""
Topologies to draw, and what Graphviz makes of DOT.
"""

from __future__ import annotations

import html
import re

from rabbit_topology.commands import sources
from rabbit_topology.describe import build, svg
from rabbit_topology.lint.reading import read
from rabbit_topology.routing.network import Network
from tests.support.repository import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def network(**topology):
    (one,) = Network.every(read({"vhost": "v", **topology})).values()
    return one


def graph(**topology):
    return build.graph(network(**topology))


def examples():
    """Yield every vhost of every example, with its stack."""
    for file in EXAMPLES:
        stack = sources.load(file)
        for one in Network.every(stack).values():
            yield file.stem, stack, one


def drawn(dot):
    """Return the lines of text that Graphviz draws for each node, and the ends of each edge."""
    nodes, edges = {}, []
    pattern = r'<g id="[^"]*" class="(node|edge)">\s*<title>([^<]*)</title>(.*?)</g>'
    for kind, title, rest in re.findall(pattern, svg.render(dot), re.DOTALL):
        lines = [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", rest)]
        if kind == "node":
            nodes[title] = lines
        else:
            edges.append((*html.unescape(title).split("->"), lines))
    return nodes, edges


def many(objects):
    """Return a topology with about so many exchanges, queues and services."""
    queues = {}
    for number in range(objects // 4):
        pattern = ({"retry": {"delays": ["5s", "1m"]}}, {"dead_letter": True}, {"max_length": 9})
        queues[f"team{number % 7}.{number}"] = pattern[min(number % 5, 2)]
    exchanges = {
        f"events{number}": {"type": "topic", "unroutable": True} for number in range(objects // 20)
    }
    return {
        "exchanges": exchanges,
        "queues": queues,
        "bindings": [
            {
                "source": f"events{number % len(exchanges)}",
                "queue": name,
                "routing_keys": [f"a.{number}.*", f"b.{number}"],
            }
            for number, name in enumerate(queues)
        ],
        "services": {
            f"service{number}": {
                "publishes": [f"events{number % len(exchanges)}"],
                "consumes": [name],
            }
            for number, name in enumerate(list(queues)[: objects // 8])
        },
    }
