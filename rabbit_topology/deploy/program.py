"""
The stack's config: the only module that reads `pulumi.Config`.

Source: "Configuration", Pulumi documentation.
"""

from __future__ import annotations

import json

import pulumi
from pulumi.runtime.config import is_config_secret

from rabbit_topology.broker.access import Access
from rabbit_topology.broker.management import Management
from rabbit_topology.config import base, provider_settings
from rabbit_topology.config.stack import OTHER_KEYS, Stack
from rabbit_topology.deploy import reach
from rabbit_topology.deploy.component import TopologyArgs
from rabbit_topology.errors import ConfigError, Problem
from rabbit_topology.lint import rules_services
from rabbit_topology.lint.reading import read

PROJECT = "rabbit-topology"


def load() -> tuple[Access, TopologyArgs, Stack]:
    """Read and check the whole config of the current stack; return its broker, and what it says.

    Raises:
        pulumi.RunError: With every problem found, before anything exists; the engine prints
            it without a traceback.
    """
    settings = reach.configured()
    problems = [*reach.problems(settings)]
    try:
        stack = read(
            base.topology(_object("base"), _object("topology"), base.project_folder()),
            **{key: _object(key) for key in OTHER_KEYS},
        )
        stack.check(secret=is_secret())
    except ConfigError as error:
        raise pulumi.RunError(str(ConfigError([*problems, *error.problems]))) from None
    seed = pulumi.Config(PROJECT).get_secret("seed")
    seeded = rules_services.seed_problems(stack.whole, pulumi.Config(PROJECT).get("seed"))
    own = rules_services.own_user_problems(stack.whole, settings.get("username"))
    problems += (one.problem for one in (*seeded, *own))
    if problems:
        raise pulumi.RunError(str(ConfigError(problems)))
    access = Access.connect(**settings, hosts=stack.broker.hosts, tls=stack.broker.tls)
    _check_certificates(access.management)
    args = TopologyArgs(topology=stack.topology, access=access, safety=stack.safety, seed=seed)
    return access, args, stack


def _check_certificates(management: Management) -> None:
    files = {
        setting.path: getattr(management, setting.argument)
        for setting in provider_settings.SETTINGS
        if setting.key.endswith("File")
    }
    given = {path: file for path, file in files.items() if file}
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


def _object(key: str) -> object:
    text = pulumi.Config(PROJECT).get(key)
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text  # plain text where a mapping belongs: the model says so


def is_secret() -> bool:
    """Return whether the config holds encrypted values where problems would show them."""
    return any(is_config_secret(f"{PROJECT}:{key}") for key in ("topology", "broker"))
