"""
The broker's management API over HTTP, in words a user can act on.

Source: "HTTP API Reference", RabbitMQ documentation.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rabbit_topology.broker import proxies
from rabbit_topology.compiler import urls
from rabbit_topology.errors import BrokerError, reason

if TYPE_CHECKING:
    import ssl

    import httpx

TIMEOUT_SECONDS = 10.0

_PAUSES = (0.1, 0.3, 1.0)
"""Seconds before a request is sent again: a broker under load, or one whose leader has just
changed, answers some with 500 or 503.
"""


@dataclass(frozen=True, kw_only=True)
class Management:
    """A broker's management API. Connects at the first request, not before."""

    endpoint: str
    username: str
    password: str = field(repr=False)
    ca_file: str | None = None
    """Certificates to trust, in PEM format; by default those of the system."""
    client_cert_file: str | None = None
    client_key_file: str | None = None
    """Certificate and key to show to a broker that asks for them, in PEM format."""
    insecure: bool = False
    proxy: str | None = None
    """The URL of an HTTP proxy; by default what the environment says."""

    @cached_property
    def proxy_in_use(self) -> str | None:
        """The URL of the proxy that leads to the endpoint, None if none does."""
        return self.proxy or proxies.from_environment(self.endpoint, os.environ)

    @cached_property
    def tls_context(self) -> ssl.SSLContext:
        """How TLS connections to the broker are checked: the management API's, and AMQP's."""
        import ssl

        context = ssl.create_default_context(cafile=self.ca_file)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.client_cert_file:
            # With a password nobody is asked for one, should the key be encrypted.
            context.load_cert_chain(self.client_cert_file, self.client_key_file, password="")
        return context

    @cached_property
    def version(self) -> tuple[int, ...]:
        """RabbitMQ's version, for example ``(4, 0, 5)``."""
        numbers = re.findall(r"\d+", self.stated_version())
        return tuple(map(int, numbers[:3]))

    @cached_property
    def newest_version(self) -> tuple[int, ...]:
        """The newest version that any node of the cluster runs, () if none is known.

        While a cluster is upgraded node by node, a queue may have the newest one's features.
        """
        nodes = self.get("/nodes")
        stated = [
            application["version"]
            for node in nodes
            for application in node.get("applications", ())
            if application["name"] == "rabbit"
        ]
        versions = (re.findall(r"\d+", version)[:3] for version in stated)
        return max(self.version, *(tuple(map(int, numbers)) for numbers in versions), ())

    @cached_property
    def _http(self) -> httpx.Client:
        # Imported here: a program that never asks the broker does not pay for the import.
        import httpx

        return httpx.Client(
            base_url=self.endpoint.rstrip("/"),
            auth=(self.username, self.password),
            timeout=TIMEOUT_SECONDS,
            # To load certificates takes longer than all that is asked without TLS.
            verify=self.tls_context if self._has_tls else False,
            proxy=self.proxy_in_use,
            # As the provider does it, which differs from httpx in what the environment means.
            trust_env=False,
        )

    @property
    def _has_tls(self) -> bool:
        return any(urls.is_https(url) for url in (self.endpoint, self.proxy_in_use or ""))

    def request(self, method: str, path: str, body: object = None) -> Any:
        """Send one request to ``/api{path}`` and return the decoded answer, None if there is none.

        Raises:
            BrokerError: The broker cannot be reached or refuses.
            NotFoundError: It answers that there is no such object.
        """
        response = self._send(method, f"/api{path}", body)
        match response.status_code:
            case 401:
                raise BrokerError(
                    self.endpoint,
                    f"{self.endpoint} refuses user {self.username!r}: "
                    f"{_reason(response)}; check rabbitmq:username and rabbitmq:password "
                    "(the user guest may connect from the broker's own machine only)",
                )
            case 404:
                raise NotFoundError(
                    self.endpoint,
                    f"{self.endpoint} has no {path}: it was deleted meanwhile, or a node of the "
                    "broker is just stopping or starting",
                )
            case status if status >= 400:
                raise BrokerError(
                    self.endpoint,
                    f"{self.endpoint}: {method} {path}: {status}: {_reason(response)}",
                )
        return response.json() if response.content else None

    def _send(self, method: str, path: str, body: object) -> httpx.Response:
        """Send one request, again if the broker fails at it: all that are sent are idempotent."""
        import httpx

        for pause in (*_PAUSES, None):
            try:
                response = self._http.request(method, path, json=body)
            except httpx.HTTPError as error:
                # A connection that was kept open may have ended meanwhile: that is no answer yet.
                if pause is None or isinstance(error, httpx.ConnectError | httpx.TimeoutException):
                    raise UnreachableError(
                        self.endpoint,
                        f"rabbitmq:endpoint {self.endpoint} does not answer "
                        f"({reason(error)}): check that the broker runs, that its "
                        "management plugin is enabled and that the URL names the management "
                        "port, 15672 by default",
                    ) from None
            else:
                if pause is None or response.status_code < 500:
                    return response
            time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def get(self, path: str) -> Any:
        """Return the answer to ``GET /api{path}``; raises as `request` does."""
        return self.request("GET", path)

    def check_administrator(self) -> None:
        """Check that the broker answers and that the user may manage all of it.

        Raises:
            UnreachableError: The broker does not answer.
            BrokerError: The credentials are wrong, or the user is not an administrator.
        """
        tags = self.get("/whoami")["tags"]
        # RabbitMQ below 3.9 answers with a comma-separated string, later ones with a list.
        if "administrator" not in (tags.split(",") if isinstance(tags, str) else tags):
            raise BrokerError(
                self.endpoint,
                f"user {self.username!r} is not an administrator of {self.endpoint} "
                f"(its tags: {', '.join(tags) or 'none'}): creating vhosts needs the tag; run "
                f"rabbitmqctl set_user_tags {self.username} administrator, or use another user",
            )

    def stated_version(self) -> str:
        """Return RabbitMQ's version, such as 4.0.5; raises as `request` does."""
        return str(self.get("/overview?disable_stats=true")["rabbitmq_version"])

    def denied_features(self) -> frozenset[str]:
        """Return the deprecated features that the broker denies; raises as `request` does.

        Older brokers cannot tell: before 3.13 there is no list, in 4.0 it has no state.
        """
        try:
            listed = self.get("/deprecated-features")
        except NotFoundError:
            return frozenset()
        return frozenset(feature["name"] for feature in listed if feature.get("state") == "denied")


class UnreachableError(BrokerError):
    """The broker does not answer at all."""


class NotFoundError(BrokerError):
    """The broker answers that there is no such object."""


def _reason(response: httpx.Response) -> str:
    try:
        answer = response.json()
        return str(answer.get("reason") or answer.get("error") or response.reason_phrase)
    except (ValueError, AttributeError):
        return response.reason_phrase
