"""The few requests to RabbitMQ's management API that starting a broker needs."""

import base64
import contextlib
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from toolchain.errors import BrokerError

_AMQP = ("amqp", "amqp/ssl")


def get(endpoint: str, path: str, username: str, password: str, timeout: float) -> Any:
    """Return the decoded JSON of GET `endpoint` + `path`.

    Raises urllib.error.HTTPError for an error status; OSError, http.client.HTTPException or
    ValueError if nothing answers, or something else than a management API.
    """
    credentials = base64.b64encode(f"{username}:{password}".encode()).decode()
    request = urllib.request.Request(  # noqa: S310 -- the endpoint is the user's own setting
        endpoint.rstrip("/") + path, headers={"Authorization": f"Basic {credentials}"}
    )
    handlers = []
    if urllib.parse.urlsplit(endpoint).hostname in {"localhost", "127.0.0.1", "::1"}:
        # A proxy of the environment cannot reach this machine's loopback.
        handlers.append(urllib.request.ProxyHandler({}))
    with urllib.request.build_opener(*handlers).open(request, timeout=timeout) as response:
        return json.load(response)


def ready(endpoint: str, username: str, password: str, nodes: int = 1) -> str | None:
    """Return the version of a broker that works with that many nodes; None if not (yet)."""
    # An HTTP error is an OSError too.
    with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
        get(endpoint, "/api/health/checks/local-alarms", username, password, timeout=5)
        # 4.3 answers this with an error for a moment after the check above is passed.
        overview = get(endpoint, "/api/overview", username, password, timeout=5)
        # It answers before it listens for AMQP, which may fail.
        listen = {
            listener["node"] for listener in overview["listeners"] if listener["protocol"] in _AMQP
        }
        result = get(endpoint, "/api/nodes", username, password, timeout=5)
        if len(listen) == sum(node["running"] for node in result) == nodes:
            return str(overview["rabbitmq_version"])
    return None


def answers(endpoint: str, username: str, password: str, timeout: float = 2) -> str | None:
    """Return the version of the RabbitMQ whose management API answers there; None if none does.

    Raises BrokerError if it refuses the user, or if something else answers. `timeout` in seconds.
    """
    try:
        return str(get(endpoint, "/api/overview", username, password, timeout)["rabbitmq_version"])
    except urllib.error.HTTPError as error:
        if error.code == 401:
            raise BrokerError(
                f"{endpoint} refuses user {username!r}: the password is wrong or the user has no "
                "management tag"
            ) from error
        raise BrokerError(
            f"{endpoint} answers with status {error.code}: a RabbitMQ that is not ready yet, or "
            "not a RabbitMQ management API"
        ) from error
    except OSError:
        return None
    except (http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        raise BrokerError(f"{endpoint} is not a RabbitMQ management API: {error!r}") from error
