"""
Services that `rotates: user`: who reloads late is never refused, and what nobody uses goes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ProbableAuthenticationError
from yarl import URL

from rabbit_topology.broker.management import NotFoundError
from tests.support.stacks import Result, Stack, command, management, wait_for

SEED = "a seed of the tests"
PAUSE_SECONDS = 0.3
"""How long a client is connected, and how long it is not."""


def topology(vhost: str, **service: Any) -> dict[str, Any]:
    does = {"publishes": [{"exchange": "e", "routing_key": "k.*"}], "consumes": ["q"]}
    return {
        "vhost": vhost,
        "exchanges": {"e": {"type": "topic"}},
        "queues": {"q": {"type": "classic"}},
        "bindings": [{"source": "e", "queue": "q", "routing_key": "#"}],
        "services": {"app": {**does, **service}},
    }


@dataclass
class Client:
    """One process of a service, which connects again and again with the URL that it has loaded."""

    url: str
    done: list[bytes] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    connections: int = 0

    def run(self, ended: Event, publishes: bool) -> None:
        while not ended.is_set():
            try:
                with pika.BlockingConnection(pika.URLParameters(self.url)) as connection:
                    self.connections += 1
                    channel = connection.channel()
                    self._publish(channel) if publishes else self._consume(channel)
                    ended.wait(PAUSE_SECONDS)
            except AMQPError as error:
                self.refused.append(repr(error))
            ended.wait(PAUSE_SECONDS)

    def _publish(self, channel: BlockingChannel) -> None:
        body = str(len(self.done)).encode()
        channel.confirm_delivery()
        channel.basic_publish("e", "k.1", body, mandatory=True)
        self.done.append(body)

    def _consume(self, channel: BlockingChannel) -> None:
        while True:
            method, _, body = channel.basic_get("q")
            if method is None:
                return
            channel.basic_ack(method.delivery_tag)
            self.done.append(body)

    def reload(self, url: str) -> None:
        """Take another URL, and wait until a connection was made with it."""
        self.url = url
        before = self.connections
        wait_for(lambda: self.connections > before + 1, "it has connected again")


@contextmanager
def at_work(*clients: tuple[Client, bool]) -> Iterator[None]:
    ended = Event()
    with ThreadPoolExecutor() as threads:
        running = [threads.submit(client.run, ended, publishes) for client, publishes in clients]
        try:
            yield
        finally:
            ended.set()
        for one in running:
            one.result()


def users(stack: Stack, vhost: str) -> list[str]:
    names = [one["name"] for one in management(stack.broker).get("/users")]
    return sorted(name for name in names if name.startswith(f"{vhost}.app"))


def url_of(stack: Stack) -> str:
    return str(stack.outputs()["service_urls"]["app"])


def password_of(url: str) -> str:
    return str(URL(url).password)


def test_nobody_is_refused_while_services_reload_late(stack: Stack, vhost: str):
    texts: list[Result] = []

    def up(**service: Any) -> Result:
        stack.configure(topology(vhost, **service), seed=SEED)
        texts.append(stack.up())
        return texts[-1]

    first, second = f"{vhost}.app", f"{vhost}.app.2"
    up()
    assert set(up(rotates="user").changes) == {"unchanged"}
    old = url_of(stack)
    publisher, consumer = Client(old), Client(old)
    with at_work((publisher, True), (consumer, False)):
        wait_for(lambda: consumer.done, "messages arrive")

        # The other user, its permissions and its topic permissions.
        rotated = up(rotates="user", rotation=2)
        assert rotated.changes == {"created": 3, "unchanged": rotated.changes["unchanged"]}
        assert f"user {first} stays" in rotated.text
        new = url_of(stack)
        assert (URL(new).user, users(stack, vhost)) == (second, [first, second])
        assert (
            f"AMQP_USERNAME={second}\n"
            in command(stack, "env", "app", "--stack", stack.name).stdout
        )

        # Nobody has reloaded; then one of two.
        for _ in range(2):
            kept = up(rotates="user", rotation=2)
            assert set(kept.changes) == {"unchanged"}
            assert (
                f"user {first} stays: 1 connection uses it" in kept.text
                or (f"user {first} stays: 2 connections use it" in kept.text)
                or f"user {first} stays: nobody is connected as {second} so far" in kept.text
            )
            publisher.reload(new)
        assert users(stack, vhost) == [first, second]

        # What the service may do changes for both.
        wider = up(rotates="user", rotation=2, binds=["e"])
        assert wider.changes["updated"] == 4, wider.text

        consumer.reload(new)
        texts.append(stack.preview())
        gone = None
        for _ in range(5):  # it may find no connection of the new one at the moment that it looks
            gone = up(rotates="user", rotation=2, binds=["e"])
            if "deleted" in gone.changes:
                break
        assert gone and gone.changes.get("deleted") == 3, gone and gone.text
        assert f"user {first} goes" in gone.text
        assert users(stack, vhost) == [second]
        assert set(up(rotates="user", rotation=2, binds=["e"]).changes) == {"unchanged"}
        before = len(consumer.done)
        wait_for(lambda: len(consumer.done) > before + 2, "messages arrive")

    assert (publisher.refused, consumer.refused) == ([], [])
    assert publisher.connections > 10 and consumer.connections > 10
    with pytest.raises(ProbableAuthenticationError):
        pika.BlockingConnection(pika.URLParameters(old))
    for result in texts:
        for url in (old, new):
            assert password_of(url) not in result.text


def test_a_user_of_the_rotation_before_stays_until_the_next_is_used(one_stack: Stack, vhost: str):
    stack = one_stack

    def up(rotation: int, **service: Any) -> Result:
        stack.configure(topology(vhost, rotates="user", rotation=rotation, **service), seed=SEED)
        return stack.up()

    names = [f"{vhost}.app", f"{vhost}.app.2", f"{vhost}.app.3"]
    up(1)
    urls = [url_of(stack)]
    with pika.BlockingConnection(pika.URLParameters(urls[0])):
        up(2)
        urls.append(url_of(stack))
        looked = stack.preview()
        assert f"user {names[0]} stays: 1 connection uses it" in looked.text

        drift = command(stack, "drift", "--format", "json")
        assert (drift.returncode, json.loads(drift.stdout)["drifts"]) == (0, []), drift.stderr
        seen = " ".join(command(stack, "status").stdout.split())
        assert "1 connection uses a user of before its rotation" in seen
        assert "it is not connected" not in seen

        # A third: the one before stays since nobody has the new one; the first is in use.
        third = up(3)
        assert users(stack, vhost) == names
        assert f"user {names[1]} stays: {names[2]} takes its place" in third.text
        assert f"nobody is connected as {names[2]} so far" in up(3).text

    # Nobody uses the first, and it is not the one before.
    assert f"user {names[0]} goes" in up(3).text
    assert users(stack, vhost) == names[1:]
    with pytest.raises(NotFoundError):
        management(stack.broker).get(f"/users/{names[0]}")

    # Back: the user is there, and has the password that it had.
    back = up(2)
    assert set(back.changes) == {"unchanged"}
    assert url_of(stack) == urls[1]
    with pika.BlockingConnection(pika.URLParameters(urls[1])):
        assert f"user {names[2]} goes, unless" in stack.preview().text
        assert up(2).changes["deleted"] == 3
    assert set(stack.up("--refresh").changes) == {"unchanged"}
    stack.destroy()
    assert users(stack, vhost) == []


def test_a_password_that_has_leaked_is_refused_at_once(one_stack: Stack, vhost: str):
    """The user is deleted by hand; what the stack does after that does not fail on it."""
    stack, first = one_stack, f"{vhost}.app"
    for rotation in (1, 2):
        stack.configure(topology(vhost, rotates="user", rotation=rotation), seed=SEED)
        stack.up()
    management(stack.broker).request("DELETE", f"/users/{first}")
    stack.configure(topology(vhost, rotates="user", rotation=2, binds=["e"]), seed=SEED)
    changed = stack.up()
    assert (changed.changes["deleted"], changed.changes["updated"]) == (3, 2)
    assert users(stack, vhost) == [f"{first}.2"]


def test_it_is_begun_in_the_middle_of_a_stacks_life(one_stack: Stack, vhost: str):
    """The user that is in use keeps its password, which is not that of the first rotation."""
    stack = one_stack
    stack.configure(topology(vhost, rotation=5), seed=SEED)
    stack.up()
    old = url_of(stack)
    stack.configure(topology(vhost, rotation=5, rotates="user"), seed=SEED)
    assert stack.up().changes["created"] == 3
    assert users(stack, vhost) == [f"{vhost}.app", f"{vhost}.app.5"]
    for url in (old, url_of(stack)):
        pika.BlockingConnection(pika.URLParameters(url)).close()
    # Another seed is not for a user that is only there for those who have not reloaded.
    stack.configure(topology(vhost, rotation=5, rotates="user"), seed="another seed of the tests")
    assert stack.up().changes["updated"] == 1
    pika.BlockingConnection(pika.URLParameters(old)).close()
