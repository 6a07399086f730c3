"""
The program in TypeScript uses what a stack exports: that of the documentation, as it is.

The engine runs it by its Automation API, which needs no language host: it is compiled, and calls
the engine instead of being called by it. The program in Go is only compiled, and not by default.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pika
import pytest

from tests.support.repository import ROOT
from tests.support.stacks import Stack
from toolchain import consumer

PROGRAMS = ROOT / "examples" / "consumers"
SEED = "a seed of the tests"
SECONDS = 900
"""Packages are fetched, and compiled, at first use."""

TOPOLOGY = {
    "exchanges": {"orders": {"type": "topic"}},
    "queues": {"orders.new": {}, "audit": {"type": "classic"}},
    "bindings": [{"source": "orders", "queue": "orders.new", "routing_key": "order.new"}],
    "services": {"billing": {"consumes": ["orders.new"]}, "idle": {}},
}

NODE = """
const auto = require("@pulumi/pulumi/automation");

async function main() {
    const program = async () => ({ ...require("./bin/index.js") });
    const chosen = { stackName: "consumer", projectName: "consumer-typescript", program };
    const stack = await auto.LocalWorkspace.createOrSelectStack(chosen);
    await stack.setConfig("broker", { value: process.env.BROKER });
    await stack.setConfig("service", { value: process.env.SERVICE });
    const { outputs } = await stack.up();
    require("fs").writeFileSync(process.env.OUTPUTS, JSON.stringify(outputs));
}

main().catch((error) => {
    console.error(String(error));
    process.exit(1);
});
"""


def run(folder: Path, env: Mapping[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


def succeed(folder: Path, env: Mapping[str, str], *command: str) -> None:
    ended = run(folder, env, *command)
    assert not ended.returncode, f"{command}: {ended.stdout}{ended.stderr}"


def typescript(folder: Path, env: Mapping[str, str]) -> list[str]:
    """Compile the program, with the SDK of the engine's version; return what runs it."""
    version = run(folder, env, "pulumi", "version").stdout.strip().removeprefix("v")
    assert re.fullmatch(r"3\.\d+\.\d+", version), version
    quiet = ("--no-audit", "--no-fund", "--loglevel=error")
    succeed(folder, env, "npm", "install", *quiet, f"@pulumi/pulumi@{version}")
    succeed(folder, env, "node_modules/.bin/tsc")
    (folder / "run.js").write_text(NODE)
    return ["node", "run.js"]


@pytest.mark.parametrize("prepare", [typescript])
def test_a_program_in_another_language_uses_the_outputs(
    one_stack: Stack,
    vhost: str,
    tmp_path: Path,
    prepare: Callable[[Path, Mapping[str, str]], list[str]],
) -> None:
    program = prepare.__name__
    for needed in ("node", "npm"):
        assert shutil.which(needed), f"there is no `{needed}` on PATH, which this test needs"
    one_stack.configure({"vhost": vhost, **TOPOLOGY}, seed=SEED)
    one_stack.up()
    exported = one_stack.outputs()
    folder = Path(shutil.copytree(PROGRAMS / program, tmp_path / program))
    command = prepare(folder, one_stack.env)
    reached = {
        **one_stack.env,
        "BROKER": f"organization/rabbit-topology/{one_stack.name}",
        "SERVICE": "billing",
        "OUTPUTS": str(folder / "outputs.json"),
    }
    succeed(folder, reached, *command)
    outputs: dict[str, Any] = json.loads((folder / "outputs.json").read_text())
    assert outputs == {
        "url": {"value": exported["service_urls"]["billing"], "secret": True},
        "queues": {"value": sorted(TOPOLOGY["queues"]), "secret": False},
    }
    pika.BlockingConnection(pika.URLParameters(outputs["url"]["value"])).close()
    # In the state of the other program it is encrypted.
    states = list(one_stack.state.rglob("*.json"))
    assert {"consumer.json", f"{one_stack.name}.json"} <= {file.name for file in states}
    for file in states:
        assert outputs["url"]["value"] not in file.read_text(), file
    unknown = run(folder, {**reached, "SERVICE": "unknown"}, *command)
    assert unknown.returncode
    assert "unknown is not a service of the broker's stack" in unknown.stdout + unknown.stderr
    one_stack.destroy()


@pytest.mark.golang
def test_the_program_in_go_compiles() -> None:
    assert os.access(consumer.ensure(print), os.X_OK)
