"""
Messages of one queue back to where they came from, or elsewhere, so that none is lost.

Each message is delivered once. It is published, with `mandatory` and confirms, and acknowledged
only when its destination has confirmed it. All others are held until the end, and then given back
to the front of the queue, in order; in a quorum queue behind what was given back before. Killed at
any moment, the broker gives back what was not acknowledged: at most one message is then both there
and here.

Not more are taken than were ready at the start, so nothing goes round and round.
Source: "Consumer Acknowledgements and Publisher Confirms", "Consumer Prefetch", "Validated
User-ID", RabbitMQ documentation.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

from rabbit_topology.broker import transfer
from rabbit_topology.broker.access import NOTICED_SECONDS
from rabbit_topology.compiler.names import PREFIX
from rabbit_topology.errors import TopologyError
from rabbit_topology.messages import delivery_limit
from rabbit_topology.messages.replay_run import Job, Run
from rabbit_topology.messages.replay_targets import Targets, targets
from rabbit_topology.messages.state import QueueState
from rabbit_topology.model import QueueType
from rabbit_topology.replays.ledger import Ledger, Left, Mode

__all__ = ["Job", "replay"]

_RETURNED_SECONDS = 1.0
"""How long what a killed run had taken may take to come back once the broker has noticed."""


def replay(job: Job) -> Ledger:
    """Replay; return what became of each message.

    What breaks off half-way is in the ledger: what was counted until then stays true.

    Raises:
        TopologyError: The queue cannot be replayed; nothing was taken.
        LockedError: An update of the vhost, or another replay, is at work.
        BrokerError: The broker cannot be asked, or refuses; nothing was taken.
    """
    access, vhost = job.access, job.vhost
    state = _state(job)
    access.lock(vhost, NOTICED_SECONDS)
    ledger = Ledger(queue=job.queue, mode=job.request.mode)
    with ExitStack() as stack:
        taking = stack.enter_context(delivery_limit.lifted(access, vhost, state))
        places = stack.enter_context(targets(access, vhost))
        _check_target(job, places)
        if taking.leftover or places.leftover:
            time.sleep(_RETURNED_SECONDS)
        declared = job.of_queue.declared()
        if declared is None:
            raise _missing(job)
        ledger.ready, consumers = declared
        ledger.notes += _notes(job.request.mode, state, consumers)
        if taking.limit is not None and not job.request.mode.changes:
            ledger.notes.append("a policy lifted the queue's delivery limit meanwhile")
        if ledger.ready:
            opened = stack.enter_context(transfer.opened(access, vhost, job.queue))
            Run(job, ledger, taking, places, opened, state).go()
        else:
            taking.all_seen = _is_empty(job, ledger)
    ledger.notes += taking.kept
    return ledger


def _state(job: Job) -> QueueState:
    """Return the queue's state. Raises TopologyError if it cannot be replayed."""
    queue = job.queue
    if queue.startswith(PREFIX):
        raise TopologyError(
            f"queue {queue} belongs to an update that has not ended: run `pulumi up`, which gives "
            "back what it holds"
        )
    state = job.of_queue.state()
    if state is None:
        raise _missing(job)
    if state.type is QueueType.STREAM:
        raise TopologyError(
            f"{queue} is a stream: reading takes nothing out of it, so there is nothing to put "
            "back; a consumer reads it again from any offset"
        )
    if state.row.get("auto_delete"):
        raise TopologyError(
            f"refused, since messages would be lost: queue {queue} is auto-delete, so the broker "
            "deletes it, with what stays in it, when the last consumer goes, which a replay is"
        )
    if state.is_exclusive:
        raise TopologyError(
            f"queue {queue} is exclusive: only the connection that declared it may read it"
        )
    return state


def _check_target(job: Job, places: Targets) -> None:
    """Raise TopologyError if what ``--to`` names cannot be published to."""
    if job.request.target is None:
        return
    there = job.request.target.of("")
    if there.queue == job.queue:
        raise TopologyError(f"--to {job.queue}: that is the queue itself")
    obstacle = places.obstacle(there, 0)
    if obstacle and obstacle[0] is not Left.NO_ROOM:
        raise TopologyError(f"--to: {obstacle[1]} in vhost {job.vhost}; nothing was taken")


def _notes(mode: Mode, state: QueueState, consumers: int) -> list[str]:
    notes = []
    if consumers:
        notes.append(f"others consume from the queue, or hold messages of it: {consumers}")
    if not mode.changes:
        seen = "consumers see them as redelivered"
        counted = "the broker counts that" if state.type is QueueType.QUORUM else ""
        told = " and ".join(one for one in (counted, seen) if one)
        notes.append(f"nothing was changed: messages were taken and given back; {told}")
    return notes


def _is_empty(job: Job, ledger: Ledger) -> bool:
    """Return whether a queue in which nothing is ready holds nothing else; note what it does.

    Raises:
        BrokerError: That is not known, for one since the queue has no leader.
    """
    held = job.of_queue.read()
    if held is None or held.empty:
        return True
    ledger.notes.append(f"nothing is ready, and so nothing is taken; it holds {held}")
    return False


def _missing(job: Job) -> TopologyError:
    return TopologyError(f"vhost {job.vhost} has no queue {job.queue}")
