"""
Proof by message that every binding of a topology delivers, through the URLs that it exports.

A queue that is empty and has no consumers is proven by a message of ours that goes into it and
is taken out again. A queue that holds messages, or has consumers, or is a stream is left alone:
its exchanges, bindings and itself are copied for the length of the connection, as the broker
lists them, and the message goes through the copy. No message of others is ever touched.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from uuid import uuid4

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker

from rabbit_topology.errors import ProofError
from rabbit_topology.management import Management
from rabbit_topology.model import BUILT_IN_EXCHANGE_TYPES, QueueType, Route, Topology

PATIENCE_SECONDS = 5.0
"""How long a host may take to accept a connection."""

SETTLING_SECONDS = 1.0
"""How long a quorum queue may take to apply an acknowledgement."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """One binding that was proven."""

    route: Route
    copied: bool
    """The message went through a copy, since the queue was in use."""


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
    """Open every URL, and send and receive a message over every binding.

    Raises:
        ProofError: With one line per URL that does not open and per binding that does not deliver.
        BrokerError: The management API, which lists the bindings, does not answer.
    """
    vhost = quote(topology.vhost, safe="")
    listed = [it for it in management.get(f"/bindings/{vhost}") if it["source"]]
    unsettled = {
        it["name"] for it in management.get(f"/queues/{vhost}") if it.get("messages_unacknowledged")
    }
    failures: list[str] = []
    proven: list[Delivery] = []
    with ExitStack() as stack:
        channels = _Channels(outputs, management, stack)
        failures += channels.open_all()
        if failures:
            raise ProofError(failures)
        copy = _Copy(topology, listed, channels.any())
        stack.callback(copy.remove)
        for route in topology.routes():
            try:
                delivery = _prove_route(route, topology, listed, unsettled, channels, copy)
            except (AMQPError, _NotDeliveredError) as error:
                failures.append(f"{describe(route)}: {error or type(error).__name__}")
                channels.reopen()
                continue
            report(delivery)
            proven.append(delivery)
    if failures:
        raise ProofError(failures)
    return proven


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
                    failures.append(f"{shown} does not open: {error or type(error).__name__}")
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


class _Copy:
    """The exchanges and queues of a vhost once more, bound as the broker lists it.

    Made at first use. Queues are exclusive, so that they go with the connection whatever happens.
    """

    def __init__(
        self, topology: Topology, listed: Sequence[dict[str, Any]], channel: BlockingChannel
    ) -> None:
        self._topology = topology
        self._listed = listed
        self._channel = channel
        self._token = f"proof-{uuid4().hex[:12]}"
        self._exchanges: dict[str, str] = {}
        self._queues: dict[str, str] = {}

    def exchange(self, name: str) -> str:
        self._make()
        return self._exchanges[name]

    def queue(self, name: str) -> str:
        self._make()
        return self._queues[name]

    @property
    def channel(self) -> BlockingChannel:
        return self._channel

    def remove(self) -> None:
        if self._channel.is_open:
            for name in self._exchanges.values():
                self._channel.exchange_delete(name)

    def _make(self) -> None:
        if self._exchanges:
            return
        used = {it["source"] for it in self._listed} | set(self._topology.exchanges)
        for index, name in enumerate(sorted(used)):
            self._exchanges[name] = f"{self._token}-{index}"
            self._channel.exchange_declare(
                self._exchanges[name], _exchange_type(self._topology, name), auto_delete=True
            )
        for it in self._listed:
            key, arguments = it["routing_key"], it["arguments"]
            source, name = self._exchanges[it["source"]], it["destination"]
            if it["destination_type"] == "queue":
                if name not in self._queues:
                    declared = self._channel.queue_declare("", exclusive=True)
                    self._queues[name] = declared.method.queue
                self._channel.queue_bind(self._queues[name], source, key, arguments)
            else:
                self._channel.exchange_bind(self._exchanges[name], source, key, arguments)


def _prove_route(
    route: Route,
    topology: Topology,
    listed: Sequence[dict[str, Any]],
    unsettled: set[str],
    channels: _Channels,
    copy: _Copy,
) -> Delivery:
    if not any(_is_listed(route, it) for it in listed):
        raise _NotDeliveredError("the broker does not have this binding")
    kind = _exchange_type(topology, route.source)
    if kind not in BUILT_IN_EXCHANGE_TYPES:
        raise _NotDeliveredError(f"how a {kind} exchange routes is not known, so it is not proven")
    reached = _reachable(route.source, listed)
    in_use = any(
        name in unsettled or not _is_idle(channels.any(), topology, name) for name in reached
    )
    token = uuid4().hex
    with ExitStack() as stack:
        publisher = copy.channel if in_use else channels.of_exchange(route.source)
        places = {
            name: (copy.channel, copy.queue(name)) if in_use else (channels.of_queue(name), name)
            for name in reached
        }
        if route.kind == "exchange":
            target = copy.exchange(route.destination) if in_use else route.destination
            queue = _listen(publisher, target, route, topology)
            stack.callback(lambda: publisher.is_open and publisher.queue_delete(queue))
            place = publisher, queue
        else:
            place = places.pop(route.destination)
        publisher.basic_publish(
            copy.exchange(route.source) if in_use else route.source,
            _sample_key(kind, route.routing_key),
            token.encode(),
            pika.BasicProperties(headers=_sample_headers(kind, route.arguments), delivery_mode=2),
        )
        delivered = _take(*place, token)
        for (
            other
        ) in places.values():  # a message goes wherever its key leads: take it out there too
            _take(*other, token)
    if not delivered:
        raise _NotDeliveredError("a message that matches it did not arrive")
    return Delivery(route=route, copied=in_use)


def _is_listed(route: Route, it: Mapping[str, Any]) -> bool:
    return bool(
        it["source"] == route.source
        and it["destination"] == route.destination
        and it["destination_type"] == route.kind
        and it["routing_key"] == route.routing_key
        and it["arguments"] == dict(route.arguments)
    )


def _reachable(source: str, listed: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the queues that a message published to ``source`` can get to."""
    queues: set[str] = set()
    seen, waiting = {source}, deque([source])
    while waiting:
        here = waiting.popleft()
        for it in listed:
            if it["source"] != here:
                continue
            if it["destination_type"] == "queue":
                queues.add(it["destination"])
            elif it["destination"] not in seen:
                seen.add(it["destination"])
                waiting.append(it["destination"])
    return queues


def _is_idle(channel: BlockingChannel, topology: Topology, name: str) -> bool:
    """Tell whether a queue can take a message of ours and give it back, with nobody else there."""
    queue = topology.queues.get(name)
    if queue is None or queue.type is QueueType.STREAM or queue.arguments or queue.settings():
        return False  # not ours, or it keeps, expires or drops what is put in
    state = channel.queue_declare(name, passive=True).method
    return (state.message_count, state.consumer_count) == (0, 0)


def _listen(channel: BlockingChannel, exchange: str, route: Route, topology: Topology) -> str:
    """Bind a queue of ours to ``exchange`` so that it gets what ``route`` brings there."""
    queue: str = channel.queue_declare("", exclusive=True).method.queue
    match _exchange_type(topology, route.destination):
        case "topic":
            channel.queue_bind(queue, exchange, "#")
        case "direct":
            key = _sample_key(_exchange_type(topology, route.source), route.routing_key)
            channel.queue_bind(queue, exchange, key)
        case _:  # a fanout takes all; for a headers exchange all of no headers is always given
            channel.queue_bind(queue, exchange, "", {"x-match": "all"})
    return queue


def _take(channel: BlockingChannel, queue: str, token: str) -> bool:
    """Take our message out of ``queue``; others' that have come before it go back.

    No waiting: the publish was confirmed, so whatever was routed to the queue is in it.
    They go back to the front, except on RabbitMQ 3.10, which puts them at a quorum queue's end.
    """
    others: int | None = None
    taken = False
    while not taken:
        try:
            method, _, body = channel.basic_get(queue)
        except ChannelClosedByBroker as error:
            raise _NotDeliveredError(f"{queue} cannot be read: {error.reply_text}") from None
        if method is None:
            break
        taken = body == token.encode()
        if taken:
            channel.basic_ack(method.delivery_tag)
        else:
            others = method.delivery_tag
    if others is not None:
        channel.basic_nack(others, multiple=True, requeue=True)
    if taken or others is not None:
        _await_settled(channel, queue)
    return taken


def _await_settled(channel: BlockingChannel, queue: str) -> None:
    """Wait until nobody holds a message of ``queue``, or a consumer has come.

    A quorum queue counts who holds one as a consumer until it has applied the acknowledgement:
    without the wait, the next binding's proof would find the queue in use.
    """
    deadline = time.monotonic() + SETTLING_SECONDS
    while channel.queue_declare(queue, passive=True).method.consumer_count:
        if time.monotonic() > deadline:
            return
        time.sleep(0.002)


def _exchange_type(topology: Topology, name: str) -> str:
    if name in topology.exchanges:
        return topology.exchanges[name].type
    return {"amq.match": "headers"}.get(name, name.removeprefix("amq."))


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
