from __future__ import annotations

import pytest

from rabbit_topology import ConfigError, parse, parse_stack
from rabbit_topology.errors import path
from rabbit_topology.model import QueueType
from tests.support.problems import says_all

SEED = {
    "vhost": "ai-dev",
    "exchanges": {"inference": {"type": "direct"}},
    "queues": {"requests": {}},
    "bindings": [{"source": "inference", "queue": "requests", "routing_key": "go"}],
}


def with_(**changes):
    return {**SEED, **changes}


def problems(topology, broker=None, **options):
    with pytest.raises(ConfigError) as caught:
        parse(topology, broker, **options)
    return {problem.path: says_all(problem) for problem in caught.value.problems}


def only(topology, broker=None):
    (problem,) = problems(topology, broker).values()
    return problem


def test_seed_with_all_defaults():
    topology, broker, _ = parse(SEED)
    assert topology.queues["requests"].type is QueueType.QUORUM
    assert topology.queues["requests"].durable
    assert topology.exchanges["inference"].durable
    assert broker.hosts == ()


def test_nothing_behind_a_name_means_all_defaults():
    topology, *_ = parse(with_(queues={"requests": None}, exchanges={"inference": None}))
    assert topology.queues["requests"].type is QueueType.QUORUM


def test_the_queue_type_is_always_among_the_arguments_and_numbers_stay_numbers():
    queues = {"requests": {"type": "classic", "arguments": {"x-max-priority": 5}}}
    topology, *_ = parse(with_(queues=queues))
    assert topology.queues["requests"].declared_arguments() == {
        "x-queue-type": "classic",
        "x-max-priority": 5,
    }


def test_several_routing_keys_are_several_routes():
    binding = {"source": "inference", "queue": "requests", "routing_keys": ["a", "b"]}
    topology, *_ = parse(with_(bindings=[binding]))
    assert [route.routing_key for route in topology.routes()] == ["a", "b"]


@pytest.mark.parametrize("name", ["amq.topic", "amq.headers"])
def test_bindings_may_use_the_brokers_own_exchanges(name):
    parse(with_(bindings=[{"source": name, "queue": "requests"}]))


BAD = {
    "unknown key": (
        with_(queus={}),
        "topology.queus",
        'did you mean "queues"?',
    ),
    "unknown key of a queue": (
        with_(queues={"requests": {"typ": "quorum"}}),
        "topology.queues.requests.typ",
        'did you mean "type"?',
    ),
    "unknown key of a binding": (
        with_(bindings=[{"source": "inference", "queue": "requests", "routing_keyy": "x"}]),
        "topology.bindings[0].routing_keyy",
        'did you mean "routing_key"?',
    ),
    "wrong type": (
        with_(queues={"requests": {"durable": "yes"}}),
        "topology.queues.requests.durable",
        "true or false",
    ),
    "number for a name": (with_(vhost=5), "topology.vhost", "this is text"),
    "list for a mapping": (
        with_(exchanges=[], bindings=[]),
        "topology.exchanges",
        "mapping by name",
    ),
    "mapping for a list": (with_(bindings={}), "topology.bindings", "this is a list"),
    "plain text": ("ai-dev", "topology", "this is a mapping"),
    "unknown queue type": (
        with_(queues={"requests": {"type": "quorun"}}),
        "topology.queues.requests.type",
        'did you mean "quorum"?',
    ),
    "unknown exchange type": (
        with_(exchanges={"inference": {"type": "dirct"}}),
        "topology.exchanges.inference.type",
        'did you mean "direct"?',
    ),
    "undeclared queue": (
        with_(bindings=[{"source": "inference", "queue": "request"}]),
        "topology.bindings[0].queue",
        'did you mean "requests"?',
    ),
    "undeclared source": (
        with_(bindings=[{"source": "inferenc", "queue": "requests"}]),
        "topology.bindings[0].source",
        'did you mean "inference"?',
    ),
    "undeclared destination exchange": (
        with_(bindings=[{"source": "inference", "exchange": "audit"}]),
        "topology.bindings[0].exchange",
        "known are: amq.direct",
    ),
    "no destination": (with_(bindings=[{"source": "inference"}]), "topology.bindings[0]", "either"),
    "two destinations": (
        with_(bindings=[{"source": "inference", "queue": "requests", "exchange": "inference"}]),
        "topology.bindings[0]",
        "either",
    ),
    "both kinds of routing key": (
        with_(
            bindings=[
                {
                    "source": "inference",
                    "queue": "requests",
                    "routing_key": "",
                    "routing_keys": [""],
                }
            ]
        ),
        "topology.bindings[0]",
        "under `routing_keys:`",
    ),
    "no routing key in the list": (
        with_(bindings=[{"source": "inference", "queue": "requests", "routing_keys": []}]),
        "topology.bindings[0].routing_keys",
        "an empty list binds nothing",
    ),
    "duplicate binding": (
        with_(bindings=[*SEED["bindings"], *SEED["bindings"]]),
        "topology.bindings[1]",
        " stands in bindings[0];",
    ),
    "duplicate routing key": (
        with_(bindings=[{"source": "inference", "queue": "requests", "routing_keys": ["a", "a"]}]),
        "topology.bindings[0]",
        "remove one",
    ),
    "empty": ({}, "topology.vhost", "write it"),
    "missing": (None, "topology", "vhost: my-service"),
    "at in the vhost": (with_(vhost="a@b"), "topology.vhost", "resource ids"),
    "at in a queue": (with_(queues={"requests": {}, "a@b": {}}), 'topology.queues["a@b"]', '"@"'),
    "slash in a queue": (
        with_(queues={"requests": {}, "a/b": {}}),
        'topology.queues["a/b"]',
        '"/"',
    ),
    "line break": (
        with_(queues={"requests": {}, "a\nb": {}}),
        'topology.queues["a\\nb"]',
        "control characters",
    ),
    "slash in an exchange": (
        with_(exchanges={"inference": {}, "a/b": {}}),
        'topology.exchanges["a/b"]',
        '"/"',
    ),
    "256 bytes in 128 letters": (
        with_(queues={"requests": {}, "ü" * 128: {}}),
        f"topology.queues.{'ü' * 128}",
        "this one has 256",
    ),
    "256 bytes of routing key": (
        with_(bindings=[{"source": "inference", "queue": "requests", "routing_key": "k" * 256}]),
        "topology.bindings[0].routing_key",
        "at most 255 bytes",
    ),
    "reserved prefix": (
        with_(queues={"requests": {}, "amq.mine": {}}),
        'topology.queues["amq.mine"]',
        "reserved",
    ),
    "no name": (with_(vhost=""), "topology.vhost", "a name is needed"),
    "stream that is not durable": (
        with_(queues={"requests": {"type": "stream", "durable": False}}),
        "topology.queues.requests.durable",
        "always durable",
    ),
    "quorum queue that deletes itself": (
        with_(queues={"requests": {"auto_delete": True}}),
        "topology.queues.requests.auto_delete",
        "type: classic",
    ),
    "type among the arguments": (
        with_(queues={"requests": {"arguments": {"x-queue-type": "classic"}}}),
        "topology.queues.requests.arguments.x-queue-type",
        "`type:`",
    ),
}


@pytest.mark.parametrize(("topology", "where", "words"), BAD.values(), ids=BAD)
def test_one_problem_is_named_by_path_rule_and_fix(topology, where, words):
    problem = only(topology)
    assert problem.path == where
    assert words in str(problem)


def test_names_of_255_bytes_and_odd_characters_are_good():
    names = ["x" * 255, "a b", "ü.#*%?&", 'q"uote', "a:b::c", "-"]
    parse(with_(vhost="a/b", queues={"requests": {}, **dict.fromkeys(names)}))


def test_all_problems_at_once_also_where_the_shape_is_wrong():
    result = problems(
        {"vhost": 1, "exchanges": {"a/b": {"type": "x"}}, "queues": {"q": {"no": 1}, "amq.q": {}}},
        {"hosts": ["::1", "mq:x"], "tsl": True},
    )
    assert set(result) == {
        "topology.vhost",
        'topology.exchanges["a/b"]',
        'topology.exchanges["a/b"].type',
        "topology.queues.q.no",
        'topology.queues["amq.q"]',
        "broker.hosts[0]",
        "broker.hosts[1]",
        "broker.tsl",
    }


def test_values_of_a_config_with_secrets_are_not_shown():
    result = problems(
        with_(vhost="hunter2@x", queues={"requests": {"type": "hunter2"}}), secret=True
    )
    assert set(result) == {"topology.vhost", "topology.queues.requests.type"}
    assert not any("hunter2" in str(one) for one in result.values())


def test_paths_are_what_pulumi_config_set_takes():
    assert path("topology", "queues", "a.b", "x", 3) == 'topology.queues["a.b"].x[3]'


def test_several_vhosts_stand_by_name_and_problems_name_where():
    topologies, *_ = parse_stack({"vhosts": {"a": None, "b/c": {"queues": {"q": {}}}}})
    assert [topology.vhost for topology in topologies] == ["a", "b/c"]
    with pytest.raises(ConfigError) as caught:
        parse_stack(
            {
                "queues": {},
                "vhosts": {
                    "a": {"services": {"s": {"consumes": ["x"], "username": "u"}}},
                    "b.c": {"users": {"u": {}}, "typo": 1},
                },
            }
        )
    assert [problem.path for problem in caught.value.problems] == [
        "topology.queues",
        'topology.vhosts["b.c"].typo',
        "topology.vhosts.a.services.s.consumes[0]",
        'topology.vhosts["b.c"].users.u',
    ]
    assert "topology.vhosts.a.services.s has a user of the same name" in str(caught.value)


def test_a_text_that_looks_like_a_path_stays_as_it_is():
    vhost = {
        "exchanges": {"rabbit-topology.x": {}},
        "policies": {
            name: {"pattern": "^q", "definition": {"max-length": 1}, "apply_to": "queues"}
            for name in ("my-topology.one", "my-topology.two")
        },
        "queues": {"q": {}},
    }
    with pytest.raises(ConfigError) as caught:
        parse_stack({"vhosts": {"orders": vhost}})
    said = {problem.path: problem.rule for problem in caught.value.problems}
    root = "topology.vhosts.orders"
    assert '"rabbit-topology."' in said[f'{root}.exchanges["rabbit-topology.x"]']
    same = said[f'{root}.policies["my-topology.two"].priority']
    assert same.startswith('policies["my-topology.one"] has the same, and both match queues.q:')


@pytest.mark.parametrize("vhosts", [[], {}, "a", None])
def test_vhosts_are_a_mapping_of_at_least_one(vhosts):
    with pytest.raises(ConfigError) as caught:
        parse_stack({"vhosts": vhosts})
    assert [problem.path for problem in caught.value.problems] == ["topology.vhosts"]


@pytest.mark.parametrize("kind", ["queues", "exchanges"])
def test_names_of_a_runs_own_helpers_are_refused(kind):
    result = problems(with_(**{kind: {"rabbit-topology.holding.x": {}, **SEED[kind]}}))
    assert list(result) == [f'topology.{kind}["rabbit-topology.holding.x"]']
