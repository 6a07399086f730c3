"""RabbitMQ of a Debian suite in the user's cache: no root, no container, nothing installed.

A suite's packages with the libraries that they need are unpacked into a prefix whose programs
use the prefix's own loader and C library, so that a newer suite runs on an older machine.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from toolchain import lock
from toolchain.apt import Apt, architecture
from toolchain.errors import BrokerError

Report = Callable[[str], None]

# Raise it with every change of what a finished prefix holds: old prefixes are then not used.
_RECIPE = 1

# RabbitMQ also depends on what a system needs (adduser, logrotate, init …); a prefix does not.
_WANTED = re.compile(
    r"rabbitmq-server|erlang-.+|patchelf|zlib1g"
    r"|lib(c6|gcc-s1|stdc\+\+6|tinfo6|ssl3.*|zstd1|lz4-1|lzma5|systemd0|cap2|sctp1|gcrypt20"
    r"|gpg-error0)"
)

_COMPLETE = "complete"
_WEEK = 7 * 24 * 3600


def cache() -> Path:
    """Return the project's folder in the user's cache; may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "rabbit-topology"


def ensure(suite: str, report: Report) -> Path:
    """Return the prefix with RabbitMQ of a suite (bookworm, trixie, sid), built if needed.

    Two builds at once wait for each other; one that was interrupted is done again. sid moves: a
    prefix of sid counts as newest until the week (of seven days since the epoch) is over, then
    the next call builds another one, or stays with the last if the mirror does not answer.

    Raises BrokerError if apt, the mirror or the suite is not there.
    """
    inputs = f"{suite} {architecture()} {_RECIPE}"
    key = hashlib.sha256(inputs.encode()).hexdigest()[:8]
    prefix = cache() / f"broker-{suite}-{key}"
    if suite == "sid":
        prefix = prefix.with_name(f"{prefix.name}-{int(time.time() // _WEEK)}")
    if (prefix / _COMPLETE).exists():
        return prefix
    if re.search(r"\s", str(prefix)):
        raise BrokerError(f"RabbitMQ's scripts need a cache folder without blanks: {prefix}")
    with lock.exclusive(
        _lock_file(prefix), lambda: report(f"waiting for another build of {prefix.name}")
    ):
        if (prefix / _COMPLETE).exists():
            return prefix
        earlier = [path.parent for path in sorted(cache().glob(f"broker-sid-{key}-*/{_COMPLETE}"))]
        try:
            _build(suite, prefix, report)
        except BrokerError as error:
            shutil.rmtree(prefix, ignore_errors=True)
            if suite != "sid" or not earlier:
                raise
            report(f"using last week's RabbitMQ of sid: {error}")
            return earlier[-1]
    if suite == "sid":
        for old in earlier:
            _remove(old, report)
    return prefix


def hold(prefix: Path) -> IO[bytes]:
    """Return an open file that keeps `clean` from removing the prefix, for as long as it is open.

    A child that inherits it keeps it open as well.
    """
    return lock.shared(_lock_file(prefix))


def clean(report: Report) -> None:
    """Remove every prefix. Raises BrokerError if a broker runs from one or one is being built."""
    prefixes = [path.with_suffix("") for path in sorted(cache().glob("broker-*.lock"))]
    if busy := [prefix.name for prefix in prefixes if not _remove(prefix, report)]:
        raise BrokerError(f"in use, not removed: {', '.join(busy)}")


def _remove(prefix: Path, report: Report) -> bool:
    """Remove a prefix and its lock; False if it is in use."""
    path = _lock_file(prefix)
    if not lock.is_free(path):
        return False
    with lock.exclusive(path):
        shutil.rmtree(prefix, ignore_errors=True)
        path.unlink()
    report(f"removed {prefix}")
    return True


def _lock_file(prefix: Path) -> Path:
    return prefix.with_name(f"{prefix.name}.lock")


def _build(suite: str, prefix: Path, report: Report) -> None:
    """Build in place, since programs hold the final path; the marker is written last of all."""
    start = time.monotonic()

    def progress(step: str) -> None:
        report(f"RabbitMQ of Debian {suite}: {step} ({time.monotonic() - start:.0f} s)")

    shutil.rmtree(prefix, ignore_errors=True)
    prefix.mkdir(exist_ok=True)
    # A name of its own: the apt of a build that was killed may run on for a moment.
    work = Path(tempfile.mkdtemp(prefix="apt-", dir=prefix))
    apt = Apt(work, suite)
    progress("reading the package list")
    apt.update()
    packages = apt.closure("rabbitmq-server", lambda name: bool(_WANTED.fullmatch(name)))
    progress(f"downloading and unpacking {len(packages)} packages")
    apt.unpack([*packages, "patchelf"], prefix)
    for folder in prefix.glob("apt-*"):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(prefix / "usr/share", ignore_errors=True)
    progress("pointing its programs at their own libraries")
    _relocate(prefix)
    _check(prefix)
    (prefix / _COMPLETE).touch()
    progress("ready")


def _relocate(prefix: Path) -> None:
    """Make Erlang's programs and scripts use the prefix's loader, libraries and root."""
    loader = next(
        path
        for path in sorted(prefix.glob("**/ld-linux*.so.*"))
        if path.is_file() and not path.is_symlink()
    )
    libraries = ":".join(
        str(path)
        for pattern in ("lib/*-linux-gnu*", "usr/lib/*-linux-gnu*")
        for path in sorted(prefix.glob(pattern))
    )
    # patchelf is of the same suite and so needs the same loader.
    patchelf = [str(loader), "--library-path", libraries, str(prefix / "usr/bin/patchelf")]
    erlang = prefix / "usr/lib/erlang"
    for program in sorted(erlang.glob("**/bin/*")):
        if program.is_symlink() or not program.is_file():
            continue
        content = program.read_bytes()
        if content.startswith(b"#!"):
            fixed = content.replace(b"ROOTDIR=/usr/lib/erlang", b"ROOTDIR=" + os.fsencode(erlang))
            program.write_bytes(fixed)
        elif content.startswith(b"\x7fELF") and b"ld-linux" in content[:4096]:
            # An old-style RPATH, unlike RUNPATH and LD_LIBRARY_PATH, also serves the libraries
            # that Erlang loads later (OpenSSL) and stays away from the programs that it runs.
            command = [*patchelf, "--set-interpreter", str(loader), "--force-rpath"]
            _run([*command, "--set-rpath", libraries, str(program)])


def _check(prefix: Path) -> None:
    """Start Erlang once with OpenSSL, the part that needs the most libraries."""
    erl = str(prefix / "usr/bin/erl")
    _run([erl, "-noinput", "-boot", "start_clean", "-eval", "ok = crypto:start(), halt(0)."])


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise BrokerError(f"{' '.join(command)} failed:\n{last}")
