"""
How resources are registered, whatever their kind.
"""

from __future__ import annotations

import ast
from pathlib import Path

import rabbit_topology
from rabbit_topology import Topology, TopologyArgs
from tests.integration.test_everything import everything
from tests.unit.deploy.test_component import COMPONENT, args

KINDS = 11


def test_every_kind_is_deleted_before_it_is_created_anew(deploy):
    made = args(everything("v", "mq"))
    given = TopologyArgs(topology=made.topology, access=made.access, seed="a seed of the tests")
    result = deploy(lambda: Topology("it", given))
    children = [
        registration for registration in result.registrations if registration.type != COMPONENT
    ]
    assert len({child.type for child in children}) == KINDS
    assert [child.name for child in children if not child.delete_before_replace] == []
    assert [child.name for child in children if "before_delete" not in child.hooks] == []


def test_there_is_one_place_that_decides_how_a_resource_is_registered():
    package = Path(rabbit_topology.__file__).parent
    calls = {
        file.name
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("ResourceOptions")
    }
    assert calls == {"children.py"}
