"""
The component in a program of one's own: renamed with an alias, protected, twice in one program.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.stacks import ROOT, Stack
from tests.safety import settled
from toolchain.broker import Broker

PROGRAM = """
import pulumi
from rabbit_topology import Access, Topology, TopologyArgs, parse

config = pulumi.Config()
broker = config.require_object("broker")
for name, vhost in config.require_object("topologies").items():
    topology, *_ = parse({"vhost": vhost, **config.require_object("inside")})
    options = pulumi.ResourceOptions(
        aliases=[pulumi.Alias(name=it) for it in config.get_object("aliases") or []],
        protect=config.get_bool("protect"),
    )
    Topology(name, TopologyArgs(topology=topology, access=Access.connect(**broker)), options)
"""

INSIDE = {
    "exchanges": {"e": {"unroutable": True}},
    "queues": {"q": {"dead_letter": True}},
    "bindings": [{"source": "e", "queue": "q", "routing_key": "k"}],
    "services": {"worker": {"consumes": ["q"], "password": "not secret here"}},
}


@pytest.fixture
def stack(tmp_path: Path, engine_env: dict[str, str], start_broker) -> Stack:
    program = tmp_path / "program"
    program.mkdir()
    (program / "__main__.py").write_text(PROGRAM)
    (program / "Pulumi.yaml").write_text("name: own\nruntime: python\n")
    assert (ROOT / "rabbit_topology").is_dir()
    return Stack(tmp_path / "stack", engine_env, start_broker("4.0"), program=program)


def _configure(stack: Stack, topologies: dict[str, str], **settings: object) -> None:
    broker: Broker = stack.broker
    reach = {
        "endpoint": broker.endpoint,
        "username": broker.username,
        "password": broker.password,
        "hosts": list(broker.hosts),
    }
    own = {"broker": reach, "inside": INSIDE, "topologies": topologies, **settings}
    provider = {key: reach[key] for key in ("endpoint", "username", "password")}
    stack.write_config(
        {f"own:{key}": value for key, value in own.items()}
        | {f"rabbitmq:{key}": value for key, value in provider.items()}
    )


def test_a_component_that_is_renamed_with_an_alias_replaces_nothing(stack: Stack, vhost: str):
    _configure(stack, {"before": vhost})
    stack.up()
    _configure(stack, {"after": vhost}, aliases=["before"])
    renamed = stack.up()
    assert not {"created", "replaced", "deleted"} & renamed.changes.keys(), renamed.text
    settled.check_broker(stack.broker, {"vhost": vhost, **INSIDE})
    stack.destroy()


def test_two_in_one_program_and_protected(stack: Stack, vhost: str):
    both = {"one": vhost, "two": f"{vhost}-two"}
    _configure(stack, both, protect=True)
    stack.up()
    assert set(stack.up("--expect-no-changes").changes) == {"unchanged"}
    for name in both.values():
        settled.check_broker(stack.broker, {"vhost": name, **INSIDE})
    refused = stack.destroy(check=False)
    assert refused.status != 0
    assert "protect" in refused.text
    for name in both.values():
        settled.check_broker(stack.broker, {"vhost": name, **INSIDE})
    _configure(stack, both)
    stack.up()
    stack.destroy()
