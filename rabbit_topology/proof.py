"""
Proof by message that every binding of a topology delivers, through the URLs that it exports.

No message goes through an exchange or into a queue that is in use: for each binding its exchange
is copied as the broker lists it, type and arguments, with the binding and a queue of ours, and the
message goes through the copy. Of the exchange and the queue themselves it is asked, over their own
URLs, whether they answer. So nothing can be left in a queue, however the proof ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from uuid import uuid4

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

from rabbit_topology.broker.management import Management
from rabbit_topology.errors import ProofError, reason
from rabbit_topology.model import (
    BUILT_IN_EXCHANGE_TYPES,
    PREDECLARED_EXCHANGES,
    Route,
    Topology,
)

PATIENCE_SECONDS = 5.0
"""How long a host may take to accept a connection."""

_AWAY = frozenset({"crashed", "down", "minority", "stopped"})
"""States of a queue in which it takes no message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """One binding that was proven."""

    vhost: str
    route: Route


@dataclass(frozen=True, kw_only=True, slots=True)
class Outputs:
    """The stack outputs that the proof goes by."""

    exchange_urls: Mapping[str, str | Sequence[str]]
    queue_urls: Mapping[str, str | Sequence[str]]
    connection_url: str | Sequence[str]


def prove(
    topology: Topology,
    outputs: Outputs,
    management: Management,
    report: Callable[[Delivery], None],
) -> list[Delivery]:
    """Open every URL, ask every queue, and send and receive a message over every binding.

    Raises:
        ProofError: With one line per URL that does not open, per queue that does not answer and
            per binding that does not deliver.
        BrokerError: The management API, which lists what there is, does not answer.
    """
    vhost = quote(topology.vhost, safe="")
    listed = _Listed(
        bindings=[binding for binding in management.get(f"/bindings/{vhost}") if binding["source"]],
        exchanges={
            exchange["name"]: exchange for exchange in management.get(f"/exchanges/{vhost}")
        },
        queues={
            queue["name"]: queue for queue in management.get(f"/queues/{vhost}?disable_stats=true")
        },
    )
    failures: list[str] = []
    proven: list[Delivery] = []
    with ExitStack() as stack:
        channels = _Channels(outputs, management, stack)
        failures += channels.open_all()
        if failures:
            raise ProofError(_in(topology.vhost, failures))
        for name in topology.queues:
            if why := _why_not_there(name, listed, channels):
                failures.append(f"queue {name}: {why}")
        for route in topology.routes():
            try:
                _prove_route(route, topology, listed, channels)
            except (AMQPError, _NotDeliveredError) as error:
                failures.append(f"{describe(route)}: {reason(error)}")
                channels.reopen()
                continue
            delivery = Delivery(vhost=topology.vhost, route=route)
            report(delivery)
            proven.append(delivery)
    if failures:
        raise ProofError(_in(topology.vhost, failures))
    return proven


def _in(vhost: str, failures: Sequence[str]) -> list[str]:
    return [f"vhost {vhost}: {line}" for line in failures]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Listed:
    """What the broker says that it has in one vhost."""

    bindings: Sequence[Mapping[str, Any]]
    exchanges: Mapping[str, Mapping[str, Any]]
    queues: Mapping[str, Mapping[str, Any]]


def describe(route: Route) -> str:
    """Return a binding in one line: ``orders -[order.new]-> queue orders.new``."""
    key = json.dumps(dict(route.arguments)) if route.arguments else route.routing_key
    return f"{route.source} -[{key}]-> {route.kind} {route.destination}"


class _NotDeliveredError(Exception):
    pass


class _Channels:
    """One channel for each distinct URL; exchanges' and queues' URLs with the credentials of
    the connection URL.
    """

    def __init__(self, outputs: Outputs, management: Management, stack: ExitStack) -> None:
        self._outputs = outputs
        self._management = management
        self._stack = stack
        self._by_url: dict[str, BlockingChannel] = {}
        parts = urlsplit(_as_list(outputs.connection_url)[0])
        self._credentials = pika.PlainCredentials(
            unquote(parts.username or ""), unquote(parts.password or "")
        )

    def open_all(self) -> list[str]:
        """Open every URL of the outputs; return a line for each that does not."""
        failures = []
        for urls in (
            self._outputs.connection_url,
            *self._outputs.exchange_urls.values(),
            *self._outputs.queue_urls.values(),
        ):
            for url in _as_list(urls):
                try:
                    self._channel(url)
                except (AMQPError, OSError) as error:
                    shown = f"{urlsplit(url).hostname}:{urlsplit(url).port}{urlsplit(url).path}"
                    failures.append(
                        f"{shown} does not open: {reason(error)}; rabbit-topology:broker.hosts "
                        "names the addresses"
                    )
        return list(dict.fromkeys(failures))

    def any(self) -> BlockingChannel:
        return self._channel(_as_list(self._outputs.connection_url)[0])

    def of_exchange(self, name: str) -> BlockingChannel:
        # The broker's own amq. exchanges are not among the outputs.
        return self._channel(
            _as_list(self._outputs.exchange_urls.get(name) or self._outputs.connection_url)[0]
        )

    def of_queue(self, name: str) -> BlockingChannel:
        return self._channel(_as_list(self._outputs.queue_urls[name])[0])

    def reopen(self) -> None:
        """Replace the channels that an error has closed."""
        for url, channel in list(self._by_url.items()):
            if channel.is_closed:
                del self._by_url[url]

    def _channel(self, url: str) -> BlockingChannel:
        if url not in self._by_url:
            parameters = pika.URLParameters(url)
            parameters.credentials = self._credentials
            parameters.socket_timeout = PATIENCE_SECONDS
            if urlsplit(url).scheme == "amqps":
                # The URL does not say which certificates to trust.
                context = self._management.tls_context
                parameters.ssl_options = pika.SSLOptions(context, parameters.host)
            connection = pika.BlockingConnection(parameters)
            self._stack.callback(lambda: connection.is_open and connection.close())
            channel = connection.channel()
            channel.confirm_delivery()
            self._by_url[url] = channel
        return self._by_url[url]


def _why_not_there(name: str, listed: _Listed, channels: _Channels) -> str | None:
    """Return why a queue does not answer over its own URL, None if it does."""
    if name not in listed.queues:
        return "the broker does not have it"
    if (state := listed.queues[name].get("state")) in _AWAY:
        return f"it takes no messages: its state is {state}"
    try:
        channels.of_queue(name).queue_declare(name, passive=True)
    except AMQPError as error:
        channels.reopen()
        return f"it does not answer: {error or type(error).__name__}"
    return None


def _prove_route(route: Route, topology: Topology, listed: _Listed, channels: _Channels) -> None:
    if not any(_is_listed(route, binding) for binding in listed.bindings):
        raise _NotDeliveredError("the broker does not have this binding")
    kind = _exchange_type(topology, route.source)
    if kind not in BUILT_IN_EXCHANGE_TYPES:
        raise _NotDeliveredError(f"how a {kind} exchange routes is not known, so it is not proven")
    publisher = channels.of_exchange(route.source)
    publisher.exchange_declare(route.source, passive=True)
    if route.kind == "exchange":
        receiver = channels.of_exchange(route.destination)
        receiver.exchange_declare(route.destination, passive=True)
    else:
        receiver = channels.of_queue(route.destination)
    key, arguments = route.routing_key, dict(route.arguments)
    with ExitStack() as stack:
        source = _copy(publisher, listed.exchanges[route.source], stack)
        queue: str = receiver.queue_declare("", exclusive=True).method.queue
        stack.callback(lambda: receiver.is_open and receiver.queue_delete(queue))
        if route.kind == "exchange":
            inner = _copy(receiver, listed.exchanges[route.destination], stack)
            receiver.exchange_bind(inner, source, key, arguments)
            _listen(receiver, inner, queue, route, topology)
        else:
            receiver.queue_bind(queue, source, key, arguments)
        headers = _sample_headers(kind, route.arguments)
        publisher.basic_publish(
            source,
            _sample_key(kind, route.routing_key),
            b"proof",
            pika.BasicProperties(headers=headers),
        )
        # The publish was confirmed: what was routed to the queue is in it.
        method, _, _ = receiver.basic_get(queue, auto_ack=True)
    if method is None:
        raise _NotDeliveredError("a message that matches it did not arrive")


def _copy(channel: BlockingChannel, listed: Mapping[str, Any], stack: ExitStack) -> str:
    """Declare an exchange as another one is listed; it goes with ``stack``, or its bindings."""
    name = f"proof-{uuid4().hex[:12]}"
    # Without its alternate exchange, into which a message of ours could get.
    arguments = {k: v for k, v in listed["arguments"].items() if k != "alternate-exchange"}
    channel.exchange_declare(name, listed["type"], auto_delete=True, arguments=arguments)
    stack.callback(lambda: channel.is_open and channel.exchange_delete(name))
    return name


def _is_listed(route: Route, binding: Mapping[str, Any]) -> bool:
    return bool(
        binding["source"] == route.source
        and binding["destination"] == route.destination
        and binding["destination_type"] == route.kind
        and binding["routing_key"] == route.routing_key
        and binding["arguments"] == dict(route.arguments)
    )


def _listen(
    channel: BlockingChannel, exchange: str, queue: str, route: Route, topology: Topology
) -> None:
    """Bind a queue of ours to a copy so that it gets what ``route`` brings there."""
    match _exchange_type(topology, route.destination):
        case "topic":
            channel.queue_bind(queue, exchange, "#")
        case "direct":
            key = _sample_key(_exchange_type(topology, route.source), route.routing_key)
            channel.queue_bind(queue, exchange, key)
        case _:  # a fanout takes all; for a headers exchange all of no headers is always given
            channel.queue_bind(queue, exchange, "", {"x-match": "all"})


def _exchange_type(topology: Topology, name: str) -> str:
    if name in topology.exchanges:
        return topology.exchanges[name].type
    return PREDECLARED_EXCHANGES[name]


def _sample_key(kind: str, routing_key: str) -> str:
    """Return a routing key that a binding with ``routing_key`` matches."""
    if kind != "topic":
        return routing_key
    words = ("x" if word == "*" else word for word in routing_key.split(".") if word != "#")
    return ".".join(words)


def _sample_headers(kind: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return headers that a binding with ``arguments`` matches."""
    return dict(arguments) if kind == "headers" else {}


def _as_list(urls: str | Sequence[str]) -> Sequence[str]:
    return [urls] if isinstance(urls, str) else urls
