"""
Derived passwords: always the same for the same input, unrelated for any other.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from itertools import combinations

import pytest

from rabbit_topology import TopologyError
from rabbit_topology.services.credentials import MIN_SEED, derive

SEED = "sixteen letters or more"
GIVEN = {"seed": SEED, "stack": "prod", "user": "orders.gateway", "rotation": 1}


def test_the_derivation_never_changes():
    # Another result would lock out every service of every stack with the next `pulumi up`.
    assert derive(**GIVEN) == "9VVEwSZH8K1kmLbBUllf5YKXAgaKKHAn"


def test_it_is_hkdf_as_the_rfc_has_it():
    key = hmac.digest(bytes(32), SEED.encode(), hashlib.sha256)
    context = b'["rabbit-topology", "password", "prod", "orders.gateway", 1]'
    expanded = hmac.digest(key, context + b"\x01", hashlib.sha256)
    assert derive(**GIVEN) == urlsafe_b64encode(expanded[:24]).decode()


def test_each_part_of_the_context_gives_another_password():
    result = [
        derive(**GIVEN),
        *(
            derive(**{**GIVEN, **changed})
            for changed in (
                {"seed": SEED + "!"},
                {"stack": "dev"},
                {"user": "orders.worker"},
                {"rotation": 2},
                # Parts that would be the same if they were only put one behind the other.
                {"stack": "prodorders", "user": ".gateway"},
                {"user": "orders.gateway1"},
                {"user": 'orders.gateway", 1'},
            )
        ),
    ]
    assert len(result) == 8
    assert len(set(result)) == len(result)
    # Unrelated: no two have more characters in common than chance would have it.
    for one, other in combinations(result, 2):
        assert sum(a == b for a, b in zip(one, other, strict=True)) < 8


def test_a_password_is_32_characters_that_need_no_encoding_anywhere():
    for rotation in range(1, 200):
        password = derive(**{**GIVEN, "rotation": rotation})
        assert len(password) == 32
        assert password.replace("-", "").replace("_", "").isalnum()


def test_a_short_seed_is_refused_and_not_shown():
    short = "x" * (MIN_SEED - 1)
    with pytest.raises(TopologyError) as caught:
        derive(**{**GIVEN, "seed": short})
    assert short not in str(caught.value)
    assert derive(**{**GIVEN, "seed": short + "x"})
