"""
One message as text that fits a terminal: its way, what follows, and what was expected of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text
from rich.tree import Tree

from rabbit_topology.errors import parts
from rabbit_topology.model import Reason
from rabbit_topology.model.units import elapsed_text
from rabbit_topology.routing.expectations import Failure
from rabbit_topology.routing.lives import Death, End, Life
from rabbit_topology.routing.phrases import (
    SHOWN,
    WIDTH,
    as_json,
    binding,
    key,
    keys,
    listed,
    ordinal,
    rendered,
)
from rabbit_topology.routing.publication import Passage, Publication
from rabbit_topology.routing.steps import DEFAULT_EXCHANGE, exchange_text
from rabbit_topology.routing.trace import Hop

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
    End.TAKEN: "taken from there",
    End.UNKNOWN: "goes where nothing is known from here",
    End.CUT: "not followed further",
}


def trace(publication: Publication, *, width: int = WIDTH, later: bool = True) -> str:
    """Return a message's tree of hops, and what follows in each queue that it gets into."""
    message = publication.message
    head = f"published to {exchange_text(message.exchange)} with {keys(message.routing_keys)}"
    if message.headers:
        head += f" and {as_json(dict(message.headers))}"
    tree = Tree(Text(head))
    _add_hops(tree, publication.root, publication)
    lines = [rendered(tree, width), verdict(publication)]
    if later:
        followed = [*_followed(publication, set())]
        lines += (_later(one, name, width) for one, name in followed[:SHOWN])
        if len(followed) > SHOWN:
            lines.append(f"and so on in {len(followed) - SHOWN:,} more: all with --format json")
    return "\n".join(lines)


def verdict(publication: Publication) -> str:
    """Return in one line which queues a message gets into."""
    routed = publication.routed
    possible = sorted(routed.may_reach - routed.reaches)
    parts: list[str] = []
    if routed.reaches:
        parts.append(f"gets into {listed(sorted(routed.reaches))}")
    if possible:
        parts.append(f"may get into {listed(possible)}")
    sure = [name for name, certain in publication.beyond.items() if certain]
    perhaps = [name for name, certain in publication.beyond.items() if not certain]
    if sure:
        parts.append(f"by links into {listed(sorted(sure))}")
    if perhaps:
        parts.append(f"by links perhaps into {listed(sorted(perhaps))}")
    if routed.dropped:
        parts.append("gets into no queue: dropped, or returned to who publishes it as mandatory")
    elif not parts:
        parts.append("gets into no queue that is known from here")
    return ", ".join(parts)


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


def _followed(publication: Publication, seen: set[str]) -> Iterator[tuple[Publication, str]]:
    """Yield the queues that a message gets into and may leave, those that links bring it to too."""
    for name, outcomes in publication.later.items():
        if outcomes and publication.located(name) not in seen:
            seen.add(publication.located(name))
            yield publication, name
    for passage in publication.passages:
        if passage.onward is not None:
            yield from _followed(passage.onward, seen)


def _add_hops(tree: Tree, hop: Hop, publication: Publication) -> None:
    if hop.kind == "link":
        _add_link(tree, hop, publication)
        return
    node = tree.add(Text(_hop(hop, publication)))
    for note in hop.notes:
        node.add(Text(f"not known from here: {note}"))
    for inner in hop.hops:
        _add_hops(node, inner, publication)
    if hop.kind == "exchange" and not hop.hops and not hop.seen:
        node.add(Text("no binding takes it"))
    for passage in publication.passages if hop.kind == "queue" and not hop.seen else ():
        if passage.queue == hop.name:
            _add_passage(node, passage, passage.link.path)


def _add_link(tree: Tree, hop: Hop, publication: Publication) -> None:
    """Add a link that has a queue of its own at an exchange."""
    by = f"  <- {binding(hop.step)}" if hop.step is not None else ""
    if hop.stopped:
        tree.add(Text(f"{hop.name} does not take it: {hop.stopped}{by}"))
        return
    key_of_link = hop.step.destination if hop.step is not None else ""
    for passage in publication.passages:
        if passage.queue is None and passage.link.key == key_of_link:
            if hop.seen:
                tree.add(Text(f"{hop.name}, as above: once only{by}"))
            else:
                _add_passage(tree, passage, by, certain=hop.certain)


def _add_passage(tree: Tree, passage: Passage, by: str, *, certain: bool = True) -> None:
    """Add what a link takes, and the way that it goes on there."""
    link, onward = passage.link, passage.onward
    verb = "copies" if link.copies else "takes"
    line = f"{link.title} {f'may {verb[:-1]}' if link.doubt or not certain else verb} it"
    if link.target is not None:
        here = link.source.vhost if link.source is not None else ""
        line += f" to {link.target.text(here)}"
        if link.routing_key is not None and link.target.kind == "exchange":
            line += f" with {key(link.routing_key)}"
    line += by if by.startswith("  <- ") else f", {by}"
    node = tree.add(Text(line))
    if link.doubt:
        node.add(Text(link.doubt))
    if not link.is_followed:
        node.add(Text(f"not known from here: {link.unknown}"))
    elif passage.end is not None:
        node.add(Text(_ENDS[passage.end]))
    if onward is None:
        return
    hops = (onward.root,) if onward.root.name != DEFAULT_EXCHANGE else onward.root.hops
    named = link.target.name if link.target is not None and link.target.kind == "queue" else None
    if [hop.name for hop in hops] == [named] and not onward.passages:
        return
    for hop in hops:
        _add_hops(node, hop, onward)
    if not hops:
        node.add(Text("no queue takes it"))


def _hop(hop: Hop, publication: Publication) -> str:
    default = exchange_text(publication.located(hop.name)).removeprefix("the ")
    shown = publication.located(hop.name) if hop.name != DEFAULT_EXCHANGE else default
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


def _later(publication: Publication, name: str, width: int) -> str:
    tree = Tree(Text(f"then, in {publication.located(name)}"))
    for reason, life in publication.later[name].items():
        death = life.death
        if death is not None and death.end is not None and death.root is None:
            waited = f" after {elapsed_text(death.at)}" if death.at > life.at else ""
            tree.add(Text(f"{_REASONS[reason]}{waited}: {_ENDS[death.end]}"))
            continue
        _add_life(tree.add(Text(_REASONS[reason])), life, publication)
    return rendered(tree, width)


def _add_life(tree: Tree, life: Life, publication: Publication) -> None:
    """Add a chain line by line; it only goes deeper where it forks."""
    while life.death is not None:
        death = life.death
        waited = f"after {elapsed_text(death.at)} " if death.at > life.at else ""
        tree.add(Text(waited + _death(death)))
        if len(death.then) != 1:
            for after in death.then:
                _add_life(_add_arrival(tree, after, publication), after, publication)
            if death.end is not None:
                tree.add(Text(_ENDS[death.end]))
            return
        (life,) = death.then
        _add_arrival(tree, life, publication)
    if life.end is not None and life.end not in (End.STAYS, End.TAKEN):
        tree.add(Text(_ENDS[life.end]))


def _death(death: Death) -> str:
    times = f" for the {ordinal(death.count)} time" if death.count > 1 else ""
    line = f"{_DIED[death.reason]}{times}"
    if death.exchange is None or death.end is End.REFUSED:
        return line
    line += f": to {exchange_text(death.exchange)} with {keys(death.routing_keys)}, {death.path}"
    if death.cycles and death.then:
        line += f"; not again into {listed(death.cycles)}"
    return line


def _add_arrival(tree: Tree, life: Life, publication: Publication) -> Tree:
    """Add that it comes into a queue, and the links that take it from there."""
    when = f"after {elapsed_text(life.at)} in" if life.at else "at once in"
    stays = ", where it stays" if life.end is End.STAYS else ""
    node = tree.add(Text(f"{when} {publication.located(life.queue)}{stays}"))
    for passage in publication.taken(life.queue, life.message, life.at):
        _add_passage(node, passage, passage.link.path)
    return node
