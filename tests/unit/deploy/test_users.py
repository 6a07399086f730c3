"""
Users of services, as they go over the wire; and the seed that their passwords come from.
"""

from __future__ import annotations

import json

import pulumi
import pytest

from rabbit_topology import Access, Topology, TopologyArgs, TopologyError, parse_stack
from rabbit_topology.deploy import program as config
from rabbit_topology.services.credentials import derive

USER = "rabbitmq:index/user:User"
PERMISSIONS = "rabbitmq:index/permissions:Permissions"
TOPICS = "rabbitmq:index/topicPermissions:TopicPermissions"
EXCHANGE = "rabbitmq:index/exchange:Exchange"

SEED = "a seed of the tests"
TOPOLOGY = {
    "vhost": "v",
    "exchanges": {"events": {"type": "topic"}, "jobs": {}},
    "queues": {"inbox": {}},
    "services": {
        "gateway": {
            "publishes": ["jobs", {"exchange": "events", "routing_key": "order.*"}],
            "consumes": ["inbox"],
        },
        "worker": {"publishes": ["jobs"]},
        "idle": {},
    },
    "users": {"ops": {"tags": ["monitoring"], "permissions": {"read": ".*"}}, "shut-out": {}},
}


def with_service(name, **changes):
    said = {**TOPOLOGY["services"][name], **changes}
    return {**TOPOLOGY, "services": {**TOPOLOGY["services"], name: said}}


def declared(topology=TOPOLOGY, *, seed=SEED, hosts=("mq",)):
    def program():
        access = Access.connect(endpoint="http://mq:15672", username="u", password="p", hosts=hosts)
        args = TopologyArgs(topology=parse_stack(topology)[0], access=access, seed=seed)
        for name, value in Topology("it", args).outputs.items():
            pulumi.export(name, value)

    return program


@pytest.fixture
def deployed(deploy):
    return deploy(declared())


def password(one, name):
    return one.one(USER, f"it/v/{name}").inputs["password"]


def test_each_service_and_each_user_is_one_user(deployed):
    assert {one.name: one.inputs["name"] for one in deployed.of(USER)} == {
        "it/v/service/gateway": "v.gateway",
        "it/v/service/worker": "v.worker",
        "it/v/service/idle": "v.idle",
        "it/v/user/ops": "ops",
        "it/v/user/shut-out": "shut-out",
    }


def test_services_on_the_default_vhost_have_their_own_name_and_may_be_given_another(deploy):
    one = deploy(declared({**with_service("worker", username="old.name"), "vhost": "/"}))
    assert one.one(USER, "it///service/gateway").inputs["name"] == "gateway"
    assert one.one(USER, "it///service/worker").inputs["name"] == "old.name"


def test_passwords_are_derived_and_secret_on_the_wire(deployed):
    assert password(deployed, "service/gateway") == derive(SEED, "test", "v.gateway", 1)
    assert password(deployed, "user/ops") == derive(SEED, "test", "ops", 1)
    assert {one.secrets for one in deployed.of(USER)} == {frozenset({"password"})}


def test_a_seed_may_be_an_output(deploy):
    one = deploy(declared(seed=pulumi.Output.secret(SEED)))
    assert password(one, "service/gateway") == derive(SEED, "test", "v.gateway", 1)


def test_rotation_gives_one_service_another_password_and_no_other(deploy, deployed):
    one = deploy(declared(with_service("gateway", rotation=2)))
    assert password(one, "service/gateway") == derive(SEED, "test", "v.gateway", 2)
    assert password(one, "service/gateway") != password(deployed, "service/gateway")
    for name in ("service/worker", "service/idle", "user/ops"):
        assert password(one, name) == password(deployed, name)


def test_a_password_of_its_own_is_used_as_it_is_and_needs_no_seed(deploy):
    services = {"gateway": {"password": "own/p@ss"}}
    one = deploy(declared({**TOPOLOGY, "services": services, "users": {}}, seed=None))
    assert password(one, "service/gateway") == "own/p@ss"
    assert one.of(USER)[0].secrets == {"password"}
    assert one.exports["service_urls"] == {"gateway": "amqp://v.gateway:own%2Fp%40ss@mq:5672/v"}


@pytest.mark.parametrize(
    ("seed", "words"), [(None, "set TopologyArgs.seed"), ("too short", "16 characters")]
)
def test_without_a_good_seed_there_is_no_password_that_could_be_guessed(deploy, seed, words):
    with pytest.raises(TopologyError, match=words) as caught:
        deploy(declared(seed=seed))
    assert "too short" not in str(caught.value)


def test_permissions_on_the_wire(deployed):
    result = {one.inputs["user"]: one.inputs for one in deployed.of(PERMISSIONS)}
    assert result["v.gateway"] == {
        "user": "v.gateway",
        "vhost": "v",
        "permissions": {"configure": "^$", "write": "^(events|jobs)$", "read": "^(inbox)$"},
    }
    # A service without anything may open the vhost, a user by hand only if it says so.
    assert set(result["v.idle"]["permissions"].values()) == {"^$"}
    assert result["ops"]["permissions"]["read"] == ".*"
    assert "shut-out" not in result


def test_limits_of_routing_keys_come_before_the_permission_to_publish(deployed):
    limits = deployed.one(TOPICS, "it/v/service/gateway").urn
    assert limits in deployed.one(PERMISSIONS, "it/v/service/gateway").dependencies
    assert limits not in deployed.one(PERMISSIONS, "it/v/service/worker").dependencies


def test_a_user_that_exists_needs_no_password(deploy):
    users = {"ops": {"exists": True, "permissions": {"read": ".*"}}}
    item = deploy(declared({"vhost": "v", "users": users}, seed=None))
    assert [one.type for one in item.registrations if one.name == "it/v/user/ops"] == [PERMISSIONS]


def test_topic_permissions_are_made_where_there_are_some_and_follow_their_exchange(deployed):
    # The provider fails on an empty list.
    (only,) = deployed.of(TOPICS)
    assert only.name == "it/v/service/gateway"
    assert only.inputs["permissions"] == [
        {"exchange": "events", "write": r"^(order\.[^.]*)\z", "read": "^$"}
    ]
    assert deployed.one(EXCHANGE, "it/v/events").urn in only.dependencies
    assert only.delete_before_replace


def test_service_urls_are_secret_and_one_per_host(deploy, deployed):
    secret = derive(SEED, "test", "v.gateway", 1)
    assert deployed.exports["service_urls"]["gateway"] == f"amqp://v.gateway:{secret}@mq:5672/v"
    assert set(deployed.exports["service_urls"]) == {"gateway", "worker", "idle"}
    assert "service_urls" in deployed.secret_exports
    one = deploy(declared(hosts=("a", "b:1")))
    assert one.exports["service_urls"]["gateway"] == [
        f"amqp://v.gateway:{secret}@a:5672/v",
        f"amqp://v.gateway:{secret}@b:1/v",
    ]


def refused(deploy, **settings):
    """Return the error of reading a config with these keys, the topology among them."""
    seen = []

    def program():
        with pytest.raises(pulumi.RunError) as caught:
            config.load()
        seen.append(str(caught.value))

    wire = {
        "rabbitmq:endpoint": "http://mq:15672",
        "rabbitmq:username": "u",
        "rabbitmq:password": "p",
        "rabbit-topology:topology": json.dumps(TOPOLOGY),
        **{f"rabbit-topology:{key}": value for key, value in settings.items()},
    }
    deploy(program, config=wire, secrets=("rabbit-topology:seed",))
    return seen[0]


def test_a_missing_seed_names_what_needs_it(deploy):
    topology = {**with_service("worker", password="own"), "users": {"ops": {"permissions": {}}}}
    text = refused(deploy, topology=json.dumps(topology))
    assert "1 problem in the config" in text
    assert "topology.services.gateway, topology.services.idle, topology.users.ops are" in text
    assert "services.worker" not in text
    assert "pulumi config set --secret rabbit-topology:seed $(openssl rand -hex 32)" in text
    # Where they are many, the first and how many more.
    text = refused(deploy)
    assert "topology.services.idle and 2 more are derived from it" in text


def test_a_missing_seed_names_those_of_every_vhost_and_none_that_exist(deploy):
    users = {"ops": {"exists": True, "permissions": {}}}
    vhosts = {"v": {"services": {"s": {}}}, "w": {"services": {"t": {}}, "users": users}}
    text = refused(deploy, topology=json.dumps({"vhosts": vhosts}))
    assert "topology.vhosts.v.services.s" in text
    assert "topology.vhosts.w.services.t" in text
    assert "ops" not in text


def test_a_short_seed_is_refused_and_not_shown(deploy):
    text = refused(deploy, seed="hunter2hunter2h")
    assert "seed: [not shown]: a seed has 16 characters or more" in text
    assert "hunter2" not in text


def test_a_seed_is_not_shown_with_other_problems_either(deploy):
    text = refused(deploy, seed="hunter2hunter2hunter2", topology='{"vhost": 1}')
    assert "topology.vhost" in text
    assert "hunter2" not in text


def test_no_seed_is_needed_where_nothing_is_derived(deploy):
    loaded = []
    wire = {
        "rabbitmq:endpoint": "http://mq:15672",
        "rabbitmq:username": "u",
        "rabbitmq:password": "p",
        "rabbit-topology:topology": '{"vhost": "v"}',
    }
    deploy(lambda: loaded.append(config.load()), config=wire)
    assert loaded[0][1].seed is None
