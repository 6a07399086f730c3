"""
The packages that only read a config: nothing that deploys, or decides about messages, knows them.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

import rabbit_topology
from tests.support.repository import ROOT

PACKAGE = ROOT / "rabbit_topology"


def succeeds(program: str) -> bool:
    """Return whether a program ends with status 0, in a Python that has loaded nothing."""
    return not subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode


@pytest.mark.parametrize(
    "name",
    [
        *("adopt", "commands", "describe", "handover", "observe", "private_files", "testing"),
        *("review", "routing.network", "watch"),
        *("replays", "messages.replay", "messages.delivery_limit"),
        *("broker.transfer", "broker.verbatim"),
        *("services.environment", "services.labels", "services.stores"),
    ],
)
def test_a_deployment_does_not_load_it(name):
    program = (
        "import sys, rabbit_topology, rabbit_topology.deploy.program\n"
        "import rabbit_topology.deploy.preflight\n"
        "import rabbit_topology.deploy.component, rabbit_topology.deploy.guard\n"
        f"sys.exit(any(name.startswith('rabbit_topology.{name}') for name in sys.modules))"
    )
    assert succeeds(program)


@pytest.mark.parametrize("library", ["pulumi", "pulumi_rabbitmq", "grpc", "pika"])
def test_what_reads_a_config_needs_no_engine_and_no_broker(library):
    program = (
        "import sys, rabbit_topology.lint.files, rabbit_topology.commands.routes\n"
        "import rabbit_topology.commands.describe, rabbit_topology.commands.drift\n"
        "import rabbit_topology.commands.review\n"
        f"sys.exit({library!r} in sys.modules)"
    )
    assert succeeds(program)


HEAVY = {
    *("pulumi", "pulumi_rabbitmq", "grpc", "pika", "httpx", "jinja2", "graphviz"),
    *(f"rabbit_topology.{name}" for name in ("deploy", "describe", "handover", "messages")),
    *(f"rabbit_topology.{name}" for name in ("observe", "proof", "replays", "review", "watch")),
}
"""What only other commands than `lint` need, or a deployment."""


def test_lint_loads_nothing_that_only_others_need():
    program = (
        "import sys\n"
        "from rabbit_topology.commands import app\n"
        "sys.argv[1:] = ['lint', 'examples/seed.yaml']\n"
        "try:\n"
        "    app.main()\n"
        "except SystemExit as ended:\n"
        "    assert not ended.code\n"
        f"loaded = {HEAVY!r} & set(sys.modules)\n"
        "sys.exit(f'loaded: {sorted(loaded)}' if loaded else 0)"
    )
    assert succeeds(program)


def test_every_public_name_is_there_and_no_other():
    assert {name: getattr(rabbit_topology, name) for name in rabbit_topology.__all__}
    assert callable(rabbit_topology.parse)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        rabbit_topology.nothing  # noqa: B018 - asking is the test
