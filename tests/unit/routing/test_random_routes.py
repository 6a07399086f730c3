"""
What the tests against brokers rely on: their topologies are right, and their messages varied.
"""

from __future__ import annotations

from collections import Counter
from random import Random

from rabbit_topology.lint.reading import read
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.publication import publish
from tests.support import random_routes


def test_topologies_are_right_and_messages_take_every_way():
    ways: Counter[str] = Counter()
    for seed in range(100):
        random = Random(seed)
        config = random_routes.topology(random, deaths=seed % 4 > 0)
        (network,) = Network.every(read(config, {"version": "4.0"})).values()
        for _ in range(20):
            one = random_routes.message(random, config)
            publication = publish(network, **one)
            ways.update(hop.step.way for hop in publication.root.walk() if hop.step)
            ways["dropped"] += publication.dropped
            ways["seen"] += any(hop.seen for hop in publication.root.walk())
            held = random_routes.published(network, one)
            ways["moved"] += {queue for queue, _ in held} != publication.routed.reaches
            for queue, message in held:
                if "dead-letter-exchange" in network.context.settings[queue]:
                    after = random_routes.rejected(network, queue, message)
                    ways["rejected"] += 1
                    ways["gone"] += not after
                    ways["again"] += any(queue == name for name, _ in after)
    for way in (
        "binding",
        "alternate exchange",
        "name",
        "dropped",
        "seen",
        "moved",
        "rejected",
        "gone",
        "again",
    ):
        assert ways[way] > 20, ways


def test_the_same_seed_makes_the_same():
    assert random_routes.topology(Random(7)) == random_routes.topology(Random(7))
