"""
The provider's settings, from the config or from the environment.
"""

from __future__ import annotations

import inspect

import pytest

from rabbit_topology import Access
from rabbit_topology.config import provider_settings

NEEDED = {"endpoint": "http://mq:15672", "username": "u", "password": "p"}


def test_each_is_an_argument_of_connect():
    known = inspect.signature(Access.connect).parameters
    assert {setting.argument for setting in provider_settings.SETTINGS} <= set(known)
    assert len({setting.variable for setting in provider_settings.SETTINGS}) == 8


def test_the_environment_counts_where_the_config_has_nothing():
    config = {"endpoint": "http://config:15672", "username": ""}
    environ = {
        "RABBITMQ_ENDPOINT": "http://environment:15672",
        "RABBITMQ_USERNAME": "u",
        "RABBITMQ_PASSWORD": "p",
        "RABBITMQ_CACERT": "",
        "RABBITMQ_PROXY": "http://proxy",
    }
    assert provider_settings.read(config.get, environ) == {
        "endpoint": "http://config:15672",
        "username": "u",
        "password": "p",
        "proxy": "http://proxy",
    }


@pytest.mark.parametrize(
    ("stated", "expected"),
    [(True, True), ("true", True), ("T", True), ("1", True), (False, False), ("false", False)],
)
def test_insecure_is_read_as_go_reads_it(stated, expected):
    assert provider_settings.read({"insecure": stated}.get, {}) == {"insecure": expected}
    environ = {"RABBITMQ_INSECURE": str(stated)}
    assert provider_settings.read({}.get, environ) == {"insecure": expected}


@pytest.mark.parametrize(
    ("endpoint", "tls", "expected"),
    [
        ("https://mq:15671", None, ("mq", 5671, True)),
        ("https://mq:15671", False, ("mq", 5672, False)),
        ("HTTPS://mq:15671", None, ("mq", 5671, True)),
        ("http://mq:15672", None, ("mq", 5672, False)),
        ("http://mq:15672", True, ("mq", 5671, True)),
    ],
)
def test_amqp_has_tls_as_the_endpoint_has_it(endpoint, tls, expected):
    access = Access.connect(**{**NEEDED, "endpoint": endpoint}, tls=tls)
    (address,) = access.addresses
    assert (address.host, address.port, access.tls) == expected
