"""
What a service connects with, as environment variables, in the forms that those are written in.

Pure: no pulumi, no files. The result is a secret.
Source: "Shell Command Language" (quoting), POSIX; "YAML 1.2" (double-quoted style); "Object Names
and IDs" and "Secrets", Kubernetes documentation.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from hashlib import sha256
from urllib.parse import unquote, urlsplit

_LABEL = 63
"""Characters at most of a name that Kubernetes takes everywhere (RFC 1123 label)."""


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


def render(service: str, values: Mapping[str, str], form: Form) -> str:
    """Return the variables of a service in one of the forms, with a line break at the end."""
    match form:
        case Form.DOTENV:
            return _lines(f"{name}={_dotenv(value)}" for name, value in values.items())
        case Form.SHELL:
            return _lines(f"export {name}={shlex.quote(value)}" for name, value in values.items())
        case Form.JSON:
            return json.dumps(values, indent=2) + "\n"
        case Form.KUBERNETES:
            data = (f"  {name}: {_yaml(value)}" for name, value in values.items())
            head = f"metadata:\n  name: {secret_name(service)}\ntype: Opaque\nstringData:"
            return _lines(["apiVersion: v1", "kind: Secret", head, *data])


def secret_name(service: str) -> str:
    """Return the name of a service's Secret: `<service>-amqp`, as far as Kubernetes takes it.

    Where it does not, a hash keeps the names of two services apart.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", service.lower()).strip("-")
    if plain and plain == service and len(plain) <= _LABEL - len("-amqp"):
        return f"{plain}-amqp"
    tail = f"{sha256(service.encode()).hexdigest()[:8]}-amqp"
    head = plain[: _LABEL - len(tail) - 1].strip("-")
    return f"{head}-{tail}" if head else f"s-{tail}"


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


def _yaml(value: str) -> str:
    """Return a double-quoted scalar; JSON is one but for what it writes beyond ASCII."""
    text = json.dumps(value, ensure_ascii=False)
    return re.sub(r"[^\x20-\x7e]", lambda character: f"\\U{ord(character[0]):08x}", text)
