"""
``python -m rabbit_topology replay``: dead letters, parked and unroutable messages, once more.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from enum import StrEnum
from math import inf
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rabbit_topology.broker.access import Access
from rabbit_topology.broker.management import Management
from rabbit_topology.commands import brokers, configured, exits, files
from rabbit_topology.commands.options import File, Live, Secrets, Stack, Vhost
from rabbit_topology.config.words import printable, vhost_among
from rabbit_topology.errors import TopologyError
from rabbit_topology.messages.replay import Job
from rabbit_topology.messages.replay import replay as replay_all
from rabbit_topology.replays import ledger as ledgers
from rabbit_topology.replays.destination import Target
from rabbit_topology.replays.ledger import Ledger, Mode
from rabbit_topology.replays.peek import Peeked
from rabbit_topology.replays.request import HOLD, MOST_HELD, Request
from rabbit_topology.replays.selection import selection

app = typer.Typer()

_PEEKED = 10


class Form(StrEnum):
    """How the ledger is written."""

    TEXT = "text"
    JSON = "json"


@app.command(cls=exits.Command)
def replay(
    queue: Annotated[str, typer.Argument(help="whose messages")],
    to: Annotated[
        str | None,
        typer.Option(
            help="QUEUE, or EXCHANGE/KEY; EXCHANGE/ with each message's own key; default: where "
            "each came from"
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="so many at most")] = None,
    rate: Annotated[float | None, typer.Option(help="so many a second at most")] = None,
    header: Annotated[
        list[str] | None, typer.Option(help="only with NAME or NAME=VALUE; repeatable: all of them")
    ] = None,
    reason: Annotated[
        list[str] | None,
        typer.Option(
            help="only what died of: rejected, expired, maxlen, delivery_limit; repeatable: one of "
            "them"
        ),
    ] = None,
    routing_key: Annotated[
        list[str] | None,
        typer.Option(help="only first published with it; * and # as topics have them; repeatable"),
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(help="only what died, or else was made, so long ago: 1h30m")
    ] = None,
    newer_than: Annotated[str | None, typer.Option(help="only what did later than that")] = None,
    peek: Annotated[
        bool, typer.Option("--peek", help=f"show messages and where they go; {_PEEKED} by default")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="count what would go where, and do no more")
    ] = False,
    hold: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_HELD,
            help=f"so many that stay are held at once; default: {HOLD:,} or fewer",
        ),
    ] = None,
    stack: Stack = None,
    file: File = None,
    live: Live = False,
    vhost: Vhost = None,
    host: Annotated[
        list[str] | None, typer.Option(help="with --live: AMQP addresses, host or host:port")
    ] = None,
    secrets: Secrets = False,
    form: Annotated[Form, typer.Option("--format", help="of the output")] = Form.TEXT,
) -> None:
    """Replay a queue's messages, each once. Exit 0: all asked for; 2: some stay; 1: an error."""
    if rate is not None and not 0 < rate < inf:
        raise TopologyError(f"--rate {rate}: a number of messages a second, more than 0")
    if peek and dry_run:
        raise TopologyError("--peek shows messages, --dry-run counts them: one of the two")
    if host and not live:
        raise TopologyError("--host is for --live: a stack has rabbit-topology:broker.hosts")
    mode = Mode.PEEK if peek else Mode.DRY_RUN if dry_run else Mode.REPLAY
    request = Request(
        mode=mode,
        selection=selection(
            headers=header or [],
            reasons=reason or [],
            routing_keys=routing_key or [],
            older_than=older_than,
            newer_than=newer_than,
        ),
        target=None if to is None else Target.parse(to),
        limit=_PEEKED if limit is None and peek else limit,
        rate=rate,
        hold=hold,
    )
    access, where = _reached(file, stack, vhost, host or [], live=live, secrets=secrets)
    _run(access, where, queue, request, form)


def _run(access: Access, vhost: str, queue: str, request: Request, form: Form) -> None:
    # What the broker refuses is in the ledger; the client would write each refusal into the errors.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    peeked: list[Peeked] = []
    with _interrupts() as asked:
        job = Job(
            access=access,
            vhost=vhost,
            queue=queue,
            request=request,
            report=lambda line: print(printable(line), file=sys.stderr),
            show=peeked.append if form is Form.JSON else _show,
            stopping=lambda: bool(asked),
        )
        ledger = replay_all(job)
    _write(ledger, peeked, form)
    if ledger.failed:
        raise typer.Exit(exits.ERROR)
    if request.mode.changes and not ledger.is_complete:
        raise typer.Exit(exits.NOT_WELL)


def _reached(
    file: Path | None,
    stack: str | None,
    vhost: str | None,
    hosts: list[str],
    *,
    live: bool,
    secrets: bool,
) -> tuple[Access, str]:
    """Return how to reach the broker, and the vhost that is meant."""
    if live:
        if vhost is None:
            raise TopologyError("--live has no config that says which vhost: name it with --vhost")
        return _access(brokers.management(), hosts), vhost
    config = configured.read(file, stack, secrets=secrets)
    chosen = vhost_among([one.vhost for one in config.stack.whole.values()], vhost)
    broker = config.stack.broker
    return _access(config.management, broker.hosts, broker.tls), chosen


def _access(management: Management, hosts: Sequence[str], tls: bool | None = None) -> Access:
    settings = {one.name: getattr(management, one.name) for one in fields(management)}
    return Access.connect(**settings, hosts=hosts, tls=tls)


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Note the first interrupt, to end in an orderly way; the second one ends at once."""
    asked: list[int] = []

    def note(number: int, _frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        print("ending: what was taken is given back (once more: at once)", file=sys.stderr)

    before = {one: signal.signal(one, note) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _show(peeked: Peeked) -> None:
    _print(peeked.lines())


def _write(ledger: Ledger, peeked: list[Peeked], form: Form) -> None:
    if form is Form.JSON:
        document = ledgers.as_json(ledger)
        if ledger.mode is Mode.PEEK:
            document["messages"] = [one.as_json() for one in peeked]
        files.print_json(document)
        return
    _print(ledgers.text(ledger))


def _print(lines: Iterable[str]) -> None:
    out = Console(highlight=False, soft_wrap=True)
    for line in lines:
        out.print(printable(line), markup=False)
