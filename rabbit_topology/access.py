"""
Both ways to a broker, management API and AMQP, and the lock that one run at a time holds.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import Any
from urllib.parse import quote, urlsplit

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPConnectionError, AMQPError, ChannelClosedByBroker

from rabbit_topology import urls
from rabbit_topology.errors import BrokerError
from rabbit_topology.management import Management, NotFoundError
from rabbit_topology.model import QueueType
from rabbit_topology.names import PREFIX
from rabbit_topology.pool import Pool
from rabbit_topology.urls import Address

LOCK_QUEUE = f"{PREFIX}lock"
_CONNECT_SECONDS = 5.0


class NoAmqpError(BrokerError):
    """None of the broker's AMQP addresses can be reached from here."""


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
        tls: bool = False,
        ca_file: str | None = None,
        client_cert_file: str | None = None,
        client_key_file: str | None = None,
        insecure: bool = False,
    ) -> Access:
        """Return how to reach a broker; nothing is opened yet.

        Args:
            endpoint: The URL of the management API.
            username: An administrator.
            password: Its password.
            hosts: AMQP addresses, ``host`` or ``host:port``; default: the endpoint's host.
            tls: AMQP with TLS.
            ca_file: Certificates to trust, a PEM file.
            client_cert_file: A certificate to show, a PEM file.
            client_key_file: Its key, a PEM file.
            insecure: Trust any certificate.

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
        )
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
            raise BrokerError(
                self.management.endpoint, f"{what}: {error or type(error).__name__}"
            ) from None

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
        """Tell whether there is such an object; ``kind`` is ``queues`` or ``exchanges``."""
        try:
            self.management.get(f"{self.path(kind, vhost, name)}?disable_stats=true")
        except NotFoundError:
            return False
        return True

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
            found: list[dict[str, Any]] = self.management.get(
                f"{self.path(kind, vhost, name)}/bindings{side}"
            )
        except NotFoundError:
            return []
        return found

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

        By way of the management API, as the provider does: numbers get the same AMQP types.
        """
        body = {"routing_key": key, "arguments": dict(arguments)}
        self.request_if_there("POST", "bindings", vhost, "e", source, kind, destination, body=body)

    def copy_binding(
        self,
        vhost: str,
        it: Mapping[str, Any],
        *,
        source: str | None = None,
        destination: tuple[str, str] | None = None,
    ) -> None:
        """Bind once more what `bindings` lists, from or to something else.

        ``destination`` is its kind, ``q`` or ``e``, and its name.
        """
        kind, name = destination or (
            "q" if it["destination_type"] == "queue" else "e",
            it["destination"],
        )
        self.bind(vhost, source or it["source"], kind, name, it["routing_key"], it["arguments"])

    def unbind(self, vhost: str, it: Mapping[str, Any]) -> None:
        """Remove one binding as `bindings` lists it."""
        kind = "q" if it["destination_type"] == "queue" else "e"
        ends = ("e", it["source"], kind, it["destination"], it["properties_key"])
        self.request_if_there("DELETE", "bindings", vhost, *ends)

    def policies(self, vhost: str, *, operator: bool = False) -> list[dict[str, Any]]:
        """Return all policies, or operator policies, of a vhost."""
        kind = "operator-policies" if operator else "policies"
        found: list[dict[str, Any]] = self.management.get(self.path(kind, vhost))
        return found

    def effective_policy(
        self,
        vhost: str,
        name: str,
        apply_to: str,
        *,
        operator: bool = False,
        but: str = "",
        kind: QueueType | None = None,
    ) -> dict[str, Any]:
        """Return the definition of the one policy, other than ``but``, that applies to a name.

        ``kind`` is the type of a queue: some policies are for queues of one type only.
        """
        matching = [
            it
            for it in self.policies(vhost, operator=operator)
            if _applies(it["apply-to"], apply_to, kind)
            and it["name"] != but
            and matches(it["pattern"], name)
        ]
        best: dict[str, Any] = max(matching, key=lambda it: it["priority"], default={})
        definition: dict[str, Any] = best.get("definition", {})
        return definition

    def override_policy(
        self, vhost: str, policy: str, name: str, apply_to: str, definition: Mapping[str, Any]
    ) -> None:
        """Make ``policy`` the one that applies to the object ``name`` and to nothing else."""
        others = [it["priority"] for it in self.policies(vhost) if it["name"] != policy]
        self.management.request(
            "PUT",
            self.path("policies", vhost, policy),
            {
                "pattern": f"^{re.escape(name)}$",
                "definition": dict(definition),
                "apply-to": apply_to,
                "priority": max(others, default=0) + 1,
            },
        )

    def _connect(self, vhost: str) -> pika.BlockingConnection:
        failures = []
        for address in self.addresses:
            try:
                return pika.BlockingConnection(self._parameters(address, vhost))
            except AMQPConnectionError as error:
                text = str(error) or type(error).__name__
                if "ACCESS_REFUSED" in text or "NOT_ALLOWED" in text:
                    raise BrokerError(
                        self.management.endpoint,
                        f"{address}: user {self.management.username!r} may not open vhost "
                        f"{vhost!r} ({text}); run rabbitmqctl set_permissions -p '{vhost}' "
                        f"{self.management.username} '.*' '.*' '.*'",
                    ) from None
                failures.append(f"{address} ({text})")
            except OSError as error:
                failures.append(f"{address} ({error})")
        raise NoAmqpError(
            self.management.endpoint,
            f"no AMQP address of the broker answers here: {', '.join(failures)}; "
            "rabbit-topology:broker.hosts names them",
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


def _applies(stated: str, apply_to: str, kind: QueueType | None) -> bool:
    if stated in ("all", apply_to):
        return True
    if apply_to == "exchanges" or stated == "exchanges":
        return False
    # classic_queues, quorum_queues or streams, from 3.12 on
    return kind is None or stated.startswith(kind)


def matches(pattern: str, name: str) -> bool:
    """Tell whether a policy's pattern matches a name."""
    try:
        return re.search(pattern, name) is not None
    except re.error:
        return True  # the broker's dialect knows more than Python's: then be careful


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
