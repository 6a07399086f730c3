from __future__ import annotations

import json

import pulumi
import pytest
import yaml as pyyaml
from hypothesis import given
from hypothesis import strategies as st

from rabbit_topology import ConfigError, parse
from rabbit_topology.config import base, yaml_files
from rabbit_topology.config.merge import merge
from tests.unit.deploy.test_program import config, run

QUEUE = "rabbitmq:index/queue:Queue"


@pytest.mark.parametrize(
    ("shared", "own", "whole"),
    [
        ({"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}),
        ({"a": {"x": 1}}, {"a": {"x": 2}}, {"a": {"x": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"x": 1}}, {"a": True}, {"a": True}),
        ({"a": True}, {"a": {"x": 1}}, {"a": {"x": 1}}),
        ({"a": None}, {"a": {"x": 1}}, {"a": {"x": 1}}),
        ({"a": {"x": 1}}, {"a": None}, {}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"x": None}}, {"a": {"y": 2}}),
        ({}, {"a": None}, {"a": None}),
        ({"a": {}}, {"a": {"x": None}}, {"a": {"x": None}}),
        ({"a": 1, "b": 2}, {"c": 3}, {"a": 1, "b": 2, "c": 3}),
    ],
)
def test_mappings_merge_and_all_else_replaces(shared, own, whole):
    assert merge(shared, own) == whole


_plain = st.recursive(
    st.integers() | st.text(max_size=3) | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=12,
)
_mappings = st.dictionaries(st.sampled_from("abc"), _plain, max_size=3)


@given(_mappings, _mappings, _mappings)
def test_merging_is_the_same_in_any_grouping_and_nothing_of_ones_own_is_lost(one, two, three):
    assert merge({}, one) == merge(one, {}) == merge(one, one) == one
    assert set(merge(one, two)) == {*one, *two}
    # Where text meets a mapping the grouping matters, and bases are read from the left.
    assert base.merged([_document(one), _document(two)], three) == merge(merge(one, two), three)


def _document(value):
    return yaml_files.Document(name="x", value=value, node=None)


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "Pulumi.yaml").write_text("name: rabbit-topology\n")
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.chdir(below)  # the folder is found from where one stands
    return tmp_path


def write(project, **files):
    for name, value in files.items():
        text = value if isinstance(value, str) else pyyaml.safe_dump(value)
        (project / f"{name}.yaml").write_text(text)


SHARED = {
    "exchanges": {"orders": {"type": "topic"}},
    "queues": {"orders": {"max_length": 10, "overflow": "reject-publish"}, "audit": None},
    "bindings": [{"source": "orders", "queue": "orders", "routing_key": "#"}],
}


def test_a_stack_has_what_its_bases_have_and_its_own_wins(project):
    write(project, shared=SHARED, audited={"queues": {"audit": {"type": "stream"}, "more": None}})
    own = {"vhost": "v", "queues": {"orders": {"max_length": 20}, "more": None, "mine": None}}
    whole = base.topology(["shared.yaml", "audited.yaml"], own, base.project_folder())
    topology, *_ = parse(whole)
    assert set(topology.queues) == {"orders", "audit", "mine"}
    assert topology.queues["orders"].max_length == 20
    assert topology.queues["orders"].overflow == "reject-publish"
    assert topology.queues["audit"].type == "stream"


def test_a_base_alone_is_enough_and_no_base_changes_nothing(project):
    write(project, shared={"vhost": "v"})
    assert base.topology("shared.yaml", None, project) == {"vhost": "v"}
    assert base.topology(None, {"vhost": "v", "queues": {"q": None}}, project) == {
        "vhost": "v",
        "queues": {"q": None},
    }
    assert base.topology(None, None, project) is None


@pytest.mark.parametrize(
    ("names", "where", "words"),
    [
        ("missing.yaml", "base", ["there is no such file", "names are relative to"]),
        (["good.yaml", "missing.yaml"], "base[1]", ["there is no such file"]),
        ("broken.yaml", "base", ["it is not YAML: line 3"]),
        ("twice.yaml", "base", ["line 3: the key queues stands here twice"]),
        ("loop.yaml", "base", ["it contains itself"]),
        ("list.yaml", "base", ["does not hold a mapping"]),
        ("empty.yaml", "base", ["does not hold a mapping"]),
        ("secret.yaml", "base", ["an encrypted value at topology.users.a.password"]),
        (5, "base", ["the name of a YAML file"]),
        ([None], "base[0]", ["the name of a YAML file"]),
        ({"file": "good.yaml"}, "base", ["the name of a YAML file"]),
    ],
)
def test_a_base_that_cannot_be_used_is_one_problem(project, names, where, words):
    write(
        project,
        good={"vhost": "v"},
        broken="a: 1\nb: [",
        twice="queues: {}\nexchanges: {}\nqueues: {}\n",
        loop="a: &a {b: *a}\n",
        list="- a\n",
        empty="",
        secret={"users": {"a": {"password": {"secure": "v1:abc"}}}},
    )
    with pytest.raises(ConfigError) as caught:
        base.topology(names, {"vhost": "v"}, project)
    (problem,) = caught.value.problems
    assert problem.path == where
    assert all(word in str(problem) for word in words), str(problem)
    assert "v1:abc" not in str(problem)


def test_all_bases_that_cannot_be_used_are_told_at_once(project):
    write(project, list="- a\n")
    with pytest.raises(ConfigError) as caught:
        base.topology([5, "a.yaml", "b.yaml", None, "list.yaml"], {"vhost": "v"}, project)
    assert [problem.path for problem in caught.value.problems] == [
        f"base[{index}]" for index in range(5)
    ]
    assert caught.value.problems[1].fix == f"names are relative to {project}"


def test_the_folder_is_the_closest_with_a_project_or_the_one_to_start_from(tmp_path):
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert base.project_folder(below) == below
    (tmp_path / "Pulumi.yml").touch()
    assert base.project_folder(below) == tmp_path
    (below.parent / "Pulumi.yaml").touch()
    assert base.project_folder(below) == below.parent


def test_a_base_that_is_not_yaml_is_to_be_corrected(project):
    write(project, broken="b: [")
    with pytest.raises(ConfigError) as caught:
        base.topology("broken.yaml", {"vhost": "v"}, project)
    (problem,) = caught.value.problems
    assert problem.fix == "correct the file"


def test_yaml_is_read_as_pulumi_reads_it():
    text = """
    texts: {a: yes, b: 1:30, c: 2026-01-02, d: "5", e: 'true'}
    numbers: {a: 010, b: 0x10, c: 0o10, d: -5, e: 1.5}
    rest: {a: true, b: null, c: , d: ~}
    keys: {1: a, true: b}
    shared: &shared {x: 1, y: 1}
    taken: {<<: *shared, y: 2}
    """
    assert yaml_files.load(text, "x").value == {
        "texts": {"a": "yes", "b": "1:30", "c": "2026-01-02", "d": "5", "e": "true"},
        "numbers": {"a": 10, "b": 16, "c": 8, "d": -5, "e": 1.5},
        "rest": {"a": True, "b": None, "c": None, "d": None},
        "keys": {"1": "a", "true": "b"},
        "shared": {"x": 1, "y": 1},
        "taken": {"x": 1, "y": 2},
    }


def test_a_place_in_a_file_is_found_as_far_as_it_is_there():
    document = yaml_files.load("a:\n  b:\n    - x: 1\n    - y: 2\n", "x")
    assert document.find(["a", "b", 1, "y"]) == (4, (4, 7))
    assert document.find(["a", "b", 1, "z", "more"]) == (3, (4, 7))
    assert document.find(["a", "c"]) == (1, (1, 1))
    assert document.find(["z"]) == (0, (1, 1))
    assert yaml_files.load("", "x").find(["a"]) == (0, (1, 1))


def test_the_program_deploys_a_base_with_secrets_of_the_stack_in_it(deploy, mocker, project):
    mocker.patch("rabbit_topology.deploy.preflight.check", return_value=False)
    write(project, shared={**SHARED, "users": {"ops": {"permissions": {"read": ".*"}}}})
    own = {"vhost": "v", "users": {"ops": {"password": "open sesame"}}, "queues": {"audit": None}}
    settings = config(
        **{"rabbit-topology:topology": json.dumps(own), "rabbit-topology:base": "shared.yaml"}
    )
    one = deploy(run, config=settings, secrets=("rabbit-topology:topology",))
    assert [queue.inputs["name"] for queue in one.of(QUEUE)] == ["orders"]
    (user,) = one.of("rabbitmq:index/user:User")
    assert user.inputs["password"] == "open sesame"


def test_a_problem_in_a_base_stops_the_program(deploy, project):
    seen = []

    def program():
        try:
            run()
        except pulumi.RunError as error:
            seen.append(str(error))

    one = deploy(program, config=config(**{"rabbit-topology:base": json.dumps(["a.yaml"])}))
    assert one.registrations == ()
    assert "1 problem in the config" in seen[0]
    assert 'base[0]: "a.yaml": there is no such file' in seen[0]
