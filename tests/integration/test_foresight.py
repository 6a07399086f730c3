"""
What an update refuses, its preview says before; what a preview lets through, the update does.

One row for each refusal there is. Each is looked at three times: the preview fails where the config
wants that, the update is refused and leaves the broker as it was, and after the change is taken
back an update has nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.stacks import Stack, connect, fill, held, management, publishing
from toolchain.broker import Broker
from toolchain.ports import free_ports

CLASSIC, QUORUM, STREAM = ({"type": kind} for kind in ("classic", "quorum", "stream"))
MESSAGES = 20
Config = dict[str, Any]


@contextmanager
def nothing(_stack: Stack, _vhost: str) -> Iterator[None]:
    yield


@dataclass(frozen=True, kw_only=True)
class Case:
    """A change that is refused, from one config to another; both without the vhost."""

    before: Config
    after: Config
    text: str
    """Part of what preview and update say."""
    filled: tuple[str, ...] = ("q",)
    """Queues that hold `MESSAGES` messages."""
    meanwhile: Callable[[Stack, str], Any] = nothing
    """What somebody else does on the broker as long as the case takes."""
    settings: Config = field(default_factory=dict)
    """Further config for the change."""
    safety: Config = field(default_factory=dict)


def config(queues: Config, **more: Any) -> Config:
    return {
        "exchanges": {"e": {}},
        "queues": queues,
        "bindings": [{"source": "e", "queue": name, "routing_key": name} for name in queues],
        **more,
    }


def policy(kind: str, definition: Config, pattern: str = "^q$") -> Config:
    return {kind: {"p": {"pattern": pattern, "apply_to": "queues", "definition": definition}}}


@contextmanager
def consumer(stack: Stack, vhost: str) -> Iterator[None]:
    with connect(stack.broker, vhost) as connection:
        connection.channel().basic_consume("q", lambda *_: None)
        connection.process_data_events(0.2)
        yield


@contextmanager
def dead_letters_by_name(stack: Stack, vhost: str) -> Iterator[None]:
    with connect(stack.broker, vhost) as connection:
        channel = connection.channel()
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q"}
        channel.queue_declare("theirs", durable=True, arguments=arguments)
        fill(channel, "theirs", 1)
        yield
        channel.queue_delete("theirs")


@contextmanager
def dead_letters_to_exchange(stack: Stack, vhost: str) -> Iterator[None]:
    with connect(stack.broker, vhost) as connection:
        channel = connection.channel()
        channel.queue_declare("theirs", durable=True, arguments={"x-dead-letter-exchange": "e"})
        fill(channel, "theirs", 1)
        yield
        channel.queue_delete("theirs")


@contextmanager
def alternate_of(stack: Stack, vhost: str) -> Iterator[None]:
    with connect(stack.broker, vhost) as connection:
        channel = connection.channel()
        channel.exchange_declare("theirs", arguments={"alternate-exchange": "e"})
        yield
        channel.exchange_delete("theirs")


@contextmanager
def operator_policy(stack: Stack, vhost: str) -> Iterator[None]:
    body = {"pattern": "^rabbit", "definition": {"max-length": 100}, "apply-to": "queues"}
    admin = management(stack.broker)
    admin.request("PUT", f"/operator-policies/{vhost}/limits", body)
    yield
    admin.request("DELETE", f"/operator-policies/{vhost}/limits")


@contextmanager
def full_vhost(stack: Stack, vhost: str) -> Iterator[None]:
    admin = management(stack.broker)
    # Room for the queue, the lock and the mark by which a broker is known, and for one helper.
    admin.request("PUT", f"/vhost-limits/{vhost}/max-queues", {"value": 3})
    yield
    admin.request("DELETE", f"/vhost-limits/{vhost}/max-queues")


@contextmanager
def no_permissions(stack: Stack, vhost: str) -> Iterator[None]:
    admin = management(stack.broker)
    admin.request("DELETE", f"/permissions/{vhost}/guest")
    yield
    body = {"configure": ".*", "write": ".*", "read": ".*"}
    admin.request("PUT", f"/permissions/{vhost}/guest", body)


@contextmanager
def their_queue(stack: Stack, vhost: str) -> Iterator[None]:
    with connect(stack.broker, vhost) as connection:
        channel = connection.channel()
        channel.queue_declare("theirs", durable=True)
        fill(channel, "theirs", 1)
        yield
        channel.queue_delete("theirs")


@contextmanager
def published_by_name(stack: Stack, vhost: str) -> Iterator[None]:
    with publishing(stack.broker, vhost, "", "q", f"/queues/{vhost}/q", "publish"):
        yield


WAITS = {
    "overflow": "reject-publish",
    "dead_letter": {"exchange": "dlx", "strategy": "at-least-once"},
    "message_ttl": "1ms",
}
DLX = {"exchanges": {"e": {}, "dlx": {}}}

CASES = {
    **{
        f"{kind['type']} with messages leaves the config": Case(
            before=config({"q": kind}), after=config({}), text="queue q"
        )
        for kind in (CLASSIC, QUORUM, STREAM)
    },
    "a queue with a consumer leaves the config": Case(
        before=config({"q": QUORUM}),
        after=config({}),
        filled=(),
        meanwhile=consumer,
        text="1 consumer",
    ),
    "a stream with messages is replaced": Case(
        before=config({"q": STREAM}), after=config({"q": QUORUM}), text="stream q holds messages"
    ),
    "a queue is dead-lettered to by its name": Case(
        before=config({"q": CLASSIC}),
        after=config({"q": QUORUM}),
        meanwhile=dead_letters_by_name,
        text="queue theirs, which is in use, dead-letters to it",
    ),
    "a queue without bindings is published to by its name": Case(
        before={"queues": {"q": CLASSIC}},
        after={"queues": {"q": QUORUM}},
        filled=(),
        meanwhile=published_by_name,
        text="published to it by its name",
    ),
    "an exchange is dead-lettered to": Case(
        before=config({"q": CLASSIC}),
        after=config({"q": CLASSIC}, exchanges={"e": {"type": "topic"}}),
        meanwhile=dead_letters_to_exchange,
        text="queue theirs sends on to it",
    ),
    "an exchange is the alternate of another": Case(
        before=config({"q": CLASSIC}),
        after=config({"q": CLASSIC}, exchanges={"e": {"type": "topic"}}),
        meanwhile=alternate_of,
        text="exchange theirs sends on to it",
    ),
    "an exchange gets an alternate as an argument": Case(
        before=config({"q": CLASSIC}),
        after=config(
            {"q": CLASSIC},
            exchanges={"e": {"type": "topic", "arguments": {"alternate-exchange": "amq.fanout"}}},
        ),
        text="its argument alternate-exchange would take",
    ),
    "an operator policy could drop what is held": Case(
        before=config({"q": CLASSIC}),
        after=config({"q": QUORUM}),
        meanwhile=operator_policy,
        text="an operator policy applies to the queue 'rabbit-topology.holding.q'",
    ),
    "the vhost takes no further queue": Case(
        before=config({"q": CLASSIC}),
        after=config({"q": QUORUM}),
        meanwhile=full_vhost,
        text="max-queues",
    ),
    "the user may not open the vhost": Case(
        before=config({"q": CLASSIC}),
        after=config({"q": QUORUM}),
        meanwhile=no_permissions,
        text="may not open vhost",
    ),
    "no AMQP address answers, and a queue is replaced": Case(
        before=config({"q": CLASSIC}),
        after=config({"q": QUORUM}),
        settings={"broker": {"hosts": ["127.0.0.1:{port}"]}},
        text="no AMQP address of the broker answers here",
    ),
    "no AMQP address answers, and an exchange is replaced": Case(
        before=config({"q": CLASSIC}),
        after=config({"q": CLASSIC}, exchanges={"e": {"type": "topic"}}),
        settings={"broker": {"hosts": ["127.0.0.1:{port}"]}},
        text="no AMQP address of the broker answers here",
    ),
    "no AMQP address answers, and an empty quorum queue leaves the config": Case(
        before=config({"q": QUORUM}),
        after=config({}),
        filled=(),
        settings={"broker": {"hosts": ["127.0.0.1:{port}"]}},
        text="no AMQP address of the broker answers here",
    ),
    **{
        f"{text} by a setting": Case(
            before=config({"q": kind}), after=config({"q": {**kind, **limit}}), text=text
        )
        for kind, limit, text in (
            (QUORUM, {"max_length": 10}, "max-length: none -> 10"),
            (CLASSIC, {"max_length_bytes": 1}, "max-length-bytes: none -> 1"),
            (QUORUM, {"message_ttl": "1h"}, "message-ttl: none -> 3,600,000"),
            (CLASSIC, {"expires": "1h"}, "expires: none -> 3,600,000"),
            (STREAM, {"max_age": "1h"}, "max-age: none -> 3,600"),
        )
    },
    **{
        f"{text} by an argument": Case(
            before=config({"q": kind}),
            after=config({"q": {**kind, "arguments": arguments}}),
            text=text,
        )
        for kind, arguments, text in (
            (QUORUM, {"x-max-length": 10}, "max-length: none -> 10"),
            (CLASSIC, {"x-message-ttl": 1000}, "message-ttl: none -> 1,000"),
            (CLASSIC, {"x-expires": 3000}, "expires: none -> 3,000"),
        )
    },
    "a limit by a policy": Case(
        before=config({"q": QUORUM}),
        after=config({"q": QUORUM}, **policy("policies", {"max-length": 10})),
        text="max-length: none -> 10",
    ),
    "a limit by an operator policy": Case(
        before=config({"q": QUORUM}),
        after=config({"q": QUORUM}, **policy("operator_policies", {"max-length": 10})),
        text="max-length: none -> 10",
    ),
    "a limit is uncovered when a policy goes": Case(
        before=config(
            {"q": QUORUM},
            policies={
                "above": {"pattern": "^q$", "priority": 9, "definition": {"max-length": 100}},
                "below": {"pattern": "^q", "priority": 1, "definition": {"max-length": 10}},
            },
        ),
        after=config(
            {"q": QUORUM},
            policies={"below": {"pattern": "^q", "priority": 1, "definition": {"max-length": 10}}},
        ),
        text="max-length: 100 -> 10",
    ),
    "dead-lettering that messages wait for is taken away": Case(
        before=config({"q": {**QUORUM, **WAITS}}, **DLX),
        after=config({"q": {**QUORUM, "overflow": "reject-publish", "message_ttl": "1ms"}}, **DLX),
        text="still wait for their dead-letter target",
    ),
    "settings change with the exchange that they name": Case(
        before=config(
            {name: {"dead_letter": {"exchange": "dlx"}} for name in ("a", "q")}
            | {"b": {"max_length": 90}},
            **DLX,
        ),
        after=config(
            {
                "a": {"dead_letter": {"exchange": "dlx"}},
                "q": {"dead_letter": {"exchange": "dlx"}},
                "b": {"dead_letter": {"exchange": "dlx"}},
            },
            **DLX,
        ),
        filled=(),
        text="cannot change in one step with the exchange that they name",
    ),
    "the vhost is renamed, and somebody else has a queue in it": Case(
        before=config({"q": CLASSIC}),
        after={**config({"q": CLASSIC}), "vhost": "{vhost}-renamed"},
        filled=(),
        meanwhile=their_queue,
        text="queue theirs",
    ),
}


@pytest.fixture
def closed_port() -> int:
    (port,) = free_ports(1)
    return port


def filled_in(value: Any, **names: object) -> Any:
    """Return a config with its placeholders replaced."""
    match value:
        case dict():
            return {key: filled_in(inner, **names) for key, inner in value.items()}
        case list():
            return [filled_in(inner, **names) for inner in value]
        case str():
            for key, name in names.items():
                value = value.replace(f"{{{key}}}", str(name))
    return value


@pytest.mark.parametrize("name", CASES)
def test_what_is_refused_is_foreseen(
    one_stack: Stack, vhost: str, closed_port: int, name: str
) -> None:
    case = CASES[name]
    before = {"vhost": vhost, **case.before}
    after = {"vhost": vhost, **filled_in(case.after, vhost=vhost)}
    settings = filled_in(case.settings, port=closed_port)
    one_stack.configure(before)
    one_stack.up()
    with connect(one_stack.broker, vhost) as connection:
        for queue in case.filled:
            fill(connection.channel(), queue, MESSAGES)
    with case.meanwhile(one_stack, vhost):
        there = held(one_stack.broker, vhost)
        one_stack.configure(after, safety={"preview": "error", **case.safety}, **settings)
        foreseen = one_stack.preview(check=False)
        assert foreseen.status != 0, foreseen.text
        assert case.text in foreseen.text
        refused = one_stack.up(check=False)
        assert refused.status != 0, refused.text
        assert case.text in refused.text
        assert held(one_stack.broker, vhost) == there, refused.text
        one_stack.configure(before)
        one_stack.up()
        assert held(one_stack.broker, vhost) == there
        one_stack.up("--expect-no-changes")


DESTROYED = {
    "a queue holds messages": Case(
        before=config({"q": QUORUM, "other": CLASSIC}), after={}, text="queue q"
    ),
    "a queue has a consumer": Case(
        before=config({"q": QUORUM, "other": CLASSIC}),
        after={},
        filled=(),
        meanwhile=consumer,
        text="1 consumer",
    ),
    "somebody else has a queue in the vhost": Case(
        before=config({"q": QUORUM}),
        after={},
        filled=(),
        meanwhile=their_queue,
        text="queue theirs",
    ),
}


@pytest.mark.parametrize("name", DESTROYED)
def test_a_destroy_that_is_refused_is_foreseen(one_stack: Stack, vhost: str, name: str) -> None:
    case = DESTROYED[name]
    one_stack.configure({"vhost": vhost, **case.before}, safety={"preview": "error"})
    one_stack.up()
    with connect(one_stack.broker, vhost) as connection:
        for queue in case.filled:
            fill(connection.channel(), queue, MESSAGES)
    with case.meanwhile(one_stack, vhost):
        there = held(one_stack.broker, vhost)
        foreseen = one_stack.pulumi(
            *("destroy", "--preview-only", "--run-program", "--stack", one_stack.name), check=False
        )
        assert foreseen.status != 0, foreseen.text
        assert case.text in foreseen.text
        refused = one_stack.destroy(check=False)
        assert refused.status != 0, refused.text
        assert case.text in refused.text
        assert held(one_stack.broker, vhost) == there, refused.text


@pytest.fixture(scope="module")
def without_shovel() -> Iterator[Broker]:
    with Broker.start(version="4.0", plugins=("rabbitmq_management",), report=print) as broker:
        yield broker


def test_a_missing_plugin_is_foreseen(
    tmp_path: Path, engine_env: dict[str, str], without_shovel: Broker, vhost: str
) -> None:
    stack = Stack(tmp_path, engine_env, without_shovel)
    stack.configure({"vhost": vhost, **config({"q": CLASSIC})})
    stack.up()
    stack.configure({"vhost": vhost, **config({"q": QUORUM})}, safety={"preview": "error"})
    for result in (stack.preview(check=False), stack.up(check=False)):
        assert result.status != 0
        assert "lacks the plugin" in result.text
