"""
What is wrong is refused in words of its own, before anything is created, and no secret is shown.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.stacks import Result, Stack, definitions, management
from toolchain.broker import Broker
from toolchain.ports import free_ports

ADMIN, MANAGER = "bad-input-admin", "bad-input-manager"
GOOD: dict[str, Any] = {
    "vhost": "bad-input",
    "exchanges": {"e": {}},
    "queues": {"q": {}},
    "bindings": [{"source": "e", "queue": "q", "routing_key": "k"}],
}


@dataclass(frozen=True, kw_only=True)
class Refusing:
    """A stack on a broker with an administrator's encrypted password, and one without the tag."""

    stack: Stack
    password: str
    encrypted: dict[str, str]
    encrypted_wrong: dict[str, str]

    def configure(self, topology: Any, **settings: Any) -> None:
        provider = {"username": ADMIN, "password": self.encrypted, **settings}
        self.stack.configure(topology, **provider)

    def refused(self, *expected: str) -> Result:
        """Run `up`; check that it fails with these words, changes nothing and shows no secret."""
        before = definitions(self.stack.broker)
        result = self.stack.up("--diff", check=False)
        assert result.status != 0, result.text
        for words in expected:
            assert words in result.text
        assert "Traceback" not in result.text
        assert self.password not in result.text
        assert definitions(self.stack.broker) == before
        return result


@pytest.fixture(scope="module")
def broker(start_broker: Callable[[str], Broker]) -> Broker:
    return start_broker("4.0")


@pytest.fixture(scope="module")
def refusing(
    tmp_path_factory: pytest.TempPathFactory, engine_env: dict[str, str], broker: Broker
) -> Iterator[Refusing]:
    password = f"pass-{secrets.token_hex(8)}"
    api = management(broker)
    for user, tags in ((ADMIN, "administrator"), (MANAGER, "management")):
        api.request("PUT", f"/users/{user}", {"password": password, "tags": tags})
    stack = Stack(tmp_path_factory.mktemp("stack"), engine_env, broker)
    yield Refusing(
        stack=stack,
        password=password,
        encrypted=stack.encrypted(password),
        encrypted_wrong=stack.encrypted(f"{password}-wrong"),
    )
    for user in (ADMIN, MANAGER):
        api.request("DELETE", f"/users/{user}")


def with_binding(**changed: Any) -> dict[str, Any]:
    binding = {**GOOD["bindings"][0], **changed}
    return {**GOOD, "bindings": [{key: one for key, one in binding.items() if one is not None}]}


LONG = "é" * 128


@pytest.mark.parametrize(
    ("topology", "expected"),
    [
        pytest.param(
            {**GOOD, "exchange": {}},
            ["topology.exchange: {}: this key is not known here", 'did you mean "exchanges"?'],
            id="unknown key",
        ),
        pytest.param(
            {**GOOD, "queues": {"q": {"durable": "yes"}}},
            ['topology.queues.q.durable: "yes": this is true or false'],
            id="wrong type",
        ),
        pytest.param(
            {**GOOD, "exchanges": {"e": {"type": "topics"}}},
            ['topology.exchanges.e.type: "topics": ', 'did you mean "topic"?'],
            id="unknown exchange type",
        ),
        pytest.param(
            with_binding(queue="qq"),
            ['topology.bindings[0].queue: "qq": it is not a declared queue', 'did you mean "q"?'],
            id="binding to an undeclared queue",
        ),
        pytest.param(
            with_binding(source="nowhere"),
            ['topology.bindings[0].source: "nowhere": it is not a declared exchange'],
            id="binding from an undeclared exchange",
        ),
        pytest.param(
            {**GOOD, "bindings": GOOD["bindings"] * 2},
            ["topology.bindings[1]: ", "the same binding stands in bindings[0]"],
            id="duplicate binding",
        ),
        pytest.param(
            {},
            ["topology.vhost: missing: it is needed"],
            id="empty topology",
        ),
        pytest.param(
            None,
            ["topology: missing: a stack needs a topology", "the shortest one is:"],
            id="no topology",
        ),
        pytest.param(
            {**GOOD, "queues": {"q": {}, "a@b": {}}},
            ['topology.queues["a@b"]: "a@b": "@" separates the parts'],
            id="@ in a queue",
        ),
        pytest.param(
            {**GOOD, "exchanges": {"e": {}, "a/b": {}}},
            ['topology.exchanges["a/b"]: "a/b": "/" separates the parts'],
            id="/ in an exchange",
        ),
        pytest.param(
            {**GOOD, "queues": {"q": {}, LONG: {}}},
            ["a name has at most 255 bytes in UTF-8, this one has 256"],
            id="name of 256 bytes",
        ),
        pytest.param(
            {**GOOD, "queues": {"q": {}, "amq.mine": {}}},
            ['topology.queues["amq.mine"]: ', 'begin with "amq." are reserved'],
            id="reserved prefix",
        ),
    ],
)
def test_a_wrong_topology_is_refused(
    refusing: Refusing, topology: Any, expected: list[str]
) -> None:
    refusing.configure(topology)
    refusing.refused("1 problem in the config, nothing was changed", *expected)


def test_all_problems_are_reported_at_once(refusing: Refusing) -> None:
    refusing.configure(
        {
            **with_binding(queue=None, exchange="ee", routing_key="k" * 256),
            "vhost": "a@b",
            "exchange": {},
            "queues": {"q": {}, "a@b": {"type": "qorum", "durabel": True}},
        },
        broker={"host": "localhost", "hosts": ["a:b:c"]},
        endpoint="localhost:15672",
    )
    refusing.refused(
        "10 problems in the config, nothing was changed",
        'rabbitmq:endpoint: "localhost:15672": the endpoint is the URL of the management API',
        "topology.exchange: {}: this key is not known here",
        'topology.queues["a@b"].type: "qorum": one of classic, quorum, stream',
        'topology.queues["a@b"].durabel: true: this key is not known here',
        "broker.host: ",
        'topology.vhost: "a@b": ',
        'topology.queues["a@b"]: "a@b": ',
        "topology.bindings[0].routing_key: ",
        'topology.bindings[0].exchange: "ee": it is not a declared exchange',
        'broker.hosts[0]: "a:b:c": ',
    )


def test_no_config_at_all_says_what_to_set(refusing: Refusing) -> None:
    refusing.configure(None, broker=None, endpoint=None, username=None, password=None)
    refusing.refused(
        "pulumi config set rabbitmq:endpoint http://localhost:15672",
        "pulumi config set rabbitmq:username guest",
        "pulumi config set rabbitmq:password --secret",
        "topology: missing: a stack needs a topology",
    )


def test_a_name_that_stands_twice_is_refused_by_the_engine(refusing: Refusing) -> None:
    refusing.configure(GOOD)
    file = refusing.stack.config_file
    once = "    queues:\n      q: {}\n"
    assert once in file.read_text()
    file.write_text(file.read_text().replace(once, f"{once}      q:\n        type: stream\n"))
    refusing.refused('mapping key "q" already defined at line ')


def test_an_endpoint_that_does_not_answer_fails_an_update_and_not_a_preview(
    refusing: Refusing,
) -> None:
    (port,) = free_ports(1)
    endpoint = f"http://127.0.0.1:{port}"
    refusing.configure(GOOD, endpoint=endpoint)
    refusing.refused(
        f"rabbitmq:endpoint {endpoint} does not answer", "check that the broker runs", "nothing was"
    )
    preview = refusing.stack.preview()
    assert f"warning: rabbitmq:endpoint {endpoint} does not answer" in preview.text
    assert "this preview goes by the stack's state alone" in preview.text
    assert preview.changes == {"create": 5, "unchanged": 1}
    assert refusing.password not in preview.text


def test_a_wrong_password_is_refused_also_by_a_preview(refusing: Refusing) -> None:
    refusing.configure(GOOD, password=refusing.encrypted_wrong)
    words = (f"refuses user '{ADMIN}'", "check rabbitmq:username and rabbitmq:password")
    refusing.refused(*words)
    preview = refusing.stack.preview(check=False)
    assert preview.status != 0
    assert all(word in preview.text for word in words)
    assert refusing.password not in preview.text


def test_a_user_that_may_not_administer_is_refused(refusing: Refusing) -> None:
    refusing.configure(GOOD, username=MANAGER)
    refusing.refused(
        f"user '{MANAGER}' is not an administrator",
        "its tags: management",
        f"rabbitmqctl set_user_tags {MANAGER} administrator",
    )


def test_the_password_is_in_no_output_and_not_in_the_state(refusing: Refusing) -> None:
    refusing.configure(GOOD)
    stack = refusing.stack
    shown = [
        stack.preview("--diff"),
        stack.preview("--json"),
        stack.up("--diff"),
        stack.pulumi("stack", "output", "--stack", stack.name),
        stack.pulumi("stack", "output", "--json", "--stack", stack.name),
        stack.pulumi("stack", "output", "connection_url", "--stack", stack.name),
    ]
    assert refusing.password in stack.outputs()["connection_url"]
    for result in shown:
        assert refusing.password not in result.text
    written = [file for file in stack.state.rglob("*") if file.is_file()]
    assert any(b"connection_url" in file.read_bytes() for file in written)
    for file in written:
        assert refusing.password.encode() not in file.read_bytes(), file
    stack.destroy()
