"""
Settings change in place, on queues that hold messages; what would lose some is refused.
"""

from __future__ import annotations

import copy
import re
import time
from threading import Event, Thread
from typing import Any, Self

from tests.support.stacks import (
    PATIENCE_SECONDS,
    Stack,
    connect,
    drain,
    fill,
    management,
    untouched,
)

MESSAGES = 10
TARGET = {"type": "fanout"}


def version(stack: Stack) -> tuple[int, ...]:
    return tuple(map(int, stack.broker.version.split(".")[:2]))


def await_effective(
    stack: Stack, vhost: str, name: str, expected: dict[str, Any], kind: str = "queues"
) -> None:
    """Wait until the broker itself says that this applies to a queue or exchange.

    It is among the statistics, which are up to 10 s old.
    """
    api = management(stack.broker)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        described = api.get(f"/{kind}/{vhost}/{name}")
        result = described.get("effective_policy_definition")
        if result is None and described.get("policy"):  # an exchange names its policy only
            result = api.get(f"/policies/{vhost}/{described['policy']}")["definition"]
        if result == expected:
            return
        assert time.monotonic() < deadline, f"{name}: {result} is not {expected}"
        time.sleep(0.2)


def of_settings(stack: Stack, vhost: str) -> dict[str, dict[str, Any]]:
    """Return the definition of each policy made of settings, by its first queue."""
    result = management(stack.broker).get(f"/policies/{vhost}")
    return {one["name"].partition(".")[2]: one["definition"] for one in result}


class Watch:
    """While it lasts: each queue's dead-letter exchange, and messages rejected all the time.

    What applies is worked out from the policies as the broker does, since they are never stale.
    """

    def __init__(self, stack: Stack, vhost: str, queues: list[str]) -> None:
        self.stack, self.vhost, self.queues = stack, vhost, queues
        self.seen: dict[str, list[set[str]]] = {queue: [] for queue in queues}
        self.sent = self.rejected = 0
        self._ended = Event()
        self._threads = [Thread(target=one) for one in (self._look, self._reject)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _look(self) -> None:
        api = management(self.stack.broker)
        last = False
        while not last:
            last = self._ended.is_set()  # one look at what came of it, however busy the broker was
            policies = api.get(f"/policies/{self.vhost}")
            for queue, seen in self.seen.items():
                result = [policy for policy in policies if re.search(policy["pattern"], queue)]
                top = max((one["priority"] for one in result), default=0)
                applying = [one["definition"] for one in result if one["priority"] == top] or [{}]
                seen.append({one.get("dead-letter-exchange", "none") for one in applying})

    def _reject(self) -> None:
        with connect(self.stack.broker, self.vhost) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            while not self._ended.is_set():
                for queue in self.queues:
                    channel.basic_publish("", queue, b"0", mandatory=True)
                    self.sent += 1
                    method, _, _ = channel.basic_get(queue)
                    if method:
                        channel.basic_reject(method.delivery_tag, requeue=False)
                        self.rejected += 1


def test_every_setting_changes_in_place_on_queues_that_hold_messages(
    stack: Stack, vhost: str
) -> None:
    both: dict[str, Any] = {
        "max_length": 1000,
        "max_length_bytes": "1MB",
        "overflow": "reject-publish",
        "message_ttl": "2h",
        "expires": "1d",
        "dead_letter": {"exchange": "first", "routing_key": "one"},
    }
    group = {"dead_letter": {"exchange": "first"}, "message_ttl": "1h"}
    topology: dict[str, Any] = {
        "vhost": vhost,
        "exchanges": {"first": TARGET, "second": TARGET, "e": {"alternate": "first"}},
        "queues": {
            "quorum": {**both, "delivery_limit": 10},
            "classic": {**both, "type": "classic"},
            "stream": {"type": "stream", "max_age": "1d", "max_length_bytes": "1GB"},
            "bare": {},
            "g1": group,
            "g2": group,
            "g3": group,
            "target": {},
        },
        "bindings": [{"source": one, "queue": "target"} for one in ("first", "second")],
    }
    changed = copy.deepcopy(topology)
    queues = changed["queues"]
    for queue in ("quorum", "classic"):
        queues[queue] |= {
            "max_length": 5,  # less than it holds, and refused is what comes later
            "max_length_bytes": "2MB",
            "message_ttl": "1h",
            "expires": "2d",
            "dead_letter": {"exchange": "second", "routing_key": "two"},
        }
    queues["quorum"]["delivery_limit"] = 20
    queues["classic"]["overflow"] = "reject-publish-dlx"
    queues["stream"] |= {"max_age": "2d", "max_length_bytes": "2GB"}
    queues["bare"] = {"delivery_limit": 5, "dead_letter": {"exchange": "first"}}
    queues["g1"] = {"dead_letter": {"exchange": "second"}, "message_ttl": "1h"}
    # An exchange that is made in the same run, so that its policy is written late.
    queues["g3"] = {"dead_letter": {"exchange": "third"}}
    changed["exchanges"]["third"] = TARGET
    changed["bindings"].append({"source": "third", "queue": "target"})
    changed["exchanges"]["e"]["alternate"] = "second"
    if version(stack) >= (3, 12):
        for those, timeout in ((topology, "20m"), (changed, "40m")):
            those["queues"]["quorum"]["consumer_timeout"] = timeout
            those["queues"]["classic"]["consumer_timeout"] = timeout

    stack.configure(topology)
    created = stack.up().changes["created"]
    filled = ["quorum", "classic", "bare"]
    with connect(stack.broker, vhost) as connection:
        for queue in (*filled, "stream"):
            fill(connection.channel(), queue, MESSAGES)
    stack.configure(changed)
    with Watch(stack, vhost, ["g1", "g2", "g3"]) as watch:
        result = stack.up()
    # New: policies of the bare, of g2, now the first of its group, and of g3; exchange and binding.
    assert result.changes == {"created": 5, "updated": 5, "unchanged": created - 5}, result.text
    assert {one: set().union(*answer) for one, answer in watch.seen.items()} == {
        "g1": {"first", "second"},
        "g2": {"first"},
        "g3": {"first", "third"},
    }
    assert min(map(len, watch.seen.values())) > 50, "looked at often enough to see a gap"
    assert watch.rejected > 50

    common = {
        "max-length": 5,
        "max-length-bytes": 2_000_000,
        "message-ttl": 3_600_000,
        "expires": 172_800_000,
        "dead-letter-exchange": "second",
        "dead-letter-routing-key": "two",
        **({"consumer-timeout": 2_400_000} if version(stack) >= (3, 12) else {}),
    }
    again = stack.up("--refresh", "--expect-no-changes")
    assert set(again.changes) == {"unchanged"}, again.text
    for name, expected in {
        "quorum": {**common, "delivery-limit": 20, "overflow": "reject-publish"},
        "classic": {**common, "overflow": "reject-publish-dlx"},
        "stream": {"max-age": "172800s", "max-length-bytes": 2 * 10**9},
        "bare": {"delivery-limit": 5, "dead-letter-exchange": "first"},
    }.items():
        await_effective(stack, vhost, name, expected)
    await_effective(stack, vhost, "e", {"alternate-exchange": "second"}, "exchanges")
    with connect(stack.broker, vhost) as connection:
        channel = connection.channel()
        left = sum(len(drain(channel, one)) for one in ("g1", "g2", "g3"))
        assert left + len(drain(channel, "target")) == watch.sent
        for queue in filled:
            assert drain(channel, queue) == untouched(MESSAGES), queue


def test_limits_that_would_lose_messages_are_refused(stack: Stack, vhost: str) -> None:
    exchanges = {"e": TARGET}
    group = {"max_length": 100}
    names = ("short", "brief", "idle", "kept", "refusing", "loose")
    before: dict[str, Any] = {
        **{name: {} for name in names},
        "short": {"type": "classic"},
        "old": {"type": "stream"},
        "left": {"max_length": 90, "on_delete": "retain"},
        "g1": group,
        "g2": group,
        "g3": group,
    }
    stack.configure({"vhost": vhost, "exchanges": exchanges, "queues": before})
    stack.up()
    with connect(stack.broker, vhost) as connection:
        for queue in before:
            fill(connection.channel(), queue, MESSAGES)
    api = management(stack.broker)
    policies = api.get(f"/policies/{vhost}")

    losing = {
        **before,
        "short": {"type": "classic", "max_length": 4},
        "brief": {"message_ttl": "1h"},
        "idle": {"expires": "1h"},
        "old": {"type": "stream", "max_age": "1h"},
        # Of a group, and not the first of it: its next policy is written ahead of its turn.
        "g3": {"max_length": 4},
    }
    reasons = (
        "queue short: max-length: none -> 4: it holds 10 messages, the oldest 6 would go",
        "queue brief: message-ttl: none -> 3,600,000: it holds 10 messages, what is older would be",
        "queue idle: expires: none -> 3,600,000: unused for so long, it would go with its 10 mess",
        "queue old: max-age: none -> 3,600: it holds messages, what is older would be lost",
        "queue g3: max-length: 100 -> 4: it holds 10 messages, the oldest 6 would go",
    )
    stack.configure({"vhost": vhost, "exchanges": exchanges, "queues": losing})
    seen = stack.preview()
    for reason in reasons:
        assert reason in seen.text, seen.text
    # The engine stops at the first that fails, unless it is told to go on.
    refused = stack.up("--continue-on-error", check=False)
    assert refused.status != 0
    for reason in reasons:
        assert reason in refused.text, refused.text
    assert api.get(f"/policies/{vhost}") == policies

    passing: dict[str, Any] = {
        **before,
        "kept": {"max_length": 4, "dead_letter": True},
        "refusing": {"max_length": 4, "overflow": "reject-publish"},
        "loose": {"max_length": 4, "on_delete": "discard"},
    }
    del passing["left"]
    stack.configure({"vhost": vhost, "exchanges": exchanges, "queues": passing})
    stack.up()
    assert of_settings(stack, vhost)["left"] == {"max-length": 90}

    gone = dict(passing)
    del gone["refusing"]
    stack.configure({"vhost": vhost, "exchanges": exchanges, "queues": gone})
    refused = stack.up(check=False)
    assert "queue refusing holds 10 ready" in refused.text
    limits = {"max-length": 4, "overflow": "reject-publish"}
    assert of_settings(stack, vhost)["refusing"] == limits

    with connect(stack.broker, vhost) as connection:
        channel = connection.channel()
        everything = untouched(MESSAGES)
        assert {one: drain(channel, one) for one in (*passing, "left") if one != "old"} == {
            **dict.fromkeys(("short", "brief", "idle", "refusing", "left"), everything),
            **dict.fromkeys(("g1", "g2", "g3"), everything),
            "kept": everything[6:],
            "loose": everything[6:],
        }
        # Of several that go at once, no order is promised.
        dead = drain(channel, "kept.dead-letter")
        assert sorted(number for number, _ in dead) == list(range(6))
