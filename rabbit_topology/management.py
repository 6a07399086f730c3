"""
The broker's management API over HTTP, in words a user can act on.

Source: "HTTP API Reference", RabbitMQ documentation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rabbit_topology.errors import BrokerError

if TYPE_CHECKING:
    import httpx

TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Management:
    """A broker's management API. Connects at the first request, not before."""

    endpoint: str
    username: str
    password: str = field(repr=False)
    ca_file: str | None = None
    insecure: bool = False

    @cached_property
    def _http(self) -> httpx.Client:
        # Imported here: a program that never asks the broker does not pay for the import.
        import ssl

        import httpx

        verify: ssl.SSLContext | bool = not self.insecure
        if self.ca_file and not self.insecure:
            verify = ssl.create_default_context(cafile=self.ca_file)
        return httpx.Client(
            base_url=self.endpoint.rstrip("/"),
            auth=(self.username, self.password),
            timeout=TIMEOUT_SECONDS,
            verify=verify,
        )

    def request(self, method: str, path: str, body: object = None) -> Any:
        """Send one request to ``/api{path}`` and return the decoded answer, None if there is none.

        Raises:
            BrokerError: The broker cannot be reached or refuses.
            NotFoundError: It answers that there is no such object.
        """
        import httpx

        try:
            response = self._http.request(method, f"/api{path}", json=body)
        except httpx.HTTPError as error:
            raise UnreachableError(
                self.endpoint,
                f"rabbitmq:endpoint {self.endpoint} does not answer "
                f"({error or type(error).__name__}): "
                "check that the broker runs, that its management plugin is enabled and that the "
                "URL names the management port, 15672 by default",
            ) from None
        match response.status_code:
            case 401:
                raise BrokerError(
                    self.endpoint,
                    f"{self.endpoint} refuses user {self.username!r}: "
                    f"{_reason(response)}; check rabbitmq:username and rabbitmq:password "
                    "(the user guest may connect from the broker's own machine only)",
                )
            case 404:
                raise NotFoundError(self.endpoint, f"{self.endpoint}: no {path}")
            case status if status >= 400:
                raise BrokerError(
                    self.endpoint,
                    f"{self.endpoint}: {method} {path}: {status}: {_reason(response)}",
                )
        return response.json() if response.content else None

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
