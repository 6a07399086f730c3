"""
The Pulumi program: one stack's config becomes a RabbitMQ topology, and its outputs.
"""

import pulumi

from rabbit_topology import Topology
from rabbit_topology.deploy import engine, preflight, program, sdk

engine.listen()
sdk.start()
access, args, stack = program.load()
if preflight.check(access, args.topologies, stack, secret=program.is_secret()):
    preflight.recover(access, args.topologies)
topology = Topology("topology", args)
for name, value in topology.outputs.items():
    pulumi.export(name, value)
