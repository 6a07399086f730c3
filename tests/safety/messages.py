"""
The messages that publishers send: each one known from its publisher and sequence number alone.

Properties are kept as the bytes that go over the wire, so that a message that was changed on its
way differs byte for byte, the type of a header included. Source: AMQP 0-9-1, sections 4.2.5 and
4.2.6, with RabbitMQ's field types.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

import pika

MAGIC = b"\xa5M"
_ID = struct.Struct(">2sHQ")
MINIMUM_BODY = _ID.size

FIRST_TIMESTAMP = 1_700_000_000
PRIORITIES = (0, 1, 2, 3, 4)

ADDED_BY_BROKERS = (
    b"x-delivery-count",
    b"x-acquired-count",
    b"x-death",
    b"x-first-death-",
    b"x-last-death-",
)
"""Headers that RabbitMQ adds on a message's way; they are counted, not taken for changes."""

_FIELDS = (
    "content_type",
    "content_encoding",
    "headers",
    "delivery_mode",
    "priority",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "timestamp",
    "type",
    "user_id",
    "app_id",
)

_FIXED_SIZES = {
    b"t": 1, b"b": 1, b"B": 1, b"s": 2, b"u": 2, b"I": 4, b"i": 4, b"f": 4,
    b"l": 8, b"L": 8, b"d": 8, b"T": 8, b"D": 5, b"V": 0,
}  # fmt: skip


class RawProperties(pika.BasicProperties):
    """Properties as they are on the wire: neither encoded nor decoded, which also is faster."""

    def __init__(self, raw: bytes = b"") -> None:  # the base class's 14 fields stay unused
        self.raw = raw

    def encode(self) -> list[bytes]:
        return [self.raw]

    def decode(self, encoded: bytes, offset: int = 0) -> RawProperties:
        self.raw = encoded[offset:]
        return self


class Identity(NamedTuple):
    """Who published a message, and which one of theirs it is."""

    publisher: int
    sequence: int


@dataclass(frozen=True, kw_only=True)
class Publication:
    """Where one share of the messages is published to, and which queues each must reach."""

    exchange: str
    queues: Sequence[str]
    any_of: bool = False
    """It must reach one of the queues, and no second one: some go to a dead-letter queue."""
    routing_key: str = ""
    headers: Mapping[str, str] | None = None
    """What a headers exchange looks at, beside the headers that every message has."""


class Messages:
    """The messages of one publisher.

    Publications take turns: message `n` goes to number ``n % len(publications)``.
    ``body_bytes`` is at least `MINIMUM_BODY`; ``expiration`` is in milliseconds.
    """

    def __init__(
        self,
        publisher: int,
        publications: Sequence[Publication],
        *,
        body_bytes: int,
        expiration: int | None = None,
    ) -> None:
        self.publisher = publisher
        self.publications = publications
        self._filling = (bytes(range(256)) * (body_bytes // 256 + 1))[: body_bytes - MINIMUM_BODY]
        self._variants = [
            [_around_id(publication, priority, expiration) for priority in PRIORITIES]
            for publication in publications
        ]

    def publication(self, sequence: int) -> Publication:
        return self.publications[sequence % len(self.publications)]

    def content(self, sequence: int) -> tuple[bytes, bytes]:
        """Return properties and body."""
        turn, index = divmod(sequence, len(self.publications))
        before, after = self._variants[index][turn % len(PRIORITIES)]
        name = b"%d-%d" % (self.publisher, sequence)
        properties = b"".join(
            (
                before,
                bytes((len(name),)),
                name,
                struct.pack(">Q", FIRST_TIMESTAMP + sequence),
                after,
            )
        )
        return properties, _ID.pack(MAGIC, self.publisher, sequence) + self._filling


def priority(sequence: int, publications: int) -> int:
    """Return the priority of a message of a publisher with so many publications.

    Brokers keep order among the messages of one publisher that have the same priority.
    """
    return PRIORITIES[sequence // publications % len(PRIORITIES)]


def digest(properties: bytes, body: bytes) -> bytes:
    """Return the 8 bytes that stand for a message's whole content."""
    return blake2b(properties + body, digest_size=8).digest()


def identity(properties: bytes, body: bytes) -> Identity | None:
    """Return who a message is, by its body or else by its message id."""
    if body[:2] == MAGIC and len(body) >= MINIMUM_BODY:
        return Identity(*_ID.unpack_from(body)[1:])
    publisher, dash, sequence = str(decoded(properties).get("message_id")).partition("-")
    known = dash and publisher.isdigit() and sequence.isdigit()
    return Identity(int(publisher), int(sequence)) if known else None


def decoded(properties: bytes) -> dict[str, Any]:
    """Return the properties that are set, as pika understands them."""
    plain = pika.BasicProperties()
    # pika's decoder has no type for a few fields; those are compared as bytes alone.
    plain.decode(properties)
    return {name: value for name in _FIELDS if (value := getattr(plain, name)) is not None}


def without_added(properties: bytes) -> tuple[bytes, list[str]]:
    """Return properties without the headers that brokers add, and the names of those.

    Headers are put in the order of their names, as some versions do on their own.
    """
    flags = struct.unpack_from(">H", properties)[0]
    if not flags & 0x2000:
        return properties, []
    start = 2
    for bit in (0x8000, 0x4000):  # content_type, content_encoding
        if flags & bit:
            start += 1 + properties[start]
    end = start + 4 + struct.unpack_from(">I", properties, start)[0]
    kept, added = [], []
    for name, field in fields(properties[start + 4 : end]):
        if name.startswith(ADDED_BY_BROKERS):
            added.append(name.decode())
        else:
            kept.append((name, field))
    table = b"".join(field for _, field in sorted(kept))
    packed = struct.pack(">I", len(table)) + table
    return properties[:start] + packed + properties[end:], added


def fields(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and bytes, name and value together, of each field of a table."""
    at = 0
    while at < len(table):
        name_end = at + 1 + table[at]
        kind = table[name_end : name_end + 1]
        size = _FIXED_SIZES.get(kind)
        if size is None:  # S, x, A, F: a length of four bytes leads
            size = 4 + struct.unpack_from(">I", table, name_end + 1)[0]
        end = name_end + 1 + size
        yield table[at + 1 : name_end], table[at:end]
        at = end


def differences(
    expected: tuple[bytes, bytes], got: tuple[bytes, bytes]
) -> dict[str, tuple[str, str]]:
    """Return what differs between two contents, by property or header: expected and got."""
    result = {}
    before, after = decoded(expected[0]), decoded(got[0])
    headers = before.pop("headers", {}), after.pop("headers", {})
    for prefix, old, new in (("", before, after), ("header ", *headers)):
        for name in {**old, **new}:
            if old.get(name) != new.get(name):
                result[prefix + name] = repr(old.get(name)), repr(new.get(name))
    if expected[1] != got[1]:
        result["body"] = f"{len(expected[1])} bytes", f"{len(got[1])} bytes"
    if not result and expected[0] != got[0]:
        result["encoding of properties"] = expected[0].hex(), got[0].hex()
    return result


def _around_id(
    publication: Publication, priority: int, expiration: int | None
) -> tuple[bytes, bytes]:
    """Return the bytes of all properties before the message id, and after the timestamp."""
    table = _table(publication.headers or {})
    content_type, correlation_id, app_id = b"application/x-test", b"correlation-\xc3\xa9", b"safety"
    flags = 0x8000 | 0x2000 | 0x1000 | 0x0800 | 0x0400 | 0x0080 | 0x0040 | 0x0008
    before = [
        _short(content_type),
        struct.pack(">I", len(table)) + table,
        b"\x02",  # delivery mode: persistent
        bytes((priority,)),
        _short(correlation_id),
    ]
    if expiration is not None:
        flags |= 0x0100
        before.append(_short(str(expiration).encode()))
    return struct.pack(">H", flags) + b"".join(before), _short(app_id)


def _table(routed_by: Mapping[str, str]) -> bytes:
    """Return a header table that holds every type that RabbitMQ takes, sorted by name."""
    inner = _field("deep", b"F", _long(_field("deeper", b"l", struct.pack(">q", -(2**40)))))
    items = b"".join((b"I" + struct.pack(">i", -7), b"S" + _long(b"caf\xc3\xa9"), b"t\x01"))
    every = {
        "text": (b"S", _long("naïve ☕".encode())),
        "empty": (b"S", _long(b"")),
        "bytes": (b"x", _long(b"\x00\xff")),
        "flag": (b"t", b"\x01"),
        "byte": (b"b", struct.pack(">b", -5)),
        "short": (b"s", struct.pack(">h", -300)),
        "int": (b"I", struct.pack(">i", 70_000)),
        "long": (b"l", struct.pack(">q", 2**40)),
        "float": (b"f", struct.pack(">f", 0.5)),
        "double": (b"d", struct.pack(">d", 0.1)),
        "decimal": (b"D", struct.pack(">BI", 2, 125)),
        "time": (b"T", struct.pack(">Q", FIRST_TIMESTAMP)),
        "nothing": (b"V", b""),
        "list": (b"A", _long(items)),
        "nested": (b"F", _long(inner)),
        **{name: (b"S", _long(text.encode())) for name, text in routed_by.items()},
    }
    return b"".join(_field(name, *every[name]) for name in sorted(every))


def _field(name: str, kind: bytes, value: bytes) -> bytes:
    return _short(name.encode()) + kind + value


def _short(text: bytes) -> bytes:
    return bytes((len(text),)) + text


def _long(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text
