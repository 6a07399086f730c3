"""
The stack's config: the only module that reads `pulumi.Config`.

Source: "Configuration", Pulumi documentation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import pulumi
from pulumi.runtime.config import is_config_secret

from rabbit_topology import base, credentials
from rabbit_topology.access import Access
from rabbit_topology.component import TopologyArgs
from rabbit_topology.errors import ConfigError, Problem, path
from rabbit_topology.model import Topology
from rabbit_topology.parse import parse_stack

PROJECT = "rabbit-topology"
PROVIDER = "rabbitmq"


def load() -> tuple[Access, TopologyArgs]:
    """Read and check the whole config of the current stack; return its broker as well.

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
        topology, broker, safety = parse_stack(
            base.topology(_object("base"), _object("topology"), base.project_folder()),
            _object("broker"),
            _object("safety"),
            secret=_is_secret("topology", "broker"),
        )
    except ConfigError as error:
        raise pulumi.RunError(str(ConfigError([*problems, *error.problems]))) from None
    seed = pulumi.Config(PROJECT).get_secret("seed")
    several = isinstance(topology, tuple)
    for it in topology if isinstance(topology, tuple) else (topology,):
        root = path("topology", "vhosts", it.vhost) if several else "topology"
        problems += _seed_problems(root, it, pulumi.Config(PROJECT).get("seed"))
    if problems:
        raise pulumi.RunError(str(ConfigError(problems)))
    access = Access.connect(
        **settings,
        hosts=broker.hosts,
        tls=broker.tls,
        ca_file=provider.get("cacertFile"),
        insecure=provider.get_bool("insecure") or False,
    )
    return access, TopologyArgs(topology=topology, access=access, safety=safety, seed=seed)


def _seed_problems(root: str, topology: Topology, seed: str | None) -> Iterator[Problem]:
    without = [
        f"{root}.{path(kind, name)}"
        for kind, those in (("services", topology.services), ("users", topology.users))
        for name, it in those.items()
        if it.password is None and not getattr(it, "exists", False)
    ]
    fix = f"pulumi config set --secret {PROJECT}:seed $(openssl rand -hex 32)"
    if without and seed is None:
        yield Problem(
            path="seed",
            value="missing",
            rule=f"the passwords of {', '.join(without)} are derived from it",
            fix=fix,
        )
    elif seed is not None and len(seed) < credentials.MIN_SEED:
        yield Problem(
            path="seed",
            value="[not shown]",
            rule=f"a seed has {credentials.MIN_SEED} characters or more",
            fix=fix,
        )


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


def _is_secret(*keys: str) -> bool:
    return any(is_config_secret(f"{PROJECT}:{key}") for key in keys)
