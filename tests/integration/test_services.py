"""
Each service logs in with the URL that was exported for it, does all that it says, and is refused
everything else that there is to do on the vhost.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote

import httpx
import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import (
    AMQPConnectionError,
    ChannelClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)
from yarl import URL

from tests.support.stacks import (
    PATIENCE_SECONDS,
    Stack,
    connect,
    held,
    management,
    read_stream,
)
from tests.support.versions import VERSIONS
from toolchain.broker import Broker

SEED = "a seed of the tests"
VHOST = "services"
ELSEWHERE = "services-elsewhere"

EXCHANGES = {
    "events": {"type": "topic"},
    "jobs": {},
    "fan": {"type": "fanout"},
    "rpc": {},
    "apart": {},
    # What regular expressions would find in each other.
    **{name: {} for name in ("x.y", "x+y", "(x)", "x-y", "xxy", "x")},
}
QUEUES = {
    "inbox": {"type": "quorum", "dead_letter": True},
    "plain": {"type": "classic"},
    "log": {"type": "stream"},
    "rpc.requests": {"type": "classic"},
    "apart.1": {"type": "classic"},
    **{name: {"type": "classic"} for name in ("q.r", "q+r", "(q)", "q-r", "qqr", "q")},
}
BINDINGS = [
    {"source": "events", "queue": "plain", "routing_key": "#"},
    {"source": "jobs", "queue": "inbox", "routing_key": "go"},
    {"source": "fan", "queue": "log"},
    {"source": "rpc", "queue": "rpc.requests", "routing_key": "ask"},
    {"source": "amq.topic", "queue": "apart.1", "routing_key": "#"},
    {"source": "x.y", "queue": "q.r", "routing_key": "k"},
    {"source": "x+y", "queue": "q+r", "routing_key": "k"},
    {"source": "(x)", "queue": "(q)", "routing_key": "k"},
]
GATEWAY_KEYS = ["order.new", "order.*.paid", "user.#", "*"]
SERVICES: dict[str, dict[str, Any]] = {
    "gateway": {"publishes": [{"exchange": "events", "routing_keys": GATEWAY_KEYS}]},
    "auditor": {"publishes": ["events", {"exchange": "amq.topic", "routing_key": "audit.#.end"}]},
    "sender": {"publishes": ["jobs", "fan"]},
    "worker": {"consumes": ["inbox", "inbox.dead-letter", "plain", "log"]},
    "requester": {"publishes": ["rpc"]},
    "responder": {"consumes": ["rpc.requests"], "replies": True},
    "owner": {"declares": ["own.*", "amq.gen-*"], "binds": ["events", "jobs"]},
    "wild": {"declares": ["a*"]},
    "relay": {"publishes": [{"exchange": "events", "routing_key": "relay"}], "binds": ["jobs"]},
    "odd (s)+": {"publishes": ["x.y", "x+y", "(x)"], "consumes": ["q.r", "q+r", "(q)"]},
    "idle": {},
}
TOPOLOGY = {
    "vhost": VHOST,
    "exchanges": EXCHANGES,
    "queues": QUEUES,
    "bindings": BINDINGS,
    "services": SERVICES,
}

GOOD_KEYS = {
    ("gateway", "events"): ["order.new", "order.x.paid", "order..paid", "user", "user.a.b", "one"],
    ("auditor", "events"): ["", "anything.at all", "a\n"],
    ("auditor", "amq.topic"): ["audit.end", "audit.a.b.end"],
}
WRONG_KEYS = {
    ("relay", "events"): ["", "go", "relay.x", "#"],
    ("gateway", "events"): [
        *("", "order.old", "order.new.x", "xorder.new", "order.new\n", "order.a.b.paid"),
        *("ORDER.NEW", "order.paid", "users.a", "#", "*.*", "a.user", "."),
    ],
    ("auditor", "amq.topic"): ["", "audit", "audits.end", "x.audit.end", "audit.endx", "#"],
}
WRONG_KEYS["gateway", "events"].remove("#")  # one word like any other, which `*` allows
MINIMUM = 3500
"""Refusals that each version has to give at least: a test that tried less would prove less."""


@dataclass
class Login:
    """A service's connection: what is refused closes a channel only."""

    name: str
    connection: pika.BlockingConnection
    refusals: int = 0
    surprises: list[str] = field(default_factory=list)

    def channel(self) -> BlockingChannel:
        """Open a channel with publisher confirms."""
        channel = self.connection.channel()
        channel.confirm_delivery()
        return channel

    def refused(self, what: str, act: Callable[[BlockingChannel], object]) -> None:
        """Try what the broker has to refuse, and in no other way than by saying so."""
        try:
            act(self.connection.channel())
        except ChannelClosedByBroker as error:
            if error.reply_code == 403 and error.reply_text.startswith("ACCESS_REFUSED"):
                self.refusals += 1
                return
            self.surprises.append(f"{self.name}: {what}: {error.reply_code} {error.reply_text}")
        else:
            self.surprises.append(f"{self.name}: {what}: allowed")


@dataclass(frozen=True)
class Deployed:
    """The stack of this module on one version."""

    stack: Stack
    urls: dict[str, str]

    @property
    def broker(self) -> Broker:
        return self.stack.broker


@pytest.fixture(scope="module", params=VERSIONS)
def deployed(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    engine_env: dict[str, str],
    start_broker: Callable[[str], Broker],
) -> Iterator[Deployed]:
    stack = Stack(tmp_path_factory.mktemp("stack"), engine_env, start_broker(request.param))
    stack.configure(TOPOLOGY, seed=SEED)
    stack.up()
    api = management(stack.broker)
    api.request("PUT", f"/vhosts/{ELSEWHERE}")
    yield Deployed(stack=stack, urls=stack.outputs()["service_urls"])
    api.request("DELETE", f"/vhosts/{ELSEWHERE}")


@pytest.fixture
def log_in(deployed: Deployed) -> Iterator[Callable[[str], Login]]:
    with ExitStack() as opened:

        def log_in(name: str) -> Login:
            connection = pika.BlockingConnection(pika.URLParameters(deployed.urls[name]))
            opened.callback(lambda: connection.is_open and connection.close())
            return Login(name, connection)

        yield log_in


def take(channel: BlockingChannel, queue: str) -> bytes:
    """Consume and acknowledge one message."""
    for method, _, body in channel.consume(queue, inactivity_timeout=PATIENCE_SECONDS):
        assert method is not None, f"nothing in {queue}"
        channel.basic_ack(method.delivery_tag)
        channel.cancel()
        return bytes(body)
    raise AssertionError(f"the consumer of {queue} was cancelled")


def put(channel: BlockingChannel, exchange: str, key: str, body: str) -> None:
    """Publish one message; confirmed, and taken by a queue."""
    channel.basic_publish(exchange, key, body.encode(), mandatory=True)


def test_publishers_publish_and_consumers_consume(deployed: Deployed, log_in):
    worker, sender, odd = (log_in(one).channel() for one in ("worker", "sender", "odd (s)+"))
    put(sender, "jobs", "go", "job")
    assert take(worker, "inbox") == b"job"
    put(sender, "fan", "", "0")
    assert read_stream(worker, "log", 1) == [0]
    for (name, exchange), keys in GOOD_KEYS.items():
        channel = log_in(name).channel()
        for key in keys:
            put(channel, exchange, key, f"{name} {key}")
            if exchange == "events":
                assert take(worker, "plain") == f"{name} {key}".encode()
    with connect(deployed.broker, VHOST) as connection:
        connection.channel().queue_purge("apart.1")
    for exchange, queue in (("x.y", "q.r"), ("x+y", "q+r"), ("(x)", "(q)")):
        put(odd, exchange, "k", queue)
        assert take(odd, queue) == queue.encode()


def test_a_dead_letter_is_consumed_by_who_says_so(log_in):
    worker = log_in("worker").channel()
    put(log_in("sender").channel(), "jobs", "go", "bad")
    for method, *_ in worker.consume("inbox", inactivity_timeout=PATIENCE_SECONDS):
        assert method is not None
        worker.basic_reject(method.delivery_tag, requeue=False)
        break
    worker.cancel()
    assert take(worker, "inbox.dead-letter") == b"bad"


def test_a_request_is_answered_by_direct_reply_to(log_in):
    requester, responder = log_in("requester"), log_in("responder").channel()
    answers: list[bytes] = []
    channel = requester.channel()
    channel.basic_consume(
        "amq.rabbitmq.reply-to", lambda *one: answers.append(one[3]), auto_ack=True
    )
    channel.basic_publish(
        "rpc", "ask", b"1+1", pika.BasicProperties(reply_to="amq.rabbitmq.reply-to"), mandatory=True
    )
    for method, properties, body in responder.consume(
        "rpc.requests", inactivity_timeout=PATIENCE_SECONDS
    ):
        assert (method is not None, body) == (True, b"1+1")
        # Not mandatory: where the answer goes is no queue.
        responder.basic_publish("", properties.reply_to, b"2")
        responder.basic_ack(method.delivery_tag)
        break
    responder.cancel()
    requester.connection.process_data_events(time_limit=PATIENCE_SECONDS)
    assert answers == [b"2"]


def test_a_service_declares_binds_and_deletes_what_is_its_own(log_in):
    owner, gateway = log_in("owner").channel(), log_in("gateway").channel()
    owner.queue_declare("own.queue", durable=True)
    owner.queue_bind("own.queue", "events", "order.#")
    put(gateway, "events", "order.new", "copy")
    assert take(owner, "own.queue") == b"copy"
    owner.exchange_declare("own.exchange", "topic", durable=True)
    owner.exchange_bind("own.exchange", "jobs", "go")
    owner.queue_bind("own.queue", "own.exchange", "#")
    put(owner, "own.exchange", "any.key", "mine")
    put(log_in("sender").channel(), "jobs", "go", "through two")
    assert [take(owner, "own.queue") for _ in range(2)] == [b"mine", b"through two"]
    owner.queue_unbind("own.queue", "events", "order.#")
    owner.exchange_unbind("own.exchange", "jobs", "go")
    owner.queue_purge("own.queue")
    owner.exchange_delete("own.exchange")
    owner.queue_delete("own.queue")

    named = owner.queue_declare("", exclusive=True).method.queue
    assert named.startswith("amq.gen-")
    owner.queue_bind(named, "events", "user.#")
    put(gateway, "events", "user.x", "to the server-named one")
    assert take(owner, named) == b"to the server-named one"
    owner.queue_delete(named)

    wild = log_in("wild").channel()
    wild.queue_declare("a", durable=True)
    wild.queue_bind("a", "apart", "k")
    put(wild, "apart", "k", "wild")
    assert take(wild, "a") == b"wild"
    wild.queue_delete("a")
    for queue in ("plain", "inbox"):
        log_in("worker").channel().queue_purge(queue)


def test_what_rabbitmq_cannot_refuse_is_as_documented(deployed: Deployed, log_in):
    gateway, relay, worker = (log_in(one).channel() for one in ("gateway", "relay", "worker"))
    put(gateway, "events", "one", "to be seen")
    # Looking at what it may use is allowed to all, at anything else before RabbitMQ 4.2.6.
    assert worker.queue_declare("plain", passive=True).method.message_count == 1
    assert gateway.exchange_declare("events", passive=True)
    idle = log_in("idle").channel()
    if deployed.broker.version.startswith(("3.", "4.0.")):
        assert idle.queue_declare("plain", passive=True).method.message_count == 1
    else:
        with pytest.raises(ChannelClosedByBroker, match="403"):
            idle.queue_declare("plain", passive=True)
    # Consuming and purging are one permission.
    worker.queue_purge("plain")
    # Who publishes to one exchange and binds to another may bind the first to the second, and get
    # past its routing keys.
    relay.exchange_bind("events", "jobs", "go")
    put(log_in("sender").channel(), "jobs", "go", "a key of others")
    assert take(worker, "plain") == b"a key of others"
    relay.exchange_unbind("events", "jobs", "go")
    assert take(worker, "inbox") == b"a key of others"


def test_everything_else_is_refused(deployed: Deployed, log_in, capsys):
    before = held(deployed.broker, VHOST), messages(deployed.broker)
    here = quote(VHOST, safe="")
    api = management(deployed.broker)
    exchanges = {one["name"]: one["type"] for one in api.get(f"/exchanges/{here}")}
    queues = {one["name"]: one for one in api.get(f"/queues/{here}")}
    assert {"", "amq.topic", "amq.rabbitmq.trace", *EXCHANGES} <= exchanges.keys()
    logins = [log_in(name) for name in SERVICES]
    for login in logins:
        for what, act in forbidden(SERVICES[login.name], login.name, exchanges, queues):
            login.refused(what, act)
    surprises = [line for login in logins for line in login.surprises]
    assert not surprises, f"{len(surprises)} not refused:\n" + "\n".join(surprises[:40])

    count = sum(login.refusals for login in logins) + refused_at_login(deployed)
    with capsys.disabled():
        print(f"\n{count:,} refusals on {deployed.broker.version}")
    assert count >= MINIMUM
    assert (held(deployed.broker, VHOST), messages(deployed.broker)) == before


def messages(broker: Broker) -> dict[str, int]:
    """Return how many messages each queue holds; of a stream the broker knows it late."""
    with connect(broker, VHOST) as connection:
        channel = connection.channel()
        return {
            name: channel.queue_declare(name, passive=True).method.message_count
            for name in (*QUEUES, "inbox.dead-letter")
            if name != "log"
        }


Act = tuple[str, Callable[[BlockingChannel], object]]


def forbidden(
    service: dict[str, Any], name: str, exchanges: dict[str, str], queues: dict[str, Any]
) -> Iterator[Act]:
    """Yield everything that a service does not say: tried by what AMQP can do, on all there is."""
    own = partial(_owns, service)
    published = {
        publish if isinstance(publish, str) else publish["exchange"]
        for publish in service.get("publishes", ())
    }
    if service.get("replies"):
        published.add("")
    consumed, bound = set(service.get("consumes", ())), set(service.get("binds", ()))

    bindings = {(binding["source"], binding["queue"]) for binding in BINDINGS}
    for exchange, kind in exchanges.items():
        if exchange not in published and not own(exchange):
            for key in ("", "inbox"):
                yield f"publish {exchange!r} {key!r}", _publish(exchange, key)
        for key in WRONG_KEYS.get((name, exchange), ()):
            yield f"publish {exchange!r} {key!r}", _publish(exchange, key)
        if not own(exchange):
            yield f"delete exchange {exchange!r}", _call("exchange_delete", exchange)
            yield (
                f"declare exchange {exchange!r}",
                _call("exchange_declare", exchange, kind, durable=True),
            )
    for queue, one in queues.items():
        if queue not in consumed and not own(queue):
            yield f"get {queue}", _call("basic_get", queue)
            yield f"consume {queue}", _call("basic_consume", queue, print)
            yield f"purge {queue}", _call("queue_purge", queue)
        if not own(queue):
            yield f"delete {queue}", _call("queue_delete", queue)
            arguments = one["arguments"]
            yield (
                f"declare {queue}",
                _call("queue_declare", queue, durable=True, arguments=arguments),
            )
        for exchange in exchanges:
            sources = exchange in bound or own(exchange)
            if own(queue) and sources:
                continue
            # Where neither end has to do with the service, what is bound will do.
            ends = sources or own(queue) or queue in consumed or exchange in published
            if ends or (exchange, queue) in bindings:
                what = f"{queue} to {exchange!r}"
                yield f"bind {what}", _call("queue_bind", queue, exchange, "go")
                yield f"unbind {what}", _call("queue_unbind", queue, exchange, "go")
    for destination in exchanges:
        for source in exchanges:
            may_write = destination in published or own(destination)
            may_read = source in bound or own(source)
            if (may_write and may_read) or not (may_write or may_read or source == destination):
                continue
            what = f"exchange {destination!r} to {source!r}"
            yield f"bind {what}", _call("exchange_bind", destination, source, "go")
            yield f"unbind {what}", _call("exchange_unbind", destination, source, "go")
    for new in ("new", "own", "ownx", "xown.1", "amq.own", "inbox2", "order.new\n"):
        if not own(new):
            yield f"declare {new!r}", _call("queue_declare", new, durable=True)
            yield f"declare exchange {new!r}", _call("exchange_declare", new, durable=True)
            yield f"delete {new!r}", _call("queue_delete", new)
            yield f"delete exchange {new!r}", _call("exchange_delete", new)
    if "amq.gen-*" not in service.get("declares", ()):
        yield "declare a server-named queue", _call("queue_declare", "", exclusive=True)


def _owns(service: dict[str, Any], name: str) -> bool:
    for said in service.get("declares", ()):
        start = said.removesuffix("*")
        reserved = name.startswith("amq.") and not start.startswith("amq.")
        if name == said or (said.endswith("*") and name.startswith(start) and not reserved):
            return True
    return False


def _publish(exchange: str, key: str) -> Callable[[BlockingChannel], object]:
    def publish(channel: BlockingChannel) -> None:
        channel.confirm_delivery()
        channel.basic_publish(exchange, key, b"")

    return publish


def _call(method: str, *arguments: Any, **options: Any) -> Callable[[BlockingChannel], object]:
    return lambda channel: getattr(channel, method)(*arguments, **options)


def refused_at_login(deployed: Deployed) -> int:
    """Try all URLs on other vhosts, with other passwords, and on the management API; count them.

    The broker lets those wait who are refused, so all are tried at once.
    """

    def vhost(url: str, other: str) -> None:
        # AMQP has it so: 530, NOT_ALLOWED.
        words = rf"\(530\) .NOT_ALLOWED - access to vhost '{other}' refused for user"
        with pytest.raises(ProbableAccessDeniedError, match=words):
            pika.BlockingConnection(pika.URLParameters(_with_vhost(url, other)))

    def password(url: str, other: str) -> None:
        with pytest.raises(ProbableAuthenticationError, match="ACCESS_REFUSED"):
            pika.BlockingConnection(pika.URLParameters(str(URL(url).with_password(other))))

    def api(url: str, path: str) -> None:
        user = (URL(url).user or "", URL(url).password or "")
        answer = httpx.get(f"{deployed.broker.endpoint}/api{path}", auth=user, trust_env=False)
        assert answer.status_code == 401, answer.text

    urls = list(deployed.urls.values())
    others = [URL(url).password for url in urls[1:] + urls[:1]]
    tries = [partial(vhost, url, other) for url in urls for other in ("/", ELSEWHERE)]
    tries += [partial(password, url, other) for url, other in zip(urls, others, strict=True)]
    tries += [partial(api, url, path) for url in urls for path in ("/whoami", "/definitions")]
    with ThreadPoolExecutor(len(tries)) as pool:
        for done in [pool.submit(one) for one in tries]:
            done.result()
    return len(tries)


def _with_vhost(url: str, vhost: str) -> str:
    return f"{url.rpartition('/')[0]}/{quote(vhost, safe='')}"


def environment(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rabbit_topology", "env", *arguments, "--stack", stack.name],
        cwd=stack.folder,
        env=stack.env,
        capture_output=True,
        text=True,
        check=False,
    )


def test_env_gives_a_shell_what_logs_in_and_rotation_changes_it(one_stack: Stack, vhost: str):
    topology: dict[str, Any] = {
        "vhost": f"{vhost} ü",
        "queues": {"q": {"type": "classic"}},
        "services": {"it's": {"consumes": ["q"]}, "other": {}},
    }
    one_stack.configure(topology, seed=SEED)
    one_stack.up()

    def log_in() -> str:
        shell = environment(one_stack, "it's", "--format", "shell")
        assert shell.returncode == 0, shell.stderr
        code = "import os, pika; u = os.environ['AMQP_URL']; p = pika.URLParameters(u)\n"
        code += "pika.BlockingConnection(p).channel().basic_consume('q', print); print(u)"
        script = f'{shell.stdout}\n"$0" -c "$1"'
        ended = subprocess.run(
            ["sh", "-c", script, sys.executable, code], capture_output=True, text=True, check=True
        )
        return ended.stdout.strip()

    first = log_in()
    others = one_stack.outputs()["service_urls"]
    assert first == others.pop("it's")
    unknown = environment(one_stack, "its")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert 'did you mean "it\'s"?' in unknown.stderr

    topology["services"]["it's"]["rotation"] = 2
    one_stack.configure(topology, seed=SEED)
    changed = one_stack.up()
    assert changed.changes == {"updated": 1, "unchanged": changed.changes["unchanged"]}
    second = log_in()
    assert second != first
    with pytest.raises(AMQPConnectionError):
        pika.BlockingConnection(pika.URLParameters(first))
    assert others.items() <= one_stack.outputs()["service_urls"].items()
    assert URL(second).password not in changed.text


def test_a_user_that_exists_becomes_a_service_and_keeps_its_password(stack: Stack, vhost: str):
    """First as a user with what it may do so far, then with the least that it needs."""
    api = management(stack.broker)
    user, permissions = f"{vhost}-app", f"/permissions/{vhost}/{vhost}-app"
    api.request("PUT", f"/users/{user}", {"password": "of old", "tags": "monitoring,prod"})
    before = api.get(f"/users/{user}")
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    topology: dict[str, Any] = {
        "vhost": vhost,
        "exchanges": {"e": {}},
        "queues": {"q": {"type": "classic"}, "other": {"type": "classic"}},
        "bindings": [{"source": "e", "queue": "q", "routing_key": "k"}],
    }
    stack.configure({**topology, "users": {user: {"exists": True, "permissions": everything}}})
    stack.up()
    assert api.get(permissions)["read"] == ".*"
    parameters = pika.URLParameters(f"amqp://{user}:of%20old@{stack.broker.hosts[0]}/{vhost}")
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        service = {"username": user, "exists": True, "publishes": ["e"], "consumes": ["q"]}
        stack.configure({**topology, "services": {"app": service}})
        changed = stack.up()
        # Its permissions change in place: at no moment has it none.
        assert changed.changes == {"updated": 1, "unchanged": changed.changes["unchanged"]}
        assert set(stack.up("--refresh").changes) == {"unchanged"}
        assert api.get(f"/users/{user}") == before
        assert api.get(permissions)["read"] == "^(q)$"
        channel.basic_publish("e", "k", b"1", mandatory=True)
        assert channel.basic_get("q", auto_ack=True)[2] == b"1"
        with pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
            channel.basic_get("other")

    # Its password is for others to say.
    unknown = environment(stack, "app")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "its password is known to others alone" in unknown.stderr
    stack.configure({**topology, "services": {"app": {**service, "password": "of old"}}})
    assert set(stack.up().changes) == {"unchanged"}
    known = environment(stack, "app")
    assert "AMQP_PASSWORD='of old'" in known.stdout, known.stderr
    assert api.get(f"/users/{user}") == before
    stack.destroy()
    assert api.get(f"/users/{user}") == before


def test_a_user_that_is_to_exist_and_does_not_is_refused(one_stack: Stack, vhost: str):
    for named in (
        {"users": {"nobody": {"exists": True, "permissions": {"read": ".*"}}}},
        {"services": {"s": {"exists": True, "username": "nobody"}}},
    ):
        one_stack.configure({"vhost": vhost, "queues": {"q": {}}, **named})
        assert "user nobody, of which the config says that it exists" in one_stack.preview().text
        refused = one_stack.up(check=False)
        assert refused.status
        assert "user nobody, of which the config says that it exists" in refused.text
