"""
What a service may do, as RabbitMQ asks for it: regular expressions over names and routing keys.

The broker asks for `write` to publish to an exchange, `read` to consume a queue, `configure` to
declare or delete; to bind a queue, for `write` on it and `read` on the exchange. On topic exchanges
it asks for the routing key as well. It looks at the name alone: a queue and an exchange of the same
name are one to it.

Source: "Access Control", "Topic Authorisation", "Direct Reply-to", RabbitMQ documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from rabbit_topology.model import (
    Permissions,
    Rotates,
    Service,
    TopicPermissions,
    Topology,
)

NOTHING = "^$"
RESERVED = "amq."
SERVER_NAMED = "amq.gen-"
"""How names begin that the broker gives to queues that are declared without one."""

_DEFAULT_EXCHANGE = "amq.default"


def user_name(topology: Topology, service: str) -> str:
    """Return the name of a service's user. Users belong to the broker, not to a vhost."""
    first, rotation = first_user_name(topology, service), user_rotation(topology.services[service])
    return first if rotation == 1 else f"{first}.{rotation}"


def user_rotation(service: Service) -> int:
    """Return which of its users a service has: always the first, unless it `rotates: user`."""
    return service.rotation if service.rotates is Rotates.USER else 1


def first_user_name(topology: Topology, service: str) -> str:
    """Return the name of a service's user before any rotation."""
    own = topology.services[service].username
    if own is not None:
        return own
    return service if topology.vhost == "/" else f"{topology.vhost}.{service}"


def is_former(topology: Topology, service: str, user: str) -> bool:
    """Return whether a user is one that a service may have had in another rotation."""
    if topology.services[service].rotates is not Rotates.USER:
        return False
    first, current = first_user_name(topology, service), user_name(topology, service)
    if user == current or not re.fullmatch(rf"{re.escape(first)}(\.[1-9][0-9]*)?", user):
        return False
    others = (user_name(topology, other) for other in topology.services)
    return user not in topology.users and user not in others


def has_former(topology: Topology, user: str) -> bool:
    """Return whether a user is one that any service may have had in another rotation."""
    return any(is_former(topology, service, user) for service in topology.services)


def permissions(topology: Topology, service: Service) -> Permissions:
    """Return the least that lets a service do what it declares, by former names as well."""
    declared = _by_all_names(topology, service.declares)
    exchanges = {publish.exchange for publish in service.publishes}
    written = _by_all_names(topology, exchanges) | declared
    if service.replies:
        written.add(_DEFAULT_EXCHANGE)
    if declared:
        written |= _targets(topology, service)
    return Permissions(
        configure=exactly(declared),
        write=exactly(written),
        read=exactly(_by_all_names(topology, {*service.consumes, *service.binds}) | declared),
    )


def _by_all_names(topology: Topology, names: Iterable[str]) -> set[str]:
    """Return names, and those that the queues and exchanges had before; ``*`` is any rest."""
    written = set(names)
    meant = set(written)
    if wildcards := {name for name in written if name.endswith("*")}:
        pattern = exactly(wildcards)
        declared = (*topology.queues, *topology.exchanges)
        meant.update(name for name in declared if re.search(pattern, name))
    return {*written, *topology.former_names(meant)}


def _targets(topology: Topology, service: Service) -> set[str]:
    """Return what a service must be allowed to publish to, to declare with such arguments."""
    queues = [
        *(
            (name, queue.arguments.get("x-dead-letter-exchange"))
            for name, queue in topology.queues.items()
        ),
        *(
            (name, exchange.arguments.get("alternate-exchange"))
            for name, exchange in topology.exchanges.items()
        ),
    ]
    return {
        target or _DEFAULT_EXCHANGE
        for name, target in queues
        if isinstance(target, str) and declares(service, name)
    }


def topic_permissions(topology: Topology, service: Service) -> Mapping[str, TopicPermissions]:
    """Return the routing keys that a service may use, for each topic exchange that it may use.

    Where there are none for an exchange, the broker allows all keys: so it is for those that the
    service declares itself.
    """
    keys: dict[str, set[str]] = {}
    for publish in service.publishes:
        if is_topic(topology, publish.exchange):
            for exchange in _by_all_names(topology, {publish.exchange}):
                keys.setdefault(exchange, set()).update(publish.keys() or ("#",))
    binds = _by_all_names(topology, service.binds)
    bound = {exchange for exchange in binds if is_topic(topology, exchange)}
    declared = exactly(_by_all_names(topology, service.declares))
    return {
        exchange: TopicPermissions(
            write=exactly_keys(keys.get(exchange, ())), read=".*" if exchange in bound else NOTHING
        )
        for exchange in sorted({*keys, *bound})
        if not re.search(declared, exchange)
    }


def is_topic(topology: Topology, exchange: str) -> bool:
    """Return whether the broker looks at routing keys when a service publishes to an exchange."""
    return topology.exchange_type(exchange) == "topic"


def declares(service: Service, name: str) -> bool:
    """Return whether a service may declare a queue or an exchange of this name."""
    return re.search(exactly(service.declares), name) is not None


def exactly(names: Iterable[str]) -> str:
    """Return an anchored pattern for these names and no others; ``*`` at the end is any rest."""
    patterns = [_name(name) for name in sorted(names)]
    return f"^({'|'.join(patterns)})$" if patterns else NOTHING


def exactly_keys(patterns: Iterable[str]) -> str:
    """Return a pattern for the routing keys that these topic patterns match, and no others."""
    simplified = sorted({_simplified(pattern) for pattern in patterns})
    if "#" in simplified:
        return ".*"
    # Not `$`, which also stands before a line break at the end: a routing key may have one.
    return rf"^({'|'.join(map(_key, simplified))})\z" if simplified else NOTHING


def _name(name: str) -> str:
    if not name.endswith("*"):
        return re.escape(name)
    start = name[:-1]
    # Nobody who writes `a*` means `amq.default`, through which every queue can be published to.
    but_for = rf"(?!{re.escape(RESERVED)})" if RESERVED.startswith(start) else ""
    return f"{but_for}{re.escape(start)}.*"


def _simplified(pattern: str) -> str:
    """Return a topic pattern with one ``#`` where several follow each other."""
    words = pattern.split(".")
    return ".".join(
        word for at, word in enumerate(words) if word != "#" or words[at - 1 : at] != ["#"]
    )


def _key(pattern: str) -> str:
    """Return a topic pattern as a regular expression: ``*`` is one word, ``#`` any number."""
    words = pattern.split(".")
    whole, dot = "", ""
    for word in words:
        if word != "#":
            whole += dot + ("[^.]*" if word == "*" else re.escape(word))
            dot = r"\."
        elif dot:
            whole += rf"({dot}[^.]*)*"
        else:  # nothing before it: it takes the dots behind its words
            whole += r"([^.]*\.)*"
    # The empty key has no word, not an empty one.
    return rf"(?!\z){whole}" if pattern and re.fullmatch(whole, "") else whole
