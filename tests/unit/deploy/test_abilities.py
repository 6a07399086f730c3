"""
What needs the official plugin, and which engine will do.
"""

from __future__ import annotations

import pulumi
import pytest
import yaml

from rabbit_topology import parse
from rabbit_topology.deploy import abilities, engine
from tests.support.repository import ROOT
from toolchain import engine as built

SHOVEL = {
    "source_uri": "amqp://",
    "source_queue": "q",
    "destination_uri": "amqp://",
    "destination_queue": "q",
}


def needed(**said):
    topology, *_ = parse({"vhost": "v", **said})
    return [*abilities.official_only({"topology": topology})]


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ({"vhost_settings": {"description": "x"}}, "vhost_settings.description"),
        ({"vhost_settings": {"default_queue_type": "quorum"}}, "vhost_settings.default_queue_type"),
        ({"vhost_settings": {"tracing": False}}, "vhost_settings.tracing"),
        ({"vhost_settings": {"limits": {"max_queues": 3}}}, "vhost_settings.limits.max_queues"),
        (
            {"shovels": {"s": {**SHOVEL, "destination_publish_properties": {"app_id": "x"}}}},
            "shovels.s.destination_publish_properties",
        ),
    ],
)
def test_what_only_the_official_plugin_knows_is_named(said, where):
    assert needed(**said) == [f"topology.{where}"]


def test_what_every_plugin_knows_is_not():
    assert not needed(vhost_settings={"on_delete": "retain"}, queues={"q": {}})
    assert not needed(shovels={"s": SHOVEL})


def test_the_version_of_the_engine_that_is_needed_has_one_value():
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    assert project["requiredPulumiVersion"] == engine.NEEDED
    assert ">=" + ".".join(map(str, built.MINIMUM)) == engine.NEEDED
    assert (
        f"| Pulumi | {built.MINIMUM[0]}.{built.MINIMUM[1]} or newer |"
        in (ROOT / "README.md").read_text()
    )


def test_an_engine_that_is_too_old_is_refused(monkeypatch):
    def refuse(_range):
        raise Exception("version 3.200.0 does not satisfy")  # noqa: TRY002 - as the SDK does

    monkeypatch.setattr(engine, "is_mocked", lambda: False)
    monkeypatch.setattr(pulumi, "require_pulumi_version", refuse)
    with pytest.raises(pulumi.RunError, match=r"Pulumi >=3\.245\.0 is needed.*3\.200\.0"):
        engine.check_version()
