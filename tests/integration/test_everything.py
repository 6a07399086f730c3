"""
Every kind of object that the model knows, on every version: made, left alone, and taken away.
"""

from __future__ import annotations

from typing import Any

from tests.safety import settled
from tests.support.stacks import Stack, definitions, management

SEED = "a seed of the tests"


def everything(vhost: str, host: str) -> dict[str, Any]:
    return {
        "vhost": vhost,
        "exchanges": {
            "orders": {"type": "topic", "unroutable": True, "delays": ["5s", "1m"]},
            "fan": {"type": "fanout", "alternate": "orders"},
            "rpc": {},
        },
        "queues": {
            "orders": {
                "retry": {"delays": ["1s", "2s"]},
                "max_length": 1000,
                "overflow": "reject-publish",
            },
            "plain": {
                "type": "classic",
                "max_length": 10,
                "max_length_bytes": "2GiB",
                "message_ttl": "1h30m",
                "expires": "1d",
                "dead_letter": True,
            },
            "limited": {
                "delivery_limit": 3,
                "dead_letter": {"exchange": "fan", "routing_key": "x"},
                "initial_cluster_size": 1,
                "leader_locator": "balanced",
            },
            "log": {
                "type": "stream",
                "max_age": "7d",
                "max_length_bytes": "1GiB",
                "segment_size": "100MB",
            },
            "sorted": {"type": "classic", "max_priority": 5, "single_active_consumer": True},
        },
        "bindings": [
            {"source": "orders", "queue": "orders", "routing_key": "order.#"},
            {"source": "fan", "queue": "plain"},
            {"source": "fan", "queue": "log"},
            {"source": "rpc", "queue": "sorted", "routing_key": "p"},
        ],
        "super_streams": {"clicks": {"partitions": 2, "max_age": "1d"}},
        "policies": {
            "foreign": {
                "pattern": "^foreign\\.",
                "apply_to": "queues",
                "priority": 3,
                "definition": {"max-length": 7, "overflow": "reject-publish"},
            }
        },
        "operator_policies": {"cap": {"pattern": "^foreign\\.", "definition": {"max-length": 700}}},
        "services": {
            "gateway": {
                "publishes": [{"exchange": "orders", "routing_key": "order.*"}],
                "consumes": ["plain"],
            },
            "worker": {
                "consumes": ["orders"],
                "declares": ["worker.*"],
                "binds": ["orders"],
                "replies": True,
            },
        },
        "users": {
            f"{vhost}-ops": {
                "tags": ["monitoring"],
                "permissions": {"read": ".*"},
                "topic_permissions": {"orders": {"read": "^order"}},
            }
        },
        "shovels": {
            "mover": {
                # By way of the network: the provider cannot read a queue that is consumed by the
                # broker itself, as `amqp:///` would have it.
                "source_uri": f"amqp://guest:guest@{host}/{vhost}",
                "source_queue": "limited",
                "destination_uri": f"amqp:///{vhost}",
                "destination_exchange": "fan",
                "destination_exchange_key": "moved",
            }
        },
        "federation_upstreams": {
            "far": {"uri": "amqp://nobody:nothing@localhost:1", "exchange": "x", "expires": "1h"}
        },
    }


POLICIES = {
    "foreign": ("^foreign\\.", {"max-length": 7, "overflow": "reject-publish"}),
    "rabbit-topology-exchanges.fan": ("^(fan)$", {"alternate-exchange": "orders"}),
    "rabbit-topology-queues.log": (
        "^(log)$",
        {"max-age": "604800s", "max-length-bytes": 1073741824},
    ),
    "rabbit-topology-queues.limited": (
        "^(limited)$",
        {"delivery-limit": 3, "dead-letter-exchange": "fan", "dead-letter-routing-key": "x"},
    ),
    "rabbit-topology-queues.plain": (
        "^(plain)$",
        {
            "max-length": 10,
            "max-length-bytes": 2147483648,
            "message-ttl": 5400000,
            "expires": 86400000,
            "dead-letter-exchange": "plain.dead-letter",
        },
    ),
    "rabbit-topology-queues.clicks-0": ("^(clicks\\-0|clicks\\-1)$", {"max-age": "86400s"}),
}


def test_every_kind_of_object_is_made_left_alone_and_taken_away(stack: Stack, vhost: str):
    before = definitions(stack.broker)
    topology = everything(vhost, stack.broker.hosts[0])
    stack.configure(topology, seed=SEED)
    stack.up()
    for flags in ((), ("--refresh",)):
        again = stack.up("--expect-no-changes", *flags)
        assert set(again.changes) == {"unchanged"}, again.text
    settled.check_broker(stack.broker, topology)

    api = management(stack.broker)
    policies = {
        one["name"]: (one["pattern"], one["definition"]) for one in api.get(f"/policies/{vhost}")
    }
    assert policies.items() >= POLICIES.items()
    users = {one["user"]: one for one in api.get(f"/vhosts/{vhost}/permissions")}
    assert _permissions(users[f"{vhost}.gateway"]) == ("^$", "^(orders)$", "^(plain)$")
    assert _permissions(users[f"{vhost}.worker"]) == (
        r"^(worker\..*)$",
        r"^(amq\.default|worker\..*)$",
        r"^(orders|worker\..*)$",
    )
    topics = {one["user"]: one for one in api.get(f"/vhosts/{vhost}/topic-permissions")}
    assert topics[f"{vhost}.gateway"]["write"] == r"^(order\.[^.]*)\z"
    assert api.get(f"/parameters/shovel/{vhost}/mover")["value"]["src-queue"] == "limited"
    assert api.get(f"/parameters/federation-upstream/{vhost}/far")["value"]["exchange"] == "x"
    assert api.get(f"/operator-policies/{vhost}/cap")["definition"] == {"max-length": 700}

    stack.destroy()
    assert definitions(stack.broker) == before


def test_topic_permissions_outlive_the_replacement_of_their_exchange(stack: Stack, vhost: str):
    topology: dict[str, Any] = {
        "vhost": vhost,
        "exchanges": {"orders": {"type": "topic", "durable": False}},
        "services": {"gateway": {"publishes": [{"exchange": "orders", "routing_key": "a"}]}},
    }
    stack.configure(topology, seed=SEED)
    stack.up()
    topology["exchanges"]["orders"]["durable"] = True
    stack.configure(topology, seed=SEED)
    result = stack.up()
    assert result.changes["replaced"] == 2, result.text
    (one,) = management(stack.broker).get(f"/vhosts/{vhost}/topic-permissions")
    assert (one["exchange"], one["write"], one["read"]) == ("orders", r"^(a)\z", "^$")
    assert set(stack.up("--expect-no-changes", "--refresh").changes) == {"unchanged"}


def _permissions(one: dict[str, Any]) -> tuple[str, str, str]:
    return one["configure"], one["write"], one["read"]
