"""
Properties of messages that are passed on as they came, whatever types their headers have.
"""

from __future__ import annotations

import struct
from types import SimpleNamespace

import pytest
from pika import frame, spec

from rabbit_topology.broker.verbatim import Verbatim, kept, read, with_headers

FLAGS = spec.BasicProperties


def text(value: bytes) -> bytes:
    return bytes([len(value)]) + value


def entry(name: bytes, value: bytes) -> bytes:
    return text(name) + value


def table(*entries: bytes) -> bytes:
    whole = b"".join(entries)
    return struct.pack(">I", len(whole)) + whole


EVERY_TYPE = {
    b"bool": b"t\x01",
    b"int8": b"b\xff",
    b"uint8": b"B\xff",
    b"int16": b"s\xff\xfe",
    b"uint16": b"u\xff\xfe",
    b"int32": b"I\xff\xff\xff\xfe",
    b"uint32": b"i\xff\xff\xff\xfe",
    b"int64": b"l" + struct.pack(">q", -5),
    b"float": b"f" + struct.pack(">f", 0.5),
    b"double": b"d" + struct.pack(">d", 0.75),
    b"decimal": b"D\x02" + struct.pack(">i", 1234),
    b"text": b"S" + struct.pack(">I", 2) + b"ab",
    b"no text": b"S" + struct.pack(">I", 2) + b"\xff\xfe",
    b"bytes": b"x" + struct.pack(">I", 1) + b"\x00",
    b"time": b"T" + struct.pack(">q", 1_000_000_000),
    b"no time": b"T" + struct.pack(">q", 2**62),
    b"void": b"V",
    b"table": b"F" + table(entry(b"deep", b"d" + struct.pack(">d", 1.5))),
    b"array": b"A" + struct.pack(">I", 11) + b"d" + struct.pack(">d", 2.5) + b"b\x01",
}
HEADERS = [entry(name, value) for name, value in EVERY_TYPE.items()]


def properties(*headers: bytes) -> bytes:
    """Return properties with all that there may be."""
    flags = sum(1 << bit for bit in range(2, 16))
    return b"".join(
        [
            struct.pack(">H", flags),
            *(text(b"text/plain"), text(b"gzip"), table(*headers)),
            *(b"\x02", b"\x07", text(b"corr"), text(b"reply"), text(b"5000"), text(b"id")),
            struct.pack(">Q", 1_700_000_000),
            *(text(b"kind"), text(b"guest"), text(b"app"), text(b"cluster")),
        ]
    )


WHOLE = properties(*HEADERS)


def test_all_is_read():
    values = read(WHOLE)
    headers = values.pop("headers")
    assert values == {
        "content_type": "text/plain",
        "content_encoding": "gzip",
        "delivery_mode": 2,
        "priority": 7,
        "correlation_id": "corr",
        "reply_to": "reply",
        "expiration": "5000",
        "message_id": "id",
        "timestamp": 1_700_000_000,
        "type": "kind",
        "user_id": "guest",
        "app_id": "app",
        "cluster_id": "cluster",
    }
    assert list(headers) == [name.decode() for name in EVERY_TYPE]
    assert (headers["float"], headers["double"]) == (0.5, 0.75)
    assert (headers["table"], headers["array"]) == ({"deep": 1.5}, [2.5, 1])
    assert (headers["int8"], headers["uint16"], headers["int64"]) == (-1, 65534, -5)
    assert (headers["no text"], headers["no time"]) == (b"\xff\xfe", 2**62)


def test_what_is_read_is_written_as_it_was():
    assert b"".join(Verbatim(WHOLE).encode()) == WHOLE


def test_a_header_is_added_and_all_others_stay_as_they_were():
    count = entry(b"replays", b"l" + struct.pack(">q", 1))
    changed = with_headers(WHOLE, without=frozenset(), counts={"replays": 1})
    assert changed == properties(*HEADERS, count)


def test_headers_are_left_out_and_a_count_is_set_anew():
    old = entry(b"replays", b"I" + struct.pack(">i", 1))
    new = entry(b"replays", b"l" + struct.pack(">q", 2))
    seen = entry(b"x-delivery-count", b"l" + struct.pack(">q", 3))
    raw = properties(seen, *HEADERS[:3], old, *HEADERS[3:])
    changed = with_headers(raw, without=frozenset({"x-delivery-count"}), counts={"replays": 2})
    assert changed == properties(*HEADERS, new)


@pytest.mark.parametrize(
    "given",
    [{}, {"content_type": "a", "delivery_mode": 1}, {"content_encoding": "b", "app_id": "c"}],
)
def test_where_there_are_no_headers_there_are_some_then(given):
    raw = b"".join(spec.BasicProperties(**given).encode())
    changed = Verbatim(with_headers(raw, without=frozenset(), counts={"n": 2**40}))
    assert changed.headers == {"n": 2**40}
    assert {name: getattr(changed, name) for name in given} == given


def test_what_is_no_properties_is_kept_and_said_to_be_unreadable():
    for broken in (WHOLE[:40], b"\x20\x00\x00\x00\x00\x03\x01aQ", b""):
        with pytest.raises(ValueError, match="no properties"):
            read(broken)
        assert not Verbatim(broken).readable
        assert Verbatim(broken).encode() == [broken]
    assert Verbatim(WHOLE).readable


class Impl:
    """The part of the client that reads frames."""

    def __init__(self) -> None:
        self._frame_buffer = b""

    def _read_frame(self):
        return frame.decode_frame(self._frame_buffer)

    def read(self, buffer: bytes):
        self._frame_buffer = buffer
        return self._read_frame()


def header_frame(raw: bytes) -> bytes:
    content = struct.pack(">HHQ", 60, 0, 3) + raw
    return struct.pack(">BHL", 2, 1, len(content)) + content + b"\xce"


def test_frames_with_properties_come_with_their_bytes_and_all_others_as_before():
    impl = Impl()
    whole, heartbeat = header_frame(WHOLE), b"\x08\x00\x00\x00\x00\x00\x00\xce"
    with kept(SimpleNamespace(connection=SimpleNamespace(_impl=impl))):
        size, got = impl.read(whole + heartbeat)
        assert (size, got.channel_number, got.body_size) == (len(whole), 1, 3)
        assert got.properties.raw == WHOLE
        for part in (0, 3, 8, len(whole) - 1):
            assert impl.read(whole[:part])[1] is None
        assert isinstance(impl.read(heartbeat + whole)[1], frame.Heartbeat)
    assert "_read_frame" not in vars(impl)
    assert not isinstance(impl.read(header_frame(properties()))[1].properties, Verbatim)


def test_the_frame_that_the_client_writes_is_the_one_that_was_read():
    written = frame.Header(1, 3, Verbatim(WHOLE)).marshal()
    assert written == header_frame(WHOLE)
