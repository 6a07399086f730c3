"""
The package as others install it: a wheel, in a project of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import rabbit_topology
from tests.support.stacks import ROOT
from toolchain.broker import Broker
from toolchain.dev import backend_url


def program() -> str:
    """Return the program that the docs show, as they print it."""
    page = (ROOT / "docs" / "how-to" / "component.md").read_text()
    printed = page.partition("```python\n")[2].partition("```")[0]
    assert "TopologyArgs" in printed
    return printed


def run(*command: str, cwd: Path, **env: str) -> str:
    ended = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with nothing but what the wheel of this clone installs."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    files = [*ROOT.glob("requirements*.txt")]
    for name in ("pyproject.toml", "README.md", "LICENSE", *(file.name for file in files)):
        shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "rabbit_topology", source / "rabbit_topology", ignore=ignored)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(source), cwd=folder)
    (wheel,) = folder.glob("*.whl")
    site = folder / "site"
    run(*pip, "install", "--no-deps", "--target", str(site), str(wheel), cwd=folder)
    yield site


def test_only_the_package_is_in_it_with_what_it_needs(installed: Path) -> None:
    tops = {one.name for one in installed.iterdir() if not one.name.endswith(".dist-info")}
    assert tops == {"rabbit_topology", "bin"}
    assert (installed / "rabbit_topology" / "py.typed").exists()
    page = installed / "rabbit_topology" / "describe" / "page"
    assert {"page.css", "page.html.jinja", "page.js"} <= {one.name for one in page.iterdir()}
    (distribution,) = metadata.distributions(path=[str(installed)])
    assert distribution.version == rabbit_topology.__version__
    needed = [Requirement(one) for one in distribution.requires or ()]
    always = {one.name for one in needed if one.marker is None}
    assert {"pulumi", "pulumi-rabbitmq", "pydantic", "pika", "httpx"} <= always

    def of(extra: str) -> set[str]:
        return {one.name for one in needed if one.marker and one.marker.evaluate({"extra": extra})}

    assert of("commands") == {"typer", "rich"}
    assert "graphviz" in of("pictures")
    assert not always & {*of("commands"), *of("pictures")}


def test_its_command_works_in_any_folder(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text(
        "config:\n  rabbit-topology:topology: {vhost: v, queues: {q: {typ: quorum}}}\n"
    )
    ended = subprocess.run(
        [str(installed / "bin" / "rabbit-topology"), "lint", "--format", "json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    (finding,) = json.loads(ended.stdout)["findings"]
    assert finding["path"] == "topology.queues.q.typ"


def test_without_what_it_needs_the_command_says_how_to_get_it(
    installed: Path, tmp_path: Path
) -> None:
    (tmp_path / "typer.py").write_text("raise ModuleNotFoundError(name='typer')\n")
    ended = subprocess.run(
        [str(installed / "bin" / "rabbit-topology"), "lint"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{installed}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == "the commands need typer: pip install 'rabbit-topology[commands]'\n"


@dataclass(frozen=True, kw_only=True)
class Project:
    """A project of somebody else, with a virtual environment that has the wheel."""

    folder: Path
    env: dict[str, str]

    def run(self, *command: str) -> str:
        """Return what a command prints; it has to end well."""
        return run(*command, cwd=self.folder, **self.env)

    def pulumi(self, *arguments: str) -> str:
        return self.run("pulumi", *arguments, "--non-interactive", "--color", "never")

    def ours(self, *arguments: str) -> str:
        """Run the package's own command."""
        return self.run(str(self.folder / "venv" / "bin" / "rabbit-topology"), *arguments)


@pytest.fixture
def project(installed: Path, tmp_path: Path, engine_env: dict[str, str]) -> Project:
    folder, state = tmp_path / "project", tmp_path / "state"
    folder.mkdir()
    state.mkdir()
    run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=folder)
    (site,) = (folder / "venv").glob("lib/*/site-packages")
    # The wheel, and what it needs from where the tests have it.
    (site / "needed.pth").write_text(f"{installed}\n{sysconfig.get_path('purelib')}\n")
    command = (installed / "bin" / "rabbit-topology").read_text().splitlines()[1:]
    script = folder / "venv" / "bin" / "rabbit-topology"
    script.write_text("\n".join([f"#!{folder}/venv/bin/python", *command]))
    script.chmod(0o755)
    env = {
        **engine_env,
        "PULUMI_BACKEND_URL": backend_url(state),
        "PULUMI_CONFIG_PASSPHRASE": "test",
        "PULUMI_PYTHON_CMD": str(folder / "venv" / "bin" / "python"),
    }
    return Project(folder=folder, env=env)


def test_the_program_of_the_docs_deploys_as_it_is_printed(
    project: Project, broker: Broker, vhost: str
) -> None:
    (project.folder / "Pulumi.yaml").write_text("name: orders\nruntime: python\nmain: .\n")
    (project.folder / "__main__.py").write_text(program())
    project.pulumi("stack", "init", "dev")
    topology = {
        "vhost": vhost,
        "exchanges": {"e": {}},
        "queues": {"q": {}},
        "bindings": [{"source": "e", "queue": "q", "routing_key": "k"}],
        "services": {"s": {"consumes": ["q"]}},
    }
    file = project.folder / "Pulumi.dev.yaml"
    config = {
        "rabbitmq:endpoint": broker.endpoint,
        "rabbitmq:username": broker.username,
        "rabbitmq:password": broker.password,
        "rabbit-topology:broker": {"hosts": list(broker.hosts)},
        "rabbit-topology:seed": "a seed of the tests",
        "rabbit-topology:topology": topology,
    }
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "config": config}))
    project.pulumi("up", "--yes", "--skip-preview")
    assert "1 of 1 bindings deliver" in project.ours("prove")
    assert f"AMQP_VHOST={vhost}" in project.ours("env", "s")
    assert "plain-secret" in project.ours("lint")  # the passwords of this test
    project.pulumi("up", "--yes", "--refresh", "--expect-no-changes")
    project.pulumi("destroy", "--yes", "--run-program")


def test_a_project_from_the_template_deploys(project: Project, broker: Broker, vhost: str) -> None:
    about = ("--name", vhost, "--description", "Orders of a shop")
    made = ("new", str(ROOT / "template"), "--generate-only", "--force", "--yes", *about)
    project.pulumi(*made)
    assert {file.name for file in project.folder.iterdir()} == {
        *("Pulumi.yaml", "README.md", "__main__.py", "requirements.txt", "topology.yaml", "venv")
    }
    project.pulumi("stack", "init", "dev")
    for key, value in {
        "rabbitmq:endpoint": broker.endpoint,
        "rabbitmq:username": broker.username,
        "rabbit-topology:base": "topology.yaml",
    }.items():
        project.pulumi("config", "set", key, value)
    project.pulumi("config", "set", "--secret", "rabbitmq:password", broker.password)
    hosts = ("config", "set", "--path", "rabbit-topology:broker.hosts[0]", broker.hosts[0])
    project.pulumi(*hosts)
    project.pulumi("up", "--yes", "--skip-preview")
    assert "2 of 2 queues answer, 2 of 2 bindings deliver" in project.ours("prove")
    assert "in Pulumi.dev.yaml" in project.ours("lint", "--fail-on", "warning")
    project.pulumi("up", "--yes", "--refresh", "--expect-no-changes")
    project.pulumi("destroy", "--yes", "--run-program")


def test_the_template_has_the_program_of_this_project() -> None:
    assert (ROOT / "template" / "__main__.py").read_text() == (ROOT / "__main__.py").read_text()
