"""
Rules about services: what would fail on the broker, or allow more than was said.
"""

from __future__ import annotations

import pytest

from rabbit_topology import ConfigError, parse, parse_stack
from rabbit_topology.lint.rules_services import own_user_problems, seed_problems
from tests.support.problems import says_all

TOPOLOGY = {
    "vhost": "v",
    "exchanges": {"orders": {"type": "topic"}, "both": {}},
    "queues": {"inbox": {}, "both": {}},
}


def problems(**services):
    with pytest.raises(ConfigError) as caught:
        parse({**TOPOLOGY, "services": services})
    return {problem.path: says_all(problem) for problem in caught.value.problems}


def accepted(**said):
    return parse({**TOPOLOGY, "services": {"s": said}})[0].services["s"]


BAD = [
    ({"publishes": ["order"]}, "publishes[0]", 'did you mean "orders"?'),
    ({"publishes": ["orders", "inbox"]}, "publishes[1]", "known are"),
    ({"publishes": [""]}, "publishes[0]", "known are"),
    ({"consumes": ["inbx"]}, "consumes[0]", 'did you mean "inbox"?'),
    ({"consumes": ["orders"]}, "consumes[0]", "known are: both, inbox"),
    ({"binds": ["order"], "declares": ["mine"]}, "binds[0]", 'did you mean "orders"?'),
    (
        {"publishes": [{"exchange": "orders", "routing_key": "a", "routing_keys": ["b"]}]},
        "publishes[0]",
        "routing_keys:",
    ),
    ({"declares": ["*"]}, "declares[0]", '"s.*"'),
    ({"declares": ["mine", "a*b"]}, "declares[1]", '"s.*"'),
    ({"declares": ["amq.*"]}, "declares[0]", '"amq.gen-*"'),
    ({"declares": ["amq.topic"]}, "declares[0]", '"amq.gen-*"'),
    ({"binds": ["both"], "declares": ["mine"]}, "binds[0]", "under `consumes:` too"),
    ({"consumes": ["both"], "declares": ["mine"]}, "consumes[0]", "under `binds:` too"),
    ({"exists": True, "username": "u", "rotates": "user"}, "rotates", "leave out `rotates:`"),
]


@pytest.mark.parametrize(("said", "where", "fix"), BAD)
def test_a_service_that_says_what_cannot_be(said, where, fix):
    ((result, problem),) = problems(s=said).items()
    assert result == f"topology.services.s.{where}"
    assert fix in problem.fix


@pytest.mark.parametrize(
    "said",
    [
        {"publishes": ["amq.topic"], "binds": ["amq.fanout"], "declares": ["s.*"]},
        {"declares": ["amq.gen-*"]},
        # Both are said, or nothing could be bound to the exchange anyway.
        {"consumes": ["both"], "binds": ["both"], "declares": ["mine"]},
        {"consumes": ["both"], "publishes": ["orders"]},
        {"binds": ["both"], "declares": ["bo*"]},
    ],
)
def test_a_service_that_says_what_can_be(said):
    assert accepted(**said)


def test_two_services_have_no_user_in_common():
    result = problems(one={"username": "same"}, two={"username": "same"})
    (problem,) = result.values()
    assert set(result) == {"topology.services.two"}
    assert "topology.services.one has a user of the same name" in problem.rule


def test_a_service_and_a_user_by_hand_have_no_name_in_common():
    with pytest.raises(ConfigError, match=r"topology\.users\[\"v\.s\"\] has a user"):
        parse({**TOPOLOGY, "services": {"s": {}}, "users": {"v.s": {}}})
    # On the default vhost a service's user has the service's own name.
    with pytest.raises(ConfigError, match=r"topology\.users\.s has a user"):
        parse({**TOPOLOGY, "vhost": "/", "services": {"s": {}}, "users": {"s": {}}})


@pytest.mark.parametrize("exists", [False, True])
def test_in_one_vhost_a_user_stands_once_even_if_it_exists(exists):
    """Its permissions there would be set twice."""
    users = {"app": {"exists": True}}
    services = {"s": {"username": "app", "exists": exists}}
    with pytest.raises(ConfigError, match=r"topology\.users\.app has a user of the same name"):
        parse({**TOPOLOGY, "users": users, "services": services})


def test_in_another_vhost_a_user_that_exists_may_stand_again():
    one = {**TOPOLOGY, "services": {"s": {"username": "app", "password": "p"}}}
    other = {**TOPOLOGY, "services": {"s": {"username": "app", "exists": True}}}
    both = {"vhosts": {"one": {**one, "vhost": None}, "other": {**other, "vhost": None}}}
    for vhost in both["vhosts"].values():
        del vhost["vhost"]
    parse_stack(both)
    both["vhosts"]["other"]["services"]["s"]["exists"] = False
    with pytest.raises(ConfigError, match="has a user of the same name"):
        parse_stack(both)


def test_a_service_that_exists_needs_no_seed():
    topologies = {"topology": parse({**TOPOLOGY, "services": {"s": {"exists": True}}})[0]}
    assert not [*seed_problems(topologies, None)]


def test_an_undeclared_name_is_shown_by_path_also_where_the_service_has_an_odd_name():
    (result,) = problems(**{"a.b": {"consumes": ["nothing"]}})
    assert result == 'topology.services["a.b"].consumes[0]'


EVERYTHING = {"configure": ".*", "write": ".*", "read": ".*"}


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ({"users": {"admin": {"permissions": {"read": ".*"}}}}, "users.admin"),
        ({"users": {"admin": {"password": "p"}}}, "users.admin"),
        (
            {"users": {"admin": {"exists": True, "permissions": {"read": ".*"}}}},
            "users.admin.permissions",
        ),
        (
            {"users": {"admin": {"exists": True, "permissions": {**EVERYTHING, "write": "^a"}}}},
            "users.admin.permissions",
        ),
        ({"vhost": "/", "services": {"admin": {"consumes": ["inbox"]}}}, "services.admin"),
        ({"services": {"s": {"consumes": ["inbox"], "username": "admin"}}}, "services.s"),
    ],
)
def test_the_user_that_the_stack_connects_with_is_not_taken_away(said, where):
    topologies = {"topology": parse({**TOPOLOGY, **said})[0]}
    (problem,) = {one.problem.path: one for one in own_user_problems(topologies, "admin")}.items()
    assert problem[0] == f"topology.{where}"
    assert not [*own_user_problems(topologies, "another")]
    assert not [*own_user_problems(topologies, None)]


@pytest.mark.parametrize(
    "said",
    [
        {"users": {"admin": {"exists": True}}},
        {"users": {"admin": {"exists": True, "permissions": EVERYTHING}}},
        {"services": {"admin": {"consumes": ["inbox"], "username": "other"}}},
    ],
)
def test_what_leaves_it_as_it_is_may_be_said(said):
    assert not [*own_user_problems({"topology": parse({**TOPOLOGY, **said})[0]}, "admin")]
