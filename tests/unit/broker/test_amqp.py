"""
What AMQP is told as the management API would tell it.
"""

from __future__ import annotations

import struct

import pytest
from pika.data import encode_table

from rabbit_topology.broker.amqp import long_numbers


def encoded(value):
    pieces = []
    encode_table(pieces, {"x": value})
    return b"".join(pieces)[6:]


@pytest.mark.parametrize("number", [0, 5, -1, 2**31 - 1, 2**40])
def test_whole_numbers_are_long_ones_as_the_management_api_sends_them(number):
    assert encoded(long_numbers(number)) == b"l" + struct.pack(">q", number)
    assert encoded(long_numbers([number]))[5:] == b"l" + struct.pack(">q", number)
    assert encoded(long_numbers({"y": number}))[7:] == b"l" + struct.pack(">q", number)


@pytest.mark.parametrize("value", [True, False, "all", None, [], {}, {"a": ["b", {"c": True}]}])
def test_all_else_stays_as_it_is(value):
    assert long_numbers(value) == value
    assert encoded(long_numbers(value)) == encoded(value)


def test_numbers_with_a_fraction_stay_so():
    assert long_numbers({"x": [1.5]}) == {"x": [1.5]}
