"""
RabbitMQ topologies with Pulumi that never lose a message.

Names are imported when they are first used: what checks a config needs no Pulumi, and starts in a
third of the time without.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rabbit_topology.broker.access import Access
    from rabbit_topology.deploy.component import Topology, TopologyArgs
    from rabbit_topology.errors import BrokerError, ConfigError, Problem, ProofError, TopologyError
    from rabbit_topology.lint.reading import parse, parse_stack

__version__ = "0.1.0.dev0"

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

_MODULES = {
    "Access": "broker.access",
    "BrokerError": "errors",
    "ConfigError": "errors",
    "Problem": "errors",
    "ProofError": "errors",
    "Topology": "deploy.component",
    "TopologyArgs": "deploy.component",
    "TopologyError": "errors",
    "parse": "lint.reading",
    "parse_stack": "lint.reading",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
