"""
AsyncAPI documents: valid by the published schema, complete, and without secrets.
"""

from __future__ import annotations

import json
from functools import cache

import jsonschema
import pytest

from rabbit_topology.describe import asyncapi
from rabbit_topology.errors import TopologyError
from rabbit_topology.model import Broker
from tests.support.asyncapi.prune import TARGET
from tests.support.pictures import examples, many, network


@cache
def validator():
    schema = json.loads(TARGET.read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def document(service=None, broker=None, **topology):
    made = asyncapi.document(network(**topology), broker or Broker(), service)
    check(made)
    return made


def check(made):
    """Check that a document is valid, and that each of its references leads somewhere."""
    validator().validate(json.loads(json.dumps(made)))
    for operation in made["operations"].values():
        name = operation["channel"]["$ref"].removeprefix("#/channels/")
        assert name in made["channels"]


@pytest.mark.parametrize(
    ("stack", "one"),
    [pytest.param(stack, one, id=f"{stem} {one.vhost}") for stem, stack, one in examples()],
)
def test_every_example_and_each_of_its_services_is_valid(stack, one):
    services = one.context.written.services
    whole = asyncapi.document(one, stack.broker)
    check(whole)
    for service in services:
        own = asyncapi.document(one, stack.broker, service)
        check(own)
        assert own["operations"].items() <= whole["operations"].items()
        assert own["channels"].items() <= whole["channels"].items()


@pytest.mark.parametrize(
    "wrong",
    [
        {"is": "nothing", "bindingVersion": "0.3.0"},
        {"is": "queue", "bindingVersion": "0.3.0", "arguments": {}},
        {"is": "routingKey", "exchange": {"type": "x-random"}, "bindingVersion": "0.3.0"},
        {"is": "queue", "bindingVersion": "0.4.0"},
    ],
)
def test_the_schema_refuses_what_the_bindings_do_not_know(wrong):
    made = document(queues={"q": {}})
    made["channels"]["queue.q"]["bindings"]["amqp"] = wrong
    with pytest.raises(jsonschema.ValidationError):
        check(made)


def test_a_service_has_what_it_does_and_nothing_else():
    made = document(
        "billing",
        exchanges={"events": {"type": "topic"}, "others": {}},
        queues={"billing": {}, "others": {}},
        services={
            "billing": {
                "publishes": [{"exchange": "events", "routing_keys": ["invoice.#", "x"]}],
                "consumes": ["billing"],
                "replies": True,
            },
            "shop": {"publishes": ["others"]},
        },
    )
    assert set(made["channels"]) == {"exchange.events", "queue.billing"}
    send, receive = made["operations"].values()
    assert (send["action"], receive["action"]) == ("send", "receive")
    assert send["x-rabbit-topology"]["routingKeys"] == ["invoice.#", "x"]
    assert "reply" not in send
    assert receive["reply"]["address"]["location"] == "$message.header#/replyTo"
    assert made["info"]["x-rabbit-topology"]["user"] == "v.billing"


def test_what_the_bindings_cannot_say_is_an_extension():
    made = document(
        exchanges={
            "e": {"type": "topic", "alternate": "h"},
            "h": {"type": "x-consistent-hash", "arguments": {"hash-header": "id"}},
        },
        queues={"q": {"dead_letter": True, "max_priority": 5, "type": "classic"}},
        bindings=[{"source": "e", "queue": "q", "routing_key": "a.*"}],
    )
    exchange = made["channels"]["exchange.e"]["x-rabbit-topology"]
    assert exchange == {
        "config": "topology.exchanges.e",
        "alternateExchange": "h",
        "leadsTo": [{"queue": "q", "routingKey": "a.*"}],
    }
    hashed = made["channels"]["exchange.h"]
    assert "type" not in hashed["bindings"]["amqp"]["exchange"]
    assert hashed["x-rabbit-topology"]["type"] == "x-consistent-hash"
    queue = made["channels"]["queue.q"]["x-rabbit-topology"]
    assert queue["settings"]["dead-letter-exchange"] == "q.dead-letter"
    assert queue["arguments"] == {"x-queue-type": "classic", "x-max-priority": 5}
    assert made["channels"]["queue.q.dead-letter"]["x-rabbit-topology"]["config"] == (
        "topology.queues.q.dead_letter"
    )


def test_names_of_all_kinds_are_valid_and_told_apart():
    made = document(
        queues={"a:b": {}, "a b": {}, "a_b": {}, "{x}": {}, "ü#~": {}},
        services={"s:1": {"consumes": ["a:b"]}, "s 1": {"consumes": ["a:b"]}},
    )
    addresses = {name: one["address"] for name, one in made["channels"].items()}
    assert addresses == {
        "queue.a_b": "a:b",
        "queue.a_b_2": "a b",
        "queue.a_b_3": "a_b",
        "queue._x_": None,
        "queue.___": "ü#~",
    }
    assert len(made["operations"]) == 2


def test_a_channel_has_the_same_name_in_every_document():
    topology = {"queues": {"a:b": {}, "a b": {}}, "services": {"s": {"consumes": ["a b"]}}}
    assert set(document("s", **topology)["channels"]) == {"queue.a_b_2"}
    assert set(document("s", **topology)["operations"]) == {"s.receive.queue.a_b_2"}


def test_servers_are_where_services_connect_and_hold_no_secrets():
    made = document(
        broker=Broker(hosts=("mq.example", "[::1]:5673"), tls=True),
        services={"s": {"password": "hunter2"}},
        users={"u": {"password": "hunter2"}},
        shovels={
            "x": {
                "source_uri": "amqp://a:hunter2@far",
                "source_queue": "q",
                "destination_uri": "amqp:///v",
                "destination_queue": "q",
            }
        },
        queues={"q": {}},
    )
    assert made["servers"]["rabbitmq1"] == {
        "host": "mq.example:5671",
        "pathname": "/v",
        "protocol": "amqps",
        "protocolVersion": "0.9.1",
    }
    assert made["servers"]["rabbitmq2"]["host"] == "[::1]:5673"
    assert "hunter2" not in json.dumps(made)


def test_passwords_in_arguments_are_not_shown():
    """As pictures do not show them: of exchanges, queues and bindings, and by policies."""
    uri = "amqp://user:hunter2@host.example"
    made = document(
        exchanges={"e": {"arguments": {"x-from": uri}}, "h": {"type": "headers"}},
        queues={"q": {"arguments": {"x-from": uri, "x-deep": {"password": "hunter2"}}}},
        bindings=[
            {"source": "h", "queue": "q", "arguments": {"x-match": "all", "from": uri}},
            {"source": "e", "queue": "q"},
        ],
    )
    text = json.dumps(made)
    assert "x-from" in text
    assert "hunter2" not in text


def test_no_such_service_says_what_there_is():
    with pytest.raises(TopologyError, match='did you mean "shop"'):
        document("shp", services={"shop": {}})


def test_300_objects_are_valid():
    made = document(**many(300))
    assert len(made["channels"]) > 200
