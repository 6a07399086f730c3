from __future__ import annotations

import rabbit_topology


def test_the_public_names_are_these():
    assert rabbit_topology.__all__ == [
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
    assert all(hasattr(rabbit_topology, name) for name in rabbit_topology.__all__)
