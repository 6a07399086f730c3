"""
What the rules refuse the brokers refuse, and what they let pass the brokers take.
"""

from __future__ import annotations

import pytest

from rabbit_topology.compiler import regexes
from rabbit_topology.compiler.settings import ALL, Setting
from rabbit_topology.errors import BrokerError
from rabbit_topology.model.versions import Version
from tests.support.stacks import management
from toolchain.broker import Broker

VALUES = (0, 1, 2, 15, 16, 255, 256, -1, -2, 7.5, "abc", "7D", "7X", "12", "", True)

IGNORED = {"delivery-limit", "queue-master-locator", "queue-mode"}
"""As arguments with a value that is none the broker takes them and does nothing, as it does with
all that delay messages."""


@pytest.fixture
def api(broker: Broker, vhost: str):
    made = management(broker)
    made.request("PUT", f"/vhosts/{vhost}")
    yield made
    made.request("DELETE", f"/vhosts/{vhost}")


def refused(api, path: str, body: object) -> bool:
    try:
        api.request("PUT", path, body)
    except BrokerError:
        return True
    return False


def version(broker: Broker) -> Version:
    major, minor, *_ = broker.version.split(".")
    return int(major), int(minor)


def _policy_differs(setting: Setting, value: object, on: Version) -> bool:
    """Return whether what a version takes is a matter of other rules."""
    return (
        setting.since > on
        or setting.key.startswith("ha-")  # only some together, and none from 4.0 on
        or (setting.key == "queue-master-locator" and on >= (4, 0))
        or (setting.key == "delivery-limit" and value in (-1, -2))  # -2 is no limit as well
        or (setting.key == "delayed-retry-type" and value != "disabled")
        or setting.key in ("federation-upstream-set", "federation-upstream")
        # Some numbers have further limits.
        or setting.key in ("delayed-retry-min", "delayed-retry-max", "queue-version")
    )


def test_values_in_policies(broker: Broker, api, vhost: str) -> None:
    on, wrong, tried = version(broker), [], 0
    for setting in ALL:
        if not setting.in_policies:
            body = {"pattern": "^x", "definition": {setting.key: 1}}
            assert refused(api, f"/policies/{vhost}/p", body), setting.key
            continue
        for value in (*VALUES, *setting.words):
            if _policy_differs(setting, value, on) or isinstance(value, float | bool):
                continue
            tried += 1
            body = {"pattern": "^x", "definition": {setting.key: value}}
            if refused(api, f"/policies/{vhost}/p", body) != bool(setting.refusal(value)):
                wrong.append((setting.key, value))
    assert tried > 200
    assert wrong == []


def test_values_in_arguments(broker: Broker, api, vhost: str) -> None:
    on, refusals, taken = version(broker), 0, []
    for setting in ALL:
        for type_ in setting.arguments:
            if (setting.arguments_since or on) > on:
                continue
            for value in VALUES:
                if not setting.refusal(value):
                    continue
                arguments = {"x-queue-type": type_, f"x-{setting.key}": value}
                body = {"durable": True, "arguments": arguments}
                if refused(api, f"/queues/{vhost}/q", body):
                    refusals += 1
                else:
                    api.request("DELETE", f"/queues/{vhost}/q")
                    if setting.key not in IGNORED and not setting.key.startswith("delayed-retry"):
                        taken.append((setting.key, str(type_), value))
    assert refusals > 100
    assert taken == []


def test_names_numbers_and_nothing(broker: Broker, api, vhost: str) -> None:
    for name in (".", ".."):
        for kind in ("queues", "exchanges"):
            assert refused(api, f"/{kind}/{vhost}/{name}", {"type": "fanout", "durable": True})
    for nothing in (None, [None], {"a": None}):
        assert refused(api, f"/queues/{vhost}/q", {"arguments": {"x-a": nothing}})


@pytest.mark.parametrize(
    "pattern",
    [
        "((",
        "a**",
        "*a",
        "[a",
        "a)",
        "\\",
        "a{2,1}",
        "(?|a)",
        "a++",
        r"\Q(\E",
        "[[:alpha:]]",
        "[[:alpha:]](",
        "a{,3}",
        "x(?i)",
    ],
)
def test_patterns(api, vhost: str, pattern: str) -> None:
    body = {"pattern": pattern, "definition": {"max-length": 5}}
    assert refused(api, f"/policies/{vhost}/p", body) == bool(regexes.broken(pattern))
