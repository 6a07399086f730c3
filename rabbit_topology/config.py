"""
The stack's config: the only module that reads `pulumi.Config`.

Source: "Configuration", Pulumi documentation.
"""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pulumi
from pulumi.runtime.config import is_config_secret

from rabbit_topology import base, rules_services
from rabbit_topology.access import Access
from rabbit_topology.component import TopologyArgs
from rabbit_topology.errors import ConfigError, Problem
from rabbit_topology.management import Management
from rabbit_topology.parse import Stack, read

PROJECT = "rabbit-topology"
PROVIDER = "rabbitmq"


def load() -> tuple[Access, TopologyArgs, Stack]:
    """Read and check the whole config of the current stack; return its broker, and what it says.

    Raises:
        pulumi.RunError: With every problem found, before anything exists; the engine prints
            it without a traceback.
    """
    provider = pulumi.Config(PROVIDER)
    settings: dict[str, str] = {}
    problems: list[Problem] = []
    for key, example in (
        ("endpoint", "http://localhost:15672"),
        ("username", "guest"),
        ("password", "--secret"),
    ):
        settings[key] = provider.get(key) or ""
        if not settings[key]:
            problems.append(_missing(key, example))
    if settings["endpoint"] and not urlsplit(settings["endpoint"]).hostname:
        problems.append(
            Problem(
                path=f"{PROVIDER}:endpoint",
                value=json.dumps(settings["endpoint"]),
                rule="the endpoint is the URL of the management API",
                fix="write http://host:15672 or https://host:15671",
            )
        )
    try:
        stack = read(
            base.topology(_object("base"), _object("topology"), base.project_folder()),
            *(_object(key) for key in ("broker", "safety", "lint")),
        )
        stack.check(secret=is_secret())
    except ConfigError as error:
        raise pulumi.RunError(str(ConfigError([*problems, *error.problems]))) from None
    seed = pulumi.Config(PROJECT).get_secret("seed")
    seeded = rules_services.seed_problems(stack.whole, pulumi.Config(PROJECT).get("seed"))
    problems += (it.problem for it in seeded)
    if problems:
        raise pulumi.RunError(str(ConfigError(problems)))
    access = Access.connect(
        **settings,
        hosts=stack.broker.hosts,
        tls=stack.broker.tls,
        ca_file=provider.get("cacertFile"),
        client_cert_file=provider.get("clientcertFile"),
        client_key_file=provider.get("clientkeyFile"),
        insecure=provider.get_bool("insecure") or False,
    )
    _check_certificates(access.management)
    args = TopologyArgs(topology=stack.topology, access=access, safety=stack.safety, seed=seed)
    return access, args, stack


def _check_certificates(management: Management) -> None:
    files = {
        "cacertFile": management.ca_file,
        "clientcertFile": management.client_cert_file,
        "clientkeyFile": management.client_key_file,
    }
    given = {f"{PROVIDER}:{key}": file for key, file in files.items() if file}
    if not given:
        return
    try:
        _ = management.tls_context
    except OSError as error:  # the ssl module's errors among them
        problem = Problem(
            path=", ".join(given),
            value=json.dumps(list(given.values())),
            rule=f"each is a file in PEM format ({error})",
            fix="write paths that hold from the folder of Pulumi.yaml, or absolute ones",
        )
        raise pulumi.RunError(str(ConfigError([problem]))) from None


def _missing(key: str, example: str) -> Problem:
    return Problem(
        path=f"{PROVIDER}:{key}",
        value="missing",
        rule="the provider needs it to reach the broker",
        fix=f"pulumi config set {PROVIDER}:{key} {example}",
    )


def _object(key: str) -> object:
    text = pulumi.Config(PROJECT).get(key)
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text  # plain text where a mapping belongs: the model says so


def is_secret() -> bool:
    """Tell whether the config holds encrypted values where problems would show them."""
    return any(is_config_secret(f"{PROJECT}:{key}") for key in ("topology", "broker"))
