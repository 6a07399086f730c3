"""
What the queues and exchanges of a whole vhost hold, and what comes to them.

Source: "HTTP API Reference", "Dead Letter Exchanges", RabbitMQ documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from rabbit_topology.broker.access import Access, NoAmqpError
from rabbit_topology.broker.management import NotFoundError
from rabbit_topology.errors import BrokerError
from rabbit_topology.messages.contents import Contents
from rabbit_topology.messages.queue import (
    TARGET,
    TARGET_KEY,
    TOTALS,
    BrokerQueue,
    lifetimes,
    states,
    statistics,
)
from rabbit_topology.messages.state import QueueState

_SIDE_BY_SIDE = 32
"""So many queues are asked at once: each may have to wait for the broker's statistics."""


def names(access: Access, vhost: str, *, exclusive: bool = False) -> list[str]:
    """Return the names of a vhost's queues; ``exclusive`` ones, which go with a connection, too."""
    return list(states(access, vhost, "disable_stats=true", exclusive=exclusive))


def expect(access: Access, vhost: str, only: Callable[[str], bool] = lambda _name: True) -> None:
    """Say what queues will be asked for, those that ``only`` says yes to: one wait does for all."""
    access.totals.plan(vhost, only)


def survey(
    access: Access, vhost: str, only: Callable[[str], bool] = lambda _name: True
) -> dict[str, Contents]:
    """Return what each queue of a vhost holds that ``only`` says yes to, by name.

    As `BrokerQueue.read` does.

    Raises:
        BrokerError: The broker cannot be asked, or its answer cannot be trusted.
    """
    expect(access, vhost, only)
    queues = [BrokerQueue(access, vhost, name) for name in names(access, vhost) if only(name)]
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as threads:
        try:
            declared = list(threads.map(BrokerQueue.declared, queues))
        except NoAmqpError:
            held = threads.map(BrokerQueue.read, queues)
        else:
            described = states(access, vhost, TOTALS)  # after the declares, as `read` does

            def judge(queue: BrokerQueue, answer: tuple[int, int] | None) -> Contents | None:
                # A queue that does not answer is left out of the listing: that is no queue gone.
                if answer and queue.name in described:
                    return queue.judge(described[queue.name], *answer)
                return queue.read()

            held = threads.map(judge, queues, declared)
        return {
            queue.name: contents for queue, contents in zip(queues, held, strict=True) if contents
        }


def dead_lettering(access: Access, vhost: str, exchange: str) -> Iterator[tuple[str, str | None]]:
    """Yield the queues in use that dead-letter to an exchange by its name, and by which key.

    No key means that messages keep theirs.
    """
    rules = access.rules(vhost)
    for row in access.rows("queues", vhost):
        state = QueueState(row)
        ways = {
            outcome.get(TARGET_KEY)
            for outcome in lifetimes(state, rules)
            if outcome.get(TARGET) == exchange
        }
        if not ways:
            continue
        held = BrokerQueue(access, vhost, state.name).quick()
        if held and held.in_use:
            yield from ((state.name, key) for key in ways)


def published_by_name(access: Access, vhost: str) -> float:
    """Return the messages/s that come to any queue of a vhost through the default exchange."""
    return statistics(access, access.path("exchanges", vhost, "amq.default"), "publish_out")[1]


def published_to(access: Access, vhost: str, exchange: str) -> float:
    """Return the messages/s that are published to an exchange, as `published` does."""
    return statistics(access, access.path("exchanges", vhost, exchange), "publish_in")[1]


def check_exchange(access: Access, vhost: str, name: str) -> None:
    """Check that an exchange keeps no messages, as one of the type `x-delayed-message` does.

    Whatever the broker counts there in messages is taken for such.

    Raises:
        BrokerError: It does.
    """
    try:
        described = access.management.get(f"{access.path('exchanges', vhost, name)}")
    except NotFoundError:
        return
    counts = {
        key: value
        for key, value in described.items()
        if key.startswith("messages") and isinstance(value, int) and value
    }
    if counts:
        held = ", ".join(f"{value:,} {key.replace('_', ' ')}" for key, value in counts.items())
        raise BrokerError(
            access.management.endpoint,
            f"exchange {name} keeps messages itself, which would go with it: {held}. Wait until "
            "they have been delivered, with no publisher at work, and run again",
        )
