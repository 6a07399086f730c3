"""
As much of an AMQP 1.0 consumer as it takes to have a broker deliver messages later.

The only client on PyPI that can do it, python-qpid-proton, comes without wheels.
Source: "AMQP Version 1.0", OASIS, parts 1 (types), 2 (transport) and 5 (SASL).
"""

from __future__ import annotations

import socket
import struct
from typing import IO

_SASL, _AMQP = 1, 0
_MECHANISMS, _INIT, _OUTCOME = 0x40, 0x41, 0x44
_OPEN, _BEGIN, _ATTACH, _FLOW, _TRANSFER, _DISPOSITION = 0x10, 0x11, 0x12, 0x13, 0x14, 0x15
_DETACH, _END, _CLOSE = 0x16, 0x17, 0x18
_SOURCE, _TARGET, _MODIFIED = 0x28, 0x29, 0x27

_NULL, _TRUE, _FALSE = b"\x40", b"\x41", b"\x42"


def give_back_until(host: str, vhost: str, queue: str, count: int, due_ms: int) -> None:
    """Take messages and give them back, to be delivered at a time: milliseconds since 1970."""
    address, _, port = host.rpartition(":")
    with socket.create_connection((address, int(port)), timeout=10) as connection:
        stream = connection.makefile("rwb")

        def send(kind: int, body: bytes) -> None:
            stream.write(struct.pack(">IBBH", 8 + len(body), 2, kind, 0) + body)
            stream.flush()

        def wait_for(code: int) -> None:
            while (performative := _receive(stream)) != code:
                assert performative not in (_DETACH, _END, _CLOSE), "the broker ended it"

        stream.write(b"AMQP\x03\x01\x00\x00")
        stream.flush()
        assert stream.read(8) == b"AMQP\x03\x01\x00\x00"
        wait_for(_MECHANISMS)
        send(_SASL, _described(_INIT, _symbol("PLAIN"), _binary(b"\0guest\0guest")))
        wait_for(_OUTCOME)
        stream.write(b"AMQP\x00\x01\x00\x00")
        stream.flush()
        assert stream.read(8) == b"AMQP\x00\x01\x00\x00"
        send(_AMQP, _described(_OPEN, _text("test"), _text(f"vhost:{vhost}")))
        send(_AMQP, _described(_BEGIN, _NULL, _uint(0), _uint(1000), _uint(1000)))
        source, target = _described(_SOURCE, _text(f"/queues/{queue}")), _described(_TARGET, _NULL)
        unsettled, first = b"\x50\x00", b"\x50\x00"
        send(
            _AMQP,
            _described(_ATTACH, _text("link"), _uint(0), _TRUE, unsettled, first, source, target),
        )
        wait_for(_ATTACH)
        window = (_NULL, _uint(1000), _uint(0), _uint(1000))
        send(_AMQP, _described(_FLOW, *window, _uint(0), _NULL, _uint(count)))
        for _ in range(count):
            wait_for(_TRANSFER)
        annotations = _map(_symbol("x-opt-delivery-time"), b"\x81" + struct.pack(">q", due_ms))
        later = _described(_MODIFIED, _FALSE, _FALSE, annotations)
        given_back = (_TRUE, _uint(0), _uint(count - 1), _TRUE, later)
        send(_AMQP, _described(_DISPOSITION, *given_back))
        send(_AMQP, _described(_CLOSE))
        wait_for(_CLOSE)


def _receive(stream: IO[bytes]) -> int:
    """Return the code of the next performative; what it says does not matter here."""
    size, offset, _, _ = struct.unpack(">IBBH", stream.read(8))
    body = stream.read(size - 8)[4 * offset - 8 :]
    return body[2] if body else 0  # 0: a heartbeat; else 0x00 0x53 code


def _described(code: int, *fields: bytes) -> bytes:
    body = b"".join(fields)
    return b"\x00\x53" + bytes([code, 0xD0]) + struct.pack(">II", 4 + len(body), len(fields)) + body


def _map(*fields: bytes) -> bytes:
    body = b"".join(fields)
    return b"\xd1" + struct.pack(">II", 4 + len(body), len(fields)) + body


def _text(text: str) -> bytes:
    return b"\xb1" + struct.pack(">I", len(text.encode())) + text.encode()


def _symbol(text: str) -> bytes:
    return b"\xb3" + struct.pack(">I", len(text)) + text.encode("ascii")


def _binary(data: bytes) -> bytes:
    return b"\xb0" + struct.pack(">I", len(data)) + data


def _uint(number: int) -> bytes:
    return b"\x70" + struct.pack(">I", number)
