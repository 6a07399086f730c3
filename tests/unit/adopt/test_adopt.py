"""
A broker's definitions as a config: what is said, what is left alone and why, and the proof.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from rabbit_topology.adopt import definitions, express, numbers, proof, proposals, text, watch
from rabbit_topology.broker.management import Management, NotFoundError
from rabbit_topology.commands.app import app
from rabbit_topology.config import yaml_files
from rabbit_topology.errors import TopologyError
from rabbit_topology.lint.reading import read

SHOP: dict[str, Any] = {
    "rabbitmq_version": "3.10.8",
    "vhosts": [{"name": "shop"}],
    "users": [{"name": "app", "password_hash": "AAAA", "tags": []}, {"name": "idle"}],
    "permissions": [
        {"user": "app", "vhost": "shop", "configure": "", "write": ".*", "read": "^orders"}
    ],
    "topic_permissions": [
        {"user": "app", "vhost": "shop", "exchange": "events", "write": "^a", "read": ".*"}
    ],
    "parameters": [
        {
            "component": "operator_policy",
            "vhost": "shop",
            "name": "cap",
            "value": {
                "pattern": ".*",
                "apply-to": "queues",
                "priority": 3,
                "definition": [["max-length", 9]],
            },
        }
    ],
    "global_parameters": [{"name": "cluster_name", "value": "x"}],
    "policies": [
        {
            "vhost": "shop",
            "name": "ttl/all",
            "pattern": "^orders",
            "apply-to": "queues",
            "definition": {"message-ttl": 60000},
            "priority": 0,
        }
    ],
    "queues": [
        {
            "name": "orders",
            "vhost": "shop",
            "durable": True,
            "auto_delete": False,
            "arguments": {"x-max-priority": 5, "x-message-ttl": 1000},
        },
        {
            "name": "orders.log",
            "vhost": "shop",
            "durable": True,
            "auto_delete": False,
            "arguments": {"x-queue-type": "quorum"},
        },
        {"name": "amq.gen-x", "vhost": "shop", "durable": False, "arguments": {}},
    ],
    "exchanges": [
        {
            "name": "events",
            "vhost": "shop",
            "type": "topic",
            "durable": True,
            "auto_delete": False,
            "internal": False,
            "arguments": {},
        },
        {"name": "", "vhost": "shop", "type": "direct", "durable": True, "arguments": {}},
    ],
    "bindings": [
        {
            "source": "events",
            "vhost": "shop",
            "destination": "orders",
            "destination_type": "queue",
            "routing_key": key,
            "arguments": {},
        }
        for key in ("order.*", "#")
    ]
    + [
        {
            "source": "amq.topic",
            "vhost": "shop",
            "destination": "events",
            "destination_type": "exchange",
            "routing_key": "",
            "arguments": {"a": 1},
        },
        {
            "source": "events",
            "vhost": "shop",
            "destination": "amq.gen-x",
            "destination_type": "queue",
            "routing_key": "k",
            "arguments": {},
        },
    ],
}

SHOP_CONFIG = """\
vhost: shop

exchanges:
  events: {type: topic}

queues:
  orders: {type: classic, typed: false, arguments: {x-message-ttl: 1000}, max_priority: 5}
  orders.log: {}

bindings:
  - {source: events, queue: orders, routing_keys: ["order.*", "#"]}
  - {source: amq.topic, exchange: events, arguments: {a: 1}}

policies:
  "ttl/all": {pattern: "^orders", apply_to: queues, definition: {message-ttl: 60000}}

operator_policies:
  cap: {pattern: ".*", apply_to: queues, priority: 3, definition: {max-length: 9}}

users:
  app:
    exists: true
    permissions: {configure: "", write: ".*", read: "^orders"}
    topic_permissions: {events: {write: "^a", read: ".*"}}
"""


@pytest.fixture
def of(tmp_path):
    def made(held: object, vhost: str | None = None) -> definitions.Definitions:
        file = tmp_path / "definitions.json"
        file.write_text(held if isinstance(held, str) else json.dumps(held))
        return definitions.from_file(file, "definitions.json", vhost)

    return made


def said(had, own_user=None):
    return express.express(had, definitions.of_vhosts(had, ()), own_user)


def with_(key: str, *objects: dict[str, Any]) -> dict[str, Any]:
    return {**SHOP, key: [*SHOP.get(key, []), *({"vhost": "shop", **one} for one in objects)]}


def reasons(had, own_user=None):
    return {one.title: one.reason for one in said(had, own_user).left}


def test_what_is_there_is_said_as_a_person_would_write_it(of):
    assert text.document(said(of(SHOP)).topology) == SHOP_CONFIG


def test_what_is_said_is_proven_object_by_object(of):
    had = of(SHOP)
    config = read(said(had).topology)
    config.check()
    proven = proof.prove(config.whole.values(), had)
    # vhost, exchange, 2 queues, 2 policies, permissions, topic permissions and 3 bindings
    assert (proven.equal, proven.different) == (11, ())


@pytest.mark.parametrize(
    ("section", "change", "difference"),
    [
        ("queues", {"durable": False}, "queue orders: durable: false -> true"),
        ("exchanges", {"type": "fanout"}, 'exchange events: type: "fanout" -> "topic"'),
        ("policies", {"priority": 9}, "policy ttl/all: priority: 9 -> 0"),
        ("permissions", {"read": "b"}, 'permissions app: read: "b" -> "^orders"'),
        ("bindings", {"routing_key": "x"}, "binding events -> orders: not there"),
        ("queues", {"name": "other"}, "queue orders: not there"),
    ],
)
def test_the_proof_names_what_differs(of, section, change, difference):
    config = read(said(of(SHOP)).topology)
    changed = of({**SHOP, section: [{**SHOP[section][0], **change}, *SHOP[section][1:]]})
    assert difference in proof.prove(config.whole.values(), changed).different


def test_what_the_broker_makes_itself_is_counted(of):
    had = of(SHOP)
    assert dict(said(had).brokers_own) == {
        "exchanges": 1,
        "server-named or exclusive queues": 1,
        "bindings": 1,
        "global parameters": 1,
    }
    assert reasons(had) == {"user idle": "it has no permissions that are managed here"}


@pytest.mark.parametrize(
    ("section", "one", "what"),
    [
        ("queues", {"name": "mqtt-subscription-c-qos1"}, "queues of MQTT and STOMP sessions"),
        (
            "queues",
            {"name": "federation: e -> b", "arguments": {"x-internal-purpose": "federation"}},
            "queues of federation links and shovels",
        ),
        (
            "exchanges",
            {"name": "federation: e -> b A", "arguments": {"x-internal-purpose": "federation"}},
            "exchanges",
        ),
    ],
)
def test_what_plugins_make_for_clients_is_left_out(of, section, one, what):
    before, after = (said(of(held)) for held in (SHOP, with_(section, one)))
    assert after.brokers_own[what] == before.brokers_own[what] + 1
    assert after.topology == before.topology


@pytest.mark.parametrize(
    ("section", "one", "title", "reason"),
    [
        ("exchanges", {"name": "i", "internal": True}, "exchange i", "internal"),
        ("exchanges", {"name": "n", "arguments": {"x": 1}}, "exchange n", "only text"),
        ("exchanges", {"name": "o", "auto_delete": "undefined"}, "exchange o", "does not say"),
        ("exchanges", {"name": "b", "type": "odd"}, "exchange b", "begins with x-"),
        ("queues", {"name": "a@b"}, "queue a@b", "separates the parts"),
        ("queues", {"name": "amq.odd"}, "queue amq.odd", "reserved for the broker"),
        ("queues", {"name": "m", "type": "mqtt"}, "queue m", "one of classic, quorum, stream"),
        (
            "policies",
            {"name": "p", "pattern": ".*", "definition": {"federation-upstream-set": ["a"]}},
            "policy p",
            "",
        ),
        (
            "parameters",
            {"component": "shovel", "name": "s", "value": {"src-uri": "amqp://u:p@h"}},
            "shovel s",
            "take_over",
        ),
        ("parameters", {"component": "odd", "name": "s", "value": {}}, "odd s", "nothing here"),
        (
            "bindings",
            {
                "source": "events",
                "destination": "orders",
                "destination_type": "queue",
                "routing_key": "undefined",
            },
            "binding events -[undefined]-> orders",
            "no routing key at all",
        ),
        (
            "bindings",
            {"source": "nobody", "destination": "orders", "destination_type": "queue"},
            "binding nobody -[]-> orders",
            "not there",
        ),
    ],
)
def test_what_cannot_be_said_is_left_alone_with_the_reason(of, section, one, title, reason):
    had = of(with_(section, one))
    left = reasons(had)
    assert reason in left[title]
    assert "u:p" not in str(left)
    read(said(had).topology).check()


def test_bindings_of_what_is_left_alone_are_left_alone(of):
    bound = {"source": "events", "destination": "a@b", "destination_type": "queue"}
    held = with_("queues", {"name": "a@b"})
    held["bindings"] = [*held["bindings"], {"vhost": "shop", "routing_key": "k", **bound}]
    assert reasons(of(held))["binding events -[k]-> a@b"] == "it is bound to what is left alone"


def test_a_newer_broker_refuses_what_an_older_one_takes(of):
    policy = {"name": "ha", "pattern": ".*", "definition": {"ha-mode": "all"}}
    held = with_("policies", policy)
    assert "policy ha" not in reasons(of(held))
    assert "policy ha" in reasons(of({**held, "rabbitmq_version": "4.0.5"}))


def test_a_vhost_with_settings_is_one_that_exists(of):
    held = {**SHOP, "vhosts": [{"name": "shop", "metadata": {"description": "the shop"}}]}
    config = said(of(held)).topology
    assert config["vhost_settings"] == {"exists": True}
    assert "description" in reasons(of(held))["vhost shop"]


def test_the_user_that_the_stack_connects_with_keeps_what_it_may_do(of):
    had = of(SHOP)
    assert "users" not in said(had, "app").topology
    assert reasons(had, "app")["permissions app"] == "the stack connects as this user"


def test_an_argument_that_no_key_can_stand_for_stays_an_argument(of):
    arguments = {"x-single-active-consumer": False}
    odd = {"name": "odd", "arguments": {"x-queue-type": "classic", **arguments}}
    config = said(of(with_("queues", odd))).topology
    assert config["queues"]["odd"] == {"type": "classic", "arguments": arguments}


def test_several_vhosts_stand_side_by_side(of):
    held = {**SHOP, "vhosts": [{"name": "shop"}, {"name": "b/c"}]}
    config = said(of(held)).topology
    assert list(config["vhosts"]) == ["b/c", "shop"]
    assert text.document(config).startswith('vhosts:\n  "b/c": {}\n  shop:\n    exchanges:\n')
    read(config).check()


def test_a_vhost_that_cannot_be_said_is_left_alone(of):
    held = {**SHOP, "vhosts": [{"name": "shop"}, {"name": "b@c"}]}
    assert "separates" in reasons(of(held))["vhost b@c"]


def test_a_file_of_one_vhost_needs_its_name(of):
    queue = {"name": "q", "durable": True, "auto_delete": False, "arguments": {}}
    with pytest.raises(TopologyError, match="say with --vhost"):
        of({"queues": [queue]})
    assert said(of({"queues": [queue]}, "v")).topology["vhost"] == "v"


@pytest.mark.parametrize(
    ("held", "told"),
    [("{", "not JSON"), ("[]", "no definitions"), ({"a": 1}, "no definitions")],
)
def test_a_file_that_is_none_is_refused(of, held, told):
    with pytest.raises(TopologyError, match=told):
        of(held)


def test_a_vhost_that_is_not_there_is_refused(of):
    with pytest.raises(TopologyError, match='no vhost "x"; there are: shop'):
        definitions.of_vhosts(of(SHOP), ["x"])


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["yes", "no", "on", "null", "1e3", "0o7", "1:30", "~", "", "a: b", "#x", "- a", "{a", ".5"]
)
_VALUES = st.recursive(
    _TEXT | st.integers(-(2**53), 2**53) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(_TEXT.filter(lambda key: key != "vhosts"), _VALUES, max_size=4))
def test_what_is_written_is_read_back_as_it_was(tmp_path_factory, topology):
    file = tmp_path_factory.getbasetemp() / "written.yaml"
    file.write_text(text.document(topology, ["a comment"]), encoding="utf-8")
    assert (yaml_files.read(file, "written").value or {}) == topology


def run(*arguments: str):
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.fixture
def exported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for variable in ("ENDPOINT", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"RABBITMQ_{variable}", raising=False)
    file = tmp_path / "export.json"
    file.write_text(json.dumps(SHOP))
    return file


def test_adopt_writes_the_topology_and_the_config_of_the_stack(exported):
    answer = run("adopt", str(exported), "--stack", "prod")
    assert "11 objects" in answer.output
    assert "2 queues" in answer.output
    written = (exported.parent / "topology.yaml").read_text()
    assert written.endswith(SHOP_CONFIG)
    assert "#   user idle: it has no permissions" in written
    stack = yaml_files.read(exported.parent / "Pulumi.prod.yaml", "stack").value["config"]
    assert stack["rabbit-topology:base"] == "topology.yaml"


def test_adopt_overwrites_nothing(exported):
    (exported.parent / "topology.yaml").write_text("mine")
    with pytest.raises(TopologyError, match="there already"):
        run("adopt", str(exported))
    assert (exported.parent / "topology.yaml").read_text() == "mine"
    (exported.parent / "Pulumi.prod.yaml").write_text("mine")
    run("adopt", str(exported), "--stack", "prod", "--force")
    assert (exported.parent / "Pulumi.prod.yaml").read_text() == "mine"


def test_adopt_of_a_broker_says_what_it_needs(exported):
    with pytest.raises(TopologyError, match="RABBITMQ_ENDPOINT, RABBITMQ_USERNAME"):
        run("adopt")


def test_lint_and_trace_read_a_definitions_file(exported):
    held = with_("queues", {"name": "amq.odd", "arguments": {"x-mesage-ttl": 5}})
    exported.write_text(json.dumps(held))
    answer = run("lint", str(exported))
    assert answer.exit_code == 1
    assert "amq.odd" in answer.output
    assert "x-mesage-ttl" in answer.output
    assert "orders" in run("trace", "events", "order.new", "--file", str(exported)).output


def test_a_definitions_file_can_be_compared(exported, tmp_path):
    later = tmp_path / "later.json"
    later.write_text(json.dumps({**SHOP, "bindings": SHOP["bindings"][1:]}))
    assert run("diff", str(exported), str(exported)).exit_code == 0
    less = {**SHOP, "bindings": SHOP["bindings"][2:]}
    later.write_text(json.dumps(less))
    assert run("diff", str(exported), str(later)).exit_code == 1


def test_a_vhost_with_nothing_to_manage_is_not_in_the_config(of):
    others = {"name": "theirs", "description": "of others"}
    held = {**SHOP, "vhosts": [{"name": "/"}, {"name": "shop"}, {"name": "empty"}, others]}
    assert list(said(of(held)).topology["vhosts"]) == ["empty", "shop"]


@pytest.mark.parametrize(
    ("uri", "where", "left_alone"),
    [
        ("amqp:///shop", "other", True),
        ("amqp://", "shop", True),
        (["amqp://elsewhere", "amqp:///sh%6Fp"], "other", True),
        ("amqp:///other", "shop", False),
        ("amqp://localhost/shop", "shop", False),  # by a connection, as any client
    ],
)
def test_a_queue_that_a_shovel_takes_from_within_the_broker_is_left_alone(
    of, uri, where, left_alone
):
    """Also while the shovel does not run, as in a file."""
    shovel = {"src-uri": uri, "src-queue": "orders", "dest-uri": "amqp://", "dest-queue": "x"}
    parameter = {"component": "shovel", "name": "mover", "vhost": where, "value": shovel}
    vhosts = [{"name": "shop"}, {"name": "other"}]
    held = {**SHOP, "vhosts": vhosts, "parameters": [*SHOP["parameters"], parameter]}
    assert ("queue orders" in reasons(of(held))) is left_alone


def test_a_queue_that_a_plugin_consumes_is_left_alone(of):
    had = of(SHOP)
    listed = [
        {**one, definitions.READ_BY_PLUGIN: one["name"] == "orders"} for one in SHOP["queues"]
    ]
    within = {"shop": {**had.within["shop"], "queues": listed}}
    left = reasons(replace(had, within=within))
    assert "plugin" in left["queue orders"]
    assert left["binding events -[#]-> orders"] == "it is bound to what is left alone"


def test_an_exclusive_queue_is_not_looked_at(of):
    had = of(SHOP)
    listed = had.within["shop"]["queues"]
    exclusive = {"name": "mine", "vhost": "shop", "exclusive": True, "arguments": {}}
    within = {"shop": {**had.within["shop"], "queues": [*listed, exclusive]}}
    assert "mine" not in said(replace(had, within=within)).topology["queues"]


def terraform_resource(type_: str, **values: Any) -> dict[str, Any]:
    return {"mode": "managed", "type": f"rabbitmq_{type_}", "values": values}


TERRAFORM: list[dict[str, Any]] = [
    terraform_resource("vhost", name="shop"),
    terraform_resource(
        "exchange",
        name="events",
        vhost="shop",
        settings=[{"type": "topic", "durable": True, "auto_delete": False, "arguments": {}}],
    ),
    terraform_resource(
        "queue",
        name="orders",
        vhost="shop",
        settings=[
            {
                "durable": True,
                "auto_delete": False,
                "arguments": None,
                "arguments_json": '{"x-queue-type": "quorum", "x-max-length": 5}',
            }
        ],
    ),
    terraform_resource(
        "binding",
        source="events",
        vhost="shop",
        destination="orders",
        destination_type="queue",
        routing_key="order.*",
        arguments={},
    ),
    terraform_resource(
        "policy",
        name="ttl",
        vhost="shop",
        policy=[
            {
                "pattern": "^o",
                "priority": 2,
                "apply_to": "queues",
                "definition": {"message-ttl": "60000", "overflow": "drop-head"},
            }
        ],
    ),
    terraform_resource(
        "permissions",
        user="app",
        vhost="shop",
        permissions=[{"configure": "", "write": ".*", "read": ".*"}],
    ),
    terraform_resource("user", name="app", password="secret", tags=[]),
    {"mode": "managed", "type": "aws_thing", "values": {"name": "not ours"}},
    {"mode": "data", "type": "rabbitmq_queue", "values": {"name": "of others"}},
]
FROM_TERRAFORM = {
    "vhost": "shop",
    "exchanges": {"events": {"type": "topic"}},
    "queues": {"orders": {"arguments": {"x-max-length": 5}}},
    "bindings": [{"source": "events", "queue": "orders", "routing_key": "order.*"}],
    "policies": {
        "ttl": {
            "pattern": "^o",
            "priority": 2,
            "apply_to": "queues",
            "definition": {"message-ttl": 60000, "overflow": "drop-head"},
        }
    },
    "users": {
        "app": {"exists": True, "permissions": {"configure": "", "write": ".*", "read": ".*"}}
    },
}


@pytest.mark.parametrize("form", ["shown", "nested", "state"])
def test_a_terraform_state_is_read(of, form):
    state: dict[str, Any] = {"terraform_version": "1.9.0"}
    if form == "state":
        state["resources"] = [
            {**one, "instances": [{"attributes": one["values"]}]} for one in TERRAFORM
        ]
    else:
        module: dict[str, Any] = {"resources": TERRAFORM}
        nested = {"child_modules": [{"child_modules": [module]}]}
        state["values"] = {"root_module": module if form == "shown" else nested}
    had = of(state)
    assert said(had).topology == FROM_TERRAFORM
    assert "secret" not in str(said(had))


@pytest.mark.parametrize(
    "topology",
    [
        {"queues": {"q": {"type": "stream", "arguments": {"x-max-age": "1M"}}}},
        {"queues": {"q": {"type": "classic", "arguments": {"x-delivery-limit": 3}}}},
        {"queues": {"q": {"arguments": {"x-dead-letter-exchange": "nowhere"}}}},
        *(
            {
                "queues": {"q": {}},
                "exchanges": {"e": {}},
                "policies": {"p": {"pattern": pattern, "definition": {"max-length": 1}}},
            }
            for pattern in ("^q.*$", "^q", "^.$", "^(q|other)$", "^(q|e)$")
        ),
    ],
)
def test_nothing_is_proposed_that_would_be_refused_or_mean_something_else(topology):
    stack = read({"vhost": "v", **topology})
    assert [*proposals.propose("topology", stack.whole["topology"])] == []


def test_a_policy_for_a_choice_of_names_is_proposed(of):
    policy = {"pattern": r"^(a\.b|c)$", "definition": {"max-length": 1}}
    stack = read({"vhost": "v", "queues": {"a.b": {}, "c": {}}, "policies": {"p": policy}})
    (proposal,) = proposals.propose("topology", stack.whole["topology"])
    assert proposal.instead == 'settings of "a.b, c"'


def test_what_nothing_here_declares_is_left_alone_and_named(of, tmp_path):
    state = {"terraform_version": "1", "values": {"root_module": {"resources": []}}}
    state["values"]["root_module"]["resources"] = [
        *TERRAFORM,
        terraform_resource("super_stream", name="clicks", vhost="shop"),
    ]
    assert "nothing here" in reasons(of(state))["super-stream clicks"]
    file = tmp_path / "operator.yaml"
    file.write_text(f"{OPERATOR}---\n{SUPER_STREAM}---\n{CLUSTER}")
    left = reasons(definitions.from_file(file, "operator.yaml"))
    assert "nothing here" in left["SuperStream clicks"]
    assert not any("RabbitmqCluster" in title for title in left)


def test_a_list_as_kubectl_writes_it_is_read(tmp_path):
    items = [one for one in yaml.safe_load_all(OPERATOR) if one]
    file = tmp_path / "operator.yaml"
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": items}))
    assert said(definitions.from_file(file, "operator.yaml")).topology == FROM_TERRAFORM


def test_an_operator_policy_of_a_file_of_one_vhost_is_said(of):
    parameter = SHOP["parameters"][0]
    held = {
        "queues": [{"name": "q"}],
        "parameters": [{key: parameter[key] for key in ("component", "name", "value")}],
    }
    assert "cap" in said(of(held, "v")).topology["operator_policies"]


def test_what_is_in_a_vhost_that_a_file_does_not_list_is_said(of):
    held = {**SHOP, "queues": [*SHOP["queues"], {"name": "q", "vhost": "unlisted"}]}
    assert list(said(of(held)).topology["vhosts"]) == ["shop", "unlisted"]


def test_topic_permissions_of_the_own_user_are_named(of):
    assert "topic permissions app" in reasons(of(SHOP), "app")


SUPER_STREAM = """\
apiVersion: rabbitmq.com/v1alpha1
kind: SuperStream
spec: {name: clicks, vhost: shop, partitions: 3}
"""
CLUSTER = """\
apiVersion: rabbitmq.com/v1beta1
kind: RabbitmqCluster
spec: {replicas: 3}
"""
OPERATOR = """
apiVersion: rabbitmq.com/v1beta1
kind: Vhost
spec: {name: shop, rabbitmqClusterReference: {name: c}}
---
apiVersion: rabbitmq.com/v1beta1
kind: Exchange
spec: {name: events, vhost: shop, type: topic, durable: true}
---
apiVersion: rabbitmq.com/v1beta1
kind: Queue
spec: {name: orders, vhost: shop, type: quorum, durable: true, arguments: {x-max-length: 5}}
---
apiVersion: rabbitmq.com/v1beta1
kind: Binding
spec:
  {source: events, vhost: shop, destination: orders, destinationType: queue, routingKey: order.*}
---
apiVersion: rabbitmq.com/v1beta1
kind: Policy
spec:
  name: ttl
  vhost: shop
  pattern: ^o
  priority: 2
  applyTo: queues
  definition: {message-ttl: 60000, overflow: drop-head}
---
apiVersion: rabbitmq.com/v1beta1
kind: Permission
spec: {vhost: shop, user: app, permissions: {configure: "", write: ".*", read: ".*"}}
---
apiVersion: v1
kind: Secret
data: {password: c2VjcmV0}
"""


def test_the_resources_of_the_operator_are_read(tmp_path):
    file = tmp_path / "operator.yaml"
    file.write_text(OPERATOR)
    had = definitions.from_file(file, "operator.yaml")
    assert said(had).topology == FROM_TERRAFORM


def test_yaml_that_is_not_the_operators_is_refused(tmp_path):
    file = tmp_path / "topology.yaml"
    file.write_text(yaml.safe_dump({"vhost": "v"}))
    with pytest.raises(TopologyError, match="holds no definitions"):
        definitions.from_file(file, "topology.yaml")


@pytest.mark.parametrize(
    ("topology", "where", "instead"),
    [
        (
            {"queues": {"q": {"arguments": {"x-message-ttl": 60000, "x-max-length": 3}}}},
            "topology.queues.q",
            '{message_ttl: "1m", max_length: 3}',
        ),
        (
            {"queues": {"q": {"arguments": {"x-dead-letter-exchange": "e"}}}},
            "topology.queues.q",
            "{dead_letter: {exchange: e}}",
        ),
        (
            {"exchanges": {"x": {"arguments": {"alternate-exchange": "e"}}}},
            "topology.exchanges.x",
            "alternate: e",
        ),
        (
            {
                "queues": {"q": {}, "p": {}},
                "policies": {"ttl": {"pattern": "^q$", "definition": {"max-length": 1}}},
            },
            "topology.policies.ttl",
            'settings of "q"',
        ),
    ],
)
def test_what_could_be_said_otherwise_is_proposed_with_its_cost(topology, where, instead):
    stack = read({"vhost": "v", "exchanges": {"e": {}}, **topology})
    (proposal,) = proposals.propose("topology", stack.whole["topology"])
    assert proposal.path == where
    assert proposal.instead.startswith(instead)
    assert "replaced" in proposal.cost


@pytest.fixture
def api(monkeypatch):
    def made(answers: dict[str, Any]) -> Management:
        def get(_self: Management, path: str) -> Any:
            if path not in answers:
                raise NotFoundError("http://fake", path)
            return answers[path]

        monkeypatch.setattr(Management, "get", get)
        return Management(endpoint="http://fake", username="u", password="p")

    return made


def test_services_are_proposed_by_who_is_at_work(api):
    by = {"channel_details": {"user": "app"}}
    management = api(
        {
            "/exchanges/v": [
                {"name": "", "message_stats": {"publish_in": 1}},
                {"name": "events", "message_stats": {"publish_in": 9}},
                {"name": "idle"},
                {"name": "gone", "message_stats": {"publish_in": 9}},
            ],
            "/exchanges/v/amq.default": {"incoming": [by]},
            "/exchanges/v/events": {"incoming": [by, {"channel_details": []}]},
            "/consumers/v": [{**by, "queue": {"name": "orders"}}],
        }
    )
    seen = watch.watch(management, ["v"], 0, lambda _text: None)
    title, proposed = watch.proposed(seen)
    assert title == "services of vhost v:"
    assert proposed.startswith("  app: {username: app, exists: true, publishes: [events], ")
    assert proposed.endswith("consumes: [orders], replies: true}")
    service = seen["v", "app"].service("app")
    config = {"vhost": "v", "exchanges": {"events": {}}, "queues": {"orders": {}}}
    read({**config, "services": {"app": service}}).check()


@pytest.mark.parametrize(
    ("value", "having"),
    [({"a": "1"}, False), ({"a": True}, False), ({"a": [{"b": 1}]}, True), ({"a": 1.5}, True)],
)
def test_numbers_are_seen_wherever_they_are(value, having):
    assert numbers.has_number(value) is having


def test_a_binding_with_other_numbers_than_the_provider_writes_is_left_alone(of):
    had = of(SHOP)
    listed = [{**one, numbers.OTHERS: bool(one["arguments"])} for one in SHOP["bindings"]]
    within = {"shop": {**had.within["shop"], "bindings": listed}}
    left = reasons(replace(had, within=within))
    assert "second binding" in left["binding amq.topic -[]-> events"]


def test_adopt_says_what_could_be_shorter(exported):
    answer = run("adopt", str(exported), "--fold")
    assert "message_ttl" in answer.output
    assert "message_ttl" not in (exported.parent / "topology.yaml").read_text()


@pytest.mark.parametrize("watched", ["soon", "10m"])
def test_adopt_watches_brokers_only(exported, watched):
    with pytest.raises(TopologyError, match="--watch"):
        run("adopt", str(exported), "--watch", watched)
    assert not (exported.parent / "topology.yaml").exists()
