"""
A stand-in for a broker's AMQP side: what clients send, in order.

Not a broker: one queue, and what becomes of a publication is said by its routing key.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from contextlib import suppress
from threading import Lock, Thread
from typing import Any

from pika import frame, spec

RETURNED, REFUSED, NO_EXCHANGE, LOST = "returned", "refused", "no exchange", "lost"
"""Routing keys of what is not confirmed; ``LOST`` closes the connection."""

_FRAME, _CONTENT = struct.Struct(">BHL"), struct.Struct(">HHQ")


class AmqpDouble(Thread):
    """Listens on a free port, and delivers messages to whoever consumes."""

    def __init__(self, messages: list[tuple[bytes, bytes]]) -> None:
        super().__init__(daemon=True)
        self.messages = deque(messages)
        """Properties and bodies that wait in the queue."""
        self.sent: list[tuple[int, Any]] = []
        """The methods that clients sent, with their channels; publications apart."""
        self.published: list[tuple[str, str, bytes, bytes]] = []
        """Exchange, routing key, properties and body."""
        self.guard = Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.start()

    def names(self, channel: int) -> list[str]:
        """Return the names of the methods that came on a channel."""
        return [type(method).__name__ for number, method in self.sent if number == channel]

    def run(self) -> None:
        with suppress(OSError), self._listener:
            while True:
                _Peer(self, self._listener.accept()[0]).start()


class _Peer(Thread):
    """One connection of a client."""

    def __init__(self, double: AmqpDouble, peer: socket.socket) -> None:
        super().__init__(daemon=True)
        self._double = double
        self._peer = peer
        self._buffer = b""
        self._tag = ""
        self._tags = self._credit = self._consuming = 0
        self._unacknowledged: dict[int, tuple[bytes, bytes]] = {}
        self._confirms: dict[int, int] = {}
        self._publishing: dict[int, list[Any]] = {}

    def run(self) -> None:
        with suppress(OSError), self._peer:
            self._peer.recv(8)  # the protocol header
            able = ("publisher_confirms", "basic.nack", "consumer_cancel_notify")
            properties = {"capabilities": dict.fromkeys(able, True)}
            start = spec.Connection.Start(server_properties=properties, mechanisms="PLAIN")
            self._send(0, start)
            while data := self._peer.recv(65536):
                self._buffer += data
                while self._frame():
                    pass
        self._give_back()

    def _deliver(self) -> None:
        while self._double.messages and self._credit and self._consuming:
            properties, body = message = self._double.messages.popleft()
            self._tags += 1
            self._credit -= 1
            self._unacknowledged[self._tags] = message
            deliver = spec.Basic.Deliver(self._tag, self._tags, False, "dlx", "key")
            self._send(self._consuming, deliver)
            self._content(self._consuming, properties, body)

    def _give_back(self) -> None:
        with self._double.guard:
            self._double.messages.extendleft(reversed(self._unacknowledged.values()))
            self._unacknowledged.clear()

    def _frame(self) -> bool:
        if len(self._buffer) < _FRAME.size:
            return False
        kind, channel, size = _FRAME.unpack_from(self._buffer)
        end = _FRAME.size + size + 1
        if len(self._buffer) < end:
            return False
        whole, self._buffer = self._buffer[:end], self._buffer[end:]
        inside = whole[_FRAME.size : -1]
        match kind:
            case spec.FRAME_METHOD:
                self._method(channel, frame.decode_frame(whole)[1].method)
            case spec.FRAME_HEADER:  # the client would not read all types
                _class, _weight, body_size = _CONTENT.unpack_from(inside)
                self._publishing[channel] += [inside[_CONTENT.size :], body_size, b""]
                self._body(channel, b"")
            case spec.FRAME_BODY:
                self._body(channel, inside)
        return True

    def _method(self, channel: int, method: Any) -> None:
        if isinstance(method, spec.Basic.Publish):
            self._publishing[channel] = [method]
            return
        self._double.sent.append((channel, method))
        match type(method):
            case spec.Connection.StartOk:
                self._send(0, spec.Connection.Tune(2047, 131072, 0))
            case spec.Connection.Open:
                self._send(0, spec.Connection.OpenOk())
            case spec.Connection.Close:
                self._send(0, spec.Connection.CloseOk())
            case spec.Channel.Open:
                self._send(channel, spec.Channel.OpenOk())
            case spec.Channel.Close:
                if channel == self._consuming:
                    self._give_back()
                self._send(channel, spec.Channel.CloseOk())
            case spec.Confirm.Select:
                self._confirms[channel] = 0
                self._send(channel, spec.Confirm.SelectOk())
            case spec.Queue.Declare:
                waiting = len(self._double.messages)
                self._send(channel, spec.Queue.DeclareOk(method.queue, waiting, 0))
            case spec.Queue.Bind:
                self._send(channel, spec.Queue.BindOk())
            case spec.Queue.Delete:
                self._send(channel, spec.Queue.DeleteOk(0))
            case spec.Exchange.Declare:
                self._send(channel, spec.Exchange.DeclareOk())
            case _:
                self._basic(channel, method)

    def _basic(self, channel: int, method: Any) -> None:
        match type(method):
            case spec.Basic.Qos:
                self._credit = method.prefetch_count
                self._send(channel, spec.Basic.QosOk())
            case spec.Basic.Consume:
                self._consuming, self._tag = channel, method.consumer_tag
                self._send(channel, spec.Basic.ConsumeOk(method.consumer_tag))
                self._deliver()
            case spec.Basic.Cancel if method.nowait:
                self._credit = 0
            case spec.Basic.Cancel:
                self._credit = 0
                self._send(channel, spec.Basic.CancelOk(method.consumer_tag))
            case spec.Basic.Nack:
                self._give_back()
            case spec.Basic.Ack:
                del self._unacknowledged[method.delivery_tag]
                self._credit += 1
                self._deliver()

    def _body(self, channel: int, fragment: bytes) -> None:
        whole = self._publishing[channel]
        whole[3] += fragment
        if len(whole[3]) < whole[2]:
            return
        method, properties, _, body = self._publishing.pop(channel)
        self._confirms[channel] += 1
        tag, key = self._confirms[channel], method.routing_key
        if key == RETURNED:
            self._send(channel, spec.Basic.Return(312, "NO_ROUTE", method.exchange, key))
            self._content(channel, properties, body)
            self._send(channel, spec.Basic.Ack(tag))
        elif key == REFUSED:
            self._send(channel, spec.Basic.Nack(tag))
        elif key == NO_EXCHANGE:
            self._send(channel, spec.Channel.Close(404, "NOT_FOUND", 60, 40))
        elif key == LOST:
            self._peer.close()
        else:
            assert method.mandatory
            self._double.published.append((method.exchange, key, properties, body))
            self._send(channel, spec.Basic.Ack(tag))

    def _send(self, channel: int, method: Any) -> None:
        self._peer.sendall(frame.Method(channel, method).marshal())

    def _content(self, channel: int, properties: bytes, body: bytes) -> None:
        content = _CONTENT.pack(60, 0, len(body)) + properties
        header = _FRAME.pack(spec.FRAME_HEADER, channel, len(content)) + content + b"\xce"
        self._peer.sendall(header + (frame.Body(channel, body).marshal() if body else b""))
