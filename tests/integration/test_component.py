"""
The component in a program of one's own: renamed with an alias, protected, twice in one program,
left on the broker, and with a broker that is an output of something else.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.integration.test_everything import everything
from tests.integration.test_forced import state_of
from tests.safety import settled
from tests.support.stacks import ROOT, Stack, connect, definitions, fill, management
from toolchain.broker import Broker

PROGRAM = """
import pulumi
from rabbit_topology import Access, Topology, TopologyArgs, parse

config = pulumi.Config()
broker = config.require_object("broker")
for name, vhost in config.require_object("topologies").items():
    inside = (config.get_object("insides") or {}).get(name) or config.require_object("inside")
    topology, *_ = parse({"vhost": vhost, **inside})
    options = pulumi.ResourceOptions(
        aliases=[pulumi.Alias(name=it) for it in config.get_object("aliases") or []],
        protect=config.get_bool("protect"),
        retain_on_delete=config.get_bool("retain"),
    )
    access = Access.connect(**broker)
    if config.get_bool("late"):
        access = pulumi.Output.from_input(access)
    Topology(name, TopologyArgs(topology=topology, access=access), options)
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


def test_a_component_that_leaves_a_program_is_destroyed_first(stack: Stack, vhost: str):
    both = {"one": vhost, "two": f"{vhost}-two"}
    _configure(stack, both)
    stack.up()
    with connect(stack.broker, both["two"]) as connection:
        fill(connection.channel(), "q", 5)
    exported = json.loads(stack.pulumi("stack", "export", "--stack", stack.name).output)
    urns = [one["urn"] for one in exported["deployment"]["resources"]]
    flags = [f"--target={urn}" for urn in urns if "::two" in urn]
    refused = stack.destroy(*flags, check=False)
    assert refused.status
    assert "queue q holds 5 ready" in refused.text
    _configure(stack, {"one": both["one"]})
    unknown = stack.up(check=False)
    assert unknown.status
    assert "was not registered" in unknown.text
    settled.check_broker(stack.broker, {"vhost": both["one"], **INSIDE})
    _configure(stack, both)
    with connect(stack.broker, both["two"]) as connection:
        connection.channel().queue_purge("q")
    stack.destroy(*flags)
    _configure(stack, {"one": both["one"]})
    stack.up("--expect-no-changes")
    settled.check_broker(stack.broker, {"vhost": both["one"], **INSIDE})
    assert both["two"] not in {one["name"] for one in management(stack.broker).get("/vhosts")}
    stack.destroy()


def test_what_moves_from_one_component_to_another_is_not_deleted(stack: Stack, vhost: str):
    whole, simple = everything(vhost, stack.broker.hosts[0]), {"queues": {"q": {}}}
    for user in (*whole["services"].values(), *whole["users"].values()):
        user["password"] = "not secret here"
    del whole["vhost"]

    def configure(**components: tuple[str, object]) -> None:
        _configure(
            stack,
            {name: where for name, (where, _) in components.items()},
            insides={name: what for name, (_, what) in components.items()},
        )

    configure(one=(vhost, whole), two=(f"{vhost}-other", simple))
    stack.up()
    before = state_of(stack, vhost)
    configure(one=(f"{vhost}-third", simple), two=(vhost, whole))
    refused = stack.up(check=False)
    assert refused.status
    for text in (stack.preview().text, refused.text):
        assert "is in the config as another resource" in text
    assert "deleted" not in refused.changes
    assert state_of(stack, vhost) == before
    urn = re.findall(r"the whole component: '(.+)'", refused.text)[0]
    stack.pulumi("state", "delete", "--target-dependents", urn, "--yes", "--stack", stack.name)
    stack.up()
    stack.up("--expect-no-changes", "--refresh")
    assert state_of(stack, vhost) == before
    settled.check_broker(stack.broker, {"vhost": vhost, **whole})
    stack.destroy()


def test_a_component_that_is_to_be_left_on_the_broker_is(stack: Stack, vhost: str):
    shovel = {
        "source_uri": f"amqp:///{vhost}",
        "source_queue": "from",
        "destination_uri": f"amqp:///{vhost}",
        "destination_queue": "q",
    }
    inside = {
        **INSIDE,
        "queues": {**INSIDE["queues"], "from": {}, "gone": {"on_delete": "discard"}},
        "policies": {"p": {"pattern": "^x", "definition": {"max-length": 3}}},
        "shovels": {"s": shovel},
    }
    _configure(stack, {"one": vhost}, inside=inside, retain=True)
    stack.up()
    # Replacements are as ever: nothing of the engine's is left to do.
    classic = {**inside, "queues": {**inside["queues"], "q": {"type": "classic"}}}
    with connect(stack.broker, vhost) as connection:
        fill(connection.channel(), "q", 5)
    _configure(stack, {"one": vhost}, inside=classic, retain=True)
    stack.up()
    described = management(stack.broker).get(f"/queues/{vhost}/q")
    assert described["type"] == "classic"
    before = definitions(stack.broker)
    seen = stack.pulumi(
        *("destroy", "--preview-only", "--run-program", "--stack", stack.name), check=True
    )
    assert "would lose" not in seen.text
    # One that leaves the config stays as well, with what it holds.
    without = {key: value for key, value in classic.items() if key not in ("bindings", "shovels")}
    without |= {"queues": {"from": {}}, "exchanges": {}, "services": {}}
    _configure(stack, {"one": vhost}, inside=without, retain=True)
    stack.up()
    assert definitions(stack.broker) == before
    stack.destroy()
    assert definitions(stack.broker) == before
    with connect(stack.broker, vhost) as connection:
        assert connection.channel().queue_declare("q", passive=True).method.message_count == 5


def test_whether_a_component_stays_is_what_its_program_says_when_it_goes(stack: Stack, vhost: str):
    _configure(stack, {"one": vhost}, retain=True)
    stack.up()
    with connect(stack.broker, vhost) as connection:
        fill(connection.channel(), "q", 5)
    before = definitions(stack.broker)
    _configure(stack, {"one": vhost})
    refused = stack.destroy(check=False)
    assert refused.status
    assert "queue q holds 5 ready" in refused.text
    assert definitions(stack.broker) == before
    _configure(stack, {"one": vhost}, retain=True)
    stack.destroy()
    assert definitions(stack.broker) == before
    with connect(stack.broker, vhost) as connection:
        assert connection.channel().queue_declare("q", passive=True).method.message_count == 5


@pytest.mark.parametrize("late", [False, True])
def test_what_the_stacks_own_user_may_do_is_not_taken_away(stack: Stack, vhost: str, late: bool):
    own = stack.broker.username
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    reading = {"configure": "", "write": "", "read": ".*"}
    users = {
        own: {"exists": True, "permissions": everything},
        f"{vhost}-other": {"password": "not secret here", "permissions": reading},
    }
    inside = {"queues": {"q": {}, "c": {"type": "classic"}}, "users": users}
    _configure(stack, {"one": vhost}, inside=inside, late=late)
    stack.up()
    allowed = management(stack.broker).get(f"/vhosts/{vhost}/permissions")
    assert {one["user"] for one in allowed} == {own, f"{vhost}-other"}
    fewer = {**inside, "users": {}}
    _configure(stack, {"one": vhost}, inside=fewer, late=late)
    stack.up()
    allowed = management(stack.broker).get(f"/vhosts/{vhost}/permissions")
    assert {one["user"]: one["read"] for one in allowed} == {own: ".*"}
    _configure(stack, {"one": vhost}, inside=inside, late=late)
    stack.up()
    stack.destroy()
    assert vhost not in {one["name"] for one in management(stack.broker).get("/vhosts")}


@pytest.mark.parametrize("late", [False, True])
def test_a_program_that_declares_its_own_user_is_refused(stack: Stack, vhost: str, late: bool):
    inside = {"users": {stack.broker.username: {"permissions": {"read": ".*"}}}}
    before = definitions(stack.broker)
    _configure(stack, {"one": vhost}, inside=inside, late=late)
    refused = stack.up(check=False)
    assert refused.status
    assert "the stack connects as this user" in refused.text
    assert definitions(stack.broker) == before


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ({"vhost_settings": {"description": "shop"}}, "topology.vhost_settings.description"),
        (
            {"vhost_settings": {"limits": {"max_queues": 9}}},
            "topology.vhost_settings.limits.max_queues",
        ),
    ],
)
def test_what_the_plugin_does_not_know_is_said_before_anything_is_made(
    stack: Stack, engine_env: dict[str, str], vhost: str, said: dict[str, object], where: str
):
    before = definitions(stack.broker)
    _configure(stack, {"one": vhost}, inside={**INSIDE, **said})
    result = stack.up(check=False)
    if not engine_env:  # Pulumi's own CLI, which brings the official plugin
        assert not result.status, result.text
        stack.destroy()
        return
    assert result.status
    assert f"plugin does not know {where}" in result.text
    assert "--reinstall" in result.text
    assert definitions(stack.broker) == before
