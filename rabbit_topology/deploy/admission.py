"""
What is looked at before the first resource is made: what the broker has already, made by others.

Source: "HTTP API Reference", RabbitMQ documentation; "Resources", Pulumi documentation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any, Protocol

import pulumi

from rabbit_topology.broker import inventory
from rabbit_topology.broker.access import Access
from rabbit_topology.broker.inventory import Inventory
from rabbit_topology.broker.management import UnreachableError
from rabbit_topology.deploy import abilities
from rabbit_topology.deploy.hooks import refuse
from rabbit_topology.deploy.provider import Provider
from rabbit_topology.deploy.record import Record
from rabbit_topology.errors import BrokerError, ConfigError, path
from rabbit_topology.inventory import adoption
from rabbit_topology.inventory.adoption import Adoption, Wanted
from rabbit_topology.lint import rules_services
from rabbit_topology.model import SafetySettings, Service, TakeOver, Topology, User
from rabbit_topology.services import credentials

_WAYS_ON = (
    "Declare each as it is, or delete it on the broker; or, if the stack may overwrite it, say so "
    "with its name and a reason in `rabbit-topology:safety.take_over`"
)
_VHOST = ("vHost", "")
_LIMITS = ("maxConnections", "maxQueues")
"""Outputs of a vhost's resource."""
_CHANGE_LATER = (
    "\nA queue or exchange cannot be overwritten: declare it as it is, run `pulumi up`, and change "
    "it after that: then it is replaced with what it holds"
)


def check_own_user(topologies: Sequence[Topology], username: str | None) -> None:
    """Check that a program does not take away the user that it connects with; None: not known.

    Raises:
        ConfigError: It does, or would take away what that user may do.
    """
    by_vhost = {topology.vhost: topology for topology in topologies}
    own = rules_services.own_user_problems(by_vhost, username)
    if problems := [one.problem for one in own]:
        raise ConfigError(problems)


class Program(Protocol):
    """What a component is made of, as far as it is looked at here."""

    @property
    def topologies(self) -> Sequence[Topology]:
        """All vhosts, with patterns spelled out."""

    @property
    def safety(self) -> SafetySettings:
        """What may be taken over, and what a preview does about a refusal."""

    @property
    def seed(self) -> pulumi.Input[str] | None:
        """What passwords are derived from."""


async def check(
    record: Record,
    provider: Provider,
    program: Program,
    access: pulumi.Output[Access],
    ready: Callable[[], Awaitable[None]],
) -> None:
    """Check that a run can do what is declared and overwrites nothing of others.

    Says what is adopted.

    Args:
        record: What the stack has.
        provider: What makes the resources.
        program: What is declared.
        access: The broker; where it is not known yet, nothing is looked at.
        ready: Waits until the program may fail.

    Raises:
        pulumi.RunError: The plugin does not know what is declared, the program takes its own user
            away, the broker has something of others that differs, or it cannot be asked.
    """
    known = record.objects()
    if known is None:
        return
    await ready()
    await _check_plugin(provider, program.topologies)
    reached = await access.future()
    if reached is None:
        return
    try:
        check_own_user(program.topologies, reached.management.username)
    except ConfigError as error:
        raise pulumi.RunError(str(error)) from None
    seed = program.seed
    secret = await pulumi.Output.from_input(seed).future() if seed is not None else None
    call = partial(
        copy_context().run, _look, known, program.topologies, reached, secret, pulumi.get_stack()
    )
    try:
        seen = await asyncio.get_running_loop().run_in_executor(None, call)
    except BrokerError as error:
        if isinstance(error, UnreachableError) and pulumi.runtime.is_dry_run():
            return  # it was said before
        raise pulumi.RunError(f"{error}; nothing was changed") from None
    _say(seen, program.safety)


async def _check_plugin(provider: Provider, topologies: Sequence[Topology]) -> None:
    several = len(topologies) > 1
    roots = {
        path("topology", "vhosts", one.vhost) if several else "topology": one for one in topologies
    }
    needed = [*abilities.official_only(roots)]
    if needed and not await provider.is_official():
        raise pulumi.RunError(
            f"the provider's plugin does not know {', '.join(needed)}; nothing was changed. Take "
            "that out of the config, or install Pulumi's own plugin: pulumi plugin install "
            f"resource rabbitmq {version('pulumi-rabbitmq')} --reinstall"
        )


def _look(
    known: Mapping[tuple[str, str, str], Mapping[str, Any]],
    topologies: Sequence[Topology],
    access: Access,
    seed: str | None,
    stack: str,
) -> Adoption:
    def password_of(name: str, user: Service | User) -> str | None:
        if user.password is not None or seed is None:
            return user.password
        return credentials.derive(seed, stack=stack, user=name, rotation=user.rotation)

    unknown = [
        one
        for topology in topologies
        for one in adoption.wanted(topology, password_of)
        if (one.kind, one.vhost, one.name) not in known
    ]
    there = Inventory(access)
    seen = adoption.look(there, unknown)
    made = (one.vhost for one in topologies if (*_VHOST, one.vhost) in known)
    missing = [vhost for vhost in made if not access.has_vhost(vhost)]
    gone = [
        f"{inventory.title(kind, name)} of vhost {topology.vhost}"
        for topology in topologies
        if topology.vhost not in missing
        for kind, name in adoption.passing(topology)
        if (kind, topology.vhost, name) in known
        and there.settings(kind, topology.vhost, name) is None
    ]
    limited = (
        one.vhost
        for one in topologies
        if any(known.get((*_VHOST, one.vhost), {}).get(key) for key in _LIMITS)
    )
    unlimited = [one for one in limited if one not in missing and not _limits(there, one)]
    absent = [
        inventory.title("vHost", one.vhost)
        for one in topologies
        if one.vhost_settings.exists and not access.has_vhost(one.vhost)
    ]
    absent += [
        inventory.title("user", name)
        for vhost, name in adoption.users_of_others(topologies)
        if ("permissions", vhost, name) not in known and there.settings("user", "", name) is None
    ]
    return replace(seen, missing=missing, absent=absent, gone=gone, unlimited=unlimited)


def _limits(there: Inventory, vhost: str) -> Mapping[str, Any]:
    settings = there.settings(*_VHOST, vhost) or {}
    stated = {key: settings.get(key) for key in ("max-connections", "max-queues")}
    return {key: value for key, value in stated.items() if value is not None}


def _say(seen: Adoption, settings: SafetySettings) -> None:
    if seen.absent:
        refuse(
            settings,
            f"refused, since the broker does not have {', '.join(seen.absent)}, of which the "
            "config says that it exists. Make it first, or remove its `exists`: then the stack "
            "makes it",
        )
    if seen.missing:
        pulumi.warn(
            f"the stack has made the vhost {', '.join(seen.missing)}, and the broker does not have "
            "it: is it the right broker? If so, `pulumi up --refresh` makes all of it anew (where "
            "the refresh fails, as on RabbitMQ 4.0 with operator policies, make the vhost by hand "
            "first); else the engine takes it for unchanged"
        )
    if seen.gone:
        pulumi.warn(
            f"the broker has deleted by itself what the stack has made, since it is transient, "
            f"unused or expired: {', '.join(seen.gone)}. `pulumi up --refresh` makes it anew; else "
            "the engine takes it for unchanged, and what is to be bound to it fails"
        )
    for vhost in seen.unlimited:
        pulumi.warn(
            f"the limits that the stack has set on vhost {vhost} were cleared by hand. The "
            "provider does not see that, and fails when another setting of the vhost changes: set "
            f"one of them again, rabbitmqctl set_vhost_limits -p {vhost} '{{\"max-queues\": …}}'"
        )
    if seen.equal:
        pulumi.info(f"adopts {len(seen.equal):,} objects, which are there as they are declared")
    refused: list[tuple[Wanted, Sequence[str]]] = []
    for one, differences in seen.different:
        allowed = next(_allowing(settings.take_over, one), None)
        if allowed and one.can_be_taken_over:
            pulumi.info(f"takes over {_line(one, differences)} (as said: {allowed.reason})")
        else:
            refused.append((one, differences))
    if not refused:
        return
    lines = "".join(f"\n  - {_line(one, differences)}" for one, differences in refused)
    later = "" if all(one.can_be_taken_over for one, _ in refused) else _CHANGE_LATER
    refuse(
        settings,
        "refused, since the broker has objects that this stack has not made, and they differ from "
        f"what is declared (as there -> as declared):{lines}\n{_WAYS_ON}{later}",
    )


def _allowing(take_over: Sequence[TakeOver], one: Wanted) -> Iterator[TakeOver]:
    for allowed in take_over:
        if allowed.object == one.title and allowed.vhost in (None, one.vhost):
            yield allowed


def _line(one: Wanted, differences: Sequence[str]) -> str:
    where = f" of vhost {one.vhost}" if one.vhost else ""
    return f"{one.title}{where}: {', '.join(differences)}"
