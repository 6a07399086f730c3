"""
The model: its words, defaults and limits are what configs and brokers have of it.
"""

from __future__ import annotations

import json

import pytest
from pydantic import TypeAdapter, ValidationError

from rabbit_topology import model
from rabbit_topology.model import Binding, Exchange, Queue, Topology, units


def made(shape, **said):
    """Return a model as a config makes it: by way of JSON."""
    return shape.model_validate_json(json.dumps(said))


def refused(shape, **said):
    """Return the place and the kind of the one thing that is wrong."""
    with pytest.raises(ValidationError) as caught:
        made(shape, **said)
    (detail,) = caught.value.errors()
    return ".".join(map(str, detail["loc"])), detail["type"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (model.OnDelete, "refuse discard retain"),
        (model.VhostOnDelete, "refuse retain"),
        (model.QueueType, "classic quorum stream"),
        (model.OnRefusal, "warn error"),
        (model.PublishedByName, "refuse accept"),
        (model.LinkQueues, "refuse accept"),
        (model.Overflow, "drop-head reject-publish reject-publish-dlx"),
        (model.DeadLetterStrategy, "at-most-once at-least-once"),
        (model.LeaderLocator, "client-local balanced"),
        (model.AckMode, "on-confirm on-publish no-ack"),
        (model.Protocol, "amqp091 amqp10 local"),
        (model.DroppedWhen, "never always"),
        (model.Reason, "rejected expired delivery_limit maxlen"),
    ],
)
def test_the_words_that_a_config_has_for_it(kind, words):
    assert [member.value for member in kind] == words.split()


def test_names_that_are_the_brokers():
    assert model.BUILT_IN_EXCHANGE_TYPES == ("direct", "fanout", "topic", "headers")
    assert {f"amq.{kind}" for kind in (*model.BUILT_IN_EXCHANGE_TYPES, "match")} == set(
        model.PREDECLARED_EXCHANGES
    )
    assert (model.DEFAULT_VHOST, model.TYPE_ARGUMENT) == ("/", "x-queue-type")
    assert frozenset({"password", "uri", "source_uri", "destination_uri"}) == model.SECRETS
    assert model.MAX_NAME_BYTES == 255


DEFAULTS = {
    model.DeadLetter: {"exchange": None, "routing_key": None, "strategy": None},
    Exchange: {
        "type": "direct",
        "durable": True,
        "auto_delete": False,
        "alternate": None,
        "unroutable": False,
        "delays": (),
        "renamed_from": None,
        "arguments": {},
    },
    Queue: {
        **dict.fromkeys(Queue.model_fields),
        "type": "quorum",
        "typed": True,
        "durable": True,
        "auto_delete": False,
        "on_delete": "refuse",
        "single_active_consumer": False,
        "arguments": {},
    },
    model.Service: {
        "publishes": (),
        "consumes": (),
        "replies": False,
        "declares": (),
        "binds": (),
        "username": None,
        "exists": False,
        "password": None,
        "rotation": 1,
        "rotates": "password",
    },
    model.Permissions: {"configure": "^$", "write": "^$", "read": "^$"},
    model.TopicPermissions: {"write": "^$", "read": "^$"},
    model.User: {
        "password": None,
        "rotation": 1,
        "exists": False,
        "tags": (),
        "permissions": None,
        "topic_permissions": {},
    },
    model.VhostLimits: {"max_connections": None, "max_queues": None},
    model.VhostSettings: {
        "exists": False,
        "description": None,
        "default_queue_type": None,
        "tracing": None,
        "limits": {"max_connections": None, "max_queues": None},
        "on_delete": "refuse",
    },
    model.Broker: {"version": None, "hosts": (), "tls": None},
    model.SafetySettings: {
        "preview": "warn",
        "published_by_name": "refuse",
        "link_queues": "refuse",
        "take_over": (),
    },
    model.LintSettings: {"ignore": ()},
    model.Expectation: {
        **dict.fromkeys(model.Expectation.model_fields),
        **dict.fromkeys(["reaches", "misses", "ends_in"], ()),
        "when": "rejected",
    },
    model.Expectations: {"expect": ()},
}


@pytest.mark.parametrize("shape", DEFAULTS)
def test_what_is_not_said_is_the_default(shape):
    assert made(shape).model_dump() == DEFAULTS[shape]


@pytest.mark.parametrize(
    ("shape", "needed"),
    [
        (model.Policy, {"pattern": "^q", "definition": {}}),
        (model.Publish, {"exchange": "e"}),
        (model.Shovel, {"source_uri": "a", "destination_uri": "b"}),
        (model.FederationUpstream, {"uri": "a"}),
        (model.SuperStream, {"partitions": 3}),
        (model.Retry, {"delays": [1]}),
        (Binding, {"source": "e"}),
        (Topology, {"vhost": "v"}),
        (model.TakeOver, {"object": "user app", "reason": "ours"}),
        (model.Ignore, {"rule": "r", "path": "p", "reason": "so"}),
        (model.ExpectedMessage, {"exchange": ""}),
    ],
)
def test_what_has_to_be_said_and_no_more(shape, needed):
    whole = made(shape, **needed)
    assert whole.model_dump(exclude_unset=True, mode="json") == needed
    rest = whole.model_dump(exclude=set(needed)).items()
    known = {"apply_to": "all", "priority": 0, "on_delete": "refuse", "routing_key": ""}
    for name, value in rest:
        assert not value or value == known.get(name) or name == "vhost_settings", (name, value)
    for name in needed:
        less = {key: value for key, value in needed.items() if key != name}
        assert refused(shape, **less) == (name, "missing")


def test_what_a_policy_applies_to_where_nothing_is_said():
    policy = made(model.Policy, pattern="^q", definition={})
    assert (policy.apply_to, policy.priority) == ("all", 0)
    assert made(model.ExpectedMessage, exchange="e").routing_key == ""
    assert made(model.SuperStream, partitions=1).on_delete == "refuse"


@pytest.mark.parametrize(
    ("shape", "needed", "key", "least", "most"),
    [
        (Queue, {}, "max_length", 0, None),
        (Queue, {}, "max_length_bytes", 0, None),
        (Queue, {}, "message_ttl", 0, None),
        (Queue, {}, "delivery_limit", -1, None),
        (Queue, {}, "max_priority", 1, 255),
        (Queue, {}, "initial_cluster_size", 1, None),
        (Queue, {}, "filter_size", 16, 255),
        (model.Service, {}, "rotation", 1, None),
        (model.User, {}, "rotation", 1, None),
        (model.SuperStream, {}, "partitions", 1, None),
        (model.VhostLimits, {}, "max_connections", -1, None),
        (model.VhostLimits, {}, "max_queues", -1, None),
    ],
)
def test_a_number_has_its_limits(shape, needed, key, least, most):
    assert getattr(made(shape, **needed, **{key: least}), key) == least
    assert refused(shape, **needed, **{key: least - 1}) == (key, "greater_than_equal")
    if most is None:
        assert getattr(made(shape, **needed, **{key: 10**6}), key) == 10**6
    else:
        assert getattr(made(shape, **needed, **{key: most}), key) == most
        assert refused(shape, **needed, **{key: most + 1}) == (key, "less_than_equal")


@pytest.mark.parametrize(
    ("shape", "said", "where"),
    [
        (model.Ignore, {"rule": "r", "path": "p", "reason": ""}, "reason"),
        (model.TakeOver, {"object": "", "reason": "r"}, "object"),
        (model.TakeOver, {"object": "o", "reason": ""}, "reason"),
    ],
)
def test_a_reason_is_not_empty(shape, said, where):
    assert refused(shape, **said) == (where, "string_too_short")
    assert made(shape, **{**said, where: "x"})


def test_a_ladder_has_a_rung():
    assert refused(model.Retry, delays=[]) == ("delays", "too_short")


@pytest.mark.parametrize("after", ["never", "queue-length", "1", "100"])
def test_when_a_shovel_ends(after):
    ends = {"source_uri": "a", "destination_uri": "b"}
    assert made(model.Shovel, **ends, source_delete_after=after).source_delete_after == after
    for wrong in (f"x{after}", f"{after}x", ""):
        problem = refused(model.Shovel, **ends, source_delete_after=wrong)
        assert problem == ("source_delete_after", "string_pattern_mismatch")


def test_a_model_does_not_change_and_takes_nothing_for_something_else():
    with pytest.raises(ValidationError):
        Queue().durable = False
    assert refused(Queue, durabel=True) == ("durabel", "extra_forbidden")
    assert refused(Queue, durable="true") == ("durable", "bool_type")
    assert refused(Queue, max_length="1") == ("max_length", "int_type")
    assert refused(Exchange, type=5) == ("type", "string_type")
    assert refused(Exchange, arguments={"a": 1}) == ("arguments.a", "string_type")


def test_each_setting_says_what_it_is():
    assert Queue.model_fields["max_length"].description.startswith("Ready messages at most.")


@pytest.mark.parametrize("kind", ["exchanges", "queues", "services", "users"])
def test_nothing_behind_a_name_is_all_defaults(kind):
    assert made(Topology, vhost="v", **{kind: {"x": None}}) == made(
        Topology, vhost="v", **{kind: {"x": {}}}
    )


def test_yes_and_no_to_dead_letters():
    assert made(Queue, dead_letter=True).dead_letter == model.DeadLetter()
    assert made(Queue, dead_letter=False).dead_letter is None
    assert made(Queue, dead_letter={"exchange": "e"}).dead_letter.exchange == "e"


def test_a_service_publishes_to_a_name_or_more():
    (one, other) = made(model.Service, publishes=["a", {"exchange": "b"}]).publishes
    assert (one, other) == (model.Publish(exchange="a"), model.Publish(exchange="b"))


def test_each_setting_of_a_queue_is_one_of_its_policy_or_an_argument():
    queue = made(
        Queue,
        max_length=1,
        max_length_bytes="1kB",
        overflow="reject-publish",
        message_ttl="1s",
        expires="1m",
        delivery_limit=-1,
        dead_letter={"exchange": "e", "routing_key": "k", "strategy": "at-least-once"},
        consumer_timeout="1h",
        max_age="90s",
        max_priority=2,
        single_active_consumer=True,
        initial_cluster_size=3,
        leader_locator="balanced",
        segment_size="2MB",
        filter_size=32,
        arguments={"x-more": [1]},
    )
    assert queue.settings() == {
        "max-length": 1,
        "max-length-bytes": 1000,
        "overflow": "reject-publish",
        "message-ttl": 1000,
        "expires": 60_000,
        "delivery-limit": -1,
        "dead-letter-exchange": "e",
        "dead-letter-routing-key": "k",
        "dead-letter-strategy": "at-least-once",
        "consumer-timeout": 3_600_000,
        "max-age": "90s",
    }
    own = {
        "x-max-priority": 2,
        "x-single-active-consumer": True,
        "x-quorum-initial-group-size": 3,
        "x-queue-leader-locator": "balanced",
        "x-stream-max-segment-size-bytes": 2_000_000,
        "x-stream-filter-size-bytes": 32,
    }
    assert queue.own_arguments() == own
    assert queue.declaration() == {
        "durable": True,
        "auto_delete": False,
        "arguments": {"x-queue-type": "quorum", **own, "x-more": [1]},
    }
    stream = made(Queue, type="stream", initial_cluster_size=3)
    assert stream.own_arguments() == {"x-initial-cluster-size": 3}
    bare = made(Queue, type="classic", typed=False, durable=False, auto_delete=True)
    assert bare.declaration() == {"durable": False, "auto_delete": True, "arguments": {}}
    assert Queue().settings() == Queue().own_arguments() == {}
    assert made(Queue, max_length=0, max_age=0).settings() == {"max-length": 0, "max-age": "0s"}


def test_an_exchange_is_declared_with_all_but_its_alternate():
    exchange = made(
        Exchange, type="x-y", durable=False, auto_delete=True, alternate="a", arguments={"k": "v"}
    )
    assert exchange.settings() == {"alternate-exchange": "a"}
    assert exchange.declaration() == {
        "type": "x-y",
        "durable": False,
        "auto_delete": True,
        "arguments": {"k": "v"},
    }
    assert Exchange().settings() == {}
    assert made(Exchange, alternate="").settings() == {"alternate-exchange": ""}


def test_a_binding_is_a_route_for_each_of_its_keys():
    def routes(**said):
        whole = made(Topology, vhost="v", bindings=[{"source": "e", **said}])
        return [
            (route.source, route.kind, route.destination, route.routing_key, route.arguments)
            for route in whole.routes()
        ]

    assert routes(queue="q") == [("e", "queue", "q", "", {})]
    assert routes(exchange="x", routing_key="k") == [("e", "exchange", "x", "k", {})]
    assert routes(queue="q", routing_keys=["a", "b"], arguments={"n": 1}) == [
        ("e", "queue", "q", "a", {"n": 1}),
        ("e", "queue", "q", "b", {"n": 1}),
    ]
    assert routes(queue="q", routing_keys=[]) == []
    assert routes() == [("e", "exchange", "", "", {})]


def test_all_keys_that_a_service_publishes_with():
    assert made(model.Publish, exchange="e").keys() == ()
    assert made(model.Publish, exchange="e", routing_key="").keys() == ("",)
    assert made(model.Publish, exchange="e", routing_keys=["a", "b"]).keys() == ("a", "b")


@pytest.mark.parametrize(
    ("vhost", "exists", "makes"),
    [("v", False, True), ("v", True, False), ("/", False, False), ("/", True, False)],
)
def test_the_default_vhost_and_those_that_exist_are_not_made(vhost, exists, makes):
    topology = made(Topology, vhost=vhost, vhost_settings={"exists": exists})
    assert topology.makes_vhost is makes


@pytest.mark.parametrize(
    ("kind", "pattern", "words"),
    [
        (
            units.Duration,
            "^([0-9]+(ms|s|m|h|d))+$",
            "milliseconds, or text such as 30s or 1h30m",
        ),
        (
            units.Size,
            "^([0-9]+(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB))+$",
            "bytes, or text such as 500MB or 2GiB",
        ),
    ],
)
def test_an_editor_is_told_what_durations_and_sizes_are(kind, pattern, words):
    assert TypeAdapter(kind).json_schema() == {
        "anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": pattern},
        ],
        "description": words,
    }
