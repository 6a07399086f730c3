"""
Where secrets are kept: Kubernetes, HashiCorp Vault, and External Secrets Operator between them.

Pure. Only an ExternalSecret holds no secret itself.
Source: "Secrets", Kubernetes documentation; "kv put", Vault documentation; "PushSecret" and
"ExternalSecret", External Secrets Operator documentation.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from rabbit_topology.services.labels import label, secret_name

_REFRESH = "1h0m0s"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where in the stores the secrets of a stack are."""

    namespace: str | None = None
    """Of manifests; None: none is said, and `kubectl` chooses."""
    mount: str = "secret"
    """Where Vault has its key-value engine."""
    path: str = "rabbitmq"
    """Below which they are, in Vault or another store."""
    store: str = ""
    """The name of the SecretStore, of External Secrets Operator."""
    store_kind: str = "SecretStore"
    """Or `ClusterSecretStore`."""

    def key(self, name: str) -> str:
        """Return where the secret of a service is, below the mount."""
        return f"{self.path}/{label(name)}"


def kubernetes(name: str, values: Mapping[str, str], place: Place) -> str:
    """Return the manifest of a Secret."""
    return "\n".join(
        [
            *_head("v1", "Secret", name, place),
            "type: Opaque",
            "stringData:",
            *(f"  {key}: {quoted(value)}" for key, value in values.items()),
            "",
        ]
    )


def vault(name: str, values: Mapping[str, str], place: Place) -> str:
    """Return a command for a shell; the values come by standard input, and no `ps` shows them."""
    where = f"-mount={shlex.quote(place.mount)} {shlex.quote(place.key(name))}"
    return f"vault kv put {where} - <<'JSON'\n{json.dumps(values)}\nJSON\n"


def push_secret(name: str, values: Mapping[str, str], place: Place) -> str:
    """Return the manifests of a Secret, and of the PushSecret that copies it into the store."""
    matches = [
        line
        for key in values
        for line in (
            "    - match:",
            f"        secretKey: {key}",
            "        remoteRef:",
            f"          remoteKey: {quoted(place.key(name))}",
            f"          property: {key}",
        )
    ]
    pushed = [
        *_head("external-secrets.io/v1alpha1", "PushSecret", name, place),
        "spec:",
        "  updatePolicy: Replace",
        f"  refreshInterval: {_REFRESH}",
        "  secretStoreRefs:",
        f"    - name: {quoted(place.store)}",
        f"      kind: {place.store_kind}",
        "  selector:",
        "    secret:",
        f"      name: {secret_name(name)}",
        "  data:",
        *matches,
        "",
    ]
    return f"{kubernetes(name, values, place)}---\n" + "\n".join(pushed)


def external_secret(name: str, place: Place) -> str:
    """Return the manifest of an ExternalSecret, which makes the Secret from what the store has."""
    return "\n".join(
        [
            *_head("external-secrets.io/v1", "ExternalSecret", name, place),
            "spec:",
            f"  refreshInterval: {_REFRESH}",
            "  secretStoreRef:",
            f"    name: {quoted(place.store)}",
            f"    kind: {place.store_kind}",
            "  target:",
            f"    name: {secret_name(name)}",
            "    creationPolicy: Owner",
            "  dataFrom:",
            "    - extract:",
            f"        key: {quoted(place.key(name))}",
            "",
        ]
    )


def quoted(value: str) -> str:
    """Return a double-quoted YAML scalar; JSON is one but for what it writes beyond ASCII."""
    text = json.dumps(value, ensure_ascii=False)
    return re.sub(r"[^\x20-\x7e]", lambda character: f"\\U{ord(character[0]):08x}", text)


def _head(version: str, kind: str, name: str, place: Place) -> list[str]:
    within = [] if place.namespace is None else [f"  namespace: {quoted(place.namespace)}"]
    return [
        f"apiVersion: {version}",
        f"kind: {kind}",
        "metadata:",
        f"  name: {secret_name(name)}",
        *within,
    ]
