"""
Who is in a deployed stack, and what each is called where it is handed over.
"""

from __future__ import annotations

import json

import pytest
from yarl import URL

from rabbit_topology import TopologyError
from rabbit_topology.handover import accounts, outputs
from rabbit_topology.handover.accounts import Account, Kind

SIGNATURE = "4dabf18193072939515e22adb298388d"
COMPONENT = "urn:pulumi:prod::p::rabbit_topology:index:Topology::shop"


def account(kind, vhost, name, password="p"):
    secret = "" if password is None else f":{password}"
    return Account(kind=kind, vhost=vhost, name=name, urls=(f"amqp://{name}{secret}@h:1/{vhost}",))


def resource(kind, logical, parent=COMPONENT, **inputs):
    type_ = f"rabbitmq:index/{kind[0].lower()}{kind[1:]}:{kind}"
    urn = f"urn:pulumi:prod::p::rabbit_topology:index:Topology${type_}::{logical}"
    return {"urn": urn, "type": type_, "parent": parent, "inputs": inputs}


def secret(text):
    return {SIGNATURE: "1b47061264138c4ac30d75fd1eb44270", "plaintext": json.dumps(text)}


def state(*resources):
    return {"version": 3, "deployment": {"resources": [*resources]}}


ONE = {"vhost": "v", "connection_url": "amqps://admin:root@mq:5671/v"}
TWO = {
    "vhosts": {
        "/": {"vhost": "/", "connection_url": ["amqp://a:b@h:1/%2F", "amqp://a:b@[::1]:2/%2F"]},
        "a::b/user/x": {"vhost": "a::b/user/x", "connection_url": "amqp://a:b@h:1/a%3A%3Ab"},
    }
}


def test_a_users_password_comes_from_the_state_and_the_address_from_the_outputs():
    exported = state(
        resource("User", "shop/v/user/ops", name="ops", password=secret('p@s/"ü')),
        resource("User", "shop/v/service/gateway", name="v.gateway", password=secret("no")),
        resource("Queue", "shop/v/queue/user/ops", name="ops"),
    )
    (ops,) = outputs.users(ONE, exported)
    url = URL(*ops.urls)
    assert (ops.kind, ops.vhost, ops.name, ops.complete) == (Kind.USER, "v", "ops", True)
    assert (url.user, url.password, url.host, url.port) == ("ops", 'p@s/"ü', "mq", 5671)
    assert url.scheme == "amqps"
    assert "root" not in str(ops.urls)


def test_a_password_that_is_not_encrypted_in_the_state_is_read_as_well():
    (ops,) = outputs.users(ONE, state(resource("User", "shop/v/user/o", name="o", password="x")))
    assert URL(*ops.urls).password == "x"


def test_a_user_of_several_vhosts_is_in_each_with_one_password():
    exported = state(
        resource("User", "shop///user/ops", name="ops", password=secret("x")),
        resource("Permissions", "shop///user/ops", user="ops", vhost="/"),
        resource("Permissions", "shop/a::b/user/x/user/ops", user="ops", vhost="a::b/user/x"),
    )
    first, second = outputs.users(TWO, exported)
    assert (first.vhost, second.vhost) == ("/", "a::b/user/x")
    assert first.urls == ("amqp://ops:x@h:1/%2F", "amqp://ops:x@[::1]:2/%2F")
    assert second.urls == ("amqp://ops:x@h:1/a%3A%3Ab",)


def test_a_user_that_others_have_made_has_no_password():
    (ops,) = outputs.users(ONE, state(resource("Permissions", "shop/v/user/o", user="o")))
    assert not ops.complete
    assert ops.urls == ("amqps://o@mq:5671/v",)


def test_what_is_going_or_of_another_program_is_no_user():
    going = resource("User", "shop/v/user/ops", name="ops", password=secret("old"))
    exported = state(
        {**going, "delete": True},
        resource("User", "mine", parent="urn:pulumi:prod::p::pulumi:pulumi:Stack::s", name="mine"),
    )
    assert outputs.users(ONE, exported) == []
    assert outputs.users(ONE, {"version": 3, "deployment": None}) == []


def test_services_come_from_the_outputs_of_each_vhost():
    vhosts = {
        "a": {"service_urls": {"gateway": "amqp://g:p@h:1/a", "worker": ["x://h", "y://h"]}},
        "b": {},
    }
    known = outputs.services({"vhosts": vhosts})
    assert [(one.vhost, one.name, one.urls) for one in known] == [
        ("a", "gateway", ("amqp://g:p@h:1/a",)),
        ("a", "worker", ("x://h", "y://h")),
    ]


def test_an_account_is_named_by_kind_and_where_need_be_by_vhost():
    known = [
        account(Kind.SERVICE, "a", "gateway"),
        account(Kind.SERVICE, "b", "gateway"),
        account(Kind.SERVICE, "a", "worker"),
        account(Kind.USER, "a", "ops"),
    ]
    assert accounts.named(known, Kind.SERVICE, "worker") is known[2]
    assert accounts.named(known, Kind.USER, "ops") is known[3]
    with pytest.raises(TopologyError, match="say --vhost and one of a, b"):
        accounts.named(known, Kind.SERVICE, "gateway")
    with pytest.raises(TopologyError, match=r'"ops" is not a service .*known are: gateway, worker'):
        accounts.named(known, Kind.SERVICE, "ops")
    (chosen,) = accounts.of_vhost(known, "b", ["a", "b"])
    assert chosen is known[1]
    with pytest.raises(TopologyError, match='"c" is not a vhost of the stack'):
        accounts.of_vhost(known, "c", ["a", "b"])


def test_no_two_accounts_are_called_alike():
    known = [
        account(Kind.SERVICE, "a", "gateway"),
        account(Kind.SERVICE, "b", "gateway"),
        account(Kind.SERVICE, "a", "worker"),
        account(Kind.USER, "a", "worker"),
        account(Kind.USER, "a", "ops"),
        account(Kind.USER, "b", "ops"),
        account(Kind.USER, "b", "alone"),
    ]
    titles = accounts.titles(known)
    assert titles == [
        *("a/gateway", "b/gateway", "worker", "user/worker", "a/ops", "b/ops", "alone")
    ]


def test_a_program_that_exports_no_url_of_its_own_hands_over_no_users():
    exported = state(resource("User", "shop/v/user/ops", name="ops", password=secret("x")))
    assert outputs.users({"vhosts": {"v": {"service_urls": {}}}}, exported) == []
