"""
Completing what a killed run has left half-way: what was held is given back, helpers are removed.

Source: the broker's own objects alone, since a killed run may not have saved any state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace

from rabbit_topology.broker import marker
from rabbit_topology.broker.access import NOTICED_SECONDS, Access
from rabbit_topology.broker.management import NotFoundError
from rabbit_topology.broker.marker import is_marker
from rabbit_topology.compiler.names import PREFIX
from rabbit_topology.errors import BrokerError
from rabbit_topology.messages import deletion, shovel, survey
from rabbit_topology.messages.queue import BrokerQueue, NoLeaderError
from rabbit_topology.model import OnDelete, Queue, Topology
from rabbit_topology.safety import half_done, stand_ins
from rabbit_topology.safety.exchange_replacement import ExchangeReplacement
from rabbit_topology.safety.planned import Planned
from rabbit_topology.safety.queue_replacement import QueueReplacement
from rabbit_topology.safety.restoration import Restoration

_DELETING = "exchange-delete-in-progress"
"""The broker's own parameter, by which it notes that it is deleting an exchange."""

_DELETING_SECONDS = 1.0
"""More than any exchange takes to be deleted."""

_FORGOTTEN_SECONDS = 150.0
"""The broker cleans its statistics every two minutes."""


def find(access: Access, topology: Topology) -> list[str]:
    """Return the names of what an unfinished run has left in the topology's vhost."""
    return [name for name in stand_ins.leftovers(access, topology.vhost) if not is_marker(name)]


def complete(access: Access, topology: Topology, report: Callable[[str], None]) -> list[str]:
    """Restore what is held and remove the helpers; return those of what is no longer declared.

    A queue or exchange that was deleted and not yet declared again is declared as the topology
    says, since the engine may believe that it is there. A queue that the topology no longer has
    gets back what it held, so that its removal is judged by that.

    Raises:
        LockedError: The run that left it is still at work.
        BrokerError: The broker cannot be asked, or refuses.
    """
    _end_deletions(access, topology, report)
    vhost = topology.vhost
    half_done.finish_policies(access, vhost, report)
    left = stand_ins.leftovers(access, vhost)
    marker.sweep(access, vhost, left)
    helpers = {name for name in left if not is_marker(name)}
    if not helpers:
        return []
    access.lock(vhost, NOTICED_SECONDS)
    marks = {name for name in helpers if name.startswith(deletion.deleting(""))}
    helpers -= marks
    for mark in marks:
        _end_queue_deletion(access, vhost, mark, report)
    planned = Planned(access=access, topology=topology)
    needed, abandoned = planned.held(helpers)
    for name in abandoned:
        report(f"policy {name}: removing it, since the queue that it was for is not replaced")
        planned.remove(name)
    for name, exchange in topology.exchanges.items():
        replacement = ExchangeReplacement(
            access=access,
            vhost=vhost,
            name=name,
            report=report,
            new=exchange,
            outgoing=[route for route in topology.routes() if route.source == name],
        )
        if replacement.stand_in not in helpers:
            continue
        report(f"exchange {name}: completing what an earlier run began")
        if replacement.is_taken_over() or not access.exists("exchanges", vhost, name):
            replacement.declare()
        else:
            replacement.restore()
    completed: list[str] = []
    every = [*topology.queues, *topology.successors, *survey.names(access, vhost)]
    for name in dict.fromkeys(every):
        taken = Restoration(access=access, vhost=vhost, name=name, report=report)
        if taken.stand_in not in helpers:
            continue
        report(f"queue {name}: completing what an earlier run began")
        successor = topology.successors.get(name, "")
        if successor and taken.is_renamed(successor):
            taken = replace(taken, successor=successor)
        elif others := taken.returned_to() - {name}:
            raise BrokerError(
                access.management.endpoint,
                f"queue {name}: a run that was killed has begun to rename it, and part of what it "
                f"held is in queue {', '.join(others)}: say `renamed_from: {name}` there, as it "
                "was said then, and run again",
            )
        shovel.end_unlisted(access, vhost, (name, taken.drained, taken.holding, taken.kept))
        wanted = taken.destination in topology.queues
        for helper in (taken.holding, taken.drained, taken.kept):
            _delete_half_declared(access, vhost, helper, report)
        if wanted and taken.is_held():
            _delete_half_declared(access, vhost, taken.destination, report, taken)
        with suppress(NoLeaderError):
            if BrokerQueue(access, vhost, taken.destination).read():
                half_done.apply_again(access, vhost, {taken.destination})
        missing = not access.exists("queues", vhost, taken.destination)
        if missing:
            taken.rescue()
        if wanted and (missing or taken.is_gone()):
            new = topology.queues[taken.destination]
            _check_waiting(planned, taken, new)
            QueueReplacement(
                access=access,
                vhost=vhost,
                name=name,
                report=report,
                new=new,
                successor=taken.successor,
            ).complete()
        else:
            taken.restore()
        if wanted:
            completed.append(taken.destination)
    _wait_until_readable(access, vhost, completed, report)
    return [name for name in find(access, topology) if name not in needed]


def _check_waiting(planned: Planned, taken: Restoration, new: Queue) -> None:
    """Raise if a queue that is declared now would drop what waits for it.

    The config may have changed since the run was killed that has taken the queue over.
    """
    if new.on_delete is OnDelete.DISCARD:
        return
    queues = [taken.name, taken.drained, taken.holding]
    losses = planned.losses_of_waiting(taken.name, new, taken.former_settings(), queues)
    if losses:
        raise BrokerError(
            taken.access.management.endpoint,
            f"queue {taken.name}: a run that was killed has its messages wait, and as the config "
            f"has it now, it would lose some of them: {'; '.join(losses)}. Set it as it was before,"
            " or set `on_delete: discard`, and run again",
        )


def _wait_until_readable(
    access: Access, vhost: str, queues: Iterable[str], report: Callable[[str], None]
) -> None:
    """Wait until the broker knows the channels of all consumers that it lists.

    It learns of new ones with its statistics, and forgets those that went with a killed run every
    two minutes. Until then the provider, which reads each queue back after declaring it, cannot
    decode them. It could read again later, but a failure leaves a note in the state that only a
    refresh takes away.
    """
    deadline, said = time.monotonic() + _FORGOTTEN_SECONDS, False
    for name in queues:
        while (gone := _without_channel(access, vhost, name)) and time.monotonic() < deadline:
            if not said:
                report(
                    f"queue {name}: waiting until the broker knows its {gone} new consumers, or "
                    "has forgotten those that are gone (up to two minutes)"
                )
            said = True
            time.sleep(0.25)


def _without_channel(access: Access, vhost: str, name: str) -> int:
    try:
        described = access.management.get(access.path("queues", vhost, name))
    except NotFoundError:
        return 0
    return sum(
        not consumer.get("channel_details") for consumer in described.get("consumer_details", ())
    )


def _delete_half_declared(
    access: Access,
    vhost: str,
    name: str,
    report: Callable[[str], None],
    taken: Restoration | None = None,
) -> None:
    """Delete a queue if its declaration was cut short, so that it can be declared again.

    Of a quorum queue the broker first notes that it exists, then starts its members, then has them
    elect a leader. If the client's connection or the node ends in between, they never do: the queue
    takes no message, for good. One that nothing leads to and that never had a leader can be deleted
    unseen. Of one that is ``taken``, messages may have come back to it, of which there are copies.

    Raises:
        NoLeaderError: It may have had one: a member is away. It may be the queue to be replaced.
    """
    ours = taken.returning if taken else ""
    if any(
        binding["source"] not in ("", ours) for binding in access.bindings("queues", vhost, name)
    ):
        return
    if _never_had_a_leader(access, vhost, name, report):
        report(f"queue {name}: deleting it, since it has only been half declared")
        if taken:
            taken.rescue()
        access.request_if_there("DELETE", "queues", vhost, name)


def _never_had_a_leader(
    access: Access, vhost: str, name: str, report: Callable[[str], None]
) -> bool:
    queue = BrokerQueue(access, vhost, name)
    for _ in range(2):  # a member that has just come back needs a moment
        try:
            queue.read()
        except NoLeaderError:
            state = queue.state()
            # With all of them there, a queue that ever had a leader elects one.
            if state is None or not state.members or state.members != state.online:
                raise
            report(f"queue {name}: has no leader, waiting for one (the broker takes a minute)")
        else:
            return False
    return True


def _end_queue_deletion(
    access: Access, vhost: str, mark: str, report: Callable[[str], None]
) -> None:
    """Delete a quorum queue whose deletion was cut short; one that works is left to this run."""
    name = deletion.being_deleted(access, vhost, mark)
    queue = BrokerQueue(access, vhost, name)
    if name and queue.state() is not None:
        try:
            queue.read()
        except NoLeaderError:
            report(f"queue {name}: ending the deletion that a killed run began; it was empty")
            access.request_if_there("DELETE", "queues", vhost, name)
    access.request_if_there("DELETE", "exchanges", vhost, mark)


def _end_deletions(access: Access, topology: Topology, report: Callable[[str], None]) -> None:
    """Take back what the broker noted about deletions whose client was killed.

    It notes that it deletes an exchange, deletes it, and takes the note back. If the client's
    connection ends in between, it stops where it is. From then on until it is restarted it answers
    that it has declared an exchange of that name, and does not declare it.
    """
    noted = _deleting(access, topology)
    if noted:
        # One that is really being deleted is done with soon.
        time.sleep(_DELETING_SECONDS)
    for name in noted & _deleting(access, topology):
        report(f"exchange {name}: ending the deletion that a killed run began")
        access.request_if_there("DELETE", "parameters", _DELETING, topology.vhost, name)


def _deleting(access: Access, topology: Topology) -> set[str]:
    try:
        listed = access.management.get(access.path("parameters", _DELETING, topology.vhost))
    except NotFoundError:
        return set()
    names = {described["name"] for described in listed}
    return {name for name in names if name in topology.exchanges or name.startswith(PREFIX)}
