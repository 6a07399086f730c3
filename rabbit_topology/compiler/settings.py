"""
What each setting of a queue or exchange is to the broker: a row per setting, the rest is derived.

A setting can stand in the queue's arguments, in its policy and in its operator policy, and which
of them counts differs by setting, by queue type, and a little by version. Read in what RabbitMQ
3.10.8, 4.0.5 and 4.3.6 run: `rabbit_amqqueue_process:process_args_policy`,
`rabbit_quorum_queue:gather_policy_config`, `rabbit_stream_queue:update_stream_conf`,
`rabbit_policies:merge_policy_value`, and the `capabilities` of each queue type.

Source: "Policies", "Operator Policies", "Queues", RabbitMQ documentation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from rabbit_topology.model import DeadLetterStrategy, Overflow, QueueType
from rabbit_topology.model.versions import Version

TESTED: tuple[Version, ...] = ((3, 10), (4, 0), (4, 3))
"""The versions that the rows were read in and tried on, oldest first."""

_BEFORE_4, _FROM_4 = TESTED[:1], TESTED[1:]
_CLASSIC, _QUORUM, _STREAM = QueueType.CLASSIC, QueueType.QUORUM, QueueType.STREAM


class Value(StrEnum):
    """What the broker takes as a value."""

    NUMBER = "number"
    NAME = "name"
    """Any text, that of an exchange for example."""
    AGE = "age"
    """Text such as 7D."""
    TRUTH = "truth"
    """True or false; an argument only."""
    OTHER = "other"
    """One of a few words, for example."""


class Loss(StrEnum):
    """What goes when a lower value takes effect."""

    LENGTH = "length"
    """The oldest of too many messages."""
    TIME = "time"
    """What is older."""


Combine: TypeAlias = Callable[[Any, Any], Any]
"""From the value that was there first, of the policy, and one that comes on top, to what counts."""


def _stays(value: Any, _other: Any) -> Any:
    return value


def _replaces(_value: Any, other: Any) -> Any:
    return other


def _fewer(value: int, other: int) -> int:
    """Return the lower one; a negative number is no limit, and comes before any other."""
    return max(value, other) if min(value, other) < 0 else min(value, other)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting, by the name that policies have for it; an argument is ``x-`` and this."""

    key: str
    value: Value = Value.OTHER
    with_argument: Combine = _replaces
    """Of the policy's value and the argument's, the one that counts."""
    of_type: Mapping[QueueType, Combine] = field(default_factory=dict)
    """The same, for the queue types in which it is different."""
    formerly: Mapping[QueueType, Combine] = field(default_factory=dict)
    """The same, on the oldest version of `TESTED`."""
    with_operator: Combine = _replaces
    """Of the policy's value and the operator policy's, the one that counts."""
    off: Mapping[QueueType, tuple[Version, ...]] = field(default_factory=dict)
    """Where a policy that has it does not apply to a queue of a type: not with any of its keys."""
    since: Version = TESTED[0]
    """The first version that takes it in a policy."""
    arguments: tuple[QueueType, ...] = ()
    """The types that take it as an argument, where others are refused with it; none: any."""
    arguments_since: Version | None = None
    """The first version that refuses others, where older ones take it and ignore it."""
    loss: Loss | None = None
    words: tuple[str, ...] = ()
    """What it is one of, where it is one of a few words."""
    least: int = 0
    most: int | None = None
    """Of a number."""
    in_policies: bool = True
    """Policies know it: else it is an argument only."""

    def refusal(self, value: object) -> str | None:
        """Return what the broker asks of such a value, None if this one will do."""
        match self.value:
            case Value.NUMBER:
                number = isinstance(value, int) and not isinstance(value, bool)
                if number and self.least <= value and (self.most is None or value <= self.most):  # type: ignore[operator]
                    return None
                range_ = f"from {self.least}" + (f" to {self.most}" if self.most else " on")
                return f"it is a whole number {range_}"
            case Value.NAME:
                return None if isinstance(value, str) else "it is text"
            case Value.AGE:
                age = isinstance(value, str) and re.fullmatch(r"[0-9]+[YMDhms]", value)
                return None if age else "it is a number and a unit, one of Y, M, D, h, m, s"
            case Value.TRUTH:
                return None if isinstance(value, bool) else "it is true or false"
            case _:
                known = not self.words or value in self.words
                return None if known else f"it is one of {', '.join(self.words)}"

    def combine(self, type_: QueueType | None, like: Version) -> Combine:
        """Return which of a policy's value and an argument's counts for a queue type.

        Args:
            type_: The queue's; None: an exchange.
            like: One of `TESTED`.
        """
        if type_ is None:
            return self.with_argument
        if type_ in self.formerly and like == TESTED[0]:
            return self.formerly[type_]
        return self.of_type.get(type_, self.with_argument)


def _off(*types: QueueType) -> dict[QueueType, tuple[Version, ...]]:
    return dict.fromkeys(types, TESTED)


_LOWER: dict[str, Any] = {
    "value": Value.NUMBER,
    "with_argument": min,
    "with_operator": min,
}
_POLICY_FIRST: dict[str, Any] = {"value": Value.NUMBER, "with_argument": _stays}
_NO_STREAM: dict[str, Any] = {"off": _off(_STREAM), "arguments": (_CLASSIC, _QUORUM)}
_STREAM_ONLY: dict[str, Any] = {"off": _off(_CLASSIC, _QUORUM), "arguments": (_STREAM,)}
_QUORUM_ONLY: dict[str, Any] = {"off": _off(_CLASSIC, _STREAM), "arguments": (_QUORUM,)}
_CLASSIC_ONLY: dict[str, Any] = {"off": _off(_QUORUM, _STREAM), "arguments": (_CLASSIC,)}
_IN_MEMORY: dict[str, Any] = {
    "off": {_CLASSIC: _FROM_4, _STREAM: TESTED},
    "arguments": (_QUORUM,),
}
_NEW_4_3: dict[str, Any] = {
    "since": (4, 3),
    "arguments": (_QUORUM,),
    "arguments_since": (4, 3),
}

ALL: tuple[Setting, ...] = (
    Setting(key="max-length", loss=Loss.LENGTH, **_LOWER, **_NO_STREAM),
    Setting(key="max-length-bytes", loss=Loss.LENGTH, of_type={_STREAM: _stays}, **_LOWER),
    Setting(
        key="overflow", of_type={_QUORUM: _stays}, words=tuple(map(str, Overflow)), **_NO_STREAM
    ),
    Setting(key="message-ttl", loss=Loss.TIME, **_LOWER, **_NO_STREAM),
    Setting(
        key="expires",
        loss=Loss.TIME,
        formerly={_QUORUM: _stays},
        least=1,
        **_LOWER,
        **_NO_STREAM,
    ),
    Setting(
        key="delivery-limit",
        value=Value.NUMBER,
        least=-1,
        with_argument=_fewer,
        with_operator=_fewer,
        **_QUORUM_ONLY,
    ),
    Setting(key="dead-letter-exchange", value=Value.NAME, **_NO_STREAM),
    Setting(key="dead-letter-routing-key", value=Value.NAME, **_NO_STREAM),
    Setting(key="dead-letter-strategy", words=tuple(map(str, DeadLetterStrategy)), **_QUORUM_ONLY),
    Setting(
        key="consumer-timeout",
        since=(3, 12),
        arguments=(_QUORUM,),
        arguments_since=(4, 3),
        **_LOWER,
    ),
    Setting(key="consumer-disconnected-timeout", **_LOWER, **_NEW_4_3),
    Setting(
        key="delayed-retry-type",
        words=("disabled", "all", "failed", "returned"),
        with_argument=_stays,
        **_NEW_4_3,
    ),
    Setting(key="delayed-retry-min", **{**_LOWER, **_NEW_4_3, "with_operator": max}),
    Setting(key="delayed-retry-max", **_LOWER, **_NEW_4_3),
    Setting(key="max-in-memory-length", **_LOWER, **_IN_MEMORY),
    Setting(key="max-in-memory-bytes", **_LOWER, **_IN_MEMORY),
    Setting(
        key="target-group-size",
        least=1,
        with_operator=max,
        off={_CLASSIC: _FROM_4, _STREAM: _FROM_4},
        since=(3, 13),
        **_POLICY_FIRST,
    ),
    Setting(key="max-age", value=Value.AGE, loss=Loss.TIME, with_argument=_stays, **_STREAM_ONLY),
    Setting(key="stream-max-segment-size-bytes", **_POLICY_FIRST, **_STREAM_ONLY),
    Setting(
        key="stream-filter-size-bytes",
        least=16,
        most=255,
        since=(3, 13),
        arguments=(_STREAM,),
        arguments_since=(4, 3),
        **_POLICY_FIRST,
    ),
    Setting(key="initial-cluster-size", **_POLICY_FIRST, **_STREAM_ONLY),
    Setting(
        key="quorum-initial-group-size",
        value=Value.NUMBER,
        least=1,
        in_policies=False,
        arguments=(_QUORUM,),
    ),
    Setting(
        key="queue-leader-locator",
        words=("client-local", "balanced", "random", "least-leaders"),
        with_argument=_stays,
        off={_CLASSIC: _BEFORE_4},
    ),
    Setting(
        key="queue-master-locator",
        words=("client-local", "random", "min-masters"),
        with_argument=_stays,
        **_CLASSIC_ONLY,
    ),
    Setting(key="queue-mode", words=("default", "lazy"), **_CLASSIC_ONLY),
    Setting(key="queue-version", value=Value.NUMBER, least=1, most=2, arguments=(_CLASSIC,)),
    Setting(
        key="max-priority",
        value=Value.NUMBER,
        most=255,
        in_policies=False,
        **_CLASSIC_ONLY,
    ),
    Setting(
        key="single-active-consumer",
        value=Value.TRUTH,
        in_policies=False,
        arguments=(_CLASSIC, _QUORUM),
    ),
    *(
        Setting(key=f"ha-{one}", words=words, off=_off(_QUORUM, _STREAM))
        for one, words in (
            ("mode", ("all", "exactly", "nodes")),
            ("params", ()),
            ("sync-mode", ("manual", "automatic")),
            ("promote-on-shutdown", ("always", "when-synced")),
            ("promote-on-failure", ("always", "when-synced")),
        )
    ),
    Setting(key="alternate-exchange", value=Value.NAME),
    Setting(key="federation-upstream", value=Value.NAME),
    Setting(key="federation-upstream-set", value=Value.NAME),
)

BY_KEY: Mapping[str, Setting] = {setting.key: setting for setting in ALL}


def keys(*, value: Value | None = None, loss: Loss | None = None) -> tuple[str, ...]:
    """Return the settings with such a value, or with such a loss when they are lowered."""
    return tuple(
        setting.key
        for setting in ALL
        if (value is None or setting.value is value) and (loss is None or setting.loss is loss)
    )


def alike(version: Version | None) -> tuple[Version, ...]:
    """Return those of `TESTED` that a broker may behave like, oldest first; all if it is unknown.

    One between two of them may have what the newer one has, or not yet; one that is newer than all
    is taken for the newest.
    """
    if version is None:
        return TESTED
    older = [one for one in TESTED if one <= version]
    newer = [one for one in TESTED if one >= version]
    return tuple(dict.fromkeys([*older[-1:], *newer[:1]]))
