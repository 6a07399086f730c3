"""
What applies to a queue in the end, as it is worked out here and as the broker's own queues have it.

The broker's side is read from the processes of real queues: the state of a classic queue, the
configuration of a quorum queue's state machine, and what a stream's coordinator is given.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rabbit_topology.compiler import settings
from rabbit_topology.compiler.context import Context
from rabbit_topology.compiler.effective import Target
from rabbit_topology.lint.reading import read
from rabbit_topology.messages.queue import BrokerQueue
from rabbit_topology.model import QueueType
from rabbit_topology.model.versions import Version, parse
from tests.support.stacks import Stack, access_to, connect, fill, management, wait_for
from toolchain.broker import Broker

QUEUES = {QueueType.CLASSIC: 200, QueueType.QUORUM: 80, QueueType.STREAM: 20}
BATCHES = 7
POLICIES, OPERATORS = 8, 4
SEED = 20261125
SETTLED_SECONDS = 60
HOUR = 3_600_000

OPERATOR_KEYS: Mapping[str, Version] = {
    "expires": (3, 10),
    "message-ttl": (3, 10),
    "max-length": (3, 10),
    "max-length-bytes": (3, 10),
    "max-in-memory-length": (3, 10),
    "delivery-limit": (3, 10),
    "overflow": (4, 0),
    "target-group-size": (4, 0),
}
"""What operator policies may hold, and since when."""

VALUES: Mapping[str, tuple[Any, ...]] = {
    "expires": (HOUR, 2 * HOUR, 3 * HOUR),
    "message-ttl": (HOUR, 2 * HOUR, 3 * HOUR),
    "max-length": (100, 200, 300),
    "max-length-bytes": (10**9, 2 * 10**9, 3 * 10**9),
    "max-in-memory-length": (100, 200),
    "delivery-limit": (-1, 0, 5, 9),
    "overflow": ("drop-head", "reject-publish", "reject-publish-dlx"),
    "dead-letter-exchange": ("one", "two"),
    "dead-letter-routing-key": ("a", "b"),
    "dead-letter-strategy": ("at-most-once", "at-least-once"),
    "max-age": ("1h", "2h", "7D"),
    "stream-max-segment-size-bytes": (10**6, 2 * 10**6),
    "initial-cluster-size": (1, 3),
    "target-group-size": (1, 3),
    "queue-leader-locator": ("balanced", "client-local"),
    "queue-mode": ("lazy", "default"),
}

READ = """
Vhost = <<"%(vhost)s">>,
Plain = fun(undefined) -> null; (none) -> null; (A) when is_atom(A) -> atom_to_binary(A, utf8);
           ({resource, _, _, N}) -> N; (V) -> V end,
Classic = fun(Q) ->
    Parts = tuple_to_list(sys:get_state(amqqueue:get_pid(Q))),
    [S] = [P || P <- Parts, is_tuple(P), tuple_size(P) > 20, element(1, P) =:= q],
    #{<<"expires">> => element(8, S), <<"message-ttl">> => element(14, S),
      <<"dead-letter-exchange">> => element(18, S), <<"dead-letter-routing-key">> => element(19, S),
      <<"max-length">> => element(20, S), <<"max-length-bytes">> => element(21, S),
      <<"overflow">> => element(22, S)} end,
Letters = fun(undefined) -> #{};
             (at_least_once) -> #{<<"dead-letter-strategy">> => <<"at-least-once">>};
             ({at_most_once, {_, _, [X, K, _]}}) ->
                 #{<<"dead-letter-exchange">> => X, <<"dead-letter-routing-key">> => K} end,
Quorum = fun(Q) ->
    {ok, {_, S}, _} = ra:local_query(amqqueue:get_pid(Q), fun(State) -> element(2, State) end),
    maps:merge(Letters(element(5, S)),
      #{<<"overflow">> => element(7, S), <<"max-length">> => element(8, S),
        <<"max-length-bytes">> => element(9, S), <<"delivery-limit">> => element(11, S),
        <<"expires">> => element(12, S), <<"message-ttl">> => element(13, S)}) end,
Stream = fun(Q) ->
    S = rabbit_stream_queue:update_stream_conf(Q, #{}),
    Kept = maps:get(retention, S),
    #{<<"max-length-bytes">> => proplists:get_value(max_bytes, Kept),
      <<"max-age">> => proplists:get_value(max_age, Kept),
      <<"stream-max-segment-size-bytes">> => maps:get(max_segment_size_bytes, S, undefined)} end,
One = fun(Q) ->
    State = case amqqueue:get_type(Q) of
        rabbit_classic_queue -> Classic(Q); rabbit_quorum_queue -> Quorum(Q);
        rabbit_stream_queue -> Stream(Q) end,
    #{<<"name">> => element(4, amqqueue:get_name(Q)),
      <<"policy">> => Plain(rabbit_policy:name(Q)),
      <<"operator">> => Plain(rabbit_policy:name_op(Q)),
      <<"settings">> => maps:map(fun(_, V) -> Plain(V) end, State)} end,
Listed = [One(Q) || Q <- rabbit_amqqueue:list(Vhost)],
ok = file:write_file(<<"%(file)s">>, rabbit_json:encode(Listed)).
"""
"""What each queue of a vhost does, as JSON into a file; positions are those of the records `q` and
`cfg`, which are the same in 3.10.8, 4.0.5 and 4.3.6."""

Answer = dict[str, dict[str, Any]]


def ask(broker: Broker, vhost: str, file: Path) -> Answer:
    """Return by queue: its policy, its operator policy, and the settings that it goes by."""
    broker.ctl("eval", " ".join((READ % {"vhost": vhost, "file": file}).split()))
    return {one.pop("name"): one for one in json.loads(file.read_text())}


def goes_by(type_: QueueType, outcome: Mapping[str, Any], like: Version) -> dict[str, Any]:
    """Return what `effective` says in the shape in which a queue has it."""
    keys = {
        QueueType.CLASSIC: (*SHARED, "dead-letter-exchange", "dead-letter-routing-key"),
        QueueType.QUORUM: (*SHARED, "delivery-limit"),
        QueueType.STREAM: ("max-length-bytes", "max-age", "stream-max-segment-size-bytes"),
    }[type_]
    said = {key: outcome.get(key) for key in keys}
    if type_ is QueueType.STREAM:
        said["max-age"] = AGES[said["max-age"]]
        return said
    said["overflow"] = said["overflow"] or "drop-head"
    if type_ is QueueType.QUORUM:
        said["overflow"] = said["overflow"].replace("-", "_")
        limit = said["delivery-limit"]
        if like >= (4, 0):
            said["delivery-limit"] = 20 if limit is None else None if limit < 0 else limit
        said |= _dead_letters(outcome)
    return said


SHARED = ("expires", "message-ttl", "max-length", "max-length-bytes", "overflow")
AGES = {None: None, "1h": HOUR, "2h": 2 * HOUR, "7D": 7 * 24 * HOUR}


def _dead_letters(outcome: Mapping[str, Any]) -> dict[str, Any]:
    if "dead-letter-exchange" not in outcome:
        return {}
    waits = outcome.get("dead-letter-strategy") == "at-least-once"
    if waits and outcome.get("overflow") == "reject-publish":
        return {"dead-letter-strategy": "at-least-once"}
    keys = ("dead-letter-exchange", "dead-letter-routing-key")
    return {key: outcome.get(key) for key in keys}


class Draw:
    """Queues, policies and operator policies by chance, that a version of the broker takes."""

    def __init__(self, like: Version) -> None:
        self._random = random.Random(SEED)
        self._like = like

    def queues(self) -> Iterator[tuple[str, QueueType, dict[str, Any]]]:
        """Yield names, types and arguments."""
        for type_, count in QUEUES.items():
            for number in range(count):
                yield f"{type_}.{number}", type_, self._arguments(type_)

    def _arguments(self, type_: QueueType) -> dict[str, Any]:
        taken = [
            key
            for key in VALUES
            if type_ in (settings.BY_KEY[key].arguments or tuple(QueueType))
            and key not in ("queue-leader-locator", "queue-mode", "target-group-size")
        ]
        chosen = self._some(taken, 4)
        chosen |= {"dead-letter-exchange"} if "dead-letter-routing-key" in chosen else set()
        return {f"x-{key}": self._value(key, type_) for key in sorted(chosen)}

    def policy(self, number: int, *, operator: bool) -> dict[str, Any]:
        """Return one; all of a draw have another priority."""
        known = [
            key
            for key in VALUES
            if (key in OPERATOR_KEYS and OPERATOR_KEYS[key] <= self._like if operator else True)
            and settings.BY_KEY[key].since <= self._like
        ]
        chosen = self._some(known, 3) or {"expires"}
        kinds = ["all", "queues"]
        if self._like >= (4, 0):
            kinds += ["classic_queues", "quorum_queues", "streams"]
        return {
            "pattern": self._random.choice(PATTERNS),
            "apply-to": self._random.choice(kinds),
            "priority": number * 10 + self._random.randrange(10),
            "definition": {key: self._value(key) for key in sorted(chosen)},
        }

    def _some(self, keys: list[str], most: int) -> set[str]:
        return set(self._random.sample(keys, min(len(keys), self._random.randint(0, most))))

    def _value(self, key: str, type_: QueueType | None = None) -> Any:
        values = VALUES[key]
        if key == "delivery-limit" and self._like < (4, 0):
            values = values[1:]  # a negative number is refused there
        if key == "overflow" and type_ is QueueType.QUORUM:
            values = values[:2]
        return self._random.choice(values)


PATTERNS = (
    "",
    ".*",
    "^classic",
    "^quorum",
    "^stream",
    r"\.1",
    r"\d[02468]$",
    "[13579]$",
    "^(classic|quorum)[.]",
    "^[cq].*[0-4]$",
    "m",
)


def declare(
    broker: Broker, vhost: str, queues: list[tuple[str, QueueType, dict[str, Any]]]
) -> None:
    api = management(broker)
    api.request("PUT", f"/vhosts/{vhost}", {})
    api.request(
        "PUT", f"/permissions/{vhost}/guest", {"configure": ".*", "write": ".*", "read": ".*"}
    )

    def one(queue: tuple[str, QueueType, dict[str, Any]]) -> None:
        name, type_, arguments = queue
        body = {"durable": True, "arguments": {"x-queue-type": type_.value, **arguments}}
        api.request("PUT", f"/queues/{vhost}/{name}", body)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(one, queues))


def differences(broker: Broker, vhost: str, queues: Any, file: Path) -> dict[str, Any]:
    """Return where the broker and `effective` say different things, by queue."""
    access = access_to(broker)
    (rules,) = access.rules(vhost)
    answer = ask(broker, vhost, file)
    differing = {}
    for name, type_, arguments in queues:
        target = Target(kind="queues", name=name, type=type_)
        (outcome,) = rules.possible(target, arguments)
        (policy,), (operator,) = rules.policies.applying(target), rules.operators.applying(target)
        expected = {
            "policy": policy,
            "operator": operator,
            "settings": goes_by(type_, outcome, rules.like),
        }
        if answer[name] != expected:
            differing[name] = {"arguments": arguments, "broker": answer[name], "here": expected}
    return differing


def settled(compare: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what is still different when the queues have had time to take a policy over."""
    deadline = time.monotonic() + SETTLED_SECONDS
    while differing := compare():
        if time.monotonic() > deadline:
            return differing
        time.sleep(0.5)
    return {}


def test_what_applies_is_what_the_broker_goes_by(
    broker: Broker, vhost: str, tmp_path: Path
) -> None:
    """2,100 combinations of type, arguments, policies and operator policies on each version."""
    like = parse(broker.version)
    assert like in settings.TESTED
    draw = Draw(like)
    queues = list(draw.queues())
    assert len(queues) * BATCHES >= 2_000
    declare(broker, vhost, queues)
    api = management(broker)
    for batch in range(BATCHES):
        for kind, count in (("policies", POLICIES), ("operator-policies", OPERATORS)):
            for number in range(count):
                body = draw.policy(number, operator=kind == "operator-policies")
                api.request("PUT", f"/{kind}/{vhost}/p{number}", body)
        differing = settled(lambda: differences(broker, vhost, queues, tmp_path / "state.json"))
        assert not differing, f"batch {batch}: {len(differing)}, {list(differing.items())[:3]}"
    api.request("DELETE", f"/vhosts/{vhost}")


CASES: Mapping[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "overflow": ("classic", {"x-overflow": "reject-publish"}, {}, {"overflow": "drop-head"}),
    "length": ("classic", {"x-max-length": 100}, {"max-length": 5}, {}),
    "of-quorum": ("quorum", {"x-overflow": "drop-head"}, {"overflow": "reject-publish"}, {}),
    "ttl": ("classic", {"x-message-ttl": 5000}, {"message-ttl": 1000}, {}),
    "age": ("stream", {"x-max-age": "1h"}, {"max-age": "2h"}, {}),
}


def test_lint_goes_by_what_the_broker_goes_by(broker: Broker, vhost: str, tmp_path: Path) -> None:
    written: dict[str, Any] = {"queues": {}, "policies": {}, "operator_policies": {}}
    kinds = {"policies": "policies", "operator_policies": "operator-policies"}
    queues = [(name, QueueType(type_), arguments) for name, (type_, arguments, *_) in CASES.items()]
    declare(broker, vhost, queues)
    for name, (type_, arguments, *definitions) in CASES.items():
        written["queues"][name] = {"type": type_, "arguments": arguments}
        for (kind, there), definition in zip(kinds.items(), definitions, strict=True):
            if not definition or (
                "overflow" in definition
                and kind == "operator_policies"
                and parse(broker.version) < (4, 0)
            ):
                continue  # 3.10 takes no overflow from operators
            written[kind][name] = {"pattern": f"^{name}$", "definition": definition}
            body = {**written[kind][name], "apply-to": "queues", "priority": 0}
            management(broker).request("PUT", f"/{there}/{vhost}/{name}", body)
    stack = read({"vhost": vhost, **written})
    assert stack.errors == []
    (whole,) = stack.whole.values()
    said = Context(written=whole, whole=whole, version=parse(broker.version)).settings

    def compare() -> dict[str, Any]:
        answer = ask(broker, vhost, tmp_path / "state.json")
        return {
            name: (answer[name]["settings"], said[name])
            for name, type_, _ in queues
            if answer[name]["settings"] != goes_by(type_, said[name], parse(broker.version))
        }

    assert settled(compare) == {}


DEAD_LETTERING = {
    "dead-letter-exchange": "nowhere",
    "dead-letter-strategy": "at-least-once",
    "overflow": "reject-publish",
    "message-ttl": 200,
}


def test_dead_letters_that_wait_are_seen_below_a_policy_that_is_switched_off(
    stack: Stack, vhost: str
) -> None:
    """The policy with the highest priority has a key that quorum queues do not know."""
    topology: dict[str, Any] = {
        "vhost": vhost,
        "exchanges": {"e": {}},
        "queues": {"q": {}, "stays": {}},
        "bindings": [{"source": "e", "queue": "q"}],
    }
    stack.configure(topology)
    stack.up()
    api = management(stack.broker)
    for name, priority, definition in (
        ("high", 10, {"queue-mode": "lazy"}),
        ("low", 0, DEAD_LETTERING),
    ):
        body = {"pattern": "^q$", "apply-to": "queues", "priority": priority}
        api.request("PUT", f"/policies/{vhost}/{name}", {**body, "definition": definition})
    with connect(stack.broker, vhost) as connection:
        fill(connection.channel(), "q", 4)
    access = access_to(stack.broker)
    wait_for(lambda: not BrokerQueue(access, vhost, "q").ready(), "they expire")
    held = BrokerQueue(access, vhost, "q").read()
    assert held is not None and held.dead_letters == 4

    del topology["queues"]["q"], topology["bindings"]
    stack.configure(topology)
    assert "4 not dead-lettered yet" in stack.preview().text
    refused = stack.up(check=False)
    assert refused.status, refused.text
    assert "4 not dead-lettered yet" in refused.text
    assert access.exists("queues", vhost, "q")
