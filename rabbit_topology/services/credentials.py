"""
Passwords that nobody writes down: derived from one secret seed of the stack.

Source: RFC 5869, "HMAC-based Extract-and-Expand Key Derivation Function (HKDF)".
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from rabbit_topology.errors import TopologyError

MIN_SEED = 16
"""Characters. A derived password is as hard to guess as the seed."""

_BYTES = 24


def check(seed: str) -> None:
    """Raise TopologyError if a seed is too short; the text does not show it."""
    if len(seed) < MIN_SEED:
        raise TopologyError(f"a seed has {MIN_SEED} characters or more, this one has fewer")


def derive(seed: str, stack: str, user: str, rotation: int) -> str:
    """Return the password of a user of a stack: 32 characters, always the same for the same input.

    Args:
        seed: The stack's secret, of `MIN_SEED` characters or more.
        stack: The stack's name: stacks that share a seed share no password.
        user: The name of the user.
        rotation: Another number gives another password.

    Raises:
        TopologyError: The seed is too short; the text does not show it.
    """
    check(seed)
    context = json.dumps(["rabbit-topology", "password", stack, user, rotation]).encode()
    key = HKDF(algorithm=SHA256(), length=_BYTES, salt=None, info=context).derive(seed.encode())
    return urlsafe_b64encode(key).decode()
