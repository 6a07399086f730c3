"""
What is not understood: said where it stands, with what to do, and never with a secret.
"""

from __future__ import annotations

import pytest

from rabbit_topology.config import stack
from rabbit_topology.errors import ConfigError
from rabbit_topology.model import SECRETS


def shown(topology, **other):
    """Return the problems of a config's shape by path."""
    problems = [error.problem for error in stack.read(topology, **other).errors]
    assert len({problem.path for problem in problems}) == len(problems)
    return {problem.path: problem for problem in problems}


@pytest.mark.parametrize(
    "place",
    [
        {"users": {"u": {"password": 12345678}}},
        {"shovels": {"s": {"source_uri": 12345678, "destination_uri": 12345678}}},
        {"federation_upstreams": {"f": {"uri": 12345678}}},
        {"services": {"s": {"password": 12345678}}},
    ],
)
def test_a_secret_of_the_wrong_type_is_not_shown(place):
    secret = {
        where: problem
        for where, problem in shown({"vhost": "v", **place}).items()
        if where.rpartition(".")[2] in SECRETS
    }
    assert secret
    assert {problem.value for problem in secret.values()} == {"[not shown]"}
    assert not any("12345678" in str(problem) for problem in secret.values())


def test_what_is_no_secret_is_shown():
    (problem,) = shown({"vhost": 12345678}).values()
    assert problem.value == "12345678"


def test_what_stands_beside_several_vhosts_is_told_where_to_go():
    told = shown({"vhosts": {"a": {}}, "queues": {"q": {}}, "vhost": "v"})
    assert list(told) == ["topology.queues", "topology.vhost"]
    assert told["topology.queues"].value == '{"q": {}}'
    assert "everything stands in one of them" in told["topology.queues"].rule
    assert told["topology.queues"].fix == "move it to topology.vhosts.NAME.queues"


def test_no_vhost_at_all_is_told_with_what_stands_there():
    problem = shown({"vhosts": []})["topology.vhosts"]
    assert (problem.value, problem.fix) == ("[]", "name one, or `vhost:`")
    assert "a mapping by name" in problem.rule


def test_one_that_lacks_a_setting_takes_no_other_of_its_kind_away():
    policy = {"pattern": "^q", "definition": {"max-length": 1}}
    told = stack.read({"vhost": "v", "policies": {"good": policy, "bad": {"pattern": "^q"}}})
    assert [error.problem.path for error in told.errors] == ["topology.policies.bad.definition"]
    assert set(told.written["topology"].policies) == {"good"}


def test_a_setting_of_the_wrong_type_takes_nothing_else_away():
    queues = {"q": {"type": "quorum", "max_length": "many"}, "other": {"type": "stream"}}
    told = stack.read({"vhost": "v", "queues": queues})
    assert [error.problem.path for error in told.errors] == ["topology.queues.q.max_length"]
    kept = told.written["topology"].queues
    assert {name: queue.type for name, queue in kept.items()} == {"q": "quorum", "other": "stream"}


def test_a_stack_without_a_topology_is_told_the_shortest_one():
    (problem,) = shown(None).values()
    assert (problem.path, problem.value) == ("topology", "missing")
    assert "needs a topology" in problem.rule
    assert stack.SHORTEST in problem.fix


def test_each_config_key_is_named_in_what_is_said_about_it():
    said = {key: {"tpyo": 1} for key in ("broker", "safety", "lint")}
    told = shown({"vhost": "v"}, **said, expect=[{"publish": {"exchange": 5}}])
    assert {"broker.tpyo", "safety.tpyo", "lint.tpyo"} <= set(told)
    assert "expect[0].publish.exchange" in told
    assert not any(where.startswith("expect.") for where in told)


@pytest.mark.parametrize(
    ("said", "rule"),
    [
        ({"queues": {"q": {"type": 1}}}, "one of "),
        ({"queues": {"q": {"durable": "yes"}}}, "this is true or false"),
        ({"queues": []}, "this is a mapping by name"),
        ({"queues": {"q": 5}}, "this is a mapping of settings"),
        ({"bindings": {}}, "this is a list"),
        ({"exchanges": {"e": {"type": 5}}}, "this is text"),
        ({"super_streams": {"s": {"partitions": "three"}}}, "this is a whole number"),
    ],
)
def test_a_value_of_the_wrong_type_is_told_the_right_one(said, rule):
    (problem,) = shown({"vhost": "v", **said}).values()
    assert problem.rule.startswith(rule)


def test_a_word_that_is_not_one_of_a_few_is_told_which_those_are():
    (problem,) = shown({"vhost": "v", "queues": {"q": {"type": "quorun"}}}).values()
    assert problem.value == '"quorun"'
    assert problem.rule == "one of classic, quorum, stream"
    assert problem.fix == 'did you mean "quorum"?'


@pytest.mark.parametrize(
    ("said", "where", "fix"),
    [
        ({"queues": {"q": {"dead_letter": {"exchnge": "x"}}}}, "queues.q", "exchange"),
        ({"bindings": [{"source": "x", "queue": "q", "argments": {}}]}, "bindings[0]", "arguments"),
        ({"services": {"s": {"publishes": [{"exchnge": "x"}]}}}, "services.s", "exchange"),
        ({"users": {"u": {"permissions": {"raed": ".*"}}}}, "users.u", "read"),
    ],
)
def test_a_key_that_is_not_known_is_told_the_closest_there(said, where, fix):
    unknown = [
        problem
        for path, problem in shown({"vhost": "v", **said}).items()
        if problem.rule == "this key is not known here" and path.startswith(f"topology.{where}")
    ]
    assert [problem.fix for problem in unknown] == [f'did you mean "{fix}"?']


def test_a_wrong_config_is_refused_and_its_values_shown_unless_it_is_secret():
    wrong = stack.read({"vhost": "v", "queues": {"q": {"type": "quorun"}}})
    with pytest.raises(ConfigError, match="quorun"):
        wrong.check()
    with pytest.raises(ConfigError) as caught:
        wrong.check(secret=True)
    (problem,) = caught.value.problems
    assert problem.path == "topology.queues.q.type"
    assert problem.value == "[not shown, the config holds secrets]"
    assert problem.rule == "one of classic, quorum, stream"
    assert problem.fix == 'did you mean "quorum"?'
    stack.read({"vhost": "v"}).check()
