"""
Definitions files as people write them: nothing in them ends in a traceback or vanishes unnamed.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from rabbit_topology.adopt import definitions, express
from rabbit_topology.adopt.entries import SECTIONS
from rabbit_topology.commands.app import app
from rabbit_topology.config import yaml_files
from rabbit_topology.errors import TopologyError
from rabbit_topology.lint.reading import read

BASE: dict[str, Any] = {
    "vhosts": [{"name": "shop"}],
    "exchanges": [{"name": "events", "vhost": "shop", "type": "topic", "arguments": {}}],
    "queues": [{"name": "orders", "vhost": "shop", "durable": True, "arguments": {}}],
    "bindings": [{"source": "events", "vhost": "shop", "destination": "orders", "routing_key": ""}],
}


def parsed(**sections: Any) -> definitions.Definitions:
    return definitions.parse({**BASE, **sections}, "export.json")


def left(had: definitions.Definitions) -> dict[str, str]:
    said = express.express(had, sorted(had.vhosts))
    return {one.title: one.reason for one in said.left}


@pytest.mark.parametrize(
    ("section", "entry", "place", "reason"),
    [
        ("queues", "orders", "queues[1]", "it is not a mapping"),
        ("queues", {"vhost": "shop"}, "queues[1]", "it has no name"),
        ("exchanges", {"name": None, "vhost": "shop"}, "exchanges[1]", "its name is not text"),
        ("queues", {"name": "q", "vhost": ["a"]}, "queues[1] (q)", "its vhost is not text"),
        (
            "queues",
            {"name": "q", "vhost": "shop", "arguments": "x"},
            "queues[1] (q)",
            "its arguments are not a mapping",
        ),
        (
            "bindings",
            {"source": "events", "vhost": "shop", "destination": "orders", "routing_key": 5},
            "bindings[1]",
            "its routing_key is not text",
        ),
        (
            "bindings",
            {"source": "a", "vhost": "shop", "destination": "b", "destination_type": "topic"},
            "bindings[1]",
            "its destination_type is neither queue nor exchange",
        ),
        ("parameters", {"component": ["a"], "name": "n"}, "parameters[0] (n)", "its component"),
        ("permissions", {"vhost": "shop"}, "permissions[0]", "it has no user"),
        ("topic_permissions", {"user": "u", "exchange": 5}, "topic_permissions[0] (u)", "not text"),
        ("users", 5, "users[0]", "it is not a mapping"),
        ("vhosts", {"description": "x"}, "vhosts[1]", "it has no name"),
    ],
)
def test_an_entry_that_cannot_be_understood_is_named(section, entry, place, reason):
    had = parsed(**{section: [*BASE.get(section, ()), entry]})
    assert reason in left(had)[place]
    assert "orders" in express.express(had, ["shop"]).topology["queues"]


@pytest.mark.parametrize("section", [key for key in SECTIONS if key != "queues"])
def test_a_section_that_is_no_list_is_named(section):
    had = parsed(**{section: {"a": 1}})
    assert left(had)[section] == "it is not a list"


def test_a_section_that_is_null_is_empty():
    assert left(parsed(**dict.fromkeys(("users", "policies", "parameters")))) == {}


def test_deep_values_are_named_and_hide_nothing_else():
    deep: Any = []
    for _ in range(200):
        deep = [deep]
    queue = {"name": "deep", "vhost": "shop", "arguments": {"x": deep}}
    had = parsed(queues=[*BASE["queues"], queue])
    assert "nested" in left(had)["queues[1] (deep)"]
    assert list(express.express(had, ["shop"]).topology["queues"]) == ["orders"]


def test_what_stands_there_twice_counts_once():
    had = parsed(queues=BASE["queues"] * 2, bindings=BASE["bindings"] * 3)
    assert left(had) == {}
    topology = express.express(had, ["shop"]).topology
    assert topology["bindings"] == [{"source": "events", "queue": "orders"}]


@pytest.mark.parametrize(
    ("section", "entry", "other"),
    [
        ("queues", {"name": "q"}, {"arguments": {"x-max-length": 1}}),
        ("exchanges", {"name": "q", "type": "direct"}, {"type": "topic"}),
        ("policies", {"name": "q", "pattern": "a", "definition": {}}, {"pattern": "b"}),
        ("permissions", {"user": "q", "read": "a"}, {"read": "b"}),
    ],
)
def test_what_stands_there_twice_with_other_settings_is_left_alone(section, entry, other):
    first = {"vhost": "shop", **entry}
    had = parsed(**{section: [first, {**first, **other}]})
    assert f"stands in {section}[1] as well" in left(had)[f"{section}[0] (q)"]
    assert had.within["shop"][section] == []


def test_a_binding_without_its_ends_says_so():
    had = parsed(bindings=[{"source": "events", "vhost": "shop", "destination": "nowhere"}])
    assert left(had)["binding events -[]-> nowhere"] == "it is bound to what is not there"


def test_a_binding_without_a_routing_key_is_not_one_with_an_empty_key():
    """A broker that imports it keeps it under another key than the provider would write."""
    had = parsed(bindings=[{"source": "events", "vhost": "shop", "destination": "orders"}])
    assert "no routing key at all" in left(had)["binding events -[]-> orders"]


@pytest.mark.parametrize(
    ("stated", "version"),
    [
        ("4.0.5", "4.0.5"),
        ("3.7.0-alpha.381", "3.7.0-alpha.381"),
        ("v3.12.1", "3.12.1"),
        (" 4.1.0\n", "4.1.0"),
        ("%%VSN%%", None),
        ("latest", None),
        ("0.0.0", None),
        (4.0, None),
    ],
)
def test_a_version_that_is_none_is_not_known(stated, version):
    had = parsed(rabbit_version=stated)
    assert had.version == version
    assert left(had) == {}


@pytest.mark.parametrize(
    ("value", "left_alone"),
    [(1.0, True), ([{"a": -2.0}], True), (1e20, True), (1e21, False), (0.5, False), (1, False)],
)
def test_a_fraction_that_the_provider_would_write_as_whole_is_left_alone(value, left_alone):
    bound = {**BASE["bindings"][0], "arguments": {"x": value}}
    title = "binding events -[]-> orders"
    assert ("second binding" in left(parsed(bindings=[bound])).get(title, "")) is left_alone


@pytest.mark.parametrize("metadata", ["text", [], None, {"tags": 5}])
@pytest.mark.parametrize("limits", [[], "x", None])
def test_a_vhost_may_describe_itself_in_any_way(metadata, limits):
    vhost = {"name": "shop", "metadata": metadata, "limits": limits}
    parameter = {"component": "vhost-limits", "name": "limits", "vhost": "shop", "value": limits}
    read(express.express(parsed(vhosts=[vhost], parameters=[parameter]), ["shop"]).topology).check()


def test_limits_that_a_vhost_states_itself_are_seen():
    had = parsed(vhosts=[{"name": "shop", "limits": {"max-queues": 5}}])
    assert "limits" in left(had)["vhost shop"]


def test_settings_of_the_vhost_that_each_broker_has_are_named_too():
    limits = {"component": "vhost-limits", "name": "limits", "vhost": "/", "value": {"a": 1}}
    plain = {"name": "/", "description": "Default virtual host", "tags": [], "metadata": {}}
    exchanges = [{"name": "e", "vhost": "/", "type": "topic"}]
    had = definitions.parse({"vhosts": [plain], "exchanges": exchanges}, "export.json")
    assert left(had) == {}
    held = {"vhosts": [plain], "exchanges": exchanges, "parameters": [limits]}
    had = definitions.parse(held, "export.json")
    assert left(had)["vhost /"] == "its settings stay as they are: limits"
    assert "vhost_settings" not in express.express(had, ["/"]).topology


def test_a_section_that_is_none_is_named():
    assert "no definitions" in left(parsed(binding=[{}]))["binding"]
    assert left(parsed(tags=["a"], limits=[1], explanation="x", binding=[])) == {}


def test_a_file_of_one_vhost_describes_it():
    held = {
        "original_vhost_name": "eu",
        "metadata": {"description": "of others"},
        "limits": {"max-queues": 5},
        "queues": [{"name": "q", "arguments": {"x-queue-type": "quorum"}}],
    }
    had = definitions.parse(held, "export.json")
    assert list(had.vhosts) == ["eu"]
    assert left(had)["vhost eu"] == "its settings stay as they are: description, limits"
    assert list(definitions.parse(held, "export.json", "us").vhosts) == ["us"]


def test_a_file_of_users_only_is_of_a_broker():
    had = definitions.parse({"users": [{"name": "app"}]}, "export.json")
    assert list(had.users) == ["app"]
    assert list(had.vhosts) == []


@pytest.mark.parametrize("uri", ["amqp://[::1", "http://[", 5, None, [None], {"a": 1}])
def test_a_shovel_with_any_uri_is_left_alone(uri):
    shovel = {"src-uri": uri, "src-queue": "orders", "dest-uri": uri, "dest-queue": "x"}
    parameter = {"component": "shovel", "vhost": "shop", "name": "mover", "value": shovel}
    assert "shovel mover" in left(parsed(parameters=[parameter]))


@pytest.mark.parametrize("type_", [None, False, 0, {}, "x-local-random"])
def test_a_type_that_a_queue_cannot_have_is_its_own_reason(type_):
    queue = {"name": "odd", "vhost": "shop", "arguments": {"x-queue-type": type_}}
    assert left(parsed(queues=[queue]))["queue odd"].startswith("type: one of classic")


def test_a_reason_says_which_key_it_is_about():
    policy = {"vhost": "shop", "name": "p", "pattern": "(", "definition": {"max-length": 1}}
    other = {"vhost": "shop", "name": "o", "pattern": "", "definition": {"max-length": "long"}}
    reasons = left(parsed(policies=[policy, other]))
    assert reasons["policy p"].startswith("pattern: ")
    assert reasons["policy o"].startswith("definition.max-length: ")


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(content: bytes, name: str = "export.json") -> str:
        Path(name).write_bytes(content)
        return name

    return write


def run(*arguments: str):
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_what_a_config_would_change_is_left_alone_and_all_else_is_written(written):
    policies = [
        {"vhost": "shop", "name": name, "pattern": "a", "definition": {"max-length": value}}
        for name, value in (("text", "1"), ("number", 1))
    ]
    users = [{"user": "u", "vhost": "shop", "configure": "", "write": ""}]
    typeless = {"name": "typeless", "vhost": "shop"}
    bound = {"source": "typeless", "vhost": "shop", "destination": "orders"}
    held = {
        **BASE,
        "policies": policies,
        "permissions": users,
        "exchanges": [*BASE["exchanges"], typeless],
        "bindings": [*BASE["bindings"], bound],
    }
    run("adopt", written(json.dumps(held).encode()))
    text = Path("topology.yaml").read_text()
    assert 'policy text of vhost shop: a config would change it: max-length: "1"' in text
    assert "permissions u of vhost shop: a config would change it" in text
    assert "exchange typeless of vhost shop: a config would change it: type" in text
    assert "binding typeless -[]-> orders of vhost shop: it is bound to what is left alone" in text
    topology = yaml_files.read(Path("topology.yaml"), "topology.yaml").value
    assert list(topology["policies"]) == ["number"]
    assert list(topology["exchanges"]) == ["events"]


@pytest.mark.parametrize("name", ["a\nb: {}", "a\r", "\x7f", "\x00", "\x85", "\u2028@", "\x1b[2J"])
def test_a_name_that_a_terminal_or_yaml_would_obey_is_escaped(written, name):
    queue = {"name": name, "vhost": "shop"}
    answer = run("adopt", written(json.dumps({**BASE, "queues": [queue]}).encode()))
    assert name not in answer.output
    topology = yaml_files.read(Path("topology.yaml"), "topology.yaml").value
    assert "queues" not in topology


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_of_another_encoding_is_read(written, encoding):
    content = json.dumps({**BASE, "vhosts": [{"name": "größe"}]}, ensure_ascii=False)
    had = definitions.from_file(Path(written(content.encode(encoding))), "export.json")
    assert "größe" in had.vhosts


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b'{"vhosts": [{"name": "a"},\n]}', "a comma too many"),
        (b'{"vhosts": [], }', "a comma too many"),
        (b'{"vhosts": [1 2]}', r"not JSON: Expecting ',' delimiter: .* \(char 14\)$"),
        (b'{"vhosts": [NaN]}', "NaN is not a number"),
        (b'{"vhosts": [1e999]}', "no broker has a number such as 1e999"),
        (b'{"vhosts": [%s]}' % (b"9" * 5000), "a number has 5,000 digits"),
        (b'{"vhosts": ["\\ud83d"]}', "half of a character"),
        (b"[" * 100_000, "nested too deep"),
        (gzip.compress(b"{}", mtime=0), "gunzip"),
        (b"\xff", "not text in UTF-8"),
        (b"{}", "no definitions"),
        (b'{"terraform_version": "1", "resources": [5]}', "not as Terraform"),
        (b'{"terraform_version": "1", "resources": [{"type": "rabbitmq_a"}, 5]}', "not as"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(written, content, told):
    with pytest.raises(TopologyError, match=told):
        definitions.from_file(Path(written(content)), "export.json")


def test_a_terraform_state_without_resources_has_none(written):
    state = b'{"terraform_version": "1", "values": null, "resources": null}'
    assert definitions.from_file(Path(written(state)), "state").vhosts == {}


def test_yaml_that_is_not_as_the_operator_writes_it_says_so(written):
    document = b"apiVersion: rabbitmq.com/v1beta1\nkind: Queue\nspec: {name: q, arguments: [1]}\n"
    with pytest.raises(TopologyError, match="the Kubernetes operator writes it"):
        definitions.from_file(Path(written(document, "operator.yaml")), "operator.yaml")


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**70) | st.text(max_size=3) | st.just("shop"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
_KEYS = st.sampled_from(
    (
        *("name", "vhost", "type", "durable", "arguments", "source", "destination", "definition"),
        *("pattern", "apply-to", "priority", "component", "value", "user", "configure", "read"),
        *("exchange", "routing_key", "destination_type", "metadata", "limits", "tags", "tracing"),
    )
)
_ENTRIES = st.lists(st.dictionaries(_KEYS, _ANY, max_size=6) | _ANY, max_size=3)


@given(st.dictionaries(st.sampled_from(SECTIONS), _ENTRIES | _ANY, max_size=4))
def test_no_file_ends_in_a_traceback(held):
    try:
        had = definitions.parse(held, "any", "shop")
        said = express.express(had, definitions.of_vhosts(had, ()))
    except TopologyError:
        return
    if said.topologies:
        read(said.topology).check()
