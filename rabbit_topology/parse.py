"""
From plain data, as YAML or JSON gives it, to the model; every problem collected.

Pure: no pulumi, no files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rabbit_topology import patterns, rules, rules_services, words
from rabbit_topology.errors import ConfigError, Problem, path
from rabbit_topology.model import Broker, SafetySettings, Topology

SHORTEST = """
  rabbit-topology:topology:
    vhost: my-service
    exchanges: {orders: {type: direct}}
    queues: {orders.new: {}}
    bindings: [{source: orders, queue: orders.new, routing_key: order.new}]"""

_Model = TypeVar("_Model", bound=BaseModel)


def parse(
    topology: object, broker: object = None, safety: object = None, *, secret: bool = False
) -> tuple[Topology, Broker, SafetySettings]:
    """Turn mappings, the values of the config keys, into the checked model of one vhost.

    Args:
        topology: The value of `rabbit-topology:topology`, with a `vhost`.
        broker: The value of `rabbit-topology:broker`; None is all defaults.
        safety: The value of `rabbit-topology:safety`; None is all defaults.
        secret: The config holds encrypted values: problems then do not show any value.

    Raises:
        ConfigError: With every problem of all, in config order.
    """
    written = [("topology", topology)]
    (parsed,), reachable, careful = _parse(written, broker, safety, secret=secret)
    return parsed, reachable, careful


def parse_stack(
    topology: object, broker: object = None, safety: object = None, *, secret: bool = False
) -> tuple[Topology | tuple[Topology, ...], Broker, SafetySettings]:
    """Do what `parse` does, for a stack that has one vhost or, under `vhosts`, several by name."""
    if not isinstance(topology, Mapping) or "vhosts" not in topology:
        return parse(topology, broker, safety, secret=secret)
    vhosts = topology["vhosts"]
    problems = [
        Problem(
            path=path("topology", key),
            value=words.show(topology[key]),
            rule="with `vhosts`, everything stands in one of them",
            fix=f"move it to {path('topology', 'vhosts', 'NAME', key)}",
        )
        for key in topology
        if key != "vhosts"
    ]
    if not isinstance(vhosts, Mapping) or not vhosts:
        rule = "this is a mapping by name, of one vhost or more"
        problem = Problem(
            path="topology.vhosts", value=words.show(vhosts), rule=rule, fix="name one, or `vhost:`"
        )
        raise ConfigError([*problems, problem])
    written = []
    for name, it in vhosts.items():
        inside = {} if it is None else it
        if isinstance(inside, Mapping):
            inside = {**inside, "vhost": name}
        written.append((path("topology", "vhosts", name), inside))
    return _parse(written, broker, safety, secret=secret, before=problems)


def _parse(
    written: Sequence[tuple[str, Any]],
    broker: object,
    safety: object,
    *,
    secret: bool,
    before: Sequence[Problem] = (),
) -> tuple[tuple[Topology, ...], Broker, SafetySettings]:
    """Parse one vhost after the other, each with the config path that it stands at."""
    problems = list(before)
    parsed = {}
    for root, topology in written:
        if topology is None:
            missing = Problem(
                path=root,
                value="missing",
                rule="a stack needs a topology",
                fix=f"the shortest one is:{SHORTEST}",
            )
            raise ConfigError([missing])
        found: list[Problem] = []
        it = _model(Topology, "topology", topology, found)
        found += rules.check(it)
        problems += [_moved(problem, root) for problem in found]
        parsed[root] = patterns.expand(it)
    problems += rules_services.across_vhosts(parsed)
    reachable = _model(Broker, "broker", {} if broker is None else broker, problems)
    careful = _model(SafetySettings, "safety", {} if safety is None else safety, problems)
    problems += rules.check_broker(reachable)
    if problems:
        raise ConfigError([_hide(problem) for problem in problems] if secret else problems)
    return tuple(parsed.values()), reachable, careful


def _moved(problem: Problem, root: str) -> Problem:
    """Return a problem of a vhost that stands elsewhere than under `topology`."""
    return replace(
        problem,
        path=f"{root}{problem.path.removeprefix('topology')}",
        rule=problem.rule.replace("topology.", f"{root}."),
    )


def _model(model: type[_Model], root: str, data: Any, problems: list[Problem]) -> _Model:
    """Validate ``data``; what is wrong goes into ``problems`` and is left out of the result,
    so that the rules still see all the rest, and the user all problems at once.
    """
    try:
        # By way of JSON, since there a strict model takes lists for tuples and text for enums.
        return model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        details = error.errors(include_url=False)
    problems += [_problem(model, root, detail) for detail in details]
    required = {name: name for name, field in model.model_fields.items() if field.is_required()}
    while True:
        for detail in details:
            lacking = detail["type"] == "missing" and len(detail["loc"]) > 1
            data = _without(data, detail["loc"][:-1] if lacking else detail["loc"])
        try:
            return model.model_validate_json(json.dumps({**required, **data}))
        except ValidationError as error:  # what is left lacks what was left out
            details = error.errors(include_url=False)


def _without(data: Any, location: tuple[int | str, ...]) -> Any:
    """Return ``data`` without the element at ``location``; of a list nothing stays,
    so that no index in another problem goes wrong.
    """
    if not isinstance(data, dict) or not location:
        return {}
    head, *rest = location
    inner = data.get(head)
    if isinstance(inner, dict) and rest:
        return {**data, head: _without(inner, tuple(rest))}
    return {key: value for key, value in data.items() if key != head}


def _problem(model: type[BaseModel], root: str, detail: ErrorDetails) -> Problem:
    location = detail["loc"]
    where = path(root, *location)
    hidden = set(location) & {"password", "uri", "source_uri", "destination_uri"}
    value = "[not shown]" if hidden else words.show(detail["input"])
    match detail["type"]:
        case "extra_forbidden":
            known = _fields(model, location[:-1])
            return Problem(
                path=where,
                value=value,
                rule="this key is not known here",
                fix=words.suggest(str(location[-1]), known),
            )
        case "missing":
            return Problem(path=where, value="missing", rule="it is needed", fix="write it")
        case "enum":
            choices = detail["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
            fix = words.suggest(str(detail["input"]), choices)
            return Problem(path=where, value=value, rule=f"one of {', '.join(choices)}", fix=fix)
        case _:
            return Problem(
                path=where,
                value=value,
                rule=_RULE_BY_TYPE.get(detail["type"], detail["msg"].removeprefix("Value error, ")),
                fix="see the config reference in the README",
            )


_RULE_BY_TYPE = {
    "model_type": "this is a mapping of settings, such as {type: quorum}",
    "mapping_type": "this is a mapping by name",
    "dict_type": "this is a mapping by name",
    "tuple_type": "this is a list",
    "string_type": "this is text; put quotes around a number or a yes",
    "bool_type": "this is true or false",
    "int_type": "this is a whole number",
    "too_short": "an empty list says nothing",
}


def _fields(model: Any, location: Sequence[int | str]) -> Mapping[str, object]:
    """Return the fields of the model that a pydantic location leads to."""
    for part in location:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[str(part)].annotation
        else:  # Mapping[str, X] or tuple[X, ...]: the key or index says nothing about X
            inner = get_args(model)
            model = inner[1] if get_origin(model) is not tuple else inner[0]
            model = get_args(model)[0] if hasattr(model, "__metadata__") else model
    return model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}


def _hide(problem: Problem) -> Problem:
    return Problem(
        path=problem.path,
        value="[not shown, the config holds secrets]",
        rule=problem.rule,
        fix=problem.fix,
    )
