"""
Lint of `Pulumi.<stack>.yaml` as it lies there: no Pulumi, no broker, nothing decrypted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rabbit_topology.config import base, words, yaml_files
from rabbit_topology.config.stack import OTHER_KEYS, SHAPE, Stack
from rabbit_topology.config.yaml_files import START, Document, Place
from rabbit_topology.errors import ConfigError, Problem, TopologyError, parts, path
from rabbit_topology.findings import Finding, RuleInfo
from rabbit_topology.lint import check as lint
from rabbit_topology.lint import rules_services
from rabbit_topology.lint.reading import read
from rabbit_topology.routing import expectations

PREFIX = "rabbit-topology:"
KEYS = ("topology", "base", "seed", *OTHER_KEYS)

HIDDEN = "[secret]"
"""What stands for an encrypted value."""


@dataclass(frozen=True, kw_only=True)
class Located:
    """A finding, and where it is to be mended."""

    finding: Finding
    file: str
    place: Place = START


def stack_files(folder: Path, stacks: Sequence[str] = ()) -> list[Path]:
    """Return the files of some stacks of a project, all of them by default.

    Raises:
        TopologyError: There is none, or none of a name.
    """
    files = sorted(
        file
        for suffix in ("yaml", "yml")
        for file in folder.glob(f"Pulumi.*.{suffix}")
        if file.is_file()
    )
    by_name = {file.stem.removeprefix("Pulumi."): file for file in files}
    if unknown := [stack for stack in stacks if stack not in by_name]:
        close = words.suggest(unknown[0], by_name)
        raise TopologyError(f"there is no Pulumi.{unknown[0]}.yaml in {folder}; {close}")
    if not files:
        raise TopologyError(f"there is no Pulumi.<stack>.yaml in {folder}: name files, or go there")
    return [by_name[stack] for stack in stacks] or files


def check(file: Path, name: str) -> list[Located]:
    """Return all findings of one stack's file and of the bases it names.

    Args:
        file: The file.
        name: What to call it.
    """
    try:
        document = yaml_files.read(file, name)
    except yaml_files.YamlError as error:
        problem = Problem(path="config", value=name, rule=str(error), fix="correct the file")
        return [Located(finding=_found(SHAPE, problem), file=name)]
    config = document.value.get("config") if isinstance(document.value, dict) else None
    if not isinstance(config, dict):
        problem = Problem(
            path="config",
            value=words.show(type(config).__name__) if config is not None else "missing",
            rule="a stack's file has the stack's config in it",
            fix=f"write it under `config:`, with {PREFIX}topology in it",
        )
        return [Located(finding=_found(SHAPE, problem), file=name)]
    findings, bases = _check(config, file.parent)
    return [_located(finding, document, bases) for finding in findings]


def locate(file: Path, name: str, findings: Iterable[Finding]) -> list[Located]:
    """Return findings of a config with the places where a stack's file, or a base, says so.

    Args:
        file: A stack's file, or a topology file that stacks share.
        name: What to call it.
        findings: What was found, by config paths.

    Raises:
        TopologyError: The file, or one that it names, cannot be read.
    """
    try:
        document = yaml_files.read(file, name)
    except yaml_files.YamlError as error:
        raise TopologyError(f"{name}: {error}") from None
    config = document.value.get("config") if isinstance(document.value, dict) else None
    if not isinstance(config, dict):
        empty = Document(name=name, value=None, node=None)
        return [_located(finding, empty, [document]) for finding in findings]
    bases = base.read(config.get(f"{PREFIX}base"), file.parent)
    return [_located(finding, document, bases) for finding in findings]


def _check(config: Mapping[str, Any], folder: Path) -> tuple[list[Finding], list[Document]]:
    own = {key: config.get(f"{PREFIX}{key}") for key in KEYS}
    besides = [*_unknown_keys(config)]
    try:
        bases = base.read(own["base"], folder)
    except ConfigError as error:
        return [*besides, *(_found(lint.BASE, problem) for problem in error.problems)], []
    if yaml_files.is_secret(own["topology"]):
        problem = Problem(
            path="topology",
            value=HIDDEN,
            rule="it is encrypted as a whole",
            fix="encrypt only what is secret: pulumi config set --secret --path",
        )
        return [*besides, _found(lint.ENCRYPTED, problem)], bases
    topology = base.merged(bases, own["topology"])
    besides += _plain_secrets(config, topology)
    stack = read_open(topology, own)
    seed = own["seed"]
    # One that is encrypted is long enough, as far as can be told.
    shown = "?" * 1000 if yaml_files.is_secret(seed) else None if seed is None else str(seed)
    besides += rules_services.seed_problems(stack.whole, shown)
    username = config.get("rabbitmq:username")
    if isinstance(username, str):
        besides += rules_services.own_user_problems(stack.whole, username)
    if not stack.errors:
        besides += (_found(lint.EXPECTED, failure.problem) for failure in expectations.check(stack))
    return lint.check(stack, besides=besides), bases


def _found(rule: RuleInfo, problem: Problem) -> Finding:
    return Finding(rule=rule, severity=rule.severity, problem=problem)


def _unknown_keys(config: Mapping[str, Any]) -> Iterator[Finding]:
    for key in config:
        if key.startswith(PREFIX) and key.removeprefix(PREFIX) not in KEYS:
            problem = Problem(
                path=key,
                value=words.show(key),
                rule="there is no such key",
                fix=words.suggest(key, [f"{PREFIX}{known}" for known in KEYS]),
            )
            yield _found(lint.UNKNOWN_KEY, problem)


def _plain_secrets(config: Mapping[str, Any], topology: object) -> Iterator[Finding]:
    secrets = [
        key.removeprefix(PREFIX)
        for key in (f"{PREFIX}seed", "rabbitmq:password")
        if isinstance(config.get(key), str)
    ]
    several = _mapping(topology).get("vhosts")
    vhosts = {path("topology", "vhosts", key): vhost for key, vhost in _mapping(several).items()}
    for root, vhost in (vhosts or {"topology": topology}).items():
        for kind, fields in (
            ("users", ("password",)),
            ("services", ("password",)),
            ("shovels", ("source_uri", "destination_uri")),
            ("federation_upstreams", ("uri",)),
        ):
            for name, described in _mapping(_mapping(vhost).get(kind)).items():
                for field in fields:
                    value = _mapping(described).get(field)
                    if isinstance(value, str) and (field == "password" or _has_password(value)):
                        secrets.append(f"{root}.{path(kind, name, field)}")
    for where in secrets:
        problem = Problem(
            path=where,
            value=words.NOT_SHOWN,
            rule="a password stands there in plain text",
            fix=f"pulumi config set --secret {_config_key(where)}",
        )
        yield _found(lint.PLAIN_SECRET, problem)


def _config_key(where: str) -> str:
    """Return what `pulumi config set` takes for a config path."""
    if where.startswith("topology"):
        return f"--path '{PREFIX}{where}'"
    return f"{PREFIX}{where}" if where in KEYS else where


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _has_password(uri: str) -> bool:
    try:
        return urlsplit(uri).password is not None
    except ValueError:  # no URI, which is not for us to say
        return False


def read_open(topology: Any, own: Mapping[str, Any]) -> Stack:
    """Turn a merged topology, and what a stack's other keys hold, into the model.

    Nothing is decrypted: what is encrypted counts as present.
    """
    return read(
        without_secrets(topology), **{key: without_secrets(own.get(key)) for key in OTHER_KEYS}
    )


def without_secrets(value: Any) -> Any:
    """Return a value with its encrypted parts replaced, as many as there are."""
    if yaml_files.is_secret(value):
        return HIDDEN
    if isinstance(value, dict):
        return {key: without_secrets(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_secrets(inner) for inner in value]
    return value


def _located(finding: Finding, document: Document, bases: Sequence[Document]) -> Located:
    """Find the place, in whichever file has most of the finding's path."""
    head, *rest = parts(finding.problem.path)
    key = f"{PREFIX}{head}" if head in KEYS else head
    depth, place = document.find(["config", key, *rest])
    best = (depth - 2, document.name, place)
    for shared in bases if head == "topology" else ():
        depth, place = shared.find(rest)
        # The last base that has as much is the one whose word counts.
        if rest and depth and (depth > best[0] or (depth == best[0] and best[1] != document.name)):
            best = (depth, shared.name, place)
    return Located(finding=finding, file=best[1], place=best[2])
