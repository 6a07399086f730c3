"""
The Pulumi program: one stack's config becomes a RabbitMQ topology, and its outputs.
"""

import pulumi

from rabbit_topology import Topology, config, preflight

stack = config.load()
preflight.check(stack.management)
topology = Topology("topology", stack.args)
for name, value in topology.outputs.items():
    pulumi.export(name, value)
