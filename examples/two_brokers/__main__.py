"""
One program, two brokers, the same topology on each: `PYTHONPATH=../.. pulumi up`.

Each broker has a provider of its own. Endpoint and credentials could as well be outputs of the
stack that makes the brokers.
"""

import pulumi
import pulumi_rabbitmq as rabbitmq

from rabbit_topology import Access, Topology, TopologyArgs, parse

ORDERS, *_ = parse(
    {
        "vhost": "orders",
        "exchanges": {"orders": {"type": "topic"}},
        "queues": {"orders.new": {"dead_letter": True}},
        "bindings": [{"source": "orders", "queue": "orders.new", "routing_key": "order.*"}],
    }
)

config = pulumi.Config()
for region in ("east", "west"):
    broker = config.require_secret_object(region)
    provider = rabbitmq.Provider(
        region,
        endpoint=broker["endpoint"],
        username=broker["username"],
        password=broker["password"],
    )
    topology = Topology(
        f"orders-{region}",
        TopologyArgs(topology=ORDERS, access=broker.apply(lambda one: Access.connect(**one))),
        pulumi.ResourceOptions(providers=[provider]),
    )
    pulumi.export(region, topology.outputs)
