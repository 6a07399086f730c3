"""Where RabbitMQ's programs come from: Debian's packages in the cache, or the user's PATH."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from toolchain import debian
from toolchain.errors import BrokerError

# 4.3 and "newest" are what sid has at the time.
SUITES = {"3.10": "bookworm", "4.0": "trixie", "4.3": "sid", "newest": "sid"}


@dataclass(frozen=True, kw_only=True)
class Server:
    """RabbitMQ's `scripts` folder, the `path` on which they find Erlang, and its `epmd`.

    `prefix` is the folder of the cache that a running broker needs; None for the user's own.
    """

    scripts: Path
    path: str
    epmd: Path
    prefix: Path | None = None


def from_debian(version: str, report: debian.Report) -> Server:
    """Return RabbitMQ of a Debian suite, named by a version of SUITES or by the suite itself.

    Raises BrokerError for an unknown version, or if the packages cannot be had.
    """
    suite = SUITES.get(version, version)
    if suite not in SUITES.values():
        known = ", ".join([*SUITES, *sorted(set(SUITES.values()))])
        raise BrokerError(f"no RabbitMQ {version!r} in Debian's packages; there is {known}")
    prefix = debian.ensure(suite, report)
    scripts = next(prefix.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin"))
    return Server(
        scripts=scripts,
        path=f"{prefix / 'usr/bin'}:/usr/bin:/bin",
        epmd=prefix / "usr/bin/epmd",
        prefix=prefix,
    )


def from_path() -> Server | None:
    """Return the RabbitMQ that the user has on PATH; None if there is none."""
    program, epmd = shutil.which("rabbitmq-server"), shutil.which("epmd")
    if not (program and epmd and shutil.which("erl")):
        return None
    # Debian's and Red Hat's program is a wrapper that runs the system's broker as another user.
    for folder in (Path(program).resolve().parent, Path("/usr/lib/rabbitmq/bin").resolve()):
        if (folder / "rabbitmq-env").exists():
            return Server(scripts=folder, path=os.environ.get("PATH", os.defpath), epmd=Path(epmd))
    return None
