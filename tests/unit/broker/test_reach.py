"""
Which addresses answer, and how long a mark may take to be seen.
"""

from __future__ import annotations

import socket
import time

import pytest

from rabbit_topology.broker import marker, reach
from rabbit_topology.compiler.urls import Address

ADDRESSES = [Address(f"mq{number}", 5672) for number in range(40)]


def test_all_addresses_are_asked_at_once_and_each_that_is_silent_has_a_reason(mocker):
    def connect(where, timeout):
        time.sleep(0.2)
        if where[0] == "mq7":
            raise OSError("refused")
        if where[0] == "mq8":
            raise TimeoutError
        if where[0] == "mq9":
            time.sleep(60)
        return mocker.Mock()

    mocker.patch.object(socket, "create_connection", connect)
    begin = time.monotonic()
    silent = reach.probe(ADDRESSES, seconds=1.0)
    assert time.monotonic() - begin < 40 * 0.2
    assert silent == {
        ADDRESSES[7]: "refused",
        ADDRESSES[8]: "TimeoutError",
        ADDRESSES[9]: "no answer within 1 s",
    }


def test_what_was_silent_is_remembered_for_a_while(mocker):
    probe = mocker.patch.object(reach, "probe", return_value={ADDRESSES[0]: "refused"})
    known = reach.Reach()
    for _ in range(3):
        assert known.silent(ADDRESSES) == {ADDRESSES[0]: "refused"}
    probe.assert_called_once()


@pytest.mark.parametrize(("after", "expected"), [(0, True), (3, True), (9, True), (1000, False)])
def test_a_mark_may_be_seen_a_moment_later(mocker, after, expected):
    mocker.patch.object(marker, "SEEN_SECONDS", 0.0)  # as if one look took all of the time
    mocker.patch.object(time, "sleep")
    looks = iter(range(2000))
    assert marker.is_seen(lambda: next(looks) >= after) is expected
