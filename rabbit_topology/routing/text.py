"""
Answers as text that fits a terminal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from typing import Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from rabbit_topology.errors import parts
from rabbit_topology.model import Reason
from rabbit_topology.model.units import elapsed_text
from rabbit_topology.routing.changes import Change, Changes, Further
from rabbit_topology.routing.expectations import Failure
from rabbit_topology.routing.keys import EVERYTHING
from rabbit_topology.routing.lives import Death, End, Life
from rabbit_topology.routing.network import DEFAULT_EXCHANGE, Step, Way, exchange_text
from rabbit_topology.routing.publication import Publication
from rabbit_topology.routing.reports import PublisherReport, QueueReport
from rabbit_topology.routing.trace import Hop

WIDTH = 100

_SHOWN = 8
"""Lines of one kind that are shown, and keys that are named."""

_REASONS = {
    Reason.EXPIRED: "if it expires",
    Reason.REJECTED: "if it is rejected",
    Reason.DELIVERY_LIMIT: "if it comes back too often",
    Reason.MAXLEN: "if the queue is too long",
}
_DIED = {
    Reason.EXPIRED: "expired",
    Reason.REJECTED: "rejected",
    Reason.DELIVERY_LIMIT: "came back too often",
    Reason.MAXLEN: "too long",
}
_ENDS = {
    End.STAYS: "stays there",
    End.DISCARDED: "discarded: the queue has no dead-letter exchange",
    End.UNROUTED: "discarded: its dead-letter exchange leads into no queue",
    End.CYCLE: "discarded: it comes round without having been rejected",
    End.KEPT: "kept in the queue until its dead letters can go somewhere",
    End.REFUSED: "refused: its publisher gets a negative confirm",
    End.ENDLESS: "and so on, without end",
    End.UNKNOWN: "goes where nothing is known from here",
    End.CUT: "not followed further",
}


def trace(publication: Publication, *, width: int = WIDTH, later: bool = True) -> str:
    """Return a message's tree of hops, and what follows in each queue that it gets into."""
    message = publication.message
    head = f"published to {exchange_text(message.exchange)} with {_keys(message.routing_keys)}"
    if message.headers:
        head += f" and {_json(dict(message.headers))}"
    tree = Tree(Text(head))
    _add_hops(tree, publication.root)
    lines = [_rendered(tree, width), verdict(publication)]
    if later:
        followed = [(name, outcomes) for name, outcomes in publication.later.items() if outcomes]
        lines += (_later(name, outcomes, width) for name, outcomes in followed[:_SHOWN])
        if len(followed) > _SHOWN:
            lines.append(f"and so on in {len(followed) - _SHOWN:,} more: all with --format json")
    return "\n".join(lines)


def verdict(publication: Publication) -> str:
    """Return in one line which queues a message gets into."""
    routed = publication.routed
    possible = sorted(routed.may_reach - routed.reaches)
    parts = []
    if routed.reaches:
        parts.append(f"gets into {_list(sorted(routed.reaches))}")
    if possible:
        parts.append(f"may get into {_list(possible)}")
    if routed.dropped:
        parts.append("gets into no queue: dropped, or returned to who publishes it as mandatory")
    elif not parts:
        parts.append("gets into no queue that is known from here")
    return ", ".join(parts)


def queue(report: QueueReport, *, width: int = WIDTH) -> str:
    """Return what leads to a queue."""
    tree = Tree(Text(f"queue {report.queue}"))
    for exchange, leading in report.exchanges.items():
        branch = tree.add(
            Text(f"from exchange {exchange}" + ("" if leading.certain else ", perhaps"))
        )
        for line in _limited([str(case) for case in leading.messages.cases]):
            branch.add(Text(line))
        for step in leading.steps[:_SHOWN]:
            branch.add(Text(f"by {step.path}"))
    tree.add(Text(f'from the default exchange, by its name "{report.queue}"'))
    for name, exchange, routing_key in report.dead_letters:
        shown = "the routing key they had" if routing_key is None else _key(routing_key)
        tree.add(Text(f"dead letters of {name}, by {exchange_text(exchange)} with {shown}"))
    for publisher, example in report.publishers:
        inexact = ", perhaps," if publisher.inexact & example.keys() else ","
        shown = _examples(example)
        tree.add(Text(f"{publisher.kind} {publisher.name}{inexact} for example by {shown}"))
    if not report.publishers and report.any_publisher:
        tree.add(Text("no service or user may publish there"))
    return _rendered(tree, width)


def publisher(report: PublisherReport, *, width: int = WIDTH) -> str:
    """Return what a service or user can cause."""
    one = report.publisher
    tree = Tree(Text(f"{one.kind} {one.name}"))
    for name, allowed in one.exchanges.items():
        every = allowed == EVERYTHING
        shown = "any key" if every else _list(_limited([str(part) for part in allowed.parts]))
        less = ", less what its topic permissions refuse" if name in one.inexact else ""
        tree.add(Text(f"may publish to {exchange_text(name)} with {shown}{less}"))
    for name, example in report.queues.items():
        tree.add(Text(f"can reach queue {name}, for example by {_examples(example)}"))
    for name in report.later:
        tree.add(Text(f"can reach queue {name} later, as dead letters"))
    return _rendered(tree, width)


def changes(vhost: str, compared: Changes, *, width: int = WIDTH) -> str:
    """Return what is different, one line for each class of messages."""
    lines: list[str] = []
    lines += (
        f"exchange {name} is gone: what is published to it is refused" for name in compared.gone
    )
    lines += map(_change, compared.changes)
    lines += (f"no exchange leads to queue {name} any more" for name in compared.unreachable)
    lines += (
        f"queue {setting.queue}: {setting.key} was {_value(setting.before)}, "
        f"now {_value(setting.now)}"
        for setting in compared.settings
    )
    lines += (
        f"{step.path}: the binding adds nothing, others take the same to {step.kind} "
        f"{step.destination}"
        for step in compared.redundant
    )
    lines += map(_further, compared.further)
    lines += (f"not decided: {reason}" for reason in compared.undecided)
    tree = Tree(Text(f"vhost {vhost}: {_count(len(lines))}"))
    for line in lines:
        tree.add(Text(line))
    return _rendered(tree, width)


def failures(count: int, failed: Sequence[Failure], *, width: int = WIDTH) -> str:
    """Return what does not hold, each with the way of a message that shows it."""
    lines: list[str] = []
    for failure in failed:
        lines.append(f"{failure.problem}")
        if failure.publication is not None:
            shown = trace(
                failure.publication, width=width - 2, later="ends_in" in failure.problem.path
            )
            lines += (f"  {line}" for line in shown.splitlines())
    if not count:
        return "nothing is expected: write rabbit-topology:expect in the stack's file"
    kept = count - len({parts(failure.problem.path)[1] for failure in failed})
    return "\n".join([*lines, f"{kept:,} of {count:,} expectations hold"])


def binding(step: Step) -> str:
    """Return what a way on takes, and where the config says so."""
    match step.way:
        case Way.ALTERNATE:
            return f"no binding takes it: alternate exchange, {step.path}"
        case Way.NAME:
            return f"by its name, {step.path}"
        case Way.BUG:
            return f"RabbitMQ 4.3.0 mixes up bindings with the empty key (#16271), {step.path}"
        case _:
            taken = _json(dict(step.arguments)) if step.condition else _key(step.routing_key)
            return f"{taken}, {step.path}"


def _add_hops(tree: Tree, hop: Hop) -> None:
    node = tree.add(Text(_hop(hop)))
    for note in hop.notes:
        node.add(Text(f"not known from here: {note}"))
    for inner in hop.hops:
        _add_hops(node, inner)
    if hop.kind == "exchange" and not hop.hops and not hop.seen:
        node.add(Text("no binding takes it"))


def _hop(hop: Hop) -> str:
    shown = hop.name if hop.name != DEFAULT_EXCHANGE else "default exchange"
    line = f"{hop.type} {hop.kind} {shown}" if hop.name != DEFAULT_EXCHANGE else shown
    if hop.type == "not declared here":
        line = f"{hop.kind} {shown}, {hop.type}"
    if hop.step is not None:
        line += f"  <- {binding(hop.step)}"
    if not hop.certain:
        line += ", perhaps"
    if hop.seen:
        line += ", as above: once only"
    if hop.after:
        line += f", kept {elapsed_text(hop.after)} first"
    return line


def _later(name: str, outcomes: Mapping[Reason, Life], width: int) -> str:
    tree = Tree(Text(f"then, in {name}"))
    for reason, life in outcomes.items():
        death = life.death
        if death is not None and death.end is not None and death.root is None:
            waited = f" after {elapsed_text(death.at)}" if death.at > life.at else ""
            tree.add(Text(f"{_REASONS[reason]}{waited}: {_ENDS[death.end]}"))
            continue
        _add_life(tree.add(Text(_REASONS[reason])), life)
    return _rendered(tree, width)


def _add_life(tree: Tree, life: Life) -> None:
    """Add a chain line by line; it only goes deeper where it forks."""
    while life.death is not None:
        death = life.death
        waited = f"after {elapsed_text(death.at)} " if death.at > life.at else ""
        tree.add(Text(waited + _death(death)))
        if len(death.then) != 1:
            for after in death.then:
                _add_life(tree.add(Text(_arrival(after))), after)
            if death.end is not None:
                tree.add(Text(_ENDS[death.end]))
            return
        (life,) = death.then
        tree.add(Text(_arrival(life)))
    if life.end is not None and life.end is not End.STAYS:
        tree.add(Text(_ENDS[life.end]))


def _death(death: Death) -> str:
    times = f" for the {_ordinal(death.count)} time" if death.count > 1 else ""
    line = f"{_DIED[death.reason]}{times}"
    if death.exchange is None or death.end is End.REFUSED:
        return line
    line += f": to {exchange_text(death.exchange)} with {_keys(death.routing_keys)}, {death.path}"
    if death.cycles and death.then:
        line += f"; not again into {_list(death.cycles)}"
    return line


def _arrival(life: Life) -> str:
    when = f"after {elapsed_text(life.at)} in" if life.at else "at once in"
    stays = ", where it stays" if life.end is End.STAYS else ""
    return f"{when} {life.queue}{stays}"


def _change(change: Change) -> str:
    cases = _limited([str(case) for case in change.messages.cases])
    messages = ("; " if any(", " in case for case in cases) else ", ").join(cases)
    what = "now reaches" if change.gained else "no longer reaches"
    through = f" (also from {_list(change.through)})" if change.through else ""
    where = "before" if change.gained else "now"
    others = f"{where} only {_list(change.elsewhere)}" if change.elsewhere else f"{where} dropped"
    if change.gained and change.elsewhere:
        others = f"beside {_list(change.elsewhere)}"
    return (
        f"{messages} on exchange {change.exchange}{through} {what} {change.queue}, for example "
        f"{_example(change.routing_key, change.headers)}; {others}"
    )


def _further(further: Further) -> str:
    more = "" if further.new else " with more messages"
    return (
        f"{further.publisher.kind} {further.publisher.name} can now reach queue {further.queue}"
        f"{more}, for example by {exchange_text(further.exchange)} with "
        f"{_example(further.routing_key, further.headers)}"
    )


def _example(routing_key: str, headers: Mapping[str, Any]) -> str:
    return _key(routing_key) + (f" with {_json(dict(headers))}" if headers else "")


def _examples(by_exchange: Mapping[str, str]) -> str:
    return _list([f"{exchange_text(name)} with {_key(key)}" for name, key in by_exchange.items()])


def _limited(lines: list[str]) -> list[str]:
    if len(lines) <= _SHOWN:
        return lines
    return [*lines[: _SHOWN - 1], f"{len(lines) - _SHOWN + 1:,} more"]


def _rendered(tree: Tree, width: int) -> str:
    out = StringIO()
    console = Console(file=out, width=width, no_color=True, highlight=False, force_terminal=False)
    console.print(tree)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def _keys(routing_keys: Iterable[str]) -> str:
    return _list([_key(key) for key in routing_keys])


def _key(routing_key: str) -> str:
    return json.dumps(routing_key, ensure_ascii=False)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _value(value: object) -> str:
    return "not set" if value is None else _json(value)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


def _count(number: int) -> str:
    if not number:
        return "every message goes where it went"
    return "1 difference" if number == 1 else f"{number:,} differences"


def _ordinal(number: int) -> str:
    ends = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if number % 100 in (11, 12, 13) else ends.get(number % 10, 'th')}"
