"""RabbitMQ in Docker, for a detached broker on a machine with an engine and no RabbitMQ."""

import hashlib
import shutil
import subprocess
import time
from pathlib import Path

from toolchain.errors import BrokerError
from toolchain.management import ready
from toolchain.node import PLUGINS

_READY_SECONDS = 120


def available(timeout: float = 3) -> bool:
    """Return whether there is a `docker` whose engine answers within `timeout` seconds."""
    if not shutil.which("docker"):
        return False
    try:
        done = _docker("info", "--format", "{{.ServerVersion}}", timeout=timeout)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and bool(done.stdout.strip())


def name(state: Path) -> str:
    """Return the name of the container that belongs to a state folder."""
    return f"rabbit-topology-{hashlib.sha256(str(state).encode()).hexdigest()[:12]}"


def run_command(container: str, version: str, ports: tuple[int, int]) -> list[str]:
    """Return `docker`'s arguments that create the container; `ports`: AMQP and management."""
    amqp, management = ports
    return [
        "run",
        "--detach",
        f"--name={container}",
        # RabbitMQ's data is under the name of its host.
        "--hostname=rabbit",
        f"--publish=127.0.0.1:{amqp}:5672",
        f"--publish=127.0.0.1:{management}:15672",
        f"rabbitmq:{version}-management",
    ]


def start(container: str, version: str, ports: tuple[int, int]) -> str:
    """Start the container, the old one if it is there, and return RabbitMQ's version when ready.

    Raises BrokerError with Docker's words, or the last lines of the log if it does not get ready.
    """
    if _docker("start", container).returncode:
        _check(_docker(*run_command(container, version, ports)))
    deadline = time.monotonic() + _READY_SECONDS
    while not (result := ready(f"http://127.0.0.1:{ports[1]}", "guest", "guest")):
        if not running(container) or time.monotonic() > deadline:
            log = _docker("logs", "--tail=15", container)
            raise BrokerError(f"{container} does not get ready:\n{log.stdout}{log.stderr}")
        time.sleep(0.3)
    _check(_docker("exec", container, "rabbitmq-plugins", "enable", "--quiet", *PLUGINS))
    return result


def running(container: str) -> bool:
    """Return whether the container runs."""
    done = _docker("inspect", "--format={{.State.Running}}", container)
    return done.stdout.strip() == "true"


def remove(container: str) -> None:
    """Stop and remove the container with its data; it may be gone. Raises BrokerError."""
    done = _docker("rm", "--force", "--volumes", container)
    if "no such container" not in done.stderr.lower():
        _check(done)


def _docker(*arguments: str, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def _check(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        raise BrokerError(f"docker {done.args[1]} failed:\n{done.stderr.strip()[-2000:]}")
