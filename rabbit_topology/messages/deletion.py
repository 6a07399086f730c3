"""
Deleting one queue that is empty, and nothing else.

Source: "Queues", "Quorum Queues", RabbitMQ documentation; "queue.delete", AMQP 0-9-1 reference.
"""

from __future__ import annotations

from rabbit_topology.broker.access import Access, NoAmqpError
from rabbit_topology.broker.amqp import ChannelClosedByBroker
from rabbit_topology.broker.management import NotFoundError
from rabbit_topology.compiler.names import own_name
from rabbit_topology.errors import BrokerError
from rabbit_topology.messages.queue import BrokerQueue
from rabbit_topology.model import Queue, QueueType

_NAMED = "rabbit-topology-name"
_MARK = {"type": "fanout", "durable": True, "auto_delete": False}


def delete_if_empty(queue: BrokerQueue) -> bool:
    """Delete a helper that nothing new comes into, if it is empty; False if it is not.

    Since nothing comes in, a total that was published after the call is as good as one of this
    moment: the log of such a queue may go on growing, by changes of policies for example.
    """
    state = queue.state()
    if state is None:
        return True
    if not queue.is_told_by_total(state):
        held = queue.read()
        return held is None or (held.empty and delete_empty(queue, held.kind))
    count = queue.access.totals.count(queue.access, queue.vhost, queue.name, lambda _count: True)
    if count is None:
        return True
    if count.messages or queue.ready():
        return False
    return _delete(queue, QueueType.QUORUM)


def delete_empty(queue: BrokerQueue, kind: QueueType, next_: Queue | None = None) -> bool:
    """Delete a queue of type ``kind`` that was found empty; False if a message has come in since.

    A classic queue is tested again and deleted in one step. The broker has no such step for
    quorum queues and streams: between test and deletion lie a few milliseconds.

    ``next_`` is declared under the same name in the same moment; False also if that failed.
    """
    if kind is QueueType.QUORUM and not queue.is_empty():
        return False
    return _delete(queue, kind, next_)


def _delete(queue: BrokerQueue, kind: QueueType, next_: Queue | None = None) -> bool:
    access, vhost, name = queue.access, queue.vhost, queue.name
    atomic = kind is QueueType.CLASSIC
    access.totals.forget(vhost, name)
    if kind is QueueType.QUORUM:
        access.declare("exchanges", vhost, deleting(name), {**_MARK, "arguments": {_NAMED: name}})
    try:
        with access.channel(vhost) as channel:
            if (
                kind is QueueType.STREAM
                and channel.queue_declare(name, passive=True).method.message_count
            ):
                return False
            if next_:
                # The blocking channel waits for the broker's answer to each request, in which time
                # a client could be faster; the one below it does not.
                channel._impl.queue_delete(name, if_empty=atomic)  # noqa: SLF001
                channel.queue_declare(name, **next_.declaration())
            else:
                channel.queue_delete(name, if_empty=atomic)
    except ChannelClosedByBroker as error:
        if error.reply_code not in (404, 406):  # gone, or not empty any more
            raise
        return bool(error.reply_code == 404) and next_ is None
    except NoAmqpError:
        if not atomic:
            raise
        return _delete_unused(access, vhost, name)
    if kind is QueueType.QUORUM:
        access.request_if_there("DELETE", "exchanges", vhost, deleting(name))
    return True


def deleting(name: str) -> str:
    """Return the name of an exchange, which nothing leads to, that is there while a quorum queue
    is deleted: it was found to be empty.

    If the run is killed, the broker stops where it is, and may leave a queue without members,
    which nobody could tell from one whose messages are on a node that is down.
    """
    return own_name("deleting", name)


def being_deleted(access: Access, vhost: str, mark: str) -> str:
    """Return the queue that a mark is of, which `deleting` names."""
    listed = access.management.get(access.path("exchanges", vhost, mark))
    return str(listed["arguments"].get(_NAMED, ""))


def _delete_unused(access: Access, vhost: str, name: str) -> bool:
    """Delete a classic queue over the management API if it is empty and has no consumers."""
    path = f"{access.path('queues', vhost, name)}?if-empty=true&if-unused=true"
    try:
        access.management.request("DELETE", path)
    except NotFoundError:
        return True
    except BrokerError as error:
        if "PRECONDITION_FAILED" not in str(error):
            raise
        return False
    return True
