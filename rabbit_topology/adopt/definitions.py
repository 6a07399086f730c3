"""
What a broker has, as it lists it: from the broker itself, or from a file that others keep of it.

Source: "Definitions", "HTTP API Reference", RabbitMQ documentation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from rabbit_topology.adopt import operator, terraform
from rabbit_topology.broker.management import Management, NotFoundError
from rabbit_topology.compiler.whereabouts import vhost_named
from rabbit_topology.config.words import show
from rabbit_topology.errors import TopologyError
from rabbit_topology.model import DEFAULT_VHOST

Listed = Mapping[str, Any]
"""One object as the management API has it."""

PAGE_SIZE = 500

LISTS = (
    *("exchanges", "queues", "bindings", "policies", "operator_policies"),
    *("permissions", "topic_permissions", "parameters"),
)
"""What is in a vhost."""

READ_BY_PLUGIN = "rabbit_topology:read-by-plugin"
"""A key of a listed queue: a plugin of the broker consumes it, such as a shovel."""

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
    whole = "vhosts" in held or any(
        "vhost" in one for key in LISTS for one in held.get(key, ()) if isinstance(one, dict)
    )
    if not whole and vhost is None:
        raise TopologyError(f"{name}: it is of one vhost: say with --vhost how that is called")
    parameters = _mappings(held, "parameters")
    lists: dict[str, list[Listed]] = {key: _mappings(held, key) for key in LISTS}
    lists["operator_policies"] += [
        {**one, **_unpaired(one.get("value"))}
        for one in parameters
        if one.get("component") == _OPERATOR_POLICY
    ]
    lists["parameters"] = [*_own_parameters(parameters)]
    limits = {
        one.get("vhost", vhost): one.get("value", {})
        for one in parameters
        if one.get("component") == _LIMITS
    }
    # What is in a vhost that is not listed is there as well: nothing is left out without a word.
    inside = {str(one["vhost"]) for those in lists.values() for one in those if "vhost" in one}
    named: dict[str, Listed] = {
        name: {"name": name} for name in sorted(inside if whole else {str(vhost)})
    }
    named |= {str(one.get("name")): one for one in _mappings(held, "vhosts")}
    vhosts = {one: {**described, "limits": limits.get(one, {})} for one, described in named.items()}
    version = held.get("rabbitmq_version") or held.get("rabbit_version")
    return Definitions(
        source=name,
        version=version if isinstance(version, str) else None,
        vhosts=vhosts,
        users=_users(_mappings(held, "users")),
        within=_by_vhost(vhosts, lists, None if whole else vhost),
        cluster_wide=len(_mappings(held, "global_parameters")),
    )


def _users(listed: Iterable[Listed]) -> dict[str, Listed]:
    named = {str(one.get("name")): one for one in listed}
    return {name: named[name] for name in sorted(named)}


def _held(file: Path, name: str) -> dict[str, Any]:
    """Return what a file holds, as a definitions file has it."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise TopologyError(f"{name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TopologyError(f"{name}: it is not text in UTF-8") from None
    if file.suffix in (".yaml", ".yml"):
        resources = operator.resources(_documents(text, name))
        held: Any = operator.as_definitions(resources) if resources else None
    else:
        try:
            held = json.loads(text)
        except ValueError as error:
            raise TopologyError(f"{name}: it is not JSON: {error}") from None
    if terraform.looks_right(held):
        held = terraform.as_definitions(held)
    if isinstance(held, dict) and any(
        isinstance(held.get(key), list) for key in (*LISTS, "vhosts", "users")
    ):
        return held
    raise TopologyError(
        f"{name}: it holds no definitions: export them with rabbitmqctl export_definitions or from "
        "the management UI; terraform show -json is read as well, and YAML of the Kubernetes "
        "operator"
    )


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
            for uri in [uris] if isinstance(uris, str) else uris:
                queues |= {
                    (where, str(value.get("src-queue"))) for where in _vhosts_within(uri, vhost)
                }
    return queues


def _vhosts_within(uri: object, own: str) -> set[str]:
    """Return the vhosts that a URI without a host may be of; none of one with a host."""
    if urlsplit(str(uri)).hostname:
        return set()
    return {vhost_named(str(uri), default) for default in (DEFAULT_VHOST, own)}


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


def _mappings(held: Mapping[str, Any], key: str) -> list[Listed]:
    value = held.get(key)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _unpaired(value: Any) -> dict[str, Any]:
    """Return an operator policy: its definition may be a list of pairs, as rabbitmqctl has it."""
    policy = dict(value) if isinstance(value, dict) else {}
    definition = policy.get("definition")
    if isinstance(definition, list) and all(isinstance(one, list) for one in definition):
        policy["definition"] = {str(one[0]): one[1] for one in definition if len(one) == 2}
    return policy
