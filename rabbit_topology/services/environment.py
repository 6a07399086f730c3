"""
What services and users connect with, as environment variables, in the forms of those who take them.

Pure: no pulumi, no files. The result is a secret.
Source: "Shell Command Language" (quoting), POSIX.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote, urlsplit

from rabbit_topology.services import stores
from rabbit_topology.services.labels import variable_prefix
from rabbit_topology.services.stores import Place


class Form(StrEnum):
    """How the variables are written."""

    DOTENV = "dotenv"
    """`NAME=value` lines."""
    SHELL = "shell"
    """`export` commands for a POSIX shell."""
    JSON = "json"
    """One object."""
    KUBERNETES = "kubernetes"
    """The manifest of a Secret."""
    VAULT = "vault"
    """`vault kv put` commands for a POSIX shell."""
    PUSH_SECRET = "push-secret"  # noqa: S105 - the name of a form
    """A Secret, and a PushSecret of External Secrets Operator."""
    EXTERNAL_SECRET = "external-secret"  # noqa: S105 - the name of a form
    """An ExternalSecret: it holds no secret."""

    @property
    def manifests(self) -> bool:
        """Whether it is for Kubernetes, where names stand in namespaces."""
        return self in (Form.KUBERNETES, Form.PUSH_SECRET, Form.EXTERNAL_SECRET)

    @property
    def external(self) -> bool:
        """Whether it is for External Secrets Operator."""
        return self in (Form.PUSH_SECRET, Form.EXTERNAL_SECRET)

    @property
    def kept(self) -> bool:
        """Whether it says where in a store the secret is."""
        return self.external or self is Form.VAULT


@dataclass(frozen=True, kw_only=True)
class Login:
    """What one service or user connects with: a secret."""

    name: str
    """What it is called where it is handed over."""
    values: Mapping[str, str]
    """As `variables` returns them."""


def variables(urls: str | Sequence[str]) -> dict[str, str]:
    """Return a service's variables by name, not encoded but for the URLs.

    Args:
        urls: The service's AMQP URL with credentials, or one per host; the parts are the first's.
    """
    every = [urls] if isinstance(urls, str) else list(urls)
    parts = urlsplit(every[0])
    return {
        "AMQP_URL": every[0],
        "AMQP_URLS": ",".join(every),
        "AMQP_HOST": parts.hostname or "",
        "AMQP_PORT": str(parts.port or ""),
        "AMQP_VHOST": unquote(parts.path.removeprefix("/")),
        "AMQP_USERNAME": unquote(parts.username or ""),
        "AMQP_PASSWORD": unquote(parts.password or ""),
    }


def render(login: Login, form: Form, place: Place | None = None) -> str:
    """Return the variables of one service in one of the forms, with a line break at the end."""
    values, where = login.values, place or Place()
    match form:
        case Form.DOTENV:
            return _lines(f"{name}={_dotenv(value)}" for name, value in values.items())
        case Form.SHELL:
            return _lines(f"export {name}={shlex.quote(value)}" for name, value in values.items())
        case Form.JSON:
            return json.dumps(values, indent=2) + "\n"
        case Form.KUBERNETES:
            return stores.kubernetes(login.name, values, where)
        case Form.VAULT:
            return stores.vault(login.name, values, where)
        case Form.PUSH_SECRET:
            return stores.push_secret(login.name, values, where)
        case Form.EXTERNAL_SECRET:
            return stores.external_secret(login.name, where)


def render_all(logins: Sequence[Login], form: Form, place: Place | None = None) -> str:
    """Return the variables of several services in one of the forms.

    In a form that has one name for each variable, the service's stands before it.
    """
    match form:
        case Form.DOTENV | Form.SHELL:
            return "\n".join(render(_prefixed(login), form) for login in logins)
        case Form.JSON:
            return json.dumps({login.name: login.values for login in logins}, indent=2) + "\n"
        case Form.VAULT:
            return "set -e\n" + "".join(render(login, form, place) for login in logins)
        case _:
            return "---\n".join(render(login, form, place) for login in logins)


def _prefixed(login: Login) -> Login:
    before = variable_prefix(login.name)
    values = {f"{before}{name}": value for name, value in login.values.items()}
    return Login(name=login.name, values=values)


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _dotenv(value: str) -> str:
    """Quote a value only as much as it needs: some readers take quotes for a part of it.

    Which escapes there are differs between readers, too: they stand only where nothing else does.
    """
    if re.fullmatch(r"[\w%+,./:=@\[\]-]*", value, re.ASCII):
        return value
    if not set(value) & {"'", "\\"}:
        return f"'{value}'"
    return '"' + re.sub(r'["\\$`]', r"\\\g<0>", value) + '"'
