"""
Answers about all messages as text: what leads somewhere, and what a change does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text
from rich.tree import Tree

from rabbit_topology.routing.changes import Change, Changes, Further, LinkChange, Setting
from rabbit_topology.routing.keys import EVERYTHING
from rabbit_topology.routing.phrases import SHOWN, WIDTH, as_json, key, limited, listed, rendered
from rabbit_topology.routing.reports import Brought, PublisherReport, QueueReport
from rabbit_topology.routing.steps import exchange_text, located


def queue(report: QueueReport, *, width: int = WIDTH) -> str:
    """Return what leads to a queue."""
    tree = Tree(Text(f"queue {report.queue}"))
    for exchange, leading in report.exchanges.items():
        branch = tree.add(
            Text(f"from exchange {exchange}" + ("" if leading.certain else ", perhaps"))
        )
        for line in limited([str(case) for case in leading.messages.cases]):
            branch.add(Text(line))
        for step in leading.steps[:SHOWN]:
            branch.add(Text(f"by {step.path}"))
    tree.add(Text(f'from the default exchange, by its name "{report.queue}"'))
    for name, exchange, routing_key in report.dead_letters:
        shown = "the routing key they had" if routing_key is None else key(routing_key)
        tree.add(Text(f"dead letters of {name}, by {exchange_text(exchange)} with {shown}"))
    for brought in report.links:
        _add_link(tree, brought, report.vhost)
    for publisher, example in report.publishers:
        inexact = ", perhaps," if publisher.inexact & example.keys() else ","
        name = located(publisher.name, publisher.vhost, report.vhost)
        tree.add(Text(f"{publisher.kind} {name}{inexact} for example by {_examples(example)}"))
    if not report.publishers and report.any_publisher:
        tree.add(Text("no service or user may publish there"))
    return rendered(tree, width)


def _add_link(tree: Tree, brought: Brought, here: str) -> None:
    """Add what a link brings, by where it is published."""
    link = brought.link
    source = f" out of {link.source.text(here)}" if link.source is not None else ""
    branch = tree.add(Text(f"by {link.title}{source}, {link.path}"))
    if link.doubt:
        branch.add(Text(f"perhaps: {link.doubt}"))
    if not link.is_followed:
        branch.add(Text(f"not known from here: {link.unknown}"))
    for exchange, leading in brought.exchanges.items():
        sure = "" if leading.certain or link.doubt else ", perhaps"
        one = branch.add(Text(f"from {exchange_text(exchange)}{sure}"))
        for line in limited([str(case) for case in leading.messages.cases]):
            one.add(Text(line))
    for name in brought.dead_letters:
        branch.add(Text(f"dead letters of {name}"))


def publisher(report: PublisherReport, *, width: int = WIDTH) -> str:
    """Return what a service or user can cause."""
    one = report.publisher
    tree = Tree(Text(f"{one.kind} {one.name}"))
    for name, allowed in one.exchanges.items():
        every = allowed == EVERYTHING
        shown = "any key" if every else listed(limited([str(part) for part in allowed.parts]))
        less = ", less what its topic permissions refuse" if name in one.inexact else ""
        tree.add(Text(f"may publish to {exchange_text(name)} with {shown}{less}"))
    for name, example in report.queues.items():
        tree.add(Text(f"can reach queue {name}, for example by {_examples(example)}"))
    for name, example in report.beyond.items():
        tree.add(Text(f"can reach queue {name} by links, for example by {_examples(example)}"))
    for name in report.later:
        tree.add(Text(f"can reach queue {name} later, as dead letters"))
    return rendered(tree, width)


def changes(vhost: str, compared: Changes, *, width: int = WIDTH) -> str:
    """Return what is different, one line for each class of messages."""
    lines = differences(compared)
    tree = Tree(Text(f"vhost {vhost}: {_count(len(lines))}"))
    for line in lines:
        tree.add(Text(line))
    return rendered(tree, width)


def differences(compared: Changes) -> list[str]:
    """Return a line for each class of messages, and for whatever else is different."""
    lines: list[str] = []
    lines += (
        f"exchange {name} is gone: what is published to it is refused" for name in compared.gone
    )
    lines += map(_change, compared.changes)
    lines += (f"no exchange leads to queue {name} any more" for name in compared.unreachable)
    lines += map(setting, compared.settings)
    lines += map(_link_change, compared.links)
    lines += (
        f"{step.path}: the binding adds nothing, others take the same to {step.kind} "
        f"{step.destination}"
        for step in compared.redundant
    )
    lines += map(_further, compared.further)
    lines += (f"not decided: {reason}" for reason in compared.undecided)
    return lines


def setting(changed: Setting) -> str:
    """Return which setting of a queue is another one now."""
    return f"queue {changed.queue}: {setting_change(changed)}"


def setting_change(changed: Setting) -> str:
    """Return what a setting was, and is."""
    return f"{changed.key} was {_value(changed.before)}, now {_value(changed.now)}"


def _change(change: Change) -> str:
    cases = limited([str(case) for case in change.messages.cases])
    messages = ("; " if any(", " in case for case in cases) else ", ").join(cases)
    what = "now reaches" if change.gained else "no longer reaches"
    through = f" (also from {listed(change.through)})" if change.through else ""
    where = "before" if change.gained else "now"
    others = f"{where} only {listed(change.elsewhere)}" if change.elsewhere else f"{where} dropped"
    if change.gained and change.elsewhere:
        others = f"beside {listed(change.elsewhere)}"
    exchange = exchange_text(change.exchange)
    return (
        f"{messages} on {exchange}{through} {what} {change.queue}, for example "
        f"{_example(change.routing_key, change.headers)}; {others}"
    )


def _link_change(change: LinkChange) -> str:
    if change.before is None:
        return f"{change.link} is new: it {change.now}"
    if change.now is None:
        return f"{change.link} is gone: it {change.before}"
    return f"{change.link}: it was that it {change.before}; now it {change.now}"


def _further(further: Further) -> str:
    more = "" if further.new else " with more messages"
    return (
        f"{further.publisher.kind} {further.publisher.name} can now reach queue {further.queue}"
        f"{more}, for example by {exchange_text(further.exchange)} with "
        f"{_example(further.routing_key, further.headers)}"
    )


def _example(routing_key: str, headers: Mapping[str, Any]) -> str:
    return key(routing_key) + (f" with {as_json(dict(headers))}" if headers else "")


def _examples(by_exchange: Mapping[str, str]) -> str:
    return listed([f"{exchange_text(name)} with {key(one)}" for name, one in by_exchange.items()])


def _value(value: object) -> str:
    return "not set" if value is None else as_json(value)


def _count(number: int) -> str:
    if not number:
        return "every message goes where it went"
    return "1 difference" if number == 1 else f"{number:,} differences"
