"""
A message's properties as the bytes that the broker sent: passed on as they came, but for a header.

The client's own way through values would change some: it reads 0.75 as 0, and writes a byte as four
bytes. A consumer that reads the header would notice.

Source: "AMQP 0-9-1 Protocol Errata" (types of fields), RabbitMQ documentation; section 4.2.6 of the
AMQP 0-9-1 specification (properties).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pika import data, frame, spec
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import InvalidFieldTypeException

_HEADERS = spec.BasicProperties.FLAG_HEADERS
_BEFORE_HEADERS = (
    spec.BasicProperties.FLAG_CONTENT_TYPE,
    spec.BasicProperties.FLAG_CONTENT_ENCODING,
)
_MORE_FLAGS = 1
_FRAME = struct.Struct(">BHL")
_CONTENT = struct.Struct(">HHQ")
_LONG = struct.Struct(">cq")
_LENGTH = struct.Struct(">I")
_FLOATS = {b"f": ">f", b"d": ">d"}
_DATES = (-62135596800, 253402300799)
"""The first and the last second that Python has a date for."""


class Verbatim(spec.BasicProperties):  # type: ignore[misc]
    """Properties that are written as ``raw``, whatever is read of them."""

    def __init__(self, raw: bytes) -> None:
        super().__init__()
        self.raw = raw
        self.readable = True
        try:
            values = read(raw)
        except ValueError:
            values, self.readable = {}, False
        for name, value in values.items():
            setattr(self, name, value)

    def encode(self) -> list[bytes]:
        """Return the bytes that were read."""
        return [self.raw]


@contextmanager
def kept(channel: BlockingChannel) -> Iterator[None]:
    """Have all that is delivered on a channel's connection come with `Verbatim` properties."""
    connection = channel.connection._impl  # noqa: SLF001 - the client has no hook for this
    plain: Callable[[], tuple[int, Any]] = connection._read_frame  # noqa: SLF001

    def read_frame() -> tuple[int, Any]:
        answer = _content_header(connection._frame_buffer)  # noqa: SLF001
        return answer or plain()

    connection._read_frame = read_frame  # noqa: SLF001
    try:
        yield
    finally:
        del connection._read_frame  # noqa: SLF001


def read(raw: bytes) -> dict[str, Any]:
    """Return properties by their names in the client; headers with numbers as they are.

    Raises:
        ValueError: They are not properties.
    """
    try:
        return _read(raw)
    except (struct.error, IndexError, InvalidFieldTypeException) as error:
        raise ValueError(f"no properties of a message: {error}") from None


def with_headers(raw: bytes, *, without: frozenset[str], counts: Mapping[str, int]) -> bytes:
    """Return properties with other headers: some left out, and numbers set.

    Args:
        raw: The properties.
        without: The names of headers to leave out.
        counts: Headers to set, by name, each a 64-bit number.
    """
    flags, start = _flags(raw)
    position = start
    for flag in _BEFORE_HEADERS:
        if flags & flag:
            position += 1 + raw[position]
    entries, end = b"", position
    if flags & _HEADERS:
        end = position + _LENGTH.size + _LENGTH.unpack_from(raw, position)[0]
        entries = b"".join(
            raw[first:after]
            for name, _, first, after in _entries(raw, position)
            if name not in without | counts.keys()
        )
    for name, count in counts.items():
        encoded = name.encode()
        entries += bytes([len(encoded)]) + encoded + _LONG.pack(b"l", count)
    table = _LENGTH.pack(len(entries)) + entries
    head = struct.pack(">H", _first_flags(raw) | _HEADERS) + raw[2:position]
    return head + table + raw[end:]


def _content_header(buffer: bytes) -> tuple[int, frame.Header] | None:
    """Return the frame at the front of a buffer if it is one with properties, and is complete."""
    if len(buffer) < _FRAME.size:
        return None
    kind, channel, size = _FRAME.unpack_from(buffer)
    end = _FRAME.size + size + spec.FRAME_END_SIZE
    if kind != spec.FRAME_HEADER or len(buffer) < end or buffer[end - 1] != spec.FRAME_END:
        return None
    content = bytes(buffer[_FRAME.size : end - 1])
    _class, _weight, body_size = _CONTENT.unpack_from(content)
    return end, frame.Header(channel, body_size, Verbatim(content[_CONTENT.size :]))


def _first_flags(raw: bytes) -> int:
    return int(struct.unpack_from(">H", raw)[0])


def _flags(raw: bytes) -> tuple[int, int]:
    """Return the flags of the properties that are there, and where the first of them begins."""
    flags, position = _first_flags(raw), 2
    more = flags
    while more & _MORE_FLAGS:  # no property has a flag there
        more = int(struct.unpack_from(">H", raw, position)[0])
        position += 2
    return flags, position


_SHORT_TEXTS = (
    ("correlation_id", spec.BasicProperties.FLAG_CORRELATION_ID),
    ("reply_to", spec.BasicProperties.FLAG_REPLY_TO),
    ("expiration", spec.BasicProperties.FLAG_EXPIRATION),
    ("message_id", spec.BasicProperties.FLAG_MESSAGE_ID),
)
_LAST_TEXTS = (
    ("type", spec.BasicProperties.FLAG_TYPE),
    ("user_id", spec.BasicProperties.FLAG_USER_ID),
    ("app_id", spec.BasicProperties.FLAG_APP_ID),
    ("cluster_id", spec.BasicProperties.FLAG_CLUSTER_ID),
)


def _read(raw: bytes) -> dict[str, Any]:
    flags, position = _flags(raw)
    values: dict[str, Any] = {}

    def texts(*named: tuple[str, int]) -> None:
        nonlocal position
        for name, flag in named:
            if flags & flag:
                values[name], position = data.decode_short_string(raw, position)

    texts(*zip(("content_type", "content_encoding"), _BEFORE_HEADERS, strict=True))
    if flags & _HEADERS:
        values["headers"], position = _table(raw, position)
    for name, flag in (
        ("delivery_mode", spec.BasicProperties.FLAG_DELIVERY_MODE),
        ("priority", spec.BasicProperties.FLAG_PRIORITY),
    ):
        if flags & flag:
            values[name], position = raw[position], position + 1
    texts(*_SHORT_TEXTS)
    if flags & spec.BasicProperties.FLAG_TIMESTAMP:
        values["timestamp"], position = struct.unpack_from(">Q", raw, position)[0], position + 8
    texts(*_LAST_TEXTS)
    return values


def _entries(raw: bytes, position: int) -> Iterator[tuple[str | bytes, Any, int, int]]:
    """Yield a table's entries: name, value, where it begins, and where the next one does."""
    end = position + _LENGTH.size + _LENGTH.unpack_from(raw, position)[0]
    position += _LENGTH.size
    while position < end:
        first = position
        name, position = data.decode_short_string(raw, position)
        value, position = _value(raw, position)
        yield name, value, first, position


def _table(raw: bytes, position: int) -> tuple[dict[str | bytes, Any], int]:
    end = position + _LENGTH.size + _LENGTH.unpack_from(raw, position)[0]
    return {name: value for name, value, _, _ in _entries(raw, position)}, end


def _value(raw: bytes, position: int) -> tuple[Any, int]:
    """Return a value, and where the next one begins; as the client does, where that is right."""
    kind, inside = raw[position : position + 1], position + 1
    if kind in _FLOATS:
        layout = _FLOATS[kind]
        return struct.unpack_from(layout, raw, inside)[0], inside + struct.calcsize(layout)
    if kind == b"T":
        seconds = struct.unpack_from(">q", raw, inside)[0]
        if not _DATES[0] <= seconds <= _DATES[1]:
            return seconds, inside + 8
    if kind == b"F":
        return _table(raw, inside)
    if kind == b"A":
        end = inside + _LENGTH.size + _LENGTH.unpack_from(raw, inside)[0]
        inside += _LENGTH.size
        values = []
        while inside < end:
            value, inside = _value(raw, inside)
            values.append(value)
        return values, end
    value, after = data.decode_value(raw, position)
    return value, int(after)
