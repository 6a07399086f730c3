"""
What a broker has, as it lists it: from the broker itself, or from a file that others keep of it.

Source: "Definitions", "HTTP API Reference", RabbitMQ documentation.
"""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from rabbit_topology.adopt import operator, terraform
from rabbit_topology.adopt.entries import SECTIONS, Entries
from rabbit_topology.broker.management import Management, NotFoundError
from rabbit_topology.compiler.whereabouts import vhost_named
from rabbit_topology.config.words import show
from rabbit_topology.errors import TopologyError
from rabbit_topology.model import DEFAULT_VHOST, versions

Listed = Mapping[str, Any]
"""One object as the management API has it."""

PAGE_SIZE = 500

LISTS = (
    *("exchanges", "queues", "bindings", "policies", "operator_policies"),
    *("permissions", "topic_permissions", "parameters"),
)
"""What is in a vhost."""

_MOST_DIGITS = 40
_GZIP = b"\x1f\x8b"

READ_BY_PLUGIN = "rabbit_topology:read-by-plugin"
"""A key of a listed queue: a plugin of the broker consumes it, such as a shovel."""

_OF_A_BROKER = ("vhosts", "users", "permissions", "topic_permissions", "global_parameters")
"""Sections that a file of one vhost does not have."""

_DESCRIBES = (
    *("description", "tags", "default_queue_type", "tracing", "protected_from_deletion"),
    *("metadata", "limits"),
)
"""What a file says of a vhost itself."""

_OPERATOR_POLICY = "operator_policy"
_LIMITS = "vhost-limits"
_POLICY = "policy"


@dataclass(frozen=True, kw_only=True)
class Definitions:
    """What one broker has."""

    source: str
    """The endpoint, or the file's name."""
    version: str | None
    """The broker's, where it is known."""
    vhosts: Mapping[str, Listed]
    """By name: what each is itself, its ``limits`` included."""
    users: Mapping[str, Listed]
    """By name, in order: what each is, the hash of its password included."""
    within: Mapping[str, Mapping[str, list[Listed]]]
    """By vhost, and by one of `LISTS`; arguments are mappings, whatever the source has for none."""
    cluster_wide: int
    """How many global parameters there are."""
    unclear: Sequence[tuple[str, str]] = ()
    """Where something stands in a file that cannot be understood, and why."""

    @property
    def broker(self) -> dict[str, str] | None:
        """The value of `rabbit-topology:broker` that says its version, where it is known."""
        return None if self.version is None else {"version": self.version}


def live(management: Management, report: Callable[[str], None]) -> Definitions:
    """Read a broker, its queues and exchanges page by page.

    Raises:
        BrokerError: It cannot be asked.
    """
    management.check_administrator()
    lists: dict[str, list[Listed]] = {}
    for key in LISTS:
        path = f"/{key.replace('_', '-')}"
        if key in ("exchanges", "queues"):
            lists[key] = _pages(management, path, report)
        else:
            lists[key] = management.get(path)
        report(f"{len(lists[key]):,} {key.replace('_', ' ')}")
    limits = {one["vhost"]: one["value"] for one in management.get("/vhost-limits")}
    by_default = management.get("/overview?disable_stats=true").get("default_queue_type")
    vhosts = {}
    for one in management.get("/vhosts"):
        own = {**one, "limits": limits.get(one["name"], {})}
        if own.get("default_queue_type") == by_default:  # no setting of the vhost's
            own = {key: value for key, value in own.items() if key != "default_queue_type"}
            own["metadata"] = {
                key: value
                for key, value in (own.get("metadata") or {}).items()
                if key != "default_queue_type"
            }
        vhosts[one["name"]] = own
    lists["parameters"] = [*_own_parameters(lists["parameters"])]
    read_by_plugin = set(_read_by_plugins(management))
    lists["queues"] = [
        {**one, READ_BY_PLUGIN: (one["vhost"], one["name"]) in read_by_plugin}
        for one in lists["queues"]
    ]
    return Definitions(
        source=management.endpoint,
        version=management.stated_version(),
        vhosts=vhosts,
        users=_users(management.get("/users")),
        within=_by_vhost(vhosts, lists, None),
        cluster_wide=len(_if_there(management, "/global-parameters")),
    )


def from_file(file: Path, name: str, vhost: str | None = None) -> Definitions:
    """Read a definitions file, of a whole broker or of one vhost, or what stands for one.

    That is a Terraform state, or the resources of the Kubernetes operator.

    Args:
        file: The file.
        name: What to call it.
        vhost: The vhost's name, where the file is of one.

    Raises:
        TopologyError: It is not there, or holds no definitions.
    """
    return parse(_held(file, name), name, vhost)


def parse(held: Mapping[str, Any], name: str, vhost: str | None = None) -> Definitions:
    """Return what the broker exports of itself, or of one vhost.

    Args:
        held: The export, as a mapping.
        name: What to call the source.
        vhost: The vhost's name, where it is of one.

    Raises:
        TopologyError: It is of one vhost, and that has no name.
    """
    entries = Entries(held)
    sections = entries.sections
    whole = any(held.get(key) is not None for key in _OF_A_BROKER) or any(
        "vhost" in one for key in LISTS for one in sections[key]
    )
    vhost = vhost if vhost is not None else _original_name(held)
    if not whole and vhost is None:
        raise TopologyError(f"{name}: it is of one vhost: say with --vhost how that is called")
    parameters = sections["parameters"]
    lists: dict[str, list[Listed]] = {key: sections[key] for key in LISTS}
    lists["operator_policies"] += [
        {**_unpaired(one.get("value")), **one}
        for one in parameters
        if one["component"] == _OPERATOR_POLICY
    ]
    lists["parameters"] = [*_own_parameters(parameters)]
    limits = {
        one.get("vhost", DEFAULT_VHOST if whole else vhost): one.get("value")
        for one in parameters
        if one["component"] == _LIMITS
    }
    # What is in a vhost that is not listed is there as well: nothing is left out without a word.
    inside = {str(one.get("vhost", DEFAULT_VHOST)) for those in lists.values() for one in those}
    named: dict[str, Listed] = {one: {} for one in sorted(inside)} if whole else {str(vhost): held}
    named |= {one["name"]: one for one in sections["vhosts"]}
    vhosts = {one: _described(one, named[one], limits.get(one)) for one in named}
    return Definitions(
        source=name,
        version=_version(held),
        vhosts=vhosts,
        users=_users(sections["users"]),
        within=_by_vhost(vhosts, lists, None if whole else vhost),
        cluster_wide=len(sections["global_parameters"]),
        unclear=entries.unclear,
    )


def _original_name(held: Mapping[str, Any]) -> str | None:
    """Return the name of the vhost that a file is of, as RabbitMQ 4 writes it."""
    name = held.get("original_vhost_name")
    return name if isinstance(name, str) else None


def _version(held: Mapping[str, Any]) -> str | None:
    """Return the broker's version, if a file says one: some have a placeholder for it."""
    stated = held.get("rabbitmq_version") or held.get("rabbit_version")
    if not isinstance(stated, str):
        return None
    stated = stated.strip().removeprefix("v")
    try:
        is_one = versions.parse(stated) > (0, 0)
    except ValueError:
        return None
    return stated if is_one else None


def _described(name: str, entry: Listed, limits: object) -> Listed:
    """Return what a vhost is itself; no mapping where there has to be one says nothing."""
    stated = {key: entry[key] for key in _DESCRIBES if key in entry}
    for key, value in (
        ("metadata", entry.get("metadata")),
        ("limits", limits or entry.get("limits")),
    ):
        stated[key] = value if isinstance(value, dict) else {}
    return {"name": name, **stated}


def _users(listed: Iterable[Listed]) -> dict[str, Listed]:
    named = {str(one.get("name")): one for one in listed}
    return {name: named[name] for name in sorted(named)}


def _held(file: Path, name: str) -> dict[str, Any]:
    """Return what a file holds, as a definitions file has it."""
    try:
        text = _decoded(file.read_bytes(), name)
    except OSError as error:
        raise TopologyError(f"{name}: {error.strerror}") from None
    try:
        if file.suffix in (".yaml", ".yml"):
            resources = operator.resources(_documents(text, name))
            held: Any = operator.as_definitions(resources) if resources else None
        else:
            held = _json(text, name)
            if terraform.looks_right(held):
                held = terraform.as_definitions(held)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise TopologyError(
            f"{name}: it is not as Terraform or the Kubernetes operator writes it"
        ) from None
    if isinstance(held, dict) and any(isinstance(held.get(key), list) for key in SECTIONS):
        return held
    raise TopologyError(
        f"{name}: it holds no definitions: export them with rabbitmqctl export_definitions or from "
        "the management UI; terraform show -json is read as well, and YAML of the Kubernetes "
        "operator"
    )


def _decoded(content: bytes, name: str) -> str:
    """Return what a file says, in UTF-8, or in UTF-16 as a shell of Windows writes it."""
    if content.startswith(_GZIP):
        raise TopologyError(f"{name}: it is compressed: unpack it first, with gunzip")
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError:
        raise TopologyError(f"{name}: it is not text in UTF-8") from None


def _json(text: str, name: str) -> Any:
    if not text.strip():
        raise TopologyError(f"{name}: it is empty")
    try:
        held = json.loads(
            text, parse_constant=_constant, parse_int=_whole_number, parse_float=_number
        )
        json.dumps(held, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        hint = ""
        if text[: error.pos + 1].rstrip("]}").rstrip().endswith(","):
            hint = ": there is a comma too many, which RabbitMQ 3 ignores and RabbitMQ 4 does not"
        raise TopologyError(f"{name}: it is not JSON: {error}{hint}") from None
    except RecursionError:
        raise TopologyError(f"{name}: its values are nested too deep") from None
    except UnicodeEncodeError:
        raise TopologyError(f"{name}: it has half of a character, as in \\ud83d alone") from None
    except ValueError as error:
        raise TopologyError(f"{name}: it is not JSON: {error}") from None
    return held


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def _whole_number(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number has {len(digits):,} digits")
    return int(digits)


def _number(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"no broker has a number such as {digits[:_MOST_DIGITS]}")
    return number


def _documents(text: str, name: str) -> list[Any]:
    try:
        return list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise TopologyError(f"{name}: it is not YAML: {error}") from None


def of_vhosts(definitions: Definitions, names: Iterable[str]) -> list[str]:
    """Return the vhosts that are meant: all of them where no names are given.

    Raises:
        TopologyError: There is none of a name.
    """
    chosen = list(names) or sorted(definitions.vhosts)
    for name in chosen:
        if name not in definitions.vhosts:
            known = ", ".join(sorted(definitions.vhosts)) or "none"
            raise TopologyError(
                f"{definitions.source} has no vhost {show(name)}; there are: {known}"
            )
    return chosen


def _pages(management: Management, path: str, report: Callable[[str], None]) -> list[Listed]:
    listed: list[Listed] = []
    page, pages = 1, 1
    while page <= pages:
        query = f"?page={page}&page_size={PAGE_SIZE}&disable_stats=true"
        answer = management.get(f"{path}{query}")
        listed += answer["items"]
        page, pages = page + 1, answer.get("page_count", 1)
        if pages > 1:
            report(f"{len(listed):,} of {answer['total_count']:,} {path[1:]}")
    return listed


def _read_by_plugins(management: Management) -> Iterator[tuple[str, str]]:
    """Yield the queues that are consumed without a connection: its port is then no number."""
    for one in management.get("/consumers"):
        channel = one.get("channel_details")
        port = channel.get("peer_port") if isinstance(channel, dict) else None
        if port is not None and not isinstance(port, int):
            yield one["queue"]["vhost"], one["queue"]["name"]


def shovelled(within: Mapping[str, Mapping[str, Iterable[Listed]]]) -> set[tuple[str, str]]:
    """Return the queues, by vhost and name, that shovels take from without a connection.

    Whether they run just now or not: a definitions file does not say, and a shovel starts again.
    Source: "Dynamic Shovels", "RabbitMQ URI Specification", RabbitMQ documentation.
    """
    queues = set()
    for vhost, lists in within.items():
        for parameter in lists["parameters"]:
            value = parameter.get("value")
            if parameter.get("component") != "shovel" or not isinstance(value, dict):
                continue
            uris = value.get("src-uri", ())
            for uri in uris if isinstance(uris, list) else [uris]:
                queues |= {
                    (where, str(value.get("src-queue"))) for where in _vhosts_within(uri, vhost)
                }
    return queues


def _vhosts_within(uri: object, own: str) -> set[str]:
    """Return the vhosts that a URI without a host may be of; none of one with a host."""
    try:
        is_away = bool(urlsplit(str(uri)).hostname)
    except ValueError:  # the broker cannot read it either
        return set()
    return (
        set() if is_away else {vhost_named(str(uri), default) for default in (DEFAULT_VHOST, own)}
    )


def _if_there(management: Management, path: str) -> list[Listed]:
    try:
        listed: list[Listed] = management.get(path)
    except NotFoundError:
        return []
    return listed


def _own_parameters(parameters: Iterable[Listed]) -> Iterable[Listed]:
    """Return those that are no other kind of object."""
    others = (_OPERATOR_POLICY, _LIMITS, _POLICY)
    return (one for one in parameters if one.get("component") not in others)


def _by_vhost(
    vhosts: Iterable[str], lists: Mapping[str, Iterable[Listed]], only: str | None
) -> dict[str, dict[str, list[Listed]]]:
    within: dict[str, dict[str, list[Listed]]] = {
        vhost: {key: [] for key in LISTS} for vhost in vhosts
    }
    for key, those in lists.items():
        for one in those:
            vhost = one.get("vhost", only if only is not None else DEFAULT_VHOST)
            if vhost in within:
                within[vhost][key].append({**one, "arguments": _arguments(one)})
    return within


def _arguments(one: Listed) -> Listed:
    # An export of an older broker may have a list where there are none.
    arguments = one.get("arguments")
    return arguments if isinstance(arguments, dict) else {}


def _unpaired(value: Any) -> dict[str, Any]:
    """Return an operator policy: its definition may be a list of pairs, as rabbitmqctl has it."""
    policy = dict(value) if isinstance(value, dict) else {}
    definition = policy.get("definition")
    if isinstance(definition, list) and all(
        isinstance(one, list) and len(one) == 2 and isinstance(one[0], str) for one in definition
    ):
        policy["definition"] = dict(definition)
    return policy
