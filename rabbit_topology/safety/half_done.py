"""
What the broker begins for a client, and leaves half done if the client goes meanwhile.

The management API does what it is asked for in the process that answers, and that process ends with
the client's connection, as when a run is killed. Most objects are made in one step. These need two,
and the second is then missing for good: to ask for the same once more changes nothing. So many were
left so of requests that were cut at random:

- A binding from a topic exchange is listed and leads nowhere; one that was removed is not listed
  and still leads (RabbitMQ 4.0: 326 of 700, 242 of 700; 3.10 and 4.3: none of 400). So bindings are
  made and removed over AMQP: there the channel comes to the end of what it does (none of 900).
- A policy is listed and not applied, or applied and not listed (3.10: 87 of 200; 4.0: 195 of 400;
  4.3: 96 of 100), or noted for a queue that does not know of it. The broker works out what applies
  to everything in a vhost whenever a policy is written there, and tells queues of changes. So
  policies are written in two steps that mean the same, see `Access.write_policy`.
- A vhost is listed, and lacks exchanges of its own, or does not run (3.10: 18 of 48; 4.0: 27 of
  120; 4.3: 12 of 48).
- A shovel is listed and does not run (4.0: 51 of 100), or runs and is not listed (108 of 200): see
  `messages.shovel`.

Exchanges, classic queues, and bindings from other exchanges were never left so; for quorum queues
see `recovery`.
Source: `rabbit_mgmt_util`, `rabbit_db_binding` and `rabbit_policy` of 4.0.5.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping

from rabbit_topology.broker.access import (
    NEUTRAL,
    NOTICED_SECONDS,
    Access,
    LockedError,
    NoAmqpError,
)
from rabbit_topology.broker.management import NotFoundError
from rabbit_topology.compiler.effective import Index, Live, Target
from rabbit_topology.compiler.names import PREFIX
from rabbit_topology.messages.state import QueueState
from rabbit_topology.model import PREDECLARED_EXCHANGES

BOUND_IN_ONE_STEP = frozenset({"direct", "fanout", "headers"})
"""The types of exchanges that route by the bindings that are listed."""

_WITHOUT_MNESIA = (4, 3)
"""From this version on topic exchanges do so as well."""

_AGAIN = f"{PREFIX}again"
"""What policies are called that only have the broker work out once more what applies."""

_NOTHING = "(?!)"

_STARTING_SECONDS = 1.0
"""How long a vhost may take to start that is being made just now."""


def binds_in_two_steps(access: Access) -> bool:
    """Return whether a binding of a topic exchange can be left half made."""
    return access.management.version < _WITHOUT_MNESIA


def finish_policies(access: Access, vhost: str, report: Callable[[str], None]) -> None:
    """Have the broker apply the policies that it lists, and no others.

    Not while another run is at work, which is in the middle of that. Before 4.3 no list tells which
    operator policies apply.

    Raises:
        BrokerError: The broker cannot be asked, or refuses.
    """
    try:
        live = access.live(vhost)
        before = [*_misapplied(access, vhost, live)]
    except NotFoundError:
        return
    ours = [name for name in live if name.startswith(_AGAIN)]
    if not before and not ours:
        return
    try:
        access.lock(vhost, NOTICED_SECONDS)
    except LockedError:
        return
    except NoAmqpError:
        pass  # without AMQP there is no lock to ask for
    body = {"pattern": _NOTHING, "definition": NEUTRAL, "apply-to": "queues", "priority": 0}
    access.write_policy(vhost, _AGAIN, body)
    for name in {_AGAIN, *ours}:
        access.delete_policy(vhost, name)
    after = {*_misapplied(access, vhost, access.live(vhost))}
    if mended := [one for one in before if one not in after]:
        report(
            f"vhost {vhost}: a run that was killed had left the broker with policies that it "
            "listed and did not apply, or the other way round; what applies now is what it lists, "
            f"also to {', '.join(mended)}"
        )


def apply_again(access: Access, vhost: str, queues: Collection[str]) -> None:
    """Tell queues once more what applies to them: they may not know of a policy that has gone.

    The broker notes for each what applies before it tells the queue, and tells it only of changes.

    Raises:
        BrokerError: The broker cannot be asked, or refuses.
    """
    live = access.live(vhost)
    by_policy: dict[str, list[str]] = {}
    for row in access.rows("queues", vhost):
        if row["name"] in queues:
            # What the broker itself says: not every pattern can be read here.
            by_policy.setdefault(row.get("policy") or "", []).append(row["name"])
    for number, (name, those) in enumerate(by_policy.items()):
        definition = live[name].definition if name in live else NEUTRAL
        policy = f"{_AGAIN}.{number}"
        access.override_policy(vhost, policy, those, "queues", definition)
        access.delete_policy(vhost, policy)


def remove_vhost(access: Access, vhost: str, report: Callable[[str], None]) -> None:
    """Delete a vhost that was only half made, and in which there is nothing, to be made anew.

    Raises:
        BrokerError: The broker cannot be asked, or refuses.
    """
    try:
        if _stays(access, vhost):
            return
        time.sleep(_STARTING_SECONDS)
        if _stays(access, vhost):
            return
    except NotFoundError:
        return
    report(f"vhost {vhost}: deleting it, since a run that was killed left it half made, and empty")
    access.request_if_there("DELETE", "vhosts", vhost)


def _stays(access: Access, vhost: str) -> bool:
    return _is_whole(access, vhost) or _holds_anything(access, vhost)


def _is_whole(access: Access, vhost: str) -> bool:
    state = access.management.get(access.path("vhosts", vhost)).get("cluster_state", {})
    exchanges = {one["name"] for one in access.rows("exchanges", vhost)}
    return exchanges >= {"", *PREDECLARED_EXCHANGES} and (not state or "running" in state.values())


def _holds_anything(access: Access, vhost: str) -> bool:
    """Return whether a vhost has anything but its own exchanges and the run's own permissions."""
    get = access.management.get
    others = [
        one["user"]
        for one in get(f"{access.path('vhosts', vhost)}/permissions")
        if one["user"] != access.management.username
    ]
    exchanges = [one["name"] for one in access.rows("exchanges", vhost)]
    return (
        any(name and not name.startswith("amq.") for name in exchanges)
        or bool(others or access.rows("queues", vhost))
        or bool(access.policies(vhost) or access.policies(vhost, operator=True))
        or any(one["vhost"] == vhost for one in get("/parameters"))
    )


def _misapplied(access: Access, vhost: str, live: Mapping[str, Live]) -> Iterator[str]:
    """Yield what has another policy than the ``live`` ones say, or another operator policy."""
    policies = Index(live, access.like)
    operators = Index(access.live(vhost, operator=True), access.like)
    for row in access.rows("exchanges", vhost):
        target = Target(kind="exchanges", name=row["name"])
        if row["name"] and (row.get("policy") or None) not in policies.applying(target):
            yield f"exchange {row['name']}"
    for row in access.rows("queues", vhost):
        target = QueueState(row).target
        operator = row.get("operator_policy") or None
        if (row.get("policy") or None) not in policies.applying(target) or (
            "operator_policy" in row and operator not in operators.applying(target)
        ):
            yield f"queue {row['name']}"
