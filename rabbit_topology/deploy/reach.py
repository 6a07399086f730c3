"""
How a component reaches its broker: as its provider does, explicit or by the stack's config.

Source: "Explicit provider configuration", "Configuration", Pulumi documentation.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import pulumi
import pulumi_rabbitmq as rabbitmq

from rabbit_topology import model
from rabbit_topology.broker.access import Access
from rabbit_topology.config import provider_settings
from rabbit_topology.errors import ConfigError, Problem


def access(provider: pulumi.ProviderResource | None, broker: model.Broker) -> pulumi.Input[Access]:
    """Return how to reach the broker that resources are made on.

    Args:
        provider: An explicit one; of a `rabbitmq.Provider` all settings are taken but `insecure`,
            which it does not show. None: the stack's config, and the environment.
        broker: Where AMQP differs from the endpoint.

    Raises:
        pulumi.RunError: The config does not say how; it names what is missing.
    """
    if isinstance(provider, rabbitmq.Provider):
        # By the names of what it shows, with what `Access.connect` calls them.
        known = pulumi.Output.all(
            endpoint=provider.endpoint,
            username=provider.username,
            password=provider.password,
            ca_file=provider.cacert_file,
            client_cert_file=provider.clientcert_file,
            client_key_file=provider.clientkey_file,
            proxy=provider.proxy,
        )
        return known.apply(lambda settings: _connect(settings, broker))
    return _connect(configured(), broker)


def configured() -> dict[str, Any]:
    """Return the provider's settings by the config and the environment."""
    return provider_settings.read(pulumi.Config(provider_settings.NAMESPACE).get, os.environ)


def _connect(settings: Mapping[str, Any], broker: model.Broker) -> Access:
    if missing := [*problems(settings)]:
        raise pulumi.RunError(str(ConfigError(missing)))
    return Access.connect(**settings, hosts=broker.hosts, tls=broker.tls)


def problems(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is missing, or is no URL, of how to reach the broker."""
    for setting in provider_settings.NEEDED:
        if not settings.get(setting.argument):
            yield Problem(
                path=setting.path,
                value="missing",
                rule="the provider needs it to reach the broker",
                fix=f"pulumi config set {setting.path} {setting.example}",
            )
    for key, rule, fix in (
        (
            "endpoint",
            "the endpoint is the URL of the management API",
            "write http://host:15672 or https://host:15671",
        ),
        ("proxy", "the proxy is a URL", "write http://host:3128"),
    ):
        if settings.get(key) and not urlsplit(settings[key]).hostname:
            yield Problem(
                path=f"{provider_settings.NAMESPACE}:{key}",
                value=json.dumps(settings[key]),
                rule=rule,
                fix=fix,
            )
