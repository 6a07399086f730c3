"""
Make ``asyncapi-3.0.0.json`` from ``schemas/3.0.0.json`` of the npm package ``@asyncapi/specs``.

    $ npm pack @asyncapi/specs@6.11.1 && tar xzf asyncapi-specs-6.11.1.tgz
    $ python tests/support/asyncapi/prune.py package/schemas/3.0.0.json

What goes: examples and descriptions, which check nothing; and the bindings of other protocols, so
that a document with one of those is refused here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

TARGET = Path(__file__).parent / "asyncapi-3.0.0.json"


def without_prose(value, *, names=False):
    """Return a schema without descriptions and examples; ``names``: its keys are properties."""
    if isinstance(value, list):
        return [without_prose(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: without_prose(one, names=not names and key in {"properties", "definitions"})
        for key, one in value.items()
        if names or key not in {"description", "examples", "example", "title", "$comment"}
    }


def references(value):
    if isinstance(value, list):
        return {name for one in value for name in references(one)}
    if not isinstance(value, dict):
        return set()
    own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
    return own | {name for one in value.values() for name in references(one)}


def pruned(schema):
    schema = without_prose(schema)
    definitions = schema.pop("definitions")
    for name, one in definitions.items():
        if name.endswith("BindingsObject.json"):
            one["properties"] = {
                protocol: what for protocol, what in one["properties"].items() if protocol == "amqp"
            }
    kept, left = {}, references(schema)
    while left:
        name = left.pop()
        if name in definitions and name not in kept:
            kept[name] = definitions[name]
            left |= references(kept[name])
    return {**schema, "definitions": dict(sorted(kept.items()))}


if __name__ == "__main__":
    TARGET.write_text(
        json.dumps(pruned(json.loads(Path(sys.argv[1]).read_text())), separators=(",", ":")) + "\n"
    )
