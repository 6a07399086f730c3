"""
What a topology is: frozen, typed values and nothing else.

No import of pulumi, no I/O. The shapes are what a user writes in ``Pulumi.<stack>.yaml``;
what can be said about one value alone is checked by its type, everything else in `rules`.
Source: "AMQP 0-9-1 Model Explained", "Queues", "Exchanges", RabbitMQ documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, Strict

from rabbit_topology.model.units import Duration, Size

BUILT_IN_EXCHANGE_TYPES = ("direct", "fanout", "topic", "headers")
PREDECLARED_EXCHANGES: Mapping[str, str] = {
    "amq.direct": "direct",
    "amq.fanout": "fanout",
    "amq.topic": "topic",
    "amq.headers": "headers",
    "amq.match": "headers",
}
"""Exchanges that every vhost has, and their types; a binding may name them, a config may not
declare them."""

DEFAULT_VHOST = "/"
"""Every broker has it: no stack creates it, and no destroy may take it away."""

TYPE_ARGUMENT = "x-queue-type"

NO_DELIVERY_LIMIT = 1_000_000_000
"""A delivery limit that is none, on every version: RabbitMQ 4.0 has one of 20 unless another is
set, and takes -1 for none, which 3.x refuses."""

SECRETS = frozenset({"password", "uri", "source_uri", "destination_uri"})
"""Fields that may hold a password: their values are shown to nobody."""

MAX_NAME_BYTES = 255
"""AMQP's short string. Source: "AMQP 0-9-1 Complete Reference Guide"."""


_Item = TypeVar("_Item")
Items = Annotated[tuple[_Item, ...], Strict(strict=False)]
"""A list in YAML. Behind a validator pydantic no longer knows that its input was JSON, where there
are no tuples, and would refuse a list."""


class OnDelete(StrEnum):
    """What happens to a queue, and what it holds, when it leaves the config or the stack goes.

    It says nothing about replacements: they keep what the queue holds.
    """

    REFUSE = "refuse"
    """It is deleted only if it is exactly empty and has no consumers."""
    DISCARD = "discard"
    """It is deleted with whatever it holds."""
    RETAIN = "retain"
    """It stays on the broker, with its ways in and its way for dead letters, and is no longer
    managed."""


class QueueType(StrEnum):
    """The queue types of RabbitMQ. Source: "Queues", RabbitMQ documentation."""

    CLASSIC = "classic"
    QUORUM = "quorum"
    STREAM = "stream"


class OnRefusal(StrEnum):
    """What a preview does about an update that would be refused."""

    WARN = "warn"
    """It says so and succeeds."""
    ERROR = "error"
    """It says so and fails."""


class PublishedByName(StrEnum):
    """What an update does about messages that it cannot catch."""

    REFUSE = "refuse"
    """It does not touch the queue."""
    ACCEPT = "accept"
    """It loses those that are on their way at the moment of the deletion."""


class LinkQueues(StrEnum):
    """What an update does that deletes the queue which the broker keeps for a link."""

    REFUSE = "refuse"
    """It is not made."""
    ACCEPT = "accept"
    """It is made: what the queue holds is lost, and what is published until there is a next one."""


class _Frozen(BaseModel):
    """Strict: a string is never taken for a number, nor a number for a string."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )


def _none_is_empty(value: object) -> object:
    # `orders:` with nothing behind it is YAML's null: the user means all defaults.
    return {} if value is None else value


def _yes_is_empty(value: object) -> object:
    # `dead_letter: true` is all defaults, `dead_letter: false` is none of it.
    return {} if value is True else None if value is False else value


def _text_is_exchange(value: object) -> object:
    return {"exchange": value} if isinstance(value, str) else value


class Overflow(StrEnum):
    """What a queue does with messages beyond its maximum length."""

    DROP_HEAD = "drop-head"
    """The oldest go, and are dead-lettered."""
    REJECT_PUBLISH = "reject-publish"
    """The newest are refused: publishers get a negative confirm."""
    REJECT_PUBLISH_DLX = "reject-publish-dlx"
    """As `reject-publish`, and dead-lettered. Classic queues only."""


class DeadLetterStrategy(StrEnum):
    """How safely a quorum queue dead-letters."""

    AT_MOST_ONCE = "at-most-once"
    """Messages can be lost on the way."""
    AT_LEAST_ONCE = "at-least-once"
    """They stay in the queue until a target has confirmed them."""


class LeaderLocator(StrEnum):
    """Where a cluster puts the leader of a new queue."""

    CLIENT_LOCAL = "client-local"
    BALANCED = "balanced"


class DeadLetter(_Frozen):
    """Where a queue sends what is rejected, has expired or is too much."""

    exchange: str | None = None
    """An exchange of the vhost; none: an exchange and a queue of its own are made,
    `<queue>.dead-letter`."""
    routing_key: str | None = None
    """The routing key from then on; none: each message keeps its own. Needs `exchange`."""
    strategy: DeadLetterStrategy | None = None
    """Of a quorum queue; default: `at-least-once` where `overflow` allows it and the target is
    its own, else the broker's `at-most-once`."""


class Retry(_Frozen):
    """A ladder: what a consumer rejects comes back after a delay, each time a longer one."""

    delays: Items[Duration] = Field(min_length=1)
    """How long to wait before each further try. After the last the message is parked in
    `<queue>.parking-lot`."""


class Exchange(_Frozen):
    """An exchange: where publishers send messages."""

    type: str = "direct"
    """`direct`, `fanout`, `topic`, `headers`, or the `x-` name of a type that a plugin adds."""
    durable: bool = True
    """Survives a restart of the broker."""
    auto_delete: bool = False
    """Deleted by the broker when its last binding goes."""
    alternate: str | None = None
    """The alternate exchange: gets what no binding takes. Changed in place."""
    unroutable: bool = False
    """Keeps what no binding takes, in an alternate exchange and queue `<exchange>.unroutable`."""
    delays: Items[Duration] = ()
    """What is published to `<exchange>.delay.<delay>` reaches this exchange so much later."""
    renamed_from: str | None = None
    """The name that it had before. For as long as this is said there is an exchange of that name as
    well, and what is published to it reaches this one: both names work. Not of an `x-` type."""
    arguments: Mapping[str, str] = Field(default_factory=dict)
    """What an `x-` type asks for. Strings only: the provider cannot send anything else."""

    def settings(self) -> dict[str, JsonValue]:
        """Return what a policy sets."""
        return {} if self.alternate is None else {"alternate-exchange": self.alternate}

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
    typed: bool = True
    """`false`: declared without `x-queue-type`, as clients of RabbitMQ 3.x often do; with
    `type: classic` only."""
    durable: bool = True
    """Survives a restart of the broker. Quorum queues and streams always do."""
    auto_delete: bool = False
    """Deleted by the broker when its last consumer goes. Classic queues only."""
    on_delete: OnDelete = OnDelete.REFUSE
    """`refuse`: deleted only when empty and without consumers; `discard`: with all it holds;
    `retain`: left on the broker. Takes effect with the next `pulumi up`."""
    max_length: Annotated[int, Field(ge=0)] | None = None
    """Ready messages at most. Changed in place. Classic, quorum."""
    max_length_bytes: Size | None = None
    """Bytes at most, of message bodies. Changed in place."""
    overflow: Overflow | None = None
    """What happens beyond: `drop-head` (default), `reject-publish` or `reject-publish-dlx`.
    Changed in place. Classic, quorum."""
    message_ttl: Duration | None = None
    """A message expires after so long. Changed in place. Classic, quorum."""
    expires: Duration | None = None
    """The queue itself is deleted when nobody used it for so long. Changed in place."""
    delivery_limit: Annotated[int, Field(ge=-1)] | None = None
    """A message is dead-lettered after so many returns. Changed in place. Quorum only."""
    dead_letter: Annotated[DeadLetter | None, BeforeValidator(_yes_is_empty)] = None
    """`true`: a dead-letter exchange and queue of its own; or `{exchange: …, routing_key: …}`.
    Changed in place."""
    retry: Retry | None = None
    """`{delays: [5s, 1m, 10m]}`: what a consumer rejects comes back later, and is parked after
    the last delay."""
    consumer_timeout: Duration | None = None
    """A consumer has so long to acknowledge. Changed in place. RabbitMQ 3.12 and newer."""
    max_age: Duration | None = None
    """Segments older than this are dropped. Changed in place. Streams only."""
    max_priority: Annotated[int, Field(ge=1, le=255)] | None = None
    """Priorities from 0 to this. Classic only; a quorum queue has two of its own from 4.0 on."""
    single_active_consumer: bool = False
    """One consumer at a time gets messages, the next one when it goes. Classic, quorum."""
    initial_cluster_size: Annotated[int, Field(ge=1)] | None = None
    """Replicas at the start. Quorum, stream."""
    leader_locator: LeaderLocator | None = None
    """Where its leader starts: `client-local` or `balanced`."""
    segment_size: Size | None = None
    """Bytes of a segment file. Streams only."""
    filter_size: Annotated[int, Field(ge=16, le=255)] | None = None
    """Bytes of a segment's Bloom filter. Streams only. RabbitMQ 3.13 and newer."""
    renamed_from: str | None = None
    """The name that it had before: it gets the bindings and all messages of that queue, which then
    goes, as in a replacement. Does nothing where there is no such queue. Classic, quorum."""
    arguments: Mapping[str, JsonValue] = Field(default_factory=dict)
    """Further arguments, sent as they are written: numbers stay numbers. To change one is to
    replace the queue."""

    def settings(self) -> dict[str, JsonValue]:
        """Return what a policy sets: all that the broker can change in place."""
        dead_letter = self.dead_letter or DeadLetter()
        settings = {
            "max-length": self.max_length,
            "max-length-bytes": self.max_length_bytes,
            "overflow": self.overflow,
            "message-ttl": self.message_ttl,
            "expires": self.expires,
            "delivery-limit": self.delivery_limit,
            "dead-letter-exchange": dead_letter.exchange,
            "dead-letter-routing-key": dead_letter.routing_key,
            "dead-letter-strategy": dead_letter.strategy,
            "consumer-timeout": self.consumer_timeout,
            "max-age": None if self.max_age is None else f"{self.max_age // 1000}s",
        }
        return {key: value for key, value in settings.items() if value is not None}

    def own_arguments(self) -> dict[str, JsonValue]:
        """Return the arguments of the settings that a policy cannot hold."""
        quorum = self.type is QueueType.QUORUM
        arguments: dict[str, JsonValue] = {
            "x-max-priority": self.max_priority,
            "x-single-active-consumer": self.single_active_consumer or None,
            f"x-{'quorum-initial-group' if quorum else 'initial-cluster'}-size": (
                self.initial_cluster_size
            ),
            "x-queue-leader-locator": self.leader_locator,
            "x-stream-max-segment-size-bytes": self.segment_size,
            "x-stream-filter-size-bytes": self.filter_size,
        }
        return {key: value for key, value in arguments.items() if value is not None}

    def declared_arguments(self) -> dict[str, JsonValue]:
        """All arguments that are sent, the queue type included.

        The type is sent unless a queue is there without: RabbitMQ 4 adds one to what is declared
        anew, and the provider would take the addition for a change and replace the queue.
        """
        stated = {TYPE_ARGUMENT: self.type.value} if self.typed else {}
        return {**stated, **self.own_arguments(), **self.arguments}

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
    routing_keys: Items[str] | None = None
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


class Policy(_Frozen):
    """A policy: settings for all queues or exchanges whose names match a pattern."""

    pattern: str
    """A regular expression, found anywhere in a name unless `^` and `$` say otherwise."""
    apply_to: str = "all"
    """`all`, `exchanges`, `queues`; from RabbitMQ 3.12 on also `classic_queues`, `quorum_queues`,
    `streams`."""
    priority: int = 0
    """Of those that match, only the one with the highest priority applies."""
    definition: Mapping[str, JsonValue]
    """The settings, by the broker's own names. Numbers and text: the provider sends no others."""


class Publish(_Frozen):
    """What a service may publish to."""

    exchange: str
    """An exchange of the vhost, or one of the broker's own."""
    routing_key: str | None = None
    """The routing key, or a pattern of them as in a topic binding. Enforced by the broker on
    topic exchanges; none: any."""
    routing_keys: Items[str] | None = None
    """Several routing keys."""

    def keys(self) -> tuple[str, ...]:
        """Return all routing keys; none means any."""
        one = () if self.routing_key is None else (self.routing_key,)
        return one if self.routing_keys is None else self.routing_keys


class Rotates(StrEnum):
    """What a service gets anew when its `rotation` is raised."""

    PASSWORD = "password"  # noqa: S105 - what is rotated
    """Its user gets another password: who connects with the old one is refused from then on."""
    USER = "user"
    """It gets another user. The former one stays until the broker shows no connection of it."""


class Service(_Frozen):
    """A service: gets a user of its own that may do what is said here and nothing else."""

    publishes: Items[Annotated[Publish, BeforeValidator(_text_is_exchange)]] = ()
    """Exchanges it publishes to: names, or `{exchange: …, routing_key: …}`."""
    consumes: Items[str] = ()
    """Queues and streams it consumes."""
    replies: bool = False
    """It answers requests: it may publish to the default exchange, hence to any queue by name."""
    declares: Items[str] = ()
    """Queues and exchanges it may declare, delete, publish to and consume; `*` at the end is any
    rest, but for the broker's own names. `amq.gen-*`: queues that the broker names."""
    binds: Items[str] = ()
    """Exchanges to which it may bind the queues that it declares."""
    username: str | None = None
    """The user's name; default: `<vhost>.<service>`, on the default vhost the service's own."""
    exists: bool = False
    """The user is there already, and keeps its password and tags: only its permissions are set."""
    password: str | None = None
    """The user's password, as a Pulumi secret; default: derived from `rabbit-topology:seed`. Of one
    that `exists`: the password that it has, for its URL."""
    rotation: Annotated[int, Field(ge=1)] = 1
    """Raise it for a new derived password."""
    rotates: Rotates = Rotates.PASSWORD
    """`user`: a higher `rotation` is another user, `<username>.<rotation>`, and the former one
    stays until the broker shows no connection of it. Default: `password`, of the same user."""


class Permissions(_Frozen):
    """Regular expressions over the names of exchanges and queues."""

    configure: str = "^$"
    """What may be declared and deleted."""
    write: str = "^$"
    """What may be published to, and bound."""
    read: str = "^$"
    """What may be consumed, and bound to."""


class TopicPermissions(_Frozen):
    """Regular expressions over routing keys, on one topic exchange."""

    write: str = "^$"
    """What may be published."""
    read: str = "^$"
    """What may be bound."""


class User(_Frozen):
    """A user with hand-written permissions, for what `services` cannot say."""

    password: str | None = None
    """The password, as a Pulumi secret; default: derived from `rabbit-topology:seed`."""
    rotation: Annotated[int, Field(ge=1)] = 1
    """Raise it for a new derived password."""
    exists: bool = False
    """The user is there already, or stands in another vhost of the stack: only its permissions
    are set here."""
    tags: Items[str] = ()
    """`administrator`, `monitoring`, `policymaker`, `management`, `impersonator` or others."""
    permissions: Permissions | None = None
    """In the vhost; none: the user cannot open it."""
    topic_permissions: Mapping[str, TopicPermissions] = Field(default_factory=dict)
    """By topic exchange."""


class AckMode(StrEnum):
    """When a shovel or link acknowledges what it has taken."""

    ON_CONFIRM = "on-confirm"
    """Once the other side has confirmed it: nothing is lost, some may arrive twice."""
    ON_PUBLISH = "on-publish"
    """Once it is published there: lost if that broker fails then."""
    NO_ACK = "no-ack"
    """At the moment of taking: whatever is on its way is lost with the connection."""


class Protocol(StrEnum):
    """What a shovel speaks at one of its ends."""

    AMQP091 = "amqp091"
    """AMQP 0-9-1, as RabbitMQ does."""
    AMQP10 = "amqp10"
    """AMQP 1.0, as other brokers do."""
    LOCAL = "local"
    """Without a connection, from RabbitMQ 4.2 on."""


class Shovel(_Frozen):
    """A dynamic shovel. Source: "Dynamic Shovels", RabbitMQ documentation."""

    source_uri: str
    """Where from, as a Pulumi secret if it holds a password; `amqp:///<vhost>` is this broker."""
    destination_uri: str
    """Where to."""
    source_queue: str | None = None
    """The queue to take from; give this or `source_exchange`, with AMQP 1.0 `source_address`."""
    source_exchange: str | None = None
    """The exchange to take from, by way of a queue of its own."""
    source_exchange_key: str | None = None
    """The routing key for `source_exchange`."""
    source_address: str | None = None
    """The AMQP 1.0 address to take from."""
    source_protocol: Protocol | None = None
    """`amqp091` (default), `amqp10`, or `local` from RabbitMQ 4.2 on."""
    source_delete_after: Annotated[str, Field(pattern=r"^(never|queue-length|[0-9]+)$")] | None = (
        None
    )
    """When it ends: `never` (default), `queue-length` or after so many messages."""
    source_prefetch_count: int | None = None
    """Messages on their way at most."""
    destination_queue: str | None = None
    """The queue to put into; give this or `destination_exchange`."""
    destination_exchange: str | None = None
    """The exchange to publish to."""
    destination_exchange_key: str | None = None
    """The routing key for it; default: each message's own."""
    destination_address: str | None = None
    """The AMQP 1.0 address to put into."""
    destination_protocol: Protocol | None = None
    """`amqp091` (default), `amqp10`, or `local` from RabbitMQ 4.2 on."""
    destination_add_forward_headers: bool | None = None
    """Adds `x-shovelled` headers."""
    destination_add_timestamp_header: bool | None = None
    """Adds a header with the time."""
    destination_application_properties: Mapping[str, str] | None = None
    """AMQP 1.0 application properties to set. Official plugin only."""
    destination_properties: Mapping[str, str] | None = None
    """AMQP 1.0 properties to set. Official plugin only."""
    destination_publish_properties: Mapping[str, str] | None = None
    """AMQP 0-9-1 properties to set. Official plugin only."""
    ack_mode: AckMode | None = None
    """`on-confirm` (default), `on-publish` or `no-ack`."""
    reconnect_delay: int | None = None
    """Seconds."""


class FederationUpstream(_Frozen):
    """An upstream of federated exchanges or queues. Source: "Federation Reference"."""

    uri: str
    """Where from, as a Pulumi secret if it holds a password."""
    exchange: str | None = None
    """The upstream's exchange; default: of the same name."""
    queue: str | None = None
    """The upstream's queue; default: of the same name."""
    prefetch_count: int | None = None
    """Messages on their way at most."""
    reconnect_delay: int | None = None
    """Seconds."""
    ack_mode: AckMode | None = None
    """`on-confirm` (default), `on-publish` or `no-ack`."""
    trust_user_id: bool | None = None
    """Keeps the `user_id` of messages."""
    max_hops: int | None = None
    """Brokers that a message may pass through at most."""
    expires: Duration | None = None
    """The upstream's buffer queue goes when unused for so long."""
    message_ttl: Duration | None = None
    """Messages in the upstream's buffer queue expire after so long."""


class SuperStream(_Frozen):
    """A stream in partitions: an exchange, one stream per partition, and their bindings."""

    partitions: Annotated[int, Field(ge=1)]
    """How many: `<name>-0`, `<name>-1` …, bound with routing keys `0`, `1` …"""
    max_length_bytes: Size | None = None
    """Of each partition."""
    max_age: Duration | None = None
    """Of each partition."""
    segment_size: Size | None = None
    """Of each partition."""
    on_delete: OnDelete = OnDelete.REFUSE
    """Of each partition."""


class VhostLimits(_Frozen):
    """Limits of a vhost; -1 is none."""

    max_connections: Annotated[int, Field(ge=-1)] | None = None
    """Client connections at most. Official plugin only."""
    max_queues: Annotated[int, Field(ge=-1)] | None = None
    """Queues at most. Official plugin only."""


class VhostOnDelete(StrEnum):
    """What happens to a vhost when it leaves the config or the stack goes."""

    REFUSE = "refuse"
    """It is deleted, unless it holds messages or anything that the stack does not manage."""
    RETAIN = "retain"
    """It stays on the broker with what others have in it, and is no longer managed."""


class VhostSettings(_Frozen):
    """Settings of a vhost. All but `exists` and `on_delete` need the official provider plugin, 3.5
    or newer.
    """

    exists: bool = False
    """The vhost is there already, and others keep its settings: it is neither created nor deleted
    here, only what is in it. As `/` always is."""
    description: str | None = None
    """What it is for."""
    default_queue_type: QueueType | None = None
    """The type of queues that others declare without one."""
    tracing: bool | None = None
    """Copies every message to `amq.rabbitmq.trace`: for debugging, it costs throughput."""
    limits: VhostLimits = VhostLimits()
    """How many connections and queues it takes."""
    on_delete: VhostOnDelete = VhostOnDelete.REFUSE
    """What happens when it leaves the config or the stack goes: `refuse` to delete it with anything
    in it that the stack does not manage, or `retain` it. Takes effect with the next `pulumi up`."""


class Topology(_Frozen):
    """Everything that one stack declares on its broker, in one vhost."""

    vhost: str
    """The virtual host. Created by the stack, except `/`, which every broker has."""
    vhost_settings: VhostSettings = VhostSettings()
    """Description, default queue type, limits, tracing."""
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
    super_streams: Mapping[str, SuperStream] = Field(default_factory=dict)
    """Super streams by name."""
    policies: Mapping[str, Policy] = Field(default_factory=dict)
    """Policies by name, for queues and exchanges that are not declared here. Settings of those
    that are stand with them, and are merged with a policy that matches."""
    operator_policies: Mapping[str, Policy] = Field(default_factory=dict)
    """Operator policies by name."""
    services: Mapping[str, Annotated[Service, BeforeValidator(_none_is_empty)]] = Field(
        default_factory=dict
    )
    """Services by name: what each publishes and consumes."""
    users: Mapping[str, Annotated[User, BeforeValidator(_none_is_empty)]] = Field(
        default_factory=dict
    )
    """Further users by name."""
    shovels: Mapping[str, Shovel] = Field(default_factory=dict)
    """Dynamic shovels by name."""
    federation_upstreams: Mapping[str, FederationUpstream] = Field(default_factory=dict)
    """Federation upstreams by name."""

    @property
    def makes_vhost(self) -> bool:
        """Return whether the vhost is the stack's own, and not one that is there already."""
        return self.vhost != DEFAULT_VHOST and not self.vhost_settings.exists

    @property
    def successors(self) -> dict[str, str]:
        """The queues that were renamed, by the names that they had before and no other has now."""
        former = ((queue.renamed_from, name) for name, queue in self.queues.items())
        return {old: name for old, name in former if old and old not in self.queues}

    @property
    def former_exchanges(self) -> set[str]:
        """The names that exchanges had before."""
        former = (exchange.renamed_from for exchange in self.exchanges.values())
        return {old for old in former if old}

    def former_names(self, names: Iterable[str]) -> Iterator[str]:
        """Yield the names that the queues and exchanges of these names had before."""
        for name in names:
            for one in (self.queues.get(name), self.exchanges.get(name)):
                if one is not None and one.renamed_from:
                    yield one.renamed_from

    def exchange_type(self, name: str) -> str | None:
        """Return the type of an exchange, None if others have made it."""
        own = self.exchanges.get(name)
        return own.type if own else PREDECLARED_EXCHANGES.get(name)

    def routes(self) -> Iterator[Route]:
        """Yield every binding as the broker will know it."""
        for binding in self.bindings:
            yield from binding.routes()


class Broker(_Frozen):
    """How services reach the broker. All of it has a default taken from the endpoint."""

    version: str | None = None
    """The broker's version, `4.0` or `4.0.5`, for the rules that depend on it; default: what the
    endpoint says, if it answers."""

    hosts: Items[str] = ()
    """AMQP addresses, `host` or `host:port`, IPv6 in brackets; default: the endpoint's host."""
    tls: bool | None = None
    """Services connect with TLS: `amqps`, default port 5671 instead of 5672; default: whether the
    endpoint is `https`."""


class TakeOver(_Frozen):
    """An object that others have made, which the stack may overwrite."""

    object: Annotated[str, Field(min_length=1)]
    """What it is, as the refusal names it: `user app`, `policy ttl`."""
    vhost: str | None = None
    """Its vhost, where the stack has several."""
    reason: Annotated[str, Field(min_length=1)]
    """Why, for those who read it later."""


class SafetySettings(_Frozen):
    """How careful a stack is."""

    preview: OnRefusal = OnRefusal.WARN
    """What `pulumi preview` does when the update would be refused: `warn` or `error`."""
    published_by_name: PublishedByName = PublishedByName.REFUSE
    """Replacing what gets messages by its name, published through the default exchange or
    dead-lettered: `refuse`, or `accept` that the broker discards those on their way."""
    link_queues: LinkQueues = LinkQueues.REFUSE
    """Changing or removing a federation upstream with a running link of an exchange, or a shovel
    with `source_exchange`: `refuse`, or `accept` that the queue of its own goes with what it holds
    and what is published meanwhile."""
    take_over: Items[TakeOver] = ()
    """What the broker has already, made by others and otherwise than it is declared here, and is to
    be overwritten."""


class Ignore(_Frozen):
    """What `lint` leaves out, and why."""

    rule: str
    """The rule's name."""
    path: str
    """Where: the path that the finding has, or the beginning of it, `topology.queues.orders`."""
    reason: Annotated[str, Field(min_length=1)]
    """Why it is right as it is, for those who read it later."""


class LintSettings(_Frozen):
    """What `lint`, and the warnings of a deployment, say."""

    ignore: Items[Ignore] = ()
    """Findings that are left out. What would fail a deployment cannot be."""


class ExpectedMessage(_Frozen):
    """A message that an expectation is about."""

    exchange: str
    """Where it is published to; an empty name is the default exchange."""
    routing_key: str = ""
    """Its routing key, or a pattern of them as in a topic binding: then each of them is meant."""
    headers: Mapping[str, JsonValue] = Field(default_factory=dict)
    """Its headers; `CC` and `BCC` are lists of further routing keys."""
    expiration: Duration | None = None
    """It expires after so long."""


class DroppedWhen(StrEnum):
    """Whether a message gets into no queue at all."""

    NEVER = "never"
    ALWAYS = "always"


class Reason(StrEnum):
    """Why a message leaves a queue other than by being acknowledged, in the broker's words."""

    REJECTED = "rejected"
    EXPIRED = "expired"
    DELIVERY_LIMIT = "delivery_limit"
    MAXLEN = "maxlen"


class Expectation(_Frozen):
    """What the routes of a stack are for: `lint` and `test` fail where it does not hold."""

    publish: ExpectedMessage | None = None
    """The message that it is about; give this or `queue`."""
    reaches: Items[str] = ()
    """Queues that the message gets into, and perhaps others."""
    reaches_only: Items[str] | None = None
    """The queues that the message gets into, and no others."""
    misses: Items[str] = ()
    """Queues that the message does not get into."""
    dropped: DroppedWhen | None = None
    """`never`: the message gets into some queue; `always`: into none."""
    ends_in: Items[str] = ()
    """Queues in which the message ends up after it left queues by `when`."""
    when: Reason = Reason.REJECTED
    """Why it leaves queues: `rejected`, `expired`, `delivery_limit` or `maxlen`."""
    within: Duration | None = None
    """It is in one of `ends_in` after so long at the latest, if nothing waits for consumers."""
    queue: str | None = None
    """The queue that it is about."""
    only_from: Items[str] | None = None
    """Exchanges through which messages get into the queue, and through no others."""
    only_services: Items[str] | None = None
    """Services and users that can publish messages which get into the queue, and no others."""
    vhost: str | None = None
    """Where; needed only if the stack has several."""


class Expectations(_Frozen):
    """All that is expected of a stack's routes."""

    expect: Items[Expectation] = ()
    """One mapping each."""
