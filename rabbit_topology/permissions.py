"""
What a service may do, as RabbitMQ asks for it: regular expressions over names and routing keys.

The broker asks for `write` to publish to an exchange, `read` to consume a queue, `configure` to
declare or delete; to bind a queue, for `write` on it and `read` on the exchange. On topic exchanges
it asks for the routing key as well.

Source: "Access Control", "Topic Authorisation", "Direct Reply-to", RabbitMQ documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from rabbit_topology.model import Permissions, Service, TopicPermissions, Topology

NOTHING = "^$"
_DEFAULT_EXCHANGE = "amq.default"
_BUILT_IN_TOPICS = {"amq.topic"}


def user_name(topology: Topology, service: str) -> str:
    """Return the name of a service's user. Users belong to the broker, not to a vhost."""
    own = topology.services[service].username
    if own is not None:
        return own
    return service if topology.vhost == "/" else f"{topology.vhost}.{service}"


def permissions(topology: Topology, service: Service) -> Permissions:
    """Return the least that lets a service do what it declares."""
    declared = set(service.declares)
    written = {it.exchange for it in service.publishes} | declared
    if service.replies:
        written.add(_DEFAULT_EXCHANGE)
    # A queue that a service declares with these in its arguments: the broker asks for them.
    for name in declared & topology.queues.keys():
        target = topology.queues[name].arguments.get("x-dead-letter-exchange")
        if isinstance(target, str):
            written.add(target)
    for name in declared & topology.exchanges.keys():
        alternate = topology.exchanges[name].arguments.get("alternate-exchange")
        if alternate is not None:
            written.add(alternate)
    return Permissions(
        configure=exactly(declared),
        write=exactly(written),
        read=exactly({*service.consumes, *service.binds, *declared}),
    )


def topic_permissions(topology: Topology, service: Service) -> Mapping[str, TopicPermissions]:
    """Return the routing keys that a service may use, for each topic exchange that it may use."""
    keys: dict[str, set[str] | None] = {}
    for it in service.publishes:
        if not is_topic(topology, it.exchange):
            continue
        known = keys.setdefault(it.exchange, set())
        if not it.keys():
            keys[it.exchange] = None  # any
        elif known is not None:
            known |= set(it.keys())
    bound = {it for it in service.binds if is_topic(topology, it)}
    return {
        exchange: TopicPermissions(
            write=_keys(keys.get(exchange, set())), read=".*" if exchange in bound else NOTHING
        )
        for exchange in sorted({*keys, *bound})
    }


def is_topic(topology: Topology, exchange: str) -> bool:
    """Tell whether the broker looks at routing keys when a service publishes to an exchange."""
    declared = topology.exchanges.get(exchange)
    return declared.type == "topic" if declared else exchange in _BUILT_IN_TOPICS


def exactly(names: Iterable[str]) -> str:
    """Return an anchored pattern for these names and no others; ``*`` at the end is any rest."""
    found = [
        f"{re.escape(name[:-1])}.*" if name.endswith("*") else re.escape(name)
        for name in sorted(names)
    ]
    return f"^({'|'.join(found)})$" if found else NOTHING


def _keys(keys: Iterable[str] | None) -> str:
    if keys is None:
        return ".*"
    found = [_key(key) for key in sorted(keys)]
    return f"^({'|'.join(found)})$" if found else NOTHING


def _key(pattern: str) -> str:
    """Return a topic pattern as a regular expression: ``*`` is one word, ``#`` any number."""
    words = pattern.split(".")
    whole, dot = "", ""
    for number, word in enumerate(words):
        if word != "#":
            whole += dot + ("[^.]*" if word == "*" else re.escape(word))
            dot = r"\."
        elif dot:
            whole += rf"({dot}[^.]*)*"
        else:  # nothing before it: it takes the dots behind its words
            whole += ".*" if number == len(words) - 1 else r"([^.]*\.)*"
    return whole
