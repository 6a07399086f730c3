"""
``make up``, ``make down`` and ``make clean``: the dev stack on a machine that may have nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from toolchain import broker, consumer, engine, promtool, terraform
from toolchain.errors import BrokerError

ROOT = Path(__file__).parent.parent
LOCAL = ROOT / ".local"
STATE = LOCAL / "broker"
UNFINISHED = LOCAL / "unfinished"
"""There while the engine changes the stack; still there afterwards if it was killed."""
STACK = "dev"

# Known to everyone who reads this: it protects nothing, and the dev stack holds no real secret.
PASSPHRASE = "for development only"  # noqa: S105 - see above


def backend_url(folder: Path) -> str:
    """Return the URL of a state backend in a folder.

    Without the metadata files that the engine would write beside each state: a run that is killed
    while it writes one leaves it empty, and no later run can read the state then.
    """
    return f"file://{folder}?metadata=skip"


def up() -> None:
    """Deploy the dev stack and prove it by message.

    Raises:
        EngineError: There is no engine and none could be built.
        BrokerError: No broker answers at the stack's endpoint and none could be started.
        CalledProcessError: pulumi or the proof failed, and has said why.
    """
    env = _environment()
    _pulumi(env, "stack", "select", "--create", STACK)
    _ensure_broker(_config(env))
    _change(env, "up")
    say("sending and receiving a message over every binding")
    _run(env, sys.executable, "-m", "rabbit_topology", "prove", "--stack", STACK)
    say("the URLs to connect with:")
    outputs = json.loads(_output(env, "pulumi", "stack", "output", "--json", "--stack", STACK))
    for kind in ("exchange_urls", "queue_urls"):
        for name, url in outputs[kind].items():
            print(f"  {kind.removesuffix('_urls')} {name}: {url}")
    print(
        "\nwith credentials, a secret:\n"
        "  .venv/bin/python -m toolchain.dev pulumi stack output connection_url --show-secrets\n"
        "next: edit Pulumi.dev.yaml and run `make up` again; `make down` removes it all"
    )


def down() -> None:
    """Destroy the dev stack, then stop the broker that `up` started; raises as `up` does."""
    env = _environment()
    stacks = json.loads(_output(env, "pulumi", "stack", "ls", "--json"))
    if any(stack["name"] == STACK for stack in stacks):
        _change(env, "destroy", "--run-program")
    _stop_broker()


def clean() -> None:
    """Stop the broker that `up` started and remove all that the project put outside the clone."""
    _stop_broker()
    engine.clean(say)
    terraform.clean(say)
    promtool.clean(say)
    consumer.clean(say)
    _run(dict(os.environ), sys.executable, "-m", "toolchain.broker", "clean")
    shutil.rmtree(LOCAL, ignore_errors=True)


def pulumi(arguments: list[str]) -> None:
    """Run `pulumi` as `up` does: the same engine, backend and passphrase."""
    _run(_environment(), "pulumi", *arguments)


def say(line: str) -> None:
    """Print a line of progress."""
    print(f"--- {line}", flush=True)


def _environment() -> dict[str, str]:
    env = {**os.environ, **engine.ensure(say)}
    backend = LOCAL / "state"
    backend.mkdir(parents=True, exist_ok=True)
    env.setdefault("PULUMI_BACKEND_URL", backend_url(backend))
    # The user's own engine would take the python3 on PATH, which lacks the packages.
    env.setdefault("PULUMI_PYTHON_CMD", sys.executable)
    for name, value in engine.QUICK.items():
        env.setdefault(name, value)
    if "PULUMI_CONFIG_PASSPHRASE_FILE" not in env:
        env.setdefault("PULUMI_CONFIG_PASSPHRASE", PASSPHRASE)
    return env


def _config(env: dict[str, str]) -> dict[str, Any]:
    command = ("pulumi", "config", "--json", "--show-secrets", "--stack", STACK)
    result: dict[str, Any] = json.loads(_output(env, *command))
    return result


def _ensure_broker(config: dict[str, Any]) -> None:
    endpoint, username, password = (
        config[f"rabbitmq:{key}"]["value"] for key in ("endpoint", "username", "password")
    )
    version = broker.answers(endpoint, username, password)
    if version:
        say(f"RabbitMQ {version} answers at {endpoint}")
        return
    parts = urlsplit(endpoint)
    if parts.hostname not in ("localhost", "127.0.0.1"):
        raise BrokerError(f"{endpoint} does not answer, and is not this machine: start it first")
    hosts = (config.get("rabbit-topology:broker") or {}).get("objectValue", {}).get("hosts", [])
    amqp_port = urlsplit(f"//{hosts[0]}").port if hosts else None
    say(f"no broker answers at {endpoint}: starting a local one")
    _run(
        dict(os.environ),
        *(sys.executable, "-m", "toolchain.broker", "start", "--state", str(STATE)),
        *("--management-port", str(parts.port or 80), "--amqp-port", str(amqp_port or 5672)),
    )


def _stop_broker() -> None:
    if STATE.exists():
        _run(
            dict(os.environ),
            sys.executable,
            "-m",
            "toolchain.broker",
            "stop",
            "--state",
            str(STATE),
        )


def _change(env: dict[str, str], command: str, *flags: str) -> None:
    """Run `up` or `destroy`; after one that was killed, let it look at the broker first."""
    if UNFINISHED.exists():
        say("an earlier run was killed: comparing its state with the broker")
        # Its lock. Where there is none, or the backend has no locks, that is no error of ours.
        subprocess.run(
            ["pulumi", "cancel", "--yes", "--stack", STACK],
            cwd=ROOT,
            env=env,
            check=False,
            capture_output=True,
        )
        flags = (*flags, "--refresh")
    UNFINISHED.touch()
    # Ctrl-C reaches the engine as well, which then saves its state: it is waited for.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        _pulumi(env, command, "--yes", "--skip-preview", "--stack", STACK, *flags)
    except subprocess.CalledProcessError as error:
        if error.returncode > 0:  # below, a signal has ended it
            UNFINISHED.unlink()
        raise
    finally:
        signal.signal(signal.SIGINT, before)
    UNFINISHED.unlink()


def _pulumi(env: dict[str, str], *arguments: str) -> None:
    _run(env, "pulumi", *arguments, "--non-interactive")


def _run(env: dict[str, str], *command: str) -> None:
    subprocess.run(command, cwd=ROOT, env=env, check=True)


def _output(env: dict[str, str], *command: str) -> str:
    ended = subprocess.run(
        command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True
    )
    return ended.stdout


def main() -> None:
    """Run ``up``, ``down``, ``clean`` or ``pulumi ...``; say in one line why it fails."""
    try:
        match sys.argv[1:]:
            case ["up"]:
                up()
            case ["down"]:
                down()
            case ["clean"]:
                clean()
            case ["pulumi", *arguments]:
                pulumi(arguments)
            case _:
                sys.exit("usage: python -m toolchain.dev up|down|clean|pulumi ARGUMENTS")
    except (engine.EngineError, BrokerError) as error:
        sys.exit(f"error: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)  # the command itself has said why
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
