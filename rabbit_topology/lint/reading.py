"""
A config as a checked topology: what it says, and everything that is against a rule.

Pure: no pulumi, no files.
"""

from __future__ import annotations

from dataclasses import replace

from rabbit_topology.config import stack
from rabbit_topology.config.stack import Stack, moved
from rabbit_topology.lint import rules, rules_services
from rabbit_topology.model import Broker, SafetySettings, Topology


def parse(
    topology: object, broker: object = None, safety: object = None, *, secret: bool = False
) -> tuple[Topology, Broker, SafetySettings]:
    """Turn mappings, the values of the config keys, into the checked model of one vhost.

    Args:
        topology: The value of `rabbit-topology:topology`, with a `vhost`.
        broker: The value of `rabbit-topology:broker`; None is all defaults.
        safety: The value of `rabbit-topology:safety`; None is all defaults.
        secret: The config holds encrypted values: problems then do not show any value.

    Raises:
        ConfigError: With every problem of all, in config order.
    """
    one = _ruled(stack.read_one(topology, broker, safety))
    one.check(secret=secret)
    return one.whole["topology"], one.broker, one.safety


def parse_stack(
    topology: object, broker: object = None, safety: object = None, *, secret: bool = False
) -> tuple[Topology | tuple[Topology, ...], Broker, SafetySettings]:
    """Do what `parse` does, for a stack that has one vhost or, under `vhosts`, several by name."""
    one = read(topology, broker, safety)
    one.check(secret=secret)
    return one.topology, one.broker, one.safety


def read(
    topology: object,
    broker: object = None,
    safety: object = None,
    lint: object = None,
    expect: object = None,
) -> Stack:
    """Turn the values of the config keys into the model, and say what is wrong with them."""
    return _ruled(stack.read(topology, broker, safety, lint, expect))


def _ruled(one: Stack) -> Stack:
    errors = [
        *one.errors,
        *(
            moved(finding, root)
            for root, written in one.written.items()
            for finding in rules.check(written, one.whole[root])
        ),
        *rules_services.across_vhosts.find(one.whole),
        *rules.check_broker(one.broker),
    ]
    return replace(one, errors=errors)
