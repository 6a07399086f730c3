from __future__ import annotations

import jsonschema
import pytest
import yaml

from toolchain import schema

ROOT = schema.FOLDER.parent
STACK = jsonschema.Draft7Validator(schema.stack())
SHARED = jsonschema.Draft7Validator(schema.topology())

SEED = """
vhost: ai-dev
exchanges: {inference: {type: direct}, plain: }
queues:
  inference.requests:
  other: {dead_letter: true, message_ttl: 1h30m, max_length_bytes: 2GiB}
bindings: [{source: inference, queue: inference.requests, routing_key: inference.request}]
"""


def of_stack(topology=SEED, **keys):
    config = {f"rabbit-topology:{key}": value for key, value in keys.items()}
    if topology is not None:
        config["rabbit-topology:topology"] = yaml.safe_load(topology)
    return {"config": config, "encryptionsalt": "v1:x"}


def test_the_committed_schemas_are_those_of_today():
    files = schema.files()
    assert {one.name for one in files} == {one.name for one in schema.FOLDER.iterdir()}
    for file, content in files.items():
        assert file.read_text() == content, "run `make docs`"


def test_they_are_schemas_and_explain_every_key():
    for one in (schema.stack(), schema.topology()):
        jsonschema.Draft7Validator.check_schema(one)
        for name, shape in one["$defs"].items():
            for key, field in shape.get("properties", {}).items():
                assert "description" in field or name == "Secret", f"{name}.{key}"


def test_the_dev_stack_fits_and_points_to_its_schema():
    text = (ROOT / "Pulumi.dev.yaml").read_text()
    STACK.validate(yaml.safe_load(text))
    first = text.splitlines()[0]
    assert first == "# yaml-language-server: $schema=schema/stack.json"


@pytest.mark.parametrize(
    "file", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda one: one.stem
)
def test_the_examples_fit_and_point_to_their_schema(file):
    text = file.read_text()
    SHARED.validate(yaml.safe_load(text))
    assert text.startswith("# yaml-language-server: $schema=../schema/topology.json\n")


GOOD = [
    of_stack(),
    of_stack(seed={"secure": "v1:abc"}, broker={"version": "4.0", "hosts": ["a"], "tls": True}),
    of_stack(safety={"preview": "error"}, base=["a.yaml", "b.yaml"]),
    of_stack(None, base="a.yaml"),
    of_stack("queues: {orders: null, other: {max_length: null}}", base="a.yaml"),
    of_stack("{secure: 'v1:whole'}"),
    of_stack("{vhosts: {a: , b: {queues: {q: }}}}"),
    of_stack("{vhosts: {a: null, b: {queues: {q: null}}}}", base="a.yaml"),
    of_stack(lint={"ignore": [{"rule": "a", "path": "topology.queues", "reason": "so"}]}),
    of_stack("{vhost: v, users: {ops: {password: {secure: 'v1:x'}, tags: [monitoring]}}}"),
    of_stack("{vhost: v, shovels: {s: {source_uri: {secure: x}, destination_uri: 'amqp://'}}}"),
    of_stack("{vhost: v, exchanges: {e: {type: x-random, arguments: {a: b}}}}"),
    of_stack("{vhost: v, exchanges: {e: {}}, services: {s: {publishes: [e, {exchange: e}]}, t: }}"),
    of_stack("{vhost: v, queues: {q: {retry: {delays: [5s, 60000]}, arguments: {x: [1, true]}}}}"),
    of_stack("{vhost: v, policies: {p: {pattern: a, apply_to: queues, definition: {a: 1}}}}"),
    {"config": {**of_stack()["config"], "rabbitmq:insecure": True, "aws:region": "x"}},
]


@pytest.mark.parametrize("document", GOOD)
def test_what_is_right_is_taken(document):
    STACK.validate(document)


BAD = {
    "no topology": of_stack(None),
    "unknown key of ours": of_stack(topolgy={}),
    "unknown key of a topology": of_stack("{vhost: v, queus: {}}"),
    "unknown key of a queue": of_stack("{vhost: v, queues: {q: {typ: quorum}}}"),
    "unknown key beside a base": of_stack("{queues: {q: {typ: quorum}}}", base="a.yaml"),
    "unknown type": of_stack("{vhost: v, queues: {q: {type: quorun}}}"),
    "unknown exchange type": of_stack("{vhost: v, exchanges: {e: {type: dirct}}}"),
    "something beside several vhosts": of_stack("{vhosts: {a: }, queues: {}}"),
    "no vhosts": of_stack("{vhosts: {}}"),
    "unknown key in a vhost": of_stack("{vhosts: {a: {queus: {}}}}"),
    "no vhost": of_stack("queues: {}"),
    "null where nothing is to be removed": of_stack("{vhost: v, queues: {q: {type: null}}}"),
    "text for a number": of_stack("{vhost: v, queues: {q: {max_length: '5'}}}"),
    "a unit there is not": of_stack("{vhost: v, queues: {q: {message_ttl: 5 min}}}"),
    "number for text": of_stack("vhost: 5"),
    "a name that cannot be read back": of_stack("{vhost: v, queues: {a@b: {}}}"),
    "ignored without a reason": of_stack(lint={"ignore": [{"rule": "a", "path": "b"}]}),
    "plain mapping for a secret": of_stack("{vhost: v, users: {u: {password: {plain: x}}}}"),
    "base of another shape": of_stack(base={"file": "a.yaml"}),
    "policy with no definition": of_stack("{vhost: v, policies: {p: {pattern: a}}}"),
    "half a binding beside a base": of_stack("{bindings: [{queue: q}]}", base="a.yaml"),
}


@pytest.mark.parametrize("document", BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_not(document):
    assert not STACK.is_valid(document)


def test_a_shared_file_may_hold_any_part_and_no_secret():
    SHARED.validate(yaml.safe_load(SEED))
    SHARED.validate({"queues": {"q": {"dead_letter": False}, "r": None}})
    SHARED.validate({"vhosts": {"a": {"queues": {"q": None}}}})
    SHARED.validate({"policies": {"p": {"priority": 5}}})
    assert not SHARED.is_valid({"users": {"u": {"password": {"secure": "v1:x"}}}})
    assert not SHARED.is_valid({"rabbit-topology:topology": {}})
    assert not SHARED.is_valid([])
