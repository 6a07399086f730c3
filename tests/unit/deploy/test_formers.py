"""
Which users of other rotations stay beside the present ones.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pulumi
import pytest

from rabbit_topology import Access, Topology, TopologyArgs
from rabbit_topology.broker.management import NotFoundError
from rabbit_topology.deploy import formers
from rabbit_topology.deploy.formers import Former
from rabbit_topology.deploy.guard import VhostGuard
from rabbit_topology.deploy.record import Record
from rabbit_topology.errors import BrokerError, TopologyError
from rabbit_topology.lint.reading import parse
from rabbit_topology.model import SafetySettings
from rabbit_topology.safety.run import Run
from rabbit_topology.services.credentials import derive

USER = "rabbitmq:index/user:User"
PERMISSIONS = "rabbitmq:index/permissions:Permissions"
SEED = "a seed of the tests"


def topology(**services: Any) -> Any:
    return parse({"vhost": "v", "queues": {"q": {}}, "services": services})[0]


def rotated(rotation: int = 2, **more: Any) -> dict[str, Any]:
    return {"rotates": "user", "rotation": rotation, "consumes": ["q"], **more}


def found(known: dict[str, str], **services: Any) -> list[Former]:
    return [*formers.find(known, "t", [topology(**services)])]


def former(user: str = "v.s", **more: Any) -> Former:
    given = {"successor": "v.s.3", "is_followed": True, "is_last": True, "rotation": 1, **more}
    return Former(vhost="v", service="s", user=user, **given)


BASE = {"t/v/service/s": "v.s"}


class TestFound:
    def test_those_of_other_rotations_and_whether_they_can_be_left(self):
        known = {**BASE, "t/v/rotation/2/s": "v.s.2", "t/v/rotation/3/s": "v.s.3"}
        assert found(known, s=rotated(3)) == [
            former(is_last=False),
            former("v.s.2", rotation=2, is_last=True),
        ]
        assert [one.is_followed for one in found(known, s=rotated(4))] == [False] * 3

    def test_after_a_rotation_is_taken_back(self):
        known = {**BASE, "t/v/rotation/2/s": "v.s.2"}
        (one,) = found(known, s=rotated(1))
        assert (one.user, one.successor, one.rotation, one.is_followed) == ("v.s.2", "v.s", 2, True)

    def test_with_the_name_that_it_was_made_with(self):
        assert [one.user for one in found({"t/v/service/s": "old"}, s=rotated())] == ["old"]

    @pytest.mark.parametrize(
        ("known", "services"),
        [
            ({}, {"s": rotated()}),
            (BASE, {"s": rotated(1)}),
            (BASE, {"s": {"rotation": 2}}),
            ({"t/w/service/s": "w.s"}, {"s": rotated()}),
            ({"other/v/service/s": "v.s"}, {"s": rotated()}),
            ({"t/v/rotation/x/s": "v.s.x"}, {"s": rotated()}),
            ({"t/v/rotation/2/s": "v.s.2"}, {"other": {}}),
            # Another service has it now.
            (BASE, {"s": rotated(), "o": {"username": "v.s"}}),
        ],
    )
    def test_of_what_is_none(self, known, services):
        assert found(known, **services) == []


class Broker:
    """Says how many connections a user has: each time the next number, the last one for ever."""

    def __init__(self, **connections: list[int | None]) -> None:
        self.connections = {name.replace("_", "."): list(n) for name, n in connections.items()}

    def count(self, user: str) -> int | None:
        numbers = self.connections.get(user, [0])
        return numbers.pop(0) if len(numbers) > 1 else numbers[0]


def decided(
    *those: Former, broker: Broker | None, is_preview: bool = False, seconds: float = 0.3
) -> tuple[list[str], list[str]]:
    """Return who stays, and what is said."""
    said: list[str] = []
    count = broker.count if broker else None
    stay = formers.staying(those, count, is_preview=is_preview, report=said.append, seconds=seconds)
    return [one.user for one in stay], said


class TestStaying:
    def test_in_use(self):
        for connections, use in ((1, "1 connection uses"), (1200, "1,200 connections use")):
            users, said = decided(former(is_last=False), broker=Broker(v_s=[connections]))
            assert users == ["v.s"]
            assert said == [f"user v.s stays: {use} it; the next update that finds none removes it"]

    def test_while_nobody_could_have_the_next_one(self):
        users, (said,) = decided(former(is_followed=False), broker=Broker(v_s_3=[5]))
        assert users == ["v.s"]
        assert said == "user v.s stays: v.s.3 takes its place, and is not handed out yet"

    def test_while_nobody_uses_the_next_one(self):
        users, (said,) = decided(former(), broker=Broker())
        assert users == ["v.s"]
        assert "nobody is connected as v.s.3 so far" in said

    def test_where_the_broker_is_not_known_until_the_next_rotation(self):
        users, said = decided(former(), former("v.s.2", is_last=False), broker=None)
        assert users == ["v.s"]
        assert "the next rotation removes it" in said[0]
        assert said[1] == "user v.s.2 goes, unless a connection uses it"

    def test_no_longer_once_the_next_one_is_used_or_the_one_after(self):
        for one, broker in ((former(), Broker(v_s_3=[1])), (former(is_last=False), Broker())):
            assert decided(one, broker=broker) == ([], ["user v.s goes: no connection uses it"])
            users, (said,) = decided(one, broker=broker, is_preview=True)
            assert users == []
            assert said.startswith("user v.s goes, unless somebody connects as it within 0.3 s")

    def test_no_longer_once_somebody_has_deleted_it(self):
        users, said = decided(former(), broker=Broker(v_s=[None]))
        assert (users, said) == ([], ["user v.s goes: no connection uses it"])

    def test_who_connects_for_moments_is_seen(self):
        users, (said,) = decided(former(), broker=Broker(v_s=[0, 0, 1, 0], v_s_3=[1]), seconds=5)
        assert (users, said[:29]) == (["v.s"], "user v.s stays: 1 connection ")

    def test_a_broker_that_cannot_be_asked_is_no_broker_without_connections(self):
        def count(_user: str) -> int:
            raise BrokerError("", "away")

        with pytest.raises(BrokerError):
            formers.staying([former()], count, is_preview=True, report=print)


def access(connections: int) -> Any:
    asked: list[str] = []

    def get(path: str) -> list[dict[str, str]]:
        asked.append(path)
        if path == "/users/gone":
            raise NotFoundError("", path)
        return [{}] * connections

    management = SimpleNamespace(get=get, username="admin", endpoint="http://mq", asked=asked)
    requested: list[Any] = []
    return SimpleNamespace(
        management=management,
        requested=requested,
        request_if_there=lambda *names: requested.append(names),
    )


class TestRightBeforeTheDeletion:
    def deleted(self, user: str, connections: int, *, is_preview: bool = False, **services: Any):
        guard = VhostGuard(
            hooks=None,
            children=SimpleNamespace(has=lambda *_: False),
            topology=topology(**services),
            run=Run(is_preview=is_preview, settings=SafetySettings(), report=print, warn=print),
            everyone=list,
            deployed=dict,
        )
        guard.access = access(connections)
        asyncio.run(guard.before_permissions({"user": user, "vhost": "v"}))
        return guard.access

    def test_who_has_connected_meanwhile_keeps_its_user(self):
        with pytest.raises(TopologyError, match=r"user v\.s, .* is not deleted: 2 connections use"):
            self.deleted("v.s", 2, s=rotated())
        went = self.deleted("v.s", 0, s=rotated())
        assert went.requested == [("DELETE", "permissions", "v", "v.s")]
        assert went.management.asked[0] == "/connections/username/v.s"

    def test_others_go_as_ever(self):
        for services in ({}, {"s": {"rotation": 2}}, {"o": rotated()}):
            assert self.deleted("v.s", 2, **services).requested
        assert self.deleted("v.s", 2, is_preview=True, s=rotated()).requested == []

    def test_names_are_encoded(self):
        one = access(3)
        assert formers.connections_of(one, "v.s/ü") == 3
        assert formers.connections_of(access(0), "v.s") == 0
        assert formers.connections_of(access(0), "gone") is None
        assert one.management.asked == ["/connections/username/v.s%2F%C3%BC"]


def deployed(deploy, monkeypatch, known: dict[str, str], **services: Any):
    """Deploy services where the stack has these users, and nobody is connected."""
    state = {
        f"urn:pulumi:test::p::x${USER}::{logical}": {"type": USER, "outputs": {"name": name}}
        for logical, name in known.items()
    }
    monkeypatch.setattr(Record, "_resources", lambda _: state)
    monkeypatch.setattr(formers, "connections_of", lambda *_: 0)
    reached = Access.connect(endpoint="http://mq:15672", username="u", password="p", hosts=["mq"])
    args = TopologyArgs(topology=topology(**services), access=reached, seed=SEED)

    def program() -> None:
        for name, value in Topology("t", args).outputs.items():
            pulumi.export(name, value)

    return deploy(program)


def passwords(deployment: Any) -> dict[str, str]:
    return {one.name: one.inputs["password"] for one in deployment.of(USER)}


class TestMade:
    def test_the_first_rotation_is_as_without(self, deploy, monkeypatch):
        plain = deployed(deploy, monkeypatch, {}, s={"consumes": ["q"]})
        one = deployed(deploy, monkeypatch, BASE, s=rotated(1))
        assert one.exports == plain.exports
        # The engine is asked for several at once, in no order.
        registered = [{each.urn: each for each in those.registrations} for those in (plain, one)]
        assert registered[0] == registered[1]

    def test_each_further_one_is_a_user_of_its_own(self, deploy, monkeypatch):
        one = deployed(deploy, monkeypatch, {}, s=rotated(3))
        assert passwords(one) == {"t/v/rotation/3/s": derive(SEED, "test", "v.s.3", 3)}
        assert "//v.s.3:" in one.exports["service_urls"]["s"]

    def test_the_former_one_stays_with_what_it_may_do(self, deploy, monkeypatch):
        one = deployed(deploy, monkeypatch, BASE, s=rotated(2))
        assert passwords(one) == {
            "t/v/rotation/2/s": derive(SEED, "test", "v.s.2", 2),
            "t/v/service/s": derive(SEED, "test", "v.s", 1),
        }
        new, old = (
            one.one(PERMISSIONS, f"t/v/{name}").inputs for name in ("rotation/2/s", "service/s")
        )
        assert (new["user"], old["user"]) == ("v.s.2", "v.s")
        assert new["permissions"] == old["permissions"]
        assert {each.secrets for each in one.of(USER)} == {frozenset({"password"})}

    def test_a_password_of_its_own_is_that_of_the_new_one(self, deploy, monkeypatch):
        one = deployed(deploy, monkeypatch, {}, s=rotated(2, password="p@ss"))
        assert passwords(one) == {"t/v/rotation/2/s": "p@ss"}
