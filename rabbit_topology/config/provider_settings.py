"""
The provider's own settings: the one place that knows their keys, and the variables that stand in.

Source: `provider.go` of terraform-provider-rabbitmq.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

NAMESPACE = "rabbitmq"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One key of the provider's config."""

    key: str
    variable: str
    """The environment variable that the provider takes it from where the config has none."""
    argument: str
    """What `Access.connect` calls it."""
    meaning: str
    example: str = ""
    """A value to `pulumi config set`, of one that is needed."""

    @property
    def path(self) -> str:
        """Its key in `Pulumi.<stack>.yaml`."""
        return f"{NAMESPACE}:{self.key}"


SETTINGS = (
    Setting(
        key="endpoint",
        variable="RABBITMQ_ENDPOINT",
        argument="endpoint",
        meaning="The URL of the management API, `https://host:15671`.",
        example="http://localhost:15672",
    ),
    Setting(
        key="username",
        variable="RABBITMQ_USERNAME",
        argument="username",
        meaning="A user of the broker with the tag `administrator`.",
        example="guest",
    ),
    Setting(
        key="password",
        variable="RABBITMQ_PASSWORD",
        argument="password",
        meaning="Its password: `pulumi config set --secret rabbitmq:password`.",
        example="--secret",
    ),
    Setting(
        key="cacertFile",
        variable="RABBITMQ_CACERT",
        argument="ca_file",
        meaning="A file with the certificates to trust, in PEM format.",
    ),
    Setting(
        key="clientcertFile",
        variable="RABBITMQ_CLIENTCERT",
        argument="client_cert_file",
        meaning="A file with the certificate to show to the broker, in PEM format.",
    ),
    Setting(
        key="clientkeyFile",
        variable="RABBITMQ_CLIENTKEY",
        argument="client_key_file",
        meaning="A file with the key of `clientcertFile`, in PEM format.",
    ),
    Setting(
        key="insecure",
        variable="RABBITMQ_INSECURE",
        argument="insecure",
        meaning="Do not check the broker's certificate.",
    ),
    Setting(
        key="proxy",
        variable="RABBITMQ_PROXY",
        argument="proxy",
        meaning="The URL of an HTTP proxy to the management API, `http://host:3128`; default: what "
        "HTTP_PROXY, HTTPS_PROXY and NO_PROXY say. AMQP does not go through it.",
    ),
)

NEEDED = tuple(setting for setting in SETTINGS if setting.example)

_TRUE = ("1", "t", "true")
"""What Go takes for true, in any case."""


def read(get: Callable[[str], Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of `Access.connect` that the config or the environment has.

    Args:
        get: Returns the value of a key of the provider's config, None if it has none.
        environ: Environment variables: they count where the config has nothing.
    """
    arguments: dict[str, Any] = {}
    for setting in SETTINGS:
        stated = get(setting.key)
        value = environ.get(setting.variable) if stated in (None, "") else stated
        if value not in (None, ""):
            arguments[setting.argument] = value
    if "insecure" in arguments:
        arguments["insecure"] = str(arguments["insecure"]).lower() in _TRUE
    return arguments
