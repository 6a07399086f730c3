"""
A topology that several stacks share, and what one stack says of its own.

Pure: values as YAML or JSON gives them.
"""

from __future__ import annotations

from collections.abc import Mapping


def merge(base: object, own: object) -> object:
    """Return ``base`` with what ``own`` says instead and besides.

    Mappings are merged key by key, at any depth. All else replaces: text, numbers, lists. A key
    that has null in ``own`` goes if it is in ``base``; if it is not, the null stays, which means
    all defaults where a mapping belongs.
    """
    if not (isinstance(base, Mapping) and isinstance(own, Mapping)):
        return own
    merged = {key: merge(value, own[key]) if key in own else value for key, value in base.items()}
    removed = {key for key in base if key in own and own[key] is None}
    added = {key: value for key, value in own.items() if key not in base}
    return {**{key: value for key, value in merged.items() if key not in removed}, **added}
