from __future__ import annotations

import json

import pulumi
import pulumi_rabbitmq as rabbitmq
import pytest

from rabbit_topology import Access, Topology, TopologyArgs, parse_stack

VHOST = "rabbitmq:index/vHost:VHost"
EXCHANGE = "rabbitmq:index/exchange:Exchange"
QUEUE = "rabbitmq:index/queue:Queue"
BINDING = "rabbitmq:index/binding:Binding"
COMPONENT = "rabbit_topology:index:Topology"

EVERYTHING = {
    "vhost": "v",
    "exchanges": {
        "d": {},
        "t": {"type": "topic", "durable": False, "auto_delete": True},
        "later": {"type": "x-delayed-message", "arguments": {"x-delayed-type": "direct"}},
    },
    "queues": {
        "quorum": {},
        "classic": {"type": "classic", "durable": False, "arguments": {"x-max-priority": 5}},
        "stream": {"type": "stream"},
    },
    "bindings": [
        {"source": "d", "queue": "quorum", "routing_keys": ["a", "b"]},
        {"source": "d", "exchange": "t", "routing_key": "x"},
        {"source": "amq.headers", "queue": "stream", "arguments": {"x-match": "all", "n": 1}},
    ],
}


def args(topology, *, hosts=("mq",), tls=False, username="u", password="p@ss"):
    access = Access.connect(
        endpoint="http://mq:15672", username=username, password=password, hosts=hosts, tls=tls
    )
    return TopologyArgs(topology=parse_stack(topology)[0], access=access)


@pytest.fixture
def everything(deploy):
    return deploy(lambda: _export(Topology("it", args(EVERYTHING))))


def _export(topology):
    for name, value in topology.outputs.items():
        pulumi.export(name, value)


def test_counts(everything):
    assert len(everything.registrations) == 1 + 1 + 3 + 3 + 4


def test_every_child_has_the_component_as_parent_and_a_name_from_config_keys(everything):
    (component,) = everything.of(COMPONENT)
    children = [
        registration for registration in everything.registrations if registration is not component
    ]
    assert {child.parent for child in children} == {component.urn}
    assert {child.name for child in children} >= {
        "it/v",
        "it/v/d",
        "it/v/quorum",
        "it/v/d/queue/quorum/a",
        "it/v/d/queue/quorum/b",
        "it/v/d/exchange/t/x",
    }


def test_exchanges_on_the_wire(everything):
    assert everything.one(EXCHANGE, "it/v/d").inputs == {
        "name": "d",
        "vhost": "v",
        "settings": {"type": "direct", "durable": True, "autoDelete": False},
    }
    assert everything.one(EXCHANGE, "it/v/t").inputs["settings"] == {
        "type": "topic",
        "durable": False,
        "autoDelete": True,
    }
    assert everything.one(EXCHANGE, "it/v/later").inputs["settings"] == {
        "type": "x-delayed-message",
        "durable": True,
        "autoDelete": False,
        "arguments": {"x-delayed-type": "direct"},
    }


@pytest.mark.parametrize(
    ("name", "durable", "arguments"),
    [
        ("quorum", True, {"x-queue-type": "quorum"}),
        ("classic", False, {"x-queue-type": "classic", "x-max-priority": 5}),
        ("stream", True, {"x-queue-type": "stream"}),
    ],
)
def test_queues_on_the_wire_always_have_durable_and_a_type(everything, name, durable, arguments):
    inputs = everything.one(QUEUE, f"it/v/{name}").inputs
    assert (inputs["name"], inputs["vhost"]) == (name, "v")
    assert inputs["settings"]["durable"] is durable
    sent = inputs["settings"]
    if all(isinstance(argument, str) for argument in arguments.values()):
        assert sent["arguments"] == arguments  # as the provider reads those of others back
        assert "argumentsJson" not in sent
    else:
        assert json.loads(sent["argumentsJson"]) == arguments
        assert "arguments" not in sent


@pytest.mark.parametrize("key", ["%", "#", "__defaults", "__x"])
def test_arguments_that_the_provider_would_lose_are_sent_as_json(deploy, key):
    binding = {"source": "amq.headers", "queue": "q", "arguments": {"x-match": "any", key: "v"}}
    topology = {"vhost": "v", "queues": {"q": {}}, "bindings": [binding]}
    (made,) = deploy(lambda: Topology("it", args(topology))).of(BINDING)
    assert json.loads(made.inputs["argumentsJson"]) == {"x-match": "any", key: "v"}
    assert "arguments" not in made.inputs


def test_bindings_on_the_wire(everything):
    assert everything.one(BINDING, "it/v/d/exchange/t/x").inputs == {
        "source": "d",
        "destination": "t",
        "destinationType": "exchange",
        "vhost": "v",
        "routingKey": "x",
    }
    (headers,) = (one for one in everything.of(BINDING) if one.inputs["source"] == "amq.headers")
    assert json.loads(headers.inputs["argumentsJson"]) == {"x-match": "all", "n": 1}
    assert headers.inputs["routingKey"] == ""


def test_a_binding_depends_on_both_its_ends(everything):
    binding = everything.one(BINDING, "it/v/d/queue/quorum/a")
    assert set(binding.dependencies) == {
        everything.one(VHOST, "it/v").urn,
        everything.one(EXCHANGE, "it/v/d").urn,
        everything.one(QUEUE, "it/v/quorum").urn,
    }
    assert binding.delete_before_replace


def test_a_policy_is_written_after_all_that_it_may_be_for(deploy):
    """A broker may not apply it to a queue that it declares meanwhile."""
    topology = {
        "vhost": "v",
        "exchanges": {"e": {"alternate": "rest"}, "rest": {"type": "fanout"}},
        "queues": {"q1": {"message_ttl": 1000}, "q2": {"message_ttl": 1000}, "other": {}},
        "policies": {
            "both": {"pattern": "^.", "priority": 1, "definition": {"max-length": 5}},
            "queues": {
                "pattern": "^q",
                "apply_to": "queues",
                "priority": 2,
                "definition": {"max-length": 5},
            },
        },
        "operator_policies": {
            "limit": {"pattern": "^q1$", "apply_to": "queues", "definition": {"max-length": 5}}
        },
    }
    made = deploy(lambda: Topology("it", args(topology)))
    vhost = made.one(VHOST, "it/v").urn
    urns = {
        name: made.one(kind, f"it/v/{name}").urn
        for kind, names in ((QUEUE, ("q1", "q2", "other")), (EXCHANGE, ("e", "rest")))
        for name in names
    }
    after = {
        one.name.removeprefix("it/v/"): {
            name for name, urn in urns.items() if urn in one.dependencies
        }
        for kind in ("policy:Policy", "operatorPolicy:OperatorPolicy")
        for one in made.of(f"rabbitmq:index/{kind}")
        if vhost in one.dependencies
    }
    assert after == {
        "both": {"q1", "q2", "other", "e", "rest"},
        "queues": {"q1", "q2"},
        "limit": {"q1"},
        "rabbit-topology-queues.q1": {"q1", "q2"},
        "rabbit-topology-exchanges.e": {"e"},
    }


def test_the_default_vhost_is_not_a_resource_since_destroy_would_delete_it(deploy):
    item = deploy(lambda: _export(Topology("it", args({**EVERYTHING, "vhost": "/"}))))
    assert not [one for one in item.registrations if one.type == VHOST]
    assert item.exports["vhost"] == "/"
    assert item.of(QUEUE)[0].inputs["vhost"] == "/"
    assert item.exports["connection_url"] == "amqp://u:p%40ss@mq:5672/%2F"


def test_a_vhost_that_exists_is_not_a_resource_and_what_is_in_it_is(deploy):
    topology = {**EVERYTHING, "vhost_settings": {"exists": True}}
    item = deploy(lambda: _export(Topology("it", args(topology))))
    assert not [one for one in item.registrations if one.type == VHOST]
    assert item.of(QUEUE)[0].inputs["vhost"] == "v"


def test_a_queue_without_a_type_is_declared_without_one(deploy):
    queues = {
        "bare": {"type": "classic", "typed": False},
        "limited": {"type": "classic", "typed": False, "arguments": {"x-max-length": 5}},
    }
    item = deploy(lambda: _export(Topology("it", args({"vhost": "v", "queues": queues}))))
    sent = {one.inputs["name"]: one.inputs["settings"] for one in item.of(QUEUE)}
    assert sent["bare"] == {"durable": True, "autoDelete": False}
    assert sent["limited"]["argumentsJson"] == '{"x-max-length":5}'


def test_outputs(everything):
    assert everything.exports["vhost"] == "v"
    assert everything.exports["exchange_urls"] == dict.fromkeys(
        ["d", "t", "later"], "amqp://mq:5672/v"
    )
    assert everything.exports["queue_urls"]["stream"] == "amqp://mq:5672/v"
    assert everything.exports["connection_url"] == "amqp://u:p%40ss@mq:5672/v"
    assert everything.exports["addresses"] == {
        "exchanges": {
            "d": {"address": "/exchanges/d", "routing_keys": ["a", "b", "x"]},
            "t": {"address": "/exchanges/t", "routing_keys": []},
            "later": {"address": "/exchanges/later", "routing_keys": []},
        },
        "queues": {
            "quorum": {"address": "/queues/quorum"},
            "classic": {"address": "/queues/classic"},
            "stream": {"address": "/queues/stream"},
        },
    }


def test_only_the_url_with_credentials_is_secret(everything):
    assert everything.secret_exports == {"connection_url"}


def test_several_hosts_are_lists_and_tls_is_amqps(deploy):
    hosts = ("a", "[::1]:99")
    one = deploy(lambda: _export(Topology("it", args(EVERYTHING, hosts=hosts, tls=True))))
    assert one.exports["queue_urls"]["quorum"] == ["amqps://a:5671/v", "amqps://[::1]:99/v"]
    assert one.exports["connection_url"] == [
        "amqps://u:p%40ss@a:5671/v",
        "amqps://u:p%40ss@[::1]:99/v",
    ]


def test_credentials_may_be_outputs(deploy):
    secret = pulumi.Output.secret
    one = deploy(
        lambda: _export(
            Topology("it", args(EVERYTHING, username=secret("me"), password=secret("x/y")))
        )
    )
    assert one.exports["connection_url"] == "amqp://me:x%2Fy@mq:5672/v"


def test_protect_and_provider_reach_the_children_and_two_instances_live_side_by_side(deploy):
    def program():
        provider = rabbitmq.Provider("other", endpoint="http://o", username="u", password="p")
        options = pulumi.ResourceOptions(protect=True, providers=[provider])
        Topology("one", args(EVERYTHING), options)
        Topology("two", args(EVERYTHING))

    item = deploy(program)
    one = [each for each in item.of(QUEUE) if each.name.startswith("one/")]
    two = [each for each in item.of(QUEUE) if each.name.startswith("two/")]
    assert len(one) == len(two) == 3
    assert all(each.protect and "other" in each.provider for each in one)
    assert not any(each.protect or "other" in each.provider for each in two)


TWO = {
    "vhosts": {
        "a": {
            "queues": {"q": {}},
            "services": {"worker": {"consumes": ["q"], "password": "hidden-a"}},
            "users": {"ops": {"password": "hidden-ops", "permissions": {"read": ".*"}}},
        },
        "b": {"queues": {"q": {}}, "users": {"ops": {"exists": True, "permissions": {}}}},
    }
}


def test_several_vhosts_are_one_component_with_one_set_of_hooks(deploy):
    one = deploy(lambda: _export(Topology("it", args(TWO))))
    (component,) = one.of(COMPONENT)
    assert {q.name for q in one.of(QUEUE)} == {"it/a/q", "it/b/q"}
    assert {q.parent for q in one.of(QUEUE)} == {component.urn}
    assert len({str(q.hooks) for q in one.of(QUEUE)}) == 1
    assert set(one.exports["vhosts"]) == {"a", "b"}
    assert one.exports["vhosts"]["b"]["queue_urls"] == {"q": "amqp://mq:5672/b"}
    assert one.exports["vhosts"]["a"]["service_urls"] == {
        "worker": "amqp://a.worker:hidden-a@mq:5672/a"
    }


def test_a_user_that_exists_gets_permissions_after_it_was_made(deploy):
    one = deploy(lambda: _export(Topology("it", args(TWO))))
    users = {user.inputs["name"]: user for user in one.of("rabbitmq:index/user:User")}
    assert set(users) == {"a.worker", "ops"}
    second = one.one("rabbitmq:index/permissions:Permissions", "it/b/user/ops")
    assert second.inputs["user"] == "ops"
    assert users["ops"].urn in second.dependencies


def test_one_vhost_has_the_same_names_in_the_long_form(deploy):
    short = {"vhost": "a", **TWO["vhosts"]["a"]}
    first = deploy(lambda: _export(Topology("it", args(short))))
    second = deploy(lambda: _export(Topology("it", args({"vhosts": {"a": TWO["vhosts"]["a"]}}))))
    assert {registration.urn: registration.hooks for registration in first.registrations} == {
        registration.urn: registration.hooks for registration in second.registrations
    }


def test_access_may_be_an_output_of_another_resource(deploy):
    def program():
        password = pulumi.Output.secret("later")
        access = password.apply(
            lambda item: Access.connect(endpoint="http://mq:15672", username="u", password=item)
        )
        topology = parse_stack(EVERYTHING)[0]
        _export(Topology("it", TopologyArgs(topology=topology, access=access)))

    one = deploy(program)
    assert one.exports["connection_url"] == "amqp://u:later@mq:5672/v"
    assert "connection_url" in one.secret_exports


def test_vhost_settings_on_the_wire(deploy):
    settings = {
        "description": "orders of all shops",
        "default_queue_type": "quorum",
        "tracing": False,
        "limits": {"max_connections": 100, "max_queues": -1},
    }
    topology = {"vhost": "v", "vhost_settings": settings}
    one = deploy(lambda: _export(Topology("it", args(topology))))
    # Limits as text: what is no number would silently become 0, which blocks every connection.
    assert one.one(VHOST, "it/v").inputs == {
        "name": "v",
        "description": "orders of all shops",
        "defaultQueueType": "quorum",
        "tracing": False,
        "maxConnections": "100",
        "maxQueues": "-1",
    }


def test_a_vhost_without_settings_sends_none(deploy):
    one = deploy(lambda: _export(Topology("it", args({"vhost": "v"}))))
    assert one.one(VHOST, "it/v").inputs == {"name": "v"}
