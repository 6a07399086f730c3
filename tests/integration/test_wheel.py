"""
The package as others install it: a wheel, in a project of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tests.support.stacks import ROOT, Stack
from toolchain.broker import Broker

PROGRAM = """\
import pulumi
from rabbit_topology import Access, Topology, TopologyArgs, parse

vhost, config = pulumi.Config().require("vhost"), pulumi.Config("rabbitmq")
topology, *_ = parse({"vhost": vhost, "queues": {"q": {}}})
access = Access.connect(
    endpoint=config.require("endpoint"),
    username=config.require("username"),
    password=config.require("password"),
    hosts=pulumi.Config().require_object("hosts"),
)
orders = Topology("orders", TopologyArgs(topology=topology, access=access))
pulumi.export("urls", orders.outputs["queue_urls"])
"""


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
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements.txt"):
        shutil.copy(ROOT / name, source)
    shutil.copy(ROOT / "requirements-pictures.txt", source)
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
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert distribution.version == project["version"]
    needed = [Requirement(one) for one in distribution.requires or ()]
    always = {one.name for one in needed if one.marker is None}
    assert {"pulumi", "pulumi-rabbitmq", "pydantic", "pika", "httpx", "typer"} <= always
    extra = {
        one.name for one in needed if one.marker and one.marker.evaluate({"extra": "pictures"})
    }
    assert "graphviz" in extra - always


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


def test_a_program_of_ones_own_deploys_with_it(
    installed: Path, tmp_path: Path, engine_env: dict[str, str], broker: Broker, vhost: str
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "Pulumi.yaml").write_text("name: orders\nruntime: python\nmain: .\n")
    (project / "__main__.py").write_text(PROGRAM)
    env = {**engine_env, "PYTHONPATH": str(installed)}
    stack = Stack(tmp_path / "stack", env, broker, program=project)
    (stack.folder / "rabbit_topology").unlink()  # only the installed one is there
    stack.configure(None)
    config = yaml.safe_load(stack.config_file.read_text())["config"]
    stack.write_config({**config, "orders:vhost": vhost, "orders:hosts": list(broker.hosts)})
    stack.up()
    assert stack.outputs()["urls"]["q"].endswith(f"/{vhost}")
    assert set(stack.up("--expect-no-changes", "--refresh").changes) == {"unchanged"}
    stack.destroy()
