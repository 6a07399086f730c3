"""
A broker that takes AMQP over TLS only, with certificates that no system knows.
"""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pika
import pytest
import trustme

from tests.support.stacks import Stack, drain, fill, held, untouched, wanted
from toolchain.broker import Broker
from toolchain.ports import free_ports

MESSAGES = 100
CONFIG: dict[str, Any] = {
    "vhost": "tls/ü",
    "exchanges": {"e": {}},
    "queues": {"q": {"type": "classic"}},
    "bindings": [{"source": "e", "queue": "q", "routing_key": "k"}],
}


@dataclass(frozen=True, kw_only=True)
class Secured:
    """The broker, and the provider's and this program's settings that reach it."""

    broker: Broker
    endpoint: str
    host: str
    certificates: dict[str, str]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    trusted = folder / "authority.pem"
    authority.cert_pem.write_to_path(trusted)
    for name in ("127.0.0.1", "client"):
        issued = authority.issue_cert(name)
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
    listener = {
        "cacertfile": str(trusted),
        "certfile": str(folder / "127.0.0.1.pem"),
        "keyfile": str(folder / "127.0.0.1.key"),
        "verify": "verify_peer",
        "fail_if_no_peer_cert": "true",
    }
    amqp, api = free_ports(2)
    config = {
        "listeners.tcp": "none",
        "listeners.ssl.local": f"127.0.0.1:{amqp}",
        **{f"ssl_options.{key}": value for key, value in listener.items()},
        # Beside the one without TLS, at which the test looks.
        "management.ssl.ip": "127.0.0.1",
        "management.ssl.port": str(api),
        **{f"management.ssl.{key}": value for key, value in listener.items()},
    }
    with Broker.start(version="4.0", config=config, report=print) as broker:
        yield Secured(
            broker=broker,
            endpoint=f"https://127.0.0.1:{api}",
            host=f"127.0.0.1:{amqp}",
            certificates={
                "cacertFile": str(trusted),
                "clientcertFile": str(folder / "client.pem"),
                "clientkeyFile": str(folder / "client.key"),
            },
        )


def configure(stack: Stack, secured: Secured, kind: str) -> dict[str, Any]:
    topology = {**CONFIG, "queues": {"q": {"type": kind}}}
    stack.configure(
        topology,
        broker={"hosts": [secured.host]},  # with TLS, as the endpoint
        endpoint=secured.endpoint,
        **secured.certificates,
    )
    return topology


def test_a_queue_is_replaced_and_proven_where_there_is_only_tls(
    tmp_path: Path, engine_env: dict[str, str], secured: Secured
) -> None:
    stack = Stack(tmp_path, engine_env, secured.broker)
    configure(stack, secured, "classic")
    stack.up()
    outputs = stack.outputs()
    plain = f"amqps://{secured.host}/tls%2F%C3%BC"
    assert (outputs["exchange_urls"], outputs["queue_urls"]) == ({"e": plain}, {"q": plain})
    assert outputs["connection_url"] == plain.replace("//", "//guest:guest@")

    parameters = pika.URLParameters(outputs["connection_url"])
    parameters.ssl_options = pika.SSLOptions(client_context(secured), "127.0.0.1")
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        fill(channel, "q", MESSAGES)
        changed = configure(stack, secured, "quorum")
        result = stack.up()
        assert "moved 100 messages out of queue q" in result.text
        assert held(secured.broker, CONFIG["vhost"]) == wanted(changed)
        assert drain(channel, "q") == untouched(MESSAGES)

    proven = subprocess.run(
        [sys.executable, "-m", "rabbit_topology", "prove", "--stack", stack.name],
        cwd=stack.folder,
        env=stack.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert proven.returncode == 0, proven.stderr
    assert "1 of 1 bindings deliver" in proven.stdout
    stack.destroy()


def test_a_broker_whose_certificate_is_not_trusted_is_refused(
    tmp_path: Path, engine_env: dict[str, str], secured: Secured
) -> None:
    stack = Stack(tmp_path, engine_env, secured.broker)
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    certificates = {**secured.certificates, "cacertFile": str(stranger)}
    stack.configure(CONFIG, endpoint=secured.endpoint, **certificates)
    result = stack.up(check=False)
    assert result.status != 0
    assert "certificate verify failed" in result.text
    assert "Traceback" not in result.text


def client_context(secured: Secured) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=secured.certificates["cacertFile"])
    context.load_cert_chain(*list(secured.certificates.values())[1:])
    return context
