"""
What shovels and federation links are known by, without a broker.
"""

from __future__ import annotations

from typing import Any

import pytest
from pytest_mock import MockerFixture

from rabbit_topology.broker.access import Access
from rabbit_topology.compiler.settings import TESTED
from rabbit_topology.errors import BrokerError
from rabbit_topology.safety import federation, links
from rabbit_topology.safety.federation import Link
from rabbit_topology.safety.links import Source

ACCESS = Access.connect(
    endpoint="http://localhost:15672",
    username="guest",
    password="x",
    hosts=["127.0.0.1", "[::1]:7"],
)


@pytest.mark.parametrize(
    ("uri", "vhost"),
    [
        ("amqp://", "/"),
        ("amqp:///v", "v"),
        ("amqp://user@/a%2Fb", "a/b"),
        ("amqp://user:secret@127.0.0.1/v", "v"),
        ("amqp://localhost:5672/%2F", "/"),
        ("amqp://[::1]:7/v", "v"),
        ("amqp://127.0.0.1:5673/v", None),
        ("amqps://127.0.0.1/v", None),
        ("amqp://elsewhere/v", None),
        ("encrypted:abc", None),
        ("amqp://[broken", None),
    ],
)
def test_a_uri_names_this_broker_or_may_name_another(uri: str, vhost: str | None) -> None:
    assert links.vhost_here(ACCESS, uri) == vhost


def test_without_a_path_a_uri_means_the_vhost_of_the_link_or_the_default_one_to_a_shovel() -> None:
    assert links.vhost_here(ACCESS, "amqp://localhost") == "/"
    assert links.vhost_here(ACCESS, "amqp://localhost", "v") == "v"
    assert links.vhost_here(ACCESS, "amqp://localhost/other", "v") == "other"


def test_the_buffer_of_a_link_to_its_own_vhost_is_named_without_it(mocker: MockerFixture) -> None:
    access = mocker.Mock()
    access.management.get.return_value = {"name": "cluster"}

    def buffer(uri: str) -> str:
        link = Link(upstream="u", exchange="e", uri=uri, upstream_exchange="there")
        return link.buffer(access, "v")

    assert buffer("amqp://") == buffer("amqp:///v") == "federation: there -> cluster:e"
    assert buffer("amqp:///w") == "federation: there -> cluster:v:e"


@pytest.mark.parametrize(
    ("info", "queue", "own"),
    [
        ({"sourceQueue": "q"}, "q", False),
        ({"sourceExchange": "e"}, None, True),
        ({"sourceAddress": "/queues/a%20b"}, "a b", False),
        ({"sourceAddress": "q"}, "q", False),
        ({"sourceAddress": "/exchange/e/key"}, None, True),
    ],
)
def test_a_shovel_takes_from_a_queue_or_has_one_of_its_own(
    info: dict[str, Any], queue: str | None, own: bool
) -> None:
    source = Source.of("m", "v", {"sourceUri": "amqp://", **info})
    assert (source.queue_name(), source.has_own_queue) == (queue, own)


def policy(name: str, pattern: str, priority: int, apply_to: str = "exchanges") -> dict[str, Any]:
    return {
        "name": name,
        "pattern": pattern,
        "apply-to": apply_to,
        "priority": priority,
        "definition": {"federation-upstream": "up"},
    }


@pytest.mark.parametrize(
    ("new", "names"),
    [
        (policy("fed", "^e$", 0), []),  # the same
        (policy("fed", "^e", 0), ["e"]),  # says the same, and is another policy all the same
        (None, ["e"]),
        (policy("fed", "^e$", 1), ["e"]),
    ],
)
def test_a_link_is_restarted_by_every_change_of_its_exchanges_policy(
    new: dict[str, Any] | None, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [policy("fed", "^e$", 0), policy("rest", ".*", 0, "queues")]
    monkeypatch.setattr(Access, "policies", lambda *_, **__: listed)
    monkeypatch.setattr(Access, "like", TESTED)
    running = [Link(upstream="up", exchange="e", uri="amqp://", upstream_exchange="e")]
    assert [one.exchange for one in federation.restarted(ACCESS, "v", running, "fed", new)] == names


def test_a_policy_beside_restarts_a_link_only_where_it_comes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Access, "policies", lambda *_, **__: [policy("fed", "^e$", 5)])
    monkeypatch.setattr(Access, "like", TESTED)
    running = [Link(upstream="up", exchange="e", uri="amqp://", upstream_exchange="e")]
    for priority, count in ((4, 0), (6, 1)):
        new = policy("beside", ".*", priority, "all")
        assert len(federation.restarted(ACCESS, "v", running, "beside", new)) == count


@pytest.mark.parametrize(
    ("owner", "connections", "count"),
    [
        (None, [], 6),
        ("1 -> 2", [], 6),
        ("1 -> 2", [{"name": "1 -> 2", "client_properties": {"connection_name": "Shovel m"}}], 6),
        ("1 -> 2", [{"name": "1 -> 2", "client_properties": {"connection_name": "an app"}}], 0),
        ("1 -> 2", [{"name": "1 -> 2"}], 0),
    ],
)
def test_a_queue_is_a_shovels_own_unless_another_connection_is_known_to_own_it(
    mocker: MockerFixture, owner: str | None, connections: list[object], count: int
) -> None:
    """The statistics may know the queue's owner before they know the connection."""
    queue = {"name": "amq.gen-1", "exclusive": True, "messages": 6}
    binding = {"destination_type": "queue", "destination": "amq.gen-1", "routing_key": "k"}
    answers = {
        "/exchanges/v/e/bindings/source": [binding],
        "/connections": connections,
        "/queues/v/amq.gen-1": {"owner_pid_details": {"name": owner} if owner else {}},
    }
    mocker.patch.object(
        type(ACCESS.management), "get", lambda _, path: answers.get(path.split("?")[0], [queue])
    )
    source = Source(shovel="m", vhost="v", uri="amqp:///v", exchange="e", routing_key="k")
    mocker.patch.object(links, "is_running", return_value=True)
    mocker.patch.object(links, "SETTLING_SECONDS", 0.0)
    if count:
        with pytest.raises(BrokerError, match="holds 6 messages"):
            links.check_shovel(ACCESS, source, stays=False)
    else:
        links.check_shovel(ACCESS, source, stays=False)
