"""
What hooks read in a resource's inputs, in each of the forms that a state may hold them in.
"""

from __future__ import annotations

import pytest

from rabbit_topology import model
from rabbit_topology.compiler.names import route_key
from rabbit_topology.deploy import inputs

BINDING = {"vhost": "v", "source": "e", "destination": "q", "destinationType": "queue"}


def test_a_change_is_named_from_what_to_what():
    old = {"durable": True, "argumentsJson": '{"x-queue-type":"classic","x-max-priority":5}'}
    new = {"durable": True, "auto_delete": False, "x-queue-type": "quorum"}
    assert inputs.changes(old, new) == (
        "x-queue-type: classic -> quorum, x-max-priority: 5 -> none"
    )


@pytest.mark.parametrize(
    "old",
    [
        {"durable": True, "argumentsJson": '{"x-queue-type":"quorum"}'},
        {"durable": True, "arguments": {"x-queue-type": "quorum"}},
        {"durable": True, "arguments": {"x-queue-type": "quorum", "__defaults": []}},
        {"durable": True, "autoDelete": False, "arguments": {"x-queue-type": "quorum"}},
    ],
)
def test_what_is_forced_is_not_called_a_change(old):
    said = inputs.changes(old, model.Queue().declaration())
    assert said == "declared as before, since that is asked for"


def test_an_exchange_read_back_equals_the_one_that_was_sent():
    arguments = {"x-delayed-type": "direct"}
    exchange = model.Exchange(type="x-delayed-message", arguments=arguments)
    old = {"type": "x-delayed-message", "durable": True, "arguments": arguments}
    assert "->" not in inputs.changes(old, exchange.declaration())


@pytest.mark.parametrize(
    "form",
    [
        {"argumentsJson": '{"x-match":"all","kind":"a"}'},
        {"arguments": {"kind": "a", "x-match": "all"}},
        {"arguments": {"kind": "a", "x-match": "all"}, "argumentsJson": ""},
        {"arguments": {"kind": "a", "x-match": "all"}, "argumentsJson": None, "routingKey": None},
    ],
)
def test_a_binding_is_the_same_in_every_form(form):
    written = model.Route(
        source="e",
        kind="queue",
        destination="q",
        routing_key="",
        arguments={"x-match": "all", "kind": "a"},
    )
    assert inputs.route({**BINDING, **form}) == written
    expected = ("v", route_key(written))
    assert inputs.identity("binding", {**BINDING, **form}) == expected


@pytest.mark.parametrize(
    ("type_", "given", "expected"),
    [
        ("rabbitmq:index/vHost:VHost", {"name": "v"}, ("vHost", ("", "v"))),
        ("rabbitmq:index/user:User", {"name": "u"}, ("user", ("", "u"))),
        ("rabbitmq:index/queue:Queue", {"name": "q", "vhost": "v"}, ("queue", ("v", "q"))),
        (
            "rabbitmq:index/topicPermissions:TopicPermissions",
            {"user": "u", "vhost": "v"},
            ("topicPermissions", ("v", "u")),
        ),
    ],
)
def test_kind_and_identity(type_, given, expected):
    kind = inputs.kind(type_)
    assert (kind, inputs.identity(kind, given)) == expected
