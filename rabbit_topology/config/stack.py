"""
From plain data, as YAML or JSON gives it, to the model; every problem collected.

Pure: no pulumi, no files.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rabbit_topology.compiler import patterns
from rabbit_topology.config import words
from rabbit_topology.errors import ConfigError, Problem, path
from rabbit_topology.findings import Finding, RuleInfo, Severity
from rabbit_topology.model import (
    SECRETS,
    Broker,
    Expectation,
    Expectations,
    LintSettings,
    SafetySettings,
    Topology,
)

OTHER_KEYS = ("broker", "safety", "lint", "expect")
"""The config keys that `read` takes beside the topology."""

SHORTEST = """
  rabbit-topology:topology:
    vhost: my-service
    exchanges: {orders: {type: direct}}
    queues: {orders.new: {}}
    bindings: [{source: orders, queue: orders.new, routing_key: order.new}]"""

_Model = TypeVar("_Model", bound=BaseModel)


SHAPE = RuleInfo(
    name="shape",
    reason="what is not understood is not deployed",
    page="the README, Config reference",
)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """What a config says, be it right or wrong."""

    written: Mapping[str, Topology]
    """The topology of each vhost, by the config path that it stands at."""
    whole: Mapping[str, Topology]
    """The same with patterns spelled out."""
    broker: Broker
    safety: SafetySettings
    lint: LintSettings
    expect: Sequence[Expectation]
    errors: Sequence[Finding]
    """What is wrong. What is not understood is left out of all else."""

    @property
    def topology(self) -> Topology | tuple[Topology, ...]:
        """The topology of the one vhost, or of several."""
        return self.whole.get("topology") or tuple(self.whole.values())

    def check(self, *, secret: bool = False) -> None:
        """Accept only what is right.

        Raises:
            ConfigError: With everything that is wrong; without values if the config is `secret`.
        """
        problems = [error.problem for error in self.errors]
        if problems:
            raise ConfigError([hide(problem) for problem in problems] if secret else problems)


def read(
    topology: object,
    broker: object = None,
    safety: object = None,
    lint: object = None,
    expect: object = None,
) -> Stack:
    """Turn the values of the config keys into the model, and say what is not understood."""
    problems: list[Problem] = []
    return _read(_vhosts(topology, problems), problems, broker, safety, lint, expect)


def read_one(topology: object, broker: object = None, safety: object = None) -> Stack:
    """Do what `read` does for a topology that is one vhost, with its name under `vhost`."""
    return _read([("topology", topology)], [], broker, safety)


def _read(
    vhosts: Iterable[tuple[str, object]],
    problems: list[Problem],
    broker: object,
    safety: object,
    lint: object = None,
    expect: object = None,
) -> Stack:
    errors: list[Finding] = []
    written: dict[str, Topology] = {}
    for root, one in vhosts:
        if one is None:
            problems.append(
                Problem(
                    path=root,
                    value="missing",
                    rule="a stack needs a topology",
                    fix=f"the shortest one is:{SHORTEST}",
                )
            )
            continue
        shape_problems: list[Problem] = []
        written[root] = _model(Topology, "topology", one, shape_problems)
        errors += [moved(finding, root) for finding in _shapes(shape_problems)]
    reachable = _model(Broker, "broker", {} if broker is None else broker, problems)
    careful = _model(SafetySettings, "safety", {} if safety is None else safety, problems)
    silent = _model(LintSettings, "lint", {} if lint is None else lint, problems)
    expected = _expected(expect, problems)
    return Stack(
        written=written,
        whole={root: patterns.expand(topology) for root, topology in written.items()},
        broker=reachable,
        safety=careful,
        lint=silent,
        expect=expected,
        errors=[*_shapes(problems), *errors],
    )


def _expected(expect: object, problems: list[Problem]) -> tuple[Expectation, ...]:
    inside: list[Problem] = []
    whole = _model(Expectations, "expect", {} if expect is None else {"expect": expect}, inside)
    problems += (
        replace(problem, path=f"expect{problem.path.removeprefix('expect.expect')}")
        for problem in inside
    )
    return whole.expect


def moved(finding: Finding, root: str) -> Finding:
    """Return a finding in a vhost that stands elsewhere than under `topology`.

    What its text names beside is named by its path within the vhost.
    """
    problem = finding.problem
    if root == "topology":
        return finding
    there = f"{root}{problem.path.removeprefix('topology')}"
    return replace(finding, problem=replace(problem, path=there))


def _shapes(problems: Sequence[Problem]) -> list[Finding]:
    return [Finding(rule=SHAPE, severity=Severity.ERROR, problem=problem) for problem in problems]


def _vhosts(topology: object, problems: list[Problem]) -> Iterator[tuple[str, object]]:
    """Yield one vhost after the other, each with the config path that it stands at."""
    if not isinstance(topology, Mapping) or "vhosts" not in topology:
        yield "topology", topology
    else:
        yield from _several(topology, problems)


def _several(
    topology: Mapping[str, object], problems: list[Problem]
) -> Iterator[tuple[str, object]]:
    problems += [
        Problem(
            path=path("topology", key),
            value=words.show(topology[key]),
            rule="with `vhosts`, everything stands in one of them",
            fix=f"move it to {path('topology', 'vhosts', 'NAME', key)}",
        )
        for key in topology
        if key != "vhosts"
    ]
    vhosts = topology["vhosts"]
    if not isinstance(vhosts, Mapping) or not vhosts:
        rule = "this is a mapping by name, of one vhost or more"
        problems.append(
            Problem(
                path="topology.vhosts",
                value=words.show(vhosts),
                rule=rule,
                fix="name one, or `vhost:`",
            )
        )
        return
    for name, vhost in vhosts.items():
        inside = {} if vhost is None else vhost
        if isinstance(inside, Mapping):
            inside = {**inside, "vhost": name}
        yield path("topology", "vhosts", name), inside


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
        lost = [
            detail["loc"][:-1]
            if detail["type"] == "missing" and len(detail["loc"]) > 1
            else detail["loc"]
            for detail in details
        ]
        data = _without(data, lost)
        try:
            return model.model_validate_json(json.dumps({**required, **data}))
        except ValidationError as error:  # what is left lacks what was left out
            details = error.errors(include_url=False)


def _without(data: Any, locations: Sequence[tuple[int | str, ...]]) -> Any:
    """Return ``data`` without the elements at ``locations``; of a list nothing stays,
    so that no index in another problem goes wrong.
    """
    if not isinstance(data, dict) or not all(locations):
        return {}
    inside: dict[int | str, list[tuple[int | str, ...]]] = {}
    for head, *rest in locations:
        inside.setdefault(head, []).append(tuple(rest))
    kept = {}
    for key, inner in data.items():
        if key not in inside:
            kept[key] = inner
        elif isinstance(inner, dict) and all(inside[key]):
            kept[key] = _without(inner, inside[key])
    return kept


def _problem(model: type[BaseModel], root: str, detail: ErrorDetails) -> Problem:
    location = detail["loc"]
    where = path(root, *location)
    hidden = SECRETS & set(location)
    value = words.NOT_SHOWN if hidden else words.show(detail["input"])
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
            model = _without_none(model.model_fields[str(part)].annotation)
        else:  # Mapping[str, X] or tuple[X, ...]: the key or index says nothing about X
            inner = get_args(model)
            model = inner[1] if get_origin(model) is not tuple else inner[0]
            model = get_args(model)[0] if hasattr(model, "__metadata__") else model
    return model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}


def _without_none(annotation: Any) -> Any:
    """Return X of ``X | None``, anything else as it is."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation
    return next(argument for argument in get_args(annotation) if argument is not type(None))


def hide(problem: Problem) -> Problem:
    """Return a problem of a config that holds secrets: without the value."""
    return Problem(
        path=problem.path,
        value="[not shown, the config holds secrets]",
        rule=problem.rule,
        fix=problem.fix,
    )
