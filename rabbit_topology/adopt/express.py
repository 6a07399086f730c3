"""
A broker's definitions as the config that says the same, literally; and what it cannot say.

Pure. Arguments stay arguments, policies stay policies: nothing would change on the broker. What the
config's own rules refuse is left alone on the broker, with what the rule says.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from rabbit_topology.adopt import definitions, numbers
from rabbit_topology.adopt.definitions import Definitions, Listed
from rabbit_topology.broker import inventory
from rabbit_topology.config.stack import SHAPE
from rabbit_topology.errors import parts
from rabbit_topology.findings import Severity
from rabbit_topology.lint import check as lint
from rabbit_topology.lint import rules_services
from rabbit_topology.lint.reading import read
from rabbit_topology.model import (
    DEFAULT_VHOST,
    PREDECLARED_EXCHANGES,
    TYPE_ARGUMENT,
    Exchange,
    Permissions,
    Policy,
    Queue,
    QueueType,
)

Config = dict[str, Any]
"""What a config says, as YAML has it."""

_SECTIONS = {
    "exchanges": "exchange",
    "queues": "queue",
    "policies": "policy",
    "operator_policies": "operatorPolicy",
    "users": "permissions",
}
"""Keys of a topology, by name, and the kind of what they hold."""

_ALSO_USERS = "topicPermissions"
"""Another kind of what `users` hold."""

Place = tuple[str, str, str]
"""Where an object is: its vhost, its kind as `inventory.title` takes it, and its name."""

_ORDER = (
    *("vhost", "vhost_settings", "exchanges", "queues", "bindings"),
    *("policies", "operator_policies", "users"),
)
"""As a person would write them."""

_NOTHING: tuple[Any, ...] = (None, False, "", [], {})
_OF_DEFAULT_VHOST = {(DEFAULT_VHOST, "description"): "Default virtual host"}
"""What the broker says of it where nobody says anything."""

_OWN = "amq."
_SERVER_NAMED = "amq.gen-"
_SESSIONS = ("mqtt-subscription-", "stomp-subscription-")
_PURPOSE = "x-internal-purpose"
"""An argument of what a plugin makes for itself."""

_FREE = {
    "x-max-priority": "max_priority",
    "x-single-active-consumer": "single_active_consumer",
    "x-quorum-initial-group-size": "initial_cluster_size",
    "x-initial-cluster-size": "initial_cluster_size",
    "x-queue-leader-locator": "leader_locator",
    "x-stream-max-segment-size-bytes": "segment_size",
    "x-stream-filter-size-bytes": "filter_size",
}
"""Arguments that a key of the config stands for: written so, nothing changes on the broker."""

_OWN_USER = "the stack connects as this user"
_ARE_TEXT = "the provider sends only text as an argument of an exchange"
_ENDS = "it is bound to what is left alone"
_NO_ENDS = "it is bound to what is not there"
_NUMBERS = (
    "numbers in its arguments have other AMQP types than the provider writes, which would make a "
    "second binding"
)
_NO_KEY = "undefined"
_WITHOUT_KEY = (
    "it may have no routing key at all, as after an import of definitions without one: the broker "
    "lists that as a key, and would take the provider's for a second binding"
)
_READ_BY_PLUGIN = (
    "a plugin such as a shovel consumes it within the broker, and the provider cannot read such a "
    "queue back"
)
_LINKS = (
    "the provider would write its defaults into it, and start it anew; declare it and allow that "
    "with `rabbit-topology:safety.take_over`"
)
_ODD = "the broker does not say whether it is {}; nothing can be declared that is equal to it"
_INTERNAL = "the provider cannot declare an internal exchange"


@dataclass(frozen=True, kw_only=True)
class Left:
    """An object that stays on the broker as it is, and is not managed."""

    title: str
    """What it is: ``policy ttl``."""
    vhost: str
    """Empty for what is in none."""
    reason: str


@dataclass(kw_only=True)
class Expressed:
    """A broker, or one vhost of it, as a config."""

    topologies: dict[str, Config] = field(default_factory=dict)
    """By vhost: the value of `rabbit-topology:topology`, with `vhost`."""
    left: list[Left] = field(default_factory=list)
    brokers_own: Counter[str] = field(default_factory=Counter)
    """How many were left out since the broker makes them itself, by what they are."""

    @property
    def topology(self) -> Config:
        """The topology of the one vhost, or of several."""
        if len(self.topologies) == 1:
            return next(iter(self.topologies.values()))
        return {
            "vhosts": {
                vhost: {key: value for key, value in one.items() if key != "vhost"}
                for vhost, one in self.topologies.items()
            }
        }


def express(
    had: Definitions,
    vhosts: Iterable[str],
    own_user: str | None = None,
    *,
    with_refused: bool = False,
    unequal: Mapping[Place, str] | None = None,
) -> Expressed:
    """Return the config of some vhosts, and what is left alone.

    Args:
        had: What the broker has.
        vhosts: Their names.
        own_user: The user that the stack is to connect with; None: not known.
        with_refused: Leave in it what the config's rules refuse.
        unequal: What the config would change, and how: it is left alone.
    """
    whole = Expressed()
    whole.left += (Left(title=place, vhost="", reason=reason) for place, reason in had.unclear)
    for vhost in vhosts:
        work = _Vhost(
            had=had,
            vhost=vhost,
            own_user=own_user,
            with_refused=with_refused,
            unequal=unequal or {},
        )
        try:
            config = work.express()
        except UnsayableError as error:
            whole.left.append(Left(title=f"vhost {vhost}", vhost="", reason=str(error)))
        else:
            makes_vhost = vhost != DEFAULT_VHOST and "vhost_settings" not in config
            if makes_vhost or config.keys() - {"vhost", "vhost_settings"}:
                whole.topologies[vhost] = config
            whole.left += work.left
            whole.brokers_own += work.brokers_own
    having = {user for one in whole.topologies.values() for user in one.get("users", ())}
    for user in had.users:
        if user not in having and user != own_user:
            reason = "it has no permissions that are managed here"
            whole.left.append(Left(title=f"user {user}", vhost="", reason=reason))
    if had.cluster_wide:
        whole.brokers_own["global parameters"] += had.cluster_wide
    return whole


def brokers_own_queue(one: Listed) -> str | None:
    """Return what kind of queue it is that the broker makes itself; None: it is none."""
    name = str(one.get("name"))
    if one.get("exclusive") or name.startswith(_SERVER_NAMED):
        return "server-named or exclusive queues"
    if name.startswith(_SESSIONS):
        return "queues of MQTT and STOMP sessions"
    if _PURPOSE in one["arguments"]:
        return "queues of federation links and shovels"
    return None


def is_brokers_own_exchange(one: Listed) -> bool:
    """Return whether the broker makes an exchange itself."""
    name = str(one.get("name") or "")
    return not name or name.startswith(_OWN) or _PURPOSE in one["arguments"]


def is_brokers_own_binding(one: Listed) -> bool:
    """Return whether it is of every queue to the default exchange, or of a client's own queue."""
    to_queue = one.get("destination_type", "queue") == "queue"
    own = (_SERVER_NAMED, *_SESSIONS)
    return not one.get("source") or (to_queue and str(one.get("destination")).startswith(own))


class UnsayableError(Exception):
    """A vhost as a whole cannot be said: its name, for example."""


@dataclass(kw_only=True)
class _Vhost:
    """The work on one vhost."""

    had: Definitions
    vhost: str
    own_user: str | None
    with_refused: bool
    unequal: Mapping[Place, str]
    left: list[Left] = field(default_factory=list)
    brokers_own: Counter[str] = field(default_factory=Counter)

    def express(self) -> Config:
        """Return its topology.

        Raises:
            UnsayableError: It cannot be said.
        """
        config: Config = {"vhost": self.vhost, **self._settings()}
        config["exchanges"] = dict(self._exchanges())
        config["queues"] = dict(self._queues())
        config["policies"] = dict(self._policies("policies"))
        config["operator_policies"] = dict(self._policies("operator_policies"))
        config["users"] = self._users()
        self._leave_parameters()
        self._take_out(config, dict(self._unequal(config)))
        routes = list(self._routes(config))
        if not self.with_refused:
            self._refuse(config, routes)
        config["bindings"] = [*_grouped(routes)]
        ordered = {key: config[key] for key in _ORDER if key in config}
        return {key: value for key, value in ordered.items() if value not in ({}, [])}

    def _listed(self, key: str) -> list[Listed]:
        return self.had.within[self.vhost][key]

    def _leave(self, title: str, reason: str) -> None:
        self.left.append(Left(title=title, vhost=self.vhost, reason=reason))

    def _leave_parameters(self) -> None:
        for one in self._listed("parameters"):
            component = str(one.get("component"))
            known = component in ("shovel", "federation-upstream")
            reason = _LINKS if known else f"nothing here declares a {component}"
            self._leave(f"{component} {one.get('name')}", reason)

    def _settings(self) -> Config:
        """Return `exists` for a vhost with settings that not every plugin can write.

        The vhost ``/`` is never made, and needs no word for that.
        """
        described = self.had.vhosts[self.vhost]
        own = {**described, **(described.get("metadata") or {})}
        stated = [
            key
            for key in ("description", "tags", "tracing", "limits", "protected_from_deletion")
            if own.get(key) not in (*_NOTHING, _OF_DEFAULT_VHOST.get((self.vhost, key)))
        ]
        if own.get("default_queue_type") not in (None, "", "undefined", "classic"):
            stated.append("default_queue_type")
        if not stated:
            return {}
        reason = f"its settings stay as they are: {', '.join(stated)}"
        self.left.append(Left(title=f"vhost {self.vhost}", vhost="", reason=reason))
        return {} if self.vhost == DEFAULT_VHOST else {"vhost_settings": {"exists": True}}

    def _exchanges(self) -> Iterator[tuple[str, Config]]:
        for one in self._listed("exchanges"):
            name, arguments = str(one.get("name")), one["arguments"]
            title = inventory.title("exchange", name)
            if is_brokers_own_exchange(one):
                self.brokers_own["exchanges"] += 1
            elif one.get("internal") not in (None, False):
                self._leave(title, _INTERNAL)
            elif odd := _odd(one):
                self._leave(title, odd)
            elif not all(isinstance(value, str) for value in arguments.values()):
                self._leave(title, _ARE_TEXT)
            else:
                stated = {
                    "type": one.get("type", "direct"),
                    "durable": one.get("durable", True),
                    "auto_delete": one.get("auto_delete", False),
                    "arguments": arguments,
                }
                yield name, _without_defaults(stated, Exchange)

    def _queues(self) -> Iterator[tuple[str, Config]]:
        by_default, shovelled = self._default_type(), definitions.shovelled(self.had.within)
        for one in self._listed("queues"):
            name, arguments = str(one.get("name")), dict(one["arguments"])
            if brokers := brokers_own_queue(one):
                self.brokers_own[brokers] += 1
            elif odd := _odd(one):
                self._leave(inventory.title("queue", name), odd)
            elif one.get(definitions.READ_BY_PLUGIN) or (self.vhost, name) in shovelled:
                self._leave(inventory.title("queue", name), _READ_BY_PLUGIN)
            else:
                typed = TYPE_ARGUMENT in arguments
                stated = {
                    "type": arguments.pop(TYPE_ARGUMENT, one.get("type") or by_default),
                    "typed": typed,
                    "durable": one.get("durable", True),
                    "auto_delete": one.get("auto_delete", False),
                    "arguments": arguments,
                }
                yield name, _without_defaults(_folded(stated), Queue)

    def _default_type(self) -> str:
        described = self.had.vhosts[self.vhost]
        stated = {**described, **(described.get("metadata") or {})}.get("default_queue_type")
        return str(stated) if stated in (*QueueType,) else QueueType.CLASSIC.value

    def _policies(self, key: str) -> Iterator[tuple[str, Config]]:
        for one in self._listed(key):
            stated = {
                "pattern": one.get("pattern"),
                "apply_to": one.get("apply-to", "all"),
                "priority": one.get("priority", 0),
                "definition": one.get("definition"),
            }
            yield str(one.get("name")), _without_defaults(stated, Policy)

    def _users(self) -> Config:
        users: dict[str, Config] = {}
        for one in self._listed("permissions"):
            name = str(one.get("user"))
            if name == self.own_user:
                self._leave(f"permissions {name}", _OWN_USER)
                continue
            allowed = {key: one.get(key, "") for key in ("configure", "write", "read")}
            stated = _without_defaults(allowed, Permissions)
            users.setdefault(name, {"exists": True})["permissions"] = stated
        for one in self._listed("topic_permissions"):
            name = str(one.get("user"))
            if name == self.own_user:
                self._leave(f"topic permissions {name}", _OWN_USER)
                continue
            topics = users.setdefault(name, {"exists": True}).setdefault("topic_permissions", {})
            topics[str(one.get("exchange"))] = {key: one.get(key, "") for key in ("write", "read")}
        return users

    def _routes(self, config: Config) -> Iterator[Config]:
        """Yield every binding of the config's ends as one of the config, with one routing key."""
        for one in self._listed("bindings"):
            kind = "queue" if one.get("destination_type", "queue") == "queue" else "exchange"
            route: Config = {
                "source": str(one.get("source", "")),
                kind: str(one.get("destination")),
                "routing_key": str(one.get("routing_key", "")),
                "arguments": dict(one["arguments"]),
            }
            if is_brokers_own_binding(one):
                self.brokers_own["bindings"] += 1
            elif not _has_ends(config, route):
                self._leave(_title(route), _ENDS if self._is_bound(one) else _NO_ENDS)
            elif one.get("routing_key", _NO_KEY) == _NO_KEY:
                self._leave(_title(route), _WITHOUT_KEY)
            elif one.get(numbers.OTHERS) or numbers.becomes_whole(one["arguments"]):
                self._leave(_title(route), _NUMBERS)
            else:
                yield route

    def _is_bound(self, one: Listed) -> bool:
        """Return whether both ends of a binding are there, managed or not."""
        source, destination = str(one.get("source", "")), str(one.get("destination"))
        to_queue = one.get("destination_type", "queue") == "queue"
        known = self._queue_names if to_queue else self._exchange_names
        return source in self._exchange_names and destination in known

    @cached_property
    def _exchange_names(self) -> frozenset[str]:
        listed = (str(one.get("name")) for one in self._listed("exchanges"))
        return frozenset(listed).union(PREDECLARED_EXCHANGES)

    @cached_property
    def _queue_names(self) -> frozenset[str]:
        return frozenset(str(one.get("name")) for one in self._listed("queues"))

    def _unequal(self, config: Config) -> Iterator[tuple[tuple[str, str], str]]:
        """Yield what the config would change: section and name, and how."""
        for section, kind in (*_SECTIONS.items(), ("users", _ALSO_USERS)):
            for name in config[section]:
                if how := self.unequal.get((self.vhost, kind, name)):
                    yield (section, name), f"a config would change it: {how}"

    def _take_out(self, config: Config, refused: Mapping[tuple[str, str], str]) -> None:
        for (section, name), reason in refused.items():
            del config[section][name]
            self._leave(inventory.title(_SECTIONS[section], name), reason)

    def _refuse(self, config: Config, routes: list[Config]) -> None:
        """Take out what the config's rules refuse, until they refuse nothing."""
        while refused := dict(self._refused({**config, "bindings": routes})):
            gone = {place: reason for place, reason in refused.items() if isinstance(place, int)}
            for place, reason in gone.items():
                self._leave(_title(routes[place]), reason)
            self._take_out(
                config,
                {place: why for place, why in refused.items() if not isinstance(place, int)},
            )
            kept = [route for index, route in enumerate(routes) if index not in gone]
            routes.clear()
            for route in kept:
                if _has_ends(config, route):
                    routes.append(route)
                else:
                    self._leave(_title(route), _ENDS)

    def _refused(self, config: Config) -> Iterator[tuple[tuple[str, str] | int, str]]:
        """Yield what a rule is against, and what it says: section and name, or a binding's index.

        Raises:
            UnsayableError: It is against the vhost itself.
        """
        stack = read(config, broker=self.had.broker)
        findings = [one for one in stack.errors if one.rule is SHAPE]
        if not findings:  # else the rules would miss what is not understood
            own = rules_services.own_user_problems(stack.whole, self.own_user)
            findings = [*stack.errors, *own]
        if not findings:
            findings = lint.unsilenced(lint.check(stack), Severity.ERROR)
        for finding in findings:
            problem = finding.problem
            match parts(problem.path):
                case ["topology", "bindings", int(index), *inner]:
                    yield index, _of(inner, problem.rule)
                case ["topology", str(section), str(name), *inner] if section in _SECTIONS:
                    yield (section, name), _of(inner, problem.rule)
                case ["topology", "vhost"]:
                    raise UnsayableError(problem.rule)
                case _:
                    raise UnsayableError(f"{problem.value}: {problem.rule}")


def _of(inner: Iterable[str | int], rule: str) -> str:
    """Return what a rule says, with the key that it says it of."""
    key = ".".join(str(one) for one in inner if one not in ("permissions", "routing_key"))
    return f"{key}: {rule}" if key else rule


def _grouped(routes: Iterable[Config]) -> Iterator[Config]:
    """Yield bindings with all routing keys of the same ends and arguments together."""
    groups: dict[str, list[Config]] = {}
    for route in routes:
        same = {key: value for key, value in route.items() if key != "routing_key"}
        groups.setdefault(json.dumps(same, sort_keys=True), []).append(route)
    for together in groups.values():
        first, keys = together[0], [route["routing_key"] for route in together]
        stated = {key: value for key, value in first.items() if key != "routing_key"}
        if not stated["arguments"]:
            del stated["arguments"]
        if len(keys) > 1:
            stated["routing_keys"] = keys
        elif keys[0]:
            stated["routing_key"] = keys[0]
        yield stated


def _title(route: Config) -> str:
    destination = route.get("queue", route.get("exchange"))
    return f"binding {route['source']} -[{route['routing_key']}]-> {destination}"


def _has_ends(config: Config, route: Config) -> bool:
    """Return whether a config may have a binding between these."""
    exchanges = [route[key] for key in ("source", "exchange") if key in route]
    if not all(one in config["exchanges"] or one in PREDECLARED_EXCHANGES for one in exchanges):
        return False
    return "queue" not in route or route["queue"] in config["queues"]


def _folded(stated: Config) -> Config:
    """Return a queue with the keys that stand for its arguments, where they say the same."""
    arguments = {key: value for key, value in stated["arguments"].items() if key not in _FREE}
    keys = {_FREE[key]: value for key, value in stated["arguments"].items() if key in _FREE}
    short = {**stated, "arguments": arguments, **keys}
    try:
        queue = Queue.model_validate_json(json.dumps(short))
    except ValidationError:
        return stated
    typed = {TYPE_ARGUMENT: stated["type"]} if stated["typed"] else {}
    return short if queue.declared_arguments() == {**typed, **stated["arguments"]} else stated


def _odd(one: Listed) -> str | None:
    """Return what is said of an object that a broker has otherwise than anybody can declare it."""
    for key, meaning in (("durable", "durable"), ("auto_delete", "deleted when it is unused")):
        if not isinstance(one.get(key, False), bool):
            return _ODD.format(meaning)
    return None


def _without_defaults(stated: Config, model: Any) -> Config:
    """Return what is not as it would be if it was left out."""
    kept: Config = {}
    for key, value in stated.items():
        of_model = model.model_fields[key]
        needed = of_model.is_required()
        if needed or value != of_model.get_default(call_default_factory=True):
            kept[key] = value
    return kept
