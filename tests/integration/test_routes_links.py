"""
What the analysis says of messages over shovels and federation is what the brokers do with them.

`LINKS_TOPOLOGIES=50 LINKS_MESSAGES=400 pytest -s tests/integration/test_routes_links.py` is a
longer run: 400 messages into each of 50 topologies. `ROUTES_SEED=5` begins with that seed.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from random import Random
from typing import Any
from urllib.parse import quote

import pika

from rabbit_topology.broker.management import Management
from rabbit_topology.lint.reading import read
from rabbit_topology.model import Reason
from rabbit_topology.routing import text
from rabbit_topology.routing.lives import End
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.publication import Publication, publish
from tests.integration.test_routes import definitions, numbers_with_fractions
from tests.support import random_links, random_routes
from tests.support.stacks import connect, management, wait_for
from toolchain.broker import Broker

TOPOLOGIES = int(os.environ.get("LINKS_TOPOLOGIES", "4"))
"""On each version."""
FIRST_SEED = int(os.environ.get("ROUTES_SEED", "0"))
PER_TOPOLOGY = int(os.environ.get("LINKS_MESSAGES", "20"))
STILL_SECONDS = 1.5
"""Nothing has moved for so long: links have brought all that they take."""
PATIENCE_SECONDS = 60
STARTS = 10
"""So often are links started until each runs once."""

__all__ = ["numbers_with_fractions"]  # a fixture for all tests here

Queues = Counter[tuple[str, str]]
"""How many copies of a message are in which queue, by vhost and name."""


def test_messages_go_over_links_as_the_analysis_says(broker: Broker) -> None:
    seed, compared, carried = FIRST_SEED, 0, 0
    for _ in range(TOPOLOGIES):
        seed, config = _next(seed, broker)
        print(f"RabbitMQ {broker.version}, seed {seed}")
        random = Random(seed)
        networks = _networks(config, broker)
        with deployed(broker, config, networks):
            published = []
            for _ in range(PER_TOPOLOGY):
                vhost = random.choice([*networks])
                one = random_routes.message(random, config["vhosts"][vhost])
                message = publish(networks[vhost], **one)
                if _stops_a_link(message):
                    continue
                _send(broker, vhost, one, len(published))
                published.append(message)
            expected = [arrivals(one) for one in published]
            there = _settled(broker, networks, expected)
            for number, (one, queues) in enumerate(zip(published, expected, strict=True)):
                assert there[number] == queues, (
                    f"seed {seed}, message {number}: {one.message}\nthe broker: "
                    f"{dict(there[number])}\nthe analysis: {dict(queues)}\n"
                    f"{text.trace(one, width=160, later=False)}"
                )
            compared += len(published)
            carried += sum(bool(one.passages) for one in published)
        seed += 1
    print(f"RabbitMQ {broker.version}: {compared:,} messages, {carried:,} over links")
    assert carried > compared / 40, "too few messages took a link"


def _next(seed: int, broker: Broker) -> tuple[int, dict[str, Any]]:
    """Return a seed from which on, and the config of, a topology that ends: nothing goes round."""
    while True:
        config = _config(seed, broker)
        networks = _networks(config, broker)
        if not _may_differ(networks):
            return seed, config
        seed += 1


def _networks(config: Mapping[str, Any], broker: Broker) -> Mapping[str, Network]:
    return Network.every(read(config, {"version": broker.version, "hosts": [*broker.hosts]}))


def _config(seed: int, broker: Broker) -> dict[str, Any]:
    # Links of a vhost that is gone go a little later than it: another one has another name.
    uri = f"amqp://guest:guest@{broker.hosts[0]}/links-{seed}-{{}}"
    config = random_links.config(Random(seed), uri)
    config["vhosts"] = {f"links-{seed}-{name}": one for name, one in config["vhosts"].items()}
    return config


def _may_differ(networks: Mapping[str, Network]) -> bool:
    """Return whether a message could be in one queue or in another, or go round for ever."""
    every = next(iter(networks.values())).links.all
    onward: dict[str, set[str]] = {name: set() for name in networks}
    for link in every:
        if link.carrier == "shovel" and link.source is not None and link.target is not None:
            onward[link.source.vhost].add(link.target.vhost)
    for _ in onward:
        for targets in onward.values():
            targets.update(*[onward[name] for name in targets])
    goes_round = any(name in targets for name, targets in onward.items())
    return goes_round or any(link.doubt or not link.is_followed for link in every)


def _stops_a_link(published: Publication) -> bool:
    """Return whether a link publishes a message to an exchange that nobody has declared.

    The analysis does not know what others declare. Here nobody does, and the link stops there.
    """
    onward = [passage.onward for passage in published.passages if passage.onward]
    return any(one.routed.unknown or _stops_a_link(one) for one in onward)


def arrivals(published: Publication) -> Queues:
    """Return the queues in which a message is once links have taken all that they take."""
    network = published.network
    queues: Queues = Counter(
        (network.vhost, queue)
        for queue in published.routed.may_reach
        if not network.surely_taken(queue)
    )
    for passage in published.passages:
        if passage.onward is not None:
            queues += arrivals(passage.onward)
    return queues


def test_a_shovel_takes_dead_letters_to_another_vhost(broker: Broker) -> None:
    uri = f"amqp://guest:guest@{broker.hosts[0]}/links-{{}}"
    config = {
        "vhosts": {
            "links-shop": {
                "exchanges": {"orders": {"type": "topic"}},
                "queues": {"orders": {"type": "classic", "dead_letter": True}},
                "bindings": [{"source": "orders", "queue": "orders", "routing_key": "order.*"}],
                "shovels": {
                    "parked": {
                        "source_uri": uri.format("shop"),
                        "source_queue": "orders.dead-letter",
                        "destination_uri": uri.format("archive"),
                        "destination_exchange": "old",
                    }
                },
            },
            "links-archive": {
                "exchanges": {"old": {"type": "topic"}},
                "queues": {"old": {"type": "classic"}, "copies": {"type": "classic"}},
                "bindings": [
                    {"source": "old", "queue": "old", "routing_key": "order.new"},
                    {"source": "old", "queue": "copies", "routing_key": "copy"},
                ],
            },
        }
    }
    networks = _networks(config, broker)
    one = {"exchange": "orders", "routing_key": "order.new", "headers": {"CC": ["copy"]}}
    published = publish(networks["links-shop"], **one)
    ends = {last for end, last, _ in published.ends("orders", Reason.REJECTED)}
    assert ends == {"old of vhost links-archive", "copies of vhost links-archive"}
    with deployed(broker, config, networks):
        _send(broker, "links-shop", one, 0)
        with connect(broker, "links-shop") as connection:
            method, _, _ = connection.channel().basic_get("orders")
            assert method is not None
        with connect(broker, "links-shop") as connection:
            channel = connection.channel()
            method, _, _ = channel.basic_get("orders")
            channel.basic_nack(method.delivery_tag, requeue=False)
        expected: Queues = Counter({("links-archive", "old"): 1, ("links-archive", "copies"): 1})
        assert _settled(broker, networks, [expected])[0] == expected
    assert all(end is End.STAYS for end, _, _ in published.ends("orders", Reason.REJECTED))


@contextmanager
def deployed(
    broker: Broker, config: Mapping[str, Any], networks: Mapping[str, Network]
) -> Iterator[None]:
    """Declare vhosts and their links, without any program of ours, until all links run."""
    api = management(broker)
    with ExitStack() as cleanup:
        for name, network in networks.items():
            here = quote(name, safe="")
            api.request("PUT", f"/vhosts/{here}", {})
            cleanup.callback(api.request, "DELETE", f"/vhosts/{here}")
            api.request("POST", f"/definitions/{here}", definitions(network.context.whole))
        for name, vhost in config["vhosts"].items():
            _link(api, quote(name, safe=""), vhost)
        for _ in range(STARTS):
            for name, vhost in config["vhosts"].items():
                wait_for(partial(_run, api, quote(name, safe=""), vhost), "links run")
            _wait_until_bound(api)
            twice = [name for name in config["vhosts"] if _runs_twice(broker, api, name)]
            if not twice:
                break
            for name, vhost in config["vhosts"].items():
                _federate_again(api, quote(name, safe=""), vhost)
        else:
            raise AssertionError(f"the broker runs links of {', '.join(twice)} twice")
        yield


def _link(api: Management, here: str, vhost: Mapping[str, Any]) -> None:
    """Declare the links of a vhost."""
    for name, shovel in vhost.get("shovels", {}).items():
        value = {_BROKERS[key]: given for key, given in shovel.items()}
        api.request("PUT", f"/parameters/shovel/{here}/{name}", {"value": value})
    for name, upstream in vhost.get("federation_upstreams", {}).items():
        value = {key.replace("_", "-"): given for key, given in upstream.items()}
        api.request("PUT", f"/parameters/federation-upstream/{here}/{name}", {"value": value})
    for name, policy in vhost.get("policies", {}).items():
        value = {key.replace("_", "-"): given for key, given in policy.items()}
        api.request("PUT", f"/policies/{here}/{name}", value)


def _runs_twice(broker: Broker, api: Management, vhost: str) -> bool:
    """Return whether a federated queue of an exchange has several consumers.

    RabbitMQ may start a link twice that its policy has just begun to ask for: the first one then
    keeps what it gets, and brings none of it.
    """
    listed = api.get(f"/queues/{quote(vhost, safe='')}?disable_stats=true")
    with connect(broker, vhost) as connection:
        channel = connection.channel()
        return any(
            channel.queue_declare(one["name"], passive=True).method.consumer_count != 1
            for one in listed
            if one["name"].startswith("federation: ")
        )


def _federate_again(api: Management, here: str, vhost: Mapping[str, Any]) -> None:
    """End the links of a vhost, and have them started again."""
    for name in vhost.get("policies", {}):
        api.request("DELETE", f"/policies/{here}/{name}")
    wait_for(lambda: not api.get(f"/federation-links/{here}"), "links end")
    _link(api, here, {"policies": vhost.get("policies", {})})


def _wait_until_bound(api: Management) -> None:
    """Wait until federation has bound what it takes: it says that it runs a little earlier."""
    before, since = None, time.monotonic()
    while time.monotonic() - since < STILL_SECONDS:
        bound = sorted(str(sorted(one.items())) for one in api.get("/bindings"))
        if bound != before:
            before, since = bound, time.monotonic()
        time.sleep(0.1)


_BROKERS = {
    "source_uri": "src-uri",
    "source_queue": "src-queue",
    "source_exchange": "src-exchange",
    "source_exchange_key": "src-exchange-key",
    "destination_uri": "dest-uri",
    "destination_queue": "dest-queue",
    "destination_exchange": "dest-exchange",
    "destination_exchange_key": "dest-exchange-key",
    "destination_add_forward_headers": "dest-add-forward-headers",
}
"""What the broker calls what a config says of a shovel."""


def _run(api: Management, here: str, vhost: Mapping[str, Any]) -> bool:
    """Return whether all links of a vhost run."""
    shovels = {one["name"] for one in api.get(f"/shovels/{here}") if one["state"] == "running"}
    if shovels < {*vhost.get("shovels", {})}:
        return False
    links = [one for one in api.get(f"/federation-links/{here}") if one["status"] == "running"]
    return len(links) >= len(vhost.get("federation_upstreams", {}))


def _send(broker: Broker, vhost: str, one: Mapping[str, Any], number: int) -> None:
    with connect(broker, vhost) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish(
            one["exchange"],
            one["routing_key"],
            str(number).encode(),
            pika.BasicProperties(headers=dict(one["headers"])),
        )


def _settled(
    broker: Broker, networks: Mapping[str, Network], expected: list[Queues]
) -> list[Queues]:
    """Return where each message is, once as many are there as should be, or nothing moves."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    wanted: Queues = sum(expected, Counter())
    before: Queues | None = None
    since = time.monotonic()
    while time.monotonic() < deadline:
        counts = _counts(broker, networks)
        if counts != before:
            before, since = counts, time.monotonic()
        still = time.monotonic() - since
        if still > (STILL_SECONDS if counts == wanted else 5 * STILL_SECONDS):
            break
        time.sleep(0.1)
    there: list[Queues] = [Counter() for _ in expected]
    for vhost, network in networks.items():
        with connect(broker, vhost) as connection:
            channel = connection.channel()
            for queue in network.queues:
                while True:
                    method, _, body = channel.basic_get(queue, auto_ack=True)
                    if method is None:
                        break
                    there[int(body)][vhost, queue] += 1
    return there


def _counts(broker: Broker, networks: Mapping[str, Network]) -> Queues:
    counts: Queues = Counter()
    for vhost, network in networks.items():
        with connect(broker, vhost) as connection:
            channel = connection.channel()
            for queue in network.queues:
                state = channel.queue_declare(queue, passive=True)
                counts[vhost, queue] = state.method.message_count
    return +counts
