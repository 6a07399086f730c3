"""
Patterns that are one key long, spelled out: exchanges, queues and bindings like any others.

- `dead_letter: true` on a queue: exchange and queue `<queue>.dead-letter`.
- `retry` on a queue: `<queue>.retry` takes what is dead-lettered. What was not rejected goes to
  `<queue>.parking-lot`: it would go round and round on its own, and the broker drops what does.
  All else goes on to `<queue>.retry.step`. What comes for the first time has a routing key of its
  own, which only the alternate exchange takes: to the first delay. What has been through delay
  number k has got the routing key `<queue>.retry.<k+1>` there. After the last that leads to
  `<queue>.parking-lot`. `<queue>.retry.back` leads into the queue again.
- `unroutable: true` on an exchange: exchange and queue `<exchange>.unroutable`.
- `delays` on an exchange: exchange and queue `<exchange>.delay.<delay>`; what expires in the queue
  goes to the exchange with the routing key that it was published with.
- `super_streams`: an exchange, and a stream for each partition.
- `renamed_from` on an exchange: an exchange of the former name, bound to it so that it gets all.
  Queues of the other patterns here have the former name in theirs, and take over from that.

Source: "Dead Letter Exchanges", "Time-To-Live and Expiration", "Alternate Exchanges", "Super
Streams", RabbitMQ documentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from rabbit_topology.model import (
    NO_DELIVERY_LIMIT,
    Binding,
    DeadLetter,
    DeadLetterStrategy,
    Exchange,
    OnDelete,
    Overflow,
    Queue,
    QueueType,
    Topology,
)
from rabbit_topology.model.units import duration_text

_NOT_REJECTED = ("delivery_limit", "expired", "maxlen")
"""Why a broker dead-letters on its own. It says so in a header from RabbitMQ 3.13 on."""


@dataclass(kw_only=True)
class Parts:
    """What patterns add to a topology."""

    exchanges: dict[str, Exchange] = field(default_factory=dict)
    queues: dict[str, Queue] = field(default_factory=dict)
    bindings: list[Binding] = field(default_factory=list)

    def pair(self, name: str, queue: Queue, former: str | None = None) -> None:
        """Add a queue, and a fanout exchange of the same name that leads into it.

        ``former`` is the name that both had before.
        """
        self.exchanges[name] = Exchange(type="fanout", renamed_from=former)
        self.queues[name] = _copy(queue, renamed_from=former)
        self.bindings.append(Binding(source=name, queue=name))


def additions(topology: Topology) -> Parts:
    """Return what the patterns of a topology stand for, former names of exchanges included."""
    parts = own_parts(topology)
    _former_exchanges(parts, topology)
    return parts


def own_parts(topology: Topology) -> Parts:
    """Return what the patterns of a topology make beside what was renamed."""
    parts = Parts()
    for name, queue in topology.queues.items():
        if queue.retry:
            _retry(parts, name, queue, queue.retry.delays)
        elif queue.dead_letter and queue.dead_letter.exchange is None:
            parts.pair(f"{name}.dead-letter", _keeping(queue), _former(queue, ".dead-letter"))
    for name, exchange in topology.exchanges.items():
        if exchange.unroutable:
            parts.pair(f"{name}.unroutable", _keeping(Queue()), _former(exchange, ".unroutable"))
        for delay in dict.fromkeys(exchange.delays):
            waiting = {"message_ttl": delay, **_dead_letters(Queue(), DeadLetter(exchange=name))}
            end = f".delay.{duration_text(delay)}"
            parts.pair(f"{name}{end}", _copy(Queue(), **waiting), _former(exchange, end))
    for name, stream in topology.super_streams.items():
        parts.exchanges[name] = Exchange()
        partition = Queue(
            type=QueueType.STREAM,
            **stream.model_dump(exclude={"partitions"}),
        )
        for number in range(stream.partitions):
            parts.queues[f"{name}-{number}"] = partition
            parts.bindings.append(
                Binding(
                    source=name,
                    queue=f"{name}-{number}",
                    routing_key=str(number),
                    arguments={"x-stream-partition-order": number},
                )
            )
    return parts


def expand(topology: Topology) -> Topology:
    """Return the topology with its patterns spelled out; what is declared twice stays as it is."""
    parts = additions(topology)
    exchanges = {
        name: _with_alternate(name, exchange) for name, exchange in topology.exchanges.items()
    }
    queues = {name: _with_dead_letters(name, queue) for name, queue in topology.queues.items()}
    return topology.model_copy(
        update={
            "exchanges": {**parts.exchanges, **exchanges},
            "queues": {**parts.queues, **queues},
            "bindings": (*topology.bindings, *parts.bindings),
        }
    )


def _former_exchanges(parts: Parts, topology: Topology) -> None:
    """Add an exchange of the former name of each that was renamed, which leads to it."""
    every = {**topology.exchanges, **parts.exchanges}
    renamed = {name: one.renamed_from for name, one in every.items() if one.renamed_from}
    keys: dict[str, list[str]] = {name: [] for name in renamed}
    for binding in (*topology.bindings, *parts.bindings):
        if binding.source in renamed:
            keys[binding.source] += [route.routing_key for route in binding.routes()]
    for name, former in renamed.items():
        if former in parts.exchanges:
            continue
        alike = _with_alternate(name, every[name])
        parts.exchanges[former] = _copy(alike, renamed_from=None, unroutable=False, delays=())
        parts.bindings += [
            Binding(source=former, exchange=name, routing_key=key, arguments=arguments)
            for key, arguments in match_all(alike.type, keys[name])
        ]


def match_all(type_: str, keys: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """Return bindings that together take every message that one with ``keys`` takes.

    Each by its routing key and arguments, from an exchange of one of the broker's own types.
    """
    match type_:
        case "fanout":
            return [("", {})]
        case "topic":
            return [("#", {})]
        case "headers":
            return [("", {"x-match": "all"})]
        case _:
            return [(key, {}) for key in sorted(set(keys))]


def _with_alternate(name: str, exchange: Exchange) -> Exchange:
    return _copy(exchange, alternate=f"{name}.unroutable") if exchange.unroutable else exchange


def _former(renamed: Queue | Exchange, end: str) -> str | None:
    """Return what a part of a pattern was called before."""
    return renamed.renamed_from and f"{renamed.renamed_from}{end}"


def _retry(parts: Parts, name: str, queue: Queue, delays: tuple[int, ...]) -> None:
    retry, parked = f"{name}.retry", f"{name}.parking-lot"
    parts.queues[parked] = _copy(_keeping(queue), renamed_from=_former(queue, ".parking-lot"))
    parts.exchanges[retry] = Exchange(type="headers", alternate=f"{retry}.step")
    for reason in _NOT_REJECTED:
        matched = {"x-match": "all-with-x", "x-last-death-reason": reason}
        parts.bindings.append(Binding(source=retry, queue=parked, arguments=matched))
    parts.exchanges[f"{retry}.step"] = Exchange(alternate=f"{retry}.1")
    parts.exchanges[f"{retry}.back"] = Exchange(type="fanout")
    parts.bindings.append(Binding(source=f"{retry}.back", queue=name))
    for number, delay in enumerate(delays, start=1):
        step = f"{retry}.{number}"
        then = DeadLetter(exchange=f"{retry}.back", routing_key=f"{retry}.{number + 1}")
        waiting = _copy(
            _like(queue),
            message_ttl=delay,
            renamed_from=_former(queue, f".retry.{number}"),
            **_dead_letters(queue, then),
        )
        if number == 1:
            parts.pair(step, waiting, waiting.renamed_from)
        else:
            parts.queues[step] = waiting
            parts.bindings.append(Binding(source=f"{retry}.step", queue=step, routing_key=step))
    last = f"{retry}.{len(delays) + 1}"
    parts.bindings.append(Binding(source=f"{retry}.step", queue=parked, routing_key=last))


def _with_dead_letters(name: str, queue: Queue) -> Queue:
    if queue.retry:
        return _copy(queue, **_dead_letters(queue, DeadLetter(exchange=f"{name}.retry")))
    if queue.dead_letter and queue.dead_letter.exchange is None:
        target = queue.dead_letter.model_copy(update={"exchange": f"{name}.dead-letter"})
        return _copy(queue, **_dead_letters(queue, target))
    return queue


def _dead_letters(queue: Queue, target: DeadLetter) -> dict[str, Any]:
    """Return the settings that dead-letter to ``target``, as safely as the queue can.

    At least once needs a quorum queue that refuses what is too much rather than dropping it.
    """
    dropping = queue.overflow is None and (
        queue.max_length is not None or queue.max_length_bytes is not None
    )
    refusing = queue.overflow in (None, Overflow.REJECT_PUBLISH) and not dropping
    if queue.type is not QueueType.QUORUM or not refusing or target.strategy is not None:
        return {"dead_letter": target}
    strategy = DeadLetterStrategy.AT_LEAST_ONCE
    return {
        "dead_letter": target.model_copy(update={"strategy": strategy}),
        "overflow": Overflow.REJECT_PUBLISH,
    }


def _like(queue: Queue) -> Queue:
    """Return a queue for messages of ``queue``: of the same type, and as safe."""
    kind = queue.type if queue.type is QueueType.CLASSIC else QueueType.QUORUM
    retained = queue.on_delete is OnDelete.RETAIN
    return Queue(type=kind, on_delete=queue.on_delete if retained else OnDelete.REFUSE)


def _keeping(queue: Queue) -> Queue:
    """Return one that keeps a message however often it is given back: nothing leads on from it."""
    like = _like(queue)
    return _copy(like, delivery_limit=NO_DELIVERY_LIMIT) if like.type is QueueType.QUORUM else like


_Model = TypeVar("_Model", bound=BaseModel)


def _copy(model: _Model, **changes: Any) -> _Model:
    return model.model_copy(update=changes)
