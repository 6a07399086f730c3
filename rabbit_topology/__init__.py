"""
RabbitMQ topologies with Pulumi that never lose a message.
"""

from rabbit_topology.access import Access
from rabbit_topology.component import Topology, TopologyArgs
from rabbit_topology.errors import BrokerError, ConfigError, Problem, ProofError, TopologyError
from rabbit_topology.parse import parse, parse_stack

__all__ = [
    "Access",
    "BrokerError",
    "ConfigError",
    "Problem",
    "ProofError",
    "Topology",
    "TopologyArgs",
    "TopologyError",
    "parse",
    "parse_stack",
]
