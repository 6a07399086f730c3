"""Terraform and its RabbitMQ provider for the benchmark, built into the user's cache.

Terraform itself is the `terraform` on PATH if there is one. The provider is the one that the
plugin in plugin/ bridges, in the same version.
"""

from __future__ import annotations

import platform
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from toolchain import golang
from toolchain.golang import Build, BuildError, Report

__all__ = ["BuildError", "Terraform", "clean", "ensure"]

SOURCE = "registry.terraform.io/cyrilgdn/rabbitmq"
"""The provider's address; nothing is asked of the registry that it names."""

_FORMAT = 1  # Raise it when the same modules are built or laid out in another way.
_HERE = Path(__file__).parent
_CLI, _PROVIDER = _HERE / "terraform-cli", _HERE / "terraform-provider"
_ABSENT = re.compile(r"=> \./absent/(\w+)")

# The only thing that Terraform's list of backends needs of each.
_STAND_IN = """\
package {name}

import "github.com/hashicorp/terraform/internal/backend"

// New stands for a backend that this build does not have.
func New() backend.Backend {{ panic("built without the backend {name}") }}
"""


@dataclass(frozen=True, kw_only=True)
class Terraform:
    """A `terraform` that finds its provider in a folder.

    command: the program. version: its own, such as "1.11.4"; provider: the provider's.
    mirror: the folder that the provider is in, laid out as Terraform's `filesystem_mirror`.
    """

    command: str
    version: str
    provider: str
    mirror: Path

    def environment(self, folder: Path) -> dict[str, str]:
        """Return the variables to run it with, so that it asks no registry; writes to `folder`."""
        settings = folder / "terraform.rc"
        settings.write_text(
            f'provider_installation {{\n  filesystem_mirror {{ path = "{self.mirror}" }}\n}}\n'
        )
        return {"TF_CLI_CONFIG_FILE": str(settings), "CHECKPOINT_DISABLE": "1"}


def ensure(report: Report) -> Terraform:
    """Return Terraform and its provider, built now if they are not there; raises BuildError."""
    on_path = shutil.which("terraform")
    provider = golang.entry(
        "terraform-provider",
        lambda go: golang.digest(go, _FORMAT, [_PROVIDER]),
        [_PROVIDER],
        _build_provider,
        report,
    )
    command = on_path or str(
        golang.entry(
            "terraform-cli",
            lambda go: golang.digest(go, (_FORMAT, _STAND_IN), [_CLI]),
            [_CLI],
            _build_cli,
            report,
        )
        / "terraform"
    )
    result = golang.version(golang.output([command, "version"], CHECKPOINT_DISABLE="1"))
    return Terraform(
        command=command,
        version=".".join(map(str, result)),
        provider=_provider_version(),
        mirror=provider / "mirror",
    )


def clean(report: Report) -> None:
    """Delete what `ensure` has built, waiting for a build that is under way."""
    for kind in ("terraform-provider", "terraform-cli"):
        golang.clean(kind, report)


def _provider_version() -> str:
    pinned = (_PROVIDER / "go.mod").read_text().rpartition(" v")[2]
    return pinned.strip()


def _copied(build: Build, module: Path) -> Path:
    # `-mod=mod` completes go.mod and go.sum: in a copy, not in the clone.
    return Path(shutil.copytree(module, build.temporary / module.name))


def _build_provider(build: Build) -> None:
    build.report("building Terraform's RabbitMQ provider")
    machine = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}[platform.machine()]
    version = _provider_version()
    name = f"terraform-provider-rabbitmq_v{version}"
    # The layout of a mirror: where Terraform looks instead of the registry.
    binary = build.target / "mirror" / SOURCE / version / f"{sys.platform}_{machine}" / name
    module = _copied(build, _PROVIDER)
    package = "github.com/terraform-providers/terraform-provider-rabbitmq"
    build.compile(module, package, binary, f"compiling {name}", mod="mod")


def _build_cli(build: Build) -> None:
    build.report("building Terraform; the first time takes some minutes")
    module = _copied(build, _CLI)
    for name in _ABSENT.findall((module / "go.mod").read_text()):
        folder = module / "absent" / name
        folder.mkdir(parents=True)
        inside = "legacy" if name == "legacy" else f"backend/remote-state/{name}"
        (folder / "go.mod").write_text(f"module github.com/hashicorp/terraform/internal/{inside}\n")
        if name != "legacy":
            (folder / "new.go").write_text(_STAND_IN.format(name=name))
    package = "github.com/hashicorp/terraform"
    build.compile(module, package, build.target / "terraform", "compiling terraform", mod="mod")
