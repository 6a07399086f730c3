"""
What a topology is: frozen, typed values and nothing else.

No import of pulumi, no I/O. The shapes are what a user writes in ``Pulumi.<stack>.yaml``;
what can be said about one value alone is checked by its type, everything else in `rules`.
Source: "AMQP 0-9-1 Model Explained", "Queues", "Exchanges", RabbitMQ documentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

BUILT_IN_EXCHANGE_TYPES = ("direct", "fanout", "topic", "headers")
PREDECLARED_EXCHANGES = ("amq.direct", "amq.fanout", "amq.topic", "amq.headers", "amq.match")
"""Exchanges that every vhost has; a binding may name them, a config may not declare them."""

DEFAULT_VHOST = "/"
"""Every broker has it: no stack creates it, and no destroy may take it away."""

TYPE_ARGUMENT = "x-queue-type"

MAX_NAME_BYTES = 255
"""AMQP's short string. Source: "AMQP 0-9-1 Complete Reference Guide"."""


class OnDelete(StrEnum):
    """What happens to a queue, and what it holds, when it leaves the config or the stack goes."""

    REFUSE = "refuse"
    """It is deleted only if it is exactly empty and has no consumers."""
    DISCARD = "discard"
    """It is deleted with whatever it holds."""
    RETAIN = "retain"
    """It stays on the broker and is no longer managed."""


class QueueType(StrEnum):
    """The queue types of RabbitMQ. Source: "Queues", RabbitMQ documentation."""

    CLASSIC = "classic"
    QUORUM = "quorum"
    STREAM = "stream"


class Verdict(StrEnum):
    """What a preview does about an update that would be refused."""

    WARN = "warn"
    """It says so and succeeds."""
    ERROR = "error"
    """It says so and fails."""


class ByName(StrEnum):
    """What an update does about messages that it cannot catch."""

    REFUSE = "refuse"
    """It does not touch the queue."""
    ACCEPT = "accept"
    """It loses those that are on their way at the moment of the deletion."""


class _Frozen(BaseModel):
    """Strict: a string is never taken for a number, nor a number for a string."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )


def _none_is_empty(value: object) -> object:
    # `orders:` with nothing behind it is YAML's null: the user means all defaults.
    return {} if value is None else value


class Exchange(_Frozen):
    """An exchange: where publishers send messages."""

    type: str = "direct"
    """`direct`, `fanout`, `topic`, `headers`, or the `x-` name of a type that a plugin adds."""
    durable: bool = True
    """Survives a restart of the broker."""
    auto_delete: bool = False
    """Deleted by the broker when its last binding goes."""
    arguments: Mapping[str, str] = Field(default_factory=dict)
    """What an `x-` type asks for. Strings only: the provider cannot send anything else."""

    def declaration(self) -> dict[str, Any]:
        """Return what the management API declares it with."""
        return {
            "type": self.type,
            "durable": self.durable,
            "auto_delete": self.auto_delete,
            "arguments": dict(self.arguments),
        }


class Queue(_Frozen):
    """A queue or stream: where messages wait for consumers."""

    type: QueueType = QueueType.QUORUM
    """`classic`, `quorum` or `stream`."""
    durable: bool = True
    """Survives a restart of the broker. Quorum queues and streams always do."""
    auto_delete: bool = False
    """Deleted by the broker when its last consumer goes. Classic queues only."""
    on_delete: OnDelete = OnDelete.REFUSE
    """`refuse`: deleted only when empty and without consumers; `discard`: with all it holds;
    `retain`: left on the broker. Takes effect with the next `pulumi up`."""
    arguments: Mapping[str, JsonValue] = Field(default_factory=dict)
    """Further arguments, sent as they are written: numbers stay numbers."""

    def declared_arguments(self) -> dict[str, JsonValue]:
        """All arguments that are sent, the queue type included.

        The type is always sent: RabbitMQ 4 adds one where it is missing, and the provider
        would take the addition for a change and replace the queue with all its messages.
        """
        return {TYPE_ARGUMENT: self.type.value, **self.arguments}

    def declaration(self) -> dict[str, Any]:
        """Return what the management API declares it with."""
        return {
            "durable": self.durable,
            "auto_delete": self.auto_delete,
            "arguments": self.declared_arguments(),
        }


class Binding(_Frozen):
    """One or more routes from an exchange to a queue or to another exchange."""

    source: str
    """The exchange that messages come from."""
    queue: str | None = None
    """The queue that they go to; give this or `exchange`."""
    exchange: str | None = None
    """The exchange that they go to; give this or `queue`."""
    routing_key: str | None = None
    """The routing key, or the pattern on a topic exchange; none is the empty key."""
    routing_keys: tuple[str, ...] | None = None
    """Several routing keys: one route each."""
    arguments: Mapping[str, JsonValue] = Field(default_factory=dict)
    """What a headers exchange matches, for example `{x-match: all, kind: order}`."""

    def routes(self) -> Iterator[Route]:
        """Yield one `Route` per routing key."""
        kind, destination = ("queue", self.queue) if self.queue else ("exchange", self.exchange)
        keys = self.routing_keys if self.routing_keys is not None else (self.routing_key or "",)
        for key in keys:
            yield Route(
                source=self.source,
                kind=kind,
                destination=destination or "",
                routing_key=key,
                arguments=self.arguments,
            )


class Route(_Frozen):
    """One binding as the broker knows it: exactly one routing key."""

    source: str
    kind: str
    """`queue` or `exchange`: what the destination is."""
    destination: str
    routing_key: str
    arguments: Mapping[str, JsonValue] = Field(default_factory=dict)


class Topology(_Frozen):
    """Everything that one stack declares on its broker."""

    vhost: str
    """The virtual host. Created by the stack, except `/`, which every broker has."""
    exchanges: Mapping[str, Annotated[Exchange, BeforeValidator(_none_is_empty)]] = Field(
        default_factory=dict
    )
    """Exchanges by name."""
    queues: Mapping[str, Annotated[Queue, BeforeValidator(_none_is_empty)]] = Field(
        default_factory=dict
    )
    """Queues and streams by name."""
    bindings: tuple[Binding, ...] = ()
    """Bindings, in any order."""

    def routes(self) -> Iterator[Route]:
        """Yield every binding as the broker will know it."""
        for binding in self.bindings:
            yield from binding.routes()


class Broker(_Frozen):
    """How services reach the broker. All of it has a default taken from the endpoint."""

    hosts: tuple[str, ...] = ()
    """AMQP addresses, `host` or `host:port`, IPv6 in brackets; default: the endpoint's host."""
    tls: bool = False
    """Services connect with TLS: `amqps`, default port 5671 instead of 5672."""


class SafetySettings(_Frozen):
    """How careful a stack is."""

    preview: Verdict = Verdict.WARN
    """What `pulumi preview` does when the update would be refused: `warn` or `error`."""
    published_by_name: ByName = ByName.REFUSE
    """Replacing a queue that messages are published to by its name, through the default exchange:
    `refuse`, or `accept` that the broker confirms and discards those on their way."""
