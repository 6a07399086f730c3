"""
The Pulumi program: one stack's config becomes a RabbitMQ topology, and its outputs.
"""

import pulumi

from rabbit_topology import Topology, config, interrupt, pace, preflight

interrupt.listen()
pace.start()
access, args, stack = config.load()
if preflight.check(access, args.topologies, stack, secret=config.is_secret()):
    preflight.recover(access, args.topologies)
topology = Topology("topology", args)
for name, value in topology.outputs.items():
    pulumi.export(name, value)
