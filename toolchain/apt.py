"""Packages of another Debian suite, fetched without root and without touching the machine's apt.

The mirror is the one that the machine's own apt sources name; only the suite differs.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import BrokerError

_LINE = re.compile(
    r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<rest>.+)"
)

# `#clear` keeps hooks that a container image adds (they empty the machine's package cache) away
# from our folder. The sandbox user could not read a private cache folder.
_CONFIG = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
APT::Sandbox::User "";
APT::Architecture "{architecture}";
Dir::State "{root}/state";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Etc::sourcelist "{root}/mirror.list";
Dir::Etc::sourceparts "{root}/none";
Dir::Etc::preferences "{root}/none/preferences";
Dir::Etc::preferencesparts "{root}/none";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::CNF::DefaultEnabled "false";
Acquire::Retries "2";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
"""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One archive of an apt source: `uri`, one `suite`, and the keyring's path if it names one."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str | None = None

    @property
    def is_debian(self) -> bool:
        """Whether this is a mirror of Debian itself and not a third party's repository."""
        if "main" not in self.components or re.search("[-/]", self.suite):
            return False
        if self.uri.split(":", 1)[0] not in {"http", "https", "file", "mirror+file"}:
            return False
        # Third parties also publish "bookworm main": only the key or the path tells them apart.
        by_key = self.signed_by is not None and "debian-archive" in self.signed_by
        return by_key or "debian" in self.uri.rstrip("/").rsplit("/", 1)[-1]


def parse_lines(text: str) -> Iterator[Source]:
    """Yield the sources of a one-line-style file (`.list`)."""
    for line in text.splitlines():
        if match := _LINE.fullmatch(line.split("#", 1)[0].strip()):
            options = dict(
                option.split("=", 1) for option in (match["options"] or "").split() if "=" in option
            )
            yield Source(
                uri=match["uri"],
                suite=match["suite"],
                components=tuple(match["rest"].split()),
                signed_by=options.get("signed-by"),
            )


def parse_deb822(text: str) -> Iterator[Source]:
    """Yield the sources of a deb822-style file (`.sources`)."""
    text = re.sub(r"(?m)^#.*\n?", "", text)
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1].isspace():
                fields[name] = f"{fields.get(name, '')}\n{line.strip()}"
            elif ":" in line:
                name, value = line.split(":", 1)
                name = name.lower()
                fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split():
            continue
        if fields.get("enabled", "yes").lower() in {"no", "false", "0", "off"}:
            continue
        key = fields.get("signed-by")
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Source(
                    uri=uri,
                    suite=suite,
                    components=tuple(fields.get("components", "").split()),
                    # A key written into the file has several lines; a path has one.
                    signed_by=key if key and "\n" not in key else None,
                )


def mirror(etc: Path = Path("/etc/apt")) -> Source:
    """Return the machine's Debian mirror, one with Debian's own keyring first.

    Raises BrokerError if the machine's apt sources name none.
    """
    result: list[Source] = []
    for file in [etc / "sources.list", *sorted(etc.glob("sources.list.d/*"))]:
        parse = {".list": parse_lines, ".sources": parse_deb822}.get(file.suffix)
        if parse and file.is_file():
            text = file.read_text(encoding="utf-8", errors="replace")
            result += [source for source in parse(text) if source.is_debian]
    if not result:
        raise BrokerError(
            f"no Debian mirror in {etc}/sources.list or sources.list.d: install RabbitMQ "
            "(rabbitmq-server on PATH) or Docker, or run on Debian"
        )
    return max(result, key=lambda source: "debian-archive" in (source.signed_by or ""))


class Apt:
    """An apt of its own in the folder `root` (absolute), for one suite of the machine's mirror."""

    def __init__(self, root: Path, suite: str) -> None:
        """Write the configuration. Raises BrokerError if apt or the mirror is absent."""
        for tool in ("apt-get", "dpkg-deb", "dpkg"):
            if not shutil.which(tool):
                raise BrokerError(f"{tool} is not on PATH: Debian's packages need apt")
        source = mirror()
        self._root = root
        for folder in ("state/lists/partial", "cache/archives/partial", "none"):
            (root / folder).mkdir(parents=True)
        (root / "status").touch()
        key = f"[signed-by={source.signed_by}] " if source.signed_by else ""
        (root / "mirror.list").write_text(f"deb {key}{source.uri} {suite} main\n")
        (root / "apt.conf").write_text(_CONFIG.format(root=root, architecture=architecture()))

    def update(self) -> None:
        """Fetch the suite's package list. Raises BrokerError with apt's last lines."""
        # Without this option a list that cannot be fetched is only a warning.
        self._run("apt-get", "-o", "APT::Update::Error-Mode=any", "update")

    def closure(self, package: str, wanted: Callable[[str], bool]) -> list[str]:
        """Return the `wanted` names among the package and all that it depends on."""
        plan = self._run("apt-get", "--simulate", "--no-install-recommends", "install", package)
        names = re.findall(r"(?m)^Inst (\S+)", plan)
        return [name for name in names if wanted(name)]

    def unpack(self, packages: list[str], into: Path) -> None:
        """Download the packages and unpack their files into the folder `into`."""
        archives = self._root / "cache" / "archives"
        self._run("apt-get", "download", *packages, cwd=archives)
        for archive in sorted(archives.glob("*.deb")):
            self._run("dpkg-deb", "--extract", str(archive), str(into))

    def _run(self, *command: str, cwd: Path | None = None) -> str:
        environment = {**os.environ, "LC_ALL": "C", "APT_CONFIG": str(self._root / "apt.conf")}
        done = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
            raise BrokerError(f"{' '.join(command[:3])} failed:\n{last}")
        return done.stdout


def architecture() -> str:
    """Return Debian's name of this machine's architecture, such as amd64."""
    try:
        output = subprocess.run(
            ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise BrokerError(f"dpkg does not run: Debian's packages need apt ({error})") from error
    return output.strip()
