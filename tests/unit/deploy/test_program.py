"""
The program itself, as the engine would run it, with the broker's answers mocked.
"""

from __future__ import annotations

import json
import runpy

import httpx
import pulumi
import pytest
import yaml

from tests.support.repository import ROOT

QUEUE = "rabbitmq:index/queue:Queue"


def run():
    return runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__") and None


def config(**changes):
    topology = {
        "vhost": "v",
        "exchanges": {"e": {}},
        "queues": {"q": {}},
        "bindings": [{"source": "e", "queue": "q", "routing_key": "k"}],
    }
    settings = {
        "rabbitmq:endpoint": "http://mq.example:15672",
        "rabbitmq:username": "admin",
        "rabbitmq:password": "hunter2",
        "rabbit-topology:topology": json.dumps(topology),
        **changes,
    }
    return {key: value for key, value in settings.items() if value is not None}


ANSWERS = {
    "/api/whoami": httpx.Response(200, json={"name": "admin", "tags": ["administrator"]}),
    "/api/parameters/exchange-delete-in-progress/v": httpx.Response(200, json=[]),
    "/api/overview": httpx.Response(200, json={"rabbitmq_version": "4.0.5"}),
    "/api/deprecated-features": httpx.Response(
        200,
        json=[
            {"name": "global_qos", "state": "permitted"},
            {"name": "as 4.0 lists it"},
            {"name": "transient_nonexcl_queues", "state": "denied"},
        ],
    ),
    "/api/exchanges/v": httpx.Response(200, json={"items": []}),
    "/api/queues/v": httpx.Response(200, json={"items": []}),
    # The vhost is yet to be made.
    "/api/policies/v": httpx.Response(404, json={}),
}


@pytest.fixture
def broker(mocker):
    """The management API of a broker on which nothing is left over."""
    answer = mocker.patch.object(httpx.Client, "request")
    answer.side_effect = lambda method, path, json: ANSWERS[path.partition("?")[0]]
    return answer


def test_the_program_deploys_and_exports(deploy, broker):
    one = deploy(run, config=config(), secrets=("rabbitmq:password",))
    assert one.of(QUEUE)[0].name == "topology/v/q"
    assert set(one.exports) == {
        "vhost",
        "exchange_urls",
        "queue_urls",
        "connection_url",
        "service_urls",
        "addresses",
    }
    # The AMQP host is the endpoint's, since a broker usually serves both.
    assert one.exports["connection_url"] == "amqp://admin:hunter2@mq.example:5672/v"
    assert one.secret_exports == {"connection_url"}
    assert {call.args[0] for call in broker.call_args_list} == {"GET"}


def test_hosts_and_tls_come_from_the_broker_key(deploy, broker):
    key = json.dumps({"hosts": ["a", "b:1"], "tls": True})
    one = deploy(run, config=config(**{"rabbit-topology:broker": key}))
    assert one.exports["queue_urls"] == {"q": ["amqps://a:5671/v", "amqps://b:1/v"]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rabbit-topology:topology": None}, ["topology: missing", "vhost: my-service"]),
        ({"rabbit-topology:topology": "{}"}, ["topology.vhost: missing"]),
        ({"rabbit-topology:topology": "nonsense"}, ["topology: ", "this is a mapping"]),
        ({"rabbitmq:endpoint": None}, ["rabbitmq:endpoint: missing", "pulumi config set"]),
        ({"rabbitmq:endpoint": "mq:15672"}, ["rabbitmq:endpoint", "write http://host:15672"]),
        (
            {"rabbitmq:cacertFile": "missing.pem"},
            ['rabbitmq:cacertFile: ["missing.pem"]: each is a file in PEM format', "No such file"],
        ),
        ({"rabbitmq:clientcertFile": __file__}, ["rabbitmq:clientcertFile", "PEM"]),
        (
            {"rabbitmq:password": None, "rabbit-topology:topology": '{"vhost": "a@b"}'},
            ["2 problems", "rabbitmq:password: missing", "topology.vhost"],
        ),
    ],
)
def test_a_bad_config_is_one_error_and_registers_nothing(deploy, broker, changes, words):
    seen = []

    def program():
        try:
            run()
        except pulumi.RunError as error:
            seen.append(str(error))

    one = deploy(program, config=config(**changes))
    assert len(seen) == 1
    assert all(word in seen[0] for word in words), seen[0]
    assert one.registrations == ()
    broker.assert_not_called()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.ConnectError("refused"), ["does not answer", "15672"]),
        (httpx.Response(401, json={"reason": "Login failed"}), ["refuses user 'admin'", "Login"]),
        (
            httpx.Response(200, json={"tags": ["monitoring"]}),
            ["not an administrator", "monitoring"],
        ),
        (httpx.Response(200, json={"tags": ""}), ["not an administrator", "none"]),
    ],
)
def test_a_broker_that_cannot_be_managed_stops_the_update(deploy, broker, answer, words):
    broker.side_effect = [answer]
    seen = []

    def program():
        try:
            run()
        except pulumi.RunError as error:
            seen.append(str(error))

    one = deploy(program, config=config())
    assert one.registrations == ()
    assert all(word in seen[0] for word in [*words, "nothing was changed"]), seen[0]
    assert "hunter2" not in seen[0]


def test_a_preview_does_without_a_broker(deploy, broker, caplog):
    broker.side_effect = httpx.ConnectError("refused")
    one = deploy(run, config=config(), preview=True)
    assert one.of(QUEUE)
    assert "goes by the stack's state alone" in caplog.text


TRANSIENT = json.dumps({"vhost": "v", "queues": {"q": {"type": "classic", "durable": False}}})


def test_what_the_broker_denies_stops_the_update_before_anything_is_touched(deploy, broker):
    seen = []

    def program():
        try:
            run()
        except pulumi.RunError as error:
            seen.append(str(error))

    one = deploy(program, config=config(**{"rabbit-topology:topology": TRANSIENT}))
    assert one.registrations == ()
    assert "topology.queues.q.durable: false: this broker refuses" in seen[0]


def test_an_older_broker_cannot_tell_what_it_denies_and_what_is_risky_is_a_warning(
    deploy, broker, caplog
):
    answers = {**ANSWERS, "/api/deprecated-features": httpx.Response(404, json={})}
    broker.side_effect = lambda method, path, json: answers[path.partition("?")[0]]
    one = deploy(run, config=config(**{"rabbit-topology:topology": TRANSIENT}))
    assert one.of(QUEUE)
    assert "topology.queues.q.durable: false: from 4.3 on" in caplog.text
    assert "[transient-queue; see `python -m rabbit_topology lint`]" in caplog.text


def test_the_dev_stack_is_the_seed():
    settings = yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text())["config"]
    topology = settings["rabbit-topology:topology"]
    assert len(topology["exchanges"]) == len(topology["queues"]) == len(topology["bindings"]) == 1
    assert topology["bindings"][0]["routing_key"]
    assert set(settings["rabbitmq:password"]) == {"secure"}
