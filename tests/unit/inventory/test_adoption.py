"""
What is compared of an object that the broker has already, and what is said of a difference.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from rabbit_topology import parse
from rabbit_topology.broker.access import Access
from rabbit_topology.broker.inventory import Inventory
from rabbit_topology.broker.management import Management, NotFoundError
from rabbit_topology.inventory import adoption
from rabbit_topology.inventory.adoption import Wanted

SALT = b"salt"


def hashed(password: str, algorithm: str = "sha256") -> str:
    digest = hashlib.new(algorithm, SALT + password.encode()).digest()
    return base64.b64encode(SALT + digest).decode()


@pytest.fixture
def differences(monkeypatch):
    def run(one: Wanted, answers: dict[str, Any]) -> list[str] | None:
        def get(_self: Management, path: str) -> Any:
            if path not in answers:
                raise NotFoundError("http://fake", path)
            return answers[path]

        monkeypatch.setattr(Management, "get", get)
        management = Management(endpoint="http://fake", username="u", password="p")
        seen = adoption.look(Inventory(Access(management=management, addresses=[])), [one])
        if not (seen.equal or seen.different):
            return None
        return [text for _, texts in seen.different for text in texts]

    return run


def wanted(kind: str, **said: Any) -> Wanted:
    topology = parse({"vhost": "v", **said})[0]
    (one,) = (
        one for one in adoption.wanted(topology, lambda _, user: user.password) if one.kind == kind
    )
    return one


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_password_is_known_by_its_hash(algorithm):
    stated, name = hashed("pä:ss", algorithm), f"rabbit_password_hashing_{algorithm}"
    assert adoption.verifies(stated, name, "pä:ss")
    assert not adoption.verifies(stated, name, "pass")
    assert not adoption.verifies("", name, "")
    assert not adoption.verifies(stated, "rabbit_password_hashing_md5", "pä:ss")


@pytest.mark.parametrize("tags", [["b", "a"], "b,a"])
def test_a_user_is_compared_by_tags_and_password_and_no_password_is_shown(differences, tags):
    one = wanted("user", users={"app": {"password": "secret", "tags": ["a", "b"]}})
    there = {"hashing_algorithm": "rabbit_password_hashing_sha256", "tags": tags}
    assert differences(one, {}) is None
    same = {"/users/app": {**there, "password_hash": hashed("secret")}}
    assert differences(one, same) == []
    other = {"/users/app": {**there, "tags": [], "password_hash": hashed("other")}}
    assert differences(one, other) == ['tags: none -> ["a", "b"]', "password: another"]


def test_a_password_that_is_not_known_counts_as_another(differences):
    one = wanted("user", users={"app": {}})
    there = {"tags": [], "password_hash": hashed("x"), "hashing_algorithm": "y"}
    assert differences(one, {"/users/app": there}) == ["password: another"]


def in_vhost(**more: Any) -> dict[str, Any]:
    """Return the answers of a broker for a vhost that has ``queues`` and ``parameters``."""
    return {
        "/vhosts/v": {},
        "/queues/v?disable_stats=true": more.get("queues", []),
        "/parameters": [{"vhost": "v", **one} for one in more.get("parameters", [])],
    }


@pytest.mark.parametrize("arguments", [{}, {"x-queue-type": "classic"}])
def test_a_queue_without_a_type_is_a_classic_one(differences, arguments):
    one = wanted("queue", queues={"q": {"type": "classic"}})
    there = {"name": "q", "durable": True, "auto_delete": False, "arguments": arguments}
    assert differences(one, in_vhost(queues=[there])) == []
    there["arguments"] = {"x-max-priority": 3}
    assert differences(one, in_vhost(queues=[there])) == ["x-max-priority: 3 -> none"]


def test_passwords_within_arguments_are_not_shown(differences):
    one = wanted("queue", queues={"q": {"type": "classic", "arguments": {"x": "a://u:mine@h"}}})
    there = {"name": "q", "durable": True, "auto_delete": False, "arguments": {}}
    assert differences(one, in_vhost(queues=[there])) == ['x: none -> "a://[not shown]@h"']
    there["arguments"] = {"x": "a://u:theirs@h"}
    assert differences(one, in_vhost(queues=[there])) == ["x: another"]


def test_what_a_parameter_leaves_out_is_what_the_broker_takes_then(differences):
    uri = "amqp://user:secret@there"
    said = {
        "source_uri": uri,
        "source_queue": "a",
        "destination_uri": uri,
        "destination_queue": "b",
    }
    one = wanted("shovel", queues={"a": {}, "b": {}}, shovels={"m": said})
    value = {"src-uri": [uri], "src-queue": "a", "dest-uri": uri, "dest-queue": "b"}

    def there(**more: Any) -> dict[str, Any]:
        parameter = {"component": "shovel", "name": "m", "value": {**value, **more}}
        return in_vhost(parameters=[parameter])

    assert differences(one, there()) == []
    assert differences(one, there(**{"ack-mode": "on-confirm", "reconnect-delay": 1})) == []
    assert differences(one, there(**{"ack-mode": "no-ack"})) == [
        'ack-mode: "no-ack" -> "on-confirm"'
    ]
    assert differences(one, there(**{"dest-uri": "amqp://user:other@there"})) == [
        "dest-uri: another"
    ]
    assert differences(one, there(**{"src-queue-args": {"x": 1}})) == [
        'src-queue-args: {"x": 1} -> none'
    ]
