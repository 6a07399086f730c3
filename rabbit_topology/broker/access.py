"""
Both ways to a broker, management API and AMQP, and the lock that one run at a time holds.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from secrets import token_hex
from threading import Event, Lock, Thread
from typing import Any
from urllib.parse import quote, urlsplit

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import (
    AMQPConnectionError,
    AMQPError,
    ChannelClosedByBroker,
    UnsupportedAMQPFieldException,
)

from rabbit_topology.broker import marker
from rabbit_topology.broker.amqp import Pool, long_numbers
from rabbit_topology.broker.management import Management, NotFoundError
from rabbit_topology.broker.marker import TwoBrokersError
from rabbit_topology.broker.reach import Reach
from rabbit_topology.broker.totals import Totals
from rabbit_topology.broker.values import has_number, is_number
from rabbit_topology.compiler import effective, urls
from rabbit_topology.compiler.effective import Index, Live, Rules, Target
from rabbit_topology.compiler.names import PREFIX
from rabbit_topology.compiler.settings import alike
from rabbit_topology.compiler.urls import Address
from rabbit_topology.errors import BrokerError, reason
from rabbit_topology.model.versions import Version

LOCK_QUEUE = f"{PREFIX}lock"
NEUTRAL = {"max-length": 2**40}
"""A policy needs a definition; this one changes nothing."""

_NOT_FOUND = 404

_WITHOUT_AMQP_SECONDS = 60.0

NOTICED_SECONDS = 5.0
"""How long a busy broker may take to notice that a run was killed, and to free its lock."""

_CONNECT_SECONDS = 5.0

_ABOVE_OTHERS = 1_000_000_000
"""The priority of a policy of our own: nobody writes one that is higher."""

_DRAFT = re.compile(r"\(\?#[0-9a-f]{8}\)$")
"""What the pattern of a policy that is being written ends with: a comment, so it means the same."""

_WRITING_POLICIES = Lock()
"""Held while a policy is written. Two at once, and RabbitMQ 4.0 works out what applies to a queue
with one of them out of view: it stays without the other until a policy is written again."""


class NoAmqpError(BrokerError):
    """None of the broker's AMQP addresses can be reached from here."""


class NoVhostError(BrokerError):
    """The broker has no such vhost."""


class LockedError(BrokerError):
    """Another run is changing the same vhost."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """A broker's management API and its AMQP addresses, with one administrator's credentials."""

    management: Management
    addresses: Sequence[Address]
    tls: bool = False
    _pool: Pool = field(default_factory=Pool, repr=False)
    _locks: dict[str, _HeldLock] = field(default_factory=dict, repr=False)
    _guard: Lock = field(default_factory=Lock, repr=False)
    totals: Totals = field(default_factory=Totals, repr=False, compare=False)
    _reach: Reach = field(default_factory=Reach, repr=False)
    _verdicts: dict[Address, TwoBrokersError | None] = field(default_factory=dict, repr=False)
    """By AMQP address that was proven: None, or that it leads to another broker."""
    _proving: Lock = field(default_factory=Lock, repr=False)
    _binding: Lock = field(default_factory=Lock, repr=False)
    """Held while something is bound over AMQP: one connection is enough."""
    _without_amqp: dict[str, float] = field(default_factory=dict, repr=False)
    """By vhost: until when bindings are made without AMQP, which could not be used."""
    rebinding: Lock = field(default_factory=Lock, repr=False)
    """Held while the bindings of a queue or exchange are listed and led elsewhere: hooks run side
    by side, and a binding made in between would be missed."""

    @classmethod
    def connect(
        cls,
        *,
        endpoint: str,
        username: str,
        password: str,
        hosts: Sequence[str] = (),
        tls: bool | None = None,
        ca_file: str | None = None,
        client_cert_file: str | None = None,
        client_key_file: str | None = None,
        insecure: bool = False,
        proxy: str | None = None,
    ) -> Access:
        """Return how to reach a broker; nothing is opened yet.

        Args:
            endpoint: The URL of the management API.
            username: An administrator.
            password: Its password.
            hosts: AMQP addresses, ``host`` or ``host:port``; default: the endpoint's host.
            tls: AMQP with TLS; default: as the endpoint has it.
            ca_file: Certificates to trust, a PEM file.
            client_cert_file: A certificate to show, a PEM file.
            client_key_file: Its key, a PEM file.
            insecure: Trust any certificate.
            proxy: The URL of an HTTP proxy for the management API; default: what the environment
                says. AMQP does not go through it.

        Raises:
            ValueError: One of ``hosts`` is not an address.
        """
        management = Management(
            endpoint=endpoint,
            username=username,
            password=password,
            ca_file=ca_file,
            client_cert_file=client_cert_file,
            client_key_file=client_key_file,
            insecure=insecure,
            proxy=proxy,
        )
        tls = urls.is_https(endpoint) if tls is None else tls
        own = urlsplit(endpoint).hostname or ""
        named = hosts or (f"[{own}]" if ":" in own else own,)
        return cls(
            management=management,
            addresses=[urls.parse_host(host, tls=tls) for host in named],
            tls=tls,
        )

    @contextmanager
    def channel(self, vhost: str, *, closing: bool = False) -> Iterator[BlockingChannel]:
        """Lend a channel on the first address that answers; it is used again, unless ``closing``.

        Closing gives back what was delivered on it: say so wherever something may be.

        Raises:
            NoAmqpError: None answers.
            BrokerError: The broker refuses the user, or the vhost to the user.
        """
        with self._pool.channel(vhost, self._connect) as channel:
            yield channel
            if closing and channel.is_open:
                channel.close()

    @contextmanager
    def _as_broker_error(self, what: str) -> Iterator[None]:
        try:
            yield
        except AMQPError as error:
            raise BrokerError(self.management.endpoint, f"{what}: {reason(error)}") from None

    def lock(self, vhost: str, patience: float = 0.0) -> None:
        """Hold the vhost's lock until this process ends, however it ends.

        The lock is an exclusive queue: the broker frees it with the connection, so that a run
        that was killed never blocks the next one. It may take a moment to notice: ``patience``
        seconds are waited for that.

        Raises:
            LockedError: Another run holds it.
        """
        deadline = time.monotonic() + patience
        with self._guard:
            held = self._locks.get(vhost)
            while held is None or not held.alive:
                try:
                    with self._as_broker_error(f"cannot lock vhost {vhost!r}"):
                        held = _HeldLock(self._connect(vhost), self.management.endpoint)
                except LockedError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.2)
                else:
                    self._locks[vhost] = held

    def path(self, kind: str, vhost: str, *names: str) -> str:
        """Return a management path, each part percent-encoded: ``/queues/{vhost}/{name}``."""
        return "/".join([f"/{kind}", *(quote(part, safe="") for part in (vhost, *names))])

    def exists(self, kind: str, vhost: str, name: str) -> bool:
        """Return whether there is such an object; ``kind`` is ``queues`` or ``exchanges``."""
        try:
            self.management.get(f"{self.path(kind, vhost, name)}?disable_stats=true")
        except NotFoundError:
            return False
        return True

    def rows(self, kind: str, vhost: str) -> list[dict[str, Any]]:
        """Return all queues or exchanges of a vhost, as they are now: statistics may be old.

        Raises:
            NotFoundError: There is no such vhost.
        """
        listed: list[dict[str, Any]] = self.management.get(
            f"{self.path(kind, vhost)}?disable_stats=true"
        )
        return listed

    def declare(self, kind: str, vhost: str, name: str, declaration: Mapping[str, Any]) -> None:
        """Declare a queue or exchange; nothing happens if it is there as ``declaration`` says."""
        self.management.request("PUT", self.path(kind, vhost, name), dict(declaration))

    def request_if_there(
        self, method: str, kind: str, vhost: str, *names: str, body: object = None
    ) -> None:
        """Send a request about an object that may be gone; then it does nothing."""
        try:
            self.management.request(method, self.path(kind, vhost, *names), body)
        except NotFoundError:
            return

    def bindings(self, kind: str, vhost: str, name: str, end: str = "") -> list[dict[str, Any]]:
        """Return a queue's bindings, or those with an exchange as ``source`` or ``destination``.

        An object that does not exist has none.
        """
        side = f"/{end}" if end else ""
        try:
            listed: list[dict[str, Any]] = self.management.get(
                f"{self.path(kind, vhost, name)}/bindings{side}"
            )
        except NotFoundError:
            return []
        return listed

    def bind(
        self,
        vhost: str,
        source: str,
        kind: str,
        destination: str,
        key: str,
        arguments: Mapping[str, Any],
    ) -> None:
        """Bind a queue (``kind`` is ``q``) or an exchange (``e``), if both ends exist.

        Numbers get the AMQP types that the management API, and so the provider, gives them. Over
        AMQP, since the broker then ends what it has begun, whoever is killed meanwhile: see
        `safety.half_done`. By the management API where AMQP cannot be used, or its node does not
        know both ends yet.
        """
        if self._over_amqp(vhost, "bind", source, kind, destination, key, arguments):
            return
        body = {"routing_key": key, "arguments": dict(arguments)}
        ends = ("e", source, kind, destination)
        self.request_if_there("POST", "bindings", vhost, *ends, body=body)

    def _over_amqp(
        self,
        vhost: str,
        what: str,
        source: str,
        kind: str,
        destination: str,
        key: str,
        arguments: Mapping[str, Any],
    ) -> bool:
        """Bind or unbind over AMQP, one at a time; return whether that was done.

        Not where AMQP cannot be used, what is named is not there, or the client cannot write it:
        numbers with a fraction.

        Raises:
            TwoBrokersError: AMQP leads to another broker than the management API.
        """
        method = f"{'queue' if kind == 'q' else 'exchange'}_{what}"
        with self._binding:
            if time.monotonic() < self._without_amqp.get(vhost, 0.0):
                return False
            try:
                with self.channel(vhost) as channel:
                    getattr(channel, method)(destination, source, key, long_numbers(arguments))
            except TwoBrokersError:
                raise
            except BrokerError:
                self._without_amqp[vhost] = time.monotonic() + _WITHOUT_AMQP_SECONDS
            except (AMQPConnectionError, UnsupportedAMQPFieldException):
                return False
            except ChannelClosedByBroker as error:
                if error.reply_code != _NOT_FOUND:
                    raise
            else:
                return True
        return False

    def copy_binding(
        self,
        vhost: str,
        binding: Mapping[str, Any],
        *,
        source: str | None = None,
        destination: tuple[str, str] | None = None,
    ) -> None:
        """Bind once more what `bindings` lists, from or to something else.

        ``destination`` is its kind, ``q`` or ``e``, and its name.
        """
        kind, name = destination or (
            "q" if binding["destination_type"] == "queue" else "e",
            binding["destination"],
        )
        ends = (source or binding["source"], kind, name)
        if any(
            has_number(value) for value in binding["arguments"].values() if not is_number(value)
        ):
            self._copy_types(vhost, binding, *ends)
        else:
            self.bind(vhost, *ends, binding["routing_key"], binding["arguments"])

    def _copy_types(
        self, vhost: str, binding: Mapping[str, Any], source: str, kind: str, name: str
    ) -> None:
        """Copy a binding with numbers of the same AMQP types within its lists and tables.

        There the broker tells apart numbers of different types, which the management API does not
        name. It makes long ones; AMQP clients mostly make those as short as they can be.
        """
        arguments, key = binding["arguments"], binding["routing_key"]
        before = self._copies(vhost, binding, source, kind, name)
        if binding["properties_key"] in before:
            return
        for bind in (self.bind, self._bind_over_amqp):
            bind(vhost, source, kind, name, key, arguments)
            copies = self._copies(vhost, binding, source, kind, name)
            if binding["properties_key"] in copies or copies.keys() == before.keys():
                return  # in the latter case one of the ends is gone
            for other in copies.keys() - before.keys():
                self.unbind(vhost, copies[other])
        raise BrokerError(
            self.management.endpoint,
            f"the binding {binding['source']} -[{key}]-> {binding['destination']} cannot be made "
            f"again just as it is: its arguments {arguments} have numbers of a type in them that "
            "nothing here can write. Remove it meanwhile, or have it made with other numbers",
        )

    def _bind_over_amqp(
        self,
        vhost: str,
        source: str,
        kind: str,
        destination: str,
        key: str,
        arguments: Mapping[str, Any],
    ) -> None:
        with self.channel(vhost) as channel:
            if kind == "q":
                channel.queue_bind(destination, source, key, dict(arguments))
            else:
                channel.exchange_bind(destination, source, key, dict(arguments))

    def _copies(
        self, vhost: str, binding: Mapping[str, Any], source: str, kind: str, name: str
    ) -> dict[str, dict[str, Any]]:
        """Return the bindings that look like ``it``, by the key in which types count."""
        try:
            listed = self.management.get(self.path("bindings", vhost, "e", source, kind, name))
        except NotFoundError:
            return {}
        alike = ("routing_key", "arguments")
        return {
            one["properties_key"]: one
            for one in listed
            if all(one[field_] == binding[field_] for field_ in alike)
        }

    def unbind(self, vhost: str, binding: Mapping[str, Any]) -> None:
        """Remove one binding as `bindings` lists it.

        Over AMQP, as `bind`, and then by the management API, which knows the types of numbers.
        """
        kind = "q" if binding["destination_type"] == "queue" else "e"
        ends = (binding["source"], kind, binding["destination"])
        self.unbind_over_amqp(vhost, *ends, binding["routing_key"], binding["arguments"])
        self.request_if_there("DELETE", "bindings", vhost, "e", *ends, binding["properties_key"])

    def unbind_over_amqp(
        self,
        vhost: str,
        source: str,
        kind: str,
        destination: str,
        key: str,
        arguments: Mapping[str, Any],
    ) -> None:
        """Remove what `bind` makes, if it is there and AMQP can be used."""
        self._over_amqp(vhost, "unbind", source, kind, destination, key, arguments)

    def policies(self, vhost: str, *, operator: bool = False) -> list[dict[str, Any]]:
        """Return all policies, or operator policies, of a vhost."""
        listed: list[dict[str, Any]] = self.management.get(self.path(_policies(operator), vhost))
        return listed

    def live(self, vhost: str, *, operator: bool = False, but: str = "") -> dict[str, Live]:
        """Return all policies, or operator policies, of a vhost other than ``but``, by name."""
        listed = self.policies(vhost, operator=operator)
        return effective.live(policy for policy in listed if policy["name"] != but)

    def queue_limit(self, vhost: str) -> int | None:
        """Return how many queues a vhost takes, None if it has no limit."""
        for listed in self.management.get(self.path("vhost-limits", vhost)):
            limit = listed["value"].get("max-queues")
            if isinstance(limit, int) and limit >= 0:
                return limit
        return None

    def rules(self, vhost: str) -> list[Rules]:
        """Return what decides in a vhost, once for each version that the broker may behave like."""
        return effective.rules(self.live(vhost), self.live(vhost, operator=True), self.like)

    @property
    def like(self) -> tuple[Version, ...]:
        """The tested versions that the broker may behave like, oldest first."""
        major, minor, *_ = (*self.management.version, None, None)
        return alike(None if major is None or minor is None else (major, minor))

    def write_policy(
        self, vhost: str, name: str, body: Mapping[str, Any], *, operator: bool = False
    ) -> None:
        """Write a policy, or operator policy; nothing happens if it is there as ``body`` says.

        In two steps, the first with a pattern that means the same: if the run is killed in it, the
        policy differs, so that the next run writes it; if in the second, all of it applies already.
        See `safety.half_done`.
        """
        kind = _policies(operator)
        with _WRITING_POLICIES:
            if not self._has_policy(kind, vhost, name, body):
                draft = f"{body['pattern']}{_end(body['pattern'])}(?#{token_hex(4)})"
                self.declare(kind, vhost, name, {**body, "pattern": draft})
                self.declare(kind, vhost, name, body)

    def _has_policy(self, kind: str, vhost: str, name: str, body: Mapping[str, Any]) -> bool:
        try:
            listed = self.management.get(self.path(kind, vhost, name))
        except NotFoundError:
            return False
        return all(listed.get(key) == value for key, value in body.items())

    @staticmethod
    def without_draft(policy: Mapping[str, Any]) -> dict[str, Any]:
        """Return a listed policy as `write_policy` was told to write it, if that was cut short."""
        pattern = _DRAFT.sub("", policy["pattern"])
        if pattern != policy["pattern"]:
            pattern = pattern.removesuffix(_end(pattern))
        return {**policy, "pattern": pattern}

    def delete_policy(self, vhost: str, name: str, *, operator: bool = False) -> bool:
        """Delete a policy, or operator policy; return whether it was there."""
        with _WRITING_POLICIES:
            try:
                self.management.request("DELETE", self.path(_policies(operator), vhost, name))
            except NotFoundError:
                return False
        return True

    def override_policy(
        self,
        vhost: str,
        policy: str,
        names: str | Collection[str],
        apply_to: str,
        definition: Mapping[str, Any],
    ) -> None:
        """Make ``policy`` the one that applies to the objects ``names`` and to nothing else.

        Above those of others that come later as well.
        """
        chosen = [names] if isinstance(names, str) else names
        others = [other["priority"] for other in self.policies(vhost) if other["name"] != policy]
        body = {
            "pattern": "|".join(f"^{re.escape(name)}$" for name in chosen),
            "definition": dict(definition),
            "apply-to": apply_to,
            "priority": max([_ABOVE_OTHERS, *(one + 1 for one in others)]),
        }
        self.write_policy(vhost, policy, body)

    def applied(self, vhost: str, target: Target, *, but: str = "") -> dict[str, Any]:
        """Return what the policy sets that applies to an object; of several that may, the first.

        Args:
            vhost: The object's vhost.
            target: The object.
            but: The name of a policy that is left out.
        """
        index = Index(self.live(vhost, but=but), self.like)
        return dict(index.definition(index.applying(target)[0]))

    @contextmanager
    def marker(self, vhost: str) -> Iterator[str]:
        """Keep an exchange of the yielded name on the broker for a while.

        It is made over AMQP, which proves that the management API is of the same broker; by the
        management API where AMQP does not answer.

        Raises:
            TwoBrokersError: AMQP and the management API lead to two brokers.
            BrokerError: The broker refuses.
        """
        with ExitStack() as stack:
            try:
                connection = self._connect(vhost)
            except NoAmqpError:
                yield stack.enter_context(marker.over_management(self, vhost))
                return
            stack.callback(_close, connection)
            with self._as_broker_error(f"cannot mark vhost {vhost!r}"):
                name = stack.enter_context(marker.over_amqp(connection))
            yield name

    def silent(self, vhost: str) -> dict[Address, str]:
        """Return the AMQP addresses that cannot be used, each with the reason.

        Raises:
            TwoBrokersError: One of the others leads to another broker than the management API.
        """

        def ask(address: Address) -> str:
            try:
                _close(self._open(address, vhost))
            except (NoVhostError, TwoBrokersError) as error:
                if isinstance(error, TwoBrokersError):
                    raise
            except BrokerError as error:
                return reason(error)
            return ""

        silent = self._reach.silent(self.addresses)
        others = [address for address in self.addresses if address not in silent]
        with ThreadPoolExecutor(max(1, len(others))) as threads:
            answers = zip(others, threads.map(ask, others), strict=True)
            return silent | {address: failure for address, failure in answers if failure}

    def unanswered(self, silent: Mapping[Address, str]) -> str:
        """Return addresses that cannot be used, as a list with reasons, and what may help."""
        listed = ", ".join(f"{address} ({failure})" for address, failure in silent.items())
        secured = " (with TLS; `tls: false` there says that it is without)" if self.tls else ""
        proxied = (
            "; AMQP does not go through the proxy of the management API"
            if self.management.proxy_in_use
            else ""
        )
        return f"{listed}; rabbit-topology:broker.hosts names them{secured}{proxied}"

    def _connect(self, vhost: str) -> pika.BlockingConnection:
        silent = self._reach.silent(self.addresses)
        for address in self.addresses:
            if address in silent:
                continue
            try:
                return self._open(address, vhost)
            except NoAmqpError as error:
                silent[address] = reason(error)
        raise NoAmqpError(
            self.management.endpoint,
            f"no AMQP address of the broker answers here: {self.unanswered(silent)}",
        )

    def _open(self, address: Address, vhost: str) -> pika.BlockingConnection:
        """Open a vhost at one address, once that is proven to be the management API's broker.

        Raises:
            NoAmqpError: It does not answer.
            TwoBrokersError: It is another broker.
            BrokerError: It refuses.
        """
        connection = self._dial(address, vhost)
        try:
            self._prove(connection, address, vhost)
        except BaseException:
            _close(connection)
            raise
        return connection

    def _dial(self, address: Address, vhost: str) -> pika.BlockingConnection:
        if verdict := self._verdicts.get(address):
            raise verdict
        deadline = time.monotonic() + marker.SEEN_SECONDS
        while True:
            try:
                return pika.BlockingConnection(self._parameters(address, vhost))
            except (AMQPError, AMQPConnectorException, OSError) as error:
                said = reason(error)
            if "ACCESS_REFUSED" not in said and "NOT_ALLOWED" not in said:
                raise NoAmqpError(self.management.endpoint, said)
            if "not found" not in said or not self.has_vhost(vhost):
                raise self._refusal(address, vhost, said)
            if time.monotonic() > deadline:
                self._verdicts[address] = verdict = self._two_brokers(address, vhost)
                raise verdict
            time.sleep(0.2)

    def _prove(self, connection: pika.BlockingConnection, address: Address, vhost: str) -> None:
        with self._proving:
            if address not in self._verdicts:
                with (
                    self._as_broker_error(f"cannot mark vhost {vhost!r}"),
                    marker.over_amqp(connection) as name,
                ):
                    seen = marker.is_seen(lambda: self.exists("exchanges", vhost, name))
                self._verdicts[address] = None if seen else self._two_brokers(address, vhost)
        if verdict := self._verdicts[address]:
            raise verdict

    def _refusal(self, address: Address, vhost: str, said: str) -> BrokerError:
        """Return the error for an address that does not open a vhost, and what to do about it."""
        endpoint, user = self.management.endpoint, self.management.username
        if "not found" in said:
            return NoVhostError(endpoint, f"{address}: there is no vhost {vhost!r} ({said})")
        if "Login was refused" in said:
            way_on = (
                "the management API takes this user and password: is it the same broker's? (the "
                "user guest may connect from the broker's own machine only)"
            )
        elif "limit" in said:
            way_on = "close connections, or raise the limit"
        elif " is down" in said:
            way_on = f"run rabbitmqctl restart_vhost -p '{vhost}'"
        else:
            way_on = f"run rabbitmqctl set_permissions -p '{vhost}' {user} '.*' '.*' '.*'"
        return BrokerError(
            endpoint, f"{address}: user {user!r} may not open vhost {vhost!r} ({said}); {way_on}"
        )

    def has_vhost(self, vhost: str) -> bool:
        """Return whether the management API knows a vhost."""
        try:
            self.management.get(self.path("vhosts", vhost))
        except NotFoundError:
            return False
        return True

    def _two_brokers(self, address: Address, vhost: str) -> TwoBrokersError:
        endpoint = self.management.endpoint
        return TwoBrokersError(
            endpoint,
            (f"{address} (AMQP)", f"{urls.without_credentials(endpoint)} (management API)"),
            vhost,
            "mend rabbitmq:endpoint, or rabbit-topology:broker.hosts (without it, AMQP is looked "
            "for at the endpoint's host on the default port); in a program of your own the "
            "endpoint or hosts of Access.connect",
        )

    def _parameters(self, address: Address, vhost: str) -> pika.ConnectionParameters:
        return pika.ConnectionParameters(
            host=address.host,
            port=address.port,
            virtual_host=vhost,
            credentials=pika.PlainCredentials(self.management.username, self.management.password),
            ssl_options=(
                pika.SSLOptions(self.management.tls_context, address.host) if self.tls else None
            ),
            socket_timeout=_CONNECT_SECONDS,
            stack_timeout=_CONNECT_SECONDS * 2,
            client_properties={"connection_name": "rabbit-topology"},
        )


def _end(pattern: str) -> str:
    r"""Return what ends a quotation that a pattern may have begun, as in ``^\Qa.b``."""
    return r"\E" if r"\Q" in pattern else ""


def _policies(operator: bool) -> str:
    return "operator-policies" if operator else "policies"


def _close(connection: pika.BlockingConnection) -> None:
    with suppress(AMQPError):
        connection.close()


class _HeldLock:
    """An exclusive queue on a connection of its own; a thread answers the broker's heartbeats."""

    def __init__(self, connection: pika.BlockingConnection, endpoint: str) -> None:
        self._connection = connection
        self._ended = Event()
        channel = connection.channel()
        try:
            channel.queue_declare(LOCK_QUEUE, exclusive=True)
        except ChannelClosedByBroker as error:
            connection.close()
            if error.reply_code != 405:  # RESOURCE_LOCKED
                raise
            raise LockedError(
                endpoint,
                "another run is changing this vhost right now (it holds the exclusive queue "
                f"{LOCK_QUEUE!r}); nothing was changed, run again when it has ended",
            ) from None
        Thread(target=self._keep, daemon=True).start()

    @property
    def alive(self) -> bool:
        return not self._ended.is_set()

    def _keep(self) -> None:
        try:
            while True:
                self._connection.process_data_events(time_limit=1)
        except AMQPError:
            self._ended.set()
