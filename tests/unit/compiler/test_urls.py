from __future__ import annotations

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from rabbit_topology.compiler import urls

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
HOSTS = st.one_of(
    st.from_regex(r"[a-z][a-z0-9-]{0,10}(\.[a-z]{2,5})?", fullmatch=True),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
)
PORTS = st.integers(1, 65535)


@given(host=HOSTS, port=PORTS, vhost=TEXT, username=TEXT, password=TEXT, tls=st.booleans())
def test_round_trip_through_two_independent_parsers(host, port, vhost, username, password, tls):
    address = urls.Address(host, port)
    url = urls.amqp_url(address, vhost, tls=tls, username=username, password=password)

    opened = pika.URLParameters(url)
    assert (opened.host, opened.port, opened.virtual_host) == (host, port, vhost)
    assert (opened.credentials.username, opened.credentials.password) == (username, password)
    assert (opened.ssl_options is not None) is tls

    parsed = URL(url)  # what aio-pika parses with
    assert (parsed.scheme, parsed.host, parsed.port) == ("amqps" if tls else "amqp", host, port)
    assert (parsed.user, parsed.password) == (username, password)
    assert url.count("/") == 3


@given(host=HOSTS, port=PORTS, vhost=TEXT)
def test_without_a_user_there_are_no_credentials(host, port, vhost):
    url = urls.amqp_url(urls.Address(host, port), vhost, tls=False)
    assert "@" not in url
    assert pika.URLParameters(url).virtual_host == vhost


@pytest.mark.parametrize(
    ("vhost", "tls", "expected"),
    [
        ("/", False, "amqp://mq:5672/%2F"),
        ("ai-dev", False, "amqp://mq:5672/ai-dev"),
        ("a b/ü", True, "amqps://mq:5672/a%20b%2F%C3%BC"),
    ],
)
def test_examples_of_the_specification(vhost, tls, expected):
    assert urls.amqp_url(urls.Address("mq", 5672), vhost, tls=tls) == expected


def test_ipv6_stands_in_brackets():
    assert urls.amqp_url(urls.Address("::1", 5671), "v", tls=True) == "amqps://[::1]:5671/v"


@pytest.mark.parametrize(
    ("text", "tls", "expected"),
    [
        ("mq", False, ("mq", 5672)),
        ("mq", True, ("mq", 5671)),
        ("mq:1234", True, ("mq", 1234)),
        ("10.0.0.1:5672", False, ("10.0.0.1", 5672)),
        ("[::1]", False, ("::1", 5672)),
        ("[fe80::2]:99", False, ("fe80::2", 99)),
    ],
)
def test_hosts(text, tls, expected):
    assert urls.parse_host(text, tls=tls) == urls.Address(*expected)


@pytest.mark.parametrize(
    "text",
    ["", "::1", "mq:", "mq:x", "mq:70000", "mq:0", "amqp://mq", "mq/v", "u@mq", "a b", "[::1"],
)
def test_what_is_not_a_host(text):
    with pytest.raises(ValueError, match=r".+"):
        urls.parse_host(text, tls=False)


def test_addresses_are_percent_encoded():
    assert urls.exchange_address("a b/c") == "/exchanges/a%20b%2Fc"
    assert urls.queue_address("ü") == "/queues/%C3%BC"
