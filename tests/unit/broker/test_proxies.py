"""
Which proxy leads to an endpoint: as Go's own tests of `httpproxy` have it.
"""

from __future__ import annotations

import pytest

from rabbit_topology.broker import proxies
from rabbit_topology.broker.management import Management

PROXY = "http://proxy:3128"


@pytest.mark.parametrize(
    ("endpoint", "environ", "expected"),
    [
        ("http://mq:15672", {}, None),
        ("http://mq:15672", {"HTTP_PROXY": PROXY}, PROXY),
        ("http://mq:15672", {"http_proxy": PROXY}, PROXY),
        ("http://mq:15672", {"HTTP_PROXY": "proxy:3128"}, PROXY),
        ("http://mq:15672", {"HTTP_PROXY": PROXY, "http_proxy": "http://other"}, PROXY),
        ("http://mq:15672", {"HTTPS_PROXY": PROXY}, None),
        ("https://mq:15671", {"HTTPS_PROXY": PROXY}, PROXY),
        ("https://mq:15671", {"HTTP_PROXY": PROXY}, None),
        ("https://mq:15671", {"ALL_PROXY": PROXY}, None),
        ("http://mq:15672", {"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, None),
        ("https://mq:15671", {"HTTPS_PROXY": PROXY, "REQUEST_METHOD": "GET"}, PROXY),
        ("http://localhost:15672", {"HTTP_PROXY": PROXY}, None),
        ("http://127.0.0.1:15672", {"HTTP_PROXY": PROXY}, None),
        ("http://127.3.2.1:15672", {"HTTP_PROXY": PROXY}, None),
        ("http://[::1]:15672", {"HTTP_PROXY": PROXY}, None),
        ("http://10.0.0.1:15672", {"HTTP_PROXY": PROXY}, PROXY),
    ],
)
def test_what_the_environment_names(endpoint, environ, expected):
    assert proxies.from_environment(endpoint, environ) == expected


@pytest.mark.parametrize(
    ("host", "left_out", "is_left_out"),
    [
        ("mq.example.com", "*", True),
        ("mq.example.com", "other, mq.example.com", True),
        ("mq.example.com", "MQ.EXAMPLE.COM", True),
        ("mq.example.com", "example.com", True),
        ("mq.example.com", ".example.com", True),
        ("mq.example.com", "*.example.com", True),
        ("example.com", ".example.com", False),
        ("example.com", "*.example.com", False),
        ("mqexample.com", "example.com", False),
        ("mq.example.com", "mq.example.com:15672", True),
        ("mq.example.com", "mq.example.com:443", False),
        ("mq.example.com", ",,:15672", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3:15672", True),
        ("10.1.2.3", "10.1.2.3:443", False),
        ("[fd00::1]", "fd00::/8", True),
        ("[fd00::1]", "fd00::1", True),
        ("[fd00::1]", "[fd00::1]:15672", True),
        ("[fd00::1]", "[fd00::2]:15672", False),
        ("mq", "10.0.0.0/8", False),
        ("mq", "not/a/network", False),
    ],
)
def test_what_the_environment_leaves_out(host, left_out, is_left_out):
    environ = {"HTTP_PROXY": PROXY, "NO_PROXY": left_out}
    expected = None if is_left_out else PROXY
    assert proxies.from_environment(f"http://{host}:15672", environ) == expected


def test_a_proxy_that_is_stated_leads_everywhere(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("HTTP_PROXY", "http://other")
    stated = Management(
        endpoint="http://localhost:15672", username="u", password="p", proxy="http://proxy:3128"
    )
    assert stated.proxy_in_use == PROXY
