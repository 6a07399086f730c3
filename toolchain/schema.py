"""
JSON Schemas for editors, generated from the model: ``python -m toolchain.schema``.

`schema/stack.json` is for `Pulumi.<stack>.yaml`, `schema/topology.json` for the files that
`rabbit-topology:base` names. Draft 7: what the YAML extensions of editors know best.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from rabbit_topology import model
from rabbit_topology.config import provider_settings
from rabbit_topology.lint import rules_settings
from rabbit_topology.services import credentials

FOLDER = Path(__file__).parent.parent / "schema"

_Json = dict[str, Any]

_DRAFT = "http://json-schema.org/draft-07/schema#"
_DEFS = "#/$defs/"
_NULL = {"type": "null"}
_SECRET = {
    "type": "object",
    "description": "A value that Pulumi has encrypted.",
    "properties": {"secure": {"type": "string"}},
    "required": ["secure"],
    "additionalProperties": False,
}
_SHAPES: dict[str, type[BaseModel]] = {
    "topology": model.Topology,
    "broker": model.Broker,
    "safety": model.SafetySettings,
    "lint": model.LintSettings,
}
_NAMED = ("exchanges", "queues", "super_streams", "policies", "operator_policies", "shovels")
"""Mappings whose keys are names that the provider must be able to read back."""


def stack() -> _Json:
    """Return the schema of `Pulumi.<stack>.yaml`."""
    secret = {"$ref": f"{_DEFS}Secret"}
    keys: _Json = {f"rabbit-topology:{key}": _described(one) for key, one in _SHAPES.items()}
    for key in keys.keys() - {"rabbit-topology:topology"}:
        keys[key]["$ref"] = f"{_DEFS}{_SHAPES[key.partition(':')[2]].__name__}"
    keys["rabbit-topology:expect"] = {
        "description": "What the routes are for: `lint` and `test` fail where it does not hold.",
        "type": "array",
        "items": {"$ref": f"{_DEFS}Expectation"},
    }
    keys["rabbit-topology:base"] = {
        "description": "Topology files that stacks share, relative to the project's folder. The "
        "stack's own keys win.",
        "anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}},
        ],
    }
    keys["rabbit-topology:seed"] = {
        "description": "What passwords are derived from, at least "
        f"{credentials.MIN_SEED} characters: a secret.",
        "anyOf": [{"type": "string", "minLength": credentials.MIN_SEED}, secret],
    }
    for setting in provider_settings.SETTINGS:
        plain = {"type": ["boolean", "string"] if setting.key == "insecure" else "string"}
        keys[setting.path] = {"description": setting.meaning, "anyOf": [plain, secret]}
    config = {
        "type": "object",
        "properties": dict(sorted(keys.items())),
        # What this project does not know is a mistake; what others need is their affair.
        "propertyNames": {
            "anyOf": [{"enum": sorted(keys)}, {"not": {"pattern": "^rabbit-topology:"}}]
        },
        "if": {"required": ["rabbit-topology:base"]},
        "then": {"properties": {"rabbit-topology:topology": _topology(".part", secret=True)}},
        "else": {
            "properties": {"rabbit-topology:topology": _topology("", secret=True)},
            "required": ["rabbit-topology:topology"],
        },
    }
    whole = {"title": "Pulumi.<stack>.yaml", "type": "object", "properties": {"config": config}}
    return _schema(whole, text={"anyOf": [{"type": "string"}, secret]})


def topology() -> _Json:
    """Return the schema of a topology file that stacks share: any part of a topology."""
    whole = {"title": "A shared topology", **_topology(".part", secret=False)}
    return _schema(whole, text={"type": "string"})


def files() -> dict[Path, str]:
    """Return what each file of the folder should hold."""
    return {
        FOLDER / f"{make.__name__}.json": json.dumps(make(), indent=1, ensure_ascii=False) + "\n"
        for make in (stack, topology)
    }


def _schema(whole: _Json, *, text: _Json) -> _Json:
    """Return ``whole`` with the definitions that it leads to."""
    definitions = _definitions(text)
    needed: set[str] = set()
    result = _references(whole)
    while result:
        needed |= result
        result = {
            reference for name in result for reference in _references(definitions[name])
        } - needed
    return {
        "$schema": _DRAFT,
        **whole,
        "$defs": {name: definitions[name] for name in sorted(needed)},
    }


def _references(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return {name for one in schema for name in _references(one)}
    if not isinstance(schema, dict):
        return set()
    own = {schema["$ref"].removeprefix(_DEFS)} if isinstance(schema.get("$ref"), str) else set()
    return own | {name for one in schema.values() for name in _references(one)}


class _Generate(GenerateJsonSchema):
    """Says as well what the model takes before it validates: `dead_letter: true`, for example."""

    def function_before_schema(
        self, schema: core_schema.BeforeValidatorFunctionSchema
    ) -> JsonSchemaValue:
        inner = super().function_before_schema(schema)
        besides: dict[object, _Json] = {
            model._none_is_empty: _NULL,  # noqa: SLF001 - what it does is told here only
            model._yes_is_empty: {"type": "boolean"},  # noqa: SLF001
            model._text_is_exchange: {"type": "string"},  # noqa: SLF001
        }
        also = besides.get(schema["function"]["function"])
        return inner if also is None else {"anyOf": [inner, also]}


def _definitions(text: _Json) -> _Json:
    """Return the shapes of the model by name, and `NAME.part` for what merging may leave out."""
    shapes_of_keys: list[type[BaseModel]] = [*_SHAPES.values(), model.Expectation]
    _, whole = models_json_schema(
        [(shapes_of_key, "validation") for shapes_of_key in shapes_of_keys],
        schema_generator=_Generate,
    )
    shapes = {name: _plain(one) for name, one in whole["$defs"].items()}
    plugins = {"type": "string", "pattern": "^x-"}
    for name, key, choice in (
        ("Exchange", "type", {"anyOf": [{"enum": [*model.BUILT_IN_EXCHANGE_TYPES]}, plugins]}),
        ("Policy", "apply_to", {"enum": [*rules_settings.APPLY_TO]}),
    ):
        field = shapes[name]["properties"][key]
        del field["$ref"]
        field |= choice
    for kind in _NAMED:
        names = {"pattern": "^[^@/]+$", "minLength": 1, "maxLength": model.MAX_NAME_BYTES}
        shapes["Topology"]["properties"][kind]["propertyNames"] = names
    shapes |= _vhosts(shapes)
    parts = {
        f"{name}.part": _part(one, shapes)
        for name, one in shapes.items()
        if one.get("type") == "object"
    }
    return {**shapes, **parts, "Text": text, "Secret": _SECRET}


def _plain(schema: Any) -> Any:
    """Return a schema with free text open to secrets, and without the titles made from names."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept: _Json = {}
    for key, item in schema.items():
        if key == "properties":
            kept[key] = {name: _plain(inner) for name, inner in item.items()}
        elif key == "description":
            kept[key] = " ".join(item.split())
        elif key not in ("title", "default"):
            kept[key] = _plain(item)
    if isinstance(schema.get("default"), str | int):  # not what is empty anyway
        kept["default"] = schema["default"]
    if kept.get("type") == "string" and not {"enum", "const", "pattern", "minLength"} & kept.keys():
        kept = {"$ref": f"{_DEFS}Text", **{key: kept[key] for key in kept if key != "type"}}
    return kept


def _part(schema: _Json, shapes: _Json) -> _Json:
    """Return the schema of what stands beside a base: nothing is needed, and null removes."""
    kept = {key: one for key, one in schema.items() if key != "required"}
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_DEFS)
        if shapes.get(name, {}).get("type") == "object":
            kept["$ref"] += ".part"
    if "anyOf" in schema:
        kept["anyOf"] = [_part(one, shapes) for one in schema["anyOf"]]
    if "properties" in schema:
        kept["properties"] = {
            name: _removable(_part(one, shapes)) for name, one in schema["properties"].items()
        }
    if isinstance(schema.get("additionalProperties"), dict):
        kept["additionalProperties"] = _removable(_part(schema["additionalProperties"], shapes))
    return kept


def _removable(schema: _Json) -> _Json:
    if not schema or _NULL in schema.get("anyOf", []):
        return schema
    said: _Json = {key: schema[key] for key in ("description", "default") if key in schema}
    inner = {key: one for key, one in schema.items() if key not in said}
    return {"anyOf": [inner, _NULL], **said}


def _described(shape: type[BaseModel]) -> _Json:
    return {"description": " ".join((shape.__doc__ or "").split())}


def _topology(suffix: str, *, secret: bool) -> _Json:
    """Return what chooses between one vhost, several, and all of it encrypted."""
    shape: _Json = {"$ref": f"{_DEFS}Topology{suffix}"}
    choices = {"vhosts": f"Vhosts{suffix}", **({"secure": "Secret"} if secret else {})}
    for key, name in choices.items():
        shape = {"if": {"required": [key]}, "then": {"$ref": f"{_DEFS}{name}"}, "else": shape}
    return shape


def _vhosts(shapes: _Json) -> _Json:
    """Return the shapes of a topology with several vhosts, each named by its key."""
    one = shapes["Topology"]
    fields = {key: item for key, item in one["properties"].items() if key != "vhost"}
    required = [key for key in one["required"] if key != "vhost"]
    inner = {"anyOf": [{"$ref": f"{_DEFS}Vhost"}, _NULL]}
    several = {
        "description": "Vhosts by name, each with what would stand in the topology of one.",
        "type": "object",
        "minProperties": 1,
        "additionalProperties": inner,
    }
    return {
        "Vhost": {**one, "properties": fields, "required": required},
        "Vhosts": {
            "type": "object",
            "properties": {"vhosts": several},
            "required": ["vhosts"],
            "additionalProperties": False,
        },
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, content in files().items():
        file.write_text(content)
