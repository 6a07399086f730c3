"""
What is looked at before the first resource is made: what the broker has already, made by others.

Source: "HTTP API Reference", RabbitMQ documentation; "Resources", Pulumi documentation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextvars import copy_context
from dataclasses import replace
from functools import partial

import pulumi

from rabbit_topology import adoption, credentials
from rabbit_topology.access import Access
from rabbit_topology.adoption import Adoption, Wanted
from rabbit_topology.errors import BrokerError
from rabbit_topology.hooks import refuse
from rabbit_topology.management import UnreachableError
from rabbit_topology.model import SafetySettings, Service, TakeOver, Topology, User
from rabbit_topology.record import Record

_WAYS_ON = (
    "Declare each as it is, or delete it on the broker; or, if the stack may overwrite it, say so "
    "with its name and a reason in `rabbit-topology:safety.take_over`"
)
_CHANGE_LATER = (
    "\nA queue or exchange cannot be overwritten: declare it as it is, run `pulumi up`, and change "
    "it after that: then it is replaced with what it holds"
)


async def check(
    record: Record,
    topologies: Sequence[Topology],
    settings: SafetySettings,
    access: pulumi.Output[Access],
    seed: pulumi.Input[str] | None,
) -> None:
    """Check that nothing of others would be overwritten; say what is adopted.

    Args:
        record: What the stack has.
        topologies: Of each vhost, with patterns spelled out.
        settings: What may be taken over, and what a preview does about a refusal.
        access: The broker; where it is not known yet, nothing is looked at.
        seed: What passwords are derived from.

    Raises:
        pulumi.RunError: The broker has something of others that differs, or cannot be asked.
    """
    reached = await access.future()
    if reached is None:
        return
    secret = await pulumi.Output.from_input(seed).future() if seed is not None else None
    call = partial(
        copy_context().run, _look, record, topologies, reached, secret, pulumi.get_stack()
    )
    try:
        seen = await asyncio.get_running_loop().run_in_executor(None, call)
    except BrokerError as error:
        if isinstance(error, UnreachableError) and pulumi.runtime.is_dry_run():
            return  # it was said before
        raise pulumi.RunError(f"{error}; nothing was changed") from None
    _say(seen, settings)


def _look(
    record: Record,
    topologies: Sequence[Topology],
    access: Access,
    seed: str | None,
    stack: str,
) -> Adoption:
    known = record.objects()
    if known is None:
        return Adoption()

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
    seen = adoption.look(access, unknown) if unknown else Adoption()
    made = (one.vhost for one in topologies if ("vHost", "", one.vhost) in known)
    return replace(seen, missing=[vhost for vhost in made if not access.has_vhost(vhost)])


def _say(seen: Adoption, settings: SafetySettings) -> None:
    if seen.missing:
        pulumi.warn(
            f"the stack has made the vhost {', '.join(seen.missing)}, and the broker does not have "
            "it: is it the right broker? If so, `pulumi up --refresh` makes all of it anew; else "
            "the engine takes it for unchanged"
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
