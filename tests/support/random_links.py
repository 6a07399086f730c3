"""
Random topologies of several vhosts, with shovels and federated exchanges between them.

The same seed makes the same ones.
"""

from __future__ import annotations

from random import Random
from typing import Any

from tests.support import random_routes

VHOSTS = ("a", "b", "c")


def config(random: Random, uri: str = "amqp:///{}") -> dict[str, Any]:
    """Return a config of vhosts whose links lead to each other.

    Args:
        random: Where chance comes from.
        uri: Of a vhost of the broker, which has its name in it.
    """
    vhosts = {name: random_routes.topology(random) for name in VHOSTS}
    for vhost in vhosts.values():
        del vhost["vhost"]
    for number in range(random.randint(1, 4)):
        shovels = vhosts[random.choice(VHOSTS)].setdefault("shovels", {})
        shovels[f"s{number}"] = shovel(random, vhosts, uri)
    for name, vhost in vhosts.items():
        if random.random() < 0.5:
            other = random.choice([one for one in VHOSTS if one != name])
            hops = {"max_hops": random.choice((1, 1, 2, 3))}
            vhost["federation_upstreams"] = {"up": {"uri": uri.format(other), **hops}}
            vhost["policies"] = {
                "federated": {
                    "pattern": f"^{random.choice([*vhost['exchanges']])}$",
                    "apply_to": "exchanges",
                    "definition": {"federation-upstream": "up"},
                }
            }
    return {"vhosts": vhosts}


def shovel(random: Random, vhosts: dict[str, Any], uri: str) -> dict[str, Any]:
    """Return a shovel between two of the vhosts, or within one; never out of a queue twice."""
    source, target = random.choice(VHOSTS), random.choice(VHOSTS)
    one: dict[str, Any] = {
        "source_uri": uri.format(source),
        "destination_uri": uri.format(target),
        "destination_add_forward_headers": random.random() < 0.3,
    }
    if random.random() < 0.5:
        one["source_queue"] = random.choice([*vhosts[source]["queues"]])
    else:
        one["source_exchange"] = random.choice([*vhosts[source]["exchanges"]])
        one["source_exchange_key"] = random.choice(("a", "a.b", "#", ""))
    if random.random() < 0.4:
        one["destination_queue"] = random.choice([*vhosts[target]["queues"]])
    elif random.random() < 0.8:
        one["destination_exchange"] = random.choice([*vhosts[target]["exchanges"]])
        if random.random() < 0.4:
            one["destination_exchange_key"] = random.choice(("a", "b.a", ""))
    return one
